//! What an owner's `network-config` becomes on a board: cloud-init and netplan of the image's own release, for this machine's
//! processor, carry out every sample. Needs root; without a reachable archive it says so and ends.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test: helpers may panic, and say what was skipped"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hypriot_imagegen::arch::Arch;
use hypriot_imagegen::configure::Mode;
use hypriot_imagegen::exec;
use hypriot_imagegen::fetch::store::Store;
use hypriot_imagegen::files;
use hypriot_imagegen::inputs::userdata::edit::{self, Network};
use hypriot_imagegen::inputs::{board, mirror::Asked, recipe};
use hypriot_imagegen::lock::Lock;
use hypriot_imagegen::pipeline::root_tree;
use hypriot_imagegen::progress::Progress;
use hypriot_imagegen::sandbox::{self, Guest, Plan, Step, Sync};
use hypriot_imagegen::sha256::Sha256;
use serde::Deserialize;

const SAMPLES: &str = include_str!("../src/inputs/userdata/network/samples.toml");
/// What reads a card's network-config on a board, as `recipes/default.toml` has it, and what it starts.
const RECIPE: &str = "name='network'\nversion='1.0.0'\npackages=['cloud-init', 'netplan.io', 'wpasupplicant', 'iw', 'systemd', \
                      'ca-certificates', 'dash']\n";
/// cloud-init's own reading and writing, as `cloud-init init --local` does it, then netplan's.
const RENDER: &str = "\
import sys, yaml
from cloudinit.net import netplan, network_state
config = yaml.safe_load(open(sys.argv[1]))
renderer = netplan.Renderer({'netplan_path': 'etc/netplan/50-cloud-init.yaml', 'postcmds': False})
state = network_state.parse_net_config_data(config.get('network', config), renderer=renderer)
renderer.render_network_state(state)
";
const EACH: &str = "\
cp /usr/share/ca-certificates/mozilla/*.crt /tmp/ && cat /tmp/*.crt > /etc/ssl/certs/ca-certificates.crt
for sample in /samples/*; do
  rm -rf /etc/netplan /run/netplan /run/systemd /run/udev
  mkdir -p $sample/run
  if python3 /render.py $sample/network-config && /usr/libexec/netplan/generate; then echo took > $sample/answer; fi
  for made in netplan systemd udev; do if test -e /run/$made; then cp -a /run/$made $sample/run/; fi; done
done > /said 2>&1
";

#[derive(Deserialize)]
struct Samples {
    sample: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    name: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    wifi: Vec<Radio>,
    country: Option<String>,
    refused: Option<String>,
    netplan: Option<String>,
    #[serde(default)]
    units: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Radio {
    ssid: String,
    password: Option<String>,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    wpa3: bool,
}

impl Sample {
    fn text(&self) -> String {
        let networks = self.wifi.iter().map(|r| Network {
            ssid: r.ssid.clone(),
            password: r.password.clone(),
            hidden: r.hidden,
            wpa3: r.wpa3,
        });
        match networks.collect::<Vec<_>>().as_slice() {
            [] => self.text.clone(),
            some => edit::wifi(some, self.country.as_deref()),
        }
    }

    /// What is wrong with what netplan made of it.
    fn wrong(&self, made: &Path) -> Option<String> {
        let took = made.join("answer").exists();
        let should = self.refused.is_none() || self.netplan.as_deref() == Some("takes it");
        if took != should {
            return Some(format!("netplan took it: {took}, should: {should}"));
        }
        for unit in &self.units {
            let link = made.join("run/systemd/system").join(unit);
            if fs::symlink_metadata(&link).is_err() {
                return Some(format!("{unit} is not started"));
            }
        }
        for (path, lines) in &self.files {
            let text = fs::read_to_string(made.join(path)).unwrap_or_default();
            if let Some(line) = lines.iter().find(|l| !text.contains(l.as_str())) {
                return Some(format!("{path} does not say {line:?} but:\n{text}"));
            }
        }
        None
    }
}

/// Programs of the image's release for this machine, unpacked into a folder that stays; or `None`, and the reason is printed.
fn room() -> Option<PathBuf> {
    let own = std::env::var_os("HYPRIOT_CACHE").map(PathBuf::from);
    let cache = own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache"));
    fs::create_dir_all(&cache).unwrap();
    let cache = cache.canonicalize().unwrap();
    let mut board = board::find("qemu-arm64").unwrap();
    board.arch = Arch::host()?;
    "room".clone_into(&mut board.name);
    board.packages.clear();
    board.boot_packages.clear();
    let recipe = recipe::parse("the room's recipe", RECIPE).unwrap();
    let options = root_tree::Options {
        mirror: Asked::of_environment(),
        configure: Mode::Native,
        ..root_tree::Options::new(
            cache.clone(),
            PathBuf::from(env!("CARGO_BIN_EXE_hypriot-imagegen")),
            SystemTime::now(),
        )
    };
    let lock = match root_tree::fetch(&recipe, &board, &options, Progress::Quiet) {
        Ok(lock) => lock,
        Err(e)
            if e.to_string().contains("cannot reach")
                || e.to_string().contains("middle of an update") =>
        {
            println!("skipped: {e}");
            return None;
        }
        Err(e) => panic!("{e}"),
    };
    Some(unpacked(&cache, &lock))
}

fn unpacked(cache: &Path, lock: &Lock) -> PathBuf {
    let store = Store::open(cache).unwrap();
    let hash = Sha256::of(lock.to_text().unwrap().as_bytes()).to_string();
    let home = cache.join("peers");
    let room = home.join(format!("network-{}", &hash[..12]));
    let _alone = store.lock("peer-network").unwrap();
    if room.is_dir() {
        return room;
    }
    fs::create_dir_all(&home).unwrap();
    let work = tempfile::tempdir_in(&home).unwrap();
    for (link, to) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        fs::create_dir_all(work.path().join(to)).unwrap();
        std::os::unix::fs::symlink(to, work.path().join(link)).unwrap();
    }
    for package in lock.packages.iter().filter(|p| p.name != "base-files") {
        let deb = store.path(package.sha256);
        let unpack = exec::tool("dpkg-deb").arg("-x").arg(&deb).arg(work.path());
        unpack.timeout(Duration::from_mins(2)).run().unwrap();
    }
    for dir in ["dev", "proc", "sys", "run", "tmp", "etc/ssl/certs"] {
        fs::create_dir_all(work.path().join(dir)).unwrap();
    }
    fs::rename(work.path(), &room).unwrap();
    room
}

#[test]
fn every_sample_of_a_network_config_becomes_on_the_board_what_it_says() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let Some(room) = room() else { return };
    let all: Samples = toml::from_str(SAMPLES).unwrap();
    let asked = |s: &&Sample| s.netplan.as_deref() != Some("is not asked");
    let all: Vec<&Sample> = all.sample.iter().filter(asked).collect();
    let at = |n: usize| room.join(format!("samples/{n:03}"));
    drop(fs::remove_dir_all(room.join("samples")));
    for (n, sample) in all.iter().enumerate() {
        fs::create_dir_all(at(n)).unwrap();
        files::replace(&at(n).join("network-config"), sample.text().as_bytes()).unwrap();
    }
    files::replace(&room.join("render.py"), RENDER.as_bytes()).unwrap();
    let step = Step {
        what: "the samples".to_owned(),
        argv: ["/bin/sh", "-c", EACH].map(str::to_owned).to_vec(),
        env: Vec::new(),
        seconds: 300,
    };
    let plan = Plan {
        root: room.clone(),
        covers: Vec::new(),
        foreign: None,
        sync: Sync::Ignored,
        guest: Guest::Scripts,
        steps: vec![step],
    };
    let helper = Path::new(env!("CARGO_BIN_EXE_hypriot-imagegen"));
    sandbox::run(helper, &plan, Duration::from_mins(6), |line| {
        println!("{line}");
    })
    .unwrap();
    let wrong = all.iter().enumerate().filter_map(|(n, sample)| {
        let what = sample.wrong(&at(n))?;
        Some(format!("{}: {what}", sample.name))
    });
    let wrong: Vec<_> = wrong.collect();
    let said = fs::read_to_string(room.join("said")).unwrap_or_default();
    assert!(
        wrong.is_empty(),
        "{}\n\nwhat was said:\n{said}",
        wrong.join("\n")
    );
    println!("samples: {}", all.len());
}
