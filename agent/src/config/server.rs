//! A lock service that speaks FleetLock, as an owner names it.

use reqwest::Url;

/// A label is shown in tables.
const LABEL: usize = 64;

/// A lock service and the group of this board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it is, without `/v1/…`.
    pub url: String,
    /// Which boards share its slots.
    pub group: String,
    /// Shelf, switch or power supply: never two of one at a time. Empty: it does not matter.
    pub spread: String,
}

impl Server {
    /// Checks what an owner wrote.
    pub fn new(url: &str, group: &str) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|e| e.to_string())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err("not an http or https URL".into());
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("a name or password in the URL would be shown in every log".into());
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err("a base URL has no ? and no #".into());
        }
        // FleetLock, "Body": `group` matches ^[a-zA-Z0-9.-]+$
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'-';
        if group.is_empty() || group.len() > 128 || !group.bytes().all(plain) {
            return Err(format!(
                "a group is made of letters, digits, dots and hyphens, not {group:?}"
            ));
        }
        Ok(Self {
            url: url.trim_end_matches('/').into(),
            group: group.into(),
            spread: String::new(),
        })
    }

    /// Tells it what the board shares with others.
    pub fn spread(self, label: &str) -> Result<Self, String> {
        if label.chars().count() > LABEL || label.chars().any(char::is_control) {
            return Err(format!("a label has at most {LABEL} visible characters"));
        }
        Ok(Self {
            spread: label.into(),
            ..self
        })
    }
}
