//! Reports about servers, which replicas exchange.

use std::fmt;

use crane_core::execution::Mark;
use crane_core::id::{Incarnation, Slot};
use crane_core::wire::ProgramCrash;
use serde::{Deserialize, Serialize};

use crate::checkpoint::store::Prefix;
use crate::frozen::{FrozenBlock, FrozenCall, ServerHistory};

/// The way in which a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ending {
    /// The program exited with this status.
    Exited(i32),
    /// This signal killed the program.
    Killed(i32),
}

impl Ending {
    /// Returns the point of the script at which a program of this incarnation ended so.
    pub(crate) fn at(self, incarnation: Incarnation, clock: u64) -> ProgramCrash {
        let (status, signal) = match self {
            Self::Exited(status) => (status as u8, 0),
            Self::Killed(signal) => (0, signal as u8),
        };
        ProgramCrash { incarnation, clock, status, signal }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => match name_of_signal(signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
        }
    }
}

/// The state of the sender's server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ServerReport {
    /// The server runs, or is about to start.
    Alive {
        /// Whether the server has almost caught up with the log.
        in_step: bool,
    },
    /// The server's program has ended.
    Ended {
        /// The incarnation that has ended.
        incarnation: Incarnation,
        /// The logical clock at its end.
        clock: u64,
        /// The last slot that the server had consumed.
        admitted: u64,
        /// How the program ended.
        ending: Ending,
        /// Whether it had listened at a port.
        listened: bool,
    },
}

impl ServerReport {
    /// Returns whether two servers ended at the same point of the script.
    pub fn same_end(&self, other: &Self) -> bool {
        self.end().is_some() && self.end() == other.end()
    }

    /// Returns the point at which the server ended, if it has ended.
    pub(crate) fn end(&self) -> Option<ProgramCrash> {
        match *self {
            Self::Alive { .. } => None,
            Self::Ended { incarnation, clock, ending, .. } => Some(ending.at(incarnation, clock)),
        }
    }

    /// Returns the point at which the program crashed: it ended otherwise than by an exit with
    /// status 0, after it had listened, and no host ended it.
    pub(crate) fn crash(&self) -> Option<ProgramCrash> {
        match *self {
            Self::Ended { ending: Ending::Exited(0) | Ending::Killed(libc::SIGKILL), .. }
            | Self::Ended { listened: false, .. } => None,
            _ => self.end(),
        }
    }
}

/// A message of one replica to the others about the marks of its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum MarkMessage {
    /// The sender's server had this mark.
    Mark(Mark),
    /// The sender's server was built again and had this mark, which is right.
    Opinion(Mark),
    /// The sender's server was built again, and agrees with no other server at this slot.
    Alone {
        /// The slot.
        slot: Slot,
        /// Whether only the bytes for clients differ.
        output_only: bool,
    },
}

/// A message by which two replicas find the first call in which their servers differ. Each replica
/// has frozen its server's calls at the slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CallsMessage {
    /// Hashes of successive blocks of the sender's calls, for a replica whose server is wrong.
    Blocks {
        /// The slot at which servers differ.
        slot: Slot,
        /// The number of the first block.
        first: u64,
        /// The hashes.
        blocks: Vec<FrozenBlock>,
    },
    /// The sender requests the calls from a clock on.
    Wanted {
        /// The slot at which servers differ.
        slot: Slot,
        /// The clock.
        from: u64,
    },
    /// Calls of the sender's server.
    Calls {
        /// The slot at which servers differ.
        slot: Slot,
        /// The clock of the first call.
        from: u64,
        /// The calls, each as its word in the schedule hash and the hash of the bytes written
        /// before it.
        calls: Vec<(u64, u64)>,
    },
}

impl CallsMessage {
    /// Returns the part of the sender's history that the message holds, or `None` if it holds none
    /// or no server can have that history.
    pub fn history(&self) -> Option<ServerHistory> {
        let history = match self {
            Self::Blocks { first, blocks, .. } => ServerHistory {
                first_block: *first,
                blocks: blocks.clone(),
                ..ServerHistory::default()
            },
            Self::Wanted { .. } => return None,
            Self::Calls { from, calls, .. } => {
                let call = |&(word, output)| FrozenCall { word, address: 0, output };
                let calls = calls.iter().map(call).collect();
                ServerHistory { first_call: *from, calls, ..ServerHistory::default() }
            }
        };
        history.is_sound().then_some(history)
    }

    /// Returns the slot at which servers differ.
    pub(crate) fn slot(&self) -> Slot {
        match *self {
            Self::Blocks { slot, .. } | Self::Wanted { slot, .. } | Self::Calls { slot, .. } => {
                slot
            }
        }
    }
}

/// A question about a host's clock, or its answer. Times are in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum ClockMessage {
    /// Asks for the receiver's clock.
    Ask {
        /// The time by the asking replica's own monotonic clock, which the answer repeats.
        at: u64,
    },
    /// The answer.
    Answer {
        /// The time of the question.
        at: u64,
        /// The time since the Unix epoch by the answering host's clock.
        wall: u64,
    },
}

/// A message of one replica to the others about checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum CheckpointMessage {
    /// The sender's progress.
    Progress {
        /// The slot of its newest proved checkpoint.
        proved: Slot,
        /// The last slot that it has observed.
        observed: Slot,
        /// The slot behind which, or behind a later one, it needs a checkpoint of another replica;
        /// `NONE` if it needs none.
        needed: Slot,
    },
    /// The sender wants to hold its server.
    HoldWanted {
        /// The number of its wish.
        number: u64,
    },
    /// The receiver may hold its server.
    HoldGranted {
        /// The number of its wish.
        number: u64,
    },
    /// The receiver must not hold its server now.
    HoldRefused {
        /// The number of its wish.
        number: u64,
    },
    /// The sender's server is not held.
    HoldOver,
    /// The receiver needs a checkpoint, because the sender's log begins behind this slot.
    Needed {
        /// The slot.
        front: Slot,
    },
}

/// The bytes of the longest piece of a transfer, before it is compressed.
pub(crate) const PIECE_BYTES: u64 = 128 << 10;

/// A message of a transfer of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum TransferMessage {
    /// The sender wants the newest proved checkpoint.
    Wanted,
    /// The newest proved checkpoint can be had: its index first, and the blocks that are in it.
    Offered {
        /// The slot of the checkpoint.
        slot: Slot,
        /// The length of the index in bytes.
        bytes: u64,
        /// The digest of the index.
        digest: [u8; 32],
        /// All that remains of the log up to the slot.
        prefix: Box<Prefix>,
    },
    /// The sender has none, for this reason.
    Refused {
        /// The reason.
        why: String,
    },
    /// The sender wants a piece of the index.
    Get {
        /// The slot of the checkpoint.
        slot: Slot,
        /// The offset of the piece in the index.
        offset: u64,
    },
    /// A piece of the index.
    Piece {
        /// The slot of the checkpoint.
        slot: Slot,
        /// The offset in the index.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The sender wants blocks, at most [`PIECE_BYTES`] of them.
    GetBlocks {
        /// The slot of the checkpoint.
        slot: Slot,
        /// Ranges of them, each by its first number and its length.
        blocks: Vec<(u32, u32)>,
    },
    /// The blocks that were asked for together.
    Blocks {
        /// The slot of the checkpoint.
        slot: Slot,
        /// The number of the first one.
        first: u32,
        /// All of them, one behind the other, compressed.
        bytes: Vec<u8>,
    },
}

fn name_of_signal(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_at_one_clock_are_the_same() {
        let at = |clock, signal| ServerReport::Ended {
            incarnation: Incarnation(2),
            clock,
            admitted: clock,
            ending: Ending::Killed(signal),
            listened: true,
        };
        assert!(at(5, 6).same_end(&at(5, 6)));
        assert!(!at(5, 6).same_end(&at(6, 6)));
        assert!(!at(5, 6).same_end(&at(5, 9)));
        let mut earlier = at(5, 6);
        if let ServerReport::Ended { incarnation, .. } = &mut earlier {
            *incarnation = Incarnation::FIRST;
        }
        assert!(!at(5, 6).same_end(&earlier), "the clocks of incarnations are not compared");
        let alive = ServerReport::Alive { in_step: true };
        assert!(!alive.same_end(&alive));
        assert_eq!(Ending::Killed(6).to_string(), "was killed by signal 6 (SIGABRT)");
    }
}
