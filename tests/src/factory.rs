//! Owns what the demo and the board tests are made of: the agent, keys, an image, releases and the folder they are
//! published in. Everything is made by the programs a maintainer uses, and kept in the project's cache.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hypriot_imagegen::inputs::board::{self, Board};

use crate::exec;
use crate::scratch;
use crate::steps::Scenario;

/// The board that stands for all others in demo and tests.
pub const VIRTUAL: &str = "qemu-arm64";
/// The port the update server listens on; the image is told, so it is always the same.
pub const PORT: u16 = 8099;
/// QEMU's user network shows this machine to the board under this address (QEMU, "Network emulation").
pub(crate) const HOST_SEEN_FROM_BOARD: &str = "10.0.2.2";
/// The name of the agent's payload files ends like this.
const PAYLOAD: &str = ".payload";

/// Where a master boot record has its four partitions.
const PARTITIONS: u64 = 446;

/// A release of the scenarios.
#[derive(Debug, Clone, Copy)]
struct Edition {
    /// What scenarios call it.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// Its own files: path in the image, and text.
    files: &'static [(&'static str, &'static str)],
}

/// The edition a card is flashed with.
const FIRST: &str = "v1";
/// All of them.
const EDITIONS: [Edition; 5] = [
    Edition {
        name: FIRST,
        version: "1.0.0",
        files: &[],
    },
    Edition {
        name: "v2",
        version: "1.1.0",
        files: &[(
            "etc/motd",
            "This is release 1.1.0 of the demo: the message of the day is new.\n",
        )],
    },
    Edition {
        name: "v3",
        version: "1.2.0",
        files: &[("usr/share/hypriot/selftest.d/50-demo.yaml", BROKEN)],
    },
    Edition {
        name: "v4",
        version: "1.3.0",
        files: &[("etc/motd", "This is release 1.3.0 of the demo.\n")],
    },
    Edition {
        name: "faulty",
        version: "1.4.0",
        files: &[
            (
                "usr/share/hypriot-faults/agent.sh",
                include_str!("../steps/faults/agent.sh"),
            ),
            (
                "etc/systemd/system/hypriot-agent.service.d/90-faults.conf",
                include_str!("../steps/faults/run.conf"),
            ),
            (
                "etc/systemd/system/hypriot-trial-expire.service.d/90-faults.conf",
                include_str!("../steps/faults/expire.conf"),
            ),
        ],
    },
];

/// What every edition has on top of an ordinary image: `/health` also says why an update failed, to anybody who asks.
const TALKATIVE: (&str, &str) = (
    "etc/systemd/system/hypriot-health.service.d/10-demo.conf",
    "[Service]\nExecStart=\nExecStart=/usr/bin/hypriot-agent serve --detail\n",
);

/// A self-test that cannot pass.
const BROKEN: &str = "\
# This release is broken on purpose: it requires a file that it does not have.
file:
  /usr/share/hypriot/missing-on-purpose:
    exists: true
    severity: required
";

/// The place where things are made.
#[derive(Debug)]
pub struct Factory {
    root: PathBuf,
    /// What can be made again.
    pub dir: PathBuf,
    /// What images and releases are made for.
    pub board: Board,
    /// Further arguments for `hypriot-imagegen image`.
    image_args: Vec<String>,
}

impl Factory {
    /// The factory of this workspace, for the virtual board.
    pub fn new() -> Result<Self> {
        Self::of(board::find(VIRTUAL)?, Vec::new())
    }

    /// The factory for a board, with these further arguments for `hypriot-imagegen image`.
    pub fn of(board: Board, image_args: Vec<String>) -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .parent()
            .context("the tests crate lies in the workspace")?
            .to_owned();
        let cache =
            std::env::var_os("HYPRIOT_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from);
        let dir = cache.join("demo");
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(Self {
            root,
            dir,
            board,
            image_args,
        })
    }

    /// The version of a release; a name nobody knows is its own version.
    pub fn version(&self, name: &str) -> String {
        EDITIONS
            .iter()
            .find(|e| e.name == name)
            .map_or(name, |e| e.version)
            .to_owned()
    }

    /// Whether the server's file of this name is a release's payload.
    pub fn is_payload(name: &str) -> bool {
        name.ends_with(PAYLOAD)
    }

    /// The folder the server serves.
    pub fn repository(&self) -> PathBuf {
        self.dir.join("repository")
    }

    /// The project's cache, in which the factory's folder lies.
    pub fn cache(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    /// What the image's own tests expect of the board it is started on.
    pub fn expectations(&self) -> PathBuf {
        self.made()
            .join(format!("{}.selftest.yaml", self.stem(FIRST)))
    }

    /// The image that is flashed.
    pub fn image(&self) -> PathBuf {
        self.made().join(format!("{}.img", self.stem(FIRST)))
    }

    /// Flashes the image into a file of `dir`, as an owner does it, with this user-data and `more` arguments.
    pub fn flash(&self, dir: &Path, user_data: &str, more: &[&str]) -> Result<PathBuf> {
        let (mine, to) = (dir.join("mine.yaml"), dir.join("flashed.img"));
        write(&mine, user_data)?;
        let (image, to_text, mine) = (text(&self.image()), text(&to), text(&mine));
        let args = ["flash", &image, &to_text, "--yes", "--userdata", &mine];
        self.imagegen(&[&args[..], more].concat())
            .context("flashing")?;
        Ok(to)
    }

    /// Builds the host tools and has them install what this machine lacks.
    pub fn tools(&self) -> Result<()> {
        self.programs()?;
        let purposes = ["--for", "agent", "--for", "image", "--for", "board"];
        self.imagegen(&[&["doctor", "--install"][..], &purposes].concat())
            .map(drop)
    }

    /// Builds the host tools. `cargo test` builds no programs of other crates.
    pub fn programs(&self) -> Result<()> {
        let mut cargo = exec::cargo();
        // the whole workspace: with `-p` the dependencies would get other features, and be built once more
        cargo
            .current_dir(&self.root)
            .args(["build", "--workspace", "--bins"]);
        exec::run_shown(cargo, Duration::from_mins(40)).map(drop)
    }

    /// Builds the agent for a target and gives its path.
    pub fn agent(&self, target: &str) -> Result<PathBuf> {
        self.imagegen(&[
            "agent",
            "--quick",
            "--target",
            target,
            "--out",
            &text(&self.dir),
        ])?;
        Ok(self.agent_path(target))
    }

    /// Builds the agent for the board and gives its path.
    pub fn own_agent(&self) -> Result<PathBuf> {
        self.agent(&self.board.agent_target)
    }

    /// Builds the agent for several targets, with the time that everything else leaves over.
    pub fn agents_aside(&self, targets: &[&str]) -> Result<()> {
        let dir = text(&self.dir);
        let mut args = vec!["agent", "--quick", "--out", &dir];
        args.extend(targets.iter().flat_map(|target| ["--target", target]));
        let mut nice = exec::command("nice");
        nice.args(["-n", "19"])
            .arg(exec::workspace_program("hypriot-imagegen")?);
        self.finish(nice, &args).map(drop)
    }

    /// Where the agent for a target lies.
    pub fn agent_path(&self, target: &str) -> PathBuf {
        self.dir.join(format!("hypriot-agent-{target}"))
    }

    /// Makes the key that releases are signed with, and the repository's first root. Once: both are baked into images.
    pub fn keys(&self) -> Result<()> {
        if self.trust_root().is_file() {
            return Ok(());
        }
        // The folder gets its name when it is complete.
        let part = tempfile::Builder::new()
            .prefix("keys-")
            .tempdir_in(&self.dir)?;
        let path = |name: &str| text(&part.path().join(name));
        self.hypriot_keys(&["generate", &path("demo.key")])?;
        self.hypriot_keys(&["init", &path("repo"), "--key", &path("demo.pub")])?;
        self.hypriot_keys(&[
            "publish",
            &path("repo"),
            &path("site"),
            "--key",
            &path("demo.key"),
        ])?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a cache: lost by a power cut, it is made again"
        )]
        std::fs::rename(part.keep(), self.keys_dir()).context("naming the folder of keys")
    }

    /// Makes the image a card is flashed with and what the scenario publishes.
    pub fn releases(&self, scenario: &Scenario) -> Result<()> {
        let published = scenario.published();
        EDITIONS
            .iter()
            .map(|edition| edition.name)
            .filter(|name| *name == FIRST || published.contains(name))
            .try_for_each(|name| self.release(name))
    }

    /// Makes the release called `name`; the one a card is flashed with also as an image. A board comes from the release
    /// before it, so there is a delta from that one: each costs as much time as all the rest.
    pub fn release(&self, name: &str) -> Result<()> {
        let number = EDITIONS
            .iter()
            .position(|e| e.name == name)
            .with_context(|| format!("no release {name:?}"))?;
        let edition = &EDITIONS[number];
        let overlay = self.dir.join("overlays").join(edition.name);
        std::fs::create_dir_all(&overlay)?;
        for (path, content) in [&TALKATIVE].into_iter().chain(edition.files) {
            write(&overlay.join(path), content)?;
        }
        let url = format!("http://{HOST_SEEN_FROM_BOARD}:{PORT}/");
        let agent = self.agent_path(&self.board.agent_target);
        let root = self.trust_root();
        let (agent, root, overlay, out) = (
            text(&agent),
            text(&root),
            text(&overlay),
            text(&self.made()),
        );
        let mut args = vec![
            "image",
            "--board",
            &self.board.name,
            "--version",
            edition.version,
            "--agent",
            &agent,
        ];
        args.extend([
            "--overlay",
            &overlay,
            "--trust-root",
            &root,
            "--update-url",
            &url,
        ]);
        args.extend(["--poll-seconds", "10", "--level", "1", "--out", &out]);
        if name != FIRST {
            args.push("--release-only");
        }
        let before = number
            .checked_sub(1)
            .map(|before| text(&self.index(EDITIONS[before].name)))
            .filter(|index| Path::new(index).is_file());
        match &before {
            Some(index) => args.extend(["--delta-from", index]),
            None => args.push("--no-delta"),
        }
        args.extend(self.image_args.iter().map(String::as_str));
        self.imagegen(&args).map(drop)
    }

    /// Empties the folder the server serves: a board that starts anew must find no release of an earlier run.
    pub fn clear_repository(&self) -> Result<()> {
        for dir in [self.repository(), self.dir.join("repo")] {
            if dir.exists() {
                std::fs::remove_dir_all(&dir)
                    .with_context(|| format!("emptying {}", dir.display()))?;
            }
        }
        let mut cp = exec::command("cp");
        cp.arg("-r")
            .arg(self.keys_dir().join("repo"))
            .arg(self.dir.join("repo"));
        exec::run(cp, Duration::from_mins(1))?;
        let (repo, site, key) = (
            text(&self.dir.join("repo")),
            text(&self.repository()),
            self.key(),
        );
        self.hypriot_keys(&["publish", &repo, &site, "--key", &key])
            .map(drop)
    }

    /// Signs the release and puts its files where the server finds them.
    pub fn publish(&self, name: &str) -> Result<()> {
        self.publish_to(name, &self.repository())
    }

    /// Signs the release and puts its files on a stick, of which this is the image.
    pub fn stick(&self, name: &str) -> Result<PathBuf> {
        let site = self.dir.join("stick");
        self.publish_to(name, &site)?;
        let image = self.dir.join("stick.img");
        // holes: only what is copied takes room
        let file = std::fs::File::create(&image)?;
        file.set_len(1 << 30)?;
        let at = text(&image);
        let mut mformat = exec::command("mformat");
        mformat.args(["-i", &at, "-v", "HYPRIOT", "-F", "::"]);
        exec::run(mformat, Duration::from_mins(1))?;
        // mformat writes a partition table, too, into the room for boot code: with it there would be two disks to mount
        file.write_all_at(&[0; 64], PARTITIONS)?;
        let mut mcopy = exec::command("mcopy");
        mcopy.args(["-i", &at]);
        for entry in std::fs::read_dir(&site)? {
            mcopy.arg(entry?.path());
        }
        mcopy.arg("::");
        exec::run(mcopy, Duration::from_mins(5))?;
        std::fs::remove_dir_all(&site)?;
        Ok(image)
    }

    fn publish_to(&self, name: &str, site: &Path) -> Result<()> {
        let index = text(&self.index(name));
        let (repo, site, key) = (text(&self.dir.join("repo")), text(site), self.key());
        self.imagegen(&[
            "publish", "--repo", &repo, "--key", &key, "--to", &site, &index,
        ])
        .map(drop)
    }

    /// Images and releases: one folder, so that a release takes over the segments of earlier ones.
    fn made(&self) -> PathBuf {
        self.dir.join("made")
    }

    /// The index of a release.
    fn index(&self, name: &str) -> PathBuf {
        self.made().join(format!("{}.json", self.stem(name)))
    }

    fn stem(&self, name: &str) -> String {
        format!("hypriotos-{}-{}", self.board.name, self.version(name))
    }

    fn keys_dir(&self) -> PathBuf {
        self.dir.join("keys")
    }

    fn key(&self) -> String {
        text(&self.keys_dir().join("demo.key"))
    }

    fn trust_root(&self) -> PathBuf {
        self.keys_dir().join("site/1.root.json")
    }

    /// Runs `hypriot-imagegen` and gives what it printed.
    pub fn imagegen(&self, args: &[&str]) -> Result<String> {
        self.program("hypriot-imagegen", args)
    }

    fn hypriot_keys(&self, args: &[&str]) -> Result<String> {
        self.program("hypriot-keys", args)
    }

    fn program(&self, name: &str, args: &[&str]) -> Result<String> {
        self.finish(exec::command(exec::workspace_program(name)?), args)
    }

    fn finish(&self, mut c: Command, args: &[&str]) -> Result<String> {
        // Keys that sign nothing but what this machine shows itself: their passphrase is no secret.
        c.current_dir(&self.root)
            .args(args)
            .env("HYPRIOT_KEYS_PASSPHRASE", "demo of HypriotOS");
        Ok(exec::run_shown(c, Duration::from_hours(1))?
            .trim()
            .to_owned())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Writes a scratch file; left alone if it is as it should be, so that nothing is built anew because of its date.
fn write(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    scratch::put(path, text)
}
