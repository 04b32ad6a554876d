use super::*;
use crane_core::id::NodeId;
use crane_core::paxos::{Ballot, Content, Descriptor, Entry};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
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

fn ballot(round: u64) -> Ballot {
    Ballot { round, node: NodeId::new(1) }
}

fn accept(slot: u64, round: u64, length: usize) -> Record {
    let descriptor = Descriptor { length: length as u32, digest: 0 };
    let entry = Entry { ballot: ballot(round), content: Content::Payload(descriptor) };
    Record::Accept { slot: Slot(slot), entry }
}

fn write(log: &mut Log) {
    for chunk in log.take_batch().expect("something was appended").chunks {
        let path = segment_path(&log.directory, chunk.segment);
        let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
        file.write_all_at(&chunk.bytes, chunk.offset).unwrap();
    }
}

fn payload(text: &str) -> Option<Payload> {
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
    write(&mut log);
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!((opened.stored.promised, opened.stored.committed), (ballot(4), Slot(1)));
    assert_eq!((opened.entries.len(), opened.torn_bytes), (2, 0));
    let (_, two) = opened.log.read(Slot(2)).unwrap().unwrap();
    assert_eq!(two.as_deref(), Some(&b"two"[..]));
    assert!(opened.log.read(Slot(3)).unwrap().is_none());
    assert!(opened.log.read(Slot(0)).unwrap().is_none());
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
    write(&mut log);
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!(opened.entries.len(), 2);
    assert_eq!(opened.entries[1].ballot, ballot(2));
    let (_, new) = opened.log.read(Slot(2)).unwrap().unwrap();
    assert_eq!(new.as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    let scratch = Scratch::new("torn");
    let mut log = Log::open(&scratch.0).unwrap().log;
    log.append(WriteNumber(1), &accept(1, 1, 3), payload("one"));
    log.append(WriteNumber(2), &accept(2, 1, 3), payload("two"));
    write(&mut log);
    let path = segment_path(&scratch.0, 1);
    let length = std::fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(length - 2).unwrap();
    let mut opened = Log::open(&scratch.0).unwrap();
    assert_eq!(opened.entries.len(), 1);
    assert!(opened.torn_bytes > 0);
    opened.log.append(WriteNumber(1), &accept(2, 2, 5), payload("again"));
    write(&mut opened.log);
    let opened = Log::open(&scratch.0).unwrap();
    assert_eq!((opened.entries.len(), opened.torn_bytes), (2, 0));
}

#[test]
fn damage_names_file_and_offset_and_changes_nothing() {
    let scratch = Scratch::new("damage");
    let mut log = Log::open(&scratch.0).unwrap().log;
    log.append(WriteNumber(1), &accept(1, 1, 3), payload("one"));
    write(&mut log);
    log.append(WriteNumber(2), &accept(2, 1, 3), payload("two"));
    write(&mut log);
    let path = segment_path(&scratch.0, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[record::SEGMENT_HEADER_BYTES + 14] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = Log::open(&scratch.0).unwrap_err().to_string();
    assert!(error.contains("00000001.log at offset 20"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn segments_follow_each_other_and_none_may_be_missing() {
    let scratch = Scratch::new("segments");
    let mut log = Log::open(&scratch.0).unwrap().log;
    let long = Payload::from(vec![7; 120_000]);
    for slot in 1..=600 {
        log.append(WriteNumber(slot), &accept(slot, 1, long.len()), Some(long.clone()));
        write(&mut log);
        log.durable(WriteNumber(slot));
    }
    assert!(log.segment >= 2);
    let (_, first) = log.read(Slot(1)).unwrap().unwrap();
    assert_eq!(first.as_deref(), Some(&long[..]));
    assert_eq!(Log::open(&scratch.0).unwrap().entries.len(), 600);
    std::fs::remove_file(segment_path(&scratch.0, 1)).unwrap();
    assert!(matches!(Log::open(&scratch.0), Err(LogError::Missing(_))));
}
