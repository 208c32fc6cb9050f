//! Whether the packages that the owner added are there. Boards without any have no such check.

use super::{Finding, Found, Look};
use crate::packages::standing::{self, Standing};
use crate::report::{Severity, Status};

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    let standing = standing::look(look.root);
    if let Some(finding) = judge(&standing) {
        found.add("packages", finding);
    }
    found
}

/// Which packages an owner has is the owner's business: the names are in the detail.
fn judge(standing: &Standing) -> Option<Finding> {
    let say = |output: &str| Finding::pass(Severity::Required, "state", output);
    let finding = match standing {
        Standing::None => return None,
        Standing::There { .. } => say("all packages that the owner added are there"),
        Standing::NextStart { .. } => say("packages were added since this start")
            .worse(Status::Warn, "restart the board: they are there after that"),
        Standing::Missing { fix, .. } => {
            say("packages that the owner added are not there").worse(Status::Fail, *fix)
        }
    };
    Some(finding.detail(Some(standing.line())))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, tree};
    use super::*;
    use crate::packages::release::DIGITS;
    use crate::paths::{DATA_LOST, LAYER, LAYER_LEFT, PACKAGES_FAILED, RELEASE};
    use hypriot_keys::time::Timestamp;

    #[test]
    fn a_package_that_is_not_there_is_said_with_its_reason() {
        let wanted = r#"{"format": 1, "packages": ["nginx"]}"#;
        let id = "a".repeat(DIGITS);
        let record = format!(
            r#"{{"format": 1, "release": "{id}", "wanted": ["nginx"], "packages": {{"nginx": "1"}}, "debs": []}}"#
        );
        let layer = format!("/data/packages/layers/{id}-2");
        let (record_at, upper) = (format!("{layer}/layer.json"), format!("{layer}/upper/x"));
        let name = format!("{id}-2");
        let made = [
            (record_at.as_str(), record.as_str()),
            (&upper, ""),
            (RELEASE, &id),
        ];
        for (danger, list, more, status, says) in [
            ("nothing is wanted", "", &[][..], None, ""),
            (
                "all is there",
                wanted,
                &[(LAYER, name.as_str())],
                Some(Status::Pass),
                "nginx",
            ),
            (
                "added just now",
                wanted,
                &[],
                Some(Status::Warn),
                "next restart",
            ),
            (
                "left out",
                wanted,
                &[(LAYER_LEFT, "did not come up")],
                Some(Status::Fail),
                "did not come up",
            ),
            (
                "the data partition is lost",
                wanted,
                &[(DATA_LOST, "\n")],
                None,
                "",
            ),
            (
                "the list is garbage",
                "{",
                &[],
                Some(Status::Fail),
                "no list",
            ),
            (
                "a later list",
                r#"{"format": 9}"#,
                &[],
                Some(Status::Fail),
                "newer agent",
            ),
            (
                "could not be made",
                r#"{"format": 1, "packages": ["vim"]}"#,
                &[(PACKAGES_FAILED, "no network")],
                Some(Status::Fail),
                "vim: no network",
            ),
        ] {
            let mut files = made.to_vec();
            if !list.is_empty() {
                files.push(("/data/packages/wanted", list));
            }
            files.extend(more);
            let (_dir, root) = tree(&files);
            let context = context(None);
            let look = Look {
                root: &root,
                context: &context,
                now: Timestamp(0),
                uptime: 1.0,
            };
            let found = probe(&look);
            let shown = found.findings.first().map(|(_, f)| f.status);
            assert_eq!(shown, status, "{danger}");
            let detail = found.findings.first().and_then(|(_, f)| f.detail.clone());
            assert!(detail.unwrap_or_default().contains(says), "{danger}");
        }
    }
}
