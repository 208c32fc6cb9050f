//! A curve of a day as a small picture in the page: SVG, drawn anew with each report.

use std::fmt::Write as _;

use super::put;
use crate::serve::history::{History, POINTS, Series};

/// Units of the picture's height.
const HEIGHT: f32 = 64.0;
/// Room above and below, so that a line at the edge is seen whole.
const MARGIN: f32 = 2.0;

/// How a series is shown.
struct Kind {
    name: &'static str,
    unit: &'static str,
    decimals: usize,
    /// The picture is at least so high, or noise would look like trouble.
    least: f32,
    /// A line that should not be reached.
    limit: Option<f32>,
}

fn kind(series: Series) -> Kind {
    match series {
        Series::Temperature => Kind {
            name: "Temperature",
            unit: " °C",
            decimals: 0,
            least: 10.0,
            limit: Some(80.0),
        },
        Series::Memory => Kind {
            name: "Used memory",
            unit: " %",
            decimals: 0,
            least: 20.0,
            limit: Some(90.0),
        },
        Series::Load => Kind {
            name: "Load",
            unit: "",
            decimals: 1,
            least: 1.0,
            limit: None,
        },
    }
}

/// Draws it; nothing while there are not two points to draw a line between.
pub(super) fn draw(body: &mut String, history: &History, series: Series) {
    let points: Vec<Option<f32>> = history.points(series).collect();
    let known = || points.iter().flatten().copied();
    if known().count() < 2 {
        return;
    }
    let (low, high) = (
        known().fold(f32::MAX, f32::min),
        known().fold(f32::MIN, f32::max),
    );
    let kind = kind(series);
    let more = (kind.least - (high - low)).max(0.0) / 2.0;
    let (bottom, top) = (low - more, high + more);
    let y =
        |value: f32| HEIGHT - MARGIN - (value - bottom) / (top - bottom) * (HEIGHT - 2.0 * MARGIN);
    let hours = hours(&points);
    let Kind {
        name,
        unit,
        decimals,
        ..
    } = kind;
    let words = format!("{name}, last {hours}: {low:.decimals$} to {high:.decimals$}{unit}");
    put(
        body,
        format_args!(
            "<svg viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=none role=img aria-label=\"{words}\"><path d=\"",
            POINTS - 1
        ),
    );
    line(body, &points, y);
    *body += "\"/>";
    if let Some(limit) = kind.limit.filter(|limit| (bottom..=top).contains(limit)) {
        put(
            body,
            format_args!(
                "<path class=limit d=\"M0 {:.0}H{}\"/>",
                y(limit),
                POINTS - 1
            ),
        );
    }
    put(body, format_args!("</svg><small>{words}</small>"));
}

/// `M` begins a line, `L` goes on; a gap begins anew. A point alone is a line to itself, which a round cap would show.
fn line(body: &mut String, points: &[Option<f32>], y: impl Fn(f32) -> f32) {
    let mut drawing = false;
    for (x, point) in points.iter().enumerate() {
        if let Some(value) = point {
            let letter = if drawing { 'L' } else { 'M' };
            write!(body, "{letter}{x} {:.0}", y(*value)).expect("a String takes any text");
        }
        drawing = point.is_some();
    }
}

/// For how long there are points: `24 h`, `40 min`.
fn hours(points: &[Option<f32>]) -> String {
    let first = points.iter().position(Option::is_some).unwrap_or(0);
    let minutes = (points.len() - first) * 5;
    if minutes >= 120 {
        format!("{} h", minutes / 60)
    } else {
        format!("{minutes} min")
    }
}
