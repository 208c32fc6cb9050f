//! Takes secrets out of text that goes to strangers. It would rather take too much: a maintainer can do without most words.
//!
//! What is known by its name (`password = …`), by its place (`https://user:word@host`), and by its form (tokens, hashes, keys).

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

/// What is longer is cut: no line that helps is so long, and the rules go over each of them many times.
const LINE: usize = 8 * 1024;
/// Stands where a secret was.
pub(super) const REMOVED: &str = "[removed]";

/// Names whose value is a secret, wherever in a name they are.
const NAMES: &str = "passw(?:or)?d|passphrase|passwd|secret|token|psk|api[_-]?key|private[_-]?key|client[_-]?key|access[_-]?key|\
    auth[_-]?key|encryption[_-]?key|signing[_-]?key|pre[_-]?shared[_-]?key|wep[_-]?key|wireless[_-]?key|credential|authorization|cookie|bearer|_auth|\"auth\"";

/// What to look for in one line, and what stays of it.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let kept = format!("${{1}}{REMOVED}");
    // The words live as long as the program.
    let kept: &'static str = kept.leak();
    [
        // Keys in one line, as JSON and environment variables hold them.
        (r"()-----BEGIN [^-]*PRIVATE KEY[^-]*-----.*-----END [^-]*-----", kept),
        // Public keys tell who somebody is: sshd(8), authorized_keys.
        (r"(ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d+|sk-[\w-]+@openssh\.com)\s+AAAA[^\r\n]*", kept),
        // Users in URLs (RFC 3986, 3.2.1). To the last `@`: passwords hold what they should not.
        (r#"(?i)([a-z][a-z0-9+.-]*://)[^\s"'<>]*@"#, "${1}[removed]@"),
        (r#"(?i)([?&;#](?:[^=&\s"']*(?:token|key|secret|sig|passw|pass|pwd|auth|credential|code)[^=&\s"']*)=)[^&\s"'#]+"#, kept),
        (r"(?i)\b((?:basic|bearer|negotiate|token)\s+)[A-Za-z0-9+/=._~-]{8,}", kept),
        // Options of commands.
        (r#"(?i)((?:^|\s)--?[\w-]*(?:passw(?:or)?d|passphrase|secret|token|api-?key|auth-?key|private-?key)[\w-]*[=\s]\s*)("[^"]*"|'[^']*'|\S+)"#, kept),
        (r"((?:^|\s)(?:-u|--user|--proxy-user)[=\s]\s*)\S+:\S*", kept),
        (r"(sshpass\s+-p\s*)\S+", kept),
        // /etc/network/interfaces, iwconfig(8).
        (r"(?i)((?:^|\s)(?:wpa-psk|wpa-passphrase|wpa-password|wireless-key|wpa_passphrase)\s+)\S.*", kept),
        // crypt(5).
        (r"()\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|md5|argon2\w*)\$[./A-Za-z0-9$=,+-]{8,}", kept),
        // Tokens that say whose they are.
        (r"()\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{12,}|xox[abeprs]-[\w-]{8,}|A[KS]IA[0-9A-Z]{12,}|npm_\w{20,}|pypi-[\w-]{16,}|SWMTKN-1-[\w-]+|SWMKEY-1-[\w+/=-]+|tskey-[\w-]+|dckr_pat_[\w-]+|do[pr]_v1_\w+|sk-[\w-]{16,}|AGE-SECRET-KEY-1\w+|hv[sb]\.[\w-]{16,}|K10[0-9a-f]{16,}::[\w:.-]+|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)", kept),
        // /proc/cpuinfo: the number by which this board can be told.
        (r"(?m)(^Serial\s*:\s*)\S+", kept),
    ]
    .into_iter()
    .map(|(rule, stays)| (Regex::new(rule).expect("a rule of ours"), stays))
    .collect()
});

/// `name = value`, `"name": value`, `name => value`: what comes after the sign goes, to the end of the line.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let rule = format!(r#"(?i)([\w.-]*(?:{NAMES})[\w.-]*["']?\s*(?:=>|[:=])[ \t]*)(\S.*)?$"#);
    Regex::new(&rule).expect("a rule of ours")
});

static BEGIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("-----BEGIN [^-]*PRIVATE KEY").expect("a rule of ours"));
static END: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("-----END [^-]*PRIVATE KEY").expect("a rule of ours"));

/// A text without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Clean {
    pub(super) text: String,
    /// How many were taken out.
    pub(super) removed: usize,
}

/// Takes out what is secret.
pub(super) fn scrub(raw: &str) -> Clean {
    let mut clean = Clean::default();
    let mut state = State::Open;
    for line in raw.lines() {
        let end = line.floor_char_boundary(LINE);
        state = state.take(&line[..end], &mut clean);
        if end < line.len() {
            clean.put("[the rest of this line is cut]");
        }
    }
    clean
}

/// Where in a text that goes over several lines we are.
enum State {
    Open,
    /// In a key, until its end. One that has none takes the rest with it.
    Key,
    /// Below a name of a secret whose value stands in the lines that are further to the right.
    Below(usize),
}

impl State {
    fn take(self, line: &str, clean: &mut Clean) -> Self {
        match self {
            Self::Key => {
                return if END.is_match(line) {
                    Self::Open
                } else {
                    Self::Key
                };
            }
            Self::Below(column) if line.trim().is_empty() || column < indent(line) => {
                return Self::Below(column);
            }
            Self::Open | Self::Below(_) => {}
        }
        let before = BEGIN.find(line).filter(|_| !END.is_match(line));
        if let Some(begin) = before {
            let kept = one_line(&line[..begin.start()], clean);
            clean.put(&(kept + REMOVED));
            clean.removed += 1;
            return Self::Key;
        }
        let kept = one_line(line, clean);
        clean.put(&kept);
        match NAMED.captures(line).map(|found| value(&found)) {
            // A list or a text in the lines below.
            Some("" | "|" | ">" | "|-" | ">-" | "|+" | ">+" | "[" | "{") => {
                Self::Below(indent(line))
            }
            _ => Self::Open,
        }
    }
}

impl Clean {
    fn put(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }
}

fn value<'a>(found: &Captures<'a>) -> &'a str {
    found.get(2).map_or("", |value| value.as_str().trim())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-', '\t']).len()
}

fn one_line(line: &str, clean: &mut Clean) -> String {
    let mut kept = line.to_owned();
    for (rule, stays) in RULES.iter() {
        let found = rule.find_iter(&kept).count();
        if found > 0 {
            clean.removed += found;
            kept = rule.replace_all(&kept, *stays).into_owned();
        }
    }
    if let Some(found) = NAMED.captures(&kept)
        && !["", REMOVED, "|", ">", "[", "{"].contains(&value(&found))
        && let Some(secret) = found.get(2)
    {
        clean.removed += 1;
        kept.truncate(secret.start());
        kept += REMOVED;
    }
    kept
}

/// What is left of a YAML file that is made of secrets (`user-data`, `network-config`): its keys. Whether one of them is missing or
/// misspelt is what maintainers need to see.
pub(super) fn outline(raw: &str) -> Clean {
    let mut clean = Clean::default();
    // The lines of a block are no keys: they stand further to the right than its key.
    let mut block: Option<usize> = None;
    for line in raw.lines() {
        let text = line.trim_start_matches([' ', '-', '\t']);
        let column = indent(line);
        if text.is_empty() || block.is_some_and(|key| key < column) {
            continue;
        }
        block = None;
        if text.starts_with('#') {
            // A comment may be an old setting; the first line says what kind of file it is.
            if clean.text.is_empty() && text == "#cloud-config" {
                clean.put(text);
            }
            continue;
        }
        let lead = &line[..column];
        if let Some((key, value)) = key(text) {
            if value.starts_with(['|', '>']) {
                block = Some(column);
            }
            let value = if value.is_empty() { "" } else { REMOVED };
            clean.removed += usize::from(!value.is_empty());
            clean.put(format!("{lead}{key}: {value}").trim_end());
        } else {
            clean.removed += 1;
            clean.put(&format!("{lead}{REMOVED}"));
        }
    }
    clean
}

/// A plain word before a colon. What is in quotes (names of access points) or holds other signs is no key that we know.
fn key(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c);
    let separated = value.is_empty() || value.starts_with(' ');
    (separated && !key.is_empty() && key.len() < 40 && key.bytes().all(plain))
        .then(|| (key, value.trim()))
}

#[cfg(test)]
mod tests;
