//! A rollout that is nothing but signed files, over a million boards: each computes its own turn by the updater's own function. How
//! evenly they come, and whether other boards go first for every release.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hypriot_keys::time::Timestamp;
use hypriot_updater::rollout::{Place, Point, Rollout};
use hypriot_updater::slot::Digest;

use crate::bench::say;

const BOARDS: usize = 1_000_000;
const HOURS: usize = 72;
/// 5 % at once, half after a day, all after three.
const CURVE: [Point; 3] = [
    Point {
        hours: 0,
        percent: 5,
    },
    Point {
        hours: 24,
        percent: 50,
    },
    Point {
        hours: 72,
        percent: 100,
    },
];
/// Where the picture goes.
const PICTURE: &str = "docs/src/explanation/rollout-curve.svg";

/// Simulates, draws, prints.
pub fn run(root: &Path) -> Result<()> {
    // counted from 1970: the turn is then the time since the start
    let rollout = Rollout {
        start: Some(Timestamp::default()),
        curve: CURVE.to_vec(),
        ..Rollout::default()
    };
    let (one, other) = (hours(&rollout, 1)?, hours(&rollout, 2)?);
    let mut by_hour = vec![0_u32; HOURS + 1];
    for hour in &one {
        by_hour[usize::from(*hour)] += 1;
    }
    let ideal = |hour: usize| -> f64 {
        match hour {
            0 => 0.05,
            1..=24 => 0.45 / 24.0,
            _ => 0.5 / 48.0,
        }
    };
    let boards = f64::from(u32::try_from(BOARDS)?);
    let off = by_hour
        .iter()
        .enumerate()
        .map(|(hour, n)| (f64::from(*n) / boards / ideal(hour) - 1.0).abs())
        .fold(0.0, f64::max);
    let first = usize::try_from(by_hour[0])?;
    let again = one
        .iter()
        .zip(&other)
        .filter(|(a, b)| **a == 0 && **b == 0)
        .count();
    let again = f64::from(u32::try_from(again)?) / f64::from(u32::try_from(first)?);
    let busiest = by_hour[1..].iter().max().copied().unwrap_or_default();
    ensure!(one.len() == BOARDS, "a board was forgotten");
    draw(&root.join(PICTURE), &by_hour)?;
    say(&format!(
        "bench-fleet-curve: boards={BOARDS} off_percent={:.2} first_again_percent={:.2} first_hour={} busiest_hour={busiest}",
        off * 100.0,
        again * 100.0,
        by_hour[0]
    ));
    Ok(())
}

/// The hour in which each board has its turn.
fn hours(rollout: &Rollout, release: u8) -> Result<Vec<u8>> {
    let digest = Digest([release; 32]);
    (0..BOARDS)
        .map(|board| {
            let turn = rollout.turn(Place::of(&digest, format!("board-{board}").as_bytes()));
            let seconds = turn.context("the curve reaches everybody")?.0;
            Ok(u8::try_from(seconds.div_ceil(3600))?)
        })
        .collect()
}

fn draw(path: &Path, by_hour: &[u32]) -> Result<()> {
    use std::io::Write as _;
    let (mut sum, mut share, mut bars) = (0, Vec::new(), Vec::new());
    for (hour, n) in by_hour.iter().enumerate() {
        sum += n;
        let x = 60 + hour * 9;
        share.push(format!("{x},{}", 240 - sum / 5_000));
        let height = n / 500;
        bars.push(format!(
            "<rect x=\"{}\" y=\"{}\" width=\"7\" height=\"{height}\"/>",
            x - 3,
            240 - height.min(200)
        ));
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 290\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>A million boards, each computing its own turn</title>\n<rect width=\"760\" height=\"290\" fill=\"#fff\"/>\n\
         <g fill=\"#9ec5fe\">{}</g>\n<polyline points=\"{}\" fill=\"none\" stroke=\"#1a7f37\" stroke-width=\"2\"/>\n\
         <path d=\"M60 40v200h660\" fill=\"none\" stroke=\"#1f2328\"/>\n\
         <g fill=\"#1f2328\"><text x=\"8\" y=\"44\">100 %</text><text x=\"8\" y=\"144\">50 %</text><text x=\"60\" y=\"258\">0 h</text>\
         <text x=\"268\" y=\"258\">24 h</text><text x=\"484\" y=\"258\">48 h</text><text x=\"698\" y=\"258\">72 h</text>\
         <text x=\"60\" y=\"280\">line: boards with the release; bars: boards that come in this hour, of a million (the first: 50,000)</text></g>\n</svg>\n",
        bars.concat(),
        share.join(" ")
    );
    std::fs::File::create(path)?
        .write_all(svg.as_bytes())
        .context("drawing")
}
