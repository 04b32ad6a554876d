//! The files that a server has left at a restart, as a checkpoint: the next run begins with a copy
//! of them, so that a host without CRIU has checkpoints too.

use std::path::Path;

use crane_core::execution::Mark;
use crane_core::execution::hash::RunningHash;
use crane_core::id::{Incarnation, Slot};

use super::origin::Origin;
use super::store::{Checkpoint, CheckpointKind, Manifest, Processes, Unfinished};
use crate::cell::restore::{copy_layers, exchange_layers};
use crate::library;

/// An order to keep the files behind a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FilesOrder {
    /// The group.
    pub group: String,
    /// The slot of the restart.
    pub slot: Slot,
    /// The incarnation that begins behind it.
    pub incarnation: Incarnation,
    /// The timestamp of its entry.
    pub timestamp: u64,
    /// The first incarnation of the program that starts behind it.
    pub program_since: Incarnation,
}

/// Takes the files that the run before has left in a data directory, and puts a copy in their
/// place. Its cell has ended.
///
/// # Errors
/// Returns what the system refused. The files are there in any case.
pub(crate) fn take(data: &Path, order: &FilesOrder) -> Result<Unfinished, String> {
    let unfinished = Unfinished::make(data, order.slot.0)?;
    copy_layers(data, unfinished.place())?;
    exchange_layers(data, unfinished.place())?;
    Ok(unfinished)
}

/// Makes a checkpoint of files that were taken.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(crate) fn finish(unfinished: Unfinished, order: FilesOrder) -> Result<Checkpoint, String> {
    unfinished.finish(order.manifest())
}

impl FilesOrder {
    /// Returns the manifest of the checkpoint, which no run has proved.
    pub(crate) fn manifest(self) -> Manifest {
        let Self { group, slot, incarnation, timestamp, program_since } = self;
        let nothing = RunningHash::new().value();
        Manifest {
            library: library::digest(),
            origin: Box::<Origin>::default(),
            group,
            kind: CheckpointKind::Files { timestamp, program_since },
            slot,
            incarnation,
            clock: 0,
            mark: Mark { slot, clock: 0, schedule: nothing, output: nothing },
            proof: None,
            processes: Box::<Processes>::default(),
            digest: [0; 32],
        }
    }
}
