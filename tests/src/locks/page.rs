//! The page of `hypriot-fleet serve` in a real browser: `make test-page`.
//!
//! Chromium gets the page through a proxy that adds two scripts: axe, which judges whether everybody can use it, and one that looks
//! at what is there, presses buttons, and reports. A picture that loads only when that is done makes the browser wait for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::boards::Line;
use super::servers::Server;
use crate::bench::say;
use crate::exec;

/// The judge of pages, from npm: its last release of 2026-11.
const AXE: &str = "axe-core@4.14.1";
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
    let axe = axe(root)?;
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

/// axe as npm brings it, kept in the cache.
fn axe(root: &Path) -> Result<String> {
    let home = root.join(".cache/tools/axe");
    let file = home.join("package/axe.min.js");
    if !file.is_file() {
        std::fs::create_dir_all(&home)?;
        let mut npm = exec::command("npm");
        npm.current_dir(&home).args(["pack", "--silent", AXE]);
        let name = exec::run(npm, Duration::from_mins(5))
            .context("npm, to get axe (Debian: apt-get install npm)")?;
        let mut tar = exec::command("tar");
        tar.current_dir(&home).args(["xzf", name.trim()]);
        exec::run(tar, Duration::from_mins(1))?;
    }
    std::fs::read_to_string(&file).with_context(|| file.display().to_string())
}

fn one(look: &Look, axe: &str, to: &Path) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(dir.path(), &["--new", "--group", "default=2"])?;
    fill(&server, look.boards, dir.path())?;
    let token = std::fs::read_to_string(dir.path().join("token"))?;
    let desk = Arc::new(Desk {
        server: server.port,
        axe: axe.to_owned(),
        look: SCRIPT
            .replace("TOKEN", token.trim())
            .replace("BOARDS", &look.boards.to_string()),
        said: Mutex::new(None),
        told: Condvar::new(),
    });
    let port = proxy(Arc::clone(&desk))?;
    let picture = to.join(format!("{}.png", look.name));
    photograph(look, port, &picture)?;
    let said = desk
        .said
        .lock()
        .ok()
        .and_then(|s| s.clone())
        .context("the script in the page reported nothing")?;
    let report: Value = serde_json::from_str(&said)?;
    ensure!(report["error"].is_null(), "{}", report["error"]);
    ensure!(
        report["violations"] == json!([]),
        "axe objects: {:#}",
        report["violations"]
    );
    ensure!(
        report["boards"] == look.boards,
        "{} boards are shown",
        report["boards"]
    );
    ensure!(report["taken"] == false, "words of a board ran as a script");
    ensure!(report["wide"] == false, "it is wider than the window");
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

fn photograph(look: &Look, port: u16, to: &Path) -> Result<()> {
    let profile = tempfile::tempdir()?;
    let mut c = exec::command("chromium");
    c.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
    ]);
    c.arg(format!("--user-data-dir={}", profile.path().display()));
    c.arg(format!("--window-size={},{}", look.size.0, look.size.1));
    if look.dark {
        c.arg("--blink-settings=preferredColorScheme=0");
    }
    c.arg(format!("--screenshot={}", to.display()))
        .arg(format!("http://127.0.0.1:{port}/"));
    exec::run(c, Duration::from_mins(2))
        .map(drop)
        .context("chromium (Debian: apt-get install chromium)")
}

/// What the proxy knows.
struct Desk {
    server: u16,
    axe: String,
    look: String,
    said: Mutex<Option<String>>,
    told: Condvar,
}

fn proxy(desk: Arc<Desk>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let desk = Arc::clone(&desk);
            // A browser hangs up when it likes.
            std::thread::spawn(move || drop(desk.serve(&stream)));
        }
    });
    Ok(port)
}

impl Desk {
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        let mut from = BufReader::new(stream.try_clone()?);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            ensure!(from.read_line(&mut line)? > 0, "it hung up");
            let lower = line.to_ascii_lowercase();
            if let Some(n) = lower.strip_prefix("content-length:") {
                length = n.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
            if !lower.starts_with("connection:") {
                head += &line;
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        match path.as_str() {
            "/axe.js" => answer(stream, "text/javascript", &self.axe),
            "/look.js" => answer(stream, "text/javascript", &self.look),
            "/done" => {
                if let Ok(mut said) = self.said.lock() {
                    *said = Some(String::from_utf8_lossy(&body).into_owned());
                    self.told.notify_all();
                }
                answer(stream, "text/plain", "")
            }
            "/wait.svg" => {
                if let Ok(said) = self.said.lock() {
                    drop(
                        self.told
                            .wait_timeout_while(said, Duration::from_mins(1), |s| s.is_none()),
                    );
                }
                answer(
                    stream,
                    "image/svg+xml",
                    "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
                )
            }
            _ => self.forward(&head, &body, stream, path == "/"),
        }
    }

    fn forward(&self, head: &str, body: &[u8], to: &TcpStream, page: bool) -> Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", self.server))?;
        server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
        server.write_all(body)?;
        let mut to = to;
        if !page {
            std::io::copy(&mut server, &mut to)?;
            return Ok(());
        }
        let mut text = String::new();
        server.read_to_string(&mut text)?;
        let (head, html) = text.split_once("\r\n\r\n").context("no page")?;
        let added =
            "<script src=\"axe.js\" defer></script><script src=\"look.js\" defer></script></head>";
        let html = html
            .replace("</head>", added)
            .replace("</body>", "<img src=\"wait.svg\" alt=\"\"></body>");
        let head: Vec<&str> = head
            .lines()
            .filter(|l| !l.to_ascii_lowercase().starts_with("content-length"))
            .collect();
        to.write_all(
            format!(
                "{}\r\ncontent-length: {}\r\n\r\n{html}",
                head.join("\r\n"),
                html.len()
            )
            .as_bytes(),
        )?;
        Ok(())
    }
}

fn answer(mut to: &TcpStream, kind: &str, body: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    to.write_all(head.as_bytes())?;
    to.write_all(body.as_bytes())?;
    Ok(())
}

/// Where pictures go when nobody says where.
pub fn pictures(root: &Path) -> PathBuf {
    root.join("out/page")
}
