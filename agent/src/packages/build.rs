//! Makes a layer: asks apt what it would do, judges that, and lets it do so in a [`Stage`]. What is not finished never counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::apt::{self, Plan};
use super::layer::{self, Deb, Layer, Record, UPPER};
use super::stage::{Site, Stage};
use super::store::{Store, remove_tree};
use super::wanted::Wanted;
use super::{debs, dpkg, release, shadow};
use crate::exec::{Cmd, Output};
use crate::files;

/// So much of the data partition is left to everybody else.
const LEFT: u64 = 128 << 20;
/// What an overlay and its records take besides the files.
const SPARE: u64 = 16 << 20;
/// What apt prints for a long list of packages.
const PRINTED: usize = 8 << 20;
/// Of what a layer takes along without need: logs of how it was made, and caches.
const LITTER: [&str; 7] = [
    "var/log/apt",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/lib/dpkg/lock",
];

/// Where packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Those that are kept, and no others.
    Kept,
    /// The archives that the owner's apt knows.
    Network,
}

/// What is told while a layer is made.
#[derive(Debug, Clone, Copy)]
pub enum Tell<'a> {
    /// What is done now.
    Stage(&'static str),
    /// What apt prints.
    Line(&'a str),
}

/// Until when it must be done.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    began: Instant,
    whole: Duration,
}

impl Limit {
    /// So much from now on.
    pub fn of(whole: Duration) -> Self {
        Self {
            began: Instant::now(),
            whole,
        }
    }

    /// What is left of it.
    pub fn left(&self) -> anyhow::Result<Duration> {
        let left = self.whole.checked_sub(self.began.elapsed());
        left.filter(|left| !left.is_zero())
            .with_context(|| format!("it took longer than {} s", self.whole.as_secs()))
    }
}

/// What is to be made.
pub struct Order<'a> {
    /// Where.
    pub site: &'a Site,
    /// What is wanted, all of it.
    pub wanted: &'a Wanted,
    /// From where.
    pub source: Source,
    /// In which time.
    pub limit: Limit,
    /// Who hears how it goes.
    pub tell: &'a mut dyn FnMut(Tell<'_>),
}

impl std::fmt::Debug for Order<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("wanted", &self.wanted)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// What apt would do for this order. Nothing is kept of it.
pub fn rehearse(order: &mut Order<'_>) -> anyhow::Result<Plan> {
    begin(&order.site.store)?;
    let stage = Stage::set_up(order.site, order.source)?;
    let plan = plan(&stage, order)?;
    stage.leave()?;
    order.site.store.clear_building()?;
    Ok(plan)
}

/// Makes the layer. It counts from the next start of the board on.
pub fn build(order: &mut Order<'_>) -> anyhow::Result<Layer> {
    let made = make(order);
    if made.is_err() {
        order.site.store.clear_building()?;
    }
    made
}

fn begin(store: &Store) -> anyhow::Result<()> {
    store.make()?;
    store.clear_building()?;
    files::make_directories(&store.building())?;
    Ok(())
}

fn make(order: &mut Order<'_>) -> anyhow::Result<Layer> {
    let (site, store) = (order.site, &order.site.store);
    let release = release::id(&site.pristine())?;
    begin(store)?;
    let building = store.building();
    let mut packages = BTreeMap::new();
    let mut used = Vec::new();
    if order.wanted.is_empty() {
        files::make_directories(&building.join(UPPER))?;
    } else {
        let mut stage = Stage::set_up(site, order.source)?;
        let plan = plan(&stage, order)?;
        used = install(&stage, order)?;
        (order.tell)(Tell::Stage("checking"));
        let cache = stage.loader_cache()?;
        whole(&stage, order.wanted)?;
        shadow::judge(&building.join(UPPER), &site.pristine(), stage.root())?;
        stage.leave()?;
        packages.extend(plan.new);
        finish(&building, &cache)?;
    }
    remove_tree(&building.join("work"))?;
    remove_tree(&store.fetched())?;
    let record = Record::new(&release, order.wanted, packages, used);
    order.limit.left()?;
    layer::appear(store, &record, &building)
}

fn run(cmd: Cmd, what: &'static str, order: &mut Order<'_>) -> anyhow::Result<Output> {
    let cmd = cmd
        .timeout(order.limit.left()?)
        .keep(PRINTED)
        .shown_lines(12);
    let tell = &mut order.tell;
    let output = cmd.run_telling(|line| tell(Tell::Line(line)));
    output.context(what)
}

/// Asks apt, and judges. An archive that does not answer is no end: what is wanted may be in another one, or its list here already.
fn plan(stage: &Stage, order: &mut Order<'_>) -> anyhow::Result<Plan> {
    (order.tell)(Tell::Stage("asking apt"));
    let lists = run(
        stage.apt_get(order.source).arg("update"),
        "reading the archives' lists",
        order,
    )?;
    let said = String::from_utf8_lossy(&lists.stderr).into_owned();
    let trouble: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("Failed to fetch"))
        .take(3)
        .collect();
    let asked = install_of(stage, order)
        .arg("--simulate")
        .timeout(order.limit.left()?)
        .keep(PRINTED);
    let simulated = match asked.shown_lines(12).run() {
        Ok(simulated) => simulated,
        Err(error) if trouble.is_empty() => {
            return Err(error).context("asking apt what it would do");
        }
        Err(error) => bail!("{}; and so {error}", trouble.join("; ")),
    };
    let plan = apt::plan(&simulated.text());
    apt::judge(&plan)?;
    Ok(plan)
}

fn install_of(stage: &Stage, order: &Order<'_>) -> Cmd {
    let names = order.wanted.names().iter().map(super::wanted::Name::as_str);
    stage.apt_get(order.source).arg("install").args(names)
}

/// Fetches and installs. Gives the packages that were used.
fn install(stage: &Stage, order: &mut Order<'_>) -> anyhow::Result<Vec<Deb>> {
    let store = &order.site.store;
    let asked = install_of(stage, order)
        .arg("--print-uris")
        .timeout(order.limit.left()?)
        .keep(PRINTED);
    let uris = asked
        .run()
        .context("asking apt what it would fetch")?
        .text();
    let used = match order.source {
        Source::Network => {
            let size = apt::download_size(&uris);
            room(store, size)?;
            (order.tell)(Tell::Stage("fetching"));
            run(
                install_of(stage, order).args(["--no-remove", "--download-only"]),
                "fetching the packages",
                order,
            )?;
            fetched(stage, order)?
        }
        Source::Kept => kept(stage, store, &uris)?,
    };
    let mut size = 0;
    for deb in &used {
        size += debs::installed_size(&debs::control(&store.debs().join(&deb.file))?);
    }
    room(store, size)?;
    (order.tell)(Tell::Stage("installing"));
    let install = match order.source {
        Source::Network => install_of(stage, order).args(["--no-remove", "--no-download"]),
        // here fetching is how apt learns where the files lie
        Source::Kept => install_of(stage, order).arg("--no-remove"),
    };
    run(install, "installing the packages", order)?;
    Ok(used)
}

/// Keeps what was fetched, or was there: once all is, the plan's packages are those of apt's folder that bear their names and versions.
fn fetched(stage: &Stage, order: &mut Order<'_>) -> anyhow::Result<Vec<Deb>> {
    let store = &order.site.store;
    let asked = install_of(stage, order)
        .arg("--simulate")
        .timeout(order.limit.left()?)
        .keep(PRINTED);
    let plan = apt::plan(&asked.run()?.text());
    let there = debs::present(&store.fetched());
    // apt-pkg/acquire-item.cc: name_version_arch.deb, with ':' as %3a
    let file = |(name, version): &(String, String)| {
        let name = name.split(':').next().unwrap_or_default();
        let begin = format!("{name}_{}_", version.replace(':', "%3a"));
        let found = there.iter().find(|file| file.starts_with(&begin));
        found.with_context(|| format!("{name} {version} was fetched and is not there"))
    };
    plan.new
        .iter()
        .map(|package| debs::keep(store, file(package)?))
        .collect()
}

/// In the stage's own archive packages have numbers, which lead to their names.
fn kept(stage: &Stage, store: &Store, uris: &str) -> anyhow::Result<Vec<Deb>> {
    let known = debs::known(store)?;
    let paths = uris.lines().filter_map(|line| {
        let (uri, _) = line.strip_prefix('\'')?.split_once('\'')?;
        Some(
            uri.strip_prefix("file:")?
                .trim_start_matches('/')
                .replace("/./", "/"),
        )
    });
    let deb = |path: String| {
        let to = fs::read_link(stage.root().join(&path))
            .with_context(|| format!("looking at {path}"))?;
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        known
            .get(&*name)
            .cloned()
            .with_context(|| format!("{name} is not known"))
    };
    paths.map(deb).collect()
}

fn room(store: &Store, size: u64) -> anyhow::Result<()> {
    let free = files::room(store.directory()).context("asking how much room there is")?;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    ensure!(
        free > size.saturating_add(LEFT + SPARE),
        "there is not enough room on the data partition: {} MiB are free, {} MiB are needed and {} MiB stay free for everything else",
        mib(free),
        mib(size),
        mib(LEFT)
    );
    Ok(())
}

/// Whether all that is wanted is there, and configured.
fn whole(stage: &Stage, wanted: &Wanted) -> anyhow::Result<()> {
    let status = dpkg::load(stage.root())?;
    let broken: Vec<&str> = status
        .iter()
        .filter(|(_, p)| !p.whole)
        .map(|((name, _), _)| name.as_str())
        .collect();
    let gone = wanted
        .names()
        .iter()
        .map(super::wanted::Name::package)
        .filter(|name| !dpkg::has(&status, name));
    let gone: Vec<&str> = gone.collect();
    if gone.is_empty() {
        // what was half removed on the image itself is the image's
        tracing::debug!("not whole: {}", broken.join(", "));
        return Ok(());
    }
    bail!(
        "{} is not installed as a package of that name (a virtual one? Name the one that you want)",
        gone.join(", ")
    )
}

/// What is left to do on an upper directory that nobody uses.
fn finish(building: &Path, cache: &[u8]) -> anyhow::Result<()> {
    let upper = building.join(UPPER);
    for name in LITTER {
        let path = upper.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => remove_tree(&path)?,
            Ok(_) => files::remove(&path)?,
            Err(_) => (),
        }
    }
    files::make_directories(&upper.join("etc"))?;
    Ok(files::replace(
        &upper.join("etc/ld.so.cache"),
        cache,
        0o644,
    )?)
}
