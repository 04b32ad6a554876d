//! Opening a log: from its files to the log and the durable state.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use crane_core::id::Slot;
use crane_core::paxos::{self, Ballot, Record, WriteNumber};

use super::fetched::FetchedBatches;
use super::reading::End;
use super::record::{self, Bad, Found, StoredRecord};
use super::{Front, Log, LogError, Payload, RecordPosition, disk, journal, reading};

/// The results of [`Log::open`].
#[derive(Debug)]
pub struct Opened {
    /// The log, ready to be appended to.
    pub log: Log,
    /// The durable state from which agreement starts.
    pub stored: paxos::DurableState,
    /// The entries, from slot 1 or from the one after the snapshot.
    pub entries: Vec<paxos::Entry>,
    /// The highest timestamp of an entry after genesis; 0 if there is none.
    pub last_timestamp: u64,
    /// The number of bytes that were cut off because a crash had left them torn.
    pub torn_bytes: u64,
    /// Whether nothing was ever written to the log.
    pub is_new: bool,
}

impl Log {
    /// Creates an empty log, which starts after this front.
    pub fn new(front: Option<&Front>) -> Self {
        let genesis = front.and_then(|front| front.genesis.as_ref());
        Self {
            stored: front.map_or(paxos::DurableState::BLANK, Front::stored),
            index: Vec::new(),
            genesis: genesis.map(|(slot, payload)| (*slot, Payload::from(&payload[..]))),
            cache: VecDeque::new(),
            cache_bytes: 0,
            fetched: FetchedBatches::default(),
            segment: 1,
            offset: record::SEGMENT_HEADER_BYTES,
            chunks: Vec::new(),
            written: WriteNumber(0),
            durable: WriteNumber(0),
            synced: RecordPosition { segment: 0, offset: 0 },
            unsynced: VecDeque::new(),
            syncs: true,
        }
    }

    /// Reads the log in `directory`, which must exist; an empty directory is a log without entries.
    /// Records that only a journal in memory has are written to its files first. Torn records at
    /// the end are cut off, and segments that an interrupted cut has left are deleted.
    ///
    /// # Errors
    /// Returns [`LogError`]; no record has been cut off in that case.
    pub fn open(directory: &Path) -> Result<Opened, LogError> {
        journal::recover(directory)?;
        let front = Front::read(directory)?;
        let numbers = reading::segment_numbers(directory)?;
        let (opened, end) =
            Self::read_from(directory, front.as_ref(), numbers, disk::read_settled)?;
        let failed = |error| LogError::Io(directory.to_path_buf(), error);
        for path in &end.headless {
            truncate(path, 0).map_err(failed)?;
        }
        if end.torn_bytes > 0 && end.headless.is_empty() {
            truncate(&super::segment_path(directory, end.segment), end.offset as u64)
                .map_err(failed)?;
        }
        if let Some(front) = &front {
            reading::delete_before(directory, front.segment)?;
        }
        Ok(opened)
    }

    /// Reads the log of a directory as [`Log::open`] does, by `read` from the segments with these
    /// numbers, which rise. It changes nothing: the caller cuts off what is torn at the end that is
    /// returned as well.
    ///
    /// # Errors
    /// Returns [`LogError`].
    pub(crate) fn read_from(
        directory: &Path,
        front: Option<&Front>,
        numbers: Vec<u32>,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<(Opened, End), LogError> {
        let mut reader = LogReader::new(front);
        let end = reading::read_segments(directory, numbers, front, read, |segment, found| {
            reader.found(segment, found)
        })?;
        let LogReader { mut log, entries, records, last_timestamp, .. } = reader;
        (log.segment, log.offset) = (end.segment, end.offset);
        log.synced = RecordPosition { segment: end.segment, offset: end.offset as u32 };
        let opened = Opened {
            stored: log.stored,
            log,
            entries,
            last_timestamp,
            torn_bytes: end.torn_bytes as u64,
            is_new: records == 0 && front.is_none(),
        };
        Ok((opened, end))
    }
}

fn truncate(path: &Path, length: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// A log that is being read.
struct LogReader {
    log: Log,
    entries: Vec<paxos::Entry>,
    records: usize,
    last_timestamp: u64,
    /// Whether the first record must be the last entry of the front's snapshot.
    front_due: bool,
    promised: Ballot,
}

impl LogReader {
    fn new(front: Option<&Front>) -> Self {
        let log = Log::new(front);
        Self {
            log,
            entries: Vec::new(),
            records: 0,
            last_timestamp: 0,
            front_due: front.is_some_and(|front| front.entry_kept),
            promised: Ballot::ZERO,
        }
    }

    /// Takes in a record. A record that cannot follow the ones before it is damage, because records
    /// between them are missing.
    fn found(&mut self, segment: u32, found: &Found<'_>) -> Result<(), Bad> {
        let damaged = Err(Bad::Damaged { offset: found.offset });
        self.records += 1;
        let log = &mut self.log;
        if std::mem::take(&mut self.front_due) {
            let front = log.stored.snapshot.map(|snapshot| (snapshot.slot, snapshot.ballot));
            return match found.stored {
                StoredRecord::Paxos(Record::Accept { slot, entry })
                    if front == Some((slot, entry.ballot)) =>
                {
                    Ok(())
                }
                _ => damaged,
            };
        }
        let record = match found.stored {
            StoredRecord::Closed => return Ok(()),
            StoredRecord::Committed(slot) => {
                log.stored.committed = log.stored.committed.max(slot);
                return Ok(());
            }
            StoredRecord::Paxos(record) => record,
        };
        match record {
            Record::Promise { ballot } if ballot <= self.promised => return damaged,
            Record::Promise { ballot } => self.promised = ballot,
            Record::VotingStatus(_) => {}
            Record::Adopt { up_to, .. } if up_to > log.last() || up_to < log.front() => {
                return damaged;
            }
            Record::Adopt { up_to, .. } => self.cut_from(up_to.next()),
            Record::Accept { slot, .. } if slot > log.last().next() || slot <= log.front() => {
                return damaged;
            }
            Record::Accept { slot, entry } => {
                self.cut_from(slot);
                self.entries.push(entry);
                self.log.index.push(RecordPosition { segment, offset: found.offset as u32 });
                let payload = entry.content.payload().map(|_| found.payload);
                self.note_payload(slot, payload);
            }
        }
        self.log.note(&record);
        Ok(())
    }

    fn note_payload(&mut self, slot: Slot, payload: Option<&[u8]>) {
        let Some(payload) = payload else { return };
        if self.log.genesis.is_none() {
            return self.log.note_genesis(slot, Some(&Payload::from(payload)));
        }
        // An entry's payload begins with its timestamp; replaced entries count as well.
        if let Some(timestamp) = payload.first_chunk::<8>() {
            self.last_timestamp = self.last_timestamp.max(u64::from_le_bytes(*timestamp));
        }
    }

    fn cut_from(&mut self, slot: Slot) {
        self.log.cut_from(slot);
        self.entries.truncate(self.log.index.len());
    }
}
