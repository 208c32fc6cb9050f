//! etcd, for several servers: its v3 API as JSON, which every member serves beside gRPC since 3.4
//! (<https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/>).
//!
//! Entry n is the key `log/n` in sixteen hexadecimal digits. It is made in a transaction that wants the entry before it to be there
//! and itself not to be; etcd orders all transactions, so one writer of each entry wins. Reads are linearizable, which is the API's
//! default: a member that was cut off from the others does not answer them.
//!
//! An entry that is too large for one request (a plan over thousands of boards) is put beside the log first, in parts below a name
//! that nobody else has; what is then written as entry n, by the same rule, is that name. Parts of whoever was second belong to no
//! entry, and go with the old ones.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Entry, KEEP, Kept, Store};

/// Our part of the keys.
const PREFIX: &str = "hypriot-fleet/";
/// One member's time for one answer; an election takes about one second.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rounds through all members before we give up.
const ROUNDS: usize = 2;
/// Values of one answer, and the largest answer: a value has at most a piece, which is a third larger as base64.
const PAGE: usize = 200;
const LIMIT: usize = 256 * 1024 * 1024;
/// etcd takes requests of 1.5 MiB, unless its owner allows more (<https://etcd.io/docs/v3.4/dev-guide/limit/>); what is larger than
/// this is cut into pieces.
const PIECE: usize = 768 * 1024;

/// A cluster.
#[derive(Debug, Clone)]
pub struct Etcd {
    client: Client,
    members: Vec<String>,
    /// The one that answered last.
    first: usize,
}

/// Files of TLS, as PEM.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Who signed the members' certificates, when it is not a public authority.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key, in this order.
    pub identity: Option<Vec<u8>>,
}

#[derive(Debug, Default, Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Pair>,
    #[serde(default)]
    more: bool,
}

#[derive(Debug, Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct Transaction {
    #[serde(default)]
    succeeded: bool,
}

/// What stands in the log for an entry that lies in parts. An entry itself is a list, and never begins like this.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    /// How many.
    parts: usize,
    /// Below which name.
    by: String,
}

impl Parts {
    fn of(value: &[u8]) -> Result<Option<Self>> {
        if value.first() != Some(&b'{') {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(value)?))
    }

    fn prefix(&self, n: u64) -> String {
        format!("{PREFIX}part/{n:016x}/{}/", self.by)
    }
}

/// A name that no other writer, and no other try, has.
fn unique() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|e| anyhow!("no random numbers: {e}"))?;
    Ok(hex::encode(random))
}

fn log_key(n: u64) -> String {
    format!("{PREFIX}log/{n:016x}")
}

fn encode(key: &str) -> String {
    STANDARD.encode(key)
}

fn exists(key: &str) -> Value {
    json!({"key": encode(key), "target": "CREATE", "result": "GREATER", "create_revision": "0"})
}

fn is_absent(key: &str) -> Value {
    json!({"key": encode(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"})
}

fn put(key: &str, value: &[u8]) -> Value {
    json!({"request_put": {"key": encode(key), "value": STANDARD.encode(value)}})
}

fn delete(from: &str, to: &str) -> Value {
    json!({"request_delete_range": {"key": encode(from), "range_end": encode(to)}})
}

impl Etcd {
    /// Members as URLs.
    pub fn new(members: Vec<String>, tls: &Tls) -> Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE / 2);
        if let Some(pem) = &tls.ca {
            let own = reqwest::Certificate::from_pem_bundle(pem)
                .context("the certificates of --etcd-ca")?;
            builder = builder.tls_certs_only(own);
        }
        if let Some(pem) = &tls.identity {
            let identity = reqwest::Identity::from_pem(pem);
            builder = builder.identity(
                identity.context("the certificate and key of --etcd-cert and --etcd-key")?,
            );
        }
        let client = builder.build().context("making an HTTP client")?;
        Ok(Self {
            client,
            members,
            first: 0,
        })
    }

    /// Asks the members in turn, beginning with the one that answered last. Any of our requests may be repeated: an entry is
    /// written once, and a second time is answered with that it is there.
    async fn call(&mut self, path: &str, body: &Value) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(body)?;
        let mut last = anyhow!("no member is named");
        for n in 0..self.members.len() * ROUNDS {
            let index = (self.first + n) % self.members.len();
            match self.one(&self.members[index], path, &body).await {
                Ok(answer) => {
                    self.first = index;
                    return Ok(answer);
                }
                Err(error) => last = error.context(format!("asking {}", self.members[index])),
            }
        }
        Err(last.context("no member of etcd answers"))
    }

    async fn one(&self, member: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let request = self.client.post(format!("{member}/v3/{path}"));
        let mut response = request
            .header("content-type", "application/json")
            .body(body.to_vec())
            .send()
            .await?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            ensure!(
                answer.len() + chunk.len() <= LIMIT,
                "the answer is larger than {LIMIT} bytes"
            );
            answer.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
            bail!("{status}: {}", crate::answer::clean(&text));
        }
        Ok(answer)
    }

    /// All pairs from one key to before another.
    async fn range(&mut self, from: &str, to: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut all = Vec::new();
        let mut from = from.to_owned();
        loop {
            let body =
                json!({"key": encode(&from), "range_end": encode(to), "limit": PAGE.to_string()});
            let range: Range = serde_json::from_slice(&self.call("kv/range", &body).await?)
                .context("etcd's answer to a range")?;
            for pair in range.kvs {
                let key = String::from_utf8(STANDARD.decode(pair.key)?)?;
                all.push((key, STANDARD.decode(pair.value)?));
            }
            match all.last() {
                // the key after one: itself and a zero byte
                Some((key, _)) if range.more => from = format!("{key}\0"),
                _ => return Ok(all),
            }
        }
    }

    async fn transaction(&mut self, compare: Vec<Value>, success: Vec<Value>) -> Result<bool> {
        let body = json!({"compare": compare, "success": success});
        let answer = self.call("kv/txn", &body).await?;
        let done: Transaction =
            serde_json::from_slice(&answer).context("etcd's answer to a transaction")?;
        Ok(done.succeeded)
    }

    /// Puts an entry beside the log; what is to stand in the log for it.
    async fn put_parts(&mut self, n: u64, entry: &[u8]) -> Result<Vec<u8>> {
        let parts = Parts {
            parts: entry.len().div_ceil(PIECE),
            by: unique()?,
        };
        for (i, piece) in entry.chunks(PIECE).enumerate() {
            let key = format!("{}{i:04x}", parts.prefix(n));
            self.transaction(Vec::new(), vec![put(&key, piece)]).await?;
        }
        Ok(serde_json::to_vec(&parts)?)
    }

    async fn whole(&mut self, n: u64, value: Vec<u8>) -> Result<Vec<u8>> {
        let context = || format!("entry {n} of the log");
        let Some(parts) = Parts::of(&value).with_context(context)? else {
            return Ok(value);
        };
        let prefix = parts.prefix(n);
        let last = format!("{}0", prefix.trim_end_matches('/'));
        let found = self.range(&prefix, &last).await?;
        ensure!(
            found.len() == parts.parts,
            "{} of {} parts of entry {n} are there",
            found.len(),
            parts.parts
        );
        Ok(found.into_iter().flat_map(|(_, part)| part).collect())
    }

    async fn summary(&mut self) -> Result<Option<Entry>> {
        let head = format!("{PREFIX}summary");
        let Some((_, at)) = self.range(&head, &format!("{head}\0")).await?.pop() else {
            return Ok(None);
        };
        let at = u64::from_str_radix(std::str::from_utf8(&at)?, 16)
            .context("the number of the summary")?;
        let (from, to) = pieces(at);
        let pieces = self.range(&from, &to).await?;
        Ok(Some((
            at,
            pieces.into_iter().flat_map(|(_, piece)| piece).collect(),
        )))
    }
}

fn pieces(at: u64) -> (String, String) {
    (
        format!("{PREFIX}piece/{at:016x}/"),
        format!("{PREFIX}piece/{at:016x}0"),
    )
}

fn number(key: &str) -> Result<u64> {
    let digits = key
        .strip_prefix(PREFIX)
        .and_then(|k| k.strip_prefix("log/"));
    u64::from_str_radix(digits.with_context(|| format!("the key {key:?}"))?, 16)
        .context("the number of an entry")
}

impl Store for Etcd {
    const SHARED: bool = true;

    async fn load(&mut self) -> Result<Kept> {
        // Pieces may be replaced between the two reads: then they are not JSON, and the caller loads again.
        let summary = self.summary().await?;
        let entries = self.read(summary.as_ref().map_or(0, |(at, _)| *at)).await?;
        Ok(Kept { summary, entries })
    }

    async fn read(&mut self, after: u64) -> Result<Vec<Entry>> {
        let pairs = self
            .range(&log_key(after + 1), &format!("{PREFIX}log0"))
            .await?;
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let n = number(&key)?;
            entries.push((n, self.whole(n, value).await?));
        }
        Ok(entries)
    }

    async fn append(&mut self, after: u64, entry: Vec<u8>) -> Result<bool> {
        let key = log_key(after + 1);
        let value = if entry.len() > PIECE {
            self.put_parts(after + 1, &entry).await?
        } else {
            entry
        };
        let mut compare = vec![is_absent(&key)];
        if after > 0 {
            // An entry that was summed up and let go is absent, too: whoever is that far behind must not write.
            compare.push(exists(&log_key(after)));
        } else {
            compare.push(is_absent(&format!("{PREFIX}summary")));
        }
        self.transaction(compare, vec![put(&key, &value)]).await
    }

    async fn sum_up(&mut self, at: u64, summary: Vec<u8>) -> Result<()> {
        let (prefix, _) = pieces(at);
        for (n, piece) in summary.chunks(PIECE).enumerate() {
            self.transaction(Vec::new(), vec![put(&format!("{prefix}{n:04x}"), piece)])
                .await?;
        }
        // Numbers of one length are ordered as text is. Two servers sum up to the same in the same place.
        let head = format!("{PREFIX}summary");
        let older = json!({"key": encode(&head), "target": "VALUE", "result": "LESS", "value": encode(&format!("{at:016x}"))});
        let value = format!("{at:016x}");
        let first = self
            .transaction(vec![is_absent(&head)], vec![put(&head, value.as_bytes())])
            .await?;
        if first
            || self
                .transaction(vec![older], vec![put(&head, value.as_bytes())])
                .await?
        {
            let gone = at.saturating_sub(KEEP);
            let old = vec![
                delete(&log_key(0), &log_key(gone)),
                delete(
                    &format!("{PREFIX}part/"),
                    &format!("{PREFIX}part/{gone:016x}/"),
                ),
                delete(&format!("{PREFIX}piece/"), &pieces(gone).0),
            ];
            self.transaction(Vec::new(), old).await?;
        }
        Ok(())
    }
}
