//! The plainest FleetLock server that can be written on our client of etcd: one semaphore, and a transaction of its own for each lock
//! that is taken or given back, one after the other, since each wants the semaphore as the one before left it. No groups, windows,
//! deadlines, reports or plans. `make bench-fleet` measures it beside `hypriot-fleet serve`: it is the limit of a server that does
//! not gather what boards ask for.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use hypriot_fleet::serve::listen;
use hypriot_fleet::store::etcd::Tls;
use hypriot_fleet::store::{Etcd, Place, Store as _};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

const SLOTS: usize = 1_000;

#[derive(Deserialize)]
struct Body {
    client_params: Client,
}

#[derive(Deserialize)]
struct Client {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct Change {
    id: String,
    held: bool,
}

struct Semaphore {
    etcd: Etcd,
    seq: u64,
    held: BTreeSet<String>,
}

impl Semaphore {
    fn add(&mut self, change: Change) {
        if change.held {
            self.held.insert(change.id);
        } else {
            self.held.remove(&change.id);
        }
        self.seq += 1;
    }

    async fn change(&mut self, id: &str, held: bool) -> Result<bool> {
        loop {
            if self.held.contains(id) == held {
                return Ok(true);
            }
            if held && self.held.len() >= SLOTS {
                return Ok(false);
            }
            let change = Change {
                id: id.to_owned(),
                held,
            };
            let entry = serde_json::to_vec(&change)?;
            if self.etcd.append(self.seq, entry).await? {
                self.add(change);
                return Ok(true);
            }
            for (_, bytes) in self.etcd.read(self.seq).await? {
                self.add(serde_json::from_slice(&bytes)?);
            }
        }
    }
}

type Shared = Arc<Mutex<Semaphore>>;

async fn answer(shared: Shared, body: &[u8], held: bool) -> (StatusCode, &'static str) {
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return (StatusCode::BAD_REQUEST, "{}");
    };
    let changed = shared
        .lock()
        .await
        .change(&body.client_params.id, held)
        .await;
    match changed {
        Ok(true) => (StatusCode::OK, "{}"),
        Ok(false) => (StatusCode::LOCKED, "{}"),
        Err(error) => {
            eprintln!("{error:#}");
            (StatusCode::SERVICE_UNAVAILABLE, "{}")
        }
    }
}

fn main() -> Result<()> {
    let place = std::env::args()
        .nth(1)
        .context("usage: plain_lock etcd://a,b,c")?;
    let Ok(Place::Etcd(members)) = place.parse() else {
        bail!("{place}: etcd://a,b,c");
    };
    hypriot_fleet::ask::runtime()?.block_on(async {
        let etcd = Etcd::new(members, &Tls::default())?;
        let shared: Shared = Arc::new(Mutex::new(Semaphore {
            etcd,
            seq: 0,
            held: BTreeSet::new(),
        }));
        let take =
            async |State(s): State<Shared>, body: String| answer(s, body.as_bytes(), true).await;
        let give =
            async |State(s): State<Shared>, body: String| answer(s, body.as_bytes(), false).await;
        let router = Router::new()
            .route("/v1/pre-reboot", post(take))
            .route("/v1/steady-state", post(give))
            .with_state(shared);
        let listener = listen::bind(([127, 0, 0, 1], 0).into()).await?;
        let port = listener.local_addr()?.port();
        writeln!(std::io::stdout(), "{port}")?;
        listen::serve(listener, router).await;
        Ok(())
    })
}
