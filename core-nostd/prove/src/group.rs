//! Three nodes, the messages between them, and their logs, all of fixed size.

use crane_core::execution::Execution;
use crane_core::execution::turn::ThreadId;
use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Config, Content, Descriptor, DurableState, Effect, Effects, Entry, Input, Members,
    Message, Node, RANGE_ENTRIES_MAX, Record, SlotRange, WriteNumber,
};
use crane_core::time::{Duration, Instant};
use crane_core::wire;

const NODES: usize = 3;
const SLOTS: usize = 2100;
const MESSAGES: usize = 256;
const WINDOW: usize = 128;

/// The largest number of payloads that are proposed at once.
const PROPOSED_MAX: usize = 100;

struct Member {
    node: Node<WINDOW>,
    runs: bool,
    storage: Storage,
    admitted: Slot,
    execution: Execution<4, 4, 4>,
}

struct Storage {
    stored: DurableState,
    log: [Option<Entry>; SLOTS],
    length: usize,
}

/// A message in flight, with the entries of its slot range.
#[derive(Clone, Copy)]
struct Envelope {
    from: NodeId,
    to: NodeId,
    message: Message,
    entries: [Entry; RANGE_ENTRIES_MAX],
    count: usize,
}

pub struct Group {
    now: Instant,
    members: [Member; NODES],
    /// The messages in flight, in a ring.
    messages: [Option<Envelope>; MESSAGES],
    sent: usize,
    arrived: usize,
    /// The number of entries of the longest message.
    longest: usize,
}

impl Group {
    pub fn new() -> Self {
        let now = Instant::from_micros(1);
        let members = core::array::from_fn(|index| {
            let config = config(index, 1);
            Member {
                node: Node::restore(config, now, DurableState::BLANK, []),
                runs: true,
                storage: Storage { stored: DurableState::BLANK, log: [None; SLOTS], length: 0 },
                admitted: Slot::NONE,
                execution: Execution::new(10, 0),
            }
        });
        Self { now, members, messages: [None; MESSAGES], sent: 0, arrived: 0, longest: 0 }
    }

    /// Proposes at the primary, one payload or several at once, until this many entries are
    /// committed there. Returns the index of the primary.
    pub fn lead_until_committed(&mut self, entries: u64) -> usize {
        for _ in 0..1_000_000 {
            self.pass();
            let now = self.now;
            let primary = self
                .members
                .iter()
                .position(|at| at.runs && at.node.primary() == Some(at.node.me()));
            let Some(primary) = primary else { continue };
            let node = &mut self.members[primary].node;
            if node.committed() >= Slot(entries) {
                return primary;
            }
            if node.last() < Slot(entries) {
                let mut out = Effects::new();
                let first = node.last().next();
                let payloads: [_; PROPOSED_MAX] =
                    core::array::from_fn(|index| describe(Slot(first.0 + index as u64)));
                let wanted = 1 + first.0 * 37 % PROPOSED_MAX as u64;
                let count = wanted.min(entries + 1 - first.0) as usize;
                if let Ok(taken) = node.propose(now, &payloads[..count], &mut out) {
                    assert!(
                        node.last().0 == first.0 + taken as u64 - 1,
                        "the log does not have the payloads that were taken"
                    );
                    self.carry_out(primary, out);
                }
            }
        }
        panic!("the entries were not committed in time");
    }

    pub fn stop(&mut self, index: usize) {
        self.members[index].runs = false;
        let node = id(index);
        for other in 0..NODES {
            self.step(other, Input::LinkDown { node });
        }
    }

    pub fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Storage { stored, log, length } = &member.storage;
        let log = log[..*length].iter().enumerate();
        let slots = log.map(|(index, entry)| (Slot(index as u64 + 1), entry.expect("no gaps")));
        member.node = Node::restore(config(index, 2), self.now, *stored, slots);
        member.runs = true;
        member.execution = Execution::new(10, 0);
        member.admitted = Slot::NONE;
    }

    /// Waits until every node has committed this many entries.
    pub fn settle(&mut self, entries: u64) {
        for _ in 0..100_000 {
            if self.members.iter().all(|at| at.runs && at.admitted == Slot(entries)) {
                return;
            }
            self.pass();
        }
        panic!("a node did not catch up in time");
    }

    /// Checks that logs and executions are equal, and that whole slot ranges were sent.
    pub fn compare(&self) {
        assert!(self.longest == RANGE_ENTRIES_MAX, "no message had a whole slot range");
        let [one, others @ ..] = &self.members;
        for other in others {
            assert!(one.storage.entries() == other.storage.entries(), "logs differ");
            assert!(one.execution.mark() == other.execution.mark(), "executions differ");
        }
        assert!(one.execution.mark().clock > 0, "nothing was executed");
    }

    /// Delivers the messages in flight, or lets time pass to the next deadline if no message is.
    fn pass(&mut self) {
        if self.arrived == self.sent {
            let next = self.members.iter().filter(|at| at.runs).map(|at| at.node.deadline()).min();
            self.now = next.expect("a node runs").max(self.now) + Duration::from_micros(1);
            for index in 0..NODES {
                self.step(index, Input::Wake);
            }
        }
        while self.arrived < self.sent {
            let envelope = self.messages[self.arrived % MESSAGES].take();
            self.arrived += 1;
            let Envelope { from, to, message, entries, count } =
                envelope.expect("a message in flight");
            let entries = &entries[..count];
            self.step(to.index(), Input::Message { from, message: &message, entries });
        }
    }

    fn step(&mut self, index: usize, input: Input) {
        if !self.members[index].runs {
            return;
        }
        let mut out = Effects::new();
        self.members[index].node.step(self.now, input, &mut out);
        self.carry_out(index, out);
    }

    /// Carries effects out, and those that follow from them. Memory counts as durable here.
    fn carry_out(&mut self, index: usize, mut out: Effects) {
        while let Some(up_to) = self.carry_out_once(index, &out) {
            out.clear();
            self.members[index].node.step(self.now, Input::Durable { up_to }, &mut out);
        }
    }

    /// Carries effects out, and returns the last write.
    fn carry_out_once(&mut self, index: usize, out: &Effects) -> Option<WriteNumber> {
        let mut written = None;
        for effect in out {
            match *effect {
                Effect::Send { to, message } => self.send(index, to, message),
                Effect::Write { number, record } => {
                    self.members[index].storage.write(record);
                    written = Some(number);
                }
                Effect::Append { number, range } => {
                    let Member { node, storage, .. } = &mut self.members[index];
                    for (number, record) in node.records(number, range) {
                        storage.write(record);
                        written = Some(number);
                    }
                }
                Effect::Committed { up_to } => self.members[index].admit(up_to),
                Effect::ServeCatchUp { to, from, up_to } => {
                    let mut first = from;
                    while first <= up_to {
                        let range = SlotRange::between(first, up_to);
                        let range =
                            SlotRange { count: range.count.min(RANGE_ENTRIES_MAX as u32), ..range };
                        self.send(index, to, Message::Chosen { range });
                        first = range.last().next();
                    }
                }
                Effect::Role { .. } | Effect::Members { .. } => {}
            }
        }
        written
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let mut space = [0; crane_core::paxos::MESSAGE_BYTES_MAX];
        let length = message.encode(&mut space).expect("every message fits");
        let message = Message::decode(&space[..length]).expect("an encoded message can be decoded");
        let mut envelope = Envelope {
            from: id(from),
            to,
            message,
            entries: [NO_ENTRY; RANGE_ENTRIES_MAX],
            count: 0,
        };
        if let Some(range) = message.range() {
            for (entry, slot) in envelope.entries.iter_mut().zip(range.slots()) {
                let written = self.members[from].storage.log[slot.0 as usize - 1];
                *entry = written.expect("a sent entry was written");
            }
            envelope.count = range.count as usize;
            self.longest = self.longest.max(envelope.count);
        }
        assert!(self.sent - self.arrived < MESSAGES, "too many messages are in flight");
        self.messages[self.sent % MESSAGES] = Some(envelope);
        self.sent += 1;
    }
}

impl Storage {
    fn entries(&self) -> &[Option<Entry>] {
        &self.log[..self.length]
    }

    fn write(&mut self, record: Record) {
        let Self { stored, log, length } = self;
        match record {
            Record::Promise { ballot } => stored.promised = ballot,
            Record::Accept { slot, entry } => {
                log[slot.0 as usize - 1] = Some(entry);
                *length = slot.0 as usize;
                stored.accepted = stored.accepted.max(entry.ballot);
            }
            Record::Adopt { ballot, up_to } => {
                *length = up_to.0 as usize;
                stored.accepted = stored.accepted.max(ballot);
            }
            Record::VotingStatus(voting) => stored.voting = voting,
        }
    }
}

impl Member {
    /// Admits the committed entries, and runs the server, a thread that makes all granted calls.
    fn admit(&mut self, up_to: Slot) {
        while self.admitted < up_to {
            self.admitted = self.admitted.next();
            let entry = self.storage.log[self.admitted.0 as usize - 1]
                .expect("a committed entry was written");
            let Some(Descriptor { digest, .. }) = entry.content.payload() else { continue };
            let mut space = [0; 64];
            let mut writer = wire::EntryWriter::new(&mut space).expect("the space suffices");
            writer.push(&wire::Op::Time).expect("the space suffices");
            let payload = writer.finish(digest, 3 + digest as u32 % 7);
            let decoded =
                wire::EntryPayload::decode(payload).expect("an encoded entry can be decoded");
            let (timestamp, grant) = (decoded.timestamp, decoded.grant);
            self.execution.admit(self.admitted, timestamp, decoded.ops(), grant, |_, _| {});
            while self.execution.call(ThreadId(0), 1, digest as u32) {}
        }
    }
}

/// The entry of an unused place.
const NO_ENTRY: Entry =
    Entry { ballot: Ballot::ZERO, content: Content::Payload(Descriptor { length: 0, digest: 0 }) };

fn id(index: usize) -> NodeId {
    NodeId::new(index as u8 + 1).expect("a node of three")
}

fn config(index: usize, range: u64) -> Config {
    Config::new(id(index), Members::first(NODES), range << 8 | (index as u64 + 1))
}

fn describe(slot: Slot) -> Descriptor {
    Descriptor { length: 64, digest: slot.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8 }
}
