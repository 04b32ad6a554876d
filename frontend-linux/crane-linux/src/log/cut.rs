//! Cutting the front off a log: its snapshot is written durably, then its oldest segments are
//! deleted.
//!
//! A state transfer needs the same: a replica that receives a checkpoint takes the log up to it as
//! given, and starts from its snapshot.

use std::path::Path;

use crane_core::id::Slot;
use crane_core::paxos::{DurableState, Members, Record, SnapshotMeta, WriteNumber};

use super::disk::HostDisk;
use super::segments::Segments;
use super::{Batch, Front, Log, LogError, Lookup, Opened, reading, record};

impl Log {
    /// Begins a log in an empty directory, durably: with a voting status, and after a snapshot if
    /// there is one, whose genesis entry is kept as well.
    ///
    /// # Errors
    /// Returns the system's error. A part of the log may have been written: the front comes first,
    /// the voting status last.
    pub fn begin(
        directory: &Path,
        stored: &DurableState,
        genesis: Option<(Slot, Vec<u8>)>,
    ) -> Result<(), String> {
        let (front, batch) = Self::beginning(stored, genesis);
        if let Some(front) = front {
            front.write(directory).map_err(|error| error.to_string())?;
        }
        let mut segments = Segments::new(directory, HostDisk, false);
        segments.write(&batch)?;
        segments.sync()
    }

    /// Returns how a log begins, as [`Log::begin`] writes it: its front, if it does not start at
    /// slot 1, and its first records.
    pub(crate) fn beginning(
        stored: &DurableState,
        genesis: Option<(Slot, Vec<u8>)>,
    ) -> (Option<Front>, Batch) {
        let front = stored.snapshot.map(|snapshot| Front {
            segment: 1,
            offset: record::SEGMENT_HEADER_BYTES as u32,
            entry_kept: false,
            snapshot,
            promised: stored.promised,
            accepted: stored.accepted,
            voting: stored.voting,
            committed: stored.committed,
            genesis,
        });
        let mut log = Self::new(front.as_ref());
        log.append(WriteNumber(1), &Record::VotingStatus(stored.voting), None);
        (front, log.take_batch().expect("a record was appended"))
    }

    /// Returns the front of the log if it were cut after the snapshot's slot, which must be in the
    /// log, committed, and durable here (as
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

    /// Makes the log start after a front of [`Log::front_behind`] that has been written.
    pub fn start_behind(&mut self, front: &Front) {
        self.index = self.index.split_off((front.snapshot.slot.0 - self.front().0) as usize);
        while self.cache.len() > self.index.len() {
            let cached = self.cache.pop_front().expect("it has more than none");
            self.cache_bytes -= cached.payload.map_or(0, |payload| payload.len());
        }
        self.stored.snapshot = Some(front.snapshot);
    }

    /// Makes the log in `directory` start after the snapshot's slot, and returns how many segments
    /// were deleted. A crash at any moment leaves either the old log or the new one.
    ///
    /// # Errors
    /// Returns [`LogError`]; the new front is valid if it was written.
    ///
    /// # Panics
    /// Panics as [`Log::front_behind`] does.
    pub fn cut(&mut self, directory: &Path, snapshot: &SnapshotMeta) -> Result<usize, LogError> {
        let front = self.front_behind(snapshot);
        front.write(directory)?;
        self.start_behind(&front);
        reading::delete_before(directory, front.segment)
    }
}

impl Opened {
    /// Returns the snapshot of the log up to this slot, which must be in the log; `members` are the
    /// first members of the group.
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
