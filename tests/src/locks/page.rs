//! The page of `hypriot-fleet serve` in a real browser: `make test-page`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::boards::Line;
use super::servers::Server;
use crate::bench::say;
use crate::browser::{self, View};

const SCRIPT: &str = include_str!("page/look.js");
/// A name that would be a script, if the page let it.
const HOSTILE: &str =
    "<img src=x onerror=\"window.taken=1\"><script>window.taken=1</script>\u{1b}[2J";

/// One look.
struct Look {
    name: &'static str,
    boards: usize,
    size: (u32, u32),
    dark: bool,
}

const LOOKS: [Look; 5] = [
    Look {
        name: "1",
        boards: 1,
        size: (1000, 700),
        dark: false,
    },
    Look {
        name: "12",
        boards: 12,
        size: (1280, 1100),
        dark: false,
    },
    Look {
        name: "12-dark",
        boards: 12,
        size: (1280, 1100),
        dark: true,
    },
    Look {
        name: "12-phone",
        boards: 12,
        size: (500, 1400),
        dark: false,
    },
    Look {
        name: "200",
        boards: 200,
        size: (1280, 2200),
        dark: true,
    },
];

/// Looks at the page with 1, 12 and 200 boards; pictures go to `to`.
pub fn judge(root: &Path, to: &Path) -> Result<()> {
    let axe = browser::axe(root)?;
    std::fs::create_dir_all(to)?;
    for look in &LOOKS {
        let report =
            one(look, &axe, to).with_context(|| format!("the page with {} boards", look.name))?;
        say(&format!(
            "{}: {} boards shown, {} rules held, live and paused by a button",
            look.name, report["boards"], report["passes"]
        ));
    }
    Ok(())
}

fn one(look: &Look, axe: &str, to: &Path) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path(), &["--new", "--group", "default=2"])?;
    fill(&server, look.boards, dir.path())?;
    let token = std::fs::read_to_string(dir.path().join("token"))?;
    let script = SCRIPT
        .replace("TOKEN", token.trim())
        .replace("BOARDS", &look.boards.to_string());
    let view = View {
        size: look.size,
        dark: look.dark,
    };
    let picture = to.join(format!("{}.png", look.name));
    let report = browser::look(server.port, axe, &script, &view, &picture)?;
    ensure!(
        report["boards"] == look.boards,
        "{} boards are shown",
        report["boards"]
    );
    ensure!(
        report["paused"] == true && report["live"] == true,
        "not live, or not paused: {report}"
    );
    Ok(report)
}

/// Boards in every state, one with a hostile name.
fn fill(server: &Server, boards: usize, dir: &Path) -> Result<()> {
    let mut line = Line::default();
    // a dozen is the picture of the book
    let first = if boards == 12 { "n0.local" } else { HOSTILE };
    for n in 0..boards {
        let name = if n == 0 {
            first.to_owned()
        } else {
            format!("n{n}.local")
        };
        let health = match n % 20 {
            7 => "warn",
            13 => "fail",
            _ => "pass",
        };
        let more = json!({
            "version": "1.0.0", "target": "1.1.0", "name": name, "model": if n % 3 == 0 { "rpi4" } else { "rpi64" }, "slot": "a",
            "health": health, "reason": if health == "pass" { "" } else { "undervoltage: 4.6 V since 02:14" },
        });
        line.say(server.port, "steady-state", &format!("id{n}"), &more)?;
    }
    let plan = dir.join("plan.toml");
    let text = "group = \"default\"\nversion = \"1.1.0\"\ncanary = [\"id0\"]\nwaves = [\"25%\", \"50%\"]\nmax_unavailable = \"20\"\nsoak = 0\n";
    let mut file = std::fs::File::create(&plan)?;
    file.write_all(text.as_bytes())?;
    server.operator(&["plan", "apply", &plan.display().to_string()])?;
    if boards > 1 {
        let says = |version: &str, target: &str| {
            json!({"version": version, "target": target, "name": first, "slot": if target.is_empty() { "b" } else { "a" }, "model": "rpi4",
            "last": if target.is_empty() { json!({"version": "1.1.0", "outcome": "confirmed", "at": "1"}) } else { Value::Null }})
        };
        let (status, said) = line.say(server.port, "pre-reboot", "id0", &says("1.0.0", "1.1.0"))?;
        ensure!(status == 200, "the canary may not go: {said}");
        line.say(server.port, "steady-state", "id0", &says("1.1.0", ""))?;
        std::thread::sleep(Duration::from_secs(2));
        let more = json!({"version": "1.0.0", "target": "1.1.0", "name": "n2.local", "slot": "a", "model": "rpi64", "progress": "restarts"});
        line.say(server.port, "pre-reboot", "id2", &more)?;
    }
    Ok(())
}

/// Where pictures go when nobody says where.
pub fn pictures(root: &Path) -> PathBuf {
    root.join("out/page")
}
