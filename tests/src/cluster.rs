//! Boards side by side, flashed from one image: each has a name, an identity and a card of its own, and beside the network that leads
//! to this machine one that they share.
//!
//! * [`script`]: what is done with them, a list of steps
//! * [`watch`]: what they say meanwhile, written down from outside

pub mod script;
pub mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::access::{self, USER};
use crate::board::{Cache, Hardware, VirtualBoard};
use crate::clock::TimeServer;
use crate::exec::{self, Held};
use crate::factory::{Factory, PORT};
use crate::health::Health;
use crate::narrate::Narrator;
use crate::scratch::put;
use crate::serve::Server;
use crate::steps::Expect;
use script::{Action, Order, Script, Seen, Start, Task};
use watch::Watch;

/// What the boards' owner says on each card: only the fleet restarts them (docs/src/how-to/roll-out.md).
const MANUAL: &str = "[update]\ninstall = \"manual\"\nreboot = \"manual\"\n";
/// The hook of docs/src/how-to/fleet-swarm.md.
const HOOK: &str = include_str!("../../docs/src/how-to/swarm/50-swarm");
/// The network that the boards share, without the number of the board.
const NETWORK: &str = "10.77.0";

/// A cluster, and what is around it.
#[derive(Debug)]
pub struct Cluster<'a> {
    factory: &'a Factory,
    dir: PathBuf,
    key: PathBuf,
    nodes: Vec<Node>,
    /// What scripts and words may name as `@name@`.
    words: BTreeMap<String, String>,
    watch: Option<Watch>,
    _clock: TimeServer,
    _server: Server,
}

#[derive(Debug)]
struct Node {
    name: String,
    manager: bool,
    board: VirtualBoard,
}

impl Node {
    /// As a file of hosts names it.
    fn host(&self) -> String {
        format!("{}:{}", self.name, self.board.http_port())
    }

    /// As a file of hosts says where it is.
    fn line(&self) -> String {
        let manager = if self.manager { " manager=yes" } else { "" };
        let (host, port) = (self.host(), self.board.ssh_port());
        format!("{host} address=127.0.0.1 ssh_port={port} user={USER}{manager}\n")
    }

    fn health(&self) -> Result<Health> {
        Health::parse(&self.board.get("/health")?.body)
    }
}

impl<'a> Cluster<'a> {
    /// Flashes a card for each board of the script, all from the image of the factory.
    pub fn flash(factory: &'a Factory, script: &Script, dir: &Path) -> Result<Self> {
        let (key, public) = access::key(dir)?;
        let clock = TimeServer::start()?;
        let user_data = user_data(&public, clock.port());
        let lan = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for their network")?;
        let port = lan.local_addr()?.port();
        drop(lan);
        let mut nodes = Vec::new();
        for (n, name) in script.boards.iter().enumerate() {
            let number = u8::try_from(n + 1)?;
            let own = dir.join(name);
            std::fs::create_dir_all(&own)?;
            let network = own.join("network.yaml");
            put(&network, network_config(number))?;
            let network = network.display().to_string();
            let more = ["--hostname", name, "--network-config", &network];
            let flashed = factory.flash(&own, &user_data, &more)?;
            let mut hardware = Hardware::virtual_board()?.with_lan(port, number);
            // four of them share the disk of this machine, and none loses its power
            hardware.cache = Cache::Unsafe;
            hardware.machine.memory = script.memory;
            let board = VirtualBoard::new(hardware, &flashed, &own)?;
            std::fs::remove_file(flashed)?;
            nodes.push(Node {
                name: name.clone(),
                manager: script.managers.contains(name),
                board,
            });
        }
        let mut words = BTreeMap::from([
            ("image".to_owned(), factory.image().display().to_string()),
            ("hook".to_owned(), HOOK.to_owned()),
            ("user".to_owned(), USER.to_owned()),
        ]);
        words.extend(nodes.iter().map(|n| (n.name.clone(), n.host())));
        Ok(Self {
            factory,
            dir: dir.to_owned(),
            key,
            nodes,
            words,
            watch: None,
            _clock: clock,
            _server: Server::start(&factory.repository(), PORT)?,
        })
    }

    /// Plays all steps; the first that fails ends it.
    pub fn play(&mut self, script: &Script, narrator: &mut Narrator) -> Result<()> {
        for step in &script.step {
            narrator
                .step(&step.say, |n| self.act(&step.action, n))
                .with_context(|| step.say.clone())?;
            for node in &mut self.nodes {
                let runs = node.board.check_running();
                runs.with_context(|| format!("{} after: {}", node.name, step.say))?;
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action, narrator: &Narrator) -> Result<()> {
        match action {
            Action::Start(start) => self.start(start, narrator),
            Action::Publish(release) => self.factory.publish(release),
            Action::Run(task) => self.run(task, narrator),
            Action::Fleet(order) => self.fleet(order, narrator),
            Action::Mark => {
                let urls = self.nodes.iter().map(|n| n.board.url("/health"));
                self.watch = Some(Watch::start(urls.collect()));
                Ok(())
            }
            Action::Seen(seen) => self.seen(seen, narrator),
        }
    }

    /// Each is switched on when the one before is well: four that start at once need four times as long, and their patience with
    /// themselves ends.
    fn start(&mut self, start: &Start, narrator: &Narrator) -> Result<()> {
        let well = Expect {
            within: start.within,
            release: Some(start.release.clone()),
            status: vec!["pass".to_owned(), "warn".to_owned()],
            ..Expect::default()
        };
        let version = |name: &str| self.factory.version(name);
        for node in &mut self.nodes {
            let began = Instant::now();
            let name = node.name.clone();
            let mut why = "it has not answered".to_owned();
            node.board.power_on()?;
            let up = node.board.wait(&name, well.within(), |board| {
                let said = board.get("/health").and_then(|a| Health::parse(&a.body));
                let health = said.ok()?;
                why = well.misfit(&health, version).unwrap_or_default();
                narrator.now(&format!(
                    "{:>3} s  {name}: {}",
                    began.elapsed().as_secs(),
                    health.words()
                ));
                why.is_empty().then_some(())
            });
            up.with_context(|| why)?;
            let took = crate::narrate::seconds(began.elapsed());
            narrator.say(&format!("      {name} is well after {took}"));
        }
        self.meet()
    }

    /// The laptop gets to know the boards' host keys, as its owner would by logging in once, and writes down who there is.
    fn meet(&self) -> Result<()> {
        let mut known = String::new();
        for node in &self.nodes {
            let within = Duration::from_mins(10);
            node.board.ssh(&self.key, USER, "true", within)?;
            let mut scan = exec::command("ssh-keyscan");
            let port = node.board.ssh_port().to_string();
            scan.args(["-T", "60", "-p", &port, "127.0.0.1"]);
            let keys = exec::run(scan, within)?;
            ensure!(!keys.is_empty(), "{} has no host keys", node.name);
            known += &keys;
        }
        put(&self.dir.join("known"), &known)?;
        let hosts: String = self.nodes.iter().map(Node::line).collect();
        put(&self.dir.join("hosts"), &hosts)
    }

    fn run(&mut self, task: &Task, narrator: &Narrator) -> Result<()> {
        let script = self.filled(&task.script);
        let mut outputs = Vec::new();
        for node in self.nodes.iter().filter(|n| task.on.contains(&n.name)) {
            narrator.now(&node.name);
            let own = script.replace("@self@", &node.name);
            let within = Duration::from_secs(task.within);
            let output = node
                .board
                .ssh(&self.key, USER, &access::as_root(&own), within)
                .with_context(|| node.name.clone())?;
            if task.show {
                for line in output.lines() {
                    narrator.say(&format!("      {}: {line}", node.name));
                }
            }
            in_order(&output, &task.expect).with_context(|| node.name.clone())?;
            outputs.push(output);
        }
        if task.differ {
            script::all_differ(&outputs)?;
        }
        if let Some(name) = &task.keep {
            let all: Vec<&str> = outputs.iter().map(|o| o.trim()).collect();
            self.words.insert(name.clone(), all.join("\n"));
        }
        Ok(())
    }

    /// Runs hypriot-fleet on this machine, as its operator does.
    fn fleet(&mut self, order: &Order, narrator: &Narrator) -> Result<()> {
        let words = self.filled(&order.words);
        let log = self.dir.join("fleet.log");
        let mut fleet = self.command(&words)?;
        let out = File::create(&log)?;
        fleet.stdout(out.try_clone()?).stderr(out);
        let mut child = Held(fleet.spawn().context("starting hypriot-fleet")?);
        let (began, within) = (Instant::now(), Duration::from_secs(order.within));
        let status = loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = child.0.try_wait()? {
                break status;
            }
            ensure!(began.elapsed() < within, "not done in time:\n{said}");
            let line = said.lines().last().unwrap_or_default();
            narrator.now(&format!("{:>4} s  {line}", began.elapsed().as_secs()));
            std::thread::sleep(Duration::from_millis(500));
        };
        let said = std::fs::read_to_string(&log)?;
        narrator.say(&format!("      $ hypriot-fleet {words}"));
        for line in said.lines() {
            narrator.say(&format!("      {line}"));
        }
        ensure!(
            status.code() == Some(order.code),
            "it ended with {status}, not {}",
            order.code
        );
        let expect: Vec<String> = order.expect.iter().map(|text| self.filled(text)).collect();
        in_order(&said, &expect)?;
        let run = self.last_run()?;
        self.words.insert("run".to_owned(), run);
        Ok(())
    }

    fn command(&self, words: &str) -> Result<Command> {
        let file = |name: &str| self.dir.join(name);
        let mut command = exec::command(exec::workspace_program("hypriot-fleet")?);
        let list: Vec<&str> = words.split_whitespace().collect();
        command.args(&list);
        if matches!(list.first(), Some(&("update" | "show" | "resume"))) {
            command.arg("--runs").arg(file("runs"));
        }
        if matches!(list.first(), Some(&("update" | "status" | "validate"))) {
            command.arg("--hosts-file").arg(file("hosts"));
        }
        if matches!(list.first(), Some(&"update")) || list.contains(&"--ssh") {
            for option in [
                format!("IdentityFile={}", self.key.display()),
                format!("UserKnownHostsFile={}", file("known").display()),
                "IdentitiesOnly=yes".to_owned(),
                "StrictHostKeyChecking=yes".to_owned(),
                // the boards are emulated, and one of them may be busy
                "ConnectTimeout=60".to_owned(),
            ] {
                command.args(["--ssh-option", &option]);
            }
        }
        Ok(command)
    }

    fn last_run(&self) -> Result<String> {
        let runs = exec::run(self.command("show")?, Duration::from_mins(1))?;
        Ok(runs.lines().last().unwrap_or_default().to_owned())
    }

    /// What was seen from outside since the mark.
    fn seen(&mut self, seen: &Seen, narrator: &Narrator) -> Result<()> {
        let watch = self.watch.take().context("nobody has watched")?;
        let histories = watch.end();
        let version = self.factory.version(&seen.runs);
        let mut outages = Vec::new();
        for (node, history) in self.nodes.iter().zip(&histories) {
            let out = watch::outages(history);
            let restarts = watch::restarts(history);
            narrator.say(&format!(
                "      {}: restarts {restarts}, out {}",
                node.name,
                watch::words(&out)
            ));
            let (least, most) = seen.restarts.get(&node.name).copied().unwrap_or((0, 0));
            ensure!(
                (least..=most).contains(&restarts),
                "{} restarted {restarts} times, not {least} to {most}",
                node.name
            );
            ensure!(
                most > 0 || out.is_empty(),
                "{} was out, and nobody had told it anything",
                node.name
            );
            let health = node.health()?;
            ensure!(
                health.version == version,
                "{} runs {}, not {version}",
                node.name,
                health.version
            );
            outages.push(out);
        }
        let most = watch::most(&outages);
        narrator.say(&format!("      at most {most} out at a time"));
        ensure!(
            most <= seen.most_out,
            "{most} were out at a time, {} allowed",
            seen.most_out
        );
        Ok(())
    }

    fn filled(&self, text: &str) -> String {
        let fill = |text: String, (name, value): (&String, &String)| {
            text.replace(&format!("@{name}@"), value)
        };
        self.words.iter().fold(text.to_owned(), fill)
    }
}

/// One after the other, wherever.
fn in_order(text: &str, expect: &[String]) -> Result<()> {
    let mut rest = text;
    for wanted in expect {
        let at = rest.find(wanted.as_str());
        let at =
            at.with_context(|| format!("{wanted:?} is not there, or not in its place:\n{text}"))?;
        rest = &rest[at + wanted.len()..];
    }
    Ok(())
}

fn user_data(public_key: &str, clock: u16) -> String {
    let settings = MANUAL.trim_end().replace('\n', "\n      ");
    format!(
        "#cloud-config\nmanage_etc_hosts: true\nusers:\n{}    groups: [docker]\nwrite_files:\n  \
         - path: /etc/hypriot/agent.d/fleet.toml\n    content: |\n      {settings}\n{}",
        access::user(public_key),
        access::time_from(clock)
    )
}

/// The first interface leads to this machine, the second to the other boards.
fn network_config(number: u8) -> String {
    format!(
        "version: 2\nethernets:\n  eth0: {{dhcp4: true}}\n  eth1: {{addresses: [\"{NETWORK}.{number}/24\"]}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_found_in_its_order_alone() {
        let want = |list: &[&str]| {
            in_order(
                "a b c",
                &list.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
        };
        assert!(want(&["a", "c"]).is_ok());
        assert!(want(&["c", "a"]).is_err());
        assert!(want(&["a", "a"]).is_err());
    }

    #[test]
    fn boards_are_told_what_the_page_about_rollouts_says() {
        let page = include_str!("../../docs/src/how-to/roll-out.md");
        assert!(page.contains(MANUAL));
        let text = user_data("ssh-ed25519 AAAA x\n", 4711);
        assert!(
            text.contains("      [update]\n      install = \"manual\"\n"),
            "{text}"
        );
        assert!(network_config(3).contains("10.77.0.3/24"));
    }
}
