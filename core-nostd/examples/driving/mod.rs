//! The driver of a node, for the examples: it steps the machine, carries its effects out, and keeps
//! the log. Memory counts as durable here; a real driver confirms a write when the disk has it.

use crane_core::id::NodeId;
use crane_core::paxos::{
    Config, Content, Descriptor, DurableState, Effect, Effects, Entry, Input, Members, Message,
    Node, ProposeError, RANGE_ENTRIES_MAX, Record, Role, SlotRange, WriteNumber,
};
use crane_core::time::Instant;

/// The number of members of the example's group.
pub(crate) const NODES: u8 = 3;

/// The number of slots that may be undecided at the same time.
const WINDOW: usize = 64;

/// A message in flight, with the entries of its range.
pub(crate) struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    message: Message,
    entries: Vec<Entry>,
}

/// A node, with the state that its driver keeps for it.
pub(crate) struct Member {
    pub node: Node<WINDOW>,
    log: Vec<Entry>,
    committed: usize,
}

impl Member {
    /// Returns node `number`, from 1, with blank storage.
    pub(crate) fn new(number: u8, now: Instant) -> Self {
        let config = Config::new(id(number), Members::first(NODES.into()), u64::from(number));
        let node = Node::restore(config, now, DurableState::BLANK, []);
        Self { node, log: Vec::new(), committed: 0 }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.node.role() == Role::Primary
    }

    /// Delivers a message, and returns the messages to send.
    pub(crate) fn receive(&mut self, now: Instant, envelope: &Envelope) -> Vec<Envelope> {
        let Envelope { from, message, entries, .. } = envelope;
        self.step(now, Input::Message { from: *from, message, entries })
    }

    /// Proposes a value, which is the whole payload in this example, and returns the messages to
    /// send.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Node::propose`].
    pub(crate) fn propose(
        &mut self,
        now: Instant,
        value: u64,
    ) -> Result<Vec<Envelope>, ProposeError> {
        let mut out = Effects::new();
        self.node.propose(now, &[Descriptor { length: 8, digest: value }], &mut out)?;
        Ok(self.carry_out(now, out))
    }

    /// Returns the values that are committed here, in the order of their slots.
    pub(crate) fn values(&self) -> Vec<u64> {
        let committed = self.log[..self.committed].iter();
        committed.filter_map(|entry| entry.content.payload()).map(|value| value.digest).collect()
    }

    /// Gives the node an input, and returns the messages to send.
    pub(crate) fn step(&mut self, now: Instant, input: Input<'_>) -> Vec<Envelope> {
        let mut out = Effects::new();
        self.node.step(now, input, &mut out);
        self.carry_out(now, out)
    }

    /// Runs the loop that every driver has: it carries effects out in their order, and confirms
    /// their writes, which has effects of its own.
    fn carry_out(&mut self, now: Instant, mut out: Effects) -> Vec<Envelope> {
        let mut sent = Vec::new();
        while let Some(up_to) = self.carry_out_once(&out, &mut sent) {
            out.clear();
            self.node.step(now, Input::Durable { up_to }, &mut out);
        }
        sent
    }

    /// Returns the last write, if there was one.
    fn carry_out_once(&mut self, out: &Effects, sent: &mut Vec<Envelope>) -> Option<WriteNumber> {
        let mut written = None;
        for effect in out {
            match *effect {
                Effect::Send { to, message } => sent.push(self.envelope(to, message)),
                Effect::Write { number, record } => {
                    write(&mut self.log, record);
                    written = Some(number);
                }
                Effect::Append { number, range } => {
                    for (number, record) in self.node.records(number, range) {
                        write(&mut self.log, record);
                        written = Some(number);
                    }
                }
                Effect::Committed { up_to } => self.committed = up_to.0 as usize,
                Effect::ServeCatchUp { to, from, up_to } => {
                    let mut first = from;
                    while first <= up_to {
                        let count = (up_to.0 - first.0 + 1).min(RANGE_ENTRIES_MAX as u64) as u32;
                        let range = SlotRange { first, count };
                        sent.push(self.envelope(to, Message::Chosen { range }));
                        first = range.last().next();
                    }
                }
                Effect::Role { .. } | Effect::Members { .. } => {}
            }
        }
        written
    }

    fn envelope(&self, to: NodeId, message: Message) -> Envelope {
        let slots = message.range().into_iter().flat_map(SlotRange::slots);
        let entries = slots.map(|slot| self.log[slot.0 as usize - 1]).collect();
        Envelope { from: self.node.me(), to, message, entries }
    }
}

/// Applies a record to the log in memory. Promises and the voting status would go to disk as well.
fn write(log: &mut Vec<Entry>, record: Record) {
    match record {
        Record::Accept { slot, entry } => {
            log.truncate(slot.0 as usize - 1);
            log.push(entry);
        }
        Record::Adopt { up_to, .. } => log.truncate(up_to.0 as usize),
        Record::Promise { .. } | Record::VotingStatus(_) => {}
    }
    debug_assert!(log.iter().all(|entry| !matches!(entry.content, Content::Rejoin { .. })));
}

/// Returns the id of the node with a number from 1 to [`NODES`].
pub(crate) fn id(number: u8) -> NodeId {
    NodeId::new(number).expect("the group has few nodes")
}
