//! The replicated log on this host's disk: which record stands where, and what was accepted in a
//! slot.
//!
//! | file | thought |
//! |---|---|
//! | `record` | the bytes of a segment (pure) |
//! | `reading` | which files make up a log, where it ends, and what is damage |
//! | `front` | where a log starts whose older segments are gone |
//! | `open` | from files to a log, and to what paxos starts from |
//! | `damage` | what becomes of a log that is damaged |
//! | `cut` | taking the front off |
//! | `disk`, `segments`, `storage` | what is asked of files; writing them; the storage thread |
//! | `error` | what stands in the way of reading |
//! | here | an index from slots to places, a cache of payloads, the next write's place |

mod cut;
pub mod damage;
pub mod disk;
mod error;
mod front;
mod open;
pub mod reading;
pub mod record;
mod segments;
pub mod storage;

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crane_core::id::Slot;
use crane_core::paxos::{self, Record, WriteNumber};

use record::StoredRecord;

pub use error::LogError;
pub use front::Front;
pub use open::Opened;

/// A segment is closed when it has this many bytes. (Tests write several.)
pub const SEGMENT_BYTES: usize = if cfg!(test) { 1 << 20 } else { 32 << 20 };

/// Payloads that are kept in memory: this many bytes, and whatever is not durable yet.
const CACHE_BYTES: usize = 32 << 20;

/// A payload, shared by the log, the links and the script.
pub type Payload = Rc<[u8]>;

/// What paxos knows of a payload.
pub fn describe(payload: &[u8]) -> paxos::Descriptor {
    paxos::Descriptor { length: payload.len() as u32, digest: xxhash_rust::xxh3::xxh3_64(payload) }
}

#[derive(Clone, Copy, Debug)]
struct RecordPosition {
    segment: u32,
    offset: u32,
}

#[derive(Debug)]
struct Cached {
    entry: paxos::Entry,
    payload: Option<Payload>,
    write: WriteNumber,
}

/// Bytes for one place in one segment.
#[derive(Debug)]
pub struct WriteChunk {
    /// Which segment.
    pub segment: u32,
    /// Where in it.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// What is to be written and synced together.
#[derive(Debug)]
pub struct Batch {
    /// In their order.
    pub chunks: Vec<WriteChunk>,
    /// The last write of paxos among them.
    pub up_to: WriteNumber,
}

/// The log. Appended records are collected until [`Log::take_batch`].
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    /// What the records come to so far.
    stored: paxos::DurableState,
    /// From the slot after the front's on.
    index: Vec<RecordPosition>,
    genesis: Option<Slot>,
    /// The genesis entry, if the log starts after it.
    genesis_kept: Option<Payload>,
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    segment: u32,
    offset: usize,
    chunks: Vec<WriteChunk>,
    written: WriteNumber,
    durable: WriteNumber,
    /// Up to where the disk has the log.
    synced: RecordPosition,
    /// Where batches end whose writes are not durable yet.
    unsynced: VecDeque<(WriteNumber, RecordPosition)>,
    /// Durable means on the disk.
    syncs: bool,
    reading: Option<(u32, File)>,
}

/// The path of a segment.
pub fn segment_path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.log"))
}

impl Log {
    /// What is durable is not synced: records make no claim about the disk.
    pub fn without_syncs(&mut self) {
        self.syncs = false;
    }

    /// Appends a record. `payload` belongs to an accepted entry that has one.
    pub fn append(&mut self, number: WriteNumber, record: &Record, payload: Option<Payload>) {
        self.written = number;
        let bytes = payload.as_deref().unwrap_or_default();
        let place = self.put(&StoredRecord::Paxos(*record), bytes);
        self.note(record);
        match record {
            Record::Accept { slot, entry } => {
                self.cut_from(*slot);
                assert_eq!(*slot, self.last().next(), "the log has no gaps");
                self.index.push(place);
                self.note_genesis(*slot, entry);
                self.cache_bytes += bytes.len();
                self.cache.push_back(Cached { entry: *entry, payload, write: number });
                self.shrink_cache();
            }
            Record::Adopt { up_to, .. } => self.cut_from(up_to.next()),
            Record::Promise { .. } | Record::VotingStatus(_) => {}
        }
    }

    /// Appends the hint that all slots up to this one are committed.
    pub fn append_committed(&mut self, slot: Slot) {
        self.stored.committed = slot;
        self.put(&StoredRecord::Committed(slot), &[]);
    }

    /// What has been appended since the last time, if anything.
    pub fn take_batch(&mut self) -> Option<Batch> {
        let chunks = std::mem::take(&mut self.chunks);
        let known = self.unsynced.back().map_or(self.durable, |(number, _)| *number);
        if self.written > known {
            let end = RecordPosition { segment: self.segment, offset: self.offset as u32 };
            self.unsynced.push_back((self.written, end));
        }
        (!chunks.is_empty()).then_some(Batch { chunks, up_to: self.written })
    }

    /// All writes up to this one can be read from the disk.
    pub fn durable(&mut self, up_to: WriteNumber) {
        self.durable = self.durable.max(up_to);
        while self.unsynced.front().is_some_and(|(number, _)| *number <= up_to) {
            (_, self.synced) = self.unsynced.pop_front().expect("it has a front");
        }
        self.shrink_cache();
    }

    /// The log starts after this slot.
    pub fn front(&self) -> Slot {
        self.stored.snapshot.map_or(Slot::NONE, |snapshot| snapshot.slot)
    }

    fn last(&self) -> Slot {
        Slot(self.front().0 + self.index.len() as u64)
    }

    fn position(&self, slot: Slot) -> Option<usize> {
        let position = slot.0.checked_sub(self.front().0 + 1)? as usize;
        (position < self.index.len()).then_some(position)
    }

    /// Where the genesis entry stands: the first one with a payload.
    pub fn genesis(&self) -> Option<Slot> {
        self.genesis
    }

    /// The entry in a slot, and its payload if it has one; `None` if the slot is not in the log.
    ///
    /// # Errors
    /// [`LogError`] when it is not in memory and cannot be read.
    pub fn read(
        &mut self,
        slot: Slot,
    ) -> Result<Option<(paxos::Entry, Option<Payload>)>, LogError> {
        let Some(position) = self.position(slot) else { return Ok(None) };
        let first_cached = self.index.len() - self.cache.len();
        if let Some(cached) =
            position.checked_sub(first_cached).and_then(|cached| self.cache.get(cached))
        {
            return Ok(Some((cached.entry, cached.payload.clone())));
        }
        self.read_from_disk(slot, self.index[position]).map(Some)
    }

    fn put(&mut self, stored: &StoredRecord, payload: &[u8]) -> RecordPosition {
        if self.offset >= SEGMENT_BYTES {
            self.put_here(&StoredRecord::Closed, &[]);
            self.segment += 1;
            self.offset = record::SEGMENT_HEADER_BYTES;
        }
        self.put_here(stored, payload)
    }

    fn put_here(&mut self, stored: &StoredRecord, payload: &[u8]) -> RecordPosition {
        let place = RecordPosition { segment: self.segment, offset: self.offset as u32 };
        let known = self.syncs && self.synced.segment == self.segment;
        let synced = if known { self.synced.offset } else { 0 };
        let continues = self.chunks.last().is_some_and(|chunk| chunk.segment == self.segment);
        if !continues {
            let offset = self.offset as u64;
            self.chunks.push(WriteChunk { segment: self.segment, offset, bytes: Vec::new() });
        }
        let chunk = self.chunks.last_mut().expect("just made sure");
        let before = chunk.bytes.len();
        record::encode(stored, payload, synced, &mut chunk.bytes);
        self.offset += chunk.bytes.len() - before;
        place
    }

    /// Keeps what a record means for the whole.
    fn note(&mut self, record: &Record) {
        let stored = &mut self.stored;
        match *record {
            Record::Promise { ballot } => stored.promised = stored.promised.max(ballot),
            Record::VotingStatus(voting) => stored.voting = voting,
            Record::Adopt { ballot, .. } => stored.accepted = stored.accepted.max(ballot),
            Record::Accept { entry, .. } => stored.accepted = stored.accepted.max(entry.ballot),
        }
    }

    fn cut_from(&mut self, slot: Slot) {
        let keep = slot.0.saturating_sub(self.front().0 + 1) as usize;
        self.genesis = self.genesis.filter(|genesis| *genesis < slot);
        while self.index.len() > keep {
            self.index.pop();
            if let Some(cached) = self.cache.pop_back() {
                self.cache_bytes -= cached.payload.map_or(0, |payload| payload.len());
            }
        }
    }

    fn note_genesis(&mut self, slot: Slot, entry: &paxos::Entry) {
        if self.genesis.is_none() && entry.content.payload().is_some() {
            self.genesis = Some(slot);
        }
    }

    fn shrink_cache(&mut self) {
        while self.cache_bytes > CACHE_BYTES
            && self.cache.front().is_some_and(|cached| cached.write <= self.durable)
        {
            let cached = self.cache.pop_front().expect("it has a front");
            self.cache_bytes -= cached.payload.map_or(0, |payload| payload.len());
        }
    }

    fn read_from_disk(
        &mut self,
        slot: Slot,
        place: RecordPosition,
    ) -> Result<(paxos::Entry, Option<Payload>), LogError> {
        let path = segment_path(&self.directory, place.segment);
        let failed = |error| LogError::Io(path.clone(), error);
        if self.reading.as_ref().is_none_or(|(segment, _)| *segment != place.segment) {
            self.reading = Some((place.segment, File::open(&path).map_err(failed)?));
        }
        let (_, file) = self.reading.as_ref().expect("just opened");
        let damaged = || LogError::Damaged(path.clone(), place.offset as usize);
        let mut bytes = vec![0; record::RECORD_HEADER_BYTES];
        file.read_exact_at(&mut bytes, u64::from(place.offset)).map_err(failed)?;
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length > record::BODY_BYTES_MAX {
            return Err(damaged());
        }
        bytes.resize(record::RECORD_HEADER_BYTES + length, 0);
        file.read_exact_at(&mut bytes, u64::from(place.offset)).map_err(failed)?;
        match record::decode(&bytes, 0) {
            Ok(Some(found)) => match found.stored {
                StoredRecord::Paxos(Record::Accept { slot: there, entry }) if there == slot => {
                    let payload = entry.content.payload().map(|_| Payload::from(found.payload));
                    Ok((entry, payload))
                }
                _ => Err(damaged()),
            },
            _ => Err(damaged()),
        }
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
