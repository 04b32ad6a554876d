//! Three nodes, the messages between them, and their logs: all of fixed size.

use crane_core::execution::Execution;
use crane_core::execution::turn::ThreadId;
use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Config, Descriptor, Effect, Effects, Entry, Input, Members, Message, Node, Record, Stored,
    WriteNumber,
};
use crane_core::time::{Duration, Instant};
use crane_core::wire;

const NODES: usize = 3;
const SLOTS: usize = 2100;
const MESSAGES: usize = 4096;
const WINDOW: usize = 64;

struct Member {
    node: Node<WINDOW>,
    runs: bool,
    stored: Stored,
    log: [Option<Entry>; SLOTS],
    length: usize,
    admitted: Slot,
    execution: Execution<4, 4, 4>,
}

pub struct Group {
    now: Instant,
    members: [Member; NODES],
    /// A ring: what was sent and has not arrived.
    messages: [Option<(NodeId, NodeId, Message)>; MESSAGES],
    sent: usize,
    arrived: usize,
}

impl Group {
    pub fn new() -> Self {
        let now = Instant::from_micros(1);
        let members = core::array::from_fn(|index| {
            let config = config(index, 1);
            Member {
                node: Node::restore(config, now, Stored::BLANK, []),
                runs: true,
                stored: Stored::BLANK,
                log: [None; SLOTS],
                length: 0,
                admitted: Slot::NONE,
                execution: Execution::new(10, 0),
            }
        });
        Self { now, members, messages: [None; MESSAGES], sent: 0, arrived: 0 }
    }

    /// Proposes at whatever node is primary until so many entries are committed there. Says which.
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
                let descriptor = describe(node.last().next());
                if node.propose(now, descriptor, &mut out).is_ok() {
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
        let log = member.log[..member.length].iter().enumerate();
        let slots = log.map(|(index, entry)| (Slot(index as u64 + 1), entry.expect("no gaps")));
        let stored = member.stored;
        member.node = Node::restore(config(index, 2), self.now, stored, slots);
        member.runs = true;
        member.execution = Execution::new(10, 0);
        member.admitted = Slot::NONE;
    }

    /// Waits until every node has committed so many entries.
    pub fn settle(&mut self, entries: u64) {
        for _ in 0..100_000 {
            if self.members.iter().all(|at| at.runs && at.admitted == Slot(entries)) {
                return;
            }
            self.pass();
        }
        panic!("a node did not catch up in time");
    }

    /// Checks that logs and executions are equal.
    pub fn compare(&self) {
        let [one, others @ ..] = &self.members;
        for other in others {
            assert!(one.log[..one.length] == other.log[..other.length], "logs differ");
            assert!(one.execution.mark() == other.execution.mark(), "executions differ");
        }
        assert!(one.execution.mark().clock > 0, "nothing was executed");
    }

    /// Delivers what is on the way, or else lets the next deadline come.
    fn pass(&mut self) {
        if self.arrived == self.sent {
            let next = self.members.iter().filter(|at| at.runs).map(|at| at.node.deadline()).min();
            self.now = next.expect("a node runs").max(self.now) + Duration::from_micros(1);
            for index in 0..NODES {
                self.step(index, Input::Wake);
            }
        }
        while self.arrived < self.sent {
            let message = self.messages[self.arrived % MESSAGES].take();
            self.arrived += 1;
            let (from, to, message) = message.expect("what was sent is on the way");
            self.step(to.index(), Input::Message { from, message });
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

    /// Carries effects out, and what comes of them: memory is as durable as anything gets here.
    fn carry_out(&mut self, index: usize, mut out: Effects) {
        while let Some(up_to) = self.carry_out_once(index, &out) {
            out.clear();
            self.members[index].node.step(self.now, Input::Durable { up_to }, &mut out);
        }
    }

    /// Says what was written.
    fn carry_out_once(&mut self, index: usize, out: &Effects) -> Option<WriteNumber> {
        let mut written = None;
        for effect in out {
            match *effect {
                Effect::Send { to, message } => self.send(index, to, message),
                Effect::Write { number, record } => {
                    self.members[index].write(record);
                    written = Some(number);
                }
                Effect::Committed { up_to } => self.members[index].admit(up_to),
                Effect::ServeCatchUp { to, from, up_to } => {
                    for number in from.0..=up_to.0 {
                        let entry = self.members[index].log[number as usize - 1];
                        let entry = entry.expect("what is served was written");
                        self.send(index, to, Message::Chosen { slot: Slot(number), entry });
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
        let message = Message::decode(&space[..length]).expect("what was encoded can be decoded");
        assert!(self.sent - self.arrived < MESSAGES, "too many messages are on the way");
        self.messages[self.sent % MESSAGES] = Some((id(from), to, message));
        self.sent += 1;
    }
}

impl Member {
    fn write(&mut self, record: Record) {
        match record {
            Record::Promise { ballot } => self.stored.promised = ballot,
            Record::Accept { slot, entry } => {
                self.log[slot.0 as usize - 1] = Some(entry);
                self.length = slot.0 as usize;
                self.stored.accepted = self.stored.accepted.max(entry.ballot);
            }
            Record::Adopt { ballot, up_to } => {
                self.length = up_to.0 as usize;
                self.stored.accepted = self.stored.accepted.max(ballot);
            }
            Record::Standing(standing) => self.stored.standing = standing,
        }
    }

    /// Runs the "server": one thread that calls as long as it may.
    fn admit(&mut self, up_to: Slot) {
        while self.admitted < up_to {
            self.admitted = self.admitted.next();
            let entry = self.log[self.admitted.0 as usize - 1].expect("committed means written");
            let Some(Descriptor { digest, .. }) = entry.content.payload() else { continue };
            let mut space = [0; 64];
            let mut writer = wire::EntryWriter::new(&mut space).expect("the space suffices");
            writer.push(&wire::Op::Time).expect("the space suffices");
            let payload = writer.finish(digest, 3 + digest as u32 % 7);
            let decoded = wire::Entry::decode(payload).expect("what was encoded can be decoded");
            let (stamp, grant) = (decoded.stamp, decoded.grant);
            self.execution.admit(self.admitted, stamp, decoded.ops(), grant, |_, _| {});
            while self.execution.call(ThreadId(0), 1, digest as u32) {}
        }
    }
}

fn id(index: usize) -> NodeId {
    NodeId::new(index as u8 + 1).expect("three nodes are not too many")
}

fn config(index: usize, run: u64) -> Config {
    Config::new(id(index), Members::first(NODES), run << 8 | (index as u64 + 1))
}

fn describe(slot: Slot) -> Descriptor {
    Descriptor { length: 64, digest: slot.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8 }
}
