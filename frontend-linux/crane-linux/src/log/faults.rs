//! A failing disk, on which the log must lose nothing that it has acknowledged.
//!
//! The disk keeps two versions of each file: the one that programs see, and the one that would
//! survive a power failure. A sync makes the second equal to the first; a sync that fails drops the
//! bytes that it should have written, as Linux may do, and the next one succeeds all the same. At a
//! power failure each sector is old or new at random, and so is the length, and a name that was not
//! synced may be missing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crane_core::id::Slot;
use crane_core::paxos::WriteNumber;

use super::disk::Disk;
use super::fetch::LogFiles;
use super::segments::Segments;
use super::storage::Storage;
use super::tests::{Scratch, accept, look_up};
use super::{Log, LogError, Payload, record, segment_path};

const SECTOR: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Open,
    Write,
    MakeRoom,
    Cut,
    Sync,
    SyncNames,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    seen: Vec<u8>,
    safe: Vec<u8>,
    named: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Kept>,
    acts: Vec<Act>,
    /// The number of the act from which everything fails, because the power is off.
    power_off: Option<usize>,
    /// The number of the one act that fails.
    failing: Option<(usize, io::ErrorKind)>,
}

/// A disk. Its clones are the same disk.
#[derive(Clone, Debug, Default)]
struct BadDisk(Arc<Mutex<State>>);

impl BadDisk {
    fn act<T>(&self, act: Act, what: impl FnOnce(&mut State, bool) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        let number = state.acts.len();
        if state.power_off.is_some_and(|at| at <= number) {
            return Err(io::Error::other("no power"));
        }
        state.acts.push(act);
        let failing = state.failing.filter(|(at, _)| *at == number).map(|(_, kind)| kind);
        let done = what(&mut state, failing.is_some());
        failing.map_or(Ok(done), |kind| Err(kind.into()))
    }

    fn acts(&self) -> Vec<Act> {
        self.0.lock().unwrap().acts.clone()
    }

    /// Writes the files that a host finds on the disk when it starts again.
    fn survivors(&self, chance: &mut Chance, directory: &Path) {
        let _ = std::fs::remove_dir_all(directory);
        std::fs::create_dir_all(directory).unwrap();
        for (path, kept) in &self.0.lock().unwrap().files {
            if !kept.named && chance.half() {
                continue;
            }
            let (short, long) = (kept.safe.len(), kept.seen.len());
            let length = if chance.half() { short } else { long };
            let mut bytes = vec![0; length];
            for at in (0..length).step_by(SECTOR) {
                let from = if chance.half() { &kept.safe } else { &kept.seen };
                let sector = from.get(at..from.len().min(at + SECTOR)).unwrap_or_default();
                let count = sector.len().min(length - at);
                bytes[at..at + count].copy_from_slice(&sector[..count]);
            }
            std::fs::write(directory.join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
}

impl Disk for BadDisk {
    type File = PathBuf;

    fn open(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.act(Act::Open, |state, failing| {
            if !failing {
                state.files.entry(path.to_path_buf()).or_default();
            }
            path.to_path_buf()
        })
    }

    fn length(&mut self, file: &PathBuf) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().files[file].seen.len() as u64)
    }

    fn write(&mut self, file: &PathBuf, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.act(Act::Write, |state, failing| {
            let seen = &mut state.files.get_mut(file).unwrap().seen;
            // A failed write has written a part: whole pages, as the system writes them.
            let (start, whole) = (offset as usize, offset as usize + bytes.len());
            let half = (start + bytes.len() / 2) / SECTOR * SECTOR;
            let end = if failing { half.max(start) } else { whole };
            let count = end - start;
            if seen.len() < end {
                seen.resize(end, 0);
            }
            seen[offset as usize..end].copy_from_slice(&bytes[..count]);
        })
    }

    fn make_room(&mut self, file: &PathBuf, offset: u64, length: u64) -> io::Result<()> {
        self.act(Act::MakeRoom, |state, failing| {
            let seen = &mut state.files.get_mut(file).unwrap().seen;
            let length = if failing { length / 2 } else { length };
            seen.resize(seen.len().max((offset + length) as usize), 0);
        })
    }

    fn cut(&mut self, file: &PathBuf, length: u64) -> io::Result<()> {
        self.act(Act::Cut, |state, failing| {
            if !failing {
                state.files.get_mut(file).unwrap().seen.truncate(length as usize);
            }
        })
    }

    fn sync(&mut self, file: &PathBuf) -> io::Result<()> {
        self.act(Act::Sync, |state, failing| {
            let kept = state.files.get_mut(file).unwrap();
            if failing { kept.seen = kept.safe.clone() } else { kept.safe = kept.seen.clone() }
        })
    }

    fn sync_names(&mut self, directory: &Path) -> io::Result<()> {
        self.act(Act::SyncNames, |state, failing| {
            for (path, kept) in &mut state.files {
                kept.named |= !failing && path.parent() == Some(directory);
            }
        })
    }
}

/// A source of numbers that are the same in each run (xorshift64).
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn half(&mut self) -> bool {
        self.draw() & 1 << 40 != 0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.draw() >> 20) as usize % bound
    }
}

/// Returns bytes of which no sector is zero.
fn payload(length: usize) -> Payload {
    Payload::from(vec![0x5a; length])
}

/// Does the work of a replica: writes batches of entries, some of them synced together. Returns how
/// many entries were appended and how many of them were acknowledged, and why it ended early.
fn write_log(disk: &BadDisk, directory: &Path, chance: &mut Chance) -> (u64, u64, Option<String>) {
    let mut log = Log::open(directory).unwrap().log;
    let mut segments = Segments::new(directory, disk.clone(), true);
    let (mut appended, mut acknowledged) = (0, 0);
    for _ in 0..40 {
        for _ in 0..=chance.below(2) {
            for _ in 0..=chance.below(3) {
                appended += 1;
                let long = if chance.half() { 70_000 } else { 300 };
                let length = 1 + chance.below(long);
                let record = accept(appended, 1, length);
                log.append(WriteNumber(appended), &record, Some(payload(length)));
            }
            let batch = log.take_batch().unwrap();
            if let Err(why) = segments.write(&batch) {
                assert!(segments.sync().is_err(), "a failed disk accepts a sync");
                return (appended, acknowledged, Some(why));
            }
        }
        if let Err(why) = segments.sync() {
            assert!(segments.sync().is_err(), "a failed sync is tried again");
            return (appended, acknowledged, Some(why));
        }
        log.durable(WriteNumber(appended));
        acknowledged = appended;
    }
    (appended, acknowledged, None)
}

/// Checks that the surviving log has every acknowledged entry and no entry that was not written,
/// and can be appended to.
#[track_caller]
fn assert_sound(directory: &Path, appended: u64, acknowledged: u64, what: &str) {
    let mut opened = Log::open(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = opened.entries.len() as u64;
    assert!((acknowledged..=appended).contains(&found), "{what}: {found} of {acknowledged}");
    for slot in 1..=found {
        let (entry, bytes) = look_up(directory, &mut opened.log, slot).unwrap();
        let length = entry.content.payload().unwrap().length as usize;
        assert_eq!(bytes, Some(payload(length)), "{what}: slot {slot}");
    }
    opened.log.append(WriteNumber(1), &accept(found + 1, 2, 9), Some(payload(9)));
    let mut segments = Segments::new(directory, super::disk::HostDisk, true);
    segments.write(&opened.log.take_batch().unwrap()).unwrap();
    segments.sync().unwrap();
    assert_eq!(Log::open(directory).unwrap().entries.len() as u64, found + 1, "{what}");
}

#[test]
fn the_power_may_go_at_any_moment() {
    let (scratch, up) = (Scratch::new("power"), Scratch::new("power-up"));
    let whole = BadDisk::default();
    let (appended, acknowledged, why) = write_log(&whole, &scratch.0, &mut Chance(1));
    assert!(appended == acknowledged && why.is_none());
    let acts = whole.acts();
    for needed in [Act::Open, Act::Write, Act::MakeRoom, Act::Cut, Act::Sync, Act::SyncNames] {
        assert!(acts.contains(&needed), "no {needed:?}");
    }
    for (power_off, act) in acts.iter().enumerate() {
        let disk = BadDisk::default();
        disk.0.lock().unwrap().power_off = Some(power_off);
        let (appended, acknowledged, _) = write_log(&disk, &scratch.0, &mut Chance(1));
        for seed in 1..=3 {
            let mut chance = Chance(seed * 1000 + power_off as u64);
            disk.survivors(&mut chance, &up.0);
            let what = format!("power off at {power_off}, {act:?}, chance {seed}");
            assert_sound(&up.0, appended, acknowledged, &what);
        }
    }
}

#[test]
fn whatever_fails_is_the_last_thing_that_is_done() {
    let (scratch, up) = (Scratch::new("fails"), Scratch::new("fails-up"));
    let whole = BadDisk::default();
    write_log(&whole, &scratch.0, &mut Chance(2));
    let acts = whole.acts();
    for (number, act) in acts.iter().enumerate() {
        let kind = match act {
            Act::MakeRoom => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        let disk = BadDisk::default();
        disk.0.lock().unwrap().failing = Some((number, kind));
        let (appended, acknowledged, why) = write_log(&disk, &scratch.0, &mut Chance(2));
        let why = why.unwrap_or_else(|| panic!("{act:?} {number} failed, and nobody minded"));
        assert!(
            why.contains(".log failed") || why.contains(&*scratch.0.to_string_lossy()),
            "{why}"
        );
        assert!(why.contains("this replica stops"), "{why}");
        assert_eq!(why.contains("make room"), *act == Act::MakeRoom, "{why}");
        assert_eq!(disk.acts().len(), number + 1, "{act:?} {number} was not the last");
        let mut chance = Chance(number as u64 + 77);
        disk.survivors(&mut chance, &up.0);
        let what = format!("{act:?} failed at {number}");
        assert_sound(&up.0, appended, acknowledged, &what);
    }
}

#[test]
fn a_sync_that_failed_is_told_once_and_never_tried_again() {
    let scratch = Scratch::new("thread");
    let disk = BadDisk::default();
    let (mut storage, progress) =
        Storage::start(Segments::new(&scratch.0, disk.clone(), true), true, None);
    let mut log = Log::open(&scratch.0).unwrap().log;
    let mut told = |storage: &mut Storage, slot| {
        log.append(WriteNumber(slot), &accept(slot, 1, 9), Some(payload(9)));
        storage.write(log.take_batch().unwrap())?;
        let begun = Instant::now();
        loop {
            if let Some(outcome) = progress.try_take() {
                return outcome;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the failure is not reported");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    assert_eq!(told(&mut storage, 1).map(|synced| synced.up_to), Ok(WriteNumber(1)));
    let next = disk.acts().len();
    // After the first batch, each batch is one write and one sync.
    disk.0.lock().unwrap().failing = Some((next + 1, io::ErrorKind::Other));
    let why = told(&mut storage, 2).unwrap_err();
    assert!(why.contains("fdatasync of") && why.contains("00000001.log"), "{why}");
    let begun = Instant::now();
    while told(&mut storage, 3) != Err("the storage thread has ended".to_string()) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the storage continues after a failed sync"
        );
    }
    assert_eq!(disk.acts()[next..], [Act::Write, Act::Sync]);
}

#[test]
fn a_flipped_bit_is_damage_or_takes_nothing_away() {
    let scratch = Scratch::new("flipped");
    let disk = BadDisk::default();
    let (appended, ..) = write_log(&disk, &scratch.0, &mut Chance(3));
    let mut chance = Chance(4);
    let files: Vec<(PathBuf, Vec<u8>)> = disk
        .0
        .lock()
        .unwrap()
        .files
        .iter()
        .map(|(path, kept)| (path.clone(), kept.seen.clone()))
        .collect();
    for (path, bytes) in &files {
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(Log::open(&scratch.0).unwrap().entries.len() as u64, appended);
    let (mut damaged, mut unharmed) = (0, 0);
    for _ in 0..300 {
        let (path, bytes) = &files[chance.below(files.len())];
        let at = chance.below(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= 1 << chance.below(8);
        std::fs::write(path, changed).unwrap();
        match Log::open(&scratch.0) {
            Ok(opened) => {
                assert_eq!(opened.entries.len() as u64, appended, "{} at {at}", path.display());
                unharmed += 1;
            }
            Err(error) => {
                assert!(matches!(error, LogError::Damaged(..)), "{error}");
                damaged += 1;
            }
        }
        std::fs::write(path, bytes).unwrap();
    }
    // A flipped bit in unused room does no harm.
    println!("{damaged} times damage, {unharmed} times in what is not used");
    assert!(damaged > 100);
}

#[test]
fn damage_that_is_met_while_running_names_the_place() {
    let scratch = Scratch::new("running");
    let mut log = Log::open(&scratch.0).unwrap().log;
    let mut segments = Segments::new(&scratch.0, super::disk::HostDisk, true);
    log.append(WriteNumber(1), &accept(1, 1, 900), Some(payload(900)));
    segments.write(&log.take_batch().unwrap()).unwrap();
    let mut log = Log::open(&scratch.0).unwrap().log;
    let path = segment_path(&scratch.0, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let why = LogFiles::new(&scratch.0).look_up(&mut log, Slot(1)).unwrap_err().to_string();
    let place = format!("00000001.log at offset {}", record::SEGMENT_HEADER_BYTES);
    assert!(why.contains(&place) && why.contains("start the replica again"), "{why}");
}
