//! The record of a run: inputs, effects and admissions, in the order in which they happen.

use std::cell::RefCell;
use std::rc::Rc;

use crane_core::execution::Mark;
use crane_core::execution::admission::Admitted;
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::paxos::{DurableState, Entry, Message, Record, Role, WriteNumber};
use crane_core::wire::Op;

/// One thing that happened at a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Its storage is gone.
    Lost,
    /// Its program starts with what it found in storage.
    Started {
        /// Of this run.
        nonce: u64,
        /// As entry replica.
        generation: Generation,
        /// The state that storage held beside the log.
        stored: DurableState,
        /// The log, from the slot after the snapshot.
        log: Vec<Entry>,
    },
    /// A message has come.
    Received {
        /// From whom.
        from: NodeId,
        /// The message.
        message: Message,
    },
    /// A message was given to the network.
    Said {
        /// For whom.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// A record was given to the disk.
    Wrote {
        /// Its number.
        number: WriteNumber,
        /// The record.
        record: Record,
    },
    /// The disk holds every record up to this one.
    Durable {
        /// The last of them.
        up_to: WriteNumber,
    },
    /// The commit index is raised.
    Committed {
        /// To this slot.
        up_to: Slot,
    },
    /// The node does something else from here on.
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
        /// Clock steps.
        grant: u32,
        /// The ops in their order.
        ops: Vec<OpFact>,
    },
    /// The node's server has no runnable thread (or so it says), and what is granted is dropped.
    Dropped {
        /// Whether one was runnable all the same.
        runnable: bool,
    },
    /// The node's server admits a slot.
    Admitted {
        /// The mark that is compared between replicas.
        mark: Mark,
        /// Agreed time afterwards.
        agreed: u64,
        /// The outcome of each op.
        outcomes: Vec<Outcome>,
    },
    /// An entry replica keeps an op.
    Kept {
        /// Its number.
        ticket: u64,
        /// The op.
        op: OpFact,
    },
    /// An entry replica hands an op to a primary.
    Handed {
        /// The op's number.
        ticket: u64,
        /// The primary.
        to: NodeId,
    },
    /// An entry replica keeps an op no longer.
    Freed {
        /// The op's number.
        ticket: u64,
    },
}

/// The part of an op that the rules need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpFact {
    /// `Op::Connect`
    Connect(ConnId),
    /// `Op::Send`: the first byte's number, and the one after the last.
    Send(ConnId, u64, u64),
    /// `Op::Shut`, with the total.
    Shut(ConnId, u64),
    /// `Op::Retire`
    Retire(NodeId, Generation),
    /// Any other.
    Other(Option<ConnId>),
}

impl OpFact {
    /// Of an op.
    pub fn of(op: &Op<'_>) -> Self {
        match *op {
            Op::Connect { conn, .. } => Self::Connect(conn),
            Op::Send { conn, offset, bytes } => {
                Self::Send(conn, offset, offset + bytes.len() as u64)
            }
            Op::Shut { conn, total } => Self::Shut(conn, total),
            Op::Retire { node, generation } => Self::Retire(node, generation),
            _ => Self::Other(op.conn()),
        }
    }

    /// Its connection.
    pub fn conn(&self) -> Option<ConnId> {
        match *self {
            Self::Connect(conn) | Self::Send(conn, ..) | Self::Shut(conn, _) => Some(conn),
            Self::Retire(..) => None,
            Self::Other(conn) => conn,
        }
    }
}

/// The outcome of an op at its admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did not count.
    Nothing,
    /// A connection waits to be accepted, or was refused.
    Connected,
    /// So many bytes, the first of which has this number.
    Data {
        /// The first byte's number.
        at: u64,
        /// How many.
        count: u64,
    },
    /// Anything else that counts.
    Counted,
}

impl Outcome {
    /// Of what the core said.
    pub fn of(admitted: &Admitted<'_>) -> Self {
        match *admitted {
            Admitted::Nothing => Self::Nothing,
            Admitted::Acceptable(_) | Admitted::Refused(_) => Self::Connected,
            Admitted::Data { at, bytes, .. } => Self::Data { at, count: bytes.len() as u64 },
            _ => Self::Counted,
        }
    }
}

/// A run's events in their order, each with its node.
pub type Trace = Vec<(NodeId, Event)>;

/// Records a trace. Whoever does something has a handle; most runs are not recorded.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Rc<RefCell<Trace>>>);

impl Recorder {
    /// One that records.
    pub fn new() -> Self {
        Self(Some(Rc::default()))
    }

    /// Something happens at a node.
    pub fn add(&self, node: NodeId, event: impl FnOnce() -> Event) {
        if let Some(events) = &self.0 {
            let event = event();
            events.borrow_mut().push((node, event));
        }
    }

    /// All that was recorded so far.
    pub fn take(&self) -> Trace {
        self.0.as_ref().map(|events| events.take()).unwrap_or_default()
    }
}
