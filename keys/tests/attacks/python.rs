//! python-tuf in a virtual environment of the project: the one place of these tests that starts processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The current release, and the package that makes and checks RSA and ECDSA signatures.
const PACKAGES: [&str; 2] = ["tuf==7.0.1", "securesystemslib[crypto]==1.6.0"];

/// Runs a script of `tests/attacks/python`; its standard output.
pub(crate) fn run(script: &str, arguments: &[&str]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/attacks/python")
        .join(script);
    let python = environment().join("bin/python");
    let mut words = vec![path.to_str().unwrap()];
    words.extend(arguments);
    let output = start(&python, &words).unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Plays cases with `play.py`: a result by name.
pub(crate) fn play(cases: &[Value]) -> BTreeMap<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(file.as_file(), cases).unwrap();
    serde_json::from_slice(&run("play.py", &[file.path().to_str().unwrap()])).unwrap()
}

/// The environment, made if need be. Tests of one process wait for each other here.
fn environment() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap()
            .join(".cache");
        let place = cache.join("python-tuf");
        // Written last: an installation that was interrupted is begun anew. It names what is installed.
        let mark = place.join("installed");
        let wanted = PACKAGES.join("\n");
        if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
            return place;
        }
        std::fs::create_dir_all(&cache).unwrap();
        let made = start(
            Path::new("python3"),
            &["-m", "venv", "--clear", place.to_str().unwrap()],
        );
        match made {
            Ok(output) if output.status.success() => {}
            other => {
                panic!("python3 -m venv failed (on Debian: apt install python3-venv): {other:?}")
            }
        }
        install(&place);
        std::fs::File::create(mark)
            .and_then(|mut f| std::io::Write::write_all(&mut f, wanted.as_bytes()))
            .unwrap();
        place
    })
}

fn install(place: &Path) {
    let mut words = vec![
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "5",
    ];
    words.extend(PACKAGES);
    let mut last = None;
    for _ in 0..3 {
        let output = start(&place.join("bin/python"), &words).unwrap();
        if output.status.success() {
            return;
        }
        last = Some(output);
        std::thread::sleep(std::time::Duration::from_secs(5));
    }
    let words = last
        .map(|o| String::from_utf8_lossy(&o.stderr).into_owned())
        .unwrap_or_default();
    panic!(
        "python-tuf could not be installed from the package index that pip is configured for; is it reachable?\n{words}"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests start python-tuf here and nowhere else; it has no network to wait for"
)]
fn start(program: &Path, words: &[&str]) -> std::io::Result<Output> {
    Command::new(program)
        .args(words)
        .env_remove("PYTHONPATH")
        .output()
}
