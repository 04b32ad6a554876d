//! Entries that were read again, for as long as they are needed.
//!
//! Readers proceed slot by slot, and each batch is of successive slots, so a look-up takes one step
//! for each batch.

use std::collections::VecDeque;

use crane_core::id::Slot;

use super::RecordPosition;
use super::fetch::FetchedRecord;

/// Batches of entries that were read again, the oldest first.
#[derive(Debug, Default)]
pub(super) struct FetchedBatches {
    batches: VecDeque<FetchedBatch>,
    /// The bytes of all batches.
    bytes: usize,
}

/// Entries of successive slots; not empty.
#[derive(Debug)]
struct FetchedBatch {
    records: Vec<FetchedRecord>,
    bytes: usize,
}

impl FetchedBatch {
    fn first(&self) -> Slot {
        self.records[0].slot
    }

    fn at(&self, slot: Slot) -> Option<&FetchedRecord> {
        self.records.get(slot.0.checked_sub(self.first().0)? as usize)
    }
}

impl FetchedBatches {
    /// Returns the entry in a slot if it was read from this place.
    pub(super) fn find(&self, slot: Slot, place: RecordPosition) -> Option<&FetchedRecord> {
        let mut found = self.batches.iter().filter_map(|batch| batch.at(slot));
        found.find(|record| record.place == place)
    }

    /// Returns about how many bytes the entries in successive slots from this one on have, and the
    /// first slot behind them.
    pub(super) fn run_from(&self, mut slot: Slot) -> (usize, Slot) {
        let mut bytes = 0;
        while let Some(batch) = self.batches.iter().find(|batch| batch.at(slot).is_some()) {
            let count = batch.records.len();
            let left = count - (slot.0 - batch.first().0) as usize;
            bytes += batch.bytes * left / count;
            slot = Slot(slot.0 + left as u64);
        }
        (bytes, slot)
    }

    /// Keeps a batch, and drops the oldest ones beyond `limit` bytes. The last one stays.
    pub(super) fn keep(&mut self, records: Vec<FetchedRecord>, limit: usize) {
        if records.is_empty() {
            return;
        }
        let payloads = records.iter().filter_map(|record| record.payload.as_ref());
        let bytes =
            payloads.map(|payload| payload.len()).sum::<usize>() + size_of_val(&records[..]);
        self.bytes += bytes;
        self.batches.push_back(FetchedBatch { records, bytes });
        while self.bytes > limit && self.batches.len() > 1 {
            let oldest = self.batches.pop_front().expect("it has more than one");
            self.bytes -= oldest.bytes;
        }
    }

    /// Drops the batches for which `needed` returns false. It is given their first and last slot.
    pub(super) fn retain(&mut self, needed: impl Fn(Slot, Slot) -> bool) {
        let bytes = &mut self.bytes;
        self.batches.retain(|batch| {
            let first = batch.first();
            let keep = needed(first, Slot(first.0 + batch.records.len() as u64 - 1));
            *bytes -= if keep { 0 } else { batch.bytes };
            keep
        });
    }

    /// Returns the number of bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.batches.len()
    }
}
