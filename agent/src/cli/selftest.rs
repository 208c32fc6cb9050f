//! `selftest`: the self-tests by hand, with goss's commands and options.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hypriot_keys::time::Timestamp;
use serde_json::Value;

use super::print;
use crate::config;
use crate::probe::Root;
use crate::selftest::{self, Format, Setting, Style, Vars, Wish};
use crate::system::{self, System};
use crate::update::machine;

const EXAMPLES: &str = "\
Examples:
  hypriot-agent selftest                                the board's own tests, failures in words
  hypriot-agent selftest -g goss.yaml validate -f tap   a file of yours, as TAP
  hypriot-agent selftest -g - validate < goss.yaml      from stdin
  hypriot-agent selftest validate -r 60s -s 2s          again until they hold, for a minute
  hypriot-agent selftest -g goss.yaml render            what templates and includes become
  hypriot-agent selftest -g goss.yaml add file /etc/hosts
  hypriot-agent selftest -g goss.yaml autoadd docker

Exit codes: 0 what is required holds, 1 it does not, 3 it did not within --retry-timeout, 78 there are no tests or a file is
wrong. With --format nagios: 0 OK, 2 CRITICAL, 3 UNKNOWN";

/// Run the self-tests, or write some; goss's commands and files
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SelftestArgs {
    /// File or directory with tests instead of the board's own, `-` for stdin (repeatable)
    #[arg(
        long = "gossfile",
        short = 'g',
        visible_alias = "dir",
        env = "GOSS_FILE",
        global = true
    )]
    files: Vec<PathBuf>,
    /// YAML or JSON file with variables for templates
    #[arg(long, env = "GOSS_VARS", global = true)]
    vars: Option<PathBuf>,
    /// YAML or JSON with variables for templates, which win over those of the file
    #[arg(long, env = "GOSS_VARS_INLINE", global = true)]
    vars_inline: Option<String>,
    /// Which package manager to ask; found out when not said
    #[arg(long, value_parser = ["apk", "dpkg", "pacman", "rpm"], global = true)]
    package: Option<String>,
    /// Look at the tree of an image instead of the running system
    #[arg(long, default_value = "/", global = true)]
    root: PathBuf,
    #[command(flatten)]
    validate: ValidateArgs,
    #[command(subcommand)]
    command: Option<Action>,
}

#[derive(Debug, Clone, Args)]
struct ValidateArgs {
    /// human, or one of goss's: documentation, json, junit, nagios, prometheus, rspecish, silent, structured, tap
    #[arg(long, short = 'f', env = "GOSS_FMT", value_parser = format)]
    format: Option<Format>,
    /// perfdata, pretty, sort or verbose (repeatable)
    #[arg(long, short = 'o', env = "GOSS_FMT_OPTIONS", value_parser = Style::NAMES)]
    format_options: Vec<String>,
    /// Colours, also where no terminal is
    #[arg(long, env = "GOSS_COLOR")]
    color: bool,
    /// No colours
    #[arg(long, env = "GOSS_NOCOLOR")]
    no_color: bool,
    /// Pause between retries: 500ms, 2s, 1m30s
    #[arg(long, short = 's', env = "GOSS_SLEEP", default_value = "1s", value_parser = duration)]
    sleep: Duration,
    /// Run failing tests again for as long
    #[arg(long, short = 'r', env = "GOSS_RETRY_TIMEOUT", default_value = "0s", value_parser = duration)]
    retry_timeout: Duration,
    /// Tests at a time
    #[arg(long, env = "GOSS_MAX_CONCURRENT", default_value_t = selftest::WORKERS)]
    max_concurrent: usize,
    /// Seconds that all tests together may take
    #[arg(long, default_value_t = 300)]
    timeout: u64,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the tests; what `selftest` alone does, in goss's default format
    #[command(visible_alias = "v")]
    Validate(ValidateArgs),
    /// Print the tests after templates and includes
    #[command(visible_alias = "r")]
    Render {
        /// The text of each file after its templates, too
        #[arg(long, short = 'd')]
        debug: bool,
    },
    /// Look at resources and write what they are now as tests into the file of --gossfile (./goss.yaml)
    #[command(visible_alias = "a")]
    Add(AddArgs),
    /// Run the owner's tests and tell the agent, which asked for it (in a unit of their own)
    #[command(hide = true)]
    Owner {
        /// Seconds that all tests together may take
        #[arg(long)]
        timeout: u64,
    },
    /// Run the image's tests and tell the agent, which asked for it (in a unit of their own)
    #[command(hide = true)]
    Image {
        /// Seconds that all tests together may take
        #[arg(long)]
        timeout: u64,
    },
    /// Add every file, group, package, port, process, service and user of these names
    #[command(visible_alias = "aa")]
    Autoadd {
        /// Names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    /// addr, command, dns, file, goss, group, http, interface, kernel-param, mount, package, port, process, service, user,
    /// or a kind of ours: docker, kernel-module, kernel-config, device-tree, slot, clock
    kind: String,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
    /// Leave these properties out; patterns (repeatable)
    #[arg(long)]
    exclude_attr: Vec<String>,
    /// How long it may take to answer
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
    /// The server of dns
    #[arg(long)]
    server: Option<String>,
    /// Accept any certificate of http
    #[arg(long, short = 'k')]
    insecure: bool,
    /// Do not follow redirects of http
    #[arg(long)]
    no_follow_redirects: bool,
    /// User of http
    #[arg(long, short = 'u')]
    username: Option<String>,
    /// Password of http
    #[arg(long, short = 'p')]
    password: Option<String>,
    /// Proxy of http
    #[arg(long, short = 'x')]
    proxy: Option<String>,
}

fn format(text: &str) -> Result<Format, String> {
    let found = Format::NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, format)| *format).ok_or_else(|| {
        let names: Vec<&str> = Format::NAMES.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    })
}

/// Go's: `1m30s`, `500ms`, `0`.
fn duration(text: &str) -> Result<Duration, String> {
    selftest::go_duration(text)
        .ok_or_else(|| format!("expected a time such as 500ms, 5s or 1m30s, not {text:?}"))
}

pub(super) fn run(args: SelftestArgs) -> anyhow::Result<ExitCode> {
    let vars = selftest::vars(args.vars.as_deref(), args.vars_inline.as_deref())?;
    let tree = Root::new(&args.root);
    let (board, built) = match system::look(&tree) {
        System::Slots => {
            let settings = config::load(&tree.path(config::IMAGE), Path::new(config::OWNER))?;
            (settings.board, settings.built)
        }
        System::Plain(plain) => (plain.name, Timestamp::default()),
    };
    let setting = Setting {
        root: tree,
        board,
        update: None,
        built,
        now: machine::clock(),
        packages: args.package.clone(),
    };
    match args.command {
        None => {
            let validate = args.validate.clone();
            Ok(validated(
                &args.root,
                args.files,
                &validate,
                &setting,
                &vars,
                Format::Human,
            ))
        }
        Some(Action::Validate(validate)) => Ok(validated(
            &args.root,
            args.files,
            &validate,
            &setting,
            &vars,
            Format::Rspecish,
        )),
        Some(Action::Owner { timeout }) => told(true, &setting, timeout),
        Some(Action::Image { timeout }) => told(false, &setting, timeout),
        Some(Action::Render { debug }) => Ok(rendered(&file(&args.files), &vars, debug)),
        Some(Action::Add(add)) => {
            let wish = wish(&add, file(&args.files));
            print(&selftest::add(&wish, &setting)?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Action::Autoadd { names }) => {
            let wish = Wish {
                kind: String::new(),
                keys: names,
                file: file(&args.files),
                exclude: Vec::new(),
                settings: BTreeMap::new(),
            };
            print(&selftest::autoadd(&wish, &setting)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The one file that is written to or shown.
fn file(files: &[PathBuf]) -> PathBuf {
    files
        .first()
        .cloned()
        .unwrap_or_else(|| "./goss.yaml".into())
}

fn validated(
    root: &Path,
    dirs: Vec<PathBuf>,
    args: &ValidateArgs,
    setting: &Setting,
    vars: &Vars,
    default: Format,
) -> ExitCode {
    let style = args.format_options.iter().fold(
        Style {
            color: args.color || (!args.no_color && std::io::stdout().is_terminal()),
            ..Style::default()
        },
        |style, name| style.with(name),
    );
    let options = selftest::Options {
        dirs,
        root: root.to_owned(),
        board: setting.board.clone(),
        built: setting.built,
        format: args.format.unwrap_or(default),
        style,
        budget: Duration::from_secs(args.timeout),
        workers: args.max_concurrent,
        retry: args.retry_timeout,
        sleep: args.sleep,
        packages: setting.packages.clone(),
    };
    ExitCode::from(selftest::validate(
        &options,
        vars,
        &machine::clock,
        &mut |text| print(text),
    ))
}

fn rendered(file: &Path, vars: &Vars, debug: bool) -> ExitCode {
    let suite = selftest::load_with(&[file.to_owned()], vars);
    if debug && let Ok(text) = selftest::debug(file, vars) {
        print(&format!("DEBUG: file after text/template render\n{text}\n"));
    }
    let wrong: Vec<String> = suite.problems().chain(suite.broken()).collect();
    for what in &wrong {
        eprintln!("hypriot-agent: {what}");
    }
    if suite.is_empty() {
        eprintln!("hypriot-agent: no tests in {}", file.display());
    }
    if suite.is_empty() || !wrong.is_empty() {
        return ExitCode::from(selftest::exit::CONFIG);
    }
    print(&selftest::rendered(&suite));
    ExitCode::SUCCESS
}

fn wish(add: &AddArgs, file: PathBuf) -> Wish {
    let mut settings: BTreeMap<&'static str, Value> = BTreeMap::new();
    // What goss writes, too, when nothing is said.
    let usual = match add.kind.as_str() {
        "addr" | "dns" => Some(500),
        "command" => Some(10_000),
        "http" => Some(5_000),
        "mount" => Some(1_000),
        _ => None,
    };
    let said = add
        .timeout
        .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    if let Some(millis) = usual.map(|usual| said.unwrap_or(usual)) {
        settings.insert("timeout", millis.into());
    }
    let mut word = |name, value: &Option<String>| {
        if let Some(value) = value {
            settings.insert(name, value.as_str().into());
        }
    };
    word("server", &add.server);
    word("username", &add.username);
    word("password", &add.password);
    word("proxy", &add.proxy);
    if add.kind == "http" {
        settings.insert("allow-insecure", add.insecure.into());
        settings.insert("no-follow-redirects", add.no_follow_redirects.into());
    }
    Wish {
        kind: add.kind.clone(),
        keys: add.names.clone(),
        file,
        exclude: add.exclude_attr.clone(),
        settings,
    }
}

/// Runs one part of the board's tests for the agent, which says through standard input what it knows.
fn told(owner: bool, setting: &Setting, timeout: u64) -> anyhow::Result<ExitCode> {
    let (patience, input) = (Duration::from_secs(timeout), std::io::stdin().lock());
    print(&selftest::unit::here(owner, setting, patience, input)?);
    Ok(ExitCode::SUCCESS)
}
