//! How long a full image takes into a slot: our agent, RAUC and SWUpdate, each with its own file of the same two images, from the
//! same server into the same partitions of a card in a file. `zstd -d` of the same bytes into the same partitions is the limit.
//!
//! * Ours fetches ranges, checks each segment before it is written, syncs, and reads all of it back past the cache.
//! * SWUpdate streams (`installed-directly`), zstd inside of its archive, and checks a SHA-256 while it writes.
//! * RAUC can stream only over NBD and dm-verity of the kernel. A machine without them gives it a `plain` bundle, which it takes from
//!   a file: the download, by zstd's own measure a copy, is part of its time.
//!
//! Each goes over a slot that holds something else, several times, in turn; the best of each counts, since the rest is what
//! others do on this machine. After each the slot is compared: a race over half of the way proves nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hypriot_imagegen::files;
use hypriot_imagegen::inputs::{board, recipe};
use hypriot_imagegen::pipeline::root_tree;
use hypriot_imagegen::progress::Progress;
use hypriot_imagegen::release;
use hypriot_updater::index::Index;
use hypriot_updater::slot::Slot;

use self::rauc::Rauc;
use self::swupdate::SwUpdate;
use super::made::{BOARD, Made, Releases};
use super::mirror;
use crate::loop_board::{LoopBoard, Running};
use crate::narrate::Narrator;
use crate::peers::{self, Whole};
use crate::serve::Server;
use crate::{exec, papers};

mod rauc;
mod swupdate;

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_mins(20);
/// How often each has its turn.
const ROUNDS: usize = 3;
/// The images of a slot, in the order of the index.
const NAMES: [&str; 2] = ["boot.img", "root.img"];

/// What one installation took.
#[derive(Debug, Clone, Copy)]
struct Took {
    seconds: f64,
    /// The largest process, MiB.
    rss: f64,
}

/// The best of several.
#[derive(Debug, Clone, Copy)]
struct Best(Took);

impl Best {
    fn of(all: &[Took]) -> Option<Self> {
        let seconds = all.iter().map(|t| t.seconds).reduce(f64::min)?;
        let rss = all.iter().map(|t| t.rss).reduce(f64::max)?;
        Some(Self(Took { seconds, rss }))
    }
}

/// Measures, and prints `bench-install: …` as the last line.
pub fn run() -> Result<()> {
    let mut n = Narrator::new(4);
    let cache = papers::root().join(".cache");
    let dir = mirror::fresh(cache.join("bench-install"))?;
    let (zstd, rauc, swupdate) = n.step("the programs of others", |_| {
        anyhow::Ok((peers::ZSTD.whole()?, Rauc::get(&dir)?, SwUpdate::get(&dir)?))
    })?;
    let releases = Releases::new(&dir)?;
    let made = n.step("a release with its card", |_| {
        let (board, recipe) = (board::find(BOARD)?, recipe::load(None)?);
        let lock = root_tree::fetch(&recipe, &board, &peers::options(&cache), Progress::auto())?;
        let nothing = dir.join("overlay");
        fs::create_dir_all(&nothing)?;
        releases.make("1.0.0", &lock, &nothing, None)
    })?;
    let place = n.step("the same images as bundles of others", |n| {
        Place::new(
            &dir,
            &releases,
            &made,
            &zstd,
            [&rauc.work, &swupdate.work],
            n,
        )
    })?;
    rauc.bundle(&place)?;
    swupdate.archive(&place)?;
    let runs = n.step("installations, in turn", |n| {
        let mut runs: [Vec<Took>; 4] = Default::default();
        for round in 1..=ROUNDS {
            let all: [(&str, &dyn Fn() -> Result<Took>); 4] = [
                ("zstd", &|| place.zstd(&zstd)),
                ("ours", &|| place.ours()),
                ("rauc", &|| rauc.install(&place)),
                ("swupdate", &|| swupdate.install(&place)),
            ];
            for ((name, install), took) in all.into_iter().zip(&mut runs) {
                place.dirty()?;
                let this = install().with_context(|| format!("installing with {name}"))?;
                place
                    .compare()
                    .with_context(|| format!("what {name} installed"))?;
                n.say(&format!(
                    "      round {round}: {name} {:.2} s, {:.1} MiB",
                    this.seconds, this.rss
                ));
                took.push(this);
            }
        }
        anyhow::Ok(runs)
    })?;
    let best = |took: &[Took]| Best::of(took).map(|best| best.0).context("no rounds");
    let [limit, ours, rauc, swupdate] = &runs;
    let (limit, ours) = (best(limit)?, best(ours)?);
    let (rauc, swupdate) = (best(rauc)?, best(swupdate)?);
    n.say(
        "\nRAUC took a plain bundle that was downloaded first: streaming needs NBD and dm-verity in the kernel, and neither it nor \
         SWUpdate reads back what it wrote",
    );
    n.say(&last_line(limit, ours, rauc, swupdate));
    drop(place);
    mirror::fresh(dir).map(drop)
}

/// The line that scripts read.
fn last_line(limit: Took, ours: Took, rauc: Took, swupdate: Took) -> String {
    format!(
        "bench-install: ours={:.2} rauc={:.2} swupdate={:.2} zstd_limit={:.2} rss_ours={:.1} rss_rauc={:.1}",
        ours.seconds, rauc.seconds, swupdate.seconds, limit.seconds, ours.rss, rauc.rss
    )
}

/// The card, the server, and the images that everybody installs.
struct Place {
    board: LoopBoard,
    server: Server,
    site: PathBuf,
    /// The images, and as zstd has them.
    images: [PathBuf; 2],
    packed: [PathBuf; 2],
}

impl Place {
    fn new(
        dir: &Path,
        releases: &Releases,
        made: &Made,
        zstd: &Whole,
        works: [&Path; 2],
        n: &Narrator,
    ) -> Result<Self> {
        let site = releases.publish(made)?;
        let images = NAMES.map(|name| dir.join(name));
        split(&made.index, &dir.join("slot"), &images)?;
        let packed = NAMES.map(|name| dir.join(format!("{name}.zst")));
        for (image, packed) in images.iter().zip(&packed) {
            let mut pack = zstd.command("usr/bin/zstd")?;
            pack.arg(format!("-{}", release::LEVEL)).args(["-q", "-f"]);
            pack.arg(image).arg("-o").arg(packed);
            exec::run(pack, LIMIT)?;
            for work in works {
                link(image, work)?;
                link(packed, work)?;
            }
        }
        let total = |all: &[PathBuf; 2]| -> Result<u64> {
            Ok(fs::metadata(&all[0])?.len() + fs::metadata(&all[1])?.len())
        };
        n.say(&format!(
            "      {} MB, {} MB as zstd, {} MB as our payload",
            total(&images)? / 1_000_000,
            total(&packed)? / 1_000_000,
            made.sizes()?.0 / 1_000_000
        ));
        let card = made.image.as_deref().context("the release has a card")?;
        let running = Running {
            agent: &papers::root().join("target/release/hypriot-agent"),
            board: BOARD,
            // older than what is installed
            version: "0.9.0",
            trust_root: &releases.trust_root(),
        };
        Ok(Self {
            board: LoopBoard::new(card, &dir.join("board"), running)?,
            server: Server::start(&site, 0)?,
            site,
            images,
            packed,
        })
    }

    /// The devices that are written: boot, root.
    fn slot(&self) -> [&Path; 2] {
        self.board.devices(Slot::B)
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.server.url())
    }

    /// Something else in the slot, that looks like a system: everything lies a sector further in front.
    fn dirty(&self) -> Result<()> {
        for (image, device) in self.images.iter().zip(self.slot()) {
            let mut from = File::open(image)?;
            from.seek(SeekFrom::Start(512))?;
            let mut to = OpenOptions::new().write(true).open(device)?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()?;
        }
        Ok(())
    }

    /// Whether the slot holds the images.
    fn compare(&self) -> Result<()> {
        for (image, device) in self.images.iter().zip(self.slot()) {
            let (mut image, mut device) = (File::open(image)?, File::open(device)?);
            let (mut shall, mut is) = (vec![0; 1 << 20], vec![0; 1 << 20]);
            let mut left = image.metadata()?.len();
            while left > 0 {
                let len = usize::try_from(left.min(1 << 20))?;
                image.read_exact(&mut shall[..len])?;
                device.read_exact(&mut is[..len])?;
                ensure!(
                    shall[..len] == is[..len],
                    "the slot is not the release, {left} bytes before the end"
                );
                left -= len as u64;
            }
        }
        Ok(())
    }

    fn ours(&self) -> Result<Took> {
        let done = self.board.install(&self.url(""))?;
        ensure!(
            done.well,
            "the agent did not install the release: {}",
            done.said
        );
        Ok(Took {
            seconds: done.took.as_secs_f64(),
            rss: done.rss,
        })
    }

    /// The limit: one thread that decodes, the kernel that writes behind it.
    fn zstd(&self, zstd: &Whole) -> Result<Took> {
        let begun = Instant::now();
        for (packed, device) in self.packed.iter().zip(self.slot()) {
            let device = OpenOptions::new().write(true).open(device)?;
            let mut decode = zstd.command("usr/bin/zstd")?;
            decode.args(["-d", "-c", "-q", "--no-sparse"]).arg(packed);
            decode.stdout(device.try_clone()?);
            let ended = exec::wait(decode.spawn()?, LIMIT)?;
            ensure!(ended.status.success(), "zstd: {}", ended.status);
            device.sync_all()?;
        }
        Ok(Took {
            seconds: begun.elapsed().as_secs_f64(),
            rss: 0.0,
        })
    }

    /// A file for the server.
    fn serve(&self, file: &Path) -> Result<()> {
        link(file, &self.site)
    }
}

/// The images of a release, as files.
fn split(index: &Path, scratch: &Path, images: &[PathBuf; 2]) -> Result<()> {
    release::unpack(index, &File::create(scratch)?)?;
    let index = Index::parse(&fs::read(index)?)?;
    let mut whole = File::open(scratch)?;
    for (image, to) in index.images.iter().zip(images) {
        files::replace_with(to, |file| {
            io::copy(&mut (&mut whole).take(image.size), file)
        })?;
        ensure!(
            fs::metadata(to)?.len() == image.size,
            "{} is not whole",
            to.display()
        );
    }
    Ok(fs::remove_file(scratch)?)
}

/// The same file in another folder.
fn link(file: &Path, folder: &Path) -> Result<()> {
    let to = folder.join(file.file_name().context("a file has a name")?);
    drop(fs::remove_file(&to));
    fs::hard_link(file, &to).with_context(|| format!("linking {}", to.display()))
}

/// `took=1.25 kib=10240`, as a script of a peer says it last.
fn said(output: &str) -> Result<Took> {
    let number = |key: &str| -> Option<f64> {
        let words = output.split_ascii_whitespace().rev();
        let mut found = words.filter_map(|word| word.strip_prefix(key));
        found.next()?.parse().ok()
    };
    let took = number("took=").zip(number("kib="));
    let (seconds, kib) = took.with_context(|| format!("it said no time and memory: {output}"))?;
    Ok(Took {
        seconds,
        rss: kib / 1024.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_scripts_read() {
        let took = |seconds, rss| Took { seconds, rss };
        let line = last_line(
            took(1.004, 0.0),
            took(1.2, 12.34),
            took(4.5, 10.0),
            took(3.0, 7.0),
        );
        assert_eq!(
            line,
            "bench-install: ours=1.20 rauc=4.50 swupdate=3.00 zstd_limit=1.00 rss_ours=12.3 rss_rauc=10.0"
        );
    }

    #[test]
    fn the_best_time_counts_and_the_largest_memory() {
        let all = [(2.0, 5.0), (1.0, 4.0), (3.0, 6.0)];
        let best = Best::of(&all.map(|(seconds, rss)| Took { seconds, rss })).unwrap();
        assert_eq!((best.0.seconds, best.0.rss), (1.0, 6.0));
        let took = said("took=9 kib=1\nnoise\ntook=1.5 kib=2048\n").unwrap();
        assert_eq!((took.seconds, took.rss), (1.5, 2.0));
        assert!(said("took=1.5\n").is_err());
    }
}
