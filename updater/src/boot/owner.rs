//! `hypriot-boot.txt` on the first partition: what an owner adds to a start. The definition, and the lines of the boot script
//! that do the same in U-Boot's language; `tests/tests/boot_script.rs` compares the two in U-Boot itself.
//!
//! The file is read by a boot loader, from a FAT that anybody with a card reader can write. What it may not do:
//!
//! * *cost the way back*: the boot state is read, decided and written before the file is looked at; what an update relies on
//!   comes behind the owner's words, where the last one counts (the kernel's `panic=`, our `hypriot.*`, systemd's
//!   `systemd.unit=`), and what the last one does not beat is refused ([`REFUSED`]);
//! * *stop a board*: after [`STARTS`] starts in a row without a system that came up, and on a card on which no start can be
//!   counted, it is left out ([`Use::Left`]);
//! * *be run*: U-Boot's shell puts the value of a variable between quotes and parses it once more (`common/cli_hush.c`,
//!   `make_string`), so an apostrophe would end the quotes. No value is expanded before everything but [`ALLOWED`] is a space.
//!
//! The filter is `setexpr gsub` (`CONFIG_REGEX`). A U-Boot without it says [`Use::Bad`] and starts without the file.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::layout;

/// Its name on the first partition.
pub const FILE: &str = "hypriot-boot.txt";
/// A longer file is not read at all: half of a line could mean something else.
pub const MAX: usize = 4096;
/// Longer additions are refused: a 32-bit kernel cuts its command line at 1024 bytes (`arch/arm/include/uapi/asm/setup.h`,
/// `COMMAND_LINE_SIZE`), and ours come last.
pub const MAX_CMDLINE: usize = 512;
/// With more starts than these in a row after which no system came up, the file is left out.
pub const STARTS: u8 = 2;
/// Kernel argument that tells the agent what became of the file: [`Use::name`].
pub const ARG: &str = "hypriot.owner";
/// Key: words for the kernel's command line.
pub const CMDLINE: &str = "cmdline";
/// Key: the device tree, below `dtbs/` of the slot's boot partition, or [`FIRMWARE`].
pub const DEVICE_TREE: &str = "device_tree";
/// The device tree that the firmware handed to U-Boot, with the overlays of `config.txt` in it.
pub const FIRMWARE: &str = "firmware";
/// All that a value may consist of; every other byte is taken for a space. The hyphen is last: in a set of U-Boot's
/// expressions it may mean a range elsewhere.
pub const ALLOWED: &str =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _=.,:/@+%~-";
/// What of systemd an owner may set; everything else of it is refused, since much of it can keep a trial from being judged
/// (`systemd.mask=`, `systemd.run=`, `systemd.set_credential=`, `systemd.break=`: kernel-command-line(7)).
pub const SYSTEMD: [&str; 5] = [
    "systemd.watchdog",
    "systemd.log",
    "systemd.show",
    "systemd.journald",
    "systemd.debug",
];
/// Refused wherever it stands. `sysctl` sets `kernel.panic` after the command line has; `reboot=` chooses how a restart is
/// done; names that the kernel does not know become the environment of process 1 (`init/main.c`, `unknown_bootoption`), and
/// systemd and the loader of programs obey theirs.
pub const REFUSED: [&str; 6] = ["systemd", "SYSTEMD", "sysctl", "reboot=", "LD_", "hypriot"];
/// Stands in the place of it.
const INSTEAD: &str = "refused";
/// Stands where there is nothing: U-Boot has no empty variables.
const NONE: &str = "none";
/// What comes behind an owner's words, besides what every start has: nothing they say starts another program than ours, or
/// another target than the one of every start.
pub const BEHIND: &str = "rdinit=/init systemd.unit=default.target";

/// What became of the file at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// There is none.
    None,
    /// It was read.
    Used,
    /// It was left out, because the board did not come up.
    Left,
    /// It is too long, or no list of `key=value`, or this U-Boot cannot filter it.
    Bad,
}

impl Use {
    /// As the kernel's command line spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => NONE,
            Self::Used => "used",
            Self::Left => "left",
            Self::Bad => "bad",
        }
    }

    /// Reads it from the kernel's command line; nothing of a boot script that does not know the file.
    pub fn told(line: &str) -> Option<Self> {
        let word = line
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .rfind(|(name, _)| *name == ARG)?
            .1;
        [Self::None, Self::Used, Self::Left, Self::Bad]
            .into_iter()
            .find(|u| u.name() == word)
    }
}

/// What the file says, as a start takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// Words for the kernel's command line.
    pub cmdline: Option<String>,
    /// The device tree.
    pub device_tree: Option<String>,
}

/// What in the file does not do what its writer may think.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// Nothing reads this key.
    #[error("line {0}: there is no key `{1}`; the keys are `{CMDLINE}` and `{DEVICE_TREE}`")]
    Unknown(usize, String),
    /// U-Boot takes the first.
    #[error("line {0}: `{1}` stands there before; the first one counts")]
    Twice(usize, String),
    /// Characters outside of [`ALLOWED`].
    #[error(
        "`{0}` has characters that are taken for spaces: there are letters, digits and _=.,:/@+%~- only"
    )]
    Characters(&'static str),
    /// Two hyphens in a row, which end the kernel's own arguments.
    #[error("`--` in `{CMDLINE}` is taken for `-`: what follows it would not reach the kernel")]
    Hyphens,
    /// Something of [`REFUSED`].
    #[error("`{0}` in `{CMDLINE}` is refused: an update relies on it")]
    Refused(String),
}

/// Why the file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// More than [`MAX`].
    #[error("it has more than {MAX} bytes")]
    TooLong,
    /// A line that begins with `=`.
    #[error("line {0} has no name before its `=`")]
    NoName(usize),
    /// More than [`MAX_CMDLINE`].
    #[error("`{0}` has {1} bytes; there is room for {MAX_CMDLINE}")]
    Room(&'static str, usize),
}

/// Reads the file as a start does.
pub fn read(file: &[u8]) -> Result<(Owner, Vec<Note>), OwnerError> {
    if file.len() > MAX {
        return Err(OwnerError::TooLong);
    }
    let mut notes = Vec::new();
    let (mut cmdline, mut device_tree) = (None, None);
    let (mut seen_cmdline, mut seen_tree) = (false, false);
    for (line, name, value) in lines(file)? {
        let (seen, place) = match name.as_str() {
            CMDLINE => (&mut seen_cmdline, &mut cmdline),
            DEVICE_TREE => (&mut seen_tree, &mut device_tree),
            // a line end of Windows is an empty line
            other if other.trim().is_empty() => continue,
            _ => {
                notes.push(Note::Unknown(line, name));
                continue;
            }
        };
        if core::mem::replace(seen, true) {
            notes.push(Note::Twice(line, name));
        } else {
            *place = value;
        }
    }
    let mut value = |name, raw: Option<Vec<u8>>, filter: fn(&str, &mut Vec<Note>) -> String| {
        let Some(raw) = raw else { return Ok(None) };
        let clean = spaces(name, &raw, &mut notes);
        let text = filter(&clean, &mut notes);
        if text.len() > MAX_CMDLINE {
            return Err(OwnerError::Room(name, text.len()));
        }
        Ok(Some(text).filter(|text| text != NONE))
    };
    let owner = Owner {
        cmdline: value(CMDLINE, cmdline, refuse)?,
        device_tree: value(DEVICE_TREE, device_tree, |text, _| text.to_string())?,
    };
    Ok((owner, notes))
}

/// A line of the file: its number, the key, and the value, if there is one.
type Line = (usize, String, Option<Vec<u8>>);

/// What `env import -t` takes it for (U-Boot `lib/hashtable.c`, `himport_r`): NUL ends the file, `#` begins a comment line,
/// a backslash takes the next character as it is.
fn lines(file: &[u8]) -> Result<Vec<Line>, OwnerError> {
    let end = file.iter().position(|b| *b == 0).unwrap_or(file.len());
    let file = &file[..end];
    let at = |n: usize| file.get(n).copied().unwrap_or(0);
    let (mut n, mut line, mut out) = (0, 0, Vec::new());
    while n < file.len() {
        line += 1;
        while matches!(at(n), b' ' | b'\t') {
            n += 1;
        }
        let from = n;
        if at(n) == b'#' {
            n += file[n..].iter().take_while(|b| **b != b'\n').count() + 1;
            continue;
        }
        while !matches!(at(n), b'=' | b'\n' | 0) {
            n += 1;
        }
        let name = String::from_utf8_lossy(&file[from..n]).into_owned();
        if at(n) != b'=' || matches!(at(n + 1), b'\n' | 0) {
            n += usize::from(at(n) == b'=') + 1;
            out.push((line, name, None));
            continue;
        }
        n += 1;
        let mut value = Vec::new();
        let first = line;
        while !matches!(at(n), b'\n' | 0) {
            if at(n) == b'\\' && at(n + 1) != 0 {
                n += 1;
                line += usize::from(at(n) == b'\n');
            }
            value.push(at(n));
            n += 1;
        }
        n += 1;
        if name.is_empty() {
            return Err(OwnerError::NoName(first));
        }
        out.push((first, name, Some(value)));
    }
    Ok(out)
}

/// Everything but [`ALLOWED`] is a space.
fn spaces(name: &'static str, raw: &[u8], notes: &mut Vec<Note>) -> String {
    let allowed = |b: &u8| ALLOWED.as_bytes().contains(b);
    // the line end of Windows is no mistake
    let meant = raw.strip_suffix(b"\r").unwrap_or(raw);
    if !meant.iter().all(|b| allowed(b) || b"\t\n".contains(b)) {
        notes.push(Note::Characters(name));
    }
    let clean = raw.iter().map(|b| if allowed(b) { *b } else { b' ' });
    clean.map(char::from).collect()
}

/// The words that may not stand there are replaced.
fn refuse(text: &str, notes: &mut Vec<Note>) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c != '-' || !out.ends_with('-') {
            out.push(c);
        }
    }
    if out != text {
        notes.push(Note::Hyphens);
    }
    for (n, name) in SYSTEMD.iter().enumerate() {
        out = out.replace(name, &stand_in(n));
    }
    for word in out.split(' ') {
        if REFUSED.iter().any(|r| word.contains(r)) {
            notes.push(Note::Refused(word.into()));
        }
    }
    for refused in REFUSED {
        out = out.replace(refused, INSTEAD);
    }
    for (n, name) in SYSTEMD.iter().enumerate() {
        out = out.replace(&stand_in(n), name);
    }
    out
}

/// Nobody but us can write it: the exclamation mark is not in [`ALLOWED`].
fn stand_in(n: usize) -> String {
    format!("!{n}")
}

/// The lines of the boot script that read the file into `hy_args`, `device_tree` and `hy_own`. `hy_kept` is 1 where this start is
/// counted on the card, `starts` the name of the count.
pub(super) fn script(starts: &str) -> String {
    let mut clean = String::new();
    let mut line = |text: String| clean.extend(["      ", &text, "\n"]);
    let gsub = |key: &str, from: &str, to: &str| format!("setexpr {key} gsub '{from}' '{to}'");
    let not_allowed = format!("[^{ALLOWED}]");
    // Whether there is such a command, and it does what is asked: its answer does not tell, because older ones (2023.01) call it
    // an error that nothing was found.
    line("setenv hy_can '!'".into());
    line(gsub("hy_can", &not_allowed, " "));
    line(format!(
        "test \"x${{hy_can}}\" = 'x ' || setenv hy_own {}",
        Use::Bad.name()
    ));
    line(gsub(CMDLINE, &not_allowed, " "));
    line(gsub(DEVICE_TREE, &not_allowed, " "));
    line(gsub(CMDLINE, "--+", "-"));
    let literally = |text: &str| text.replace('.', "\\.");
    for (n, name) in SYSTEMD.iter().enumerate() {
        line(gsub(CMDLINE, &literally(name), &stand_in(n)));
    }
    for refused in REFUSED {
        line(gsub(CMDLINE, refused, INSTEAD));
    }
    for (n, name) in SYSTEMD.iter().enumerate() {
        line(gsub(CMDLINE, &stand_in(n), name));
    }
    // `env export` needs the name, the value, `=`, the end of the line, and NUL (`lib/hashtable.c`, `hexport_r`)
    for key in [CMDLINE, DEVICE_TREE] {
        let room = key.len() + MAX_CMDLINE + 3;
        line(format!(
            "env export -t -s 0x{room:x} ${{hy_m1}} {key} || setenv hy_own {}",
            Use::Bad.name()
        ));
    }
    format!(
        "\
setenv {CMDLINE} {NONE}
setenv {DEVICE_TREE} {NONE}
setenv hy_own {none}
if load ${{devtype}} ${{devnum}}:{part} ${{hy_m1}} {FILE} 0x{more:x}; then
  setenv hy_own {bad}
  if test 0x${{filesize}} -lt 0x{more:x}; then
    if env import -t ${{hy_m1}} 0x${{filesize}} {CMDLINE} {DEVICE_TREE}; then
      setenv hy_own {used}
      env exists {CMDLINE} || setenv {CMDLINE} {NONE}
      env exists {DEVICE_TREE} || setenv {DEVICE_TREE} {NONE}
{clean}    fi
  fi
  if test ${{hy_kept}} = 0; then setenv hy_own {left}; fi
  if test 0x${{{starts}}} -gt 0x{STARTS:x}; then setenv hy_own {left}; fi
fi
if test ${{hy_own}} != {used}; then
  setenv {CMDLINE} {NONE}
  setenv {DEVICE_TREE} {NONE}
fi
setenv hy_args
if test \"x${{{CMDLINE}}}\" != x{NONE}; then setenv hy_args \"${{{CMDLINE}}} {BEHIND} \"; fi
echo HypriotOS: {FILE} ${{hy_own}}
",
        part = layout::CONFIG.number,
        more = MAX + 1,
        none = Use::None.name(),
        bad = Use::Bad.name(),
        used = Use::Used.name(),
        left = Use::Left.name(),
    )
}

#[cfg(test)]
mod tests;
