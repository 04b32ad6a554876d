//! Reading entries again that have left the log's memory: for a server that is built again, and for
//! replicas that lack many entries.
//!
//! The log plans which records to read ([`Fetch`]), [`LogFiles`] reads them in a place that may
//! block, and the log takes them back. Segments are only appended to, and planned records are
//! durable. A segment may be deleted in the meantime, because the log was cut: that is an error of
//! its own ([`LogError::Missing`]), and none if the log starts behind the planned slots by then.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crane_core::id::Slot;
use crane_core::paxos::{self, Record};

use super::record::{self, StoredRecord};
use super::{Log, LogError, Lookup, Payload, RecordPosition, segment_path};

/// A plan to read records again, all of one segment, in the order of their slots.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fetch {
    /// By slot: the place of its record.
    pub(super) records: Vec<(Slot, RecordPosition)>,
    /// The offset behind the last record, if it is known.
    pub(super) end: Option<u32>,
}

impl Fetch {
    /// Returns the last slot.
    pub fn last(&self) -> Option<Slot> {
        self.records.last().map(|(slot, _)| *slot)
    }

    /// Returns whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the segment to read.
    pub fn segment(&self) -> Option<u32> {
        self.records.first().map(|(_, place)| place.segment)
    }

    /// Reads the records by calling `read`, which fills a space from an offset of the segment on.
    ///
    /// # Errors
    /// Returns the error of `read`; the inner result has an error if a record differs from what was
    /// written.
    pub fn read_by<E>(
        &self,
        read: impl Fn(&mut [u8], u64) -> Result<(), E>,
    ) -> Result<Result<Vec<FetchedRecord>, Misread>, E> {
        let Some((_, last)) = self.records.last().copied() else { return Ok(Ok(Vec::new())) };
        let start = self.records[0].1.offset;
        let bad = |place: RecordPosition| Misread { offset: place.offset as usize };
        let before = (last.offset - start) as usize;
        let known = match self.end {
            Some(end) => (end - start) as usize,
            None => before + record::RECORD_HEADER_BYTES,
        };
        let mut bytes = vec![0; known];
        read(&mut bytes, u64::from(start))?;
        if self.end.is_none() {
            // The last record's header gives its length.
            let length = bytes[before..].first_chunk().expect("a header has a length");
            let length = u32::from_le_bytes(*length) as usize;
            if length > record::BODY_BYTES_MAX {
                return Ok(Err(bad(last)));
            }
            bytes.resize(known + length, 0);
            read(&mut bytes[known..], u64::from(start) + known as u64)?;
        }
        let decoded = self.records.iter().map(|(slot, place)| {
            let at = (place.offset - start) as usize;
            let Ok(Some(found)) = record::decode(&bytes, at) else { return Err(bad(*place)) };
            match found.stored {
                StoredRecord::Paxos(Record::Accept { slot: there, entry }) if there == *slot => {
                    let payload = entry.content.payload().map(|_| Payload::from(found.payload));
                    Ok(FetchedRecord { slot: *slot, place: *place, entry, payload })
                }
                _ => Err(bad(*place)),
            }
        });
        Ok(decoded.collect())
    }
}

/// A record that differs from what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misread {
    /// The record's offset in the segment.
    pub offset: usize,
}

/// An entry that was read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedRecord {
    /// The slot of the entry.
    pub slot: Slot,
    /// The place from which it was read.
    pub(super) place: RecordPosition,
    /// The entry.
    pub entry: paxos::Entry,
    /// Its payload, if it has one.
    pub payload: Option<Payload>,
}

/// The segments of a log, for reading.
#[derive(Debug)]
pub struct LogFiles {
    directory: PathBuf,
    /// The segment that was read last.
    open: Option<(u32, File)>,
}

impl LogFiles {
    /// Creates a reader of the segments in this directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_path_buf(), open: None }
    }

    /// Reads records.
    ///
    /// # Errors
    /// Returns [`LogError`] if a record cannot be read or differs from what was written;
    /// [`LogError::Missing`] if the segment has been deleted.
    pub fn read(&mut self, fetch: &Fetch) -> Result<Vec<FetchedRecord>, LogError> {
        let Some(number) = fetch.segment() else { return Ok(Vec::new()) };
        let path = segment_path(&self.directory, number);
        let failed = |error| LogError::Io(path.clone(), error);
        if self.open.as_ref().is_none_or(|(segment, _)| *segment != number) {
            let file = File::open(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => LogError::Missing(path.clone()),
                _ => LogError::Io(path.clone(), error),
            })?;
            self.open = Some((number, file));
        }
        let (_, file) = self.open.as_ref().expect("just opened");
        let records = fetch.read_by(|space, offset| file.read_exact_at(space, offset));
        records
            .map_err(failed)?
            .map_err(|Misread { offset }| LogError::Damaged(path.clone(), offset))
    }

    /// Looks up a slot, and reads its entry if that is not in the log's memory. Returns `None` if
    /// the log does not have the slot.
    ///
    /// # Errors
    /// Returns errors as [`LogFiles::read`] does.
    pub fn look_up(
        &mut self,
        log: &mut Log,
        slot: Slot,
    ) -> Result<Option<(paxos::Entry, Option<Payload>)>, LogError> {
        if log.read(slot) == Lookup::OnDisk {
            let fetch = log.plan_fetch(slot);
            log.keep_fetched(self.read(&fetch)?);
        }
        match log.read(slot) {
            Lookup::Absent => Ok(None),
            Lookup::Found(entry, payload) => Ok(Some((entry, payload))),
            Lookup::OnDisk => unreachable!("it was just read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crane_core::paxos::WriteNumber;

    use super::super::disk::HostDisk;
    use super::super::segments::Segments;
    use super::super::tests::{Scratch, accept};
    use super::super::{FETCH_RECORDS, FETCHED_BYTES};
    use super::*;

    /// Creates a log of entries of this many bytes that was closed and opened, so that none of them
    /// is in memory.
    fn log_on_disk(scratch: &Scratch, count: u64, length: usize) -> Log {
        let mut log = Log::open(&scratch.0).unwrap().log;
        let payload = Payload::from(vec![1; length]);
        for slot in 1..=count {
            log.append(WriteNumber(slot), &accept(slot, 1, length), Some(payload.clone()));
        }
        let batch = log.take_batch().unwrap();
        Segments::new(&scratch.0, HostDisk, false).write(&batch).unwrap();
        Log::open(&scratch.0).unwrap().log
    }

    #[test]
    fn entries_are_read_again_with_those_behind_them() {
        let scratch = Scratch::new("fetch-run");
        let count = FETCH_RECORDS as u64 + 10;
        let mut log = log_on_disk(&scratch, count, 20);
        assert_eq!(log.read(Slot(3)), Lookup::OnDisk);
        let batch = LogFiles::new(&scratch.0).read(&log.plan_fetch(Slot(3))).unwrap();
        assert_eq!(batch.len(), FETCH_RECORDS);
        log.keep_fetched(batch);
        for slot in 3..3 + FETCH_RECORDS as u64 {
            let Lookup::Found(_, payload) = log.read(Slot(slot)) else { panic!("slot {slot}") };
            assert_eq!(payload.as_deref(), Some(&[1; 20][..]));
        }
        assert_eq!(log.read(Slot(2)), Lookup::OnDisk);
        assert_eq!(log.read(Slot(count)), Lookup::OnDisk);
        assert_eq!(log.read(Slot(count + 1)), Lookup::Absent);
        assert!(log.plan_fetch(Slot(count + 1)).is_empty());
    }

    #[test]
    fn what_was_read_again_is_bounded_and_the_last_batch_is_there() {
        let scratch = Scratch::new("fetch-bound");
        let length = 60_000;
        let count = 2 * FETCHED_BYTES as u64 / length as u64;
        let mut log = log_on_disk(&scratch, count, length);
        let mut files = LogFiles::new(&scratch.0);
        for slot in 1..=count {
            let (_, payload) = files.look_up(&mut log, Slot(slot)).unwrap().unwrap();
            assert_eq!(payload.map(|payload| payload.len()), Some(length));
        }
        assert!(log.fetched.bytes() <= FETCHED_BYTES && log.fetched.count() > 1);
        assert_eq!(log.read(Slot(1)), Lookup::OnDisk);
    }

    #[test]
    fn a_reader_asks_for_more_before_it_has_used_up_what_it_has() {
        let scratch = Scratch::new("fetch-ahead");
        let batch = FETCH_RECORDS as u64;
        let mut log = log_on_disk(&scratch, 3 * batch, 20);
        let mut files = LogFiles::new(&scratch.0);
        let mut asked = Vec::new();
        for slot in (1..=3 * batch).map(Slot) {
            if let Some(next) = log.read_ahead(slot) {
                log.keep_fetched(files.read(&log.plan_fetch(next)).unwrap());
                asked.push(slot.0);
            }
            assert!(matches!(log.read(slot), Lookup::Found(..)), "slot {slot}");
            log.forget_fetched([slot].into_iter());
            assert!(log.fetched.count() <= 2);
        }
        assert_eq!(asked, [1, 2, batch + 2]);
        log.forget_fetched(std::iter::empty());
        assert_eq!((log.fetched.count(), log.fetched.bytes()), (0, 0));
    }

    #[test]
    fn a_segment_that_was_deleted_is_named() {
        let scratch = Scratch::new("fetch-deleted");
        let log = log_on_disk(&scratch, 4, 20);
        let fetch = log.plan_fetch(Slot(1));
        assert_eq!(fetch.last(), Some(Slot(4)));
        std::fs::remove_file(segment_path(&scratch.0, 1)).unwrap();
        let error = LogFiles::new(&scratch.0).read(&fetch).unwrap_err();
        assert!(matches!(error, LogError::Missing(_)), "{error}");
    }

    #[test]
    fn an_entry_that_was_replaced_meanwhile_is_not_found() {
        let scratch = Scratch::new("fetch-replaced");
        let mut log = log_on_disk(&scratch, 4, 20);
        let fetch = log.plan_fetch(Slot(1));
        let replacement = Payload::from(vec![2; 30]);
        log.append(WriteNumber(1), &accept(3, 2, 30), Some(replacement.clone()));
        log.keep_fetched(LogFiles::new(&scratch.0).read(&fetch).unwrap());
        let Lookup::Found(entry, payload) = log.read(Slot(3)) else { panic!("it is in memory") };
        assert_eq!((entry.ballot.round(), payload), (2, Some(replacement)));
        assert!(matches!(log.read(Slot(2)), Lookup::Found(..)));
        assert_eq!(log.read(Slot(4)), Lookup::Absent);
    }
}
