//! This replica's clients: their ops until the commitment, their connections, and the ports.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use crane_core::forward::{Forwarder, TicketRange};
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::limits::{ENTRY_OPS_MAX, OP_HEADER_BYTES_MAX, SEND_BYTES_MAX};
use crane_core::time::Instant;
use crane_core::wire::Op;

use super::super::host::ServerListener;

/// Ops, and bytes of them, that are kept until they are committed. This bounds what a primary ever
/// has to hold of one replica's clients.
pub(in crate::driver) const OPS: usize = 4096;

pub(in crate::driver) const BYTES: usize = 1 << 20;

pub(in crate::driver) const OP_BYTES_MAX: usize = SEND_BYTES_MAX + OP_HEADER_BYTES_MAX;

/// The number of vectors that are kept for the next ops: ops come and are committed in bursts,
/// which an allocator serves slowly.
const SPARES_MAX: usize = 128;
/// The number of bytes of the largest of them.
const SPARE_BYTES_MAX: usize = 512;

/// This replica's clients.
pub(in crate::driver) struct Clients {
    pub(in crate::driver) me: NodeId,
    pub(in crate::driver) forward: Box<Forwarder<OPS, BYTES>>,
    /// The bytes of the kept ops; the ticket of the first one is `first`.
    pub(in crate::driver) ops: VecDeque<Vec<u8>>,
    /// Empty vectors for the next ops.
    spare: Vec<Vec<u8>>,
    pub(in crate::driver) first: u64,
    /// This generation's connections by number.
    pub(in crate::driver) conns: BTreeMap<u64, OpenConn>,
    /// The connections' numbers by key.
    pub(in crate::driver) numbers: BTreeMap<u64, u64>,
    /// The number of the last connection. The numbers of each generation are consecutive, from 1.
    last_number: u64,
    /// Where the server listens.
    pub(in crate::driver) ports: BTreeMap<ServerListener, OpenPort>,
    /// Listeners are open once the server has come this far, which is known when a primary is.
    pub(in crate::driver) open_at: Option<Slot>,
    pub(in crate::driver) open: bool,
    /// The space in which the next ops to forward are collected.
    pub(in crate::driver) frame: Vec<u8>,
    /// The space that ops are encoded into: zeroing it for each would take longer.
    space: Box<[u8]>,
}

/// A place where the server listens.
#[derive(Clone, Debug, Default)]
pub(in crate::driver) struct OpenPort {
    /// By how many sockets.
    pub(in crate::driver) sockets: u32,
    /// Of a Unix socket: its path in the cell.
    pub(in crate::driver) path: PathBuf,
}

/// A client's connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct OpenConn {
    /// The host's key of the connection.
    pub(in crate::driver) key: u64,
    /// The number of bytes of the client that were kept.
    pub(in crate::driver) kept: u64,
    /// The number of bytes that the client was sent.
    pub(in crate::driver) sent: u64,
}

impl Clients {
    /// Creates the state without clients. Connections of older generations are retired first of
    /// all.
    pub(in crate::driver) fn new(me: NodeId, generation: Generation) -> Self {
        let mut entry = Self {
            me,
            forward: Box::new(Forwarder::new(me, generation)),
            ops: VecDeque::new(),
            spare: Vec::new(),
            first: 0,
            conns: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last_number: 0,
            ports: BTreeMap::new(),
            open_at: None,
            open: false,
            frame: Vec::new(),
            space: vec![0; OP_BYTES_MAX].into(),
        };
        let older = Generation(generation.0.saturating_sub(1));
        entry.keep(&Op::Retire { node: me, generation: older });
        entry
    }

    pub(in crate::driver) fn generation(&self) -> Generation {
        self.forward.generation()
    }

    /// Returns whether another action of a client can be taken.
    pub(in crate::driver) fn has_room(&self) -> bool {
        !self.forward.is_full()
    }

    pub(in crate::driver) fn has_clients(&self) -> bool {
        !self.conns.is_empty()
    }

    pub(in crate::driver) fn deadline(&self) -> Option<Instant> {
        self.forward.deadline()
    }

    /// Returns the ticket of the oldest kept op.
    pub(in crate::driver) fn first_kept(&self) -> u64 {
        self.forward.first().0
    }

    pub(in crate::driver) fn wake(&mut self, now: Instant) -> bool {
        self.forward.wake(now)
    }

    pub(in crate::driver) fn start_over(&mut self, now: Instant) {
        self.forward.start_over(now);
    }

    pub(in crate::driver) fn committed(&mut self, now: Instant, op: &Op<'_>) {
        self.forward.committed(now, op);
        while self.first < self.forward.first().0 {
            if let Some(mut op) = self.ops.pop_front()
                && op.capacity() <= SPARE_BYTES_MAX
                && self.spare.len() < SPARES_MAX
            {
                op.clear();
                self.spare.push(op);
            }
            self.first += 1;
        }
    }

    /// Puts the next ops that have not been forwarded to the primary into `frame`, until it has
    /// more than `full` bytes, and returns their tickets.
    pub(in crate::driver) fn next_range(
        &mut self,
        now: Instant,
        full: usize,
        frame: &mut Vec<u8>,
    ) -> Option<TicketRange> {
        frame.clear();
        let (kept, first, mut count) = (&self.ops, self.first, 0);
        self.forward.next_range(now, |ticket| {
            frame.extend_from_slice(&kept[(ticket.0 - first) as usize]);
            count += 1;
            count < ENTRY_OPS_MAX && frame.len() <= full
        })
    }

    pub(in crate::driver) fn keep(&mut self, op: &Op<'_>) {
        let length = op.encode(&mut self.space).expect("an op has a longest form");
        self.forward.keep(op).expect("client_events are taken only while there is room");
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.extend_from_slice(&self.space[..length]);
        self.ops.push_back(kept);
    }

    /// Expects the server to announce all its listeners once more.
    pub(in crate::driver) fn expect_listeners(&mut self) {
        for port in self.ports.values_mut() {
            port.sockets = 0;
        }
    }

    /// Gives a new connection its number.
    // specs: E1
    pub(in crate::driver) fn open_conn(&mut self, key: u64) -> ConnId {
        self.last_number += 1;
        self.conns.insert(self.last_number, OpenConn { key, kept: 0, sent: 0 });
        self.numbers.insert(key, self.last_number);
        self.conn_id(self.last_number)
    }

    pub(in crate::driver) fn conn_id(&self, number: u64) -> ConnId {
        ConnId { entry: self.me, generation: self.forward.generation(), number }
    }
}
