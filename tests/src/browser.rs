//! A page in a real browser, judged by axe.
//!
//! Chromium gets the page through a proxy that adds two scripts: axe, which judges whether everybody can use it, and one that looks
//! at what is there and reports. A picture that loads only when that is done makes the browser wait for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::exec;

/// The judge of pages, from npm: its last release of 2026-11.
const AXE: &str = "axe-core@4.14.1";

/// What every page is judged by, after its own script.
const JUDGE: &str = include_str!("browser/judge.js");

/// How it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Of the window.
    pub size: (u32, u32),
    /// The colours that the browser asks for.
    pub dark: bool,
}

/// Looks at the page of the server on `port`: a picture goes to `picture`, and what `look` of `script` reports comes back. A page that
/// not everybody can use, that runs a stranger's words or that is wider than the window is an error.
pub fn look(port: u16, axe: &str, script: &str, view: &View, picture: &Path) -> Result<Value> {
    let desk = Arc::new(Desk {
        server: port,
        axe: axe.to_owned(),
        look: format!("{script}{JUDGE}"),
        said: Mutex::new(None),
        told: Condvar::new(),
    });
    let port = proxy(Arc::clone(&desk))?;
    let size = format!("--window-size={},{}", view.size.0, view.size.1);
    let mut words = vec![size.as_str()];
    if view.dark {
        words.push("--blink-settings=preferredColorScheme=0");
    }
    photograph(&format!("http://127.0.0.1:{port}/"), &words, picture)?;
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
    ensure!(report["taken"] == false, "words of a board ran as a script");
    ensure!(report["wide"] == false, "it is wider than the window");
    Ok(report)
}

/// axe as npm brings it, kept in the cache.
pub fn axe(root: &Path) -> Result<String> {
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

/// Takes a picture of a page, with these words of Chromium's own.
pub fn photograph(url: &str, words: &[&str], to: &Path) -> Result<()> {
    let profile = tempfile::tempdir()?;
    let mut c = exec::command("chromium");
    c.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
    ]);
    c.arg(format!("--user-data-dir={}", profile.path().display()))
        .args(words)
        .arg(format!("--screenshot={}", to.display()))
        .arg(url);
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
        let added = "<script src=\"axe.js\" defer></script><script src=\"look.js\" defer></script>";
        let wait = "<img src=\"wait.svg\" alt=\"\">";
        // A page may leave out what HTML allows it to leave out.
        let html = if html.contains("</head>") {
            html.replace("</head>", &format!("{added}</head>"))
                .replace("</body>", &format!("{wait}</body>"))
        } else {
            html.replacen("<title>", &format!("{added}<title>"), 1)
                .replace("</footer>", &format!("{wait}</footer>"))
        };
        // What says that no script may run would mean ours, too.
        let forbids = |line: &str| {
            line.starts_with("content-security-policy:") && !line.contains("script-src")
        };
        let head: Vec<&str> = head
            .lines()
            .filter(|l| {
                let line = l.to_ascii_lowercase();
                !line.starts_with("content-length") && !forbids(&line)
            })
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
