//! A simulated data directory: the product's writer of segments on files in memory, of which a part
//! is safe.
//!
//! A log is only appended to, so the safe bytes of a file are its first ones.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crane_core::paxos::{DurableState, Record, StorageEpoch, VotingStatus};
use crane_core::wire::{EntryPayload, Op};

use crate::checkpoint::arrived::{self, LogHolds};
use crate::log::disk::Disk;
use crate::log::fetch::{Fetch, FetchedRecord};
use crate::log::record::{self, StoredRecord};
use crate::log::segments::Segments;
use crate::log::{Batch, Front, Log, LogError, Opened, Synced, segment_path};
use crate::meta::Meta;

use super::images::SimCheckpoints;
use super::random::SeededRandom;
use super::requests::REQUEST_BYTES;

/// The name of the directory in messages.
const DIRECTORY: &str = "/log";

/// A file in memory.
#[derive(Clone, Debug, Default)]
struct MemoryFile {
    /// The bytes, without the room behind them.
    bytes: Vec<u8>,
    /// The length with that room.
    length: u64,
    /// How many of the bytes a loss of power leaves.
    safe: usize,
}

/// The files of a log.
#[derive(Clone, Debug, Default)]
struct MemoryFiles {
    segments: BTreeMap<u32, MemoryFile>,
    /// Why writes and syncs fail, if they do.
    fault: Option<io::ErrorKind>,
    /// Whether a write or sync of this daemon has failed.
    failed: bool,
}

/// The disk that the writer of segments writes to.
#[derive(Clone, Debug, Default)]
struct MemoryDisk(Rc<RefCell<MemoryFiles>>);

impl MemoryDisk {
    fn change<T>(&self, act: impl FnOnce(&mut MemoryFiles) -> T) -> io::Result<T> {
        let files = &mut self.0.borrow_mut();
        match files.fault {
            Some(kind) => {
                files.failed = true;
                Err(kind.into())
            }
            None => Ok(act(files)),
        }
    }
}

impl MemoryFiles {
    fn file(&mut self, number: u32) -> &mut MemoryFile {
        self.segments.get_mut(&number).expect("an open file is there")
    }
}

/// Returns the number of a segment.
fn number_of(path: &Path) -> u32 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok()).expect("a segment has a number")
}

impl Disk for MemoryDisk {
    type File = u32;

    fn open(&mut self, path: &Path) -> io::Result<u32> {
        let number = number_of(path);
        self.change(|files| {
            files.segments.entry(number).or_default();
            number
        })
    }

    fn length(&mut self, file: &u32) -> io::Result<u64> {
        self.change(|files| files.file(*file).length)
    }

    fn write(&mut self, file: &u32, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|files| {
            let (file, offset) = (files.file(*file), offset as usize);
            assert_eq!(offset, file.bytes.len(), "a log is appended to");
            file.bytes.extend_from_slice(bytes);
            file.length = file.length.max(file.bytes.len() as u64);
        })
    }

    fn make_room(&mut self, file: &u32, offset: u64, length: u64) -> io::Result<()> {
        self.change(|files| files.file(*file).length = offset + length)
    }

    fn cut(&mut self, file: &u32, length: u64) -> io::Result<()> {
        self.change(|files| files.file(*file).cut(length as usize))
    }

    fn sync(&mut self, file: &u32) -> io::Result<()> {
        self.change(|files| {
            let file = files.file(*file);
            file.safe = file.bytes.len();
        })
    }

    fn sync_names(&mut self, _: &Path) -> io::Result<()> {
        self.change(|_| ())
    }
}

impl MemoryFile {
    fn cut(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.length = length as u64;
        self.safe = self.safe.min(length);
    }
}

/// A data directory, and the thread that writes its log.
#[derive(Debug)]
pub(super) struct DataFiles {
    disk: MemoryDisk,
    front: Option<Front>,
    pub(super) checkpoints: SimCheckpoints,
    /// The meta that was kept last.
    pub(super) meta: Meta,
    writer: Segments<MemoryDisk>,
    /// Whether batches count as durable at once, because a journal has them which survives the
    /// daemon.
    pub(super) has_journal: bool,
    /// Batches that were not written yet.
    waiting: VecDeque<Batch>,
    /// The bytes that were given to the disk.
    pub(super) written_bytes: u64,
    /// The sync that is on its way.
    syncing: Option<Synced>,
    /// The requests in written entries, and those in durable ones.
    written: Vec<u64>,
    durable: BTreeSet<u64>,
    /// Those that were durable in storage that is lost or was cut off, or are in a checkpoint that
    /// came from another replica.
    before: BTreeSet<u64>,
}

impl DataFiles {
    /// Creates an empty directory.
    pub(super) fn new(meta: Meta) -> Self {
        let disk = MemoryDisk::default();
        let writer = Segments::new(Path::new(DIRECTORY), disk.clone(), true);
        Self {
            disk,
            front: None,
            checkpoints: SimCheckpoints::default(),
            meta,
            writer,
            has_journal: false,
            waiting: VecDeque::new(),
            written_bytes: 0,
            syncing: None,
            written: Vec::new(),
            durable: BTreeSet::new(),
            before: BTreeSet::new(),
        }
    }

    /// Returns whether a request is in a durable entry.
    pub(super) fn has_durable(&self, request: u64) -> bool {
        self.durable.contains(&request) || self.before.contains(&request)
    }

    /// Takes a batch for the disk. Returns whether a sync begins now; [`DataFiles::end_sync`] ends
    /// it.
    ///
    /// # Errors
    /// Returns why the replica must stop.
    pub(super) fn write(&mut self, batch: Batch) -> Result<bool, String> {
        if self.has_journal {
            for chunk in &batch.chunks {
                each_request(&chunk.bytes, 0, |request| {
                    self.durable.insert(request);
                });
            }
        }
        self.waiting.push_back(batch);
        self.begin_sync()
    }

    /// Writes all batches that wait, as the storage thread does between two syncs.
    fn begin_sync(&mut self) -> Result<bool, String> {
        if self.syncing.is_some() {
            return Ok(false);
        }
        while let Some(batch) = self.waiting.pop_front() {
            if let Err(why) = self.writer.write(&batch) {
                // A journal has it still.
                self.waiting.push_front(batch);
                return Err(why);
            }
            for chunk in &batch.chunks {
                self.written_bytes += chunk.bytes.len() as u64;
                each_request(&chunk.bytes, 0, |request| self.written.push(request));
            }
            self.syncing = Some(batch.synced());
        }
        Ok(self.syncing.is_some())
    }

    /// Ends the sync that is on its way. Returns what is durable now, and whether the next sync
    /// begins.
    ///
    /// # Errors
    /// Returns why the replica must stop.
    pub(super) fn end_sync(&mut self) -> Result<(Synced, bool), String> {
        let synced = self.syncing.take().expect("a sync is on its way");
        self.writer.sync()?;
        self.durable.extend(self.written.drain(..));
        Ok((synced, self.begin_sync()?))
    }

    /// Returns whether a sync is on its way.
    pub(super) fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Lets writes and syncs fail from now on, or no more.
    pub(super) fn set_fault(&mut self, fault: Option<io::ErrorKind>) {
        self.disk.0.borrow_mut().fault = fault;
    }

    /// Ends the process: what it has not given to the system is gone.
    pub(super) fn end_process(&mut self) {
        if !self.has_journal {
            self.waiting.clear();
        }
        self.syncing = None;
    }

    /// Loses the power: of what no sync has made safe, a part at the front is left.
    pub(super) fn lose_power(&mut self, random: &mut SeededRandom) {
        self.end_process();
        for file in self.disk.0.borrow_mut().segments.values_mut() {
            let left = random.range(file.safe as u64, file.bytes.len() as u64 + 1);
            file.cut(left as usize);
        }
    }

    /// Loses everything, and begins with this meta. Returns what was there.
    pub(super) fn lose_all(&mut self, meta: Meta) -> Self {
        let before = self.ever_durable();
        let has_journal = self.has_journal;
        std::mem::replace(self, Self { before, has_journal, ..Self::new(meta) })
    }

    /// Loses everything, and has an old copy instead.
    pub(super) fn put_back(&mut self, copy: Self) {
        let before = self.ever_durable();
        let fault = self.disk.0.borrow().fault;
        *self = Self { before, written_bytes: self.written_bytes, ..copy };
        self.set_fault(fault);
    }

    /// Returns the requests that were durable once, which may be answered still.
    fn ever_durable(&self) -> BTreeSet<u64> {
        self.before.union(&self.durable).copied().collect()
    }

    /// Copies what a loss of power would leave, at most.
    pub(super) fn copy(&self) -> Self {
        let mut copy = Self::new(self.meta.clone());
        let segments = self.disk.0.borrow().segments.clone();
        copy.disk.0.borrow_mut().segments = segments;
        (copy.front, copy.checkpoints) = (self.front.clone(), self.checkpoints.clone());
        copy
    }

    /// Counts requests as kept whose entries need not be in the log.
    pub(super) fn count_as_kept(&mut self, requests: &[u64]) {
        self.before.extend(requests);
    }

    /// Lets the log begin behind a prefix that has arrived, if one has, as the product does.
    fn begin_behind_arrived(&mut self) -> Result<(), LogError> {
        let Some(prefix) = self.checkpoints.arrived.take() else { return Ok(()) };
        let mut opened = self.open_log()?;
        match arrived::compare(&opened, &prefix) {
            LogHolds::Decided => return Ok(()),
            LogHolds::Undecided => {
                let batch = arrived::decided(&mut opened, prefix.snapshot.slot);
                self.append(&batch);
                return Ok(());
            }
            LogHolds::Another => {}
        }
        self.before = self.ever_durable();
        let stored = arrived::behind(&opened, &prefix);
        let (front, batch) = Log::beginning(&stored, Some(prefix.genesis));
        self.front = front;
        self.disk.0.borrow_mut().segments.clear();
        self.begin_log(&batch);
        Ok(())
    }

    /// Writes the first records of a log.
    fn begin_log(&mut self, batch: &Batch) {
        self.writer = Segments::new(Path::new(DIRECTORY), self.disk.clone(), true);
        self.append(batch);
    }

    /// Writes records at a start, when the disk works.
    fn append(&mut self, batch: &Batch) {
        let fault = self.disk.0.borrow_mut().fault.take();
        let begun = self.writer.write(batch).and_then(|()| self.writer.sync());
        begun.expect("the disk works");
        self.set_fault(fault);
    }

    /// Begins the log of a replica that has lost its storage, as the product does.
    // specs: R9
    pub(super) fn begin_rejoining(&mut self, epoch: StorageEpoch) {
        let voting = VotingStatus::Rejoining { epoch };
        let stored = DurableState { voting, ..DurableState::BLANK };
        let (_, batch) = Log::beginning(&stored, None);
        self.begin_log(&batch);
    }

    /// Returns whether a write or sync of this daemon has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.disk.0.borrow().failed
    }

    /// Returns whether nothing was ever written to the log.
    pub(super) fn is_blank(&self) -> bool {
        self.disk.0.borrow().segments.is_empty() && self.waiting.is_empty()
    }

    /// Opens the log as a starting daemon does: everything in it is safe afterwards, and torn
    /// records are cut off.
    ///
    /// # Errors
    /// Returns the product's error.
    pub(super) fn open(&mut self) -> Result<Opened, LogError> {
        self.begin_behind_arrived()?;
        self.open_log()
    }

    fn open_log(&mut self) -> Result<Opened, LogError> {
        let directory = PathBuf::from(DIRECTORY);
        self.write_journal(&directory);
        let files = self.disk.0.clone();
        let numbers = files.borrow().segments.keys().copied().collect();
        let read = |path: &Path| Ok(files.borrow().segments[&number_of(path)].bytes.clone());
        let (opened, end) = Log::read_from(&directory, self.front.as_ref(), numbers, read)?;
        let mut files = self.disk.0.borrow_mut();
        files.failed = false;
        for path in &end.headless {
            files.file(number_of(path)).cut(0);
        }
        if end.torn_bytes > 0 && end.headless.is_empty() {
            files.file(end.segment).cut(end.offset);
        }
        (self.written, self.durable) = (Vec::new(), BTreeSet::new());
        for file in files.segments.values_mut() {
            file.safe = file.bytes.len();
            let durable = &mut self.durable;
            each_request(&file.bytes, record::SEGMENT_HEADER_BYTES, |request| {
                durable.insert(request);
            });
        }
        drop(files);
        self.writer = Segments::new(&directory, self.disk.clone(), !self.has_journal);
        if let Some(first) = self.front.as_ref().map(|front| front.segment) {
            self.delete_segments(first);
        }
        Ok(opened)
    }

    /// Writes what the last daemon has left in its journal.
    fn write_journal(&mut self, directory: &Path) {
        let fault = self.disk.0.borrow_mut().fault.take();
        self.disk.0.borrow_mut().failed = false;
        let mut writer = Segments::new(directory, self.disk.clone(), false);
        let first = self.front.as_ref().map_or(1, |front| front.segment);
        for mut batch in self.waiting.drain(..) {
            batch.chunks.retain(|chunk| chunk.segment >= first);
            writer.write(&batch).expect("the disk has room");
        }
        self.set_fault(fault);
    }

    /// Reads entries again.
    ///
    /// # Errors
    /// Returns the last slot and the reason if their segment is missing.
    pub(super) fn fetch(&self, fetch: &Fetch) -> Result<Vec<FetchedRecord>, String> {
        let number = fetch.segment().expect("a fetch names a segment");
        let files = self.disk.0.borrow();
        let Some(file) = files.segments.get(&number) else {
            return Err(format!(
                "{} is missing",
                segment_path(Path::new(DIRECTORY), number).display()
            ));
        };
        let read = |space: &mut [u8], offset: u64| -> Result<(), ()> {
            let offset = offset as usize;
            space.copy_from_slice(&file.bytes[offset..offset + space.len()]);
            Ok(())
        };
        Ok(fetch.read_by(read).expect("memory can be read").expect("as written"))
    }

    /// Keeps a front of the log.
    ///
    /// # Errors
    /// Returns why it is not kept.
    pub(super) fn cut_log(&mut self, front: &Front) -> Result<(), String> {
        let kept = self.disk.change(|_| self.front = Some(front.clone()));
        kept.map_err(|error| error.to_string())
    }

    /// Deletes the segments before this one.
    pub(super) fn delete_segments(&mut self, before: u32) {
        let mut files = self.disk.0.borrow_mut();
        let kept = files.segments.split_off(&before);
        for file in std::mem::replace(&mut files.segments, kept).values() {
            each_request(&file.bytes, record::SEGMENT_HEADER_BYTES, |request| {
                self.before.insert(request);
            });
        }
    }
}

/// Calls `each` for every request in the records of a segment from an offset on.
fn each_request(bytes: &[u8], mut offset: usize, mut each: impl FnMut(u64)) {
    while let Ok(Some(found)) = record::decode(bytes, offset) {
        offset = found.end;
        let StoredRecord::Paxos(Record::Accept { .. }) = found.stored else { continue };
        // The genesis is no entry.
        let Ok(entry) = EntryPayload::decode(found.payload) else { continue };
        for op in entry.ops() {
            if let Op::Send { bytes, .. } = op {
                let requests = bytes.chunks_exact(REQUEST_BYTES);
                requests
                    .for_each(|request| each(u64::from_le_bytes(request.try_into().expect("8"))));
            }
        }
    }
}
