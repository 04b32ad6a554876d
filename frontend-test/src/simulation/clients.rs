//! The clients of one entry replica, and the ops that it keeps for them until they are committed.

use std::collections::VecDeque;

use crane_core::forward::{Forwarder, Ticket, TicketRange};
use crane_core::id::{ConnId, Generation, NodeId};
use crane_core::time::Instant;
use crane_core::wire::{Endpoint, Op};

use super::random::Random;
use super::server::PORT;
use crate::specification::event::{Event as Told, OpFact, Recorder};

/// An encoded op.
pub type OpBytes = Vec<u8>;

/// Ops of one entry replica, on their way to a primary.
#[derive(Clone, Debug)]
pub struct ForwardedOps {
    /// The entry replica.
    pub from: NodeId,
    /// The tickets of the ops.
    pub range: TicketRange,
    /// The ops.
    pub ops: Vec<OpBytes>,
}

const CONNECTIONS_MAX: u64 = 12;
/// The number of ops in one frame.
const FRAME_OPS: usize = 8;

/// The number of ops at which an entry replica takes no more.
pub const OPS_KEPT_MAX: usize = 32;
/// The number of bytes at which an entry replica takes no more.
pub const BYTES_KEPT_MAX: usize = 1024;
/// The length of the longest op's data in bytes.
pub const SEND_MAX: usize = 120;

/// One generation of an entry replica.
#[derive(Clone, Debug)]
pub struct EntryReplica {
    me: NodeId,
    generation: Generation,
    forward: Forwarder<OPS_KEPT_MAX, BYTES_KEPT_MAX>,
    kept: VecDeque<(Ticket, OpBytes)>,
    /// The number of bytes of clients' data in the ops.
    bytes: usize,
    /// The connections by number, from 1: the bytes sent, and whether the client has ended its
    /// side.
    conns: Vec<(u64, bool)>,
    primary: Option<NodeId>,
    recorder: Recorder,
}

impl EntryReplica {
    /// Starts a generation. All connections of earlier generations have ended.
    pub fn new(me: NodeId, generation: Generation, recorder: Recorder) -> Self {
        let mut entry = Self {
            me,
            generation,
            forward: Forwarder::new(me, generation),
            kept: VecDeque::new(),
            bytes: 0,
            conns: Vec::new(),
            primary: None,
            recorder,
        };
        if generation.0 > 1 {
            entry.keep(&Op::Retire { node: me, generation: Generation(generation.0 - 1) });
        }
        entry
    }

    /// Carries out an action of a client.
    pub fn act(&mut self, random: &mut Random) {
        if self.forward.is_full() {
            return;
        }
        let open: Vec<usize> =
            (0..self.conns.len()).filter(|index| !self.conns[*index].1).collect();
        if open.is_empty() || (random.permille(150) && (self.conns.len() as u64) < CONNECTIONS_MAX)
        {
            if self.conns.len() as u64 == CONNECTIONS_MAX {
                return;
            }
            self.conns.push((0, false));
            let conn = self.id(self.conns.len() - 1);
            let local = Endpoint::from_ipv4([127, 0, 0, self.me.number()], PORT);
            return self.keep(&Op::Connect { conn, local, peer: local });
        }
        let index = *random.pick(&open);
        let (sent, _) = self.conns[index];
        let conn = self.id(index);
        if random.permille(50) {
            self.conns[index].1 = true;
            return self.keep(&Op::Shut { conn, total: sent });
        }
        let count = random.range(1, SEND_MAX as u64 + 1);
        let bytes: Vec<u8> = (sent..sent + count).map(|offset| expected(conn, offset)).collect();
        self.conns[index].0 += count;
        self.keep(&Op::Send { conn, offset: sent, bytes: &bytes });
    }

    /// Returns the ops that the primary has not received yet, which are all if the primary has
    /// changed.
    pub fn hand_over(&mut self, now: Instant, primary: Option<NodeId>) -> Vec<ForwardedOps> {
        if primary.is_some() && primary != self.primary {
            self.forward.start_over(now);
        }
        self.primary = primary;
        self.forward.wake(now);
        let mut all = Vec::new();
        let Some(to) = primary else { return all };
        loop {
            let (kept, recorder, me) = (&self.kept, &self.recorder, self.me);
            let mut ops = Vec::new();
            let range = self.forward.next_range(now, |ticket| {
                recorder.add(me, || Told::Forwarded { ticket: ticket.0, to });
                let kept = kept.iter().find(|(kept, _)| *kept == ticket);
                ops.push(kept.expect("an op that is handed over is kept").1.clone());
                ops.len() < FRAME_OPS
            });
            let Some(range) = range else { return all };
            all.push(ForwardedOps { from: me, range, ops });
        }
    }

    /// Takes a committed entry, which may hold ops of this replica's clients.
    pub fn committed(&mut self, now: Instant, op: &Op<'_>) {
        self.forward.committed(now, op);
        while self.kept.front().is_some_and(|(ticket, _)| *ticket < self.forward.first()) {
            let (ticket, bytes) = self.kept.pop_front().expect("just looked at");
            self.bytes -= data_in(&Op::decode(&bytes).expect("what was encoded can be decoded").0);
            self.recorder.add(self.me, || Told::Freed { ticket: ticket.0 });
        }
    }

    /// Returns whether all actions of the clients are committed.
    pub fn is_done(&self) -> bool {
        self.forward.is_empty()
    }

    /// Returns how many ops are kept for clients, and how many of their bytes.
    pub fn kept(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    /// Returns the connections of this generation, with the number of bytes that each client sent.
    pub fn conns(&self) -> impl Iterator<Item = (ConnId, u64)> {
        self.conns.iter().enumerate().map(|(index, (sent, _))| (self.id(index), *sent))
    }

    fn id(&self, index: usize) -> ConnId {
        ConnId { entry: self.me, generation: self.generation, number: index as u64 + 1 }
    }

    fn keep(&mut self, op: &Op<'_>) {
        let ticket = self.forward.keep(op).expect("whether there is room was asked before");
        self.recorder.add(self.me, || Told::Kept { ticket: ticket.0, op: OpFact::of(op) });
        let mut space = [0; 512];
        let length = op.encode(&mut space).expect("ops are short here");
        self.kept.push_back((ticket, space[..length].to_vec()));
        self.bytes += data_in(op);
    }
}

fn data_in(op: &Op<'_>) -> usize {
    if let Op::Send { bytes, .. } = op { bytes.len() } else { 0 }
}

/// Returns the byte that a client sends at `offset`.
fn expected(conn: ConnId, offset: u64) -> u8 {
    (offset * 31 + conn.number * 7 + conn.generation.0 * 3 + u64::from(conn.entry.number())) as u8
}

/// Returns the first byte, from number `first` on, that differs from the byte that was sent.
pub(super) fn first_unexpected(conn: ConnId, first: u64, bytes: &[u8]) -> Option<u64> {
    // The expected bytes form a sequence, so most of them are compared side by side.
    let start = expected(conn, first);
    let differs =
        |(index, byte): (usize, &u8)| *byte != start.wrapping_add((index as u8).wrapping_mul(31));
    let any = bytes.iter().enumerate().fold(false, |any, at| any | differs(at));
    let mut each = bytes.iter().enumerate();
    any.then(|| each.position(differs).map(|index| first + index as u64)).flatten()
}
