//! A data directory with arbitrary content.

use std::fs;

use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{
    Ballot, Config, Content, Effects, Entry, Input, Members, Node, Record, StorageEpoch,
    VotingStatus,
};
use crane_core::time::Instant;
use crane_linux::decoders::record::{
    self, Bad, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, StoredRecord, segment_header,
};
use crane_linux::decoders::{
    Base, BasePart, DataDirectory, Log, LogError, LogFiles, Lookup, Opened, describe, segment_path,
};

use crate::forge::{Piece, input, pieces};
use crate::scratch::Scratch;

/// Reads a segment, which must stop at its end or at the first fault, and not later.
pub(crate) fn segment(bytes: &[u8]) {
    for number in [1, 2, u32::MAX] {
        check_header(bytes, number);
    }
    for start in 0..bytes.len().min(40) {
        walk(bytes, start);
    }
    for forged in forged_segments(bytes) {
        check_header(&forged, 1);
        walk(&forged, SEGMENT_HEADER_BYTES);
    }
}

fn check_header(bytes: &[u8], number: u32) {
    match record::check_segment(bytes, number) {
        Ok(()) => assert!(bytes.starts_with(&segment_header(number))),
        Err(Bad::Torn { offset } | Bad::Damaged { offset }) => assert_eq!(offset, 0),
        Err(Bad::Version { version }) => assert_ne!(version, record::LOG_VERSION),
    }
}

fn walk(segment: &[u8], start: usize) {
    let mut at = start;
    loop {
        match record::decode(segment, at) {
            Ok(Some(found)) => {
                assert_eq!(found.offset, at);
                assert!(found.end >= at + RECORD_HEADER_BYTES && found.end <= segment.len());
                assert!(found.payload.len() < found.end - at);
                let mut again = Vec::new();
                if found.payload.len() < record::BODY_BYTES_MAX / 2 {
                    record::encode(&found.stored, found.payload, found.synced, &mut again);
                    let again = record::decode(&again, 0).expect("a record that was just written");
                    let again = again.expect("a record that is not the end");
                    assert_eq!((again.stored, again.payload), (found.stored, found.payload));
                }
                at = found.end;
            }
            Ok(None) => {
                let rest = segment.get(at..).unwrap_or_default();
                let unwritten = rest.iter().all(|byte| *byte == 0);
                return assert!(unwritten, "reading stopped before the end");
            }
            Err(Bad::Torn { offset } | Bad::Damaged { offset }) => {
                return assert_eq!(offset, at, "another record was blamed");
            }
            Err(Bad::Version { .. }) => panic!("a record has no version"),
        }
    }
}

/// Returns segments, numbered from 1, whose records have the pieces as bodies.
fn forged_segments(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = vec![segment_header(1).to_vec()];
    for piece in pieces(bytes) {
        let number = segments.len() as u32 + 1;
        let segment = segments.last_mut().expect("the first segment");
        match piece.how % 16 {
            0..=9 => forge_record(&piece, segment),
            10 => segment.extend_from_slice(piece.bytes),
            11 => segment.resize(segment.len() + 4 * piece.bytes.len(), 0),
            12 => segments.push(segment_header(number).to_vec()),
            13 => {
                forge_record(&piece, segment);
                let place = segment.len() - 1 - usize::from(piece.how) % RECORD_HEADER_BYTES;
                segment[place] ^= 1 << (piece.how >> 5);
            }
            14 => segment.truncate(segment.len().saturating_sub(piece.bytes.len())),
            _ => {
                forge_record(&piece, segment);
                segment.truncate(segment.len() - 1);
            }
        }
    }
    segments
}

/// Appends a record with this body, whole by its checksums.
fn forge_record(piece: &Piece<'_>, segment: &mut Vec<u8>) {
    let mut header = [0; RECORD_HEADER_BYTES];
    header[..4].copy_from_slice(&(piece.bytes.len() as u32).to_le_bytes());
    // The segment was synced up to here, or not at all.
    let synced = if piece.how.is_multiple_of(2) { 0 } else { segment.len() as u32 };
    header[4..8].copy_from_slice(&synced.to_le_bytes());
    header[8..12].copy_from_slice(&crc32fast::hash(piece.bytes).to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    segment.extend_from_slice(&header);
    segment.extend_from_slice(piece.bytes);
}

/// Returns bodies of records, as a replica writes them.
fn bodies() -> Vec<Vec<u8>> {
    let node = NodeId::new(1).expect("at most 7");
    let ballot = Ballot::ZERO.next_of(node);
    let accept = |slot, ballot, content| {
        StoredRecord::Paxos(Record::Accept { slot: Slot(slot), entry: Entry { ballot, content } })
    };
    let payload = b"an entry's payload";
    let described = Content::Payload(describe(payload));
    let next = ballot.next_of(NodeId::new(2).expect("at most 7"));
    let records = [
        (StoredRecord::Paxos(Record::VotingStatus(VotingStatus::Ready)), &b""[..]),
        (
            StoredRecord::Paxos(Record::VotingStatus(VotingStatus::Voter {
                epoch: StorageEpoch::FIRST,
            })),
            b"",
        ),
        (StoredRecord::Paxos(Record::Promise { ballot }), b""),
        (accept(1, ballot, described), payload),
        (StoredRecord::Paxos(Record::Adopt { ballot, up_to: Slot(1) }), b""),
        (accept(2, ballot, described), payload),
        (StoredRecord::Committed(Slot(2)), b""),
        (accept(3, ballot, Content::Rejoin { node, epoch: StorageEpoch(7) }), b""),
        (accept(3, next, Content::Change(Members::first(4))), b""),
        (StoredRecord::Paxos(Record::Adopt { ballot: next, up_to: Slot(2) }), b""),
        (accept(3, next, described), payload),
    ];
    let body = |(stored, payload): (StoredRecord, &[u8])| {
        [postcard::to_allocvec(&stored).expect("plain data"), payload.to_vec()].concat()
    };
    records.into_iter().map(body).collect()
}

pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    let mut seeds = log_seeds();
    let forged: Vec<Vec<u8>> = seeds.iter().flat_map(|seed| forged_segments(seed)).collect();
    seeds.extend(forged);
    seeds.push(segment_header(1).to_vec());
    seeds.push(vec![0; 600]);
    seeds
}

/// Opens a directory with any segments as a log, which may fail only without a change of the files.
pub(crate) fn log(bytes: &[u8]) {
    let directory = Scratch::new("log");
    for (number, segment) in (1..).zip(forged_segments(bytes)) {
        fs::write(segment_path(&directory.0, number), segment).expect("room for a segment");
    }
    let before = directory.files();
    match Log::open(&directory.0) {
        Ok(opened) => {
            check_opened(&directory, opened);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!matches!(error, LogError::Io(..)), "{error}");
            assert_eq!(before, directory.files(), "a failed open has changed the files");
        }
    }
}

fn check_opened(directory: &Scratch, opened: Opened) {
    let Opened { mut log, stored, entries, .. } = opened;
    let mut files = LogFiles::new(&directory.0);
    for (slot, entry) in (1..).map(Slot).zip(&entries) {
        let (found, payload) =
            files.look_up(&mut log, slot).expect("a readable entry").expect("an entry of the log");
        assert_eq!((found, payload.is_some()), (*entry, entry.content.payload().is_some()));
    }
    assert_eq!(log.read(Slot(entries.len() as u64 + 1)), Lookup::Absent);
    let again = Log::open(&directory.0).expect("an opened log can be opened again");
    assert_eq!((again.stored, &again.entries, again.torn_bytes), (stored, &entries, 0));
    // A node can start from the log.
    let config = Config::new(NodeId::new(1).expect("at most 7"), Members::first(3), 5);
    let log = (1..).map(Slot).zip(entries);
    let mut node: Node<64> = Node::restore(config, Instant::START, stored, log);
    for _ in 0..20 {
        let now = node.deadline();
        node.step(now, Input::Wake, &mut Effects::new());
    }
}

pub(crate) fn log_seeds() -> Vec<Vec<u8>> {
    let bodies = bodies();
    let all = || bodies.iter().map(|body| (0, &body[..]));
    let two = all().take(6).chain([(12, &b""[..])]).chain(all().skip(6));
    let torn = all().take(8).chain([(15, &bodies[8][..])]);
    let unwritten = all().chain([(11, &[0; 200][..])]);
    let damaged = all().take(5).chain([(13, &bodies[5][..])]).chain(all().skip(6));
    vec![input(all()), input(two), input(torn), input(unwritten), input(damaged)]
}

/// Reads `meta` and `base`, which are refused or can be written and read again.
pub(crate) fn data_directory(bytes: &[u8]) {
    let scratch = Scratch::new("data");
    let directory = DataDirectory::open(&scratch.0).expect("a new directory can be opened");
    let mut pieces = pieces(bytes);
    let first = pieces.next().map_or(bytes, |piece| piece.bytes);
    let second = pieces.next().map_or(bytes, |piece| piece.bytes);
    for meta in [bytes, first, second] {
        fs::write(scratch.0.join("meta"), meta).expect("room for a file");
        if let Ok(meta) = directory.meta() {
            let meta = meta.expect("the file that was written");
            let _ = meta.group_number();
            assert!(meta.next_generation(0) >= meta.generation);
            directory.put_meta(&meta).expect("room for a file");
            assert_eq!(directory.meta(), Ok(Some(meta)));
        }
    }
    for base in [bytes, first, second] {
        fs::write(scratch.0.join("base"), base).expect("room for a file");
        if let Ok(base) = directory.base() {
            let base = base.expect("the file that was written");
            assert_eq!(base.difference(&base), None);
            directory.put_base(&base).expect("room for a file");
            assert_eq!(directory.base(), Ok(Some(base)));
        }
    }
}

pub(crate) fn directory_seeds() -> Vec<Vec<u8>> {
    let roster = r#"{"as_of":0,"places":[]}"#;
    let meta = format!(
        r#"{{"version":2,"group":"00ff","node":1,"address":"a:1","witness":false,{}}}"#,
        format_args!(r#""given":["a:1"],"founders":{roster},"roster":{roster},"generation":9"#)
    );
    let meta = meta.as_bytes();
    let part = |name: &str| BasePart { name: name.into(), digest: [3; 16] };
    let base = Base { parts: vec![part("argument 1"), part("program")] };
    let base = postcard::to_allocvec(&base).expect("plain data");
    let other = br#"{"version": 3}"#;
    vec![input([(0, meta), (0, &base[..])]), meta.to_vec(), base, other.to_vec()]
}
