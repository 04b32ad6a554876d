//! A member of a group with its storage. The tests play the other members.

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Config, Content, Descriptor, DurableState, Effect, Effects, Entry, Input, LogEnd,
    Members, Message, Node, Record, Role, SlotRange, StorageEpoch, VotingStatus, WriteNumber,
};
use crane_core::time::Instant;

/// A voter that has kept its storage since the group's creation.
pub(crate) struct Member<const WINDOW: usize> {
    pub node: Node<WINDOW>,
    pub now: Instant,
    written: WriteNumber,
    /// The log in the member's storage.
    pub log: Vec<Entry>,
}

impl<const WINDOW: usize> Member<WINDOW> {
    /// Returns node `me` of a group of `count` nodes.
    pub(crate) fn new(me: u8, count: usize) -> Self {
        Self::with(Config::new(id(me), Members::first(count), 7))
    }

    fn with(config: Config) -> Self {
        let voting = VotingStatus::Voter { epoch: StorageEpoch::FIRST };
        let stored = DurableState { voting, ..DurableState::BLANK };
        let node = Node::restore(config, Instant::START, stored, []);
        Self { node, now: Instant::START, written: WriteNumber(0), log: Vec::new() }
    }

    /// Returns node 1 of a group of `count` nodes as primary, after the others reported empty logs.
    pub(crate) fn leading(count: usize, bytes_undecided_max: u64) -> Self {
        Self::leading_of(Members::first(count), bytes_undecided_max)
    }

    /// Does the same as [`leading`](Self::leading) with any members.
    pub(crate) fn leading_of(members: Members, bytes_undecided_max: u64) -> Self {
        let mut member =
            Self::with(Config { bytes_undecided_max, ..Config::new(id(1), members, 7) });
        member.start_election();
        for other in members.voters.without(id(1)).iter() {
            member.promised(other.number(), LogEnd::default());
        }
        member.durable();
        assert_eq!(member.node.role(), Role::Primary);
        for other in members.all().without(id(1)).iter() {
            member.acknowledged(other.number(), 0);
        }
        member
    }

    /// Makes the node ask for promises under its next ballot.
    pub(crate) fn start_election(&mut self) {
        self.now = self.now.max(self.node.deadline());
        let (ballot, promised) = (self.node.ballot().next_of(self.node.me()), Ballot::ZERO);
        self.step(Input::Wake);
        for other in self.node.members().voters.without(self.node.me()).iter() {
            let committed = Slot::NONE;
            let support = Message::PreVoteReply { ballot, granted: true, promised, committed };
            self.hears(other.number(), support, &[]);
        }
        self.durable();
        assert_eq!(self.node.ballot(), ballot, "the node has not started an election");
    }

    /// Gives the node a member's promise with this log.
    pub(crate) fn promised(&mut self, from: u8, end: LogEnd) -> Effects {
        let (ballot, epoch, committed) = (self.node.ballot(), StorageEpoch::FIRST, Slot::NONE);
        self.hears(from, Message::Promised { ballot, epoch, end, committed }, &[])
    }

    /// Gives the node a member's acknowledgement of the durable log up to a slot.
    pub(crate) fn acknowledged(&mut self, from: u8, up_to: u64) -> Effects {
        let (ballot, epoch) = (self.node.ballot(), Some(StorageEpoch::FIRST));
        let (up_to, received) = (Slot(up_to), Slot(up_to));
        self.hears(from, Message::Accepted { ballot, up_to, received, epoch, beat: 1 }, &[])
    }

    /// Proposes payloads of these lengths. Returns how many were taken.
    pub(crate) fn propose(&mut self, lengths: &[u32]) -> (usize, Effects) {
        let mut out = Effects::new();
        let descriptors: Vec<_> =
            lengths.iter().map(|length| Descriptor { length: *length, digest: 9 }).collect();
        let taken =
            self.node.propose(self.now, &descriptors, &mut out).expect("room for a payload");
        self.store(&out);
        (taken, out)
    }

    /// Gives the node entries from a slot on, sent by node 1 under its ballot of round 5.
    pub(crate) fn accepts(&mut self, first: u64, before: Ballot, entries: &[Entry]) -> Effects {
        self.accepts_under(ballot(5), first, before, entries)
    }

    /// Does the same as [`accepts`](Self::accepts) under any ballot of node 1.
    pub(crate) fn accepts_under(
        &mut self,
        ballot: Ballot,
        first: u64,
        before: Ballot,
        entries: &[Entry],
    ) -> Effects {
        let range = SlotRange { first: Slot(first), count: entries.len() as u32 };
        let (committed, start) = (Slot::NONE, Slot::NONE);
        let message = Message::Accept { ballot, range, before, committed, start };
        self.hears(1, message, entries)
    }

    pub(crate) fn hears(&mut self, from: u8, message: Message, entries: &[Entry]) -> Effects {
        self.step(Input::Message { from: id(from), message: &message, entries })
    }

    /// Reports all writes up to this one as durable.
    pub(crate) fn durable_up_to(&mut self, number: u64) -> Effects {
        self.step(Input::Durable { up_to: WriteNumber(number) })
    }

    /// Reports all writes as durable.
    pub(crate) fn durable(&mut self) -> Effects {
        self.step(Input::Durable { up_to: self.written })
    }

    pub(crate) fn step(&mut self, input: Input<'_>) -> Effects {
        let mut out = Effects::new();
        self.node.step(self.now, input, &mut out);
        self.store(&out);
        out
    }

    /// Applies records as storage does.
    fn store(&mut self, out: &Effects) {
        for effect in out {
            match *effect {
                Effect::Write { number, record } => self.write(number, record),
                Effect::Append { number, range } => {
                    let records: Vec<_> = self.node.records(number, range).collect();
                    assert_eq!(records.len(), range.count as usize);
                    records.into_iter().for_each(|(number, record)| self.write(number, record));
                }
                _ => {}
            }
        }
        assert_eq!(
            Slot(self.log.len() as u64),
            self.node.last(),
            "the storage lacks a part of the log"
        );
    }

    fn write(&mut self, number: WriteNumber, record: Record) {
        assert_eq!(number.0, self.written.0 + 1, "a gap between write numbers");
        self.written = number;
        match record {
            Record::Accept { slot, entry } => {
                assert!(
                    slot > Slot::NONE && slot.0 <= self.log.len() as u64 + 1,
                    "a gap in the log"
                );
                self.log.truncate(slot.0 as usize - 1);
                self.log.push(entry);
            }
            Record::Adopt { up_to, .. } => self.log.truncate(up_to.0 as usize),
            Record::Promise { .. } | Record::VotingStatus(_) => {}
        }
    }
}

pub(crate) fn id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

/// Returns the ballot of node 1 in a round.
pub(crate) fn ballot(round: u64) -> Ballot {
    Ballot::new(round, Some(id(1)))
}

/// Returns this many payloads that were first proposed in a round of node 1.
pub(crate) fn payloads(round: u64, count: usize) -> Vec<Entry> {
    let content = |digest| Content::Payload(Descriptor { length: 1, digest });
    let digests = (0..count as u64).map(|number| round * 1000 + number);
    digests.map(|digest| Entry { ballot: ballot(round), content: content(digest) }).collect()
}

/// Returns this many entries without payloads, in rounds of node 1 from 1 on.
pub(crate) fn own_entries(count: u64) -> Vec<Entry> {
    let content = |number: u64| match number % 3 {
        0 => Content::Change(Members { learners: [id(7)].into_iter().collect(), ..voters(6) }),
        1 => Content::Rejoin { node: id(number as u8 % 7 + 1), epoch: StorageEpoch(number) },
        _ => Content::Change(voters(7)),
    };
    let entry = |number| Entry { ballot: ballot(number), content: content(number) };
    (1..=count).map(entry).collect()
}

fn voters(count: usize) -> Members {
    Members::first(count)
}

/// Returns the ranges that are sent to a member, in their order.
pub(crate) fn ranges_to(out: &Effects, member: u8) -> Vec<(u64, u32)> {
    let sent = out.iter().filter_map(|effect| match effect {
        Effect::Send { to, message } if *to == id(member) => message.range(),
        _ => None,
    });
    sent.map(|range| (range.first.0, range.count)).collect()
}

/// Returns the ranges that are appended, in their order.
pub(crate) fn appended(out: &Effects) -> Vec<(u64, u32)> {
    let appended = out.iter().filter_map(|effect| match effect {
        Effect::Append { range, .. } => Some((range.first.0, range.count)),
        _ => None,
    });
    appended.collect()
}

/// Returns the slots of each acknowledgement: durable up to the first, received up to the second.
pub(crate) fn acknowledgements(out: &Effects) -> Vec<(u64, u64)> {
    let said = out.iter().filter_map(|effect| match *effect {
        Effect::Send { message: Message::Accepted { up_to, received, .. }, .. } => {
            Some((up_to.0, received.0))
        }
        _ => None,
    });
    said.collect()
}
