use super::*;
use std::fs::File;

use crane_core::id::NodeId;
use crane_core::paxos::{Ballot, Content, Descriptor, Entry, Members, StorageEpoch, VotingStatus};

use super::disk::HostDisk;
use super::fetch::LogFiles;
use super::segments::{ROOM_BYTES, Segments};

pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crane-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns the entry in a slot, from the log's memory or from the files.
pub(super) fn look_up(
    directory: &Path,
    log: &mut Log,
    slot: u64,
) -> Option<(Entry, Option<Payload>)> {
    LogFiles::new(directory).look_up(log, Slot(slot)).unwrap()
}

fn ballot(round: u64) -> Ballot {
    Ballot::new(round, NodeId::new(1))
}

pub(super) fn accept(slot: u64, round: u64, length: usize) -> Record {
    let descriptor = Descriptor { length: length as u32, digest: 0 };
    let entry = Entry { ballot: ballot(round), content: Content::Payload(descriptor) };
    Record::Accept { slot: Slot(slot), entry }
}

fn write(directory: &Path, log: &mut Log) {
    let mut segments = Segments::new(directory, HostDisk, true);
    let batch = log.take_batch().expect("something was appended");
    segments.write(&batch).unwrap();
    segments.sync().unwrap();
    log.durable(batch.up_to);
}

/// Creates a log with these payloads, written one by one.
fn logged(scratch: &Scratch, texts: &[&str]) -> Log {
    let mut log = Log::open(&scratch.0).unwrap().log;
    for (text, number) in texts.iter().zip(1..) {
        log.append(WriteNumber(number), &accept(number, 1, text.len()), payload(text));
        write(&scratch.0, &mut log);
    }
    log
}

/// Creates a log of several segments, each entry written alone, every fiftieth with a hint.
fn long_log(scratch: &Scratch) -> Log {
    let mut log = Log::open(&scratch.0).unwrap().log;
    let long = Payload::from(vec![7; 4_000]);
    for slot in 1..=LONG {
        log.append(WriteNumber(slot), &accept(slot, 1, long.len()), Some(long.clone()));
        if slot % 50 == 0 {
            log.append_committed(Slot(slot));
        }
        write(&scratch.0, &mut log);
    }
    assert_eq!(log.segment, 3);
    log
}

/// The number of entries of [`long_log`].
const LONG: u64 = 600;

/// Returns the offset after the last written byte of a segment.
fn used(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

fn set_length(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, &bytes).unwrap();
}

fn files(directory: &Path) -> Vec<String> {
    let items = std::fs::read_dir(directory).unwrap();
    let names = items.map(|item| item.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

pub(super) fn payload(text: &str) -> Option<Payload> {
    Some(Payload::from(text.as_bytes()))
}

#[test]
fn a_log_is_found_again_as_it_was() {
    let scratch = Scratch::new("again");
    let mut log = Log::open(&scratch.0).unwrap().log;
    log.append(WriteNumber(1), &Record::Promise { ballot: ballot(4) }, None);
    log.append(WriteNumber(2), &accept(1, 4, 3), payload("one"));
    log.append(WriteNumber(3), &accept(2, 4, 3), payload("two"));
    log.append_committed(Slot(1));
    write(&scratch.0, &mut log);
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!((opened.stored.promised, opened.stored.committed), (ballot(4), Slot(1)));
    assert_eq!((opened.entries.len(), opened.torn_bytes), (2, 0));
    let (_, two) = look_up(&scratch.0, &mut opened.log, 2).unwrap();
    assert_eq!(two.as_deref(), Some(&b"two"[..]));
    assert!(look_up(&scratch.0, &mut opened.log, 3).is_none());
    assert!(look_up(&scratch.0, &mut opened.log, 0).is_none());
}

#[test]
fn an_entry_in_a_written_slot_ends_the_log_there() {
    let scratch = Scratch::new("replace");
    let mut log = Log::open(&scratch.0).unwrap().log;
    for slot in 1..=3 {
        log.append(WriteNumber(slot), &accept(slot, 1, 3), payload("old"));
    }
    log.append(WriteNumber(4), &accept(2, 2, 3), payload("new"));
    assert_eq!(log.index.len(), 2);
    write(&scratch.0, &mut log);
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!(opened.entries.len(), 2);
    assert_eq!(opened.entries[1].ballot, ballot(2));
    let (_, new) = look_up(&scratch.0, &mut opened.log, 2).unwrap();
    assert_eq!(new.as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    let scratch = Scratch::new("torn");
    logged(&scratch, &["one", "two"]);
    let path = segment_path(&scratch.0, 1);
    set_length(&path, used(&path) - 2);
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!(opened.entries.len(), 1);
    assert!(opened.torn_bytes > 0);
    opened.log.append(WriteNumber(1), &accept(2, 2, 5), payload("again"));
    write(&scratch.0, &mut opened.log);
    let opened = Log::open(&scratch.0).unwrap();
    assert_eq!((opened.entries.len(), opened.torn_bytes), (2, 0));
}

#[test]
fn room_is_no_tail() {
    let scratch = Scratch::new("room");
    logged(&scratch, &["one", "two"]);
    let path = segment_path(&scratch.0, 1);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), ROOM_BYTES);
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!((opened.entries.len(), opened.torn_bytes), (2, 0));
    opened.log.append(WriteNumber(1), &accept(3, 1, 5), payload("three"));
    write(&scratch.0, &mut opened.log);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), ROOM_BYTES);
    assert_eq!(Log::open(&scratch.0).unwrap().entries.len(), 3);
}

#[test]
fn damage_names_file_and_offset_and_changes_nothing() {
    let scratch = Scratch::new("damage");
    logged(&scratch, &["one", "two"]);
    let path = segment_path(&scratch.0, 1);
    flip(&path, record::SEGMENT_HEADER_BYTES + 18);
    let bytes = std::fs::read(&path).unwrap();
    let error = Log::open(&scratch.0).unwrap_err();
    assert!(error.is_damage());
    assert!(error.to_string().contains("00000001.log at offset 20"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_lost_sector_below_what_was_synced_is_damage() {
    let scratch = Scratch::new("lost-sector");
    let long = "x".repeat(2000);
    logged(&scratch, &[&long, &long, &long]);
    let path = segment_path(&scratch.0, 1);
    let whole = std::fs::read(&path).unwrap();
    let lose = |sector: usize| {
        let mut bytes = whole.clone();
        bytes[sector * 512..(sector + 1) * 512].fill(0);
        std::fs::write(&path, bytes).unwrap();
        Log::open(&scratch.0)
    };
    // The first two entries end within sectors 3 and 7. The second record proves that the first was
    // on the disk, and the third proves it of the second, if the third still has its own header; no
    // record proves it of the third.
    for sector in 1..=6 {
        assert!(lose(sector).unwrap_err().is_damage(), "sector {sector}");
    }
    for sector in 9..=11 {
        let opened = lose(sector).unwrap();
        assert_eq!((opened.entries.len(), opened.torn_bytes > 0), (2, true), "sector {sector}");
    }
}

#[test]
fn a_batch_of_which_any_sectors_are_lost_is_torn() {
    let scratch = Scratch::new("batch");
    let mut log = logged(&scratch, &["one"]);
    let long = Payload::from(vec![7; 700]);
    let path = segment_path(&scratch.0, 1);
    let start = used(&path) as usize;
    for slot in 2..=6 {
        log.append(WriteNumber(slot), &accept(slot, 1, long.len()), Some(long.clone()));
    }
    write(&scratch.0, &mut log);
    let whole = std::fs::read(&path).unwrap();
    let end = used(&path) as usize;
    let sectors: Vec<usize> = (start / 512..=(end - 1) / 512).collect();
    for lost in 1..1_u32 << sectors.len() {
        let mut bytes = whole.clone();
        for (place, sector) in sectors.iter().enumerate() {
            if lost & 1 << place != 0 {
                // The first sector already had content, and keeps it.
                bytes[(sector * 512).max(start)..(sector + 1) * 512].fill(0);
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let opened = Log::open(&scratch.0).unwrap_or_else(|error| panic!("{lost:b}: {error}"));
        assert!((1..6).contains(&opened.entries.len()), "{lost:b}");
        assert_eq!(std::fs::metadata(&path).unwrap().len() < ROOM_BYTES, opened.torn_bytes > 0);
    }
}

#[test]
fn segments_follow_each_other_and_none_may_be_missing() {
    let scratch = Scratch::new("segments");
    let mut log = long_log(&scratch);
    let (_, first) = look_up(&scratch.0, &mut log, 1).unwrap();
    assert_eq!(first.map(|payload| payload.len()), Some(4_000));
    assert_eq!(Log::open(&scratch.0).unwrap().entries.len() as u64, LONG);
    let names = files(&scratch.0);
    assert_eq!(names.len(), 4);
    // A closed segment has no room.
    let one = segment_path(&scratch.0, 1);
    assert_eq!(std::fs::metadata(&one).unwrap().len(), used(&one));
    // Every lost file is detected, the last ones too.
    let aside = scratch.0.join("aside");
    for first in 0..4 {
        for count in 1..=4 - first {
            let lost = &names[first..first + count];
            std::fs::create_dir(&aside).unwrap();
            for name in lost {
                std::fs::rename(scratch.0.join(name), aside.join(name)).unwrap();
            }
            match Log::open(&scratch.0) {
                // No file is left, which can only be known from outside of the log.
                Ok(opened) => assert!(opened.is_new && count == 4),
                Err(error) => {
                    assert!(matches!(error, LogError::Missing(_)), "{lost:?}: {error}");
                    assert!(error.to_string().contains(&lost[0]), "{lost:?}: {error}");
                }
            }
            for name in lost {
                std::fs::rename(aside.join(name), scratch.0.join(name)).unwrap();
            }
            std::fs::remove_dir(&aside).unwrap();
        }
    }
    assert_eq!(Log::open(&scratch.0).unwrap().entries.len() as u64, LONG);
}

#[test]
fn what_a_segment_lost_at_its_end_is_damage_if_another_follows() {
    let scratch = Scratch::new("shortened");
    let log = long_log(&scratch);
    let path = segment_path(&scratch.0, 1);
    let whole = std::fs::read(&path).unwrap();
    let last = log.index.iter().rfind(|place| place.segment == 1).unwrap().offset as usize;
    // The cut is in the middle of a record; then between two records, so that a slot is missing;
    // then between two records, so that only the closing record is missing.
    let closing = whole.len() - record::RECORD_HEADER_BYTES - 1;
    for length in [0, 10, record::SEGMENT_HEADER_BYTES, 1_000_000, last, closing, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = Log::open(&scratch.0).unwrap_err();
        assert!(
            error.is_damage() && error.to_string().contains("00000001.log"),
            "{length}: {error}"
        );
        let mut zeros = whole[..length].to_vec();
        zeros.resize(whole.len(), 0);
        std::fs::write(&path, &zeros).unwrap();
        assert!(Log::open(&scratch.0).unwrap_err().is_damage(), "{length}");
    }
}

#[test]
fn a_record_that_does_not_follow_is_damage() {
    let promise = |round| StoredRecord::Paxos(Record::Promise { ballot: ballot(round) });
    let entry = |slot, round| StoredRecord::Paxos(accept(slot, round, 0));
    let adopt =
        |up_to| StoredRecord::Paxos(Record::Adopt { ballot: ballot(3), up_to: Slot(up_to) });
    let sound = [promise(1), entry(1, 1), promise(3), entry(2, 1), adopt(2), entry(2, 3)];
    let mut breaking = vec![sound.to_vec(); 4];
    breaking[0].push(entry(4, 3));
    breaking[1].push(promise(3));
    breaking[2].push(adopt(3));
    breaking[3].push(entry(0, 3));
    let open = |records: &[StoredRecord]| {
        let scratch = Scratch::new("follows");
        let mut bytes = record::segment_header(1).to_vec();
        for stored in records {
            record::encode(stored, b"", 0, &mut bytes);
        }
        std::fs::write(segment_path(&scratch.0, 1), &bytes).unwrap();
        std::fs::write(segment_path(&scratch.0, 2), record::segment_header(2)).unwrap();
        Log::open(&scratch.0)
    };
    assert_eq!(open(&sound).unwrap().entries.len(), 2);
    for records in breaking {
        assert!(matches!(open(&records), Err(LogError::Damaged(..))), "{records:?}");
    }
}

#[test]
fn a_log_that_was_never_written_may_be_torn_to_nothing() {
    let scratch = Scratch::new("headless");
    let header = record::segment_header(1);
    for first in [&header[..0], &header[..9], &[0; 20], &[0; 4096], &header] {
        for second in [None, Some(&[][..]), Some(&[0; 20]), Some(&record::segment_header(2))] {
            std::fs::write(segment_path(&scratch.0, 1), first).unwrap();
            match second {
                Some(second) => std::fs::write(segment_path(&scratch.0, 2), second).unwrap(),
                None => {
                    let _ = std::fs::remove_file(segment_path(&scratch.0, 2));
                }
            }
            let mut opened = Log::open(&scratch.0).unwrap();
            assert!(opened.is_new && opened.entries.is_empty());
            opened.log.append(WriteNumber(1), &accept(1, 1, 3), payload("one"));
            write(&scratch.0, &mut opened.log);
            assert_eq!(Log::open(&scratch.0).unwrap().entries.len(), 1);
        }
    }
}

/// Returns the state of a log, for comparison.
fn whole(opened: &Opened) -> (paxos::DurableState, Vec<Entry>, Option<Slot>) {
    (opened.stored, opened.entries.clone(), opened.log.genesis())
}

#[test]
fn a_cut_log_starts_behind_its_anchor() {
    let scratch = Scratch::new("cut");
    drop(long_log(&scratch));
    let before = Log::open(&scratch.0).unwrap();
    let (stored, entries, genesis) = whole(&before);
    drop(before);
    for (behind, first) in [(1, 1), (100, 1), (300, 2), (301, 2), (599, 3), (600, 3)] {
        let mut opened = Log::open(&scratch.0).unwrap();
        let snapshot = opened.snapshot_at(Slot(behind), Members::first(3));
        assert_eq!((snapshot.slot, snapshot.ballot), (Slot(behind), ballot(1)));
        opened.log.cut(&scratch.0, &snapshot).unwrap();
        assert_eq!(files(&scratch.0)[0], format!("{first:08}.log"));
        let mut again = Log::open(&scratch.0).unwrap();
        for log in [&mut opened.log, &mut again.log] {
            assert!(look_up(&scratch.0, log, behind).is_none());
            assert_eq!(look_up(&scratch.0, log, behind + 1).is_some(), behind < LONG);
            assert_eq!(log.genesis_payload().map(|bytes| bytes.len()), Some(4_000));
        }
        let expected = paxos::DurableState { snapshot: Some(snapshot), ..stored };
        assert_eq!(whole(&again), (expected, entries[behind as usize..].to_vec(), genesis));
    }
    let mut log = Log::open(&scratch.0).unwrap().log;
    log.append(WriteNumber(1), &accept(LONG + 1, 2, 3), payload("end"));
    write(&scratch.0, &mut log);
    let opened = Log::open(&scratch.0).unwrap();
    assert_eq!((opened.entries.len(), opened.stored.accepted), (1, ballot(2)));
}

#[test]
fn a_log_can_be_cut_while_it_is_written() {
    let scratch = Scratch::new("cut-running");
    let mut log = logged(&scratch, &["one", "two", "three", "four"]);
    let opened = Log::open(&scratch.0).unwrap();
    log.append(WriteNumber(5), &accept(5, 2, 4), payload("five"));
    log.cut(&scratch.0, &opened.snapshot_at(Slot(2), Members::first(3))).unwrap();
    log.append(WriteNumber(6), &accept(4, 3, 5), payload("other"));
    write(&scratch.0, &mut log);
    assert_eq!((log.front(), log.last()), (Slot(2), Slot(4)));
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!(opened.entries.iter().map(|entry| entry.ballot.round()).collect::<Vec<_>>(), [1, 3]);
    for log in [&mut log, &mut opened.log] {
        let (_, other) = look_up(&scratch.0, log, 4).unwrap();
        assert_eq!(other.as_deref(), Some(&b"other"[..]));
    }
}

#[test]
fn a_cut_that_a_crash_broke_off_is_as_before_or_done() {
    let scratch = Scratch::new("cut-crash");
    drop(long_log(&scratch));
    let log = &scratch.0;
    let before = whole(&Log::open(log).unwrap());
    let names = files(log);
    let copied = Scratch::new("cut-crash-copy");
    let copy = &copied.0;
    for name in &names {
        std::fs::copy(log.join(name), copy.join(name)).unwrap();
    }
    let mut opened = Log::open(log).unwrap();
    let snapshot = opened.snapshot_at(Slot(590), Members::first(3));
    assert_eq!(opened.log.cut(&scratch.0, &snapshot).unwrap(), 2);
    let done = whole(&Log::open(log).unwrap());
    assert_eq!(done.1.len(), 10);
    let front = std::fs::read(log.join("front")).unwrap();
    // The new front is incomplete; then it is complete, and any of the old segments may still
    // exist.
    for length in [0, 7, front.len()] {
        std::fs::write(copy.join("front.new"), &front[..length]).unwrap();
        assert_eq!(whole(&Log::open(copy).unwrap()), before);
    }
    for kept in [&[1, 2][..], &[2], &[1], &[]] {
        for number in [1, 2] {
            let path = segment_path(copy, number);
            std::fs::write(&path, b"not read any more").unwrap();
            if !kept.contains(&number) {
                std::fs::remove_file(&path).unwrap();
            }
        }
        std::fs::write(copy.join("front"), &front).unwrap();
        assert_eq!(whole(&Log::open(copy).unwrap()), done);
        assert_eq!(files(copy)[0], "00000003.log");
    }
    // The front alone is no log, and a damaged front is none either.
    flip(&copy.join("front"), 30);
    assert!(Log::open(copy).unwrap_err().is_damage());
    std::fs::write(copy.join("front"), &front).unwrap();
    std::fs::remove_file(segment_path(copy, 3)).unwrap();
    assert!(Log::open(copy).unwrap_err().is_damage());
}

#[test]
fn a_log_can_begin_behind_an_anchor() {
    let scratch = Scratch::new("begin");
    let snapshot = paxos::SnapshotMeta {
        slot: Slot(40),
        ballot: ballot(2),
        ..paxos::SnapshotMeta::genesis(Members::first(3))
    };
    let stored = paxos::DurableState {
        promised: ballot(3),
        accepted: ballot(2),
        voting: VotingStatus::Voter { epoch: StorageEpoch(5) },
        committed: Slot(40),
        snapshot: Some(snapshot),
    };
    Log::begin(&scratch.0, &stored, Some((Slot(1), b"genesis".to_vec()))).unwrap();
    // A crash may have come before the first segment was created, or during its creation.
    std::fs::remove_file(segment_path(&scratch.0, 2)).unwrap();
    for header in [Some(&record::segment_header(1)[..]), Some(&[0; 20]), Some(&[]), None] {
        std::fs::remove_file(segment_path(&scratch.0, 1)).unwrap();
        if let Some(header) = header {
            std::fs::write(segment_path(&scratch.0, 1), header).unwrap();
        }
        assert_eq!(whole(&Log::open(&scratch.0).unwrap()), (stored, Vec::new(), Some(Slot(1))));
    }
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!(whole(&opened), (stored, Vec::new(), Some(Slot(1))));
    assert_eq!(opened.log.genesis_payload().map(|bytes| &bytes[..]), Some(&b"genesis"[..]));
    opened.log.append(WriteNumber(1), &accept(41, 3, 3), payload("new"));
    write(&scratch.0, &mut opened.log);
    let mut opened = Log::open(&scratch.0).unwrap();
    let (entry, new) = look_up(&scratch.0, &mut opened.log, 41).unwrap();
    assert_eq!((entry.ballot, new.as_deref()), (ballot(3), Some(&b"new"[..])));
    // Agreement starts from the durable state.
    let config = paxos::Config::new(NodeId::new(2).unwrap(), Members::first(3), 7);
    let now = crane_core::time::Instant::START;
    let entries = (41..).map(Slot).zip(opened.entries);
    let node = paxos::Node::<8>::restore(config, now, opened.stored, entries);
    assert_eq!((node.last(), node.committed(), node.snapshot()), (Slot(41), Slot(40), snapshot));
}
