//! The journal: what the daemon has given to a disk that has not taken it yet, in files of the
//! system's memory, which no disk can hang. With `--durability memory`, a record counts as durable
//! as soon as it is here: it survives the daemon, but not the host.
//!
//! One of two files is written at a time. When it is large, and the disk has everything of the
//! other, they change places. Together they hold the last batches without a gap. The next daemon
//! writes them to the log's files before it reads these; writing a record twice changes nothing.
//! The files belong to a directory by its identity: a copy of the directory has no part in them,
//! and a directory that is moved keeps them.
//!
//! ```text
//! file:   "CRANEJRN"  version u32  identity: device u64, inode u64, birth in nanoseconds u64
//! record: crc of what follows u32  length u32  segment u32  offset u64  bytes
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use tracing::{info, warn};

use super::disk::HostDisk;
use super::segments::Segments;
use super::{Batch, Front, LogError, WriteChunk, WriteNumber, record, segment_path};

/// The file system in the system's memory (shm_overview(7)).
const PLACE: &str = "/dev/shm";
const MAGIC: &[u8; 8] = b"CRANEJRN";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 36;
const RECORD_HEADER_BYTES: usize = 20;
/// The size from which the files change places.
const LARGE_BYTES: u64 = if crate::LIMITS_ARE_SMALL { 4 << 10 } else { 1 << 20 };
/// The largest size of each file. While both are full, nothing is durable before the disk has it.
const BYTES_MAX: u64 = if crate::LIMITS_ARE_SMALL { 64 << 10 } else { 24 << 20 };

/// The files of a log that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    halves: [Half; 2],
    current: usize,
    /// The number of the last batch that did not fit, while the disk has not got it.
    left_out: Option<u64>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Half {
    path: PathBuf,
    file: File,
    /// The offset after the last record.
    end: u64,
    /// The number of the last batch in it.
    last: u64,
}

impl Journal {
    /// Creates the journal of the log in `directory`, which has been read.
    ///
    /// # Errors
    /// Returns the system's error, with the path.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        Self::at(Path::new(PLACE), directory)
    }

    fn at(place: &Path, directory: &Path) -> io::Result<Self> {
        let identity = DirectoryIdentity::of(directory)?;
        let [first, second] = identity.paths(place);
        let halves = [Half::create(first, &identity)?, Half::create(second, &identity)?];
        Ok(Self { halves, current: 0, left_out: None, buffer: Vec::new() })
    }

    /// Keeps a batch. Returns whether it is durable now; it is not while it, or one before it, has
    /// no room here and is not on the disk.
    pub(super) fn keep(&mut self, batch: &Batch) -> bool {
        if self.left_out.is_some() {
            self.left_out = Some(batch.sync);
            return false;
        }
        let other = 1 - self.current;
        if self.halves[self.current].end >= LARGE_BYTES && self.halves[other].is_empty() {
            self.current = other;
        }
        self.buffer.clear();
        for chunk in &batch.chunks {
            encode(chunk, &mut self.buffer);
        }
        let is_kept = self.halves[self.current].append(&self.buffer, batch.sync);
        if !is_kept {
            self.left_out = Some(batch.sync);
        }
        is_kept
    }

    /// Records that the disk has all batches up to the one with this number.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn written(&mut self, sync: u64) -> io::Result<()> {
        // After a gap, what was before it must not be written again.
        let ends_gap = self.left_out.take_if(|last| *last <= sync).is_some();
        for half in &mut self.halves {
            if half.last <= sync && (half.end >= LARGE_BYTES || ends_gap) {
                half.clear()?;
            }
        }
        Ok(())
    }

    /// Removes the files, because the disk has everything.
    pub(super) fn remove(self) {
        for half in &self.halves {
            // A file that is left has nothing that the disk has not.
            let _ = std::fs::remove_file(&half.path);
        }
    }
}

impl Half {
    fn create(path: PathBuf, identity: &DirectoryIdentity) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        remove(&path).map_err(named)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(named)?;
        file.write_all_at(&identity.header(), 0).map_err(named)?;
        Ok(Self { path, file, end: HEADER_BYTES as u64, last: 0 })
    }

    fn is_empty(&self) -> bool {
        self.end == HEADER_BYTES as u64
    }

    fn append(&mut self, bytes: &[u8], sync: u64) -> bool {
        let end = self.end + bytes.len() as u64;
        if end > BYTES_MAX {
            return false;
        }
        if self.file.write_all_at(bytes, self.end).is_err() {
            // The memory is full. A record that is not whole ends the file.
            return false;
        }
        (self.end, self.last) = (end, sync);
        true
    }

    fn clear(&mut self) -> io::Result<()> {
        self.end = HEADER_BYTES as u64;
        self.file.set_len(self.end)
    }
}

/// The identity of a directory, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct DirectoryIdentity {
    device: u64,
    inode: u64,
    /// When it was made, if the file system knows: inodes are used again.
    birth: u64,
}

impl DirectoryIdentity {
    fn of(directory: &Path) -> io::Result<Self> {
        let found = statx(CWD, directory, AtFlags::empty(), StatxFlags::INO | StatxFlags::BTIME)?;
        let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
        let born = found.stx_btime;
        let birth = (born.tv_sec as u64).wrapping_mul(1_000_000_000) + u64::from(born.tv_nsec);
        Ok(Self { device, inode: found.stx_ino, birth })
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        for (at, word) in [self.device, self.inode, self.birth].into_iter().enumerate() {
            header[12 + 8 * at..][..8].copy_from_slice(&word.to_le_bytes());
        }
        header
    }

    fn paths(&self, place: &Path) -> [PathBuf; 2] {
        let stem = format!("crane-{:x}-{:x}", self.device, self.inode);
        ["a", "b"].map(|half| place.join(format!("{stem}-{half}")))
    }
}

fn encode(chunk: &WriteChunk, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(chunk.bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&chunk.segment.to_le_bytes());
    out.extend_from_slice(&chunk.offset.to_le_bytes());
    out.extend_from_slice(&chunk.bytes);
    let crc = crc32fast::hash(&out[begin + 4..]);
    out[begin..begin + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Decodes the first record; `None` at the end, or where bytes are no whole record.
fn decode(bytes: &[u8]) -> Option<(WriteChunk, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let end = RECORD_HEADER_BYTES.checked_add(word(4)? as usize)?;
    let covered = bytes.get(4..end)?;
    if word(0)? != crc32fast::hash(covered) {
        return None;
    }
    let offset = u64::from_le_bytes(*bytes[12..].first_chunk()?);
    let bytes = bytes[RECORD_HEADER_BYTES..end].to_vec();
    Some((WriteChunk { segment: word(8)?, offset, bytes }, end))
}

/// Reads the records of a file that belongs to a directory.
fn read(path: &Path, identity: &DirectoryIdentity) -> io::Result<Vec<WriteChunk>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(2 * BYTES_MAX).read_to_end(&mut bytes)?;
    let mut chunks = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(&identity.header()) else { return Ok(chunks) };
    while let Some((chunk, length)) = decode(rest) {
        chunks.push(chunk);
        rest = &rest[length..];
    }
    Ok(chunks)
}

/// Writes what an earlier daemon has left in its journal to the log in `directory`, and removes the
/// journal.
///
/// # Errors
/// Returns [`LogError`]; the journal is still there in that case.
pub(super) fn recover(directory: &Path) -> Result<(), LogError> {
    recover_at(Path::new(PLACE), directory)
}

fn recover_at(place: &Path, directory: &Path) -> Result<(), LogError> {
    let failed = |error| LogError::Io(directory.to_path_buf(), error);
    let identity = DirectoryIdentity::of(directory).map_err(failed)?;
    let paths = identity.paths(place);
    let mut chunks = Vec::new();
    for path in &paths {
        let found = read(path, &identity).map_err(|error| LogError::Io(path.clone(), error))?;
        chunks.extend(found);
    }
    let first = Front::read(directory)?.map_or(1, |front| front.segment);
    chunks.retain(|chunk| chunk.segment >= first);
    chunks.sort_by_key(|chunk| (chunk.segment, chunk.offset));
    if let Some(begin) = chunks.first() {
        let path = segment_path(directory, begin.segment);
        let length = std::fs::metadata(&path).map_or(0, |found| found.len());
        if begin.offset <= length.max(record::SEGMENT_HEADER_BYTES as u64) {
            let count = chunks.len();
            let batch = Batch { chunks, up_to: WriteNumber(0), sync: 0 };
            let mut segments = Segments::new(directory, HostDisk, false);
            let written = segments.write(&batch).and_then(|()| segments.sync());
            written.map_err(|why| failed(io::Error::other(why)))?;
            info!("{count} writes to the log were in memory only, and are on the disk now");
        } else {
            warn!(
                "the journal in {place:?} continues a log that has more than {} has: it is left \
                 out, because this is an older copy",
                directory.display()
            );
        }
    }
    for path in &paths {
        remove(path).map_err(|error| LogError::Io(path.clone(), error))?;
    }
    Ok(())
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use crane_core::paxos::WriteNumber;

    use super::super::Log;
    use super::super::tests::{Scratch, accept, look_up, payload};
    use super::*;

    /// A log and its journal.
    struct Bench {
        place: Scratch,
        scratch: Scratch,
        log: Log,
        journal: Journal,
        appended: u64,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let (place, scratch) = (Scratch::new(&format!("{name}-place")), Scratch::new(name));
            let log = Log::open(&scratch.0).unwrap().log;
            let journal = Journal::at(&place.0, &scratch.0).unwrap();
            Self { place, scratch, log, journal, appended: 0 }
        }

        /// Appends a record, and returns its batch and whether it is kept.
        fn append(&mut self, text: &str) -> (Batch, bool) {
            self.appended += 1;
            let record = accept(self.appended, 1, text.len());
            self.log.append(WriteNumber(self.appended), &record, payload(text));
            let batch = Batch { sync: self.appended, ..self.log.take_batch().unwrap() };
            let is_kept = self.journal.keep(&batch);
            (batch, is_kept)
        }

        /// Recovers, as the next daemon does, and returns how many entries there are.
        fn entries(&self) -> usize {
            recover_at(&self.place.0, &self.scratch.0).unwrap();
            Log::open(&self.scratch.0).unwrap().entries.len()
        }
    }

    #[test]
    fn what_the_disk_has_not_taken_survives_the_daemon() {
        let mut bench = Bench::new("journal");
        let mut segments = Segments::new(&bench.scratch.0, HostDisk, false);
        for text in ["a", "b", "c"] {
            let (batch, is_kept) = bench.append(text);
            assert!(is_kept);
            if text == "a" {
                segments.write(&batch).unwrap();
            }
        }
        assert_eq!(Log::open(&bench.scratch.0).unwrap().entries.len(), 1, "the control");
        assert_eq!(bench.entries(), 3);
        let mut log = Log::open(&bench.scratch.0).unwrap().log;
        let (_, found) = look_up(&bench.scratch.0, &mut log, 3).unwrap();
        assert_eq!(found, payload("c"));
        assert_eq!(std::fs::read_dir(&bench.place.0).unwrap().count(), 0, "it is used once");
    }

    #[test]
    fn any_bytes_give_a_part_of_the_log_at_its_front() {
        let mut bench = Bench::new("journal-bytes");
        for text in ["one", "two", "three"] {
            bench.append(text);
        }
        let path = bench.journal.halves[0].path.clone();
        let bytes = std::fs::read(&path).unwrap();
        let mut last = 0;
        for length in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let found = bench.entries();
            assert!((last..=3).contains(&found), "{found} after {length} bytes, {last} before");
            last = found;
        }
        assert_eq!(last, 3);
        let front = Scratch::new("journal-flipped");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 16;
            let identity = DirectoryIdentity::of(&front.0).unwrap();
            // Bytes of the header make it another directory's.
            if at >= HEADER_BYTES {
                changed[..HEADER_BYTES].copy_from_slice(&identity.header());
            }
            std::fs::write(&identity.paths(&bench.place.0)[0], &changed).unwrap();
            recover_at(&bench.place.0, &front.0).unwrap();
            let entries = Log::open(&front.0).unwrap().entries.len();
            assert!(entries < 3, "{entries} with byte {at} changed");
            std::fs::remove_dir_all(&front.0).unwrap();
            std::fs::create_dir(&front.0).unwrap();
        }
    }

    #[test]
    fn without_room_nothing_is_kept_until_the_disk_has_what_was_left_out() {
        let mut bench = Bench::new("journal-room");
        let mut segments = Segments::new(&bench.scratch.0, HostDisk, false);
        let mut batches = Vec::from([bench.append("begin").0]);
        let long = "x".repeat(BYTES_MAX as usize);
        let mut is_kept = false;
        while bench.log.segment == 1 {
            let (batch, kept) = bench.append(&long);
            batches.push(batch);
            is_kept |= kept;
        }
        bench.journal.written(bench.appended - 1).unwrap();
        let (batch, kept) = bench.append("small");
        batches.push(batch);
        assert!(!is_kept && !kept, "one before it is not durable");
        for batch in &batches {
            segments.write(batch).unwrap();
        }
        bench.journal.written(bench.appended).unwrap();
        assert!(bench.journal.halves.iter().all(Half::is_empty), "the gap is forgotten");
        assert!(bench.append("after").1);
        assert_eq!(bench.entries() as u64, bench.appended);
    }

    #[test]
    fn the_files_change_places_and_stay_small() {
        let mut bench = Bench::new("journal-turns");
        let mut segments = Segments::new(&bench.scratch.0, HostDisk, false);
        let text = "y".repeat(LARGE_BYTES as usize / 4);
        let mut held: Option<Batch> = None;
        let mut changes = 0;
        for _ in 0..40 {
            let before = bench.journal.current;
            let (batch, is_kept) = bench.append(&text);
            assert!(is_kept);
            changes += usize::from(bench.journal.current != before);
            // The disk is one batch behind.
            if let Some(held) = held.replace(batch) {
                segments.write(&held).unwrap();
                bench.journal.written(held.sync).unwrap();
            }
            let ends = bench.journal.halves.iter().map(|half| half.end);
            assert!(ends.max().unwrap() < 2 * LARGE_BYTES);
        }
        assert!(changes > 3, "{changes}");
        assert_eq!(bench.entries() as u64, bench.appended);
    }

    #[test]
    fn an_older_copy_and_another_directory_have_no_part_in_it() {
        let mut bench = Bench::new("journal-copy");
        let mut segments = Segments::new(&bench.scratch.0, HostDisk, false);
        let path = segment_path(&bench.scratch.0, 1);
        let (first, _) = bench.append("first");
        segments.write(&first).unwrap();
        let older = std::fs::read(&path).unwrap();
        let (second, _) = bench.append("second");
        segments.write(&second).unwrap();
        bench.journal.halves[0].clear().unwrap();
        bench.append("third");
        let other = Scratch::new("journal-copied");
        for number in [1, 2] {
            let [from, to] = [&bench.scratch, &other].map(|place| segment_path(&place.0, number));
            std::fs::copy(from, to).unwrap();
        }
        recover_at(&bench.place.0, &other.0).unwrap();
        assert_eq!(Log::open(&other.0).unwrap().entries.len(), 2, "a copy");
        std::fs::write(&path, older).unwrap();
        assert_eq!(bench.entries(), 1, "the directory's own past");
    }
}
