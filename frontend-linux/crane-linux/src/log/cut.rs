//! Taking the front off a log: what it comes to is written down durably, then its oldest segments
//! go.
//!
//! This is also what a state transfer needs: whoever gets a checkpoint takes the log up to there
//! for granted, and starts from its snapshot.

use std::path::Path;

use crane_core::id::Slot;
use crane_core::paxos::{DurableState, Members, Record, SnapshotMeta, WriteNumber};

use super::disk::HostDisk;
use super::segments::Segments;
use super::{Front, Log, LogError, Lookup, Opened, reading, record};

impl Log {
    /// Begins a log in an empty directory, durably: with a voting status, and behind an snapshot if
    /// there is one, which comes with the genesis entry before it.
    ///
    /// # Errors
    /// The system's error. Half of it may be there: the voting status of a log without a front
    /// is not.
    pub fn begin(
        directory: &Path,
        stored: &DurableState,
        genesis: Option<(Slot, Vec<u8>)>,
    ) -> Result<(), String> {
        if let Some(snapshot) = stored.snapshot {
            let front = Front {
                segment: 1,
                offset: record::SEGMENT_HEADER_BYTES as u32,
                entry_kept: false,
                snapshot,
                promised: stored.promised,
                accepted: stored.accepted,
                voting: stored.voting,
                committed: stored.committed,
                genesis,
            };
            front.write(directory).map_err(|error| error.to_string())?;
        }
        let mut log = Self::open(directory).map_err(|error| error.to_string())?.log;
        log.append(WriteNumber(1), &Record::VotingStatus(stored.voting), None);
        let mut segments = Segments::new(directory, HostDisk, false);
        segments.write(&log.take_batch().expect("a record was appended"))?;
        segments.sync()
    }

    /// Returns what the log starts with when it starts behind the snapshot's slot, which must be in
    /// it, committed, and durable here (as
    /// [`paxos::Node::snapshot`](crane_core::paxos::Node::snapshot) is).
    ///
    /// # Panics
    /// Panics if the slot is not in the log, or is known to be another log's.
    pub fn front_behind(&self, snapshot: &SnapshotMeta) -> Front {
        let position = self.position(snapshot.slot).expect("the log is cut behind an entry of it");
        let place = self.index[position];
        if let Lookup::Found(entry, _) = self.read(snapshot.slot) {
            assert_eq!(entry.ballot, snapshot.ballot, "the snapshot is this log's");
        }
        let genesis = self.genesis.as_ref().filter(|(slot, _)| *slot <= snapshot.slot);
        Front {
            segment: place.segment,
            offset: place.offset,
            entry_kept: true,
            snapshot: *snapshot,
            promised: self.stored.promised,
            accepted: self.stored.accepted,
            voting: self.stored.voting,
            committed: self.stored.committed,
            genesis: genesis.map(|(slot, payload)| (*slot, payload.to_vec())),
        }
    }

    /// Lets the log start behind a front of [`Log::front_behind`] that has been written.
    pub fn start_behind(&mut self, front: &Front) {
        self.index = self.index.split_off((front.snapshot.slot.0 - self.front().0) as usize);
        while self.cache.len() > self.index.len() {
            let cached = self.cache.pop_front().expect("it has more than none");
            self.cache_bytes -= cached.payload.map_or(0, |payload| payload.len());
        }
        self.stored.snapshot = Some(front.snapshot);
    }

    /// Lets the log in `directory` start behind the snapshot's slot, and returns how many segments
    /// are gone. At every moment of it a crash leaves the log as it was, or as it is to be.
    ///
    /// # Errors
    /// Returns [`LogError`]; if the new front was written, it counts.
    ///
    /// # Panics
    /// As [`Log::front_behind`].
    pub fn cut(&mut self, directory: &Path, snapshot: &SnapshotMeta) -> Result<usize, LogError> {
        let front = self.front_behind(snapshot);
        front.write(directory)?;
        self.start_behind(&front);
        reading::delete_before(directory, front.segment)
    }
}

impl Opened {
    /// Returns what the log comes to up to this slot, which is in it; `members` are those of the
    /// beginning.
    ///
    /// # Panics
    /// Panics if the slot is not in the log.
    pub fn snapshot_at(&self, slot: Slot, members: Members) -> SnapshotMeta {
        let mut snapshot = self.stored.snapshot.unwrap_or_else(|| SnapshotMeta::genesis(members));
        let count = slot.0.checked_sub(snapshot.slot.0).expect("a slot of this log") as usize;
        for entry in &self.entries[..count] {
            snapshot.include(entry);
        }
        snapshot
    }
}
