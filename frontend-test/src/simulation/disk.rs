//! A simulated disk: records in the order of their writes, and how many of them are safe.
//!
//! A record is on the disk as a whole or not at all. The log's reader recognises a torn record by
//! its checksum and ignores it with all records after it, which its own tests cover.

use crane_core::id::Slot;
use crane_core::paxos::{
    DurableState, Entry, Record, SnapshotMeta, StorageEpoch, VotingStatus, WriteNumber,
};

use crane_core::mutants::{Mutant, broken};

use super::random::Random;

/// A payload's number, in place of its bytes.
pub type Payload = u64;

/// A node's stable storage.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    safe: Contents,
    unsafe_ones: Vec<(WriteNumber, Record, Option<Payload>)>,
    /// Whether a bit has flipped, which the next start finds.
    damaged: bool,
}

/// The faults of disks, per million syncs or writes.
#[derive(Clone, Copy, Default, Debug)]
pub struct DiskFaults {
    /// The number of syncs that fail.
    pub syncs: u64,
    /// The number of writes that are refused, by an error or a full disk.
    pub writes: u64,
}

/// The bounds of the time of a sync, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpeed {
    /// The shortest time of a sync.
    pub min: u64,
    /// The longest time of a sync.
    pub max: u64,
}

/// The content of a disk, read from its first record to its last.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The state for the core.
    pub stored: DurableState,
    /// The log's entries, from the slot after the snapshot.
    pub log: Vec<(Entry, Option<Payload>)>,
}

impl Default for Contents {
    fn default() -> Self {
        Self { stored: DurableState::BLANK, log: Vec::new() }
    }
}

impl Contents {
    /// Adds a record to the content.
    pub fn apply(&mut self, record: &Record, payload: Option<Payload>) {
        match *record {
            Record::Promise { ballot } => self.stored.promised = ballot,
            Record::Accept { slot, entry } => {
                let index = (slot.0 - self.cut().0) as usize - 1;
                assert!(index <= self.log.len(), "an entry was written beyond the end of the log");
                self.log.truncate(index);
                self.log.push((entry, payload));
                self.stored.accepted = self.stored.accepted.max(entry.ballot);
            }
            Record::Adopt { ballot, up_to } => {
                let length = (up_to.0 - self.cut().0) as usize;
                assert!(length <= self.log.len(), "adopted beyond the end of the log");
                self.log.truncate(length);
                self.stored.accepted = self.stored.accepted.max(ballot);
            }
            Record::VotingStatus(voting) => self.stored.voting = voting,
        }
    }

    /// Returns the last slot that is no longer in the log.
    pub fn cut(&self) -> Slot {
        self.stored.snapshot.map_or(Slot::NONE, |snapshot| snapshot.slot)
    }

    /// Returns the last slot of the log.
    pub fn last(&self) -> Slot {
        Slot(self.cut().0 + self.log.len() as u64)
    }

    /// Starts the log after `snapshot`. The end of the log stays if it continues from there.
    pub fn start_at(&mut self, snapshot: SnapshotMeta) {
        let goes_on =
            self.entry(snapshot.slot).is_some_and(|(entry, _)| entry.ballot == snapshot.ballot);
        if goes_on {
            self.log.drain(..(snapshot.slot.0 - self.cut().0) as usize);
        } else {
            self.log.clear();
        }
        self.stored.snapshot = Some(snapshot);
        self.stored.accepted = self.stored.accepted.max(snapshot.ballot);
    }

    /// Returns the entry in a slot, if it is in the log.
    pub fn entry(&self, slot: Slot) -> Option<&(Entry, Option<Payload>)> {
        self.log.get((slot.0.checked_sub(self.cut().0)? as usize).checked_sub(1)?)
    }

    /// Returns whether this storage votes, and votes for this entry.
    pub fn votes_for(&self, slot: Slot, entry: &Entry) -> bool {
        let kept = self.entry(slot).is_some_and(|(kept, _)| kept == entry);
        self.stored.voting.is_voter() && (kept || slot <= self.cut())
    }

    /// Returns the log in the form that the core takes.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, Entry)> {
        let first = self.cut().0 + 1;
        (first..).map(Slot).zip(self.log.iter().map(|(entry, _)| *entry))
    }
}

impl Disk {
    /// Appends a record, which is not safe yet.
    pub fn write(&mut self, number: WriteNumber, record: Record, payload: Option<Payload>) {
        self.unsafe_ones.push((number, record, payload));
    }

    /// Returns how many records are not safe.
    pub fn waiting(&self) -> usize {
        self.unsafe_ones.len()
    }

    /// Makes the first `count` of those safe, and returns the last of their writes.
    pub fn sync(&mut self, count: usize) -> Option<WriteNumber> {
        let count = count.min(self.unsafe_ones.len());
        let mut last = None;
        for (number, record, payload) in self.unsafe_ones.drain(..count) {
            self.safe.apply(&record, payload);
            last = Some(number);
        }
        last
    }

    /// Starts the log after `snapshot`, at once and safely (a new file, then a rename).
    pub fn start_at(&mut self, snapshot: SnapshotMeta) {
        assert!(self.unsafe_ones.is_empty(), "the program has stopped or has nothing to write");
        self.safe.start_at(snapshot);
    }

    /// Ends the program. The system below it still writes everything that it received.
    pub fn flush(&mut self) {
        self.sync(usize::MAX);
    }

    /// Fails the power or a sync. Some of the unsafe records are lost, always the last ones, and
    /// possibly from the middle of a record on.
    pub fn crash(&mut self, random: &mut Random) {
        let kept = random.range(0, self.unsafe_ones.len() as u64 + 1) as usize;
        self.sync(kept);
        self.unsafe_ones.clear();
    }

    /// Forgets records that the disk had to make safe. The others stay.
    pub fn forget(&mut self, count: usize) -> Option<WriteNumber> {
        let count = count.min(self.unsafe_ones.len());
        self.unsafe_ones.drain(..count).next_back().map(|(number, ..)| number)
    }

    /// Flips a bit at any place.
    pub fn damage(&mut self, random: &mut Random) {
        if broken(Mutant::DamageCutOff) {
            self.safe.log.truncate(random.range(0, self.safe.log.len() as u64 + 1) as usize);
        } else {
            self.damaged = true;
        }
    }

    /// Starts the program with the new nonce. A damaged log is set aside: the node starts with an
    /// empty log, whose first record says that the node has lost its storage. The node may have
    /// voted with the lost log, and must not wait for others to report that.
    pub fn open(&mut self, nonce: u64) -> &Contents {
        if self.damaged {
            self.wipe();
            self.safe.apply(
                &Record::VotingStatus(VotingStatus::Rejoining { epoch: StorageEpoch(nonce) }),
                None,
            );
        }
        &self.safe
    }

    /// Puts an old copy of the content in the place of the present one.
    pub fn put_back(&mut self, copy: Contents) {
        assert!(self.unsafe_ones.is_empty(), "the program has stopped");
        self.safe = copy;
    }

    /// Loses the whole disk.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }

    /// Returns the content that a start finds, which the worst crash would leave.
    pub fn safe(&self) -> &Contents {
        &self.safe
    }
}
