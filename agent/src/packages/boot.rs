//! What is done at each start of a board whose owner added packages, before anybody judges it: if no layer of this release has what is
//! wanted, it is made, and the board restarts with it. On trial that restart spends no attempt; what could not be made is for the
//! self-tests to say, which send a release back with which an owner's packages do not install.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hypriot_updater::layout;

use super::apt::Refusal;
use super::build::{self, Limit, Order, Source, Tell};
use super::layer::{self, Layer};
use super::stage::{Image, Site};
use super::standing::{self, Standing};
use super::store::Store;
use super::wanted::{self, Wanted};
use super::{DIRECTORY, debs, release};
use crate::init::mount;
use crate::paths::{LAYER, LAYER_LEFT, PACKAGES_FAILED, RELEASE};
use crate::probe::Root;
use crate::update::board::Place;

/// Where a stage is mounted. In a directory that root alone can enter.
const STAGE: &str = "/run/hypriot/private/stage";
/// The kernel's routes: without one nothing can be fetched.
const ROUTES: [&str; 2] = ["/proc/net/route", "/proc/net/ipv6_route"];
/// So often the archives are asked, so far apart: the network comes up while this runs.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(15);
/// On a start that nobody judges, the agent waits no longer for this.
const PATIENCE: Duration = Duration::from_mins(15);
/// On trial so much is left, of the time in which it must be judged, for the restart to be an orderly one.
const MARGIN: u64 = 60;

/// This board, seen by a process that is [`super::stage::apart`].
pub fn here() -> anyhow::Result<Site> {
    let place = Place::find()?;
    Ok(Site {
        image: Image::Device(place.card.partition_node(&layout::root(place.booted))),
        live: PathBuf::from("/"),
        at: PathBuf::from(STAGE),
        store: Store::new(DIRECTORY),
    })
}

/// How much time there is.
pub fn patience(uptime: u64) -> anyhow::Result<Duration> {
    let place = Place::find()?;
    let state = place.boot()?.state().context("reading the boot state")?;
    let left = state
        .on_trial(place.booted)
        .map(|trial| Duration::from_secs(trial.deadline.saturating_sub(uptime + MARGIN)));
    Ok(left.map_or(PATIENCE, |left| left.min(PATIENCE)))
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// All is as it should be, or nothing can be done about it.
    Goes,
    /// A layer was made: the board must restart.
    Restart,
}

/// Does what is to be done, in this time.
pub fn at_start(site: &Site, limit: Duration) -> anyhow::Result<Start> {
    let (store, root) = (&site.store, Root::new(&site.live));
    store.clear_building()?;
    let release = release::id(&site.pristine())?;
    standing::note(&root, RELEASE, &release);
    let standing = standing::look(&root);
    tracing::info!("{}", standing.line());
    let start = match standing {
        // one that was left out would be left out again, or its cause is gone with the next start
        Standing::Missing { .. } if !root.exists(LAYER_LEFT) => {
            match again(site, &wanted::load(store)?, Limit::of(limit), &mut log) {
                Ok(layer) => {
                    tracing::info!("made layer {}", layer.name);
                    Start::Restart
                }
                Err(error) => {
                    tracing::error!("the owner's packages: {error:#}");
                    standing::note(&root, PACKAGES_FAILED, &format!("{error:#}"));
                    Start::Goes
                }
            }
        }
        _ => Start::Goes,
    };
    tidy(site, &release)?;
    Ok(start)
}

fn log(told: Tell<'_>) {
    match told {
        Tell::Stage(what) => tracing::info!("{what}"),
        Tell::Line(line) => tracing::debug!("{line}"),
    }
}

/// Makes a layer of what is wanted for this release: of the packages that are kept, or else with the network.
pub fn again(
    site: &Site,
    wanted: &Wanted,
    limit: Limit,
    tell: &mut dyn FnMut(Tell<'_>),
) -> anyhow::Result<Layer> {
    let mut order = Order {
        site,
        wanted,
        source: Source::Kept,
        limit,
        tell,
    };
    let offline = if debs::known(&site.store)?.is_empty() && !wanted.is_empty() {
        anyhow::anyhow!("no packages are kept")
    } else {
        match build::build(&mut order) {
            Ok(layer) => return Ok(layer),
            Err(error) => error,
        }
    };
    order.source = Source::Network;
    let mut tries = 1;
    loop {
        let error = if is_routed() {
            match build::build(&mut order) {
                Ok(layer) => return Ok(layer),
                Err(error) if error.is::<Refusal>() => return Err(error),
                Err(error) => error,
            }
        } else {
            anyhow::anyhow!("there is no network")
        };
        if tries == TRIES || limit.left().is_ok_and(|left| left < PAUSE) || limit.left().is_err() {
            bail!("{error:#}; and with what is kept: {offline:#}");
        }
        tries += 1;
        sleep(PAUSE);
    }
}

/// Whether any packet could leave the board: a route by default, or to anywhere but itself.
fn is_routed() -> bool {
    let routes = |path: &&str| std::fs::read_to_string(path).unwrap_or_default();
    let other = |line: &str| {
        line.split_whitespace()
            .next_back()
            .is_some_and(|name| name != "lo")
            && !line.contains("Iface")
            && !line.starts_with("lo\t")
    };
    ROUTES.iter().any(|path| routes(path).lines().any(other))
}

/// Removes layers of releases that lie in no slot any more.
pub fn tidy(site: &Site, release: &str) -> anyhow::Result<()> {
    let in_use = Root::new(&site.live).text(LAYER).ok();
    let in_use = in_use.as_deref().map(str::trim);
    let other = match other(site) {
        Ok(other) => Some([release.to_owned(), other]),
        // empty, half written, or not to be read: what it needs is not known
        Err(error) => {
            tracing::debug!("the other slot: {error:#}");
            None
        }
    };
    layer::prune(
        &site.store,
        other.as_ref().map(<[String; 2]>::as_slice),
        in_use,
    )
}

/// The release in the other slot.
fn other(site: &Site) -> anyhow::Result<String> {
    let Image::Device(_) = site.image else {
        bail!("this system has no slots")
    };
    let place = Place::find()?;
    let (device, at) = (
        place.card.partition_node(&layout::root(!place.booted)),
        site.at.join("other"),
    );
    std::fs::create_dir_all(&at)?;
    mount(
        &device,
        &at,
        Some("erofs"),
        nix::mount::MsFlags::MS_RDONLY,
        None,
    )?;
    let id = release::id(&at);
    nix::mount::umount(&at)?;
    id
}
