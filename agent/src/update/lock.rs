//! The client of a lock service that speaks FleetLock: asked before the board restarts to try a release, told when it is steady.
//!
//! The protocol is that of Zincati (<https://coreos.github.io/zincati/development/fleetlock/protocol/>), so any such server will
//! do: `POST {url}/v1/pre-reboot` and `POST {url}/v1/steady-state` with the header `fleet-lock-protocol: true` and
//! `{"client_params": {"id": …, "group": …}}`; 200 is yes, all else is no, with `{"kind": …, "value": …}` to say why. What we
//! add to the body (`version`, `target`, `progress`, `reason`) other servers pass over.
//!
//! One word is our own, `POST {url}/v1/failed`: the lock stays, since what it was for failed here. FleetLock has none for that, and
//! either of its two would be wrong: `steady-state` gives the lock back, `pre-reboot` takes one anew where an operator has just
//! ended it. A server that does not know the path says so, and nothing has changed there.

use std::io::Read;
use std::time::Duration;

use hypriot_keys::source::http::{TlsTime, tls_config};

use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect;
use serde::{Deserialize, Serialize};

use crate::config::{Net, Server};

/// A server may drain the node before it answers.
const PATIENCE: Duration = Duration::from_mins(5);
const CONNECT: Duration = Duration::from_secs(10);
/// No answer is longer.
const LIMIT: u64 = 16 * 1024;
/// Longest text of a server that is shown.
const SHOWN: usize = 200;
/// Slots are taken: somebody else restarts, which takes a few minutes.
const BUSY: Duration = Duration::from_mins(1);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To restart.
    PreReboot,
    /// To take the lock back: the board is well.
    SteadyState,
    /// To know that the lock stays: what it was for failed here.
    Failed,
}

/// Who asks, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asker {
    /// What runs.
    pub version: String,
    /// What is to be tried, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `restart`, `steady` or `failed`.
    pub progress: &'static str,
    /// That in a sentence.
    pub reason: String,
    /// Kind of board.
    pub model: String,
    /// The slot that runs.
    pub slot: &'static str,
    /// This boot.
    pub boot: String,
    /// The update that ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// As its owner calls it: its host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A manager of a Swarm.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub manager: bool,
    /// Shelf, switch or power supply.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub spread: String,
    /// Where its `/health` and `/metrics` are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The board.
    #[serde(skip)]
    pub id: String,
}

/// How the last update ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Last {
    /// What was tried.
    pub version: String,
    /// `confirmed`, `failed`, `unknown`, `never-tried`.
    pub outcome: &'static str,
    /// When.
    pub at: String,
}

/// No.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {value}")]
pub struct Refusal {
    /// One word: the server's, or `request-failed`, `http-<code>`.
    pub kind: String,
    /// For people; without control characters, and short.
    pub value: String,
    /// When it is worth asking again.
    pub after: Option<Duration>,
    /// HTTP's word for it, if there was an answer.
    pub code: Option<u16>,
}

impl Refusal {
    /// Asking again would be answered the same: there is no such path, or it was understood and not believed.
    pub fn is_final(&self) -> bool {
        matches!(self.code, Some(404 | 405 | 409 | 501))
    }
}

/// Whoever can be asked.
pub trait FleetLock {
    /// Asks once.
    fn ask(&self, what: Ask, of: &Server, by: &Asker, time: TlsTime) -> Result<(), Refusal>;
}

/// Over HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    /// Longest wait for the whole answer.
    pub patience: Duration,
    /// How the board speaks to servers; its proxy is for the update source alone.
    pub net: Net,
}

impl Http {
    /// The usual patience.
    pub const fn new(net: Net) -> Self {
        Self {
            patience: PATIENCE,
            net,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    client_params: Params<'a>,
    #[serde(flatten)]
    more: &'a Asker,
}

#[derive(Serialize)]
struct Params<'a> {
    id: &'a str,
    group: &'a str,
}

impl FleetLock for Http {
    fn ask(&self, what: Ask, of: &Server, by: &Asker, time: TlsTime) -> Result<(), Refusal> {
        let path = match what {
            Ask::PreReboot => "v1/pre-reboot",
            Ask::SteadyState => "v1/steady-state",
            Ask::Failed => "v1/failed",
        };
        let url = format!("{}/{path}", of.url);
        let failed = |why: String| Refusal {
            kind: "request-failed".into(),
            value: plain(&format!("{url}: {why}")),
            after: None,
            code: None,
        };
        let body = serde_json::to_vec(&Body {
            client_params: Params {
                id: &by.id,
                group: &of.group,
            },
            more: by,
        })
        .map_err(|e| failed(e.to_string()))?;
        let client = self.client(time).map_err(failed)?;
        let answer = client
            .post(&url)
            .header(CONTENT_TYPE, "application/json")
            .header("fleet-lock-protocol", "true")
            .body(body)
            .send()
            .map_err(|e| failed(causes(&e.without_url())))?;
        judge(answer)
    }
}

impl Http {
    fn client(&self, time: TlsTime) -> Result<Client, String> {
        let identity = self.net.identity().map_err(|e| format!("{e:#}"))?;
        Client::builder()
            .tls_backend_preconfigured(tls_config(time, &identity)?)
            .user_agent(concat!("hypriot-agent/", env!("CARGO_PKG_VERSION")))
            // a redirect turns a POST into a GET, and its answer into anything
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .timeout(self.patience)
            .build()
            .map_err(|e| e.to_string())
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Only 200 is yes: what a captive portal or a proxy says with 204 or 302 is not.
fn judge(answer: Response) -> Result<(), Refusal> {
    #[derive(Deserialize)]
    struct Said {
        kind: String,
        value: String,
    }
    let (code, after) = (answer.status().as_u16(), retry_after(answer.headers()));
    if code == 200 {
        return Ok(());
    }
    let mut text = Vec::new();
    // what cannot be read says nothing, and the answer is no all the same
    drop(answer.take(LIMIT).read_to_end(&mut text));
    let said = serde_json::from_slice::<Said>(&text).ok();
    let (kind, value) = said.map_or_else(
        || {
            let hint = if (300..400).contains(&code) {
                "; a redirect is not followed, set the URL it leads to"
            } else {
                ""
            };
            let value = format!("the server answered {code}{hint}");
            (format!("http-{code}"), value)
        },
        |said| (plain(&said.kind), plain(&said.value)),
    );
    // 409 and 423 are what servers say when all slots are taken; airlock says 500 with this kind
    let taken = matches!(code, 409 | 423) || kind.starts_with("failed_lock");
    Err(Refusal {
        kind,
        value,
        after: after.or_else(|| taken.then_some(BUSY)),
        code: Some(code),
    })
}

/// Seconds only: no clock of a board is good enough for a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// What another machine says, fit for a terminal, a journal and a page.
pub(super) fn plain(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(clean).take(SHOWN).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests;
