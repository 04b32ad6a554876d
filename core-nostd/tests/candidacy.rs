//! The ends of a candidacy, and of the leadership of an isolated primary.
//!
//! The model in `specs/agreement.pml` found a candidacy that must end: its promises were sent
//! before the election of another ballot and arrive late. They are still a quorum, although the
//! candidate has learnt an entry that was chosen under the other ballot.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Config, Content, Descriptor, DurableState, Effect, Effects, Entry, Input, LogEnd,
    Members, Message, Node, Role, SlotRange, StorageEpoch, VotingStatus, WriteNumber,
};
use crane_core::time::Instant;

struct Alone {
    node: Node<8>,
    now: Instant,
    written: WriteNumber,
}

impl Alone {
    /// Returns node 2 of three after it has asked for promises under ballot 1.2.
    fn candidate() -> Self {
        let config = Config::new(id(2), Members::first(3), 7);
        let voting = VotingStatus::Voter { epoch: StorageEpoch::FIRST };
        let stored = DurableState { voting, ..DurableState::BLANK };
        let node = Node::restore(config, Instant::START, stored, []);
        let mut alone = Self { now: node.deadline(), node, written: WriteNumber(0) };
        alone.step(Input::Wake);
        let message = Message::PreVoteReply {
            ballot: ballot(2),
            granted: true,
            promised: Ballot::ZERO,
            committed: Slot::NONE,
        };
        alone.hears(3, message, &[]);
        let asked = alone.step(Input::Durable { up_to: alone.written });
        assert!(asked.iter().any(|effect| {
            matches!(effect, Effect::Send { message: Message::Prepare { .. }, .. })
        }));
        alone
    }

    fn step(&mut self, input: Input<'_>) -> Effects {
        let mut out = Effects::new();
        self.node.step(self.now, input, &mut out);
        for effect in &out {
            match *effect {
                Effect::Write { number, .. } => self.written = number,
                Effect::Append { number, range } => {
                    let records = self.node.records(number, range);
                    self.written = records.last().expect("a range has a slot").0;
                }
                _ => {}
            }
        }
        out
    }

    fn hears(&mut self, from: u8, message: Message, entries: &[Entry]) -> Effects {
        self.step(Input::Message { from: id(from), message: &message, entries })
    }

    fn chosen(&mut self, slot: u64, of: u8) {
        let content = Content::Payload(Descriptor { length: 1, digest: slot });
        let entry = Entry { ballot: ballot(of), content };
        self.hears(1, Message::Chosen { range: SlotRange::one(Slot(slot)) }, &[entry]);
    }

    fn promised(&mut self, end: LogEnd) {
        let message = Message::Promised {
            ballot: ballot(2),
            epoch: StorageEpoch::FIRST,
            end,
            committed: Slot::NONE,
        };
        self.hears(3, message, &[]);
    }
}

fn id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn ballot(node: u8) -> Ballot {
    Ballot::new(1, Some(id(node)))
}

// specs: P14
#[test]
fn a_candidate_that_learns_more_than_its_quorum_promised_gives_up() {
    let mut alone = Alone::candidate();
    assert_eq!(alone.node.role(), Role::Candidate);
    alone.chosen(1, 1);
    alone.promised(LogEnd::default());
    assert_eq!(alone.node.role(), Role::Backup { primary: None });
    assert_eq!((alone.node.committed(), alone.node.last()), (Slot(1), Slot(1)));
}

#[test]
fn a_candidate_with_the_log_that_its_quorum_promised_leads() {
    let mut alone = Alone::candidate();
    alone.promised(LogEnd::default());
    assert_eq!(alone.node.role(), Role::Primary);
}

// specs: P13
#[test]
fn an_isolated_primary_steps_down() {
    let mut alone = Alone::candidate();
    alone.promised(LogEnd::default());
    let elected = alone.now;
    while alone.node.role() == Role::Primary {
        alone.now = alone.node.deadline().max(alone.now);
        alone.step(Input::Wake);
        let election_timeout = Config::new(id(2), Members::first(3), 7).election_timeout;
        assert!(
            alone.now.since(elected) <= election_timeout.times(2),
            "the primary leads without a quorum"
        );
    }
    assert_eq!(alone.node.role(), Role::Backup { primary: None });
}

#[test]
fn a_node_that_falls_out_of_step_postpones_the_election_that_is_due_soon() {
    let mut alone = Alone::candidate();
    alone.promised(LogEnd::default());
    // Another node has begun an election: this one would soon ask for its votes back.
    let promised = Ballot::new(2, Some(id(3)));
    alone.hears(3, Message::Refused { ballot: ballot(2), promised }, &[]);
    assert_eq!(alone.node.role(), Role::Backup { primary: None });
    let election_timeout = Config::new(id(2), Members::first(3), 7).election_timeout;
    assert!(alone.node.deadline() < alone.now + election_timeout);
    alone.node.set_in_step(false);
    assert!(
        alone.node.deadline() >= alone.now + election_timeout.times(2),
        "the other has no time"
    );
    let postponed = alone.node.deadline();
    alone.node.set_in_step(true);
    alone.node.set_in_step(false);
    assert_eq!(alone.node.deadline(), postponed, "once is enough");
}

// specs: P8
#[test]
fn a_vote_without_the_adopted_entries_does_not_count() {
    let mut alone = Alone::candidate();
    alone.promised(LogEnd { ballot: ballot(1), slot: Slot(1) });
    let content = Content::Payload(Descriptor { length: 1, digest: 1 });
    let entry = Entry { ballot: ballot(1), content };
    let range = SlotRange::one(Slot(1));
    let copy = Message::Copy { ballot: ballot(2), range, before: Ballot::ZERO };
    alone.hears(3, copy, &[entry]);
    alone.step(Input::Durable { up_to: alone.written });
    assert_eq!((alone.node.role(), alone.node.last()), (Role::Primary, Slot(1)));
    let voted = |up_to| Message::Accepted {
        ballot: ballot(2),
        up_to,
        received: up_to,
        epoch: Some(StorageEpoch::FIRST),
        beat: 0,
    };
    alone.hears(3, voted(Slot::NONE), &[]);
    assert_eq!((alone.node.role(), alone.node.committed()), (Role::Primary, Slot::NONE));
    alone.hears(3, voted(Slot(1)), &[]);
    assert_eq!(alone.node.committed(), Slot(1));
}

// specs: P12
#[test]
fn a_pre_vote_changes_no_promise_and_a_primary_grants_none() {
    let mut alone = Alone::candidate();
    let promised = alone.node.ballot();
    let pre_vote = Message::PreVote { ballot: Ballot::new(9, Some(id(1))) };
    let granted = |out: &Effects| {
        out.iter().find_map(|effect| match effect {
            Effect::Send { message: Message::PreVoteReply { granted, .. }, .. } => Some(*granted),
            _ => None,
        })
    };
    let out = alone.hears(1, pre_vote, &[]);
    assert_eq!((granted(&out), alone.node.ballot()), (Some(true), promised));
    alone.promised(LogEnd::default());
    let out = alone.hears(1, pre_vote, &[]);
    assert_eq!((granted(&out), alone.node.ballot()), (Some(false), promised));
}
