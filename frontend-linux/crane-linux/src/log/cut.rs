//! Taking the front off a log: what it comes to is written down durably, then its oldest segments go.
//!
//! This is also what a state transfer needs: whoever gets a checkpoint takes the log up to there for
//! granted, and starts from its anchor.

use std::path::Path;

use crane_core::id::Slot;
use crane_core::paxos::{Anchor, Members, Record, Stored, WriteNumber};

use super::disk::HostDisk;
use super::segments::Segments;
use super::{Front, Log, LogError, Opened, Payload, reading, record};

impl Log {
    /// Begins a log in an empty directory, durably: with a standing, and behind an anchor if there is
    /// one, which comes with the genesis entry before it.
    ///
    /// # Errors
    /// What the system refused. Half of it may be there: the standing of a log without a front is not.
    pub fn begin(
        directory: &Path,
        stored: &Stored,
        genesis: Option<(Slot, Vec<u8>)>,
    ) -> Result<(), String> {
        if let Some(anchor) = stored.anchor {
            let front = Front {
                segment: 1,
                offset: record::SEGMENT_HEADER_BYTES as u32,
                entry_kept: false,
                anchor,
                promised: stored.promised,
                accepted: stored.accepted,
                standing: stored.standing,
                committed: stored.committed,
                genesis,
            };
            front.write(directory).map_err(|error| error.to_string())?;
        }
        let mut log = Log::open(directory).map_err(|error| error.to_string())?.log;
        log.append(WriteNumber(1), &Record::Standing(stored.standing), None);
        let mut segments = Segments::new(directory, HostDisk, false);
        segments.write(&log.take_batch().expect("a record was appended"))?;
        segments.sync()
    }

    /// The genesis entry, also when the log starts after it; `None` if it is not known.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be read.
    pub fn genesis_payload(&mut self) -> Result<Option<Payload>, LogError> {
        let Some(slot) = self.genesis else { return Ok(None) };
        if let Some(kept) = &self.genesis_kept {
            return Ok(Some(kept.clone()));
        }
        Ok(self.read(slot)?.and_then(|(_, payload)| payload))
    }

    /// Lets the log start behind the anchor's slot, which must be in it, committed, and durable here
    /// (as [`paxos::Node::anchor`](crane_core::paxos::Node::anchor) is). Says how many segments are
    /// gone. At every moment of it a crash leaves the log as it was, or as it is to be.
    ///
    /// # Errors
    /// [`LogError`]; if the new front was written, it counts.
    ///
    /// # Panics
    /// When the slot is not in the log, or the anchor is another log's.
    pub fn cut(&mut self, anchor: &Anchor) -> Result<usize, LogError> {
        let front = self.front_behind(anchor)?;
        front.write(&self.directory)?;
        let keep = self.index.split_off((anchor.slot.0 - self.front().0) as usize);
        self.index = keep;
        while self.cache.len() > self.index.len() {
            let cached = self.cache.pop_front().expect("it has more than none");
            self.cache_bytes -= cached.payload.map_or(0, |payload| payload.len());
        }
        self.stored.anchor = Some(*anchor);
        self.genesis_kept = front.genesis.map(|(_, payload)| Payload::from(payload));
        self.reading = None;
        reading::delete_before(&self.directory, front.segment)
    }

    fn front_behind(&mut self, anchor: &Anchor) -> Result<Front, LogError> {
        let position = self.position(anchor.slot).expect("the log is cut behind an entry of it");
        let place = self.index[position];
        let (entry, _) = self.read(anchor.slot)?.expect("its place is known");
        assert_eq!(entry.ballot, anchor.ballot, "the anchor is this log's");
        let genesis = match self.genesis.filter(|slot| *slot <= anchor.slot) {
            Some(slot) => self.genesis_payload()?.map(|payload| (slot, payload.to_vec())),
            None => None,
        };
        Ok(Front {
            segment: place.segment,
            offset: place.offset,
            entry_kept: true,
            anchor: *anchor,
            promised: self.stored.promised,
            accepted: self.stored.accepted,
            standing: self.stored.standing,
            committed: self.stored.committed,
            genesis,
        })
    }
}

impl Opened {
    /// What the log comes to up to this slot, which is in it; `members` are those of the beginning.
    ///
    /// # Panics
    /// When the slot is not in the log.
    pub fn anchor_at(&self, slot: Slot, members: Members) -> Anchor {
        let mut anchor = self.stored.anchor.unwrap_or(Anchor::genesis(members));
        let count = slot.0.checked_sub(anchor.slot.0).expect("a slot of this log") as usize;
        for entry in &self.entries[..count] {
            anchor.include(entry);
        }
        anchor
    }
}
