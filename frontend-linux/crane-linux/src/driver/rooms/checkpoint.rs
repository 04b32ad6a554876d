//! The checkpoints that this replica takes of its server, and starts it from.

use crane_core::id::Slot;
use crane_core::time::Instant;

use crate::checkpoint::store::Checkpoint;

use super::super::host::Taken;

/// The state of checkpoints.
#[derive(Debug, Default)]
pub(in crate::driver) struct Checkpoints {
    /// The last order to take one.
    pub(in crate::driver) state: CheckpointState,
    /// The newest one of the data directory that can be used.
    pub(in crate::driver) newest: Option<Checkpoint>,
    /// When the next one is due, if replicas take them by themselves.
    pub(in crate::driver) due: Option<Due>,
    /// The last slot behind which a checkpoint may be for the next start, if there is a limit.
    pub(in crate::driver) limit: Option<Slot>,
    /// The one from which the present run has started.
    pub(in crate::driver) started_from: Option<Checkpoint>,
}

impl Checkpoints {
    /// Returns the slot behind which the present run has started, if it has started from a
    /// checkpoint.
    pub(in crate::driver) fn start_slot(&self) -> Option<Slot> {
        self.started_from.as_ref().map(|from| from.manifest.slot)
    }
}

/// The moment at which a checkpoint is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::driver) enum Due {
    /// This time.
    At(Instant),
    /// The admission of this slot.
    Behind(u64),
}

/// The state of the last order to take a checkpoint.
#[derive(Debug, Default)]
pub(in crate::driver) enum CheckpointState {
    /// No order was given.
    #[default]
    Never,
    /// The server is held, or will be soon.
    Taking,
    /// The checkpoint was taken.
    Taken(Taken),
    /// None was taken, for this reason.
    Failed(String),
}
