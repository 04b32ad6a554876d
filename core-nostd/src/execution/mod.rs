//! Execution: when an op is admitted, and which thread has the turn.
//!
//! [`Execution`] is the state of one run of a server program. The frontend's hooks step it under
//! the turn: they use [`Execution::call`] before each call, [`Execution::admit`] with the entry at
//! the script's head when the call was not granted, and the methods of [`Turn`] when a thread
//! waits, wakes or ends.
//!
//! | room | thought |
//! |---|---|
//! | [`gate`] | may the clock advance? |
//! | [`turn`] | who runs, who waits for what, until when |
//! | [`processes`] | which processes run, and whose ends are waited for |
//! | [`admission`] | ops become connections, bytes, ends |
//! | [`conn_table`] | the connections, by place and by name |
//! | [`socket`] | what recv, send and epoll may answer |
//! | [`hash`] | what is compared between replicas |

pub mod admission;
pub mod conn_table;
pub mod gate;
pub mod hash;
pub mod processes;
pub mod socket;
pub mod turn;

use core::borrow::BorrowMut;

use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, Slot};
use crate::limits::CALL_NANOSECONDS;
use crate::wire::Op;

use admission::{Admitted, Sockets};
use conn_table::ConnTable;
use gate::Gate;
use hash::RunningHash;
use turn::{ThreadId, Turn};

/// One run of a server program.
#[derive(Clone, Debug)]
pub struct Execution<
    const THREADS: usize,
    const CONNECTIONS: usize,
    const LISTENERS: usize,
    Table = ConnTable<CONNECTIONS>,
> {
    /// Clock, grant and agreed time.
    pub gate: Gate,
    /// The threads.
    pub turn: Turn<THREADS>,
    /// Listeners and connections.
    pub sockets: Sockets<CONNECTIONS, LISTENERS, Table>,
    /// The hash of (clock, thread, call, object) of all calls.
    pub schedule: RunningHash,
    /// The hash of all bytes written to connections.
    pub output: RunningHash,
    /// The slot that was admitted last. It only rises.
    admitted: Slot,
}

/// Returns the word that stands for a call in the schedule hash: thread, kind and object.
pub const fn word(thread: ThreadId, kind: u16, object: u32) -> u64 {
    (thread.0 as u64) << 48 | (kind as u64) << 32 | object as u64
}

/// A replica's hashes at the admission of a slot, equal on all replicas.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
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
    /// Creates the execution of a server's first incarnation before its first call. `timestamp` is
    /// the genesis entry's, in nanoseconds.
    pub const fn new(quantum: u32, timestamp: u64) -> Self {
        Self::with_table(ConnTable::new(), Incarnation::FIRST, quantum, timestamp)
    }
}

impl<const THREADS: usize, const CONNECTIONS: usize, const LISTENERS: usize, Table>
    Execution<THREADS, CONNECTIONS, LISTENERS, Table>
where
    Table: BorrowMut<ConnTable<CONNECTIONS>>,
{
    /// As [`Execution::new`], with a table that has no connections, and for any incarnation, whose
    /// agreed time begins with `timestamp`.
    pub const fn with_table(
        table: Table,
        incarnation: Incarnation,
        quantum: u32,
        timestamp: u64,
    ) -> Self {
        Self {
            gate: Gate::new(timestamp),
            turn: Turn::new(quantum),
            sockets: Sockets::with_table(table, incarnation),
            schedule: RunningHash::new(),
            output: RunningHash::new(),
            admitted: Slot::NONE,
        }
    }

    /// Counts a call of the holder of the turn, and returns whether the call is granted. `kind` and
    /// `object` name the call, in numbers that are equal on all replicas. If the call is not
    /// granted, admit the entry at the script's head, and try again.
    #[inline]
    #[must_use]
    pub fn call(&mut self, thread: ThreadId, kind: u16, object: u32) -> bool {
        if !self.gate.advance() {
            return false;
        }
        // The clock is part of the hash by position, because every call is put in, in order.
        self.schedule.put(word(thread, kind, object));
        self.turn.expire(self.gate.agreed());
        true
    }

    /// Returns whether the next call is granted, and its thread keeps the turn: nothing but that
    /// call happens then. The answer `false` is always permitted.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        let agreed = self.gate.agreed().saturating_add(CALL_NANOSECONDS);
        self.gate.is_granted() && self.turn.keeps_turn(agreed)
    }

    /// Does the same for a call that takes or leaves a lock.
    #[inline]
    pub fn is_quiet_for_lock(&self) -> bool {
        let agreed = self.gate.agreed().saturating_add(CALL_NANOSECONDS);
        self.gate.is_granted() && self.turn.keeps_slice(agreed)
    }

    /// Passes the turn; see [`Turn::pass`].
    #[inline]
    pub fn pass(&mut self) -> Option<ThreadId> {
        self.turn.pass(self.gate.agreed())
    }

    /// Counts a call that takes or leaves a lock; see [`Turn::spend_slice`].
    #[inline]
    pub fn spend_slice(&mut self, takes: bool) -> bool {
        self.turn.spend_slice(self.gate.agreed(), takes)
    }

    /// Returns the slot that was admitted last.
    pub fn admitted(&self) -> Slot {
        self.admitted
    }

    /// Admits the entry of the next slot: its timestamp, then its ops (each effect is passed to
    /// `notify`), then its grant. Returns the mark that replicas compare at this slot.
    ///
    /// Slots may be missing in the sequence, because no-ops are not part of the script; slots never
    /// go back.
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

    /// Checks what holds between any two calls; see [`Turn::invariants`] and
    /// [`Sockets::invariants`].
    ///
    /// # Panics
    /// Panics if it does not hold.
    pub fn invariants(&self) {
        self.turn.invariants();
        self.sockets.invariants();
    }

    /// Returns the mark of the present state, which replicas compare.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::turn::WaitKey;

    type Short = Execution<4, 4, 2>;

    #[test]
    fn behind_a_quiet_call_the_holder_keeps_the_turn() {
        const QUANTUM: u32 = 3;
        let mut run = Short::new(QUANTUM, 0);
        let threads = [(); 3].map(|()| run.turn.reserve().expect("a thread"));
        for thread in threads {
            run.turn.start(thread);
        }
        let mut random: u64 = 1;
        let mut holder = run.pass();
        let (mut quiet, mut granted, mut kept, mut over, mut slot) = (0, 0, 0, 0, 1);
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let choice = random >> 33;
            let Some(me) = holder else {
                let first = run.turn.first_deadline();
                run.gate.drop_grant();
                run.admit(Slot(slot), first, core::iter::empty(), 7, |_, _| {});
                (slot, holder) = (slot + 1, run.pass());
                continue;
            };
            let is_lock = choice.is_multiple_of(3);
            let is_quiet = if is_lock { run.is_quiet_for_lock() } else { run.is_quiet() };
            if !run.call(me, 1, 2) {
                assert!(!is_quiet, "no step is granted");
                run.admit(Slot(slot), 0, core::iter::empty(), 7, |_, _| {});
                slot += 1;
                continue;
            }
            granted += 1;
            if choice.is_multiple_of(4) {
                // Each wait has a deadline, so that all come back.
                let deadline = run.gate.agreed() + choice % 9 * CALL_NANOSECONDS;
                run.turn.wait(WaitKey(1), deadline);
                holder = run.pass();
                continue;
            }
            let takes = choice.is_multiple_of(2);
            let is_over = if is_lock { run.spend_slice(takes) } else { run.turn.spend() };
            assert!(!(is_quiet && is_over));
            quiet += u32::from(is_quiet);
            kept += u32::from(!is_over);
            over += u32::from(is_over);
            if is_over {
                run.turn.yield_turn();
                holder = run.pass();
            }
        }
        assert!(granted > 5000 && kept > 2000 && over > 200, "{granted} {kept} {over}");
        assert!(quiet * 2 > kept, "a call that keeps the turn is quiet mostly: {quiet} of {kept}");
    }
}
