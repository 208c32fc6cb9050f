//! What became of an owner's additions to this start (`hypriot-boot.txt`; [`hypriot_updater::boot::owner`]): told by the boot
//! script on the kernel's command line, and by the file as it lies there now.

use hypriot_updater::boot::owner::{self, Owner, Use};
use serde::Serialize;

use crate::probe::Root;

/// Where the first partition is mounted (`init::mounts`).
const FILE: &str = "/boot/hypriot-boot.txt";

/// The additions, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Additions {
    /// `used`, `left` (the board did not come up with it, twice), `bad` (it cannot be read), `none`, or `unknown`: the boot script
    /// of this card is older than the file.
    pub file: &'static str,
    /// Words it adds to the kernel's command line.
    pub cmdline: Option<String>,
    /// The device tree it names.
    pub device_tree: Option<String>,
    /// Whether the file says something else now than at this start.
    pub changed: bool,
    /// What in it does not do what it says.
    pub notes: Vec<String>,
}

/// Looks at the running system, or at the tree of one. Nothing where nobody added anything.
pub fn look(root: &Root) -> Option<Additions> {
    let line = root.text("/proc/cmdline").ok()?;
    let told = Use::told(&line);
    let (now, notes) = match root.bytes(FILE).map(|bytes| owner::read(&bytes)) {
        Ok(Ok((now, notes))) => (now, notes.iter().map(ToString::to_string).collect()),
        Ok(Err(error)) => (Owner::default(), vec![error.to_string()]),
        Err(_) => (Owner::default(), Vec::new()),
    };
    let nothing = now == Owner::default() && notes.is_empty();
    if nothing && matches!(told, None | Some(Use::None | Use::Used)) && !says(&line, owner::BEHIND)
    {
        return None;
    }
    let changed = told == Some(Use::Used)
        && match &now.cmdline {
            Some(words) => !says(&line, words),
            None => says(&line, owner::BEHIND),
        };
    Some(Additions {
        file: told.map_or("unknown", Use::name),
        cmdline: now.cmdline,
        device_tree: now.device_tree,
        changed,
        notes,
    })
}

/// Whether these words stand in the line one after the other.
fn says(line: &str, words: &str) -> bool {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let line: Vec<&str> = line.split_ascii_whitespace().collect();
    words.is_empty() || line.windows(words.len()).any(|w| w == words)
}

impl Additions {
    /// For people, one line each.
    pub fn lines(&self) -> Vec<String> {
        let state = match self.file {
            "used" if self.changed => "it was changed after this start: from the next one on",
            "used" => "in force",
            "left" => {
                "left out: the board did not come up with it twice in a row; correct it, then restart"
            }
            "bad" => "not used: the boot loader cannot read it",
            "none" => "not there at this start: from the next one on",
            _ => "not used: this card's boot script does not know it; flash the card anew",
        };
        let mut lines = vec![format!("{}: {state}", owner::FILE)];
        let values = [
            (owner::CMDLINE, &self.cmdline),
            (owner::DEVICE_TREE, &self.device_tree),
        ];
        for (key, value) in values {
            lines.extend(value.iter().map(|v| format!("{key}={}", v.trim())));
        }
        lines.extend(self.notes.iter().cloned());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::tree;

    #[test]
    fn an_owner_is_told_what_became_of_the_file() {
        let line = |words: &str, told: &str| {
            format!("console=x {words} panic=5 hypriot.owner={told} hypriot.slot=a\n")
        };
        let in_force = format!("quiet a=1 {}", owner::BEHIND);
        for (danger, line, file, says) in [
            ("nothing was added", line("", "used"), "# mine\n", None),
            ("no file", line("", "none"), "", None),
            (
                "in force",
                line(&in_force, "used"),
                "cmdline=quiet  a=1\r\n",
                Some("in force"),
            ),
            (
                "changed meanwhile",
                line(&in_force, "used"),
                "cmdline=quiet b=1\n",
                Some("changed after this start"),
            ),
            (
                "taken away meanwhile",
                line(&in_force, "used"),
                "",
                Some("changed after this start"),
            ),
            (
                "written meanwhile",
                line("", "used"),
                "cmdline=quiet\n",
                Some("changed after this start"),
            ),
            (
                "left out",
                line("", "left"),
                "cmdline=mem=1M\n",
                Some("did not come up"),
            ),
            (
                "not readable",
                line("", "bad"),
                "=\n",
                Some("cannot read it"),
            ),
            (
                "an older boot script",
                "hypriot.slot=a\n".into(),
                "cmdline=x\n",
                Some("does not know it"),
            ),
            (
                "a word that is refused",
                line("x", "used"),
                "cmdline=systemd.unit=x\n",
                Some("is refused"),
            ),
        ] {
            let (_dir, root) = tree(&[("/proc/cmdline", line.as_str()), (FILE, file)]);
            let text = look(&root).map(|a| a.lines().join("\n"));
            match says {
                Some(says) => assert!(
                    text.as_ref().is_some_and(|t| t.contains(says)),
                    "{danger}: {text:?}"
                ),
                None => assert_eq!(text, None, "{danger}"),
            }
        }
    }
}
