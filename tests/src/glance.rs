//! The half of the agent that answers over HTTP, as its real program: with a report of our making, kept fresh.
//!
//! * `page`: its page in a real browser: `make test-page`

pub mod page;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hypriot_agent::card::canary;
use hypriot_agent::probe::{self, Context, Root};
use hypriot_agent::report::{AttemptView, Report, SlotView, Status, UpdateView};
use hypriot_keys::time::Timestamp;

use crate::exec;

/// What the draft says of `/health`, for a validator of JSON Schema.
pub const DRAFT: &str = include_str!("glance/health-json.schema.json");

/// A server of its own, ended when it is dropped.
#[derive(Debug)]
pub struct Half {
    child: Child,
    /// Where it listens.
    pub port: u16,
    stop: Arc<AtomicBool>,
    dir: tempfile::TempDir,
}

impl Drop for Half {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Half {
    /// Starts it; without a report it has nothing to say.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut serve = exec::command(exec::workspace_program("hypriot-agent")?);
        serve
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--report",
            ])
            .arg(dir.path().join("report.json"))
            .stderr(Stdio::null());
        let half = Self {
            child: serve.spawn()?,
            port,
            stop: Arc::default(),
            dir,
        };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(half);
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("hypriot-agent serve does not listen on port {port}")
    }

    fn report(&self) -> PathBuf {
        self.dir.path().join("report.json")
    }

    /// Shows it one report, as if the board had been looked at `ago` seconds before now.
    pub fn show(&self, report: &Report, ago: f64) -> Result<()> {
        store(&self.report(), report, ago)
    }

    /// Keeps a report fresh until the end.
    pub fn keep(&self, report: Report) {
        let (path, stop) = (self.report(), Arc::clone(&self.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // A folder that is gone is the end, too.
                if store(&path, &report, 0.0).is_err() {
                    return;
                }
                thread::sleep(Duration::from_secs(2));
            }
        });
    }
}

fn store(path: &Path, report: &Report, ago: f64) -> Result<()> {
    let uptime = probe::uptime(&Root::default()).unwrap_or(0.0) - ago;
    let report = Report {
        uptime,
        ..report.clone()
    };
    report.store(path)
}

/// A report of a Raspberry Pi, of real probes on a tree that stands for one, with slots and an update.
pub fn board(worst: Status) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    for (path, text) in FILES {
        let path = dir.path().join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        hypriot_imagegen::files::replace(&path, text.as_bytes())?;
    }
    if worst != Status::Pass {
        let alarm = dir.path().join("sys/class/hwmon/hwmon1/in0_lcrit_alarm");
        hypriot_imagegen::files::replace(&alarm, b"1\n")?;
    }
    let slot = |version: &str, state: &str| SlotView {
        version: Some(version.into()),
        state: state.into(),
    };
    let mut vitals = probe::Meter::default().read();
    (vitals.memory_total, vitals.memory_available) = (3794 << 20, 2411 << 20);
    if worst == Status::Fail {
        vitals.memory_available = 40 << 20;
    }
    (vitals.load1, vitals.processors) = (Some(0.4), 4);
    let now = Timestamp(1_795_000_000);
    let context = Context {
        board: "rpi64".into(),
        version: "1.2.0".into(),
        update: UpdateView {
            a: Some(slot("1.1.0", "idle")),
            b: Some(slot("1.2.0", "good")),
            booted: Some("b".into()),
            default: Some("b".into()),
            phase: "committed".into(),
            last_attempt: Some(AttemptView {
                version: "1.2.0".into(),
                outcome: "confirmed".into(),
                reason: None,
                at: Timestamp(now.0 - 90_000),
                seconds: Some(74),
            }),
            ..UpdateView::default()
        },
        selftests: None,
        owner_tests: probe::OwnerTests::None,
        canary: canary::Known {
            told: Some(canary::Told {
                at: 259_380.0,
                took: Duration::from_millis(14),
                fate: canary::Fate::Kept,
            }),
            looking: None,
        },
        time_floor: Timestamp(now.0 - 1_000_000),
        vitals,
        previous: None,
    };
    let mut report = probe::collect(&Root::new(dir.path()), &context, now);
    // How full this machine is says nothing about a board.
    report.checks.remove("disk-data");
    report.checks.remove("disk-root");
    Ok(report)
}

/// A Raspberry Pi 4, from its root directory.
const FILES: &[(&str, &str)] = &[
    (
        "proc/sys/kernel/random/boot_id",
        "5f5f8b1e-0a6c-4c5e-9d0f-000000000001\n",
    ),
    ("proc/uptime", "266460.25 900000.00\n"),
    ("proc/sys/kernel/tainted", "1024\n"),
    ("proc/vmstat", "oom_kill 0\n"),
    (
        "proc/diskstats",
        " 179 0 mmcblk0 5000 0 90000 9000 4200 0 120000 33000 0 20000 42000\n",
    ),
    (
        "proc/self/mountinfo",
        "1 0 179:7 / /data rw - ext4 /dev/mmcblk0p7 rw\n",
    ),
    ("proc/device-tree/chosen/bootloader/rsts", "\0\0\u{10}\0"),
    ("data/x", ""),
    ("run/hypriot/card", "/dev/mmcblk0"),
    ("run/systemd/timesync/synchronized", ""),
    ("sys/class/thermal/thermal_zone0/temp", "51121\n"),
    (
        "sys/class/thermal/thermal_zone0/trip_point_0_type",
        "critical\n",
    ),
    (
        "sys/class/thermal/thermal_zone0/trip_point_0_temp",
        "110000\n",
    ),
    ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
    ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n"),
    ("sys/class/watchdog/watchdog0/state", "active\n"),
    ("sys/class/watchdog/watchdog0/timeout", "15\n"),
    ("sys/class/net/eth0/device/x", ""),
    ("sys/class/net/eth0/carrier", "1\n"),
    ("sys/class/net/eth0/speed", "1000\n"),
    ("sys/class/net/eth0/duplex", "full\n"),
    ("sys/block/mmcblk0/size", "62333952\n"),
    ("sys/fs/ext4/mmcblk0p7/errors_count", "0\n"),
];
