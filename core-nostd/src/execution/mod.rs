//! Execution: when an op is admitted, and whose turn it is.
//!
//! [`Execution`] is the state of one server's run. The frontend's hooks step it under the turn:
//! [`Execution::call`] before each call; [`Execution::admit`] with the entry at the script's head
//! when the call was not granted; [`Turn`]'s methods when a thread waits, wakes or ends.
//!
//! | room | thought |
//! |---|---|
//! | [`gate`] | may the clock advance? |
//! | [`turn`] | who runs, who waits for what, until when |
//! | [`admission`] | ops become connections, bytes, ends |
//! | [`socket`] | what recv, send and epoll may answer |
//! | [`hash`] | what is compared between replicas |

pub mod admission;
pub mod gate;
pub mod hash;
pub mod socket;
pub mod turn;

use crate::id::Slot;
use crate::wire::Op;

use admission::{Admitted, Sockets};
use gate::Gate;
use hash::RunningHash;
use turn::{ThreadId, Turn};

/// One run of a server program.
#[derive(Clone, Debug)]
pub struct Execution<const THREADS: usize, const CONNECTIONS: usize, const LISTENERS: usize> {
    /// Clock, grant and agreed time.
    pub gate: Gate,
    /// The threads.
    pub turn: Turn<THREADS>,
    /// Listeners and connections.
    pub sockets: Sockets<CONNECTIONS, LISTENERS>,
    /// Of (clock, thread, call, object) of all calls.
    pub schedule: RunningHash,
    /// Of all bytes written to connections.
    pub output: RunningHash,
    admitted: Slot,
}

/// A replica's hashes at the admission of a slot, equal on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark {
    /// The slot.
    pub slot: Slot,
    /// The clock before its ops.
    pub clock: u64,
    /// The schedule hash before its ops.
    pub schedule: u64,
    /// The output hash before its ops.
    pub output: u64,
}

impl<const THREADS: usize, const CONNECTIONS: usize, const LISTENERS: usize>
    Execution<THREADS, CONNECTIONS, LISTENERS>
{
    /// Before the program's first call. `timestamp`: the genesis entry's, in nanoseconds.
    pub const fn new(quantum: u32, timestamp: u64) -> Self {
        Self {
            gate: Gate::new(timestamp),
            turn: Turn::new(quantum),
            sockets: Sockets::new(),
            schedule: RunningHash::new(),
            output: RunningHash::new(),
            admitted: Slot::NONE,
        }
    }

    /// The holder of the turn makes a call: `kind` and `object` say which, in numbers that are
    /// equal on all replicas. False: not granted; admit the entry at the script's head, and ask
    /// again.
    #[inline]
    #[must_use]
    pub fn call(&mut self, thread: ThreadId, kind: u16, object: u32) -> bool {
        if !self.gate.advance() {
            return false;
        }
        // The clock is in it by position: every call is put in, in order.
        self.schedule.put(u64::from(thread.0) << 48 | u64::from(kind) << 32 | u64::from(object));
        self.turn.expire(self.gate.agreed());
        true
    }

    /// Returns the slot that was admitted last.
    pub fn admitted(&self) -> Slot {
        self.admitted
    }

    /// Admits the entry of the next slot: its timestamp, then its ops (the effect of each is given
    /// to `notify`), then its grant. Returns what is compared between replicas at this slot.
    ///
    /// Slots may be missing in the sequence (no-ops are not part of the script), never go back.
    // specs: S1
    pub fn admit<'a>(
        &mut self,
        slot: Slot,
        timestamp: u64,
        ops: impl Iterator<Item = Op<'a>>,
        grant: u32,
        mut notify: impl FnMut(&mut Self, Admitted<'a>),
    ) -> Mark {
        assert!(slot > self.admitted, "the script is consumed in the order of its slots");
        self.admitted = slot;
        let mark = self.mark();
        self.gate.admit_timestamp(timestamp);
        self.turn.expire(self.gate.agreed());
        for op in ops {
            let admitted = self.sockets.admit(&op);
            notify(self, admitted);
        }
        self.gate.grant(grant);
        mark
    }

    /// Checks what holds between any two calls, as [`Turn::invariants`] and
    /// [`Sockets::invariants`] say.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn invariants(&self) {
        self.turn.invariants();
        self.sockets.invariants();
    }

    /// Returns what is compared between replicas, as it is now.
    // specs: S7
    pub fn mark(&self) -> Mark {
        Mark {
            slot: self.admitted,
            clock: self.gate.clock(),
            schedule: self.schedule.value(),
            output: self.output.value(),
        }
    }
}
