//! The report of a run: an in-toto statement (subject: the image; predicate: its results, in-toto's `test-result`), signed as a DSSE
//! envelope with a key of `hypriot-keys`. And what differs between two boards, or between today and last week.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hypriot_keys::key::Key;
use hypriot_keys::secret::SecretKey;
use serde::{Deserialize, Serialize};

use super::{Validation, Verdict};

/// <https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md>
const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// <https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md>; readers pass over fields that they do not know.
const PREDICATE: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// A thousand boards with thirty checks each.
const LIMIT: usize = 64 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    kind: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// The image.
    pub subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_kind: String,
    /// How it went.
    pub predicate: Predicate,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

/// SHA-256, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// 64 digits.
    pub sha256: String,
}

/// Results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// `PASSED` or `FAILED`.
    pub result: String,
    /// Boards that are valid.
    pub passed_tests: Vec<String>,
    /// Boards that are not.
    pub failed_tests: Vec<String>,
    /// When, by the clock of the machine that asked.
    pub at: String,
    /// Each board, with each of its checks.
    pub boards: Vec<Validation>,
}

impl Statement {
    /// About an image and the boards that run it.
    pub fn new(image: Subject, at: String, boards: Vec<Validation>) -> Self {
        let valid = |v: &&Validation| v.verdict == Verdict::Valid;
        let names =
            |all: Vec<&Validation>| all.into_iter().map(|v| v.host.clone()).collect::<Vec<_>>();
        let (good, bad): (Vec<&Validation>, Vec<&Validation>) = boards.iter().partition(valid);
        let predicate = Predicate {
            result: if bad.is_empty() { "PASSED" } else { "FAILED" }.into(),
            passed_tests: names(good),
            failed_tests: names(bad),
            at,
            boards,
        };
        Self {
            kind: STATEMENT.into(),
            subject: [image],
            predicate_kind: PREDICATE.into(),
            predicate,
        }
    }

    /// Signs it.
    pub fn sign(&self, key: &SecretKey) -> Result<String> {
        let payload = serde_json::to_vec(self)?;
        let sig = STANDARD.encode(key.sign_message(&message(PAYLOAD, &payload)));
        let envelope = Envelope {
            kind: PAYLOAD.into(),
            payload: STANDARD.encode(&payload),
            signatures: vec![Signature {
                keyid: key.id().to_owned(),
                sig,
            }],
        };
        Ok(serde_json::to_string_pretty(&envelope)? + "\n")
    }
}

/// What DSSE signs instead of the payload: its type cannot be swapped.
fn message(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Reads a report; with a key only if that key signed it. Nothing of it is parsed before.
pub fn open(text: &str, by: Option<&Key>) -> Result<Statement> {
    ensure!(text.len() <= LIMIT, "it is larger than {LIMIT} bytes");
    let envelope: Envelope = serde_json::from_str(text).context("it is no DSSE envelope")?;
    ensure!(
        envelope.kind == PAYLOAD,
        "it holds {:?}, not an in-toto statement",
        envelope.kind
    );
    let payload = STANDARD.decode(&envelope.payload).context("its payload")?;
    if let Some(key) = by {
        let public = key
            .public()
            .context("the key is of a kind that we do not know")?;
        let said = message(&envelope.kind, &payload);
        let good = |s: &Signature| {
            STANDARD
                .decode(&s.sig)
                .is_ok_and(|sig| public.verify(&said, &sig))
        };
        ensure!(
            envelope.signatures.iter().any(good),
            "it is not signed by {}",
            key.id()
        );
    }
    let statement: Statement = serde_json::from_slice(&payload).context("its statement")?;
    ensure!(
        statement.kind == STATEMENT && statement.predicate_kind == PREDICATE,
        "it is no report of a validation"
    );
    Ok(statement)
}

/// What differs between a board then and now, or between two boards: a line each.
pub fn diff(a: &Validation, b: &Validation) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |what: &str, a: String, b: String| {
        if a != b {
            lines.push(format!("{what}: {a} -> {b}"));
        }
    };
    let or = |t: &Option<String>| t.clone().unwrap_or_else(|| "-".into());
    line(
        "verdict",
        format!("{:?}", a.verdict).to_lowercase(),
        format!("{:?}", b.verdict).to_lowercase(),
    );
    line("version", or(&a.version), or(&b.version));
    line("board", or(&a.board), or(&b.board));
    let names: std::collections::BTreeSet<&String> =
        a.checks.keys().chain(b.checks.keys()).collect();
    for name in names {
        let say = |v: &Validation| match v.checks.get(name) {
            None => "not checked".to_owned(),
            Some(c) => match c.value {
                Some(value) => format!("{} ({value} {})", c.status, c.unit).replace(" )", ")"),
                None => c.status.clone(),
            },
        };
        line(name, say(a), say(b));
    }
    lines
}

/// The board of this name.
pub fn board<'a>(statement: &'a Statement, name: &str) -> Result<&'a Validation> {
    let Some(board) = statement.predicate.boards.iter().find(|b| b.host == name) else {
        bail!("the report has no board {name}");
    };
    Ok(board)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, of};
    use super::*;

    fn statement() -> Statement {
        let image = Subject {
            name: "x.img".into(),
            digest: Digest {
                sha256: "ab".repeat(32),
            },
        };
        let good = r#""selftests:failed":[{"status":"pass","observedValue":0}],"card:speed":[{"status":"pass","observedValue":19.5,"observedUnit":"MB/s"}]"#;
        let slow = good.replace(
            "\"pass\",\"observedValue\":19.5",
            "\"warn\",\"observedValue\":4",
        );
        Statement::new(
            image,
            "2026-11-27T00:00:00Z".into(),
            vec![of("a", &document(good)), of("b", &document(&slow))],
        )
    }

    #[test]
    fn a_report_holds_only_for_whoever_signed_it_and_only_as_it_was() {
        let (key, other) = (
            SecretKey::from_seed(&[1; 32]),
            SecretKey::from_seed(&[2; 32]),
        );
        let text = statement().sign(&key).expect("signed");
        assert_eq!(open(&text, Some(key.public())).expect("opens"), statement());
        let error = open(&text, Some(other.public())).expect_err("another key");
        assert!(format!("{error:#}").contains("not signed by"), "{error:#}");
        let mut changed = statement();
        changed.predicate.result = "FAILED".into();
        let forged = changed.sign(&other).expect("signed");
        let mut envelope: serde_json::Value = serde_json::from_str(&forged).expect("JSON");
        let whole: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        envelope["signatures"] = whole["signatures"].clone();
        assert!(open(&envelope.to_string(), Some(key.public())).is_err());
        for wrong in [
            "",
            "{}",
            "[]",
            "{\"payloadType\":\"text/plain\",\"payload\":\"\",\"signatures\":[]}",
        ] {
            assert!(open(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_differs_between_two_boards_is_said() {
        let statement = statement();
        let (a, b) = (
            board(&statement, "a").expect("a"),
            board(&statement, "b").expect("b"),
        );
        assert_eq!(
            diff(a, b),
            ["card:speed: pass (19.5 MB/s) -> warn (4 MB/s)"]
        );
        assert!(diff(a, a).is_empty());
        assert!(board(&statement, "c").is_err());
    }
}
