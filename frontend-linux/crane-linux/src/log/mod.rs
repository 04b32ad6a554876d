//! The replicated log on this host's disk: the place of each record, and the entry that was
//! accepted in each slot.
//!
//! | file | thought |
//! |---|---|
//! | `record` | the bytes of a segment (pure) |
//! | `reading` | which files form a log, where it ends, and what is damage |
//! | `front` | where a log starts whose older segments are gone |
//! | `open` | from files to a log and a durable state |
//! | `fetch` | reading entries again that have left the log's memory |
//! | `fetched` | these entries, for as long as they are needed |
//! | `damage` | the treatment of a damaged log |
//! | `cut` | taking the front off |
//! | `disk`, `segments`, `storage` | the interface to files; writing them; the storage thread |
//! | `journal` | what is durable in memory, and not in the files yet |
//! | `error`, `args` | errors of reading; the command line of `crane-linux log` |
//! | here | an index from slots to places, a cache of payloads, the next write's place |
//!
//! The [`Log`] itself touches no file. It gives records as bytes for a place ([`Log::take_batch`]),
//! and plans the reading of entries that are not in memory ([`Log::plan_fetch`]), which come back
//! by [`Log::keep_fetched`].

pub(crate) mod args;
mod cut;
pub(crate) mod damage;
pub(crate) mod disk;
mod error;
pub(crate) mod fetch;
mod fetched;
mod front;
mod journal;
mod open;
pub(crate) mod reading;
pub mod record;
pub(crate) mod segments;
pub(crate) mod storage;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crane_core::id::Slot;
use crane_core::paxos::{self, Record, WriteNumber};

use fetch::{Fetch, FetchedRecord};
use fetched::FetchedBatches;
use record::StoredRecord;

pub use error::LogError;
pub use front::Front;
pub use open::Opened;

/// The size at which a segment is closed. (Tests use several segments.)
pub(crate) const SEGMENT_BYTES: usize = if crate::LIMITS_ARE_SMALL { 1 << 20 } else { 32 << 20 };

/// The number of bytes of payloads that are kept in memory, apart from those that are not durable.
const CACHE_BYTES: usize = if crate::LIMITS_ARE_SMALL { 1 << 16 } else { 32 << 20 };

/// The number of bytes of entries that were read again and are kept, apart from the last batch.
const FETCHED_BYTES: usize = 8 << 20;

/// The largest number of records that are read again at once.
pub(crate) const FETCH_RECORDS: usize = if crate::LIMITS_ARE_SMALL { 64 } else { 1024 };

/// The number of bytes of a segment that are read again at once, apart from the last record.
const FETCH_BYTES: u32 = 1 << 20;

/// A payload, shared by the log, the links, the script, and the thread that reads the log again.
pub(crate) type Payload = Arc<[u8]>;

/// Returns the descriptor of a payload.
pub fn describe(payload: &[u8]) -> paxos::Descriptor {
    paxos::Descriptor { length: payload.len() as u32, digest: xxhash_rust::xxh3::xxh3_64(payload) }
}

/// The place of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordPosition {
    segment: u32,
    offset: u32,
}

/// The result of a look-up of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// The slot is not in the log.
    Absent,
    /// The slot's entry, with its payload if it has one.
    Found(paxos::Entry, Option<Payload>),
    /// The slot's entry is in the files only; [`Log::plan_fetch`] plans its reading.
    OnDisk,
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
    /// The number of the segment.
    pub segment: u32,
    /// The offset in the segment.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Bytes that are written and synced together.
#[derive(Debug)]
pub struct Batch {
    /// The bytes in their order.
    pub chunks: Vec<WriteChunk>,
    /// The last write of agreement among them.
    pub up_to: WriteNumber,
    /// The number of the sync that is due for them.
    pub sync: u64,
}

/// A sync that has returned: everything that was written before is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The last write of agreement before the sync.
    pub up_to: WriteNumber,
    /// The number of the last batch, [`Batch::sync`].
    pub sync: u64,
}

impl Batch {
    /// Returns the sync that makes this batch durable.
    pub fn synced(&self) -> Synced {
        Synced { up_to: self.up_to, sync: self.sync }
    }
}

/// The log. Appended records are collected until [`Log::take_batch`].
#[derive(Debug)]
pub struct Log {
    /// The durable state after the records so far.
    stored: paxos::DurableState,
    /// The places of the records, from the slot after the front on.
    index: Vec<RecordPosition>,
    /// The first entry with a payload, also if the log starts after it.
    genesis: Option<(Slot, Payload)>,
    /// The last entries of the index: all that are not durable, and older ones as far as there is
    /// room.
    cache: VecDeque<Cached>,
    /// The bytes of the payloads in `cache`.
    cache_bytes: usize,
    /// Entries that were read again.
    fetched: FetchedBatches,
    segment: u32,
    offset: usize,
    chunks: Vec<WriteChunk>,
    written: WriteNumber,
    durable: WriteNumber,
    /// The place up to which the log is on the disk.
    synced: RecordPosition,
    /// The ends of the batches whose writes are not durable yet.
    unsynced: VecDeque<(WriteNumber, RecordPosition)>,
    /// Whether durable means on the disk.
    syncs: bool,
}

/// The path of a segment.
pub fn segment_path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.log"))
}

impl Log {
    /// Makes records count as durable without a sync, so that they make no claim about the disk.
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
                self.note_genesis(*slot, payload.as_ref());
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

    /// Takes the records that were appended since the last call, if there are any.
    pub fn take_batch(&mut self) -> Option<Batch> {
        let chunks = std::mem::take(&mut self.chunks);
        let known = self.unsynced.back().map_or(self.durable, |(number, _)| *number);
        if self.written > known {
            let end = RecordPosition { segment: self.segment, offset: self.offset as u32 };
            self.unsynced.push_back((self.written, end));
        }
        (!chunks.is_empty()).then_some(Batch { chunks, up_to: self.written, sync: 0 })
    }

    /// Records that all writes up to this one are durable, and can be read from the files.
    pub fn durable(&mut self, up_to: WriteNumber) {
        self.durable = self.durable.max(up_to);
        while self.unsynced.front().is_some_and(|(number, _)| *number <= up_to) {
            (_, self.synced) = self.unsynced.pop_front().expect("it has a front");
        }
        self.shrink_cache();
    }

    /// Returns the slot after which the log starts.
    pub fn front(&self) -> Slot {
        self.stored.snapshot.map_or(Slot::NONE, |snapshot| snapshot.slot)
    }

    /// Returns about how many bytes were ever written to the log.
    pub fn written_bytes(&self) -> u64 {
        u64::from(self.segment) * SEGMENT_BYTES as u64 + self.offset as u64
    }

    /// Returns about how many bytes the log has on the disk.
    pub fn bytes(&self) -> u64 {
        let first = self.index.first().map_or(self.segment, |place| place.segment);
        u64::from(self.segment - first) * SEGMENT_BYTES as u64 + self.offset as u64
    }

    /// Returns the state of agreement at the front, if the log does not start at slot 1.
    pub fn snapshot(&self) -> Option<paxos::SnapshotMeta> {
        self.stored.snapshot
    }

    fn last(&self) -> Slot {
        Slot(self.front().0 + self.index.len() as u64)
    }

    fn position(&self, slot: Slot) -> Option<usize> {
        let position = slot.0.checked_sub(self.front().0 + 1)? as usize;
        (position < self.index.len()).then_some(position)
    }

    /// Returns the slot of the genesis entry, which is the first entry with a payload.
    pub fn genesis(&self) -> Option<Slot> {
        self.genesis.as_ref().map(|(slot, _)| *slot)
    }

    /// The genesis entry's payload.
    pub fn genesis_payload(&self) -> Option<&Payload> {
        self.genesis.as_ref().map(|(_, payload)| payload)
    }

    /// Looks up the entry in a slot.
    pub fn read(&self, slot: Slot) -> Lookup {
        let Some(position) = self.position(slot) else { return Lookup::Absent };
        let first_cached = self.index.len() - self.cache.len();
        if let Some(cached) = position.checked_sub(first_cached) {
            let cached = &self.cache[cached];
            return Lookup::Found(cached.entry, cached.payload.clone());
        }
        match self.fetched.find(slot, self.index[position]) {
            Some(FetchedRecord { entry, payload, .. }) => Lookup::Found(*entry, payload.clone()),
            None => Lookup::OnDisk,
        }
    }

    /// Returns whether the entry in a slot has left the memory of what was appended last, so that
    /// it comes from the disk.
    pub fn is_old(&self, slot: Slot) -> bool {
        self.position(slot).is_some_and(|at| at < self.index.len() - self.cache.len())
    }

    /// Returns the first slot from this one on that is [`Lookup::OnDisk`], if a reader that is
    /// there should ask for it now, before it has used up what was read again.
    pub fn read_ahead(&self, slot: Slot) -> Option<Slot> {
        let (bytes, next) = self.fetched.run_from(slot);
        let few = next.0 - slot.0 < FETCH_RECORDS as u64 && bytes < FETCH_BYTES as usize;
        (few && self.is_old(next)).then_some(next)
    }

    /// Plans to read a slot again that is [`Lookup::OnDisk`], with slots after it that lie near and
    /// will be needed next. All of them are durable.
    pub fn plan_fetch(&self, slot: Slot) -> Fetch {
        let Some(position) = self.position(slot) else { return Fetch::default() };
        let uncached = &self.index[..self.index.len() - self.cache.len()];
        let Some(first) = uncached.get(position).copied() else { return Fetch::default() };
        let places = uncached[position..].iter().take(FETCH_RECORDS).take_while(|place| {
            place.segment == first.segment && place.offset - first.offset <= FETCH_BYTES
        });
        let records: Vec<_> = (slot.0..).map(Slot).zip(places.copied()).collect();
        // Everything before a durable record has been written.
        let next = uncached.get(position + records.len());
        let near = first.offset + FETCH_BYTES + record::BODY_BYTES_MAX as u32;
        let end = next.filter(|next| next.segment == first.segment && next.offset <= near);
        Fetch { end: end.map(|next| next.offset), records }
    }

    /// Keeps entries that were read again, and drops the oldest such batches beyond the limit.
    /// [`Log::read`] does not find records that have been replaced meanwhile.
    pub fn keep_fetched(&mut self, batch: Vec<FetchedRecord>) {
        self.fetched.keep(batch, FETCHED_BYTES);
    }

    /// Returns whether entries that were read again fill a half of their memory.
    pub fn has_much_fetched(&self) -> bool {
        self.fetched.bytes() > FETCHED_BYTES / 2
    }

    /// Drops the entries that were read again, but for those that readers at these slots need next.
    pub fn forget_fetched(&mut self, readers: impl Iterator<Item = Slot> + Clone) {
        let ahead = 2 * FETCH_RECORDS as u64;
        self.fetched.retain(|first, last| {
            readers.clone().any(|slot| slot <= last && first.0 <= slot.0 + ahead)
        });
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

    /// Updates the durable state with a record.
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
        self.genesis.take_if(|(genesis, _)| *genesis >= slot);
        while self.index.len() > keep {
            self.index.pop();
            if let Some(cached) = self.cache.pop_back() {
                self.cache_bytes -= cached.payload.map_or(0, |payload| payload.len());
            }
        }
    }

    fn note_genesis(&mut self, slot: Slot, payload: Option<&Payload>) {
        if self.genesis.is_none()
            && let Some(payload) = payload
        {
            self.genesis = Some((slot, payload.clone()));
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
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
