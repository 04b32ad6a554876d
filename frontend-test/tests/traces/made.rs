//! Traces made by hand, for rules that simulated groups seldom test.

use crane_core::execution::Mark;
use crane_core::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crane_core::paxos::{
    Ballot, Content, Descriptor, DurableState, Entry, LogEnd, Members, Message, Record, Role,
    SnapshotMeta, StorageEpoch, VotingStatus, WriteNumber,
};
use crane_test::specification::event::{Event, OpFact, Outcome, Trace};
use crane_test::specification::{Violation, validate};

const PAYLOAD: Content = Content::Payload(Descriptor { length: 1, digest: 1 });

/// A trace in which node 1 becomes primary of a group, and then does more.
struct Primary {
    first: Members,
    ballot: Ballot,
    number: WriteNumber,
    trace: Trace,
}

impl Primary {
    fn elected(first: Members) -> Self {
        Self::elected_with(first, Vec::new())
    }

    /// Returns the trace of a primary whose log has entries that are not committed.
    fn elected_with(first: Members, log: Vec<Entry>) -> Self {
        let accepted = log.last().map_or(Ballot::ZERO, |entry| entry.ballot);
        let (ballot, up_to) = (accepted.next_of(id(1)), Slot(log.len() as u64));
        let mut primary = Self { first, ballot, number: WriteNumber(0), trace: Vec::new() };
        let voting = VotingStatus::Voter { epoch: StorageEpoch::FIRST };
        let stored = DurableState { promised: accepted, voting, accepted, ..DurableState::BLANK };
        let generation = Generation(1);
        primary.does(Event::Started { nonce: 1, generation, stored, log });
        primary.writes(Record::Promise { ballot });
        for from in first.voters.without(id(1)).iter() {
            let (epoch, end, committed) = (StorageEpoch::FIRST, LogEnd::default(), Slot::NONE);
            let message = Message::Promised { ballot, epoch, end, committed };
            primary.does(Event::Received { from, message });
        }
        primary.writes(Record::Adopt { ballot, up_to });
        primary.does(Event::Role { role: Role::Primary });
        primary
    }

    fn does(&mut self, event: Event) {
        self.trace.push((id(1), event));
    }

    fn writes(&mut self, record: Record) {
        self.number.0 += 1;
        self.does(Event::Wrote { number: self.number, record });
        self.does(Event::Durable { up_to: self.number });
    }

    fn proposes(&mut self, slot: u64, content: Content) {
        let entry = Entry { ballot: self.ballot, content };
        self.writes(Record::Accept { slot: Slot(slot), entry });
    }

    fn hears(&mut self, from: u8, up_to: u64) {
        let (up_to, epoch) = (Slot(up_to), Some(StorageEpoch::FIRST));
        let ballot = self.ballot;
        let message = Message::Accepted { ballot, up_to, received: up_to, epoch, beat: 0 };
        self.does(Event::Received { from: id(from), message });
    }

    fn commits(&mut self, up_to: u64) {
        self.does(Event::Committed { up_to: Slot(up_to) });
    }

    fn beats(&mut self) {
        let message = Message::Heartbeat {
            ballot: self.ballot,
            committed: Slot::NONE,
            last: Slot::NONE,
            last_ballot: self.ballot,
            start: Slot::NONE,
            beat: 1,
        };
        self.does(Event::Said { to: id(2), message });
    }

    fn verdict(&self) -> Result<(), &'static str> {
        validate(self.first, &self.trace).map_err(|Violation { rule, .. }| rule)
    }
}

fn id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

/// Returns the trace of a primary that is alone at first, and makes node 2 a learner and a voter.
fn with_another(up_to: u64) -> Primary {
    let mut primary = Primary::elected(Members::first(1));
    let mut members = Members::first(1);
    members.learners = members.learners.with(id(2));
    primary.proposes(1, Content::Change(members));
    primary.commits(1);
    primary.hears(2, 1);
    primary.proposes(2, Content::Change(Members::first(2)));
    primary.hears(2, up_to);
    primary.commits(2);
    primary
}

#[test]
fn m2_a_change_is_committed_with_votes_of_the_new_members() {
    assert_eq!(with_another(2).verdict(), Ok(()));
    assert_eq!(with_another(1).verdict(), Err("M2"));
}

#[test]
fn m5_a_removed_primary_must_not_lead() {
    let mut primary = with_another(2);
    let mut members = Members::first(2);
    members.voters = members.voters.without(id(1));
    primary.proposes(3, Content::Change(members));
    primary.hears(2, 3);
    primary.beats();
    primary.commits(3);
    primary.hears(2, 3);
    assert_eq!(primary.verdict(), Ok(()));
    primary.beats();
    assert_eq!(primary.verdict(), Err("M5"));
}

#[test]
fn m5_a_node_may_lead_before_its_addition_is_committed() {
    let mut first = Members::first(2);
    (first.voters, first.learners) = (first.voters.without(id(1)), first.voters.without(id(2)));
    let ballot = Ballot::ZERO.next_of(id(2));
    let entry = Entry { ballot, content: Content::Change(Members::first(2)) };
    let mut primary = Primary::elected_with(first, vec![entry]);
    primary.beats();
    assert_eq!(primary.verdict(), Ok(()));
}

#[test]
fn r3_any_vote_shows_that_the_group_exists() {
    let verdict = |epoch| {
        let (ballot, slot) = (Ballot::ZERO.next_of(id(1)), Slot(1));
        let vote = Message::Accepted { ballot, up_to: slot, received: slot, epoch, beat: 0 };
        let (generation, log) = (Generation(1), Vec::new());
        let started = Event::Started { nonce: 1, generation, stored: DurableState::BLANK, log };
        let heard = Event::Received { from: id(2), message: vote };
        let record = Record::VotingStatus(VotingStatus::Rejoining { epoch: StorageEpoch(1) });
        let wrote = Event::Wrote { number: WriteNumber(1), record };
        let trace: Trace = [started, heard, wrote].map(|event| (id(1), event)).to_vec();
        validate(Members::first(3), &trace).map_err(|Violation { rule, .. }| rule)
    };
    assert_eq!((verdict(Some(StorageEpoch::FIRST)), verdict(None)), (Ok(()), Ok(())));
}

#[test]
fn p1_a_ballot_whose_promise_a_crash_lost_may_be_used_again() {
    let ballot = Ballot::ZERO.next_of(id(1));
    let voting = VotingStatus::Voter { epoch: StorageEpoch::FIRST };
    let verdict = |safe| {
        let promised = if safe { ballot } else { Ballot::ZERO };
        let stored = |promised| DurableState { promised, voting, ..DurableState::BLANK };
        let starts = |range, promised| Event::Started {
            nonce: range,
            generation: Generation(range),
            stored: stored(promised),
            log: Vec::new(),
        };
        let number = WriteNumber(1);
        let wrote = || Event::Wrote { number, record: Record::Promise { ballot } };
        let mut trace = vec![starts(1, Ballot::ZERO), wrote()];
        if safe {
            trace.push(Event::Durable { up_to: number });
        }
        trace.extend([starts(2, promised), wrote()]);
        let trace: Trace = trace.into_iter().map(|event| (id(1), event)).collect();
        validate(Members::first(3), &trace).map_err(|Violation { rule, .. }| rule)
    };
    assert_eq!((verdict(false), verdict(true)), (Ok(()), Err("P2")));
}

#[test]
fn p1_a_promise_without_a_vote_is_no_candidacy() {
    let verdict = |epoch| {
        let mut primary = Primary::elected(Members::first(3));
        let ballot = primary.ballot;
        let voting = match epoch {
            StorageEpoch::FIRST => VotingStatus::Voter { epoch },
            epoch => VotingStatus::Rejoining { epoch },
        };
        let stored = DurableState { voting, ..DurableState::BLANK };
        let (generation, log) = (Generation(2), Vec::new());
        primary.does(Event::Lost);
        primary.does(Event::Started { nonce: 2, generation, stored, log });
        primary.writes(Record::Promise { ballot });
        primary.verdict()
    };
    assert_eq!((verdict(StorageEpoch(5)), verdict(StorageEpoch::FIRST)), (Ok(()), Err("P1")));
}

#[test]
fn p2_the_ballot_at_a_checkpoints_end_counts_as_promised() {
    let (first, ballot) = (Members::first(1), Ballot::ZERO.next_of(id(1)));
    let verdict = |accepted| {
        let mut primary = Primary::elected(first);
        primary.proposes(1, PAYLOAD);
        primary.commits(1);
        let snapshot = Some(SnapshotMeta { slot: Slot(1), ballot, ..SnapshotMeta::genesis(first) });
        let stored = DurableState { accepted, snapshot, ..DurableState::BLANK };
        let (generation, log) = (Generation(1), Vec::new());
        let started = Event::Started { nonce: 2, generation, stored, log };
        let record = Record::Accept { slot: Slot(2), entry: Entry { ballot, content: PAYLOAD } };
        let wrote = Event::Wrote { number: WriteNumber(1), record };
        primary.trace.extend([started, wrote].map(|event| (id(2), event)));
        primary.verdict()
    };
    assert_eq!((verdict(ballot), verdict(Ballot::ZERO)), (Ok(()), Err("P2")));
}

#[test]
fn p3_a_late_promise_to_a_primary_may_lack_safe_entries() {
    let verdict = |leads| {
        let mut primary = Primary::elected(Members::first(3));
        let other = Ballot::new(primary.ballot.round(), Some(id(2)));
        let ballot = if leads { primary.ballot } else { other };
        primary.proposes(1, PAYLOAD);
        if !leads {
            primary.writes(Record::Promise { ballot });
        }
        let entry = Entry { ballot: primary.ballot, content: PAYLOAD };
        let record = Record::Accept { slot: Slot(2), entry };
        primary.does(Event::Role { role: Role::Backup { primary: None } });
        primary.does(Event::Wrote { number: WriteNumber(99), record });
        let end = LogEnd { ballot: primary.ballot, slot: Slot(2) };
        let promised =
            Message::Promised { ballot, epoch: StorageEpoch::FIRST, end, committed: Slot::NONE };
        primary.does(Event::Said { to: id(2), message: promised });
        primary.verdict()
    };
    assert_eq!((verdict(true), verdict(false)), (Ok(()), Err("P3")));
}

#[test]
fn m3_an_epoch_that_ended_still_counts_as_having_adopted_the_log() {
    let asks = |primary: &mut Primary, epoch| {
        let (nonce, voting) = (epoch, VotingStatus::Rejoining { epoch: StorageEpoch(epoch) });
        let message = Message::Hello { nonce, voting, named: StorageEpoch::FIRST };
        primary.does(Event::Received { from: id(2), message });
    };
    let verdict = |commits| {
        let mut primary = Primary::elected(Members::first(2));
        primary.proposes(1, PAYLOAD);
        primary.hears(2, 1);
        if commits {
            primary.commits(1);
        }
        for (slot, epoch) in [(2, 5), (3, 6)] {
            asks(&mut primary, epoch);
            primary.proposes(slot, Content::Rejoin { node: id(2), epoch: StorageEpoch(epoch) });
        }
        primary.verdict()
    };
    assert_eq!((verdict(true), verdict(false)), (Ok(()), Err("M3")));
}

#[test]
fn e5_an_op_behind_a_lost_op_is_freed() {
    let connect =
        |number| OpFact::Connect(ConnId { entry: id(1), generation: Generation(1), number });
    let verdict = |op, committed| {
        let mut primary = Primary::elected(Members::first(1));
        primary.does(Event::Kept { ticket: 0, op });
        primary.proposes(1, PAYLOAD);
        let ops = vec![committed];
        primary.does(Event::Script { slot: Slot(1), timestamp: 1, grant: 1, ops });
        primary.commits(1);
        primary.does(Event::Freed { ticket: 0 });
        primary.verdict()
    };
    assert_eq!(verdict(connect(1), connect(1)), Ok(()));
    assert_eq!(verdict(connect(2), connect(2)), Err("E5"));
    assert_eq!(verdict(connect(1), connect(2)), Err("E4"));
}

#[test]
fn i2_a_connection_of_an_earlier_incarnation_is_admitted() {
    let verdict = |generation| {
        let conn = ConnId { entry: id(1), generation: Generation(generation), number: 1 };
        let mut primary = Primary::elected(Members::first(1));
        let all = [
            (OpFact::Restart(Incarnation(2)), Outcome::Counted),
            (OpFact::Connect(conn), Outcome::Connected),
        ];
        for (slot, (op, outcome)) in (1..).zip(all) {
            primary.proposes(slot, PAYLOAD);
            let ops = vec![op];
            primary.does(Event::Script { slot: Slot(slot), timestamp: slot, grant: 1, ops });
            primary.commits(slot);
            let mark = Mark { slot: Slot(slot), clock: 0, schedule: 0, output: 0 };
            primary.does(Event::Admitted { mark, agreed: slot, outcomes: vec![outcome] });
        }
        primary.verdict()
    };
    assert_eq!(verdict(Generation::PER_INCARNATION + 1), Ok(()));
    assert_eq!(verdict(Generation::PER_INCARNATION), Err("I2"));
    assert_eq!(verdict(1), Err("I2"));
}

/// Returns the trace of a node whose promise has arrived, and that begins again with a storage from
/// before it.
fn with_old_copy() -> Primary {
    let first = Members::first(3);
    let mut node = Primary::elected(first);
    let (ballot, epoch) = (node.ballot.next_of(id(2)), StorageEpoch::FIRST);
    let voting = VotingStatus::Voter { epoch };
    let found = DurableState {
        promised: node.ballot,
        voting,
        accepted: node.ballot,
        ..DurableState::BLANK
    };
    node.writes(Record::Promise { ballot });
    let end = LogEnd { ballot: node.ballot, slot: Slot::NONE };
    let message = Message::Promised { ballot, epoch, end, committed: Slot::NONE };
    node.does(Event::Said { to: id(2), message });
    node.trace.push((id(2), Event::Received { from: id(1), message }));
    node.does(Event::PutBack);
    node.number = WriteNumber(0);
    let generation = Generation(2);
    node.does(Event::Started { nonce: 2, generation, stored: found, log: Vec::new() });
    node
}

fn hears_what_is_recalled(node: &mut Primary) {
    let (promised, end) = (node.ballot.next_of(id(2)), LogEnd::default());
    let message = Message::Recalled { nonce: 2, epoch: StorageEpoch::FIRST, promised, end };
    node.does(Event::Received { from: id(2), message });
}

#[test]
fn r11_an_old_copy_of_a_storage_needs_a_new_epoch() {
    let rejoins = |epoch| {
        let mut node = with_old_copy();
        hears_what_is_recalled(&mut node);
        node.writes(Record::VotingStatus(VotingStatus::Rejoining { epoch }));
        node.verdict()
    };
    assert_eq!(rejoins(StorageEpoch(7)), Ok(()));
    assert_eq!(rejoins(StorageEpoch::FIRST), Err("R11"));
}

#[test]
fn r11_an_old_copy_of_a_storage_does_not_vote() {
    let mut node = with_old_copy();
    let ballot = node.ballot;
    let end = LogEnd { ballot, slot: Slot::NONE };
    let epoch = StorageEpoch::FIRST;
    let message = Message::Promised { ballot, epoch, end, committed: Slot::NONE };
    node.does(Event::Said { to: id(3), message });
    assert_eq!(node.verdict(), Err("R11"));
}
