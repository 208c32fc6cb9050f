//! Counters that only grow: whether one grew lately. What is remembered stands in the report, so it lives as long as the boot.

use super::{Found, Look};

/// How long the growth of a counter is news.
pub(super) const NEWS: f64 = 3600.0;

/// Seconds since `counter` last grew by `step` or more; `None` when it did not within [`NEWS`]. The first look of a boot compares
/// with nothing: what is there already counts as new, as it happened in this boot.
pub(super) fn grew(
    found: &mut Found,
    look: &Look<'_>,
    counter: &str,
    value: f64,
    step: f64,
) -> Option<f64> {
    let (base, at) = (format!("{counter}_base"), format!("{counter}_grew_at"));
    let previous = look.context.previous.filter(|p| p.uptime <= look.uptime);
    let old = |name: &str| previous.and_then(|p| p.gauges.get(name)).copied();
    let before = old(&base).unwrap_or(0.0);
    let grown = value - before >= step;
    let at_now = if grown { Some(look.uptime) } else { old(&at) };
    // A counter that went back began anew.
    let kept = if grown || value < before {
        value
    } else {
        before
    };
    found.gauge(base, kept);
    if let Some(then) = at_now {
        found.gauge(at, then);
    }
    at_now
        .map(|then| look.uptime - then)
        .filter(|age| *age <= NEWS)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, tree};
    use super::*;
    use crate::report::tests::example;
    use hypriot_keys::time::Timestamp;

    #[test]
    fn growth_is_news_for_an_hour_and_not_for_ever() {
        let (_dir, root) = tree(&[]);
        let mut previous = None;
        for (uptime, value, expected) in [
            (10.0, 2.0, Some(0.0)),
            (20.0, 2.0, Some(10.0)),
            (3610.0, 2.0, Some(3600.0)),
            (3611.0, 2.0, None),
            (4000.0, 3.0, Some(0.0)),
            (4010.0, 0.0, Some(10.0)),
            (4020.0, 1.0, Some(0.0)),
        ] {
            let context = context(previous.as_ref());
            let look = Look {
                root: &root,
                context: &context,
                now: Timestamp(0),
                uptime,
            };
            let mut found = Found::default();
            assert_eq!(
                grew(&mut found, &look, "x", value, 1.0),
                expected,
                "{uptime} {value}"
            );
            let mut report = example();
            report.uptime = uptime;
            report.gauges = found.gauges.into_iter().collect();
            previous = Some(report);
        }
    }
}
