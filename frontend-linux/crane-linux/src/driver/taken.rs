//! The outcome of an order to take a checkpoint, and the phases until then.

use crate::checkpoint::store::Checkpoint;

/// A checkpoint that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The time for which the server was held, in milliseconds.
    pub held_ms: u64,
    /// The bytes that were written meanwhile: the image, and the parts of files that had changed
    /// since they were copied.
    pub held_bytes: u64,
}

/// A phase of taking a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TakingPhase {
    /// The other servers were asked whether this one may be held.
    Asked,
    /// The server is held, or will be soon.
    Held,
    /// The server runs again, and the checkpoint is being made durable.
    Written,
}
