//! Owns every process this crate starts. None outlives us, however we end: each gets SIGKILL from the kernel when its
//! parent goes (`setpriv --pdeathsig`, prctl(2) PR_SET_PDEATHSIG).

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hypriot_imagegen::host::cross;

/// A command that ends with the thread that starts it.
///
/// The kernel sends the signal when the *thread* that started the child ends, so keep a child on the thread of its owner.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut c = Command::new("setpriv");
    c.args(["--pdeathsig", "KILL", "--"]).arg(program);
    c.stdin(Stdio::null());
    c
}

/// The cargo that built us, without what it told us of our own crate ([`cross::outer_cargo`]).
pub fn cargo() -> Command {
    let mut c = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for name in cross::outer_cargo() {
        c.env_remove(name);
    }
    c
}

/// A child that ends with its owner.
#[derive(Debug)]
pub struct Held(pub Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A program of this workspace: it lies beside the running one, where cargo puts them all.
pub fn workspace_program(name: &str) -> Result<std::path::PathBuf> {
    let me = std::env::current_exe().context("finding our own program")?;
    // Tests lie one folder deeper (`deps`) than programs.
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
        .with_context(|| format!("{name} is not built; run: cargo build --workspace --bins"))
}

/// Runs the test of this name again, alone, as root of namespaces of its own for mounts and network; `inside` is set there.
pub fn apart(test: &str, inside: &str, within: Duration) -> Result<String> {
    let mut c = command("unshare");
    let said = run(command("id"), Duration::from_secs(10));
    if said.is_ok_and(|said| !said.starts_with("uid=0")) {
        c.args(["--user", "--map-root-user"]);
    }
    c.args(["--mount", "--net", "--"])
        .arg(std::env::current_exe().context("finding our own program")?)
        .args(["--exact", test, "--nocapture"])
        .env(inside, "1");
    run(c, within)
}

/// Runs a command to its end and gives its standard output; its standard error is kept for the message.
pub fn run(mut c: Command, within: Duration) -> Result<String> {
    let words = words(&c);
    let child = c
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {words}"))?;
    let output = wait(child, within).with_context(|| words.clone())?;
    if !output.status.success() {
        bail!(
            "{words}: {}\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    Ok(text(&output.stdout))
}

/// Runs a command whose messages go straight to our own standard error.
pub fn run_shown(mut c: Command, within: Duration) -> Result<String> {
    let words = words(&c);
    let child = c
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {words}"))?;
    let output = wait(child, within).with_context(|| words.clone())?;
    if !output.status.success() {
        bail!("{words}: {}", output.status);
    }
    Ok(text(&output.stdout))
}

/// Collects a child's output on threads of its own, so that a full pipe never stops it.
pub(crate) fn wait(mut child: Child, within: Duration) -> Result<Output> {
    fn collect(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            if let Some(pipe) = pipe {
                // What came before an error is still worth showing.
                drop(pipe.take(64 << 20).read_to_end(&mut all));
            }
            all
        })
    }
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("not finished within {} s", within.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let take = |h: std::thread::JoinHandle<Vec<u8>>| h.join().unwrap_or_default();
    Ok(Output {
        status,
        stdout: take(out),
        stderr: take(err),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The command line as a person would type it.
fn words(c: &Command) -> String {
    let all: Vec<_> = c.get_args().skip(3).map(|a| a.to_string_lossy()).collect();
    let name = all.first().map(|p| {
        Path::new(&**p)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    });
    std::iter::once(name.unwrap_or_default())
        .chain(all.iter().skip(1).map(ToString::to_string))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut c = command("sh");
        c.args(["-c", script]);
        c
    }

    #[test]
    fn failure_shows_both_streams_and_the_command() {
        let e = run(
            sh("echo out; echo err >&2; exit 3"),
            Duration::from_secs(10),
        )
        .unwrap_err()
        .to_string();
        assert!(
            e.contains("sh -c") && e.contains("out") && e.contains("err"),
            "{e}"
        );
    }

    #[test]
    fn a_hanging_program_is_stopped() {
        let begun = Instant::now();
        assert!(run(sh("sleep 60"), Duration::from_millis(300)).is_err());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_child_does_not_outlive_the_thread_that_started_it() {
        use std::os::unix::process::ExitStatusExt as _;
        let thread = std::thread::spawn(|| {
            let mut child = sh("echo ready; exec sleep 60")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // Not before the child runs: until setpriv has asked for the signal there is none.
            child
                .stdout
                .take()
                .unwrap()
                .read_exact(&mut [0; 6])
                .unwrap();
            child
        });
        let status = thread.join().unwrap().wait().unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
