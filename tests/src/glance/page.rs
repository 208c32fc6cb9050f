//! The page of a board in a real browser, judged by axe, on a phone and on a desk, well and not well.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hypriot_agent::report::{Report, Status};

use super::{Half, board};
use crate::bench::say;
use crate::browser::{self, View};

const SCRIPT: &str = include_str!("look.js");
/// A name that would be a script, if the page let it.
const HOSTILE: &str = "<img src=x onerror=\"window.taken=1\"><script>window.taken=1</script>";
/// Points of a curve, five minutes apart.
const POINTS: u32 = 8;

/// Looks at it in every state; pictures go to `to`.
pub fn judge(root: &Path, to: &Path) -> Result<()> {
    let axe = browser::axe(root)?;
    std::fs::create_dir_all(to)?;
    for (name, worst, size, dark) in [
        ("board-pass-phone", Some(Status::Pass), (500, 1500), false),
        (
            "board-warn-phone-dark",
            Some(Status::Warn),
            (500, 1700),
            true,
        ),
        ("board-fail-desk", Some(Status::Fail), (1280, 900), false),
        ("board-none-dark", None, (500, 600), true),
    ] {
        let half = Half::start()?;
        if let Some(worst) = worst {
            show(&half, &board(worst)?)?;
        }
        let view = View { size, dark };
        let report = browser::look(
            half.port,
            &axe,
            SCRIPT,
            &view,
            &to.join(format!("{name}.png")),
        )
        .with_context(|| format!("the board's page, {name}"))?;
        let words = match worst {
            Some(Status::Pass) => "✓ All is well",
            Some(Status::Warn) => "! Worth a look",
            Some(Status::Fail) => "✗ Needs you",
            None => "✗ Not known",
        };
        ensure!(
            report["verdict"] == words,
            "{name}: the page says {}",
            report["verdict"]
        );
        ensure!(
            worst.is_none() || report["curves"] != 0,
            "{name}: no curve is drawn"
        );
        say(&format!(
            "{name}: {} rules held, {} curves",
            report["passes"], report["curves"]
        ));
    }
    Ok(())
}

/// A day's beginning of numbers, and then the report itself, with a name in it that is none.
fn show(half: &Half, report: &Report) -> Result<()> {
    for n in (1..POINTS).rev() {
        let mut before = report.clone();
        let wave = f64::from((n * 5) % 13);
        before
            .gauges
            .insert("temperature_celsius".into(), 44.0 + wave);
        half.show(&before, f64::from(n) * 300.0)?;
        // The half looks twice a second.
        thread::sleep(Duration::from_millis(700));
    }
    let mut report = report.clone();
    if let Some(check) = report.checks.get_mut("uptime") {
        check.output = HOSTILE.into();
    }
    half.show(&report, 0.0)?;
    thread::sleep(Duration::from_millis(1500));
    half.keep(report);
    Ok(())
}
