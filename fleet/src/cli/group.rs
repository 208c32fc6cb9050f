//! `hypriot-fleet group` and `hypriot-fleet plan`: an operator's words to `hypriot-fleet serve`.

mod show;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use serde::Deserialize;

use super::update::{fresh_id, operator};
use super::{read, write_out};
use crate::ask::runtime;
use crate::lock::Settings;
use crate::lock::window::Window;
use crate::rollout::plan::{Canary, Member, Plan, Share};
use crate::serve::api::Order;
use crate::serve::token::Token;

pub(super) const EXAMPLES: &str = "\
Examples:
  hypriot-fleet group set default --slots 2 --window 'sat,sun 02:00/120'
  hypriot-fleet group show                         # who is out, why it is paused
  hypriot-fleet group pause default --reason 'the fair is open'
  hypriot-fleet group clear default 3f2a…          # nobody need wait for this board
  hypriot-fleet plan apply rollout.toml

Exit codes: 0 done, 1 the server refused, 2 wrong usage or an error";

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: usize = 32 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server
    #[arg(
        long,
        env = "HYPRIOT_FLEET_SERVER",
        default_value = "http://localhost:8088"
    )]
    server: String,
    /// File of the operator's token
    #[arg(
        long,
        env = "HYPRIOT_FLEET_TOKEN_FILE",
        default_value = "/var/lib/hypriot-fleet/token"
    )]
    token_file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Group {
    /// Show the groups, their slots and who is out
    Show {
        #[command(flatten)]
        server: Server,
        /// As JSON, all there is to know
        #[arg(long)]
        json: bool,
    },
    /// Make a group, or change its settings
    Set {
        /// The group
        group: String,
        /// Boards that may be out at a time
        #[arg(long)]
        slots: usize,
        /// Seconds after which a board that is out has failed
        #[arg(long, default_value_t = 1800)]
        deadline: u64,
        /// With more failures than this the group is paused
        #[arg(long, default_value_t = 0)]
        max_failures: usize,
        /// When boards may go, in UTC: 'sat,sun 02:00/120' for 120 minutes (repeatable; always if not given)
        #[arg(long = "window")]
        windows: Vec<Window>,
        #[command(flatten)]
        server: Server,
    },
    /// Give nobody a lock
    Pause {
        /// The group
        group: String,
        /// Why, for whoever looks
        #[arg(long, default_value = "by hand")]
        reason: String,
        #[command(flatten)]
        server: Server,
    },
    /// Go on, after a pause or after it stopped by itself; failures so far are forgiven
    Resume {
        /// The group
        group: String,
        #[command(flatten)]
        server: Server,
    },
    /// Take the lock of a board that will not come back; nobody waits for it
    Clear {
        /// The group
        group: String,
        /// The board's identity, as `group show` has it
        board: String,
        #[command(flatten)]
        server: Server,
    },
    /// Forget a board that is no more
    Forget {
        /// The group
        group: String,
        /// The board's identity, as `group show` has it
        board: String,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Plans {
    /// Carry out a plan: boards get their locks canary first, then in waves, and it stops by itself
    Apply {
        /// The plan, TOML; - is standard input
        file: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// End a group's plan; boards keep what they have
    Abort {
        /// The group
        group: String,
        #[command(flatten)]
        server: Server,
    },
}

/// A plan as its owner writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    group: String,
    version: String,
    #[serde(default)]
    boards: Vec<String>,
    canary: Option<Vec<String>>,
    waves: Option<Vec<Share>>,
    max_unavailable: Option<Share>,
    max_failures: Option<usize>,
    soak: Option<u64>,
    settle: Option<u64>,
    preflight: Option<u64>,
    #[serde(default)]
    strict: bool,
    settings: Option<Settings>,
}

impl Written {
    fn plan(&self) -> Plan {
        let member = |name: &String| Member {
            name: name.clone(),
            ..Member::default()
        };
        let base = Plan::new(self.boards.iter().map(member).collect());
        Plan {
            version: Some(self.version.clone()).filter(|v| v != "latest"),
            canary: match self.canary.as_deref() {
                None => Canary::PerModel,
                Some([]) => Canary::None,
                Some(names) => Canary::Named(names.to_vec()),
            },
            waves: self.waves.clone().unwrap_or(base.waves),
            max_unavailable: self.max_unavailable.unwrap_or(base.max_unavailable),
            max_failures: self.max_failures.unwrap_or(base.max_failures),
            soak: self.soak.unwrap_or(base.soak),
            settle: self.settle.unwrap_or(base.settle),
            preflight: self.preflight.unwrap_or(base.preflight),
            strict: self.strict,
            // boards that are switched off for a while must not keep the others from it
            skip_unfit: true,
            // boards that ask say nothing while they are well
            quiet: 365 * 86_400,
            ..Plan::new(base.boards)
        }
    }
}

pub(super) fn group(words: &Group) -> Result<u8> {
    let (server, group, word, order) = match words {
        Group::Show { server, json } => return show::show(server, *json),
        Group::Set {
            group,
            slots,
            deadline,
            max_failures,
            windows,
            server,
        } => {
            let settings = Settings {
                slots: *slots,
                deadline: *deadline,
                max_failures: *max_failures,
                windows: windows.clone(),
            };
            (
                server,
                group,
                "set",
                Order {
                    settings: Some(settings),
                    ..Order::default()
                },
            )
        }
        Group::Pause {
            group,
            reason,
            server,
        } => (
            server,
            group,
            "pause",
            Order {
                reason: reason.clone(),
                ..Order::default()
            },
        ),
        Group::Resume { group, server } => (server, group, "resume", Order::default()),
        Group::Clear {
            group,
            board,
            server,
        } => (
            server,
            group,
            "clear",
            Order {
                board: board.clone(),
                ..Order::default()
            },
        ),
        Group::Forget {
            group,
            board,
            server,
        } => (
            server,
            group,
            "forget",
            Order {
                board: board.clone(),
                ..Order::default()
            },
        ),
    };
    say(server, group, word, order)
}

pub(super) fn plan(words: &Plans) -> Result<u8> {
    match words {
        Plans::Abort { group, server } => say(server, group, "abort", Order::default()),
        Plans::Apply { file, server } => {
            let text = read(file).with_context(|| format!("reading {}", file.display()))?;
            let written: Written =
                toml::from_str(&text).with_context(|| file.display().to_string())?;
            let plan = written.plan();
            let run = fresh_id()?;
            let order = Order {
                settings: written.settings,
                plan: Some((run, Box::new(plan))),
                ..Order::default()
            };
            let code = say(server, &written.group, "plan", order)?;
            if code == 0
                && let Some(why) = show::paused(server, &written.group)?
            {
                eprintln!(
                    "hypriot-fleet: nobody goes yet: the group is paused {why}; `hypriot-fleet group resume {}` begins",
                    written.group
                );
            }
            Ok(code)
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    value: String,
}

fn say(server: &Server, group: &str, word: &str, mut order: Order) -> Result<u8> {
    ensure!(
        crate::lock::group_name(group),
        "{group:?} is no name of a group: letters, digits, `.` and `-`"
    );
    order.by = operator();
    let path = format!("/v1/groups/{group}/{word}");
    let (status, text) = runtime()?.block_on(exchange(server, &path, Some(&order)))?;
    if status == 200 {
        write_out(&format!("{group}: {word}: done\n"))?;
        return Ok(0);
    }
    let refusal: Refusal = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} answers {status}, but is no hypriot-fleet serve",
            server.server
        )
    })?;
    eprintln!(
        "hypriot-fleet: {group}: {word}: {}",
        crate::answer::clean(&refusal.value)
    );
    Ok(1)
}

async fn exchange(server: &Server, path: &str, order: Option<&Order>) -> Result<(u16, Vec<u8>)> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .context("making an HTTP client")?;
    let url = format!("{}{path}", server.server.trim_end_matches('/'));
    let token = Token::read(&server.token_file);
    let mut request = match order {
        Some(order) => client
            .post(&url)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(order)?),
        None => client.get(&url),
    };
    match (&token, order) {
        (Ok(token), _) => request = request.bearer_auth(token.secret()),
        (Err(error), Some(_)) => bail!("{error:#}; see --token-file"),
        // reading may be open
        (Err(_), None) => {}
    }
    let mut response = request
        .send()
        .await
        .map_err(|e| anyhow!("{url}: {}", e.without_url()))?;
    let (status, mut text) = (response.status().as_u16(), Vec::new());
    while let Some(chunk) = response.chunk().await.context("reading the answer")? {
        ensure!(
            text.len() + chunk.len() <= ANSWER,
            "the answer is larger than {ANSWER} bytes"
        );
        text.extend_from_slice(&chunk);
    }
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_and_a_word_that_is_not_known_is_refused() {
        let text = "group = \"default\"\nversion = \"latest\"\nwaves = [\"1\", \"25%\"]\nmax_unavailable = \"10%\"\n\
                    [settings]\nslots = 3\nwindows = [\"sat 02:00/120\"]\n";
        let written: Written = toml::from_str(text).expect("a plan");
        let plan = written.plan();
        assert_eq!(plan.version, None);
        assert_eq!(plan.waves, [Share::Boards(1), Share::Percent(25)]);
        assert_eq!(written.settings.expect("settings").deadline, 1800);
        for wrong in [
            "group = \"x\"",
            "group = \"x\"\nversion = \"1\"\nmax_failure = 1",
            "group = \"x\"\nversion = \"1\"\nmax_unavailable = \"0\"",
        ] {
            assert!(toml::from_str::<Written>(wrong).is_err(), "{wrong}");
        }
    }
}
