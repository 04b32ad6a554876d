//! The trace of a run: inputs, effects and admissions, in the order in which they happen.

use std::cell::RefCell;
use std::rc::Rc;

use crane_core::execution::Mark;
use crane_core::execution::admission::Admitted;
use crane_core::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crane_core::paxos::{DurableState, Entry, Message, Record, Role, WriteNumber};
use crane_core::wire::Op;

/// One thing that happened at a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The node's storage is lost.
    Lost,
    /// An old copy of the node's storage is put back.
    PutBack,
    /// The node's daemon starts with the state that it found in storage.
    Started {
        /// The nonce of this run.
        nonce: u64,
        /// The generation of the node as an entry replica.
        generation: Generation,
        /// The state that storage held beside the log.
        stored: DurableState,
        /// The log, from the slot after the snapshot.
        log: Vec<Entry>,
    },
    /// The node's server is built again, while the node runs.
    Rebuilt {
        /// The slot of the checkpoint from which it begins.
        cut: Slot,
    },
    /// The node begins another generation as an entry replica, while it runs.
    Generation {
        /// The generation.
        generation: Generation,
    },
    /// A message arrived.
    Received {
        /// The sender.
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// A message was given to the network.
    Said {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// A record was given to the disk.
    Wrote {
        /// The record's number.
        number: WriteNumber,
        /// The record.
        record: Record,
    },
    /// The disk holds every record up to this one.
    Durable {
        /// The number of the last durable record.
        up_to: WriteNumber,
    },
    /// The committed index was raised.
    Committed {
        /// The new committed index.
        up_to: Slot,
    },
    /// The node's role changed.
    Role {
        /// The new role.
        role: Role,
    },
    /// The content of the payload that was committed in a slot, recorded once for all nodes.
    Script {
        /// The slot.
        slot: Slot,
        /// The entry's timestamp.
        timestamp: u64,
        /// The clock steps that the entry grants.
        grant: u32,
        /// The ops in their order.
        ops: Vec<OpFact>,
    },
    /// The node's server reported that no thread is runnable, and dropped the rest of its grant.
    Dropped {
        /// Whether a thread was runnable in fact.
        runnable: bool,
    },
    /// The node's server admits a slot.
    Admitted {
        /// The mark, which is compared between replicas.
        mark: Mark,
        /// The agreed time after the admission.
        agreed: u64,
        /// The outcome of each op.
        outcomes: Vec<Outcome>,
    },
    /// An entry replica kept an op until it counts.
    Kept {
        /// The op's number.
        ticket: u64,
        /// The op.
        op: OpFact,
    },
    /// An entry replica forwarded an op to a primary.
    Forwarded {
        /// The op's number.
        ticket: u64,
        /// The primary.
        to: NodeId,
    },
    /// An entry replica freed an op.
    Freed {
        /// The op's number.
        ticket: u64,
    },
}

/// The part of an op that the rules need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpFact {
    /// An [`Op::Connect`].
    Connect(ConnId),
    /// An [`Op::Send`], with the numbers of its first byte and of the byte after its last.
    Send(ConnId, u64, u64),
    /// An [`Op::Shut`], with the total number of bytes.
    Shut(ConnId, u64),
    /// An [`Op::Retire`].
    Retire(NodeId, Generation),
    /// An [`Op::Restart`].
    Restart(Incarnation),
    /// Any other op.
    Other(Option<ConnId>),
}

impl OpFact {
    /// Returns the part of an op that the rules need.
    pub fn of(op: &Op<'_>) -> Self {
        match *op {
            Op::Connect { conn, .. } => Self::Connect(conn),
            Op::Send { conn, offset, bytes } => {
                Self::Send(conn, offset, offset + bytes.len() as u64)
            }
            Op::Shut { conn, total } => Self::Shut(conn, total),
            Op::Retire { node, generation } => Self::Retire(node, generation),
            Op::Restart { incarnation, .. } => Self::Restart(incarnation),
            _ => Self::Other(op.conn()),
        }
    }

    /// Returns the op's connection.
    pub fn conn(&self) -> Option<ConnId> {
        match *self {
            Self::Connect(conn) | Self::Send(conn, ..) | Self::Shut(conn, _) => Some(conn),
            Self::Retire(..) | Self::Restart(_) => None,
            Self::Other(conn) => conn,
        }
    }
}

/// The outcome of an op at its admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The op did not count.
    Nothing,
    /// The connection waits to be accepted, or was refused.
    Connected,
    /// The connection received bytes.
    Data {
        /// The first byte's number.
        at: u64,
        /// The number of bytes.
        count: u64,
    },
    /// Any other op counted.
    Counted,
}

impl Outcome {
    /// Returns the outcome of an admission by the core.
    pub fn of(admitted: &Admitted<'_>) -> Self {
        match *admitted {
            Admitted::Nothing => Self::Nothing,
            Admitted::Acceptable(_) | Admitted::Refused(..) => Self::Connected,
            Admitted::Data { at, bytes, .. } => Self::Data { at, count: bytes.len() as u64 },
            _ => Self::Counted,
        }
    }
}

/// The events of a run in their order, each with its node.
pub type Trace = Vec<(NodeId, Event)>;

/// Records a trace. Each part of a simulation has a handle; most runs are not recorded.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Rc<RefCell<Trace>>>);

impl Recorder {
    /// Returns a recorder that records.
    pub fn new() -> Self {
        Self(Some(Rc::default()))
    }

    /// Records an event at a node.
    pub fn add(&self, node: NodeId, event: impl FnOnce() -> Event) {
        if let Some(events) = &self.0 {
            let event = event();
            events.borrow_mut().push((node, event));
        }
    }

    /// Returns the events recorded so far, and forgets them.
    pub fn take(&self) -> Trace {
        self.0.as_ref().map(|events| events.take()).unwrap_or_default()
    }
}
