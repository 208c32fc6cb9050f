//! Owns a virtual board: a QEMU machine as a board file describes it, with a card, a network of its own, a serial console.
//!
//! The board is started, watched, asked, and its plug is pulled. Dropping it pulls the plug, and so does our own end.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hypriot_imagegen::inputs::board::{self, Board, Qemu};

use crate::exec;
use crate::factory::VIRTUAL;
use crate::http::{self, Answer};

/// What the board is made of.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// The machine.
    pub machine: Qemu,
    /// Folder of the unpacked boot packages, which the board file names.
    pub boot: PathBuf,
    /// Size of the card in bytes; the image is put at its beginning. SD cards of QEMU have a power of two.
    pub card: u64,
    /// What happens to written data that was not flushed when the board loses power.
    pub cache: Cache,
}

/// How QEMU treats the card's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// As a real card would: for everything that pulls the plug.
    WriteBack,
    /// Flushes are ignored: faster, for boards that end in order.
    Unsafe,
}

impl Hardware {
    /// QEMU's `virt` machine with 64 bits, started by the U-Boot that this machine has installed.
    pub fn virtual_board() -> Result<Self> {
        Self::of(&board::find(VIRTUAL)?, PathBuf::from("/"))
    }

    /// The same with a USB controller, which none of these machines has by itself.
    #[must_use]
    pub fn with_usb(mut self) -> Self {
        let controller = ["-device", "qemu-xhci,id=usb"].map(str::to_owned);
        self.machine.args.extend(controller);
        self
    }

    /// The same with a second network, which it shares with all boards of this `port` (QEMU, `-netdev socket,mcast=`). Its packets do
    /// not leave this machine.
    #[must_use]
    pub fn with_lan(mut self, port: u16, number: u8) -> Self {
        let lan = format!("socket,id=lan,mcast=239.77.0.1:{port},localaddr=127.0.0.1");
        let nic = format!("virtio-net-pci,netdev=lan,mac=52:54:00:77:00:{number:02x},romfile=");
        let both = ["-netdev", &lan, "-device", &nic].map(str::to_owned);
        self.machine.args.extend(both);
        self
    }

    /// The machine of a board file.
    pub fn of(board: &Board, boot: PathBuf) -> Result<Self> {
        let machine = board.qemu.clone();
        Ok(Self {
            machine: machine
                .with_context(|| format!("QEMU has no machine for board {}", board.name))?,
            boot,
            card: 4 << 30,
            cache: Cache::WriteBack,
        })
    }
}

/// A board with a card in it; powered or not.
#[derive(Debug)]
pub struct VirtualBoard {
    hardware: Hardware,
    dir: PathBuf,
    http_port: u16,
    ssh_port: u16,
    qemu: Option<Child>,
    /// Where in the console log the current power-on begins.
    console_from: u64,
}

impl VirtualBoard {
    /// Puts a copy of `image` on a card as large as the hardware says; `dir` is the board's own folder.
    pub fn new(hardware: Hardware, image: &Path, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let card = dir.join("card.img");
        copy(image, &card)?;
        let file = OpenOptions::new().write(true).open(&card)?;
        let used = file.metadata()?.len();
        ensure!(
            used <= hardware.card,
            "{} does not fit a card of {} bytes",
            image.display(),
            hardware.card
        );
        file.set_len(hardware.card)?;
        File::create(dir.join("console.log"))?;
        let [http_port, ssh_port] = http::free_ports()?;
        Ok(Self {
            hardware,
            dir: dir.to_owned(),
            http_port,
            ssh_port,
            qemu: None,
            console_from: 0,
        })
    }

    /// The card, to look at or change while the board is off.
    pub fn card(&self) -> PathBuf {
        self.dir.join("card.img")
    }

    /// Everything the board ever said on its serial console.
    pub fn console_path(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// The port of its web server on this machine.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// The port of its sshd on this machine.
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// Switches the board on.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.qemu.is_none(), "the board is on already");
        self.console_from = std::fs::metadata(self.console_path())?.len();
        let program = self.hardware.machine.program.as_str();
        let mut c = exec::command(program);
        c.args(self.arguments());
        let messages = File::create(self.dir.join("qemu.log"))?;
        c.stdout(messages.try_clone()?).stderr(messages);
        self.qemu = Some(c.spawn().with_context(|| format!("starting {program}"))?);
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let Hardware { machine, boot, .. } = &self.hardware;
        let cache = match self.hardware.cache {
            Cache::WriteBack => "writeback",
            Cache::Unsafe => "unsafe",
        };
        let dir = self.dir.display();
        let user = format!(
            "user,id=net,hostfwd=tcp:127.0.0.1:{}-:8080,hostfwd=tcp:127.0.0.1:{}-:22",
            self.http_port, self.ssh_port
        );
        let places = [
            ("@BOOT@", boot.display().to_string()),
            (
                "@CARD@",
                format!("format=raw,cache={cache},discard=unmap,file={dir}/card.img"),
            ),
            ("@CONSOLE@", "chardev:console".to_owned()),
            ("@NET@", user.clone()),
            ("@NIC@", user),
        ];
        let mut list = vec![
            "-nodefaults".to_owned(),
            "-display none".to_owned(),
            format!("-machine {} -accel tcg,thread=multi", machine.machine),
            format!("-smp {} -m {}", machine.cpus, machine.memory),
            format!("-chardev file,id=console,append=on,path={dir}/console.log"),
            format!(
                "-chardev socket,id=qmp,server=on,wait=off,path={dir}/qmp -mon chardev=qmp,mode=control"
            ),
        ];
        list.extend(machine.cpu.as_ref().map(|cpu| format!("-cpu {cpu}")));
        if machine.watchdog {
            list.push("-action watchdog=reset".to_owned());
        }
        let ours = list.iter().flat_map(|l| l.split(' ')).map(str::to_owned);
        let boards = machine.args.iter().map(|arg| {
            places
                .iter()
                .fold(arg.clone(), |arg, (name, value)| arg.replace(name, value))
        });
        ours.chain(boards).collect()
    }

    /// Pulls the plug: SIGKILL, nothing is flushed or said good-bye to.
    pub fn power_off(&mut self) -> Result<()> {
        if let Some(mut qemu) = self.qemu.take() {
            qemu.kill().context("stopping QEMU")?;
            qemu.wait()?;
        }
        Ok(())
    }

    /// Waits until the board has switched itself off.
    pub fn wait_off(&mut self, within: Duration) -> Result<()> {
        let begun = Instant::now();
        let qemu = self.qemu.as_mut().context("the board is off")?;
        while qemu.try_wait()?.is_none() {
            let seconds = within.as_secs();
            ensure!(begun.elapsed() < within, "still on after {seconds} s");
            std::thread::sleep(Duration::from_millis(250));
        }
        self.qemu = None;
        Ok(())
    }

    /// An error if the board switched itself off or QEMU failed.
    pub fn check_running(&mut self) -> Result<()> {
        let Some(qemu) = &mut self.qemu else {
            bail!("the board is off")
        };
        if let Some(status) = qemu.try_wait()? {
            self.qemu = None;
            let said = std::fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
            bail!("QEMU ended ({status}): {}", said.trim());
        }
        Ok(())
    }

    /// What the console said since the last power-on.
    pub fn console(&self) -> Result<String> {
        let mut file = File::open(self.console_path())?;
        file.seek(SeekFrom::Start(self.console_from))?;
        let mut text = Vec::new();
        file.take(64 << 20).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Waits until `look` gives something. The error shows the last lines of the console.
    pub fn wait<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            let problem = self.check_running().err();
            if problem.is_none() && begun.elapsed() < within {
                std::thread::sleep(Duration::from_millis(250));
                continue;
            }
            let console = self.console().unwrap_or_default();
            let lines: Vec<_> = console.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n  ");
            let why = problem.map_or_else(
                || format!("not within {} s", within.as_secs()),
                |e| e.to_string(),
            );
            bail!(
                "waiting for {what}: {why}\nlast lines of {}:\n  {tail}",
                self.console_path().display()
            );
        }
    }

    /// Waits for a text on the console since the last power-on.
    pub fn wait_console(&mut self, text: &str, within: Duration) -> Result<()> {
        self.wait(&format!("{text:?} on the console"), within, |b| {
            b.console().ok()?.contains(text).then_some(())
        })
    }

    /// Asks the board's own web server, port 8080.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(&self.url(path), Duration::from_secs(10))
    }

    /// The address of a page of the board, seen from this machine.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http_port)
    }

    /// Runs a shell script on the board as the user `root` may (sudo), over SSH, and gives what it printed. The board answers
    /// `/health` before its sshd is up and cloud-init has made the user: who knocks then is sent away, and knocks again.
    pub fn ssh(&self, key: &Path, user: &str, script: &str, within: Duration) -> Result<String> {
        let begun = Instant::now();
        while let Err(error) = self.ssh_once(key, user, "true", within) {
            ensure!(
                begun.elapsed() < within,
                "no way into the board within {} s: {error:#}",
                within.as_secs()
            );
            std::thread::sleep(Duration::from_secs(1));
        }
        self.ssh_once(key, user, script, within.saturating_sub(begun.elapsed()))
    }

    fn ssh_once(&self, key: &Path, user: &str, script: &str, within: Duration) -> Result<String> {
        let mut c = exec::command("ssh");
        c.args(["-q", "-o", "BatchMode=yes", "-o", "ConnectTimeout=60"]);
        for option in self.ssh_options(key, user) {
            c.args(["-o", &option]);
        }
        c.args(["127.0.0.1", script]);
        exec::run(c, within)
    }

    /// What ssh is told by `-o`. The board is new each time: there is no key to know it by, and it is on our own loopback.
    pub fn ssh_options(&self, key: &Path, user: &str) -> [String; 6] {
        [
            format!("Port={}", self.ssh_port),
            format!("User={user}"),
            format!("IdentityFile={}", key.display()),
            "IdentitiesOnly=yes".to_owned(),
            "StrictHostKeyChecking=no".to_owned(),
            "UserKnownHostsFile=/dev/null".to_owned(),
        ]
    }

    /// Puts a stick in whose content is `image`. The hardware must have USB ([`Hardware::with_usb`]).
    pub fn plug(&self, image: &Path) -> Result<()> {
        let drive = serde_json::json!({
            "node-name": "stick", "driver": "raw", "read-only": true,
            "file": { "driver": "file", "filename": image, "read-only": true },
        });
        self.qmp("blockdev-add", drive)?;
        let stick = serde_json::json!({
            "driver": "usb-storage", "id": "stick", "bus": "usb.0", "drive": "stick", "removable": true,
        });
        self.qmp("device_add", stick).map(drop)
    }

    /// Sends one command to QEMU's control socket (QEMU Machine Protocol) and gives its answer.
    pub fn qmp(&self, command: &str, arguments: serde_json::Value) -> Result<serde_json::Value> {
        let mut socket = UnixStream::connect(self.dir.join("qmp"))
            .context("connecting to QEMU's control socket")?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut answer = || -> Result<serde_json::Value> {
            loop {
                let mut line = String::new();
                ensure!(
                    reader.read_line(&mut line)? > 0,
                    "QEMU closed its control socket"
                );
                let value: serde_json::Value = serde_json::from_str(&line)?;
                // Events come at any time and are not answers.
                if value.get("event").is_none() {
                    return Ok(value);
                }
            }
        };
        answer()?;
        let mut last = serde_json::Value::Null;
        let begin = ("qmp_capabilities", serde_json::json!({}));
        for (execute, arguments) in [begin, (command, arguments)] {
            let line = serde_json::json!({ "execute": execute, "arguments": arguments });
            writeln!(socket, "{line}")?;
            last = answer()?;
        }
        ensure!(
            last.get("error").is_none(),
            "QEMU refused {command}: {last}"
        );
        Ok(last["return"].clone())
    }
}

impl Drop for VirtualBoard {
    fn drop(&mut self) {
        if let Err(e) = self.power_off() {
            eprintln!("stopping the virtual board: {e:#}");
        }
    }
}

/// Copies a card: keeps the holes, and shares the blocks where the file system can.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = exec::command("cp");
    cp.args(["--sparse=always", "--reflink=auto"]);
    cp.arg(from).arg(to);
    exec::run(cp, Duration::from_mins(5)).map(drop)
}
