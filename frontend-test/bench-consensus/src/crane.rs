//! The core. Its driver keeps payloads beside the machine and passes references to them, as the
//! daemon does.

use std::rc::Rc;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Config, Descriptor, DurableState, Effect, Effects, Entry, Input, Members, Message, Node,
    SlotRange, WriteNumber,
};
use crane_core::time::Instant;

use crate::{Group, Sum, from_primary, value};

type Payload = Rc<[u8]>;

const WINDOW: usize = 4096;
const NODES: usize = 3;

struct Member {
    node: Node<WINDOW>,
    inbox: Inbox,
    log: Log,
    written: WriteNumber,
    durable: WriteNumber,
    applied: u64,
    sum: Sum,
}

/// The inbox of a member: messages, and the entries of all of them in a row.
#[derive(Default)]
struct Inbox {
    messages: Vec<(NodeId, Message)>,
    log: Log,
}

/// Entries with their payloads.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    payloads: Vec<Payload>,
}

/// The group of three nodes.
pub struct Three {
    members: [Member; NODES],
    now: Instant,
    primary: usize,
    effects: Effects,
    descriptors: Vec<Descriptor>,
    proposed: Vec<Payload>,
}

/// The place of an input's payloads.
#[derive(Clone, Copy)]
enum Handed {
    /// The input has no payloads.
    Nothing,
    /// The payloads are in the member's inbox from a place on, the first for this slot.
    Inbox(Slot, usize),
    /// The payloads are proposed, the first for this slot.
    Proposed(Slot),
}

impl Three {
    pub fn new() -> Self {
        let now = Instant::from_micros(1);
        let members = std::array::from_fn(|index| {
            let me = NodeId::new(index as u8 + 1).expect("a small number");
            let config = Config::new(me, Members::first(NODES), index as u64 + 1);
            Member {
                node: Node::restore(config, now, DurableState::BLANK, []),
                inbox: Inbox::default(),
                log: Log::default(),
                written: WriteNumber(0),
                durable: WriteNumber(0),
                applied: 0,
                sum: Sum::default(),
            }
        });
        let (descriptors, proposed) = (Vec::new(), Vec::new());
        let effects = Effects::new();
        let mut three = Self { members, now, primary: 0, effects, descriptors, proposed };
        three.primary = loop {
            let known = three.members.each_ref().map(|at| at.node.primary());
            if let [Some(one), Some(two), Some(other)] = known
                && one == two
                && two == other
            {
                break one.index();
            }
            let next = three.members.iter().map(|at| at.node.deadline()).min();
            three.now = next.expect("three nodes").max(three.now);
            for index in 0..NODES {
                three.step(index, Input::Wake);
            }
            three.pass();
        };
        three
    }

    fn step(&mut self, index: usize, input: Input<'_>) {
        self.members[index].node.step(self.now, input, &mut self.effects);
        self.carry_out(index, Handed::Nothing);
    }

    /// Delivers the messages in flight to a member.
    fn deliver(&mut self, index: usize) {
        let mut at = 0;
        for number in 0..self.members[index].inbox.messages.len() {
            let Member { node, inbox, .. } = &mut self.members[index];
            let (from, message) = &inbox.messages[number];
            let range = message.range().unwrap_or(SlotRange { first: Slot::NONE, count: 0 });
            let entries = &inbox.log.entries[at..at + range.count as usize];
            let input = Input::Message { from: *from, message, entries };
            node.step(self.now, input, &mut self.effects);
            if !self.effects.is_empty() {
                self.carry_out(index, Handed::Inbox(range.first, at));
            }
            at += range.count as usize;
        }
        let inbox = &mut self.members[index].inbox;
        inbox.messages.clear();
        if at > 0 {
            inbox.log.entries.clear();
            inbox.log.payloads.clear();
        }
    }

    fn carry_out(&mut self, index: usize, handed: Handed) {
        for effect in &self.effects {
            match effect {
                Effect::Send { to, message } => send(&mut self.members, index, *to, message),
                Effect::Write { number, .. } => self.members[index].written = *number,
                Effect::Append { number, range } => {
                    let Member { node, inbox, log, written, .. } = &mut self.members[index];
                    *written = WriteNumber(number.0 + u64::from(range.count) - 1);
                    let (first, payloads) = match handed {
                        Handed::Nothing => unreachable!("payloads come with an input"),
                        Handed::Inbox(first, at) => (first, &inbox.log.payloads[at..]),
                        Handed::Proposed(first) => (first, &self.proposed[..]),
                    };
                    let skipped = (range.first.0 - first.0) as usize;
                    log.append(node, *range, &payloads[skipped..][..range.count as usize]);
                }
                Effect::Committed { up_to } => self.members[index].apply(*up_to),
                _ => {}
            }
        }
        self.effects.clear();
    }
}

/// Puts a message, with the entries that it names, into the receiver's inbox.
fn send(members: &mut [Member; NODES], from: usize, to: NodeId, message: &Message) {
    let [sender, receiver] =
        members.get_disjoint_mut([from, to.index()]).expect("two different members");
    receiver.inbox.messages.push((sender.node.me(), *message));
    if let Some(range) = message.range() {
        receiver.inbox.log.take_from(&sender.log, range);
    }
}

impl Member {
    fn apply(&mut self, up_to: Slot) {
        for payload in &self.log.payloads[self.applied as usize..up_to.0 as usize] {
            self.sum.add(payload);
        }
        self.applied = up_to.0;
    }
}

impl Log {
    fn take_from(&mut self, log: &Log, range: SlotRange) {
        let range = range.first.0 as usize - 1..range.last().0 as usize;
        self.entries.extend_from_slice(&log.entries[range.clone()]);
        self.payloads.extend_from_slice(&log.payloads[range]);
    }

    fn append(&mut self, node: &Node<WINDOW>, range: SlotRange, payloads: &[Payload]) {
        let kept = range.first.0 as usize - 1;
        self.entries.truncate(kept);
        self.payloads.truncate(kept);
        self.entries.extend(range.slots().map(|slot| node.entry(slot).expect("just appended")));
        self.payloads.extend_from_slice(payloads);
    }
}

impl Group for Three {
    fn applied(&self) -> u64 {
        self.members.iter().map(|at| at.applied).min().expect("three nodes")
    }

    fn sums(&self) -> [Sum; NODES] {
        self.members.each_ref().map(|at| at.sum)
    }

    fn propose(&mut self, numbers: std::ops::Range<u64>) {
        self.descriptors.clear();
        self.proposed.clear();
        for number in numbers {
            let payload = Payload::from(value(number).as_slice());
            self.descriptors.push(Descriptor { length: payload.len() as u32, digest: number });
            self.proposed.push(payload);
        }
        let node = &mut self.members[self.primary].node;
        let first = node.last().next();
        let taken = node.propose(self.now, &self.descriptors, &mut self.effects);
        assert_eq!(taken, Ok(self.descriptors.len()), "the window has no room");
        self.carry_out(self.primary, Handed::Proposed(first));
    }

    fn pass(&mut self) {
        for index in from_primary(self.primary) {
            self.deliver(index);
            // Memory is the stable storage here: writes are durable after each round.
            let Member { written, durable, .. } = &mut self.members[index];
            if written > durable {
                *durable = *written;
                let up_to = *written;
                self.step(index, Input::Durable { up_to });
            }
            // Effects that did not fit into one step follow at once.
            while self.members[index].node.deadline() <= self.now {
                self.step(index, Input::Wake);
            }
        }
    }
}
