//! The command line as types, with its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Make, sign, publish and judge TUF repositories.
#[derive(Debug, Parser)]
#[command(
    name = "hypriot-keys",
    version,
    after_help = "\
Examples:
  hypriot-keys generate alice.key
  hypriot-keys init repo --key alice.key
  hypriot-keys add-target repo release.json --custom '{\"board\":\"rpi-4\",\"version\":\"1.0.0\"}'
  hypriot-keys publish repo public --key alice.key
  hypriot-keys verify public --root public/1.root.json
  hypriot-keys show repo

A passphrase comes from --passphrase-file, else from HYPRIOT_KEYS_PASSPHRASE, else the terminal is asked.

Exit codes: 0 done, 1 refused by a check (the message says which), 2 wrong usage, 3 trouble with files, passphrase or network."
)]
pub(crate) struct Cli {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key pair: FILE (private, encrypted, mode 0600) and FILE with .pub (for the others).
    Generate {
        /// Where the private key goes, for example alice.key
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Start a repository. Keys are given as .pub files or key files, each option as often as there are holders.
    Init(Box<Init>),
    /// List a file as a target.
    AddTarget {
        /// The repository's working directory.
        repository: PathBuf,
        /// The file.
        file: PathBuf,
        /// Its name as a target; the file's own name when not given.
        #[arg(long)]
        name: Option<String>,
        /// A JSON object for applications, or @FILE that holds one.
        #[arg(long, default_value = "null")]
        custom: String,
        /// The role that lists it.
        #[arg(long, default_value = "targets")]
        role: String,
    },
    /// Take a target from the list.
    RemoveTarget {
        /// The repository's working directory.
        repository: PathBuf,
        /// The target.
        name: String,
        /// The role that lists it.
        #[arg(long, default_value = "targets")]
        role: String,
    },
    /// Let other holders list targets of certain names.
    Delegate {
        /// The repository's working directory.
        repository: PathBuf,
        /// Name of the new role.
        role: String,
        /// Its holders' public keys.
        #[arg(long = "key", required = true)]
        keys: Vec<PathBuf>,
        /// How many of them must sign.
        #[arg(long, default_value_t = 1)]
        threshold: u64,
        /// Shell pattern of names it may list; repeat for more.
        #[arg(
            long = "path",
            required_unless_present = "hash_prefixes",
            conflicts_with = "hash_prefixes"
        )]
        paths: Vec<String>,
        /// Beginning of the SHA-256 of names it may list; repeat for more.
        #[arg(long = "hash-prefix")]
        hash_prefixes: Vec<String>,
        /// Nobody after it is asked for these names.
        #[arg(long)]
        terminating: bool,
        /// The role that delegates.
        #[arg(long, default_value = "targets")]
        parent: String,
    },
    /// Sign a staged file (works anywhere: carry the file to the key).
    Sign {
        /// The file, for example repo/staged/root.json
        file: PathBuf,
        #[command(flatten)]
        keys: Keys,
        /// The root before, when FILE is a root that old holders sign too; found by itself inside a repository.
        #[arg(long)]
        previous: Option<PathBuf>,
    },
    /// Change the keys or the threshold of a role.
    Rotate {
        /// The repository's working directory.
        repository: PathBuf,
        /// The role.
        role: String,
        /// A public key that comes.
        #[arg(long)]
        add: Vec<PathBuf>,
        /// The id of a key that goes.
        #[arg(long)]
        remove: Vec<String>,
        /// The new threshold.
        #[arg(long)]
        threshold: Option<u64>,
    },
    /// Sign a new timestamp over what is published (run it from a timer, before the old one expires).
    RefreshTimestamp(Publication),
    /// Complete the signatures, write the flat files, and let the client judge them.
    Publish(Publication),
    /// Judge a repository as a device would, and check every target's bytes.
    Verify {
        /// A directory or an http(s) URL.
        repository: String,
        /// The root that is trusted, for example 1.root.json
        #[arg(long)]
        root: PathBuf,
        /// Judge at this instant (2026-01-31T23:59:59Z) instead of now.
        #[arg(long)]
        at: Option<String>,
    },
    /// Show a metadata file, a key, or a repository with the signatures it waits for.
    Show {
        /// A file or a repository's working directory.
        path: PathBuf,
    },
}

/// Where a passphrase comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct Passphrase {
    /// A file that holds the passphrase.
    #[arg(long)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Private keys to sign with.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// A private key file; repeat for more.
    #[arg(long = "key", required = true)]
    pub(crate) keys: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

/// What `publish` and `refresh-timestamp` need.
#[derive(Debug, Args)]
pub(crate) struct Publication {
    /// The repository's working directory.
    pub(crate) repository: PathBuf,
    /// The directory that is served.
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// The roles of a new repository.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The working directory to make.
    pub(crate) repository: PathBuf,
    /// A holder of every role that has no holders of its own.
    #[arg(long = "key")]
    pub(crate) keys: Vec<PathBuf>,
    /// A holder of root.
    #[arg(long)]
    pub(crate) root: Vec<PathBuf>,
    /// A holder of targets.
    #[arg(long)]
    pub(crate) targets: Vec<PathBuf>,
    /// A holder of snapshot.
    #[arg(long)]
    pub(crate) snapshot: Vec<PathBuf>,
    /// A holder of timestamp.
    #[arg(long)]
    pub(crate) timestamp: Vec<PathBuf>,
    /// How many holders of root must sign.
    #[arg(long, default_value_t = 1)]
    pub(crate) root_threshold: u64,
    /// How many holders of targets must sign.
    #[arg(long, default_value_t = 1)]
    pub(crate) targets_threshold: u64,
    /// Days that a signed root is good for.
    #[arg(long, default_value_t = 3650)]
    pub(crate) root_days: u64,
    /// Days that signed targets are good for.
    #[arg(long, default_value_t = 365)]
    pub(crate) targets_days: u64,
    /// Days that a signed snapshot is good for.
    #[arg(long, default_value_t = 90)]
    pub(crate) snapshot_days: u64,
    /// Days that a signed timestamp is good for.
    #[arg(long, default_value_t = 30)]
    pub(crate) timestamp_days: u64,
}
