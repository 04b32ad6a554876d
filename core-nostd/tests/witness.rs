//! Witnesses that must lead, because no member with a server can.
//!
//! The simulation found two faults. A primary without a server waited for ever to transfer the
//! leadership to the only member with a server, which had lost its storage, and proposed nothing
//! meanwhile. Two witnesses with a longer log than the server's member waited for ever for the
//! candidacies of that member, which failed.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Config, Content, Descriptor, DurableState, Effect, Effects, Input, LogEnd, Members,
    Message, Node, NodeSet, Record, Role, StorageEpoch, VotingStatus, WriteNumber,
};
use crane_core::time::Instant;

/// Node 1 of three, which is primary. Nodes 1 and 2 are witnesses, and node 3 has the server.
struct Witness {
    node: Node<8>,
    now: Instant,
    ballot: Ballot,
    written: WriteNumber,
    proposed: Vec<Content>,
}

impl Witness {
    fn leading() -> Self {
        let witnesses = NodeSet::EMPTY.with(id(1)).with(id(2));
        let config = Config::new(id(1), Members { witnesses, ..Members::first(3) }, 7);
        let stored = DurableState {
            voting: VotingStatus::Voter { epoch: StorageEpoch::FIRST },
            ..DurableState::BLANK
        };
        let node = Node::restore(config, Instant::START, stored, []);
        let now =
            node.deadline() + Config::new(id(1), Members::first(3), 7).election_timeout.times(20);
        let ballot = Ballot::ZERO.next_of(id(1));
        let written = WriteNumber(0);
        let mut witness = Self { node, now, ballot, written, proposed: Vec::new() };
        witness.step(Input::Wake);
        let (promised, committed) = (Ballot::ZERO, Slot::NONE);
        witness.hears(2, Message::PreVoteReply { ballot, granted: true, promised, committed });
        let (epoch, end) = (StorageEpoch::FIRST, LogEnd::default());
        witness.hears(2, Message::Promised { ballot, epoch, end, committed });
        assert_eq!(witness.node.role(), Role::Primary);
        let payload = Descriptor { length: 1, digest: 1 };
        let mut out = Effects::new();
        witness.node.propose(witness.now, &[payload], &mut out).expect("room for a payload");
        witness.carry_out(out);
        witness
    }

    fn hears(&mut self, from: u8, message: Message) {
        self.step(Input::Message { from: id(from), message: &message, entries: &[] });
    }

    /// Makes both others acknowledge the whole log, the `voters` among them with a vote.
    fn acknowledged(&mut self, voters: &[u8]) {
        for from in [2, 3] {
            let epoch = voters.contains(&from).then_some(StorageEpoch::FIRST);
            let (ballot, up_to) = (self.ballot, self.node.last());
            self.hears(from, Message::Accepted { ballot, up_to, received: up_to, epoch, beat: 1 });
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let mut out = Effects::new();
        self.node.step(self.now, input, &mut out);
        self.carry_out(out);
    }

    /// Carries out effects, and makes all writes durable at once.
    fn carry_out(&mut self, out: Effects) {
        let before = self.written;
        for effect in &out {
            match *effect {
                Effect::Write { number, .. } => self.written = number,
                Effect::Append { number, range } => {
                    for (number, record) in self.node.records(number, range) {
                        self.written = number;
                        if let Record::Accept { entry, .. } = record {
                            self.proposed.push(entry.content);
                        }
                    }
                }
                _ => {}
            }
        }
        if self.written > before {
            self.step(Input::Durable { up_to: self.written });
        }
    }
}

fn id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

// specs: R7
#[test]
fn a_witness_lets_the_only_server_rejoin() {
    let mut witness = Witness::leading();
    witness.acknowledged(&[2, 3]);
    let epoch = StorageEpoch(99);
    let lost = VotingStatus::Rejoining { epoch };
    for _ in 0..100 {
        witness.now = witness.node.deadline().max(witness.now);
        witness.step(Input::Wake);
        witness.hears(3, Message::Hello { nonce: 5, voting: lost, named: StorageEpoch::FIRST });
        witness.acknowledged(&[2]);
    }
    assert_eq!(witness.node.role(), Role::Primary);
    assert!(witness.proposed.contains(&Content::Rejoin { node: id(3), epoch }));
}

/// Node 3 lacks the entry that names node 2's new epoch, so that it counts no quorum.
#[test]
fn a_witness_starts_an_election_after_those_of_a_server_fail() {
    let witnesses = NodeSet::EMPTY.with(id(1)).with(id(2));
    let config = Config::new(id(1), Members { witnesses, ..Members::first(3) }, 7);
    let election_timeout = config.election_timeout;
    let stored = DurableState {
        voting: VotingStatus::Voter { epoch: StorageEpoch::FIRST },
        ..DurableState::BLANK
    };
    let mut node = Node::<8>::restore(config, Instant::START, stored, []);
    let asks_pre_vote = |node: &mut Node<8>, now, input: Input<'_>| {
        let mut out = Effects::new();
        node.step(now, input, &mut out);
        out.iter()
            .any(|effect| matches!(effect, Effect::Send { message: Message::PreVote { .. }, .. }))
    };
    let (mut now, mut candidacies, mut ballot) = (Instant::START, 0, Ballot::ZERO);
    loop {
        now = node.deadline().min(now + election_timeout.times(3));
        if asks_pre_vote(&mut node, now, Input::Wake) {
            break;
        }
        ballot = ballot.next_of(id(3));
        let prepare = Message::Prepare { ballot };
        let input = Input::Message { from: id(3), message: &prepare, entries: &[] };
        asks_pre_vote(&mut node, now, input);
        candidacies += 1;
        assert!(candidacies < 10, "the witness starts no election");
    }
    assert!(candidacies > 0, "the witness starts an election before the server");
}
