//! Checkpoints of the server: an image of its processes and a copy of its files, taken behind one
//! slot, from which a server continues without the entries before it. The image is written by CRIU,
//! a program of its own, which this room finds and tries.
//!
//! | file | thought |
//! |---|---|
//! | `every` | how often a replica takes one by itself |
//! | `command` | orders to a running replica |
//! | `origin` | the host on which a checkpoint was taken |
//! | `files` | checkpoints of a replica that does not run |
//! | `attributes` | owners, modes, extended attributes and times of files |
//! | `listing` | all that is in a directory, as a list |
//! | `tree` | what a server can see of the contents of a directory |
//! | `digest` | the digest of a directory |
//! | `left_files` | the files that a server has left at a restart |
//! | `kept` | which checkpoints are kept |
//! | `store` | the checkpoints of a data directory |
//! | `index` | what is in a checkpoint, by the digests of its blocks |
//! | `assembly` | a directory that is made from an index and blocks |
//! | `capture` | a copy of the server's files, made before the server is held as far as possible |
//! | `archive` | a checkpoint as one file |
//! | `arrived` | a log's beginning behind a checkpoint that came from another replica |
//! | `probe` | the processes of a probe, in namespaces of their own |
//! | `criu` | which CRIU is used, its version, and whether it works here |

pub(crate) mod archive;
pub(crate) mod arrived;
pub(crate) mod assembly;
mod attributes;
pub(crate) mod capture;
pub(crate) mod command;
pub(crate) mod criu;
mod digest;
pub(crate) mod every;
pub(crate) mod files;
pub(crate) mod index;
pub(crate) mod kept;
pub(crate) mod left_files;
mod listing;
pub(crate) mod origin;
pub(crate) mod probe;
pub(crate) mod store;
mod tree;

use std::path::Path;

use crate::group;
use crate::options::CheckpointCommands;
use crate::terminal::print_line;
use criu::{Criu, CriuError};

/// The hidden subcommand that runs the processes of a probe.
pub(crate) const SUBCOMMAND: &str = "probe-stage";

/// Runs `checkpoint`, and returns the exit status.
pub(crate) fn run(command: &CheckpointCommands) -> i32 {
    match command {
        CheckpointCommands::Now { data_dir } => command::now(data_dir),
        CheckpointCommands::List { data_dir } => command::list(data_dir, false),
        CheckpointCommands::Verify { data_dir } => command::list(data_dir, true),
        CheckpointCommands::Prune { data_dir, keep } => files::prune(data_dir, *keep),
        CheckpointCommands::Export { data_dir, file, slot } => files::export(data_dir, file, *slot),
        CheckpointCommands::Import { data_dir, file } => files::import(data_dir, file),
        CheckpointCommands::Probe { criu } => run_probe(criu.as_deref()),
    }
}

/// Runs `checkpoint probe`, and returns the exit status.
fn run_probe(named: Option<&Path>) -> i32 {
    group::run(async { probe(named).await.map_err(|error| error.to_string()) })
}

async fn probe(named: Option<&Path>) -> Result<String, CriuError> {
    let criu = Criu::find(named).await?;
    print_line(&criu.to_string());
    let times = criu.probe().await?;
    Ok(format!(
        "checkpoints work here: a process with threads that listens on TCP was dumped in {} ms and \
         restored in {} ms",
        times.dump.as_millis(),
        times.restore.as_millis()
    ))
}
