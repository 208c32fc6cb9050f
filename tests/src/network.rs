//! A bridge with boards on it and a line to the source, in network namespaces of this machine that go with it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::exec;

/// What all names begin with, so that what a run left behind is known for ours.
const NAME: &str = "hypnear";
/// The line to the source.
const LINE: &str = "50mbit";
const LIMIT: Duration = Duration::from_mins(1);

/// The bridge, the boards' namespaces, and this machine's end of the line.
#[derive(Debug)]
pub struct Network {
    boards: usize,
}

impl Network {
    /// With so many boards.
    pub fn new(boards: usize) -> Result<Self> {
        let network = Self { boards };
        network.remove();
        network.build().context(
            "making a network of namespaces: it needs root, and a kernel with bridges, veth and tbf",
        )?;
        Ok(network)
    }

    /// Where the source is.
    pub fn source() -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 1)
    }

    fn build(&self) -> Result<()> {
        let hub = hub();
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add br0 type bridge"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        ip(&format!(
            "link add {NAME}0 type veth peer name up0 netns {hub}"
        ))?;
        ip(&format!("-n {hub} link set up0 master br0 up"))?;
        ip(&format!("addr add {}/24 dev {NAME}0", Self::source()))?;
        ip(&format!("link set {NAME}0 up"))?;
        // tc-tbf(8): what the source sends, and nothing of what boards say to each other
        let mut tc = exec::command("tc");
        let words = format!("qdisc add dev {NAME}0 root tbf rate {LINE} burst 64kb latency 400ms");
        tc.args(words.split(' '));
        exec::run(tc, LIMIT)?;
        for n in 0..self.boards {
            let board = board(n);
            ip(&format!("netns add {board}"))?;
            ip(&format!("-n {board} link set lo up"))?;
            ip(&format!(
                "-n {hub} link add p{n} type veth peer name eth0 netns {board}"
            ))?;
            ip(&format!("-n {hub} link set p{n} master br0 up"))?;
            ip(&format!(
                "-n {board} addr add 10.77.0.{}/24 brd + dev eth0",
                n + 10
            ))?;
            ip(&format!("-n {board} link set eth0 up"))?;
        }
        Ok(())
    }

    /// What runs a command on board `n`, with processes of its own: `unshare`, whose further options and program follow.
    pub fn on(n: usize) -> Command {
        let mut command = exec::command("ip");
        // what it starts in the background ends with it
        let own = ["--pid", "--fork", "--kill-child", "--mount-proc"];
        command
            .args(["netns", "exec", &board(n), "unshare"])
            .args(own);
        command
    }

    /// Also what an earlier run left.
    fn remove(&self) {
        drop(ip(&format!("link del {NAME}0")));
        for name in (0..self.boards).map(board).chain([hub()]) {
            drop(ip(&format!("netns del {name}")));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

fn hub() -> String {
    format!("{NAME}-hub")
}

fn board(n: usize) -> String {
    format!("{NAME}-{n}")
}

fn ip(words: &str) -> Result<()> {
    let mut ip = exec::command("ip");
    ip.args(words.split(' '));
    exec::run(ip, LIMIT).map(drop)
}
