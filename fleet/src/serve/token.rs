//! The operator's secret: made at the first start, in a file that only its owner reads.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};

/// Shorter ones can be guessed.
const LEAST: usize = 16;
const LIMIT: u64 = 4096;

/// A secret. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Reads it.
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path)
            .with_context(|| format!("reading the token {}", path.display()))?;
        let mode = file.metadata()?.mode();
        // nothing for the group, nothing for others
        ensure!(
            mode.trailing_zeros() >= 6,
            "{} can be read by others (mode {:o}): chmod 600 it, or make another one",
            path.display(),
            mode & 0o777
        );
        let mut text = String::new();
        file.take(LIMIT).read_to_string(&mut text)?;
        let text = text.trim().to_owned();
        let fits = text.len() >= LEAST && text.bytes().all(|b| b.is_ascii_graphic());
        ensure!(
            fits,
            "{} holds no token: at least {LEAST} visible characters on one line",
            path.display()
        );
        Ok(Self(text))
    }

    /// Reads it, or makes one of 256 random bits.
    pub fn read_or_make(path: &Path) -> Result<(Self, bool)> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = match options.write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Ok((Self::read(path)?, false));
            }
            Err(e) => {
                return Err(e).with_context(|| format!("making the token {}", path.display()));
            }
        };
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|e| anyhow!("no random numbers: {e}"))?;
        let text = hex::encode(random);
        file.write_all(format!("{text}\n").as_bytes())
            .and_then(|()| file.sync_all())?;
        Ok((Self(text), true))
    }

    /// For a header.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether `Authorization: Bearer …` holds it. As long for a wrong first letter as for a wrong last one.
    pub fn opens(&self, authorization: &str) -> bool {
        let Some(said) = authorization.strip_prefix("Bearer ") else {
            return false;
        };
        let (said, own) = (said.as_bytes(), self.0.as_bytes());
        said.len() == own.len()
            && said
                .iter()
                .zip(own)
                .fold(0, |wrong, (a, b)| wrong | (a ^ b))
                == 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_kept_from_others_and_not_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        let (token, new) = Token::read_or_make(&path).expect("made");
        assert!(new && token.secret().len() == 64);
        let (again, new) = Token::read_or_make(&path).expect("read");
        assert!(!new && again.secret() == token.secret());
        assert!(!format!("{token:?}").contains(token.secret()));
        let header = format!("Bearer {}", token.secret());
        assert!(token.opens(&header));
        for wrong in [
            "",
            "Bearer ",
            "Bearer x",
            &header[..header.len() - 1],
            &format!("{header}0"),
            token.secret(),
        ] {
            assert!(!token.opens(wrong), "{wrong}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let error = Token::read(&path).expect_err("open to all");
        assert!(format!("{error:#}").contains("chmod 600"), "{error:#}");
    }
}
