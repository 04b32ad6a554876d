//! The command line of `crane-linux log`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::help::CUT_HELP;

/// `log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommands {
    /// Prints every record of the log.
    Show {
        /// The replica's data directory.
        data_dir: PathBuf,
    },
    /// Checks that every record is whole, and prints how many there are.
    Verify {
        /// The replica's data directory.
        data_dir: PathBuf,
    },
    /// Cuts the log of a stopped witness behind a slot, and deletes the files before it.
    #[command(after_help = CUT_HELP)]
    Cut {
        /// The witness's data directory.
        data_dir: PathBuf,
        /// The last slot to cut off.
        #[arg(long, value_name = "SLOT")]
        behind: u64,
        /// The key file of this host, by which the other members answer whether they have what is
        /// cut [default: CRANE_KEYS in the environment, or else .crane/host.keys in the working
        /// directory].
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
        /// Asks members that were started with --insecure-peers.
        #[arg(long, conflicts_with = "keys")]
        insecure_peers: bool,
    },
}
