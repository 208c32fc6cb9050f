//! How each part is read. What goes wrong is said in words, and is no error of the whole.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::Options;
use super::parts::{Part, Source};
use crate::exec::{Cmd, Exit};
use crate::probe::Root;
use crate::update::board::Place;

/// Bytes of one part, or why there are none.
pub(super) fn read(part: &Part, options: &Options, limit: Duration) -> Result<Vec<u8>, String> {
    let root = &options.root;
    match part.source {
        Source::File(path) | Source::Outline(path) => file(root, path, part.limit),
        Source::Json(path) => {
            let bytes = file(root, path, part.limit)?;
            let value: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
            match value.map(|value| serde_json::to_vec_pretty(&value)) {
                Ok(Ok(pretty)) => Ok(pretty),
                // Torn or foreign: as it is.
                _ => Ok(bytes),
            }
        }
        Source::Folder(path, ending) => folder(root, path, ending, part.limit),
        Source::Names(folders) => Ok(names(root, folders).into_bytes()),
        Source::Disks => Ok(disks(root).into_bytes()),
        _ if !root.is_live() => Err("asked on the running system only".into()),
        Source::Command(words) => match words.split_first() {
            Some((program, arguments)) => command(Cmd::new(program).args(arguments), part, limit),
            None => Err("no program".into()),
        },
        Source::Journal(words) => {
            let journal = Cmd::new("journalctl").args(["--no-pager", "-o", "short-iso"]);
            command(journal.args(words), part, limit)
        }
        Source::Own(arguments) => match &options.program {
            Some(program) => command(Cmd::new(program).args(arguments), part, limit),
            None => Err("this program does not know where it is".into()),
        },
        Source::Http(path) => http(options.port, path, part.limit, limit).map_err(words),
        Source::BootState => boot_state(),
        Source::KernelLog => kernel_log(part.limit, limit).map_err(words),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn words(error: impl ToString) -> String {
    error.to_string()
}

/// The beginning of a file, one byte more than the limit so that a longer one is seen. A pipe or a device in its place does not block.
fn file(root: &Root, path: &str, limit: usize) -> Result<Vec<u8>, String> {
    let open = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(root.path(path));
    let say = |error: io::Error| format!("{path}: {error}");
    let file = open.map_err(say)?;
    if !file.metadata().map_err(say)?.is_file() {
        return Err(format!("{path}: not a file"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(say)?;
    Ok(bytes)
}

fn folder(root: &Root, path: &str, ending: &str, limit: usize) -> Result<Vec<u8>, String> {
    let names = root.names(path);
    if names.is_empty() {
        return Err(format!("{path}: nothing there"));
    }
    let mut all = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(ending)) {
        all.extend_from_slice(format!("# {path}/{name}\n").as_bytes());
        match file(root, &format!("{path}/{name}"), limit) {
            Ok(bytes) => all.extend(bytes),
            Err(why) => all.extend_from_slice(format!("# {why}\n").as_bytes()),
        }
        all.push(b'\n');
        if all.len() > limit {
            break;
        }
    }
    Ok(all)
}

fn names(root: &Root, folders: &[&str]) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let mut text = String::new();
    for folder in folders {
        for name in root.names(folder).iter().take(200) {
            let path = format!("{folder}/{name}");
            let meta = root.path(&path).symlink_metadata();
            let (mode, size) = meta.map_or((0, 0), |meta| (meta.mode(), meta.len()));
            writeln!(text, "{mode:06o} {size:>12} {path}").expect("a String takes any text");
        }
    }
    text
}

/// What cards, disks and file systems say of themselves in sysfs. No numbers by which they could be told.
fn disks(root: &Root) -> String {
    const OF_A_DISK: &[&str] = &[
        "size",
        "ro",
        "removable",
        "queue/rotational",
        "device/name",
        "device/type",
        "device/manfid",
        "device/oemid",
        "device/date",
        "device/fwrev",
        "device/hwrev",
        "device/life_time",
        "device/pre_eol_info",
        "device/csd",
        "device/model",
        "device/vendor",
    ];
    const OF_EXT4: &[&str] = &[
        "errors_count",
        "warning_count",
        "first_error_time",
        "first_error_func",
        "last_error_time",
        "last_error_func",
        "lifetime_write_kbytes",
        "session_write_kbytes",
    ];
    let mut text = String::new();
    for (above, files) in [("/sys/block", OF_A_DISK), ("/sys/fs/ext4", OF_EXT4)] {
        for one in root
            .names(above)
            .iter()
            .filter(|name| !name.starts_with("loop") && !name.starts_with("ram"))
            .take(32)
        {
            for file in files {
                let path = format!("{above}/{one}/{file}");
                if let Ok(value) = root.text(&path) {
                    writeln!(text, "{path}: {}", value.trim()).expect("a String takes any text");
                }
            }
        }
    }
    for host in root.names("/sys/kernel/debug") {
        let path = format!("/sys/kernel/debug/{host}/err_stats");
        if let Ok(value) = root.text(&path) {
            writeln!(text, "{path}:\n{}", value.trim_end()).expect("a String takes any text");
        }
    }
    text
}

/// What it printed, also when it was not happy: that is what is asked about.
fn command(cmd: Cmd, part: &Part, limit: Duration) -> Result<Vec<u8>, String> {
    let output = cmd
        .timeout(limit)
        .keep(part.limit + 1)
        .output()
        .map_err(words)?;
    let mut all = output.stdout;
    if !output.stderr.is_empty() {
        all.extend_from_slice(b"\n# errors\n");
        all.extend(output.stderr);
    }
    if output.exit != Exit::Code(0) {
        all.extend_from_slice(format!("\n# {}\n", output.exit).as_bytes());
    }
    Ok(all)
}

fn http(port: u16, path: &str, most: usize, limit: Duration) -> io::Result<Vec<u8>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // HTTP/1.0: the answer ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(most as u64 + 1).read_to_end(&mut answer)?;
    Ok(answer)
}

fn boot_state() -> Result<Vec<u8>, String> {
    let place = Place::find().map_err(|error| format!("{error:#}"))?;
    let boot = place.boot().map_err(|error| format!("{error:#}"))?;
    let state = boot.state().map_err(words)?;
    Ok(format!(
        "running slot: {}\ncard: {}\n{state:#?}\n",
        place.booted,
        place.card.device.display()
    )
    .into_bytes())
}

/// Records of /dev/kmsg (Documentation/ABI/testing/dev-kmsg): one for each read, until there is none.
fn kernel_log(most: usize, limit: Duration) -> io::Result<Vec<u8>> {
    let mut log = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(Path::new("/dev/kmsg"))?;
    let (began, mut all, mut record) = (Instant::now(), Vec::new(), [0; 8192]);
    while began.elapsed() < limit {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(&line(&record[..length])),
            // It was overwritten before we came to it: the next one follows.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPIPE) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    // The newest is worth most.
    let surplus = all.len().saturating_sub(most);
    Ok(all.split_off(surplus))
}

/// `6,339,5140900,-;text\n KEY=value\n` as `[    5.140900] <6> text`.
fn line(record: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(record);
    let (head, words) = text.split_once(';').unwrap_or(("", &text));
    let mut fields = head.split(',');
    let level = fields.next().unwrap_or_default();
    let micros: f64 = fields.nth(1).and_then(|at| at.parse().ok()).unwrap_or(0.0);
    let words = words.lines().next().unwrap_or_default();
    format!("[{:12.6}] <{level}> {words}\n", micros / 1e6).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_kernel_become_lines() {
        let record = b"6,339,5140900,-;mmc0: new card\n SUBSYSTEM=mmc\n";
        assert_eq!(line(record), b"[    5.140900] <6> mmc0: new card\n");
        assert_eq!(line(b"garbage"), b"[    0.000000] <> garbage\n");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        nix::unistd::mkfifo(&dir.path().join("x"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let root = Root::new(dir.path());
        assert!(
            file(&root, "/x", 10)
                .expect_err("a pipe")
                .contains("not a file")
        );
        assert!(
            file(&root, "/", 10)
                .expect_err("a folder")
                .contains("not a file")
        );
        assert!(file(&root, "/y", 10).expect_err("nothing").contains("/y"));
    }
}
