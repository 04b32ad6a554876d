//! Storage that has gone back, as the others recall it.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Config, Content, Descriptor, DurableState, Effect, Effects, Entry, Input, LogEnd,
    Members, Message, Node, Record, Role, StorageEpoch, VotingStatus, WriteNumber,
};
use crane_core::time::{Duration, Instant};

const NONCE: u64 = 77;
const CHECK: Duration = Duration::from_millis(500);
const FIRST: StorageEpoch = StorageEpoch::FIRST;

fn id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn ballot(round: u64) -> Ballot {
    Ballot::new(round, Some(id(1)))
}

fn end(slot: u64) -> LogEnd {
    LogEnd { ballot: ballot(5), slot: Slot(slot) }
}

/// Node 2 of three, which starts with the promise of ballot 5 and three entries under it.
struct Starting {
    node: Node<8>,
    now: Instant,
    said: Vec<(NodeId, Message)>,
    written: Vec<Record>,
    last: WriteNumber,
}

impl Starting {
    fn new(voting: VotingStatus, storage_check: Duration) -> Self {
        let config = Config { storage_check, ..Config::new(id(2), Members::first(3), NONCE) };
        let stored = DurableState {
            promised: ballot(5),
            accepted: ballot(5),
            voting,
            committed: Slot(2),
            snapshot: None,
        };
        let content = Content::Payload(Descriptor { length: 1, digest: 1 });
        let log = (1..=3).map(|slot| (Slot(slot), Entry { ballot: ballot(5), content }));
        let now = Instant::from_micros(1_000_000);
        let node = Node::restore(config, now, stored, log);
        let (said, written, last) = (Vec::new(), Vec::new(), WriteNumber(0));
        let mut starting = Self { node, now, said, written, last };
        starting.step(Input::Wake);
        starting
    }

    fn voter() -> Self {
        Self::new(VotingStatus::Voter { epoch: FIRST }, CHECK)
    }

    fn step(&mut self, input: Input<'_>) {
        let mut out = Effects::new();
        self.node.step(self.now, input, &mut out);
        for effect in &out {
            match *effect {
                Effect::Send { to, message } => self.said.push((to, message)),
                Effect::Write { number, record } => {
                    self.written.push(record);
                    self.last = number;
                }
                _ => {}
            }
        }
    }

    fn hears(&mut self, from: u8, message: Message) {
        self.step(Input::Message { from: id(from), message: &message, entries: &[] });
    }

    fn hears_recollection(&mut self, from: u8, epoch: StorageEpoch, promised: Ballot, slot: u64) {
        let end = end(slot);
        self.hears(from, Message::Recalled { nonce: NONCE, epoch, promised, end });
    }

    fn asked(&self) -> Vec<u8> {
        let asks = |(_, message): &&(NodeId, Message)| matches!(message, Message::Recall { .. });
        self.said.iter().filter(asks).map(|(to, _)| to.number()).collect()
    }

    /// Returns whether the node promises a higher ballot.
    fn promises(&mut self) -> bool {
        self.said.clear();
        let next = Ballot::new(self.node.ballot().round() + 1, Some(id(3)));
        self.hears(3, Message::Prepare { ballot: next });
        self.step(Input::Durable { up_to: self.last });
        self.said.iter().any(|(_, message)| matches!(message, Message::Promised { .. }))
    }

    fn rejoins(&mut self) -> bool {
        let rejoins = |record: &Record| {
            matches!(record, Record::VotingStatus(VotingStatus::Rejoining { epoch })
                if *epoch != FIRST)
        };
        let written = self.written.iter().any(rejoins);
        assert_eq!(written, self.node.storage_gap().is_some());
        written
    }
}

#[test]
fn a_node_that_starts_votes_once_all_others_recall_no_more_than_it_has() {
    let mut starting = Starting::voter();
    assert_eq!(starting.asked(), [1, 3]);
    assert_eq!(starting.node.role(), Role::Recovering { primary: None });
    starting.hears_recollection(1, FIRST, ballot(5), 3);
    starting.hears(3, Message::PreVote { ballot: Ballot::new(9, Some(id(3))) });
    let granted = |(_, message): &(NodeId, Message)| {
        matches!(message, Message::PreVoteReply { granted: true, .. })
    };
    assert!(!starting.said.iter().any(granted) && !starting.promises());
    starting.hears_recollection(3, FIRST, Ballot::ZERO, 0);
    assert!(starting.node.votes() && starting.promises() && !starting.rejoins());
}

#[test]
fn a_node_that_lacks_a_part_of_its_votes_or_promises_rejoins() {
    for (promised, slot) in [(ballot(5), 4), (ballot(6), 3), (ballot(6), 0)] {
        for first in [1, 3] {
            let mut starting = Starting::voter();
            starting.hears_recollection(4 - first, FIRST, Ballot::ZERO, 0);
            starting.hears_recollection(first, FIRST, promised, slot);
            assert!(starting.rejoins() && !starting.promises(), "{promised} {slot}");
            starting.step(Input::Durable { up_to: starting.last });
            assert!(!starting.node.votes());
            let gap = starting.node.storage_gap().unwrap();
            assert_eq!((gap.by, gap.end, gap.recalled.promised), (id(first), end(3), promised));
        }
    }
}

#[test]
fn a_node_that_rejoins_or_begins_is_checked_as_well() {
    let rejoining = VotingStatus::Rejoining { epoch: StorageEpoch(9) };
    let mut starting = Starting::new(rejoining, CHECK);
    starting.hears_recollection(1, StorageEpoch(9), ballot(7), 0);
    assert!(starting.rejoins());
    let mut starting = Starting::new(VotingStatus::Ready, CHECK);
    starting.hears_recollection(1, FIRST, ballot(5), 9);
    assert!(starting.rejoins());
}

#[test]
fn answers_of_a_quorum_suffice_after_a_while() {
    let mut starting = Starting::voter();
    starting.now = starting.now + CHECK;
    starting.step(Input::Wake);
    assert!(!starting.node.votes(), "nobody has answered");
    starting.hears_recollection(1, FIRST, ballot(5), 3);
    assert!(starting.node.votes());
    // The third one is linked later, and knows more.
    starting.said.clear();
    starting.step(Input::LinkUp { node: id(3) });
    assert_eq!(starting.asked(), [3]);
    starting.hears_recollection(3, FIRST, ballot(8), 0);
    assert!(starting.rejoins() && !starting.node.votes());
}

#[test]
fn other_runs_and_other_epochs_do_not_count() {
    let mut starting = Starting::voter();
    let (epoch, promised) = (FIRST, ballot(9));
    starting.hears(1, Message::Recalled { nonce: NONCE + 1, epoch, promised, end: end(9) });
    assert!(!starting.rejoins());
    starting.hears_recollection(1, StorageEpoch(5), ballot(9), 9);
    starting.hears_recollection(3, FIRST, ballot(5), 3);
    assert!(starting.node.votes() && !starting.rejoins());
}

#[test]
fn storage_is_trusted_where_no_check_is_wanted() {
    let mut starting = Starting::new(VotingStatus::Voter { epoch: FIRST }, Duration::ZERO);
    assert!(starting.asked().is_empty() && starting.promises());
}

#[test]
fn a_primary_recalls_the_votes_that_it_has_counted() {
    let mut starting = Starting::new(VotingStatus::Voter { epoch: FIRST }, Duration::ZERO);
    let accepted = |up_to, epoch| {
        let (ballot, up_to) = (ballot(5), Slot(up_to));
        Message::Accepted { ballot, up_to, received: up_to, epoch, beat: 0 }
    };
    starting.hears(1, accepted(2, Some(FIRST)));
    starting.hears(1, accepted(9, None));
    starting.hears(1, accepted(8, Some(StorageEpoch(4))));
    starting.said.clear();
    starting.hears(1, Message::Recall { nonce: 3 });
    let answer = Message::Recalled { nonce: 3, epoch: FIRST, promised: ballot(5), end: end(2) };
    assert_eq!(starting.said, [(id(1), answer)]);
}
