//! The entry rule, on the side of the replica by which a client came in.
//!
//! The entry replica's driver turns the actions of clients into ops, and *keeps* each op until the
//! op has been seen committed. Kept ops are forwarded to the primary in their order. When another
//! replica becomes primary, or nothing is committed for a while, all kept ops are forwarded again,
//! from the first one on. Ops carry numbers, offsets and totals, so that admission recognises and
//! drops an op that arrives twice, or after a lost one.
//!
//! Because every older op has been seen committed, the first kept op of a connection is the next op
//! that the script needs of that connection. A committed op frees that kept op or none: an op
//! behind a lost one had no effect, so it stays and is forwarded again.
//!
//! The machine identifies ops by *tickets*; their bytes stay with the driver.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, NodeId};
use crate::mutants::{Mutant, broken};
use crate::time::{Duration, Instant};
use crate::wire::Op;

/// The time without a commitment after which all forwarded ops are forwarded again. It doubles with
/// each repetition, up to eight times this time, because a primary that cannot commit has no use
/// for them.
pub const RESEND_AFTER: Duration = Duration::from_millis(1000);
/// How often the time doubles.
const DOUBLINGS_MAX: u8 = 3;

/// The name of a kept op, counted from 0. No ticket is used twice within one generation.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Ticket(pub u64);

/// Ops with successive tickets that are forwarded in one go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TicketRange {
    /// The generation of the entry replica.
    pub generation: Generation,
    /// All ops with lower tickets have been committed.
    pub kept_from: Ticket,
    /// All ops from this ticket to the first of the range have been committed.
    pub since: Ticket,
    /// The ticket of the first op.
    pub first: Ticket,
    /// The number of ops, at least one.
    pub count: u32,
}

impl TicketRange {
    /// Returns the ticket after the last op.
    pub const fn end(&self) -> Ticket {
        Ticket(self.first.0.saturating_add(self.count as u64))
    }
}

/// The error of [`Forwarder::keep`] when there is no room until a kept op has been committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("too many ops are waiting for their commitment")
    }
}

impl core::error::Error for Full {}

/// The ops of one generation of one entry replica that have not been seen committed: at most `OPS`
/// of them, with at most `BYTES` bytes of data (one op is always allowed).
///
/// ```
/// use crane_core::forward::{Forwarder, RESEND_AFTER};
/// use crane_core::id::{ConnId, Generation, NodeId};
/// use crane_core::time::Instant;
/// use crane_core::wire::Op;
///
/// let (me, now) = (NodeId::new(1).unwrap(), Instant::START);
/// let mut forwarder = Forwarder::<16, 1024>::new(me, Generation(1));
/// let conn = ConnId { entry: me, generation: Generation(1), number: 1 };
/// let op = Op::Send { conn, offset: 0, bytes: b"GET /" };
/// let ticket = forwarder.keep(&op)?;
///
/// assert_eq!(forwarder.next_op(now), Some(ticket));
/// assert_eq!(forwarder.next_op(now), None, "each op is forwarded once");
/// // The primary may have lost it: after a while it is forwarded again.
/// assert!(forwarder.wake(now + RESEND_AFTER));
/// assert_eq!(forwarder.next_op(now + RESEND_AFTER), Some(ticket));
///
/// forwarder.committed(now + RESEND_AFTER, &op);
/// assert!(forwarder.is_empty() && forwarder.deadline().is_none());
/// # Ok::<(), crane_core::forward::Full>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Forwarder<const OPS: usize, const BYTES: usize> {
    /// The entry replica itself; every op that is kept is its own.
    me: NodeId,
    /// The generation that every kept op belongs to.
    generation: Generation,
    /// Kept ops by ticket, modulo `OPS`. Places outside `first..next` are not read.
    ring: [PendingOp; OPS],
    /// The first ticket whose op is kept.
    first: u64,
    /// The ticket of the next op to keep.
    next: u64,
    /// Every op with a ticket below this one has been forwarded to the present primary.
    forwarded: u64,
    /// The number of bytes of data of the ops from `first` to `next`.
    bytes: usize,
    /// The time at which the present wait for a commitment began.
    waiting_since: Instant,
    /// How often the kept ops have been forwarded again since the last commitment.
    repetitions: u8,
}

/// An op that is kept until it is committed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PendingOp {
    /// The kind of the op, with the fields by which it is recognised.
    what: OpKind,
    /// The number of bytes of its data; 0 unless the op is a `Send`.
    bytes: usize,
    /// Whether the op has been committed. It stays in the ring until all ops before it are
    /// committed.
    committed: bool,
}

/// The fields of an op by which it is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum OpKind {
    /// The first op of the connection with this number.
    Connect {
        /// The connection's number.
        number: u64,
    },
    /// Bytes of this connection up to this offset.
    Send {
        /// The connection's number.
        number: u64,
        /// The offset after the last byte.
        end: u64,
    },
    /// The end of what the client sends on this connection.
    Shut {
        /// The connection's number.
        number: u64,
    },
    /// The end of this connection.
    Reset {
        /// The connection's number.
        number: u64,
    },
    /// The number of bytes of this connection that the client has taken.
    Drained {
        /// The connection's number.
        number: u64,
        /// The total since the connection began.
        total: u64,
    },
    /// The end of all connections up to this generation.
    Retire {
        /// The last generation that has ended.
        generation: Generation,
    },
}

impl OpKind {
    /// Returns the recognisable fields of an op, or `None` for ops that no entry replica keeps.
    fn of(op: &Op<'_>) -> Option<Self> {
        let number = op.conn().map_or(0, |conn| conn.number);
        Some(match *op {
            Op::Connect { .. } => Self::Connect { number },
            Op::Send { offset, bytes, .. } => {
                Self::Send { number, end: offset + bytes.len() as u64 }
            }
            Op::Shut { .. } => Self::Shut { number },
            Op::Reset { .. } => Self::Reset { number },
            Op::Drained { total, .. } => Self::Drained { number, total },
            Op::Retire { generation, .. } => Self::Retire { generation },
            Op::Time
            | Op::Member { .. }
            | Op::Halt { .. }
            | Op::Restart { .. }
            | Op::Signal { .. } => return None,
        })
    }

    /// Returns the number of the connection that the op concerns.
    fn connection(&self) -> Option<u64> {
        match *self {
            Self::Connect { number }
            | Self::Send { number, .. }
            | Self::Shut { number }
            | Self::Reset { number }
            | Self::Drained { number, .. } => Some(number),
            Self::Retire { .. } => None,
        }
    }

    /// Returns whether the order of the two ops matters to admission.
    fn ordered_with(&self, other: &Self) -> bool {
        let both_connect = matches!((self, other), (Self::Connect { .. }, Self::Connect { .. }));
        both_connect || self.connection() == other.connection()
    }
}

impl<const OPS: usize, const BYTES: usize> Forwarder<OPS, BYTES> {
    /// Creates a forwarder without ops, for this generation of the entry replica `me`.
    pub const fn new(me: NodeId, generation: Generation) -> Self {
        assert!(OPS > 0);
        let free = PendingOp { what: OpKind::Retire { generation }, bytes: 0, committed: true };
        Self {
            me,
            generation,
            ring: [free; OPS],
            first: 0,
            next: 0,
            forwarded: 0,
            bytes: 0,
            waiting_since: Instant::START,
            repetitions: 0,
        }
    }

    /// Keeps an op of this replica's clients, or a `Retire` of the replica itself. The driver keeps
    /// the op's bytes under the returned ticket until [`Forwarder::first`] has passed that ticket.
    ///
    /// # Errors
    /// Returns [`Full`] when there is no room; the forwarder is unchanged.
    ///
    /// # Panics
    /// Panics if the op is not of this generation: the caller makes the ops.
    // specs: E4
    pub fn keep(&mut self, op: &Op<'_>) -> Result<Ticket, Full> {
        let what = OpKind::of(op).expect("a time op belongs to the primary");
        let mine = op.conn().is_none_or(|c| c.entry == self.me && c.generation == self.generation);
        assert!(mine, "the op belongs to another replica or generation");
        let bytes = match op {
            Op::Send { bytes, .. } if !broken(Mutant::MemoryUncounted) => bytes.len(),
            _ => 0,
        };
        if self.is_full() {
            return Err(Full);
        }
        let ticket = Ticket(self.next);
        *self.at(ticket) = PendingOp { what, bytes, committed: false };
        self.next += 1;
        self.bytes += bytes;
        self.invariants();
        Ok(ticket)
    }

    /// Returns whether [`Forwarder::keep`] would refuse.
    pub fn is_full(&self) -> bool {
        self.next - self.first == OPS as u64 || self.bytes >= BYTES
    }

    /// Takes a committed op, and frees the kept op that equals it, if the op had an effect.
    // specs: E5
    pub fn committed(&mut self, now: Instant, op: &Op<'_>) {
        let mine = match op {
            Op::Retire { node, .. } => *node == self.me,
            _ => op.conn().is_some_and(|c| c.entry == self.me && c.generation == self.generation),
        };
        let Some(what) = OpKind::of(op).filter(|_| mine) else { return };
        let mut tickets = (self.first..self.next).map(Ticket);
        let Some(ticket) = tickets.find(|ticket| {
            let kept = &self.ring[ticket.0 as usize % OPS];
            !kept.committed && kept.what.ordered_with(&what)
        }) else {
            return;
        };
        let kept = self.at(ticket);
        if kept.what != what && !broken(Mutant::OthersFreed) {
            return;
        }
        kept.committed = true;
        (self.waiting_since, self.repetitions) = (now, 0);
        // The driver keeps the bytes up to here, also those of ops that were committed after an op
        // that is still waiting.
        while self.first < self.next && self.ring[self.first as usize % OPS].committed {
            self.bytes -= self.ring[self.first as usize % OPS].bytes;
            self.first += 1;
        }
        self.forwarded = self.forwarded.max(self.first);
        self.invariants();
    }

    /// Returns the next op to forward to the primary, or `None` if every kept op has been
    /// forwarded.
    pub fn next_op(&mut self, now: Instant) -> Option<Ticket> {
        while self.forwarded < self.next {
            let ticket = Ticket(self.forwarded);
            if self.forwarded == self.first {
                self.waiting_since = now;
            }
            self.forwarded += 1;
            if !self.at(ticket).committed {
                return Some(ticket);
            }
        }
        None
    }

    /// Returns the next ops to forward to the primary, with successive tickets; `None` if every
    /// kept op has been forwarded. `take` receives each ticket, and returns whether another one may
    /// follow.
    pub fn next_range(
        &mut self,
        now: Instant,
        mut take: impl FnMut(Ticket) -> bool,
    ) -> Option<TicketRange> {
        let since = Ticket(self.forwarded);
        let first = self.next_op(now)?;
        let mut count = 1;
        let mut more = take(first);
        while more
            && self.forwarded < self.next
            && !self.ring[self.forwarded as usize % OPS].committed
        {
            more = take(Ticket(self.forwarded));
            self.forwarded += 1;
            count += 1;
        }
        let (generation, kept_from) = (self.generation, self.first());
        Some(TicketRange { generation, kept_from, since, first, count })
    }

    /// Marks all kept ops to be forwarded again, because another replica has become primary or the
    /// link to the primary is new.
    // specs: E6
    pub fn start_over(&mut self, now: Instant) {
        self.repetitions = 0;
        self.forward_again(now);
    }

    /// Begins with the first kept op again.
    fn forward_again(&mut self, now: Instant) {
        if !broken(Mutant::HandedOnce) {
            self.forwarded = self.first;
        }
        self.waiting_since = now;
    }

    /// Returns when to call [`Forwarder::wake`], or `None` if no forwarded op waits for its
    /// commitment.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let wait = RESEND_AFTER.times(1 << self.repetitions.min(DOUBLINGS_MAX));
        (self.forwarded > self.first).then_some(self.waiting_since + wait)
    }

    /// Takes the present time, and returns whether all kept ops are to be forwarded again.
    // specs: E6
    pub fn wake(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| now >= deadline);
        if due {
            self.repetitions = self.repetitions.saturating_add(1);
            self.forward_again(now);
        }
        due
    }

    /// Returns the first ticket whose bytes are still needed.
    pub fn first(&self) -> Ticket {
        Ticket(self.first)
    }

    /// Returns the entry replica's generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Returns whether no op is kept.
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Returns the place of a kept op, or of the next op to keep.
    fn at(&mut self, ticket: Ticket) -> &mut PendingOp {
        assert!(ticket.0 >= self.first && ticket.0 <= self.next, "the ticket is not kept");
        &mut self.ring[ticket.0 as usize % OPS]
    }

    /// Checks that the three cursors are in order, and that the ring holds the ops between them.
    fn invariants(&self) {
        assert!(self.first <= self.forwarded && self.forwarded <= self.next);
        assert!(self.next - self.first <= OPS as u64);
    }
}

#[cfg(test)]
mod tests;
