//! Cases made by hand, in which the core's own code meets what simulated groups seldom bring about.
//!
//! Each panics if the core does something else than its rule demands. `ci/mutants` runs them with
//! each broken variant whose rule only such a case shows.

use crane_core::divergence::{Comparison, Difference, Verdict};
use crane_core::execution::admission::Admitted;
use crane_core::execution::socket::Bound;
use crane_core::execution::{Execution, Mark};
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::paxos::{
    Ballot, ChangeError, Config, Content, Descriptor, DurableState, Effect, Effects, Entry, Input,
    LogEnd, Members, Message, Node, NodeSet, Record, Role, SlotRange, StorageEpoch, VotingStatus,
    WriteNumber,
};
use crane_core::time::Instant;
use crane_core::wire::{Endpoint, Op};

/// All cases, with their names.
pub const ALL: &[(&str, fn())] = &[
    ("a late promise", p14_a_candidate_that_was_overtaken_gives_up),
    ("a promise of a lost storage", r4_a_promise_of_a_lost_storage_does_not_count),
    ("a vote of a lost storage", r4_a_vote_of_a_lost_storage_does_not_count),
    ("an epoch that the log has ended", r8_a_voter_whose_epoch_has_ended_rejoins),
    ("a new member of an old number", m4_a_new_member_has_nothing_of_an_old_one_of_its_number),
    ("a server that was outvoted", d1_a_server_that_took_another_for_wrong_is_outvoted),
    ("a late connection", e7_a_connection_of_a_retired_generation_is_not_admitted),
];

const FIRST: StorageEpoch = StorageEpoch::FIRST;
/// The epoch of a storage that took the place of a lost one.
const NEXT: StorageEpoch = StorageEpoch(9);

fn id(number: u8) -> NodeId {
    NodeId::new(number).expect("the number of a node")
}

fn entry(content: Content) -> Entry {
    Entry { ballot: Ballot::new(1, Some(id(1))), content }
}

/// Node 2 of three, which votes, alone with its messages. Its storage is quick.
struct Lone {
    node: Node<8>,
    now: Instant,
    said: Vec<Message>,
    records: Vec<Record>,
}

impl Lone {
    /// Starts the node with a log of which everything is committed.
    fn with_log(log: &[Entry]) -> Self {
        let accepted = log.last().map_or(Ballot::ZERO, |entry| entry.ballot);
        let stored = DurableState {
            promised: accepted,
            accepted,
            voting: VotingStatus::Voter { epoch: FIRST },
            committed: Slot(log.len() as u64),
            ..DurableState::BLANK
        };
        let config = Config::new(id(2), Members::first(3), 7);
        let entries = (1..).map(Slot).zip(log.iter().copied());
        let node = Node::restore(config, Instant::START, stored, entries);
        Self { now: node.deadline(), node, said: Vec::new(), records: Vec::new() }
    }

    /// Lets the node ask for promises, and returns its ballot.
    fn runs_for_primary(&mut self) -> Ballot {
        self.step(Input::Wake);
        let ballot = self.said.iter().find_map(|message| match message {
            Message::PreVote { ballot } => Some(*ballot),
            _ => None,
        });
        let ballot = ballot.expect("an election is due");
        let (promised, committed) = (Ballot::ZERO, Slot::NONE);
        self.hears(1, Message::PreVoteReply { ballot, granted: true, promised, committed });
        assert_eq!(self.node.role(), Role::Candidate);
        ballot
    }

    fn promises(&mut self, from: u8, ballot: Ballot, epoch: StorageEpoch) {
        let (end, committed) = (LogEnd::default(), Slot::NONE);
        self.hears(from, Message::Promised { ballot, epoch, end, committed });
    }

    fn changes(&mut self, members: Members) -> Result<Slot, ChangeError> {
        let mut out = Effects::new();
        let changed = self.node.change_members(self.now, members, &mut out);
        self.carry_out(&out);
        changed
    }

    fn learns(&mut self, slot: u64, content: Content) {
        let message = Message::Chosen { range: SlotRange::one(Slot(slot)) };
        let entries = [entry(content)];
        self.step(Input::Message { from: id(1), message: &message, entries: &entries });
    }

    fn hears(&mut self, from: u8, message: Message) {
        self.step(Input::Message { from: id(from), message: &message, entries: &[] });
    }

    fn step(&mut self, input: Input<'_>) {
        let mut out = Effects::new();
        self.node.step(self.now, input, &mut out);
        self.carry_out(&out);
    }

    fn carry_out(&mut self, out: &Effects) {
        let mut written = None;
        for effect in out {
            match *effect {
                Effect::Send { message, .. } => self.said.push(message),
                Effect::Write { number, record } => {
                    self.records.push(record);
                    written = Some(number);
                }
                Effect::Append { number, range } => {
                    let records: Vec<(WriteNumber, Record)> =
                        self.node.records(number, range).collect();
                    written = records.last().map(|(number, _)| *number);
                }
                _ => {}
            }
        }
        if let Some(up_to) = written {
            self.step(Input::Durable { up_to });
        }
    }
}

/// Both other nodes have elected the one of them, and chosen an entry, after one has promised.
fn p14_a_candidate_that_was_overtaken_gives_up() {
    let mut node = Lone::with_log(&[]);
    let ballot = node.runs_for_primary();
    node.learns(1, Content::Payload(Descriptor { length: 1, digest: 1 }));
    node.promises(3, ballot, FIRST);
    assert_eq!(node.node.role(), Role::Backup { primary: None }, "an overtaken candidate leads");
    assert_eq!((node.node.committed(), node.node.last()), (Slot(1), Slot(1)));
}

/// Node 3 has lost its storage, and this node knows it.
fn r4_a_promise_of_a_lost_storage_does_not_count() {
    let mut node = Lone::with_log(&[entry(Content::Rejoin { node: id(3), epoch: NEXT })]);
    let ballot = node.runs_for_primary();
    node.promises(3, ballot, FIRST);
    assert_eq!(node.node.role(), Role::Candidate, "a promise of a lost storage counts");
    node.promises(3, ballot, NEXT);
    assert_eq!(node.node.role(), Role::Primary);
}

fn r4_a_vote_of_a_lost_storage_does_not_count() {
    let mut node = Lone::with_log(&[entry(Content::Rejoin { node: id(3), epoch: NEXT })]);
    let ballot = node.runs_for_primary();
    node.promises(1, ballot, FIRST);
    let mut out = Effects::new();
    let payload = Descriptor { length: 1, digest: 1 };
    node.node.propose(node.now, &[payload], &mut out).expect("room for an entry");
    node.carry_out(&out);
    let vote = |epoch| {
        let (up_to, epoch) = (Slot(2), Some(epoch));
        Message::Accepted { ballot, up_to, received: up_to, epoch, beat: 0 }
    };
    node.hears(3, vote(FIRST));
    assert_eq!(node.node.committed(), Slot(1), "a vote of a lost storage counts");
    node.hears(3, vote(NEXT));
    assert_eq!(node.node.committed(), Slot(2));
}

/// Node 3 is removed, and another host gets its number.
fn m4_a_new_member_has_nothing_of_an_old_one_of_its_number() {
    let payload = Content::Payload(Descriptor { length: 1, digest: 1 });
    let mut node = Lone::with_log(&[entry(payload)]);
    let ballot = node.runs_for_primary();
    node.promises(1, ballot, FIRST);
    let vote = |up_to| {
        let (up_to, epoch) = (Slot(up_to), Some(FIRST));
        Message::Accepted { ballot, up_to, received: up_to, epoch, beat: 0 }
    };
    node.hears(3, vote(1));
    node.hears(1, vote(1));
    let both = NodeSet::first(3).without(id(3));
    let with = |learners| Members { voters: both, learners, witnesses: NodeSet::EMPTY };
    node.changes(with(NodeSet::EMPTY)).expect("node 1 is left");
    node.hears(1, vote(2));
    let new = NodeSet::EMPTY.with(id(3));
    node.changes(with(new)).expect("it is a learner");
    node.hears(1, vote(3));
    assert_eq!(node.node.committed(), Slot(3));
    let promoted = node.changes(Members::first(3));
    assert_eq!(promoted, Err(ChangeError::NotReady), "a vote of an old member counts");
    node.hears(3, vote(3));
    assert_eq!(node.changes(Members::first(3)), Ok(Slot(4)));
}

/// A copy of the node's storage that is older than its return was put back.
fn r8_a_voter_whose_epoch_has_ended_rejoins() {
    let mut node = Lone::with_log(&[]);
    node.learns(1, Content::Rejoin { node: id(2), epoch: NEXT });
    let begun = node.records.iter().find_map(|record| match record {
        Record::VotingStatus(VotingStatus::Rejoining { epoch }) => Some(*epoch),
        _ => None,
    });
    assert!(
        begun.is_some_and(|epoch| epoch != FIRST && epoch != NEXT),
        "an epoch outlives its end"
    );
    assert!(!node.node.votes());
}

/// This server has found the second one wrong by its own opinion. The third one knows better.
fn d1_a_server_that_took_another_for_wrong_is_outvoted() {
    let servers = NodeSet::first(3);
    let mark = |output| Mark { slot: Slot(6), clock: 9, schedule: 1, output };
    let mut comparison = Comparison::<4>::new();
    comparison.add(id(1), mark(1));
    comparison.add_late(id(2), mark(2));
    assert_eq!(comparison.verdict(Slot(6), servers, servers), Verdict::Open);
    comparison.add(id(3), mark(2));
    let wrong = Verdict::Wrong(NodeSet::EMPTY.with(id(1)), Difference::Output);
    assert_eq!(comparison.verdict(Slot(6), servers, servers), wrong, "a majority is not heard");
}

/// An op of a client comes to the log behind the end of its replica's generation.
fn e7_a_connection_of_a_retired_generation_is_not_admitted() {
    let mut execution: Execution<1, 4, 1> = Execution::new(100, 0);
    let at = Endpoint::from_ipv4([0; 4], 80);
    execution.sockets.listen(Bound::plain(at), 4).expect("room for a listener");
    let peer = Endpoint::from_ipv4([127, 0, 0, 1], 80);
    let connect = |generation, number| {
        let conn = ConnId { entry: id(1), generation: Generation(generation), number };
        Op::Connect { conn, local: peer, peer }
    };
    let retire = Op::Retire { node: id(1), generation: Generation(5) };
    let ops = [connect(5, 1), retire, connect(5, 2), connect(6, 1)];
    let mut admitted = Vec::new();
    execution.admit(Slot(1), 1, ops.into_iter(), 1, |_, outcome| {
        admitted.push(match outcome {
            Admitted::Acceptable(_) => 'c',
            Admitted::Retired(_) => 'r',
            _ => '-',
        });
    });
    assert_eq!(admitted.iter().collect::<String>(), "cr-c", "a connection follows its retirement");
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn the_core_keeps_its_rules_in_all_cases() {
        for (name, case) in ALL {
            println!("{name}");
            case();
        }
    }
}
