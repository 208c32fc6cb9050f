//! Owns the judgement on the fast way of configuring: its tree must be the emulated one, save for a list of exceptions that is
//! part of the project (`imagegen/fidelity.toml`), each with its reason.

use serde::Deserialize;

use crate::tree::compare::{Difference, Field};

/// The project's list.
const LIST: &str = include_str!("../../fidelity.toml");

/// Differences that are known and do no harm.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    /// All of them; none is best.
    #[serde(default)]
    exception: Vec<Exception>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The path, without a slash at its beginning.
    pub path: String,
    /// What of it may differ.
    pub field: Field,
    /// Why that is no harm.
    pub reason: String,
}

/// What the comparison of two trees comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Differences that nothing excuses.
    pub unexcused: Vec<Difference>,
    /// Exceptions that excuse nothing: they must go, or they hide what comes later.
    pub unused: Vec<Exception>,
}

impl Exceptions {
    /// The project's own list.
    pub fn of_the_project() -> Result<Self, String> {
        Self::parse(LIST).map_err(|e| format!("imagegen/fidelity.toml: {e}"))
    }

    /// Reads a list. An exception without a reason is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let list: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        match list.exception.iter().find(|e| e.reason.trim().is_empty()) {
            Some(e) => Err(format!("the exception for {} has no reason", e.path)),
            None => Ok(list),
        }
    }

    /// Judges the differences of two trees.
    pub fn judge(&self, differences: &[Difference]) -> Judgement {
        let fits = |e: &Exception, d: &Difference| {
            e.path.as_bytes() == d.path.as_slice() && e.field == d.field
        };
        let excused = |d: &&Difference| !self.exception.iter().any(|e| fits(e, d));
        let idle = |e: &&Exception| !differences.iter().any(|d| fits(e, d));
        Judgement {
            unexcused: differences.iter().filter(excused).cloned().collect(),
            unused: self.exception.iter().filter(idle).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(path: &str, field: Field) -> Difference {
        Difference {
            path: path.into(),
            field,
            left: "1".to_owned(),
            right: "2".to_owned(),
        }
    }

    #[test]
    fn exception_excuses_what_it_names_and_nothing_beside_it() {
        let text = "[[exception]]\npath = 'a'\nfield = 'mtime'\nreason = 'because'\n";
        let list = Exceptions::parse(text).unwrap();
        let (named, other_field, other_path) = (
            difference("a", Field::Mtime),
            difference("a", Field::Content),
            difference("a/b", Field::Mtime),
        );
        let all = [named, other_field.clone(), other_path.clone()];
        assert_eq!(
            list.judge(&all),
            Judgement {
                unexcused: vec![other_field.clone(), other_path],
                unused: vec![]
            }
        );
        assert_eq!(list.judge(&[other_field]).unused.len(), 1);
    }

    #[test]
    fn careless_lists_are_refused() {
        for (danger, text) in [
            ("no reason", "[[exception]]\npath='a'\nfield='mode'\n"),
            (
                "empty reason",
                "[[exception]]\npath='a'\nfield='mode'\nreason=' '\n",
            ),
            (
                "unknown field",
                "[[exception]]\npath='a'\nfield='colour'\nreason='x'\n",
            ),
            ("misspelt table", "[[exceptions]]\npath='a'\n"),
        ] {
            assert!(Exceptions::parse(text).is_err(), "{danger}");
        }
        assert!(Exceptions::of_the_project().is_ok());
    }
}
