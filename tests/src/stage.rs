//! Plays a scenario: a board, the server it updates from, and the hand that pulls the plug.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::access::{self, Access};
use crate::board::VirtualBoard;
use crate::exec;
use crate::factory::{Factory, PORT};
use crate::health::Health;
use crate::narrate::Narrator;
use crate::serve::Server;
use crate::steps::{Action, Cuts, Expect, Measure, Moment, Scenario, Script};

/// What the boot script prints when it starts a slot on trial (`updater::boot::script`).
pub(crate) const TRIED: &str = "trial trying, starting slot";

/// Everything a scenario plays with.
#[derive(Debug)]
pub struct Stage<'a> {
    /// What was built.
    pub factory: &'a Factory,
    /// The board.
    pub board: VirtualBoard,
    /// Where it looks for updates.
    pub server: Server,
    /// The way into it, if a scenario runs scripts on it.
    pub access: Option<Access>,
    /// State of the random numbers; printed, so that a failure can be played again.
    pub seed: u64,
    /// How many requests the server had answered when the board was last switched on.
    answered: usize,
    /// What was seen so far.
    pub seen: Seen,
}

/// What a scenario showed, also one that failed later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// How long the steps with a name took.
    pub times: BTreeMap<Measure, Duration>,
    /// Power cuts after which the board came up again.
    pub cuts: u32,
}

impl<'a> Stage<'a> {
    /// A stage on which nothing was played yet.
    pub fn new(factory: &'a Factory, board: VirtualBoard, seed: u64) -> Result<Self> {
        Ok(Self {
            factory,
            board,
            server: Server::start(&factory.repository(), PORT)?,
            access: None,
            seed,
            answered: 0,
            seen: Seen::default(),
        })
    }

    /// Plays all steps; the first that fails ends it.
    pub fn play(&mut self, scenario: &Scenario, narrator: &mut Narrator) -> Result<()> {
        for step in &scenario.step {
            let began = Instant::now();
            narrator
                .step(&step.say, |n| self.act(&step.action, n))
                .with_context(|| step.say.clone())?;
            if let Some(measure) = step.measures {
                self.seen.times.insert(measure, began.elapsed());
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action, narrator: &Narrator) -> Result<()> {
        match action {
            Action::PowerOn => self.power_on(),
            Action::PowerOff => self.board.power_off(),
            Action::Wait(expect) => self.wait(expect, narrator).map(drop),
            Action::ShowHealth => self.show_health(narrator),
            Action::Publish(release) => self.factory.publish(release),
            Action::Stick(release) => self.board.plug(&self.factory.stick(release)?),
            Action::PowerCuts(cuts) => self.power_cuts(cuts, narrator),
            Action::Run(script) => self.run(script, narrator),
            Action::Validate => self.validate(narrator),
            Action::Keep(name) => self.keep(name),
            Action::Console(text) => {
                ensure!(
                    self.board.console()?.contains(text),
                    "the console never said {text:?}"
                );
                Ok(())
            }
        }
    }

    /// The way into the board.
    pub(crate) fn way_in(&self) -> Result<&Access> {
        self.access
            .as_ref()
            .context("this stage has no way into its board")
    }

    /// What the board says about itself now.
    pub fn health(&self) -> Result<Health> {
        Health::parse(&self.board.get("/health")?.body)
    }

    pub(crate) fn wait(&mut self, expect: &Expect, narrator: &Narrator) -> Result<Health> {
        let factory = self.factory;
        self.wait_for(expect.within(), narrator, |health| {
            expect.misfit(health, |name| factory.version(name))
        })
    }

    /// Waits for an answer that `misfit` finds nothing wrong with.
    fn wait_for(
        &mut self,
        within: Duration,
        narrator: &Narrator,
        misfit: impl Fn(&Health) -> Option<String>,
    ) -> Result<Health> {
        let began = Instant::now();
        let mut why = "the board has not answered".to_owned();
        let found = self.board.wait("the board", within, |board| {
            let said = board.get("/health").and_then(|a| Health::parse(&a.body));
            let now = match &said {
                Ok(health) => health.words(),
                Err(_) => last_line(&board.console().unwrap_or_default()),
            };
            narrator.now(&format!("{:>3} s  {now}", began.elapsed().as_secs()));
            let health = said.ok()?;
            match misfit(&health) {
                None => Some(health),
                Some(words) => {
                    why = words;
                    None
                }
            }
        });
        found.with_context(|| why)
    }

    /// `hypriot-fleet validate`, as whoever flashed the card calls it.
    fn validate(&self, narrator: &Narrator) -> Result<()> {
        let access = self.way_in()?;
        let mut fleet = exec::command(exec::workspace_program("hypriot-fleet")?);
        let host = self.board.url("");
        fleet
            .args(["validate", "--no-ssh-keys", "--within", "900", "--hosts"])
            .arg(host.trim_start_matches("http://"))
            .arg("--image")
            .arg(self.factory.image())
            .arg("--expect")
            .arg(self.factory.expectations())
            .args(["--ssh", "--load", "2"]);
        for option in self.board.ssh_options(&access.key, access::USER) {
            fleet.args(["--ssh-option", &option]);
        }
        let said = exec::run(fleet, Duration::from_mins(20))?;
        narrator.say(&said);
        Ok(())
    }

    fn show_health(&self, narrator: &Narrator) -> Result<()> {
        let answer = self.board.get("/health?verbose")?;
        narrator.say(&format!(
            "      $ curl {}",
            self.board.url("/health?verbose")
        ));
        for line in answer.body.lines() {
            narrator.say(&format!("      {line}"));
        }
        narrator.say(&format!("      (HTTP {})", answer.status));
        if let Some(last) = self.health()?.update.last_attempt {
            let reason = if last.reason.is_empty() {
                String::new()
            } else {
                format!(": {}", last.reason)
            };
            narrator.say(&format!(
                "      last update: {} {}{reason}",
                last.version, last.outcome
            ));
        }
        Ok(())
    }

    fn run(&self, script: &Script, narrator: &Narrator) -> Result<()> {
        let access = self.way_in()?;
        let wrapped = access::as_root(&script.script);
        let output = self.board.ssh(
            &access.key,
            access::USER,
            &wrapped,
            Duration::from_secs(script.within),
        )?;
        ensure!(
            output.contains(&script.expect),
            "the output lacks {:?}:\n{output}",
            script.expect
        );
        if script.show {
            narrator.say(&format!("      $ {}", script.script.trim()));
            for line in output.lines() {
                narrator.say(&format!("      {line}"));
            }
        }
        Ok(())
    }

    fn power_cuts(&mut self, cuts: &Cuts, narrator: &Narrator) -> Result<()> {
        for n in 1..=cuts.times {
            let moment = self.random(cuts.spread);
            narrator.say(&format!(
                "      cut {n}: {} ms after the begin of {:?}",
                moment.as_millis(),
                cuts.during
            ));
            self.await_moment(cuts, narrator)?;
            std::thread::sleep(moment);
            self.board.power_off()?;
            self.power_on()?;
            // Any status will do: Docker comes up last, and the next cut need not wait for it.
            let within = Duration::from_secs(cuts.within);
            let slotless = |health: &Health| {
                health
                    .slot
                    .is_empty()
                    .then(|| "it does not know its slot".to_owned())
            };
            let health = self
                .wait_for(within, narrator, slotless)
                .with_context(|| format!("after cut {n}"))?;
            self.seen.cuts += 1;
            narrator.say(&format!("      up again: {}", health.words()));
        }
        Ok(())
    }

    /// Waits until the board is in the middle of it.
    fn await_moment(&mut self, cuts: &Cuts, narrator: &Narrator) -> Result<()> {
        let (began, answered, server) = (Instant::now(), self.answered, &self.server);
        let during = cuts.during;
        self.board.wait(
            &format!("{during:?}"),
            Duration::from_secs(cuts.within),
            |board| {
                narrator.now(&format!(
                    "{:>3} s  waiting for {during:?}",
                    began.elapsed().as_secs()
                ));
                let requests = server.requests();
                let mut payloads = requests[answered..]
                    .iter()
                    .filter(|r| Factory::is_payload(&r.name));
                let tried = || board.console().is_ok_and(|c| c.contains(TRIED));
                let reached = match during {
                    Moment::Write => payloads.next().is_some(),
                    // After an earlier cut the slot may be complete already: then nothing is fetched.
                    Moment::Arm => payloads.any(|r| r.complete) || tried(),
                    Moment::Trial => tried(),
                };
                reached.then_some(())
            },
        )
    }

    pub(crate) fn power_on(&mut self) -> Result<()> {
        self.answered = self.server.requests().len();
        self.board.power_on()
    }

    /// A random time up to `most` milliseconds (xorshift: good enough to hit different moments, the same every time
    /// for one seed).
    fn random(&mut self, most: u64) -> Duration {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        Duration::from_millis(self.seed % most.max(1))
    }
}

fn last_line(console: &str) -> String {
    let line = console
        .lines()
        .rev()
        .find(|l| !l.trim().is_empty())
        .unwrap_or("no word from the board yet");
    line.to_owned()
}
