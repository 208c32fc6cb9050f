//! `hypriot-fleet serve`: parses, opens, serves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use hypriot_updater::names::Names;
use tokio::signal::unix::{SignalKind, signal};

use crate::ask::runtime;
use crate::lock::{Answer, Ask, Settings, Word};
use crate::serve::api::{Shared, router};
use crate::serve::desk::{Counter, Desk};
use crate::serve::listen;
use crate::serve::token::Token;
use crate::store::{Embedded, Etcd, Place, Store, etcd::Tls};

pub(super) const EXAMPLES: &str = "\
Examples:
  hypriot-fleet serve --new --group default=1      # the first start: makes the store and the operator's token
  hypriot-fleet serve                              # from then on
  hypriot-fleet serve --store etcd://a,b,c         # several servers, one etcd

Boards ask it before they restart into an update ([update] lock = \"http://server:8088\" in agent.toml; any FleetLock client).
The page is at http://server:8088/, metrics at /metrics, Prometheus discovery at /sd.

Exit codes: 0 ended by a signal, 2 wrong usage, no store, or an error";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "[::]:8088")]
    listen: SocketAddr,
    /// Folder of store and token (default: /var/lib/hypriot-fleet)
    #[arg(long, env = "STATE_DIRECTORY", hide_env = true)]
    state: Option<PathBuf>,
    /// The store: a file, etcd://a,b,c, or etcds://a,b,c for TLS; fleet.redb in the folder if not given
    #[arg(long)]
    store: Option<Place>,
    /// The store may be empty: the first start
    #[arg(long)]
    new: bool,
    /// A group and its slots, default=1 for example; it is made, or its slots are changed (repeatable)
    #[arg(long = "group", value_name = "NAME=SLOTS", value_parser = group)]
    groups: Vec<(String, usize)>,
    /// File of the operator's token; made if it is not there
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Reading needs the token, too
    #[arg(long)]
    closed: bool,
    /// A name that this server goes by, besides addresses, its host name and localhost (repeatable)
    #[arg(long = "host")]
    hosts: Vec<String>,
    /// Who signed the certificates of etcd's members (PEM)
    #[arg(long)]
    etcd_ca: Option<PathBuf>,
    /// Our certificate for etcd (PEM)
    #[arg(long, requires = "etcd_key")]
    etcd_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, requires = "etcd_cert")]
    etcd_key: Option<PathBuf>,
}

fn group(text: &str) -> Result<(String, usize), String> {
    let wrong = || format!("{text:?}: write NAME=SLOTS, default=1 for example");
    let (name, slots) = text.split_once('=').ok_or_else(wrong)?;
    let slots = slots.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
    Ok((name.to_owned(), slots))
}

pub(super) fn serve(arguments: &Arguments) -> Result<u8> {
    let state = arguments
        .state
        .clone()
        .unwrap_or_else(|| "/var/lib/hypriot-fleet".into());
    // where the store is a file, a folder that is missing is a disk that is missing
    if arguments.new || matches!(arguments.store, Some(Place::Etcd(_))) {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&state)
            .with_context(|| format!("making {}", state.display()))?;
    }
    let file = arguments
        .token_file
        .clone()
        .unwrap_or_else(|| state.join("token"));
    let (token, made) = Token::read_or_make(&file)?;
    let words = if made { "made the" } else { "the" };
    eprintln!(
        "hypriot-fleet: {words} operator's token: {}",
        file.display()
    );
    let place = arguments
        .store
        .clone()
        .unwrap_or_else(|| Place::File(state.join("fleet.redb")));
    runtime()?.block_on(async {
        match place {
            Place::File(path) => {
                let missing = !path.exists();
                run(
                    Embedded::open(&path, arguments.new && missing)?,
                    token,
                    arguments,
                )
                .await
            }
            Place::Etcd(members) => {
                run(Etcd::new(members, &tls(arguments)?)?, token, arguments).await
            }
        }
    })
}

fn tls(arguments: &Arguments) -> Result<Tls> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let ca = arguments.etcd_ca.as_deref().map(read).transpose()?;
    let identity = match (&arguments.etcd_cert, &arguments.etcd_key) {
        (Some(cert), Some(key)) => Some([read(cert)?, b"\n".to_vec(), read(key)?].concat()),
        _ => None,
    };
    Ok(Tls { ca, identity })
}

async fn run<S: Store>(store: S, token: Token, arguments: &Arguments) -> Result<u8> {
    let desk = Desk::open(store, arguments.new).await?;
    let known = desk.books().clone();
    let (counter, work) = desk.start();
    let working = tokio::spawn(work);
    for (name, slots) in &arguments.groups {
        let now = known.group(name).map(|g| g.settings.clone());
        if now.as_ref().is_none_or(|s| s.slots != *slots) {
            let settings = Settings {
                slots: *slots,
                ..now.unwrap_or_default()
            };
            set(&counter, name, settings).await?;
        }
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let names = Names::new(&hostname, &arguments.hosts);
    let router = router(Shared::new(counter, token, arguments.closed, names));
    let listener = listen::bind(arguments.listen).await?;
    eprintln!(
        "hypriot-fleet: serving on http://{}/",
        listener.local_addr()?
    );
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        () = listen::serve(listener, router) => {}
        ended = working => bail!("the desk ended: {ended:?}"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(0)
}

async fn set(counter: &Counter, name: &str, settings: Settings) -> Result<()> {
    let ask = Ask::Operator {
        group: name.to_owned(),
        by: "--group of the server".into(),
        word: Word::Set(settings),
    };
    match counter.ask(ask).await {
        Answer::Done => Ok(()),
        Answer::Refused { value, .. } => Err(anyhow!("--group {name}: {value}")),
    }
}
