//! What came of the canary ([`crate::card::canary`]): whether the card gives back what was written to it.

use super::{Finding, Found, Look, kernel};
use crate::card::canary::{Fate, Known, Told};
use crate::report::{Severity, Status};

const NAME: &str = "card-canary";
/// Dying cards were seen to take 17 seconds for a write; an agent that hands an update to the card may keep it busy as long.
const HANGS: f64 = 120.0;

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    let known = &look.context.canary;
    if let Some(told) = &known.told {
        found.gauge("card_canary_milliseconds", milliseconds(told));
    }
    found.add(NAME, judge(known, look.uptime));
    found
}

fn milliseconds(told: &Told) -> f64 {
    (told.took.as_secs_f64() * 1000.0).round()
}

fn judge(known: &Known, uptime: f64) -> Finding {
    let finding = |output: String| Finding::pass(Severity::Required, "readBack", output);
    if let Some(since) = known.looking
        && uptime - since >= HANGS
    {
        let output = format!(
            "the card has not taken, or given back, a page for {}",
            kernel::duration(uptime - since)
        );
        let fix =
            "save your data now if it can be read, then try another supply, then replace the card";
        return finding(output).worse(Status::Fail, fix);
    }
    let Some(told) = &known.told else {
        return Finding::unknown("readBack", "unknown: nothing was tried yet in this boot");
    };
    let ago = kernel::duration((uptime - told.at).max(0.0));
    let replace = "do not update now, and do not restart if you can help it: save your data, then replace the card";
    match &told.fate {
        Fate::Kept => finding(format!("gave back what was written to it {ago} ago"))
            .observed(milliseconds(told), "milliseconds"),
        Fate::Dropped => {
            finding("the card takes what is written and gives back something else".into())
                .worse(Status::Fail, replace)
        }
        Fate::Forgot => finding("what was written to the card, and had been there, is gone".into())
            .worse(Status::Fail, replace),
        Fate::Failed(error) => finding("the card answers a page with an error".into())
            .worse(
                Status::Fail,
                "clean the card's contacts; save your data, then replace the card",
            )
            .detail(Some(error.clone())),
        Fate::Untried(why) => Finding::unknown(
            "readBack",
            "unknown: no page could be written to try the card",
        )
        .detail(Some(why.clone())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Knowledge;

    fn told(fate: Fate) -> Known {
        Known {
            told: Some(Told {
                at: 200.0,
                took: Duration::from_millis(12),
                fate,
            }),
            looking: None,
        }
    }

    #[test]
    fn a_card_that_lies_is_as_bad_as_it_gets_and_one_not_tried_is_unknown() {
        use Knowledge::{Known as Sure, Unknown};
        use Severity::{Info, Required};
        for (fate, status, severity, knowledge) in [
            (Fate::Kept, Status::Pass, Required, Sure),
            (Fate::Dropped, Status::Fail, Required, Sure),
            (Fate::Forgot, Status::Fail, Required, Sure),
            (Fate::Failed("EIO".into()), Status::Fail, Required, Sure),
            (Fate::Untried("full".into()), Status::Warn, Info, Unknown),
        ] {
            let found = judge(&told(fate.clone()), 7400.0);
            assert_eq!(
                (found.status, found.severity, found.knowledge),
                (status, severity, knowledge),
                "{fate:?}"
            );
            assert_eq!(found.fix.is_some(), status == Status::Fail, "{fate:?}");
        }
        let never = judge(&Known::default(), 10.0);
        assert_eq!((never.knowledge, never.severity), (Unknown, Info));
        let words = judge(&told(Fate::Kept), 7400.0).output;
        assert!(words.contains("2 h"), "{words}");
    }

    #[test]
    fn a_card_that_hangs_fails_while_it_hangs() {
        let hangs = Known {
            looking: Some(90_000.0),
            ..told(Fate::Kept)
        };
        for (uptime, status) in [(90_001.0, Status::Pass), (90_120.0, Status::Fail)] {
            assert_eq!(judge(&hangs, uptime).status, status, "{uptime}");
        }
    }
}
