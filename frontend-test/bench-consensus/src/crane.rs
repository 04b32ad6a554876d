//! The core. The driver keeps payloads beside the machine, as the daemon does.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Config, Descriptor, Effect, Effects, Input, Members, Message, Node, Record, Stored, WriteNumber,
};
use crane_core::time::Instant;

use crate::{ENTRY_BYTES, Group};

type Payload = [u8; ENTRY_BYTES];
type Envelope = (NodeId, Message, Option<Payload>);

const WINDOW: usize = 4096;
const NODES: usize = 3;

struct Member {
    node: Node<WINDOW>,
    inbox: Vec<Envelope>,
    /// What has been accepted, by slot.
    log: Vec<Payload>,
    written: Option<WriteNumber>,
    applied: u64,
}

/// Three of them.
pub struct Three {
    members: [Member; NODES],
    now: Instant,
    primary: usize,
    spare: Vec<Envelope>,
}

impl Three {
    pub fn new() -> Self {
        let now = Instant::from_micros(1);
        let members = std::array::from_fn(|index| {
            let me = NodeId::new(index as u8 + 1).expect("a small number");
            let config = Config::new(me, Members::first(NODES), index as u64 + 1);
            Member {
                node: Node::restore(config, now, Stored::BLANK, []),
                inbox: Vec::new(),
                log: Vec::new(),
                written: None,
                applied: 0,
            }
        });
        let mut three = Self { members, now, primary: 0, spare: Vec::new() };
        let primary = loop {
            let leads = |at: &Member| at.node.primary() == Some(at.node.me());
            if let Some(primary) = three.members.iter().position(leads) {
                break primary;
            }
            let next = three.members.iter().map(|at| at.node.deadline()).min();
            three.now = next.expect("three nodes").max(three.now);
            for index in 0..NODES {
                three.step(index, Input::Wake, None);
            }
            three.pass();
        };
        three.primary = primary;
        three
    }

    fn step(&mut self, index: usize, input: Input, payload: Option<Payload>) {
        let mut out = Effects::new();
        self.members[index].node.step(self.now, input, &mut out);
        self.carry_out(index, &out, payload);
    }

    fn carry_out(&mut self, index: usize, out: &Effects, payload: Option<Payload>) {
        let from = self.members[index].node.me();
        for effect in out {
            match *effect {
                Effect::Send { to, message } => {
                    let carried = message
                        .payload()
                        .map(|(slot, _)| self.members[index].log[slot.0 as usize - 1]);
                    self.members[to.index()].inbox.push((from, message, carried));
                }
                Effect::Write { number, record } => {
                    let member = &mut self.members[index];
                    member.written = Some(number);
                    if let Record::Accept { slot, .. } = record {
                        member.log.truncate(slot.0 as usize - 1);
                        member.log.push(payload.unwrap_or([0; ENTRY_BYTES]));
                    }
                }
                Effect::Committed { up_to: Slot(up_to) } => self.members[index].applied = up_to,
                _ => {}
            }
        }
    }
}

impl Group for Three {
    fn applied(&self) -> u64 {
        self.members.iter().map(|at| at.applied).min().expect("three nodes")
    }

    fn propose(&mut self, entries: u64) {
        for number in 0..entries {
            let payload = [number as u8; ENTRY_BYTES];
            let descriptor = Descriptor { length: ENTRY_BYTES as u32, digest: number };
            let mut out = Effects::new();
            let node = &mut self.members[self.primary].node;
            node.propose(self.now, descriptor, &mut out).expect("room in the window");
            self.carry_out(self.primary, &out, Some(payload));
        }
    }

    fn pass(&mut self) {
        for index in 0..NODES {
            let mut inbox =
                std::mem::replace(&mut self.members[index].inbox, std::mem::take(&mut self.spare));
            for (from, message, payload) in inbox.drain(..) {
                self.step(index, Input::Message { from, message }, payload);
            }
            self.spare = inbox;
            // Stable storage is memory here: what was written is durable after each round.
            if let Some(up_to) = self.members[index].written.take() {
                self.step(index, Input::Durable { up_to }, None);
            }
            // What did not fit into one step's effects follows at once.
            while self.members[index].node.deadline() <= self.now {
                self.step(index, Input::Wake, None);
            }
        }
    }
}
