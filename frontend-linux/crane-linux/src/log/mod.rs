//! The replicated log on this host's disk: which record stands where, and what was accepted in a slot.
//!
//! | file | thought |
//! |---|---|
//! | `record` | the bytes of a segment (pure) |
//! | `storage` | the thread that writes and syncs |
//! | here | an index from slots to places, a cache of the last payloads, and the next write's place |

pub mod record;
pub mod storage;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crane_core::id::Slot;
use crane_core::paxos::{self, Record, WriteNumber};

use record::{Bad, Stored};

/// A segment is closed when it has this many bytes.
pub const SEGMENT_BYTES: usize = 32 << 20;

/// Payloads that are kept in memory: this many bytes, and whatever is not durable yet.
const CACHE_BYTES: usize = 32 << 20;

/// A payload, shared by the log, the links and the script.
pub type Payload = Rc<[u8]>;

/// What paxos knows of a payload.
pub fn describe(payload: &[u8]) -> paxos::Descriptor {
    paxos::Descriptor { length: payload.len() as u32, digest: xxhash_rust::xxh3::xxh3_64(payload) }
}

/// What stands in the way of reading the log.
#[derive(Debug)]
pub enum LogError {
    /// The system refused.
    Io(PathBuf, io::Error),
    /// Bytes that were written are not what they were.
    Damaged(PathBuf, usize),
    /// A newer (or much older) program wrote it.
    Version(PathBuf, u32),
    /// A segment is missing before this one.
    Missing(PathBuf),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            LogError::Damaged(path, offset) => write!(
                f,
                "the log is damaged: {} at offset {offset}; move the data directory away, and start \
                 this replica again: it takes the log from the others",
                path.display()
            ),
            LogError::Version(path, version) => write!(
                f,
                "{} is of log version {version}, and this program reads version {}; use the program \
                 that wrote it",
                path.display(),
                record::LOG_VERSION
            ),
            LogError::Missing(path) => write!(
                f,
                "the log has no {}; move the data directory away, and start this replica again: it \
                 takes the log from the others",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LogError {}

/// What [`Log::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The log, ready to be appended to.
    pub log: Log,
    /// What paxos starts from.
    pub stored: paxos::Stored,
    /// The entries, from slot 1.
    pub entries: Vec<paxos::Entry>,
    /// Bytes that were cut off because a crash had left them torn.
    pub torn_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
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
pub struct Chunk {
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
    pub chunks: Vec<Chunk>,
    /// The last write of paxos among them.
    pub up_to: WriteNumber,
}

/// The log. Appended records are collected until [`Log::take_batch`].
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    index: Vec<Place>,
    genesis: Option<Slot>,
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    segment: u32,
    offset: usize,
    chunks: Vec<Chunk>,
    written: WriteNumber,
    taken: WriteNumber,
    durable: WriteNumber,
    reading: Option<(u32, File)>,
}

/// The path of a segment.
pub fn segment_path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.log"))
}

impl Log {
    /// Reads the log in `directory`, which exists; an empty one is a log without entries. Torn records
    /// at its end are cut off.
    ///
    /// # Errors
    /// [`LogError`]; nothing has been changed then.
    pub fn open(directory: &Path) -> Result<Opened, LogError> {
        let mut opened = Opened {
            log: Log {
                directory: directory.to_path_buf(),
                index: Vec::new(),
                genesis: None,
                cache: VecDeque::new(),
                cache_bytes: 0,
                segment: 0,
                offset: SEGMENT_BYTES,
                chunks: Vec::new(),
                written: WriteNumber(0),
                taken: WriteNumber(0),
                durable: WriteNumber(0),
                reading: None,
            },
            stored: paxos::Stored::BLANK,
            entries: Vec::new(),
            torn_bytes: 0,
        };
        let numbers = segment_numbers(directory)?;
        for (place, number) in numbers.iter().enumerate() {
            let expected = place as u32 + 1;
            if *number != expected {
                return Err(LogError::Missing(segment_path(directory, expected)));
            }
            opened.read_segment(*number, place + 1 == numbers.len())?;
        }
        Ok(opened)
    }

    /// Appends a record. `payload` belongs to an accepted entry that has one.
    pub fn append(&mut self, number: WriteNumber, record: &Record, payload: Option<Payload>) {
        self.written = number;
        let bytes = payload.as_deref().unwrap_or_default();
        let place = self.put(&Stored::Paxos(*record), bytes);
        match record {
            Record::Accept { slot, entry } => {
                self.cut_from(*slot);
                assert_eq!(slot.0, self.index.len() as u64 + 1, "the log has no gaps");
                self.index.push(place);
                self.note_genesis(*slot, entry);
                self.cache_bytes += bytes.len();
                self.cache.push_back(Cached { entry: *entry, payload, write: number });
                self.shrink_cache();
            }
            Record::Adopt { up_to, .. } => self.cut_from(up_to.next()),
            Record::Promise { .. } | Record::Standing(_) => {}
        }
    }

    /// Appends the hint that all slots up to this one are committed.
    pub fn append_committed(&mut self, slot: Slot) {
        self.put(&Stored::Committed(slot), &[]);
    }

    /// What has been appended since the last time, if anything.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.taken = self.written;
        let chunks = std::mem::take(&mut self.chunks);
        (!chunks.is_empty()).then_some(Batch { chunks, up_to: self.written })
    }

    /// All writes up to this one can be read from the disk.
    pub fn durable(&mut self, up_to: WriteNumber) {
        self.durable = self.durable.max(up_to);
        self.shrink_cache();
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
        let Some(position) = slot.0.checked_sub(1) else { return Ok(None) };
        let Some(place) = self.index.get(position as usize).copied() else { return Ok(None) };
        let first_cached = self.index.len() - self.cache.len();
        if let Some(cached) =
            (position as usize).checked_sub(first_cached).and_then(|cached| self.cache.get(cached))
        {
            return Ok(Some((cached.entry, cached.payload.clone())));
        }
        self.read_from_disk(slot, place).map(Some)
    }

    fn put(&mut self, stored: &Stored, payload: &[u8]) -> Place {
        if self.offset >= SEGMENT_BYTES {
            self.segment += 1;
            let header = record::segment_header(self.segment).to_vec();
            self.offset = header.len();
            self.chunks.push(Chunk { segment: self.segment, offset: 0, bytes: header });
        }
        let place = Place { segment: self.segment, offset: self.offset as u32 };
        let continues = self.chunks.last().is_some_and(|chunk| chunk.segment == self.segment);
        if !continues {
            let offset = self.offset as u64;
            self.chunks.push(Chunk { segment: self.segment, offset, bytes: Vec::new() });
        }
        let chunk = self.chunks.last_mut().expect("just made sure");
        let before = chunk.bytes.len();
        record::encode(stored, payload, &mut chunk.bytes);
        self.offset += chunk.bytes.len() - before;
        place
    }

    fn cut_from(&mut self, slot: Slot) {
        let keep = slot.0 as usize - 1;
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
        place: Place,
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
                Stored::Paxos(Record::Accept { slot: there, entry }) if there == slot => {
                    let payload = entry.content.payload().map(|_| Payload::from(found.payload));
                    Ok((entry, payload))
                }
                _ => Err(damaged()),
            },
            _ => Err(damaged()),
        }
    }
}

impl Opened {
    fn read_segment(&mut self, number: u32, is_last: bool) -> Result<(), LogError> {
        let path = segment_path(&self.log.directory, number);
        let bytes = std::fs::read(&path).map_err(|error| LogError::Io(path.clone(), error))?;
        let mut offset = record::SEGMENT_HEADER_BYTES;
        let outcome = record::check_segment(&bytes, number).and_then(|()| {
            while let Some(found) = record::decode(&bytes, offset)? {
                self.found(number, &found)?;
                offset = found.end;
            }
            Ok(())
        });
        self.log.segment = number;
        self.log.offset = offset;
        match outcome {
            Ok(()) => Ok(()),
            Err(Bad::Torn { offset }) if is_last => self.cut(&path, offset, bytes.len()),
            Err(Bad::Torn { offset } | Bad::Damaged { offset }) => {
                Err(LogError::Damaged(path, offset))
            }
            Err(Bad::Version { version }) => Err(LogError::Version(path, version)),
        }
    }

    fn found(&mut self, segment: u32, found: &record::Found<'_>) -> Result<(), Bad> {
        match found.stored {
            Stored::Committed(slot) => self.stored.committed = slot,
            Stored::Paxos(Record::Promise { ballot }) => self.stored.promised = ballot,
            Stored::Paxos(Record::Standing(standing)) => self.stored.standing = standing,
            Stored::Paxos(Record::Adopt { ballot, up_to }) => {
                if up_to.0 > self.entries.len() as u64 {
                    return Err(Bad::Damaged { offset: found.offset });
                }
                self.stored.accepted = self.stored.accepted.max(ballot);
                self.cut_from(up_to.next());
            }
            Stored::Paxos(Record::Accept { slot, entry }) => {
                let position = (slot.0 as usize).wrapping_sub(1);
                if position > self.entries.len() {
                    return Err(Bad::Damaged { offset: found.offset });
                }
                self.stored.accepted = self.stored.accepted.max(entry.ballot);
                self.cut_from(slot);
                self.entries.push(entry);
                self.log.index.push(Place { segment, offset: found.offset as u32 });
                self.log.note_genesis(slot, &entry);
            }
        }
        Ok(())
    }

    fn cut_from(&mut self, slot: Slot) {
        self.log.cut_from(slot);
        self.entries.truncate(self.log.index.len());
    }

    fn cut(&mut self, path: &Path, offset: usize, length: usize) -> Result<(), LogError> {
        self.torn_bytes = (length - offset) as u64;
        let failed = |error| LogError::Io(path.to_path_buf(), error);
        let file = File::options().write(true).open(path).map_err(failed)?;
        if offset < record::SEGMENT_HEADER_BYTES {
            // Not even the header was written: the segment is made anew.
            file.set_len(0).map_err(failed)?;
            self.log.segment -= 1;
            self.log.offset = SEGMENT_BYTES;
        } else {
            file.set_len(offset as u64).map_err(failed)?;
            self.log.offset = offset;
        }
        file.sync_all().map_err(failed)
    }
}

/// The numbers of the segments in a directory, in their order.
///
/// # Errors
/// What the system refused.
pub fn segment_numbers(directory: &Path) -> Result<Vec<u32>, LogError> {
    let failed = |error| LogError::Io(directory.to_path_buf(), error);
    let mut numbers = Vec::new();
    for item in std::fs::read_dir(directory).map_err(failed)? {
        let name = item.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests;
