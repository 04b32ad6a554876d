//! The command line of `crane-linux keys`.

// The comments on options are the text of --help, in which host[:port] is not a link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::place::KEYS_DIRECTORY;

/// `keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommands {
    /// Makes the authority of a new group, one key file for each of its hosts, and one for
    /// operators.
    Init(HostsArgs),
    /// Makes key files for further hosts of the group.
    Add(HostsArgs),
    /// Shows whom key files name, which authorities they trust, and when they expire.
    Show {
        /// The key files [default: all in crane-keys].
        files: Vec<PathBuf>,
    },
    /// Makes a new authority and new key files for all hosts. The former files serve until the next
    /// rotation, so that hosts can take the new ones one after the other, while the group serves.
    Rotate(DirectoryArgs),
}

/// `keys init` and `keys add`.
#[derive(Debug, Args)]
pub(crate) struct HostsArgs {
    /// The hosts: host[:port], each as in --peers.
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    /// The directory.
    #[command(flatten)]
    pub directory: DirectoryArgs,
}

/// The options that `keys init`, `add` and `rotate` share.
#[derive(Clone, Debug, Args)]
pub(crate) struct DirectoryArgs {
    /// The directory of the authority and the key files. Whoever has it can act as any replica:
    /// keep it on one host, or on none.
    #[arg(long, value_name = "DIR", default_value = KEYS_DIRECTORY)]
    pub dir: PathBuf,
    /// How long the keys are valid. status has a note during the last 30 days.
    #[arg(long, value_name = "TIME", default_value = "5years",
          value_parser = humantime::parse_duration)]
    pub valid_for: Duration,
}
