//! Counters that only grow: whether one grew lately. What is remembered stands in the report, so it lives as long as the boot.

use super::{Found, Look};

/// How long the growth of a counter is news.
pub(super) const NEWS: f64 = 3600.0;

/// Seconds since `counter` last grew by `step` or more within [`NEWS`]; `None` when that is longer ago. What comes slower than that
/// is no growth, however much it is in the end. The first look of a boot compares with nothing: what is there already counts as
/// new, as it happened in this boot. What it said last is the number of its own name, which the caller tells.
pub(super) fn grew(
    found: &mut Found,
    look: &Look<'_>,
    counter: &str,
    value: f64,
    step: f64,
) -> Option<f64> {
    let (base, at) = (base(counter), format!("{counter}_grew_at"));
    let since = format!("{base}_since");
    let previous = look.context.previous.filter(|p| p.uptime <= look.uptime);
    let old = |name: &str| previous.and_then(|p| p.gauges.get(name)).copied();
    // An hour that is over begins anew with what was seen last.
    let began = old(&since).filter(|began| look.uptime - began <= NEWS);
    let before = old(if began.is_some() { &base } else { counter }).unwrap_or(0.0);
    let grown = value - before >= step;
    let at_now = if grown { Some(look.uptime) } else { old(&at) };
    // A counter that went back began anew, too.
    let (from, began) = if grown || value < before {
        (value, look.uptime)
    } else {
        (before, began.unwrap_or(look.uptime))
    };
    found.gauge(base, from);
    found.gauge(since, began);
    if let Some(then) = at_now {
        found.gauge(at, then);
    }
    at_now
        .map(|then| look.uptime - then)
        .filter(|age| *age <= NEWS)
}

/// Takes what `counter` says for its beginning: while a board starts, it grows by right.
pub(super) fn begin(found: &mut Found, look: &Look<'_>, counter: &str, value: f64) {
    let base = base(counter);
    found.gauge(format!("{base}_since"), look.uptime);
    found.gauge(base, value);
}

fn base(counter: &str) -> String {
    format!("{counter}_base")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, tree};
    use super::*;
    use crate::report::tests::example;
    use hypriot_keys::time::Timestamp;

    /// Looks at a counter again and again: uptime, what it says, and how long ago it must be said to have grown by `step`.
    fn play(step: f64, looks: &[(f64, f64, Option<f64>)]) {
        let (_dir, root) = tree(&[]);
        let mut previous = None;
        for &(uptime, value, expected) in looks {
            let context = context(previous.as_ref());
            let look = Look {
                root: &root,
                context: &context,
                now: Timestamp(0),
                uptime,
            };
            let mut found = Found::default();
            found.gauge("x", value);
            assert_eq!(
                grew(&mut found, &look, "x", value, step),
                expected,
                "{uptime} {value}"
            );
            let mut report = example();
            report.uptime = uptime;
            report.gauges = found.gauges.into_iter().collect();
            previous = Some(report);
        }
    }

    #[test]
    fn growth_is_news_for_an_hour_and_not_for_ever() {
        play(
            1.0,
            &[
                (10.0, 2.0, Some(0.0)),
                (20.0, 2.0, Some(10.0)),
                (3610.0, 2.0, Some(3600.0)),
                (3611.0, 2.0, None),
                (4000.0, 3.0, Some(0.0)),
                (4010.0, 0.0, Some(10.0)),
                (4020.0, 1.0, Some(0.0)),
            ],
        );
    }

    #[test]
    fn what_adds_up_over_days_is_no_news() {
        play(
            3.0,
            &[
                (10.0, 1.0, None),
                (3000.0, 2.0, None),
                // the third, but not within an hour of the first
                (7000.0, 3.0, None),
                (7100.0, 4.0, None),
                (7200.0, 5.0, Some(0.0)),
            ],
        );
    }
}
