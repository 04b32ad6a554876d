//! A node as the rules see it: the records that it has written, those that survive a crash, and the
//! messages that it has received.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{
    Ballot, Content, Entry, LogEnd, Members, Record, Role, StorageEpoch, VotingStatus, WriteNumber,
};

use super::event::OpFact;

/// The content of a storage, with the whole log from slot 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Storage {
    pub(super) promised: Ballot,
    pub(super) accepted: Ballot,
    pub(super) voting: VotingStatus,
    pub(super) log: Vec<Entry>,
}

impl Storage {
    pub(super) fn last(&self) -> Slot {
        Slot(self.log.len() as u64)
    }

    pub(super) fn end(&self) -> LogEnd {
        LogEnd { ballot: self.accepted, slot: self.last() }
    }

    pub(super) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.log.get((slot.0 as usize).checked_sub(1)?)
    }

    /// Returns the ballot of the entry in a slot, or [`Ballot::ZERO`] if the slot has none.
    pub(super) fn ballot(&self, slot: Slot) -> Ballot {
        self.entry(slot).map_or(Ballot::ZERO, |entry| entry.ballot)
    }

    pub(super) fn apply(&mut self, record: &Record) {
        match *record {
            Record::Promise { ballot } => self.promised = ballot,
            Record::Accept { slot, entry } => {
                self.log.truncate(slot.0 as usize - 1);
                self.log.push(entry);
                self.accepted = self.accepted.max(entry.ballot);
            }
            Record::Adopt { ballot, up_to } => {
                self.log.truncate(up_to.0 as usize);
                self.accepted = self.accepted.max(ballot);
            }
            Record::VotingStatus(voting) => self.voting = voting,
        }
    }

    /// Returns the epoch of a node that the log names.
    pub(super) fn named_epoch(&self, of: NodeId) -> StorageEpoch {
        named_epoch(&self.log, of)
    }

    /// Returns the members by the log.
    pub(super) fn members(&self, first: Members) -> Members {
        members_of(&self.log, first).next().unwrap_or(first)
    }
}

/// Returns the members by these entries, the last ones first.
pub(super) fn members_of(log: &[Entry], first: Members) -> impl Iterator<Item = Members> {
    let changes = log.iter().rev().filter_map(|entry| match entry.content {
        Content::Change(members) => Some(members),
        _ => None,
    });
    changes.chain([first])
}

/// Returns the epoch of a node that these entries name last.
pub(super) fn named_epoch(log: &[Entry], of: NodeId) -> StorageEpoch {
    let named = log.iter().rev().find_map(|entry| match entry.content {
        Content::Rejoin { node, epoch } if node == of => Some(epoch),
        _ => None,
    });
    named.unwrap_or(StorageEpoch::FIRST)
}

/// The state of one node.
#[derive(Debug, Default)]
pub(super) struct Replica {
    pub(super) memory: Storage,
    pub(super) safe: Storage,
    pending: VecDeque<(WriteNumber, Record)>,
    pub(super) committed: Slot,
    pub(super) role: Option<Role>,
    pub(super) removed: bool,
    pub(super) removed_before: bool,

    // The values of all runs with one storage.
    pub(super) candidacies: HashSet<Ballot>,
    pub(super) epochs: HashSet<StorageEpoch>,
    pub(super) promise_said: Ballot,
    pub(super) vote_said: LogEnd,
    /// The highest promise and vote that have arrived.
    pub(super) heard: (Ballot, LogEnd),
    /// The promise and vote that had arrived when an old copy of the storage was put back.
    pub(super) forgotten: Option<(Ballot, LogEnd)>,

    // The values of this run.
    pub(super) nonce: u64,
    /// The promise and the log that storage held when the run began.
    pub(super) found: (Ballot, LogEnd),
    /// Whether another node recalls more than that.
    pub(super) has_gap: bool,
    pub(super) answers: [Option<VotingStatus>; NODES_MAX],
    pub(super) stale_answers: [Option<VotingStatus>; NODES_MAX],
    pub(super) group_exists: bool,
    pub(super) requests: HashSet<(NodeId, StorageEpoch)>,
    pub(super) promises: HashMap<NodeId, (Ballot, StorageEpoch, LogEnd)>,
    pub(super) votes: HashMap<(NodeId, Ballot, StorageEpoch), Slot>,

    // The values of the server and of the clients.
    pub(super) admitted: Option<Slot>,
    pub(super) dropped: bool,
    pub(super) generation: Option<Generation>,
    pub(super) kept: BTreeMap<u64, OpFact>,
    pub(super) forwarded: Option<(NodeId, u64)>,
}

impl Replica {
    pub(super) fn lose(&mut self) {
        let generation = self.generation;
        let epochs = std::mem::take(&mut self.epochs);
        *self = Self { generation, epochs, ..Self::default() };
    }

    /// Forgets what an old copy of the storage does not hold.
    pub(super) fn put_back(&mut self) {
        self.forgotten = Some(self.heard);
        (self.promise_said, self.vote_said) = Default::default();
        self.candidacies.clear();
    }

    pub(super) fn start(&mut self, nonce: u64, storage: Storage, committed: Slot) {
        // A candidate asks for promises only after its own promise is safe, so an election whose
        // promise was lost has not begun.
        let mut candidacies = std::mem::take(&mut self.candidacies);
        candidacies.retain(|ballot| *ballot <= storage.promised.max(storage.accepted));
        *self = Self {
            nonce,
            committed,
            found: (storage.promised.max(storage.accepted), storage.end()),
            heard: self.heard,
            forgotten: self.forgotten,
            memory: storage.clone(),
            safe: storage,
            candidacies,
            epochs: std::mem::take(&mut self.epochs),
            promise_said: self.promise_said,
            vote_said: self.vote_said,
            generation: self.generation,
            ..Self::default()
        };
    }

    pub(super) fn write(&mut self, number: WriteNumber, record: Record) {
        self.memory.apply(&record);
        self.pending.push_back((number, record));
    }

    pub(super) fn settle(&mut self, up_to: WriteNumber) {
        while self.pending.front().is_some_and(|(number, _)| *number <= up_to) {
            let (_, record) = self.pending.pop_front().expect("the front record");
            self.safe.apply(&record);
        }
    }

    /// Returns the entries that are both committed and safe.
    pub(super) fn decided(&self) -> &[Entry] {
        let up_to = self.committed.min(self.safe.last()).min(self.memory.last());
        &self.memory.log[..up_to.0 as usize]
    }

    pub(super) fn epoch(&self) -> Option<StorageEpoch> {
        match self.memory.voting {
            VotingStatus::Voter { epoch } => Some(epoch),
            _ => None,
        }
    }
}
