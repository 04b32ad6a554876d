//! The checkpoints that this replica takes of its server, and starts it from.

use std::path::{Path, PathBuf};

use crane_core::execution::Mark;
use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::NodeSet;
use crane_core::time::Instant;

use crate::checkpoint::kept::{keep_only, next_to_prove};
use crate::checkpoint::store::Checkpoint;

use super::super::taken::{Taken, TakingPhase};

/// The state of checkpoints.
#[derive(Debug, Default)]
pub(in crate::driver) struct Checkpoints {
    /// The last order to take one.
    pub(in crate::driver) state: CheckpointState,
    /// Those of the data directory that can be used, the newest first.
    pub(in crate::driver) usable: Vec<Checkpoint>,
    /// When the next one is due, if replicas take them by themselves.
    pub(in crate::driver) due: Option<Due>,
    /// The last slot behind which a checkpoint may be for the next start, if there is a limit.
    pub(in crate::driver) limit: Option<Slot>,
    /// The one from which the present run has started.
    pub(in crate::driver) started_from: Option<Checkpoint>,
    /// The last mark of this replica's server that was the majority's as well.
    pub(in crate::driver) agreed: Option<Mark>,
    /// Whether the files that the present run has begun with are being kept.
    pub(in crate::driver) keeps_files: bool,
    /// The number of proofs that have begun.
    pub(in crate::driver) proofs: u64,
    /// The proof that is being made.
    pub(in crate::driver) proving: Option<Proving>,
    /// The directory of the checkpoint whose proof is being kept.
    pub(in crate::driver) keeping: Option<PathBuf>,
    /// No proof is tried before this time.
    pub(in crate::driver) prove_after: Instant,
    /// The permission to hold a server.
    pub(in crate::driver) hold: Hold,
    /// The progress of the other replicas, by number.
    pub(in crate::driver) peers: [ReplicaProgress; NODES_MAX],
    /// The last progress that this replica has announced, and when.
    pub(in crate::driver) announced: ReplicaProgress,
    pub(in crate::driver) announced_at: Instant,
    /// The slot of the entry that must be read before the log can be cut behind it.
    pub(in crate::driver) cut_at: Option<Slot>,
    /// Whether a front of the log is being written.
    pub(in crate::driver) cutting: bool,
    /// The log is not cut before this time.
    pub(in crate::driver) cut_after: Instant,
    /// The slot behind which, or behind a later one, this replica needs a checkpoint of another.
    pub(in crate::driver) needed: Slot,
    /// The time since which it needs one.
    pub(in crate::driver) needed_since: Instant,
    /// The checkpoint that is on its way to this replica.
    pub(in crate::driver) transfer: Option<Transfer>,
    /// None is asked for before this time.
    pub(in crate::driver) receive_after: Instant,
    /// None is taken for another replica before this time.
    pub(in crate::driver) take_after: Instant,
    /// The reason why the last proof came to no result.
    pub(in crate::driver) unproved_because: Option<String>,
}

/// A checkpoint on its way to this replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::driver) struct Transfer {
    /// The sender.
    pub(in crate::driver) from: NodeId,
    /// The bytes that have arrived, of all.
    pub(in crate::driver) got: u64,
    pub(in crate::driver) of: u64,
}

/// The progress of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::driver) struct ReplicaProgress {
    /// The slot of the newest proved checkpoint.
    pub(in crate::driver) proved: Slot,
    /// The last observed slot.
    pub(in crate::driver) observed: Slot,
    /// The slot behind which, or behind a later one, it needs a checkpoint of another.
    pub(in crate::driver) needed: Slot,
}

/// The permission to hold a server.
#[derive(Debug, Default)]
pub(in crate::driver) struct Hold {
    /// The number of the last wish of this replica.
    pub(in crate::driver) number: u64,
    /// The wish to hold this replica's server, while it is not fulfilled.
    pub(in crate::driver) wish: Option<Wish>,
    /// The other replica to which this one has lent its permission, and until when.
    pub(in crate::driver) lent: Option<(NodeId, Instant)>,
}

/// The wish to hold this replica's server.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Wish {
    /// Whether the server is to prove a checkpoint, and not to be dumped.
    pub(in crate::driver) proves: bool,
    /// The servers that agree.
    pub(in crate::driver) granted: NodeSet,
    /// The servers that do not.
    pub(in crate::driver) refused: NodeSet,
    /// The time at which the wish is given up.
    pub(in crate::driver) until: Instant,
}

/// A proof of a checkpoint that is being made: a server that was made from it consumes the log up
/// to a slot at which the others' mark is known.
#[derive(Clone, Debug)]
pub(in crate::driver) struct Proving {
    /// Its number at this replica, from 1.
    pub(in crate::driver) number: u64,
    /// The checkpoint.
    pub(in crate::driver) checkpoint: Checkpoint,
    /// The mark that the server must have.
    pub(in crate::driver) target: Mark,
    /// The last slot that the server was given, once it can be given any.
    pub(in crate::driver) fed: Option<Slot>,
    /// The time at which the proof is given up.
    pub(in crate::driver) until: Instant,
    /// Whether this replica's own server proves it, because there is no room for a second one.
    pub(in crate::driver) in_place: bool,
    /// The mark that a server had that was made from the same checkpoint before, if it was wrong.
    pub(in crate::driver) before: Option<Mark>,
}

impl Checkpoints {
    /// Creates the state with the checkpoints of the data directory, the newest first.
    pub(in crate::driver) fn new(usable: Vec<Checkpoint>) -> Self {
        Self { usable, ..Self::default() }
    }

    /// Returns the newest one.
    pub(in crate::driver) fn newest(&self) -> Option<&Checkpoint> {
        self.usable.first()
    }

    /// Returns the newest one that is proved.
    pub(in crate::driver) fn newest_proved(&self) -> Option<&Checkpoint> {
        self.usable.iter().find(|checkpoint| checkpoint.is_proved())
    }

    /// Returns the slot of the newest one that is proved.
    pub(in crate::driver) fn proved(&self) -> Slot {
        self.newest_proved().map_or(Slot::NONE, |it| it.manifest.slot)
    }

    /// Returns the one that is to be proved next.
    pub(in crate::driver) fn next_to_prove(&self) -> Option<&Checkpoint> {
        next_to_prove(self.usable.iter().map(|it| Some(it.traits()))).map(|at| &self.usable[at])
    }

    /// Adds one, in place of an older one of the same slot. Those that are not kept on the disk
    /// then are forgotten.
    pub(in crate::driver) fn add(&mut self, checkpoint: Checkpoint) {
        self.remove(&checkpoint.place);
        self.usable.push(checkpoint);
        self.usable.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.manifest.slot));
        keep_only(&mut self.usable, Checkpoint::traits);
    }

    /// Removes the one in this directory.
    pub(in crate::driver) fn remove(&mut self, place: &Path) {
        self.usable.retain(|checkpoint| checkpoint.place != place);
    }

    /// Returns the slot behind which the present run has started, if it has started from a
    /// checkpoint.
    pub(in crate::driver) fn start_slot(&self) -> Option<Slot> {
        self.started_from.as_ref().map(|from| from.manifest.slot)
    }
}

impl CheckpointState {
    /// Returns whether a checkpoint is being taken.
    pub(in crate::driver) fn is_busy(&self) -> bool {
        matches!(self, Self::Preparing | Self::Taking(_))
    }

    /// Returns whether the server is held, or may be at any moment.
    pub(in crate::driver) fn is_held(&self) -> bool {
        matches!(self, Self::Taking(TakingPhase::Asked | TakingPhase::Held))
    }
}

/// The moment at which a checkpoint is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::driver) enum Due {
    /// This time.
    At(Instant),
    /// The admission of this slot.
    Behind(u64),
    /// The moment when the log has had this many bytes, those that are deleted included.
    Written(u64),
}

/// The state of the last order to take a checkpoint.
#[derive(Debug, Default)]
pub(in crate::driver) enum CheckpointState {
    /// No order was given.
    #[default]
    Never,
    /// Files are copied. The server is not held.
    Preparing,
    /// The server is held, will be soon, or was.
    Taking(TakingPhase),
    /// The checkpoint was taken.
    Taken(Taken),
    /// None was taken, for this reason.
    Failed(String),
}
