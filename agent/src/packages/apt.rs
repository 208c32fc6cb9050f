//! What apt would do, read from its simulation, and whether a layer may do it.

use std::fmt;

use serde::Serialize;

/// Packages that no layer may bring: what they do happens outside of the root, or would replace the way back.
const NEVER: [&str; 6] = [
    "linux-image-",
    "flash-kernel",
    "raspi-firmware",
    "hypriot-agent",
    "u-boot-menu",
    "systemd-boot",
];

/// What apt would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// New packages with their versions.
    pub new: Vec<(String, String)>,
    /// Packages of the image that would become another version: name, old, new.
    pub changed: Vec<(String, String, String)>,
    /// Packages of the image that would be removed.
    pub removed: Vec<String>,
}

/// Why a plan cannot become a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It changes what the image has.
    #[error(
        "these packages would change what the image has: {0}. A layer may only add; packages of the image are updated by its next release, \
             or put into a recipe"
    )]
    Changes(String),
    /// It brings what never helps.
    #[error(
        "{0} cannot be added: kernel, firmware, boot loader and agent lie outside of the root, or bring the board back; they come with \
             the image, from its recipe"
    )]
    Never(String),
}

/// Reads `apt-get --simulate`: `Inst name [old] (new archive [arch])`, `Remv name [old]`.
pub fn plan(simulated: &str) -> Plan {
    let mut plan = Plan::default();
    for line in simulated.lines() {
        let mut words = line.split_whitespace();
        let (verb, Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        match verb {
            Some("Inst") => {
                // the old version stands before the new one; the architecture, in the same brackets, after it
                let (head, after) = line.split_once('(').unwrap_or((line, ""));
                let version = after
                    .split([' ', ')'])
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                match head.split_once('[') {
                    Some((_, old)) => {
                        let old = old.split(']').next().unwrap_or_default().to_owned();
                        plan.changed.push((name.to_owned(), old, version));
                    }
                    None => plan.new.push((name.to_owned(), version)),
                }
            }
            Some("Remv" | "Purg") => plan.removed.push(name.to_owned()),
            _ => (),
        }
    }
    plan
}

/// Whether a layer may do that.
pub fn judge(plan: &Plan) -> Result<(), Refusal> {
    let mut changes: Vec<String> = plan
        .changed
        .iter()
        .map(|(name, old, new)| format!("{name} ({old} to {new})"))
        .collect();
    changes.extend(plan.removed.iter().map(|name| format!("{name} (removed)")));
    if !changes.is_empty() {
        return Err(Refusal::Changes(changes.join(", ")));
    }
    let never = plan
        .new
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| {
            NEVER.iter().any(|n| {
                if n.ends_with('-') {
                    name.starts_with(n)
                } else {
                    name == n
                }
            })
        });
    let never: Vec<&str> = never.collect();
    if never.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Never(never.join(", ")))
    }
}

/// The sum of the sizes of what is not there yet, from `apt-get --print-uris`: `'uri' file size hash`.
pub fn download_size(printed: &str) -> u64 {
    let size = |line: &str| {
        line.strip_prefix('\'')?
            .split("' ")
            .nth(1)?
            .split(' ')
            .nth(1)?
            .parse::<u64>()
            .ok()
    };
    printed
        .lines()
        .filter_map(size)
        .fold(0, u64::saturating_add)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.new.is_empty() {
            return f.write_str("nothing that the image does not have");
        }
        let new: Vec<String> = self
            .new
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        f.write_str(&new.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_would_change_the_image_is_refused_and_named() {
        let adds = "NOTE: This is only a simulation!\nReading package lists...\n\
                    Inst nginx-common (1.26.3-3+deb13u1 Debian:13.1/stable [all])\n\
                    Inst nginx (1.26.3-3+deb13u1 Debian:13.1/stable [arm64]) []\n\
                    Conf nginx-common (1.26.3-3+deb13u1 Debian:13.1/stable [all])\n";
        let good = plan(adds);
        assert_eq!(good.new[1], ("nginx".into(), "1.26.3-3+deb13u1".into()));
        assert_eq!((good.new.len(), judge(&good)), (2, Ok(())));
        for (danger, line, names) in [
            (
                "libc6 is upgraded",
                "Inst libc6 [2.41-12] (2.41-13 Debian:13.2/stable [arm64]) [libc-bin:arm64 ]",
                "libc6 (2.41-12 to 2.41-13)",
            ),
            (
                "systemd goes",
                "Remv systemd-sysv [257.8-1~deb13u2]",
                "systemd-sysv (removed)",
            ),
            (
                "and is purged",
                "Purg systemd-sysv [257.8-1~deb13u2]",
                "systemd-sysv (removed)",
            ),
            (
                "a kernel",
                "Inst linux-image-6.12.1-arm64 (6.12.1-1 Debian:13.1/stable [arm64])",
                "linux-image-6.12.1-arm64",
            ),
            (
                "another agent",
                "Inst hypriot-agent (9.9 local [arm64])",
                "hypriot-agent",
            ),
        ] {
            let why = judge(&plan(&format!("{adds}{line}\n")))
                .unwrap_err()
                .to_string();
            assert!(
                why.contains(names) && !why.contains("nginx"),
                "{danger}: {why}"
            );
        }
    }

    #[test]
    fn what_is_downloaded_is_counted_before() {
        let printed = "Reading package lists...\n'http://h/a%20b/x_1%3a2_all.deb' x_1%3a2_all.deb 1000 SHA256:00\n\
                       'http://h/y_1_all.deb' y_1_all.deb 24 MD5Sum:0\nnothing 'x' 5\n";
        assert_eq!(download_size(printed), 1024);
    }
}
