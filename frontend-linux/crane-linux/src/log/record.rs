//! The bytes of a segment of the log.
//!
//! ```text
//! segment:  "CRANELOG"  version u32  number u32  crc u32   then records, then zeros
//! record:   length u32  synced u32  crc of body u32  crc of these 12 bytes u32   then its body
//! body:     StoredRecord, then the payload
//! ```
//!
//! A crash can leave the last records *torn*: the file is cut short, or a part of a sector that was
//! never written reads as zeros (etcd's rule, `server/storage/wal/decoder.go`, `isTornEntry`).
//! Every other record that does not match its checksum is *damaged*: it may hold a promise to other
//! replicas.
//!
//! Zeros alone do not distinguish a write that never reached the disk from one that was lost later.
//! Each record therefore says up to which offset its segment was known to be on the disk when the
//! record was written (`synced`). A torn record below that offset of a later record is damage as
//! well ([`is_known_synced`]).

use crane_core::id::Slot;
use crane_core::paxos::Record;
use serde::{Deserialize, Serialize};

/// The version of the layout, raised whenever it changes.
pub const LOG_VERSION: u32 = 4;
/// The number of bytes before a segment's first record.
pub const SEGMENT_HEADER_BYTES: usize = 20;
/// The number of bytes before a record's body.
pub const RECORD_HEADER_BYTES: usize = 16;
/// The number of bytes of the longest body.
pub const BODY_BYTES_MAX: usize = crane_core::limits::ENTRY_BYTES_MAX + 1024;

const MAGIC: &[u8; 8] = b"CRANELOG";
const SECTOR_BYTES: usize = 512;

/// The content of a record, apart from its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StoredRecord {
    /// A record of agreement that must be durable.
    Paxos(Record),
    /// Every slot up to this one has been committed. This is a hint, which may be lost.
    Committed(Slot),
    /// The segment ends here, and the next one continues. A segment without this record is the last
    /// one.
    Closed,
}

/// A decoded record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<'a> {
    /// The offset in the segment at which the record begins.
    pub offset: usize,
    /// The offset at which the next record begins.
    pub end: usize,
    /// The offset up to which the segment was known to be on the disk when this record was written.
    pub synced: u32,
    /// The content of the record.
    pub stored: StoredRecord,
    /// The payload; empty if it has none.
    pub payload: &'a [u8],
}

/// The reason why no record could be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// The bytes from this offset on were never written as a whole.
    Torn {
        /// The offset after the last whole record.
        offset: usize,
    },
    /// The bytes were written, and have changed since.
    Damaged {
        /// The offset at which the record begins.
        offset: usize,
    },
    /// The segment has a layout that this program does not know.
    Version {
        /// The version of the layout.
        version: u32,
    },
}

/// Returns the first bytes of a segment.
pub fn segment_header(number: u32) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&LOG_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Appends a record to `space`. `synced` is the offset that the record carries.
///
/// # Panics
/// Panics if the payload is longer than an entry can be: the caller has checked it.
pub fn encode(stored: &StoredRecord, payload: &[u8], synced: u32, space: &mut Vec<u8>) {
    let start = space.len();
    space.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    let mut words = [0; 256];
    let words = postcard::to_slice(stored, &mut words).expect("256 bytes hold any record");
    space.extend_from_slice(words);
    space.extend_from_slice(payload);
    let body = &space[start + RECORD_HEADER_BYTES..];
    assert!(body.len() <= BODY_BYTES_MAX);
    let (length, crc) = (body.len() as u32, crc32fast::hash(body));
    let header = &mut space[start..start + RECORD_HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&synced.to_le_bytes());
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
}

/// Checks the first bytes of a segment.
///
/// # Errors
/// Returns [`Bad`], whatever the bytes are.
pub fn check_segment(bytes: &[u8], number: u32) -> Result<(), Bad> {
    let expected = segment_header(number);
    let Some(header) = bytes.get(..SEGMENT_HEADER_BYTES) else {
        return Err(Bad::Torn { offset: 0 });
    };
    if header == expected {
        return Ok(());
    }
    if is_zero(header) {
        return Err(Bad::Torn { offset: 0 });
    }
    let version = word(&header[8..]);
    let whole = word(&header[16..]) == crc32fast::hash(&header[..16]);
    if whole && header.starts_with(MAGIC) && version != LOG_VERSION {
        return Err(Bad::Version { version });
    }
    Err(Bad::Damaged { offset: 0 })
}

/// Decodes the record at `offset`, or returns `None` at the end of the written bytes, after which
/// there are only zeros.
///
/// # Errors
/// Returns [`Bad`] for any bytes that are no record; never a panic. A record that looks torn may
/// still be damaged, see [`is_known_synced`].
pub fn decode(segment: &[u8], offset: usize) -> Result<Option<Found<'_>>, Bad> {
    let left = segment.get(offset..).unwrap_or_default();
    let Some(SegmentHeader { length, synced, crc }) = header(left) else {
        if is_zero(left) {
            return Ok(None);
        }
        let end = segment.len().min(offset + RECORD_HEADER_BYTES);
        let torn = left.len() < RECORD_HEADER_BYTES || has_unwritten(segment, offset, end);
        return Err(if torn { Bad::Torn { offset } } else { Bad::Damaged { offset } });
    };
    let end = offset + RECORD_HEADER_BYTES + length;
    let Some(body) = segment.get(offset + RECORD_HEADER_BYTES..end) else {
        return Err(Bad::Torn { offset });
    };
    if crc != crc32fast::hash(body) {
        let torn = has_unwritten(segment, offset + RECORD_HEADER_BYTES, end);
        return Err(if torn { Bad::Torn { offset } } else { Bad::Damaged { offset } });
    }
    match postcard::take_from_bytes::<StoredRecord>(body) {
        Ok((stored, payload)) => Ok(Some(Found { offset, end, synced, stored, payload })),
        Err(_) => Err(Bad::Damaged { offset }),
    }
}

/// Returns whether a record after `offset`, where no record could be decoded, proves that the bytes
/// at `offset` were on the disk already. The search tries every byte, because the length of the
/// undecodable record is unknown.
pub fn is_known_synced(segment: &[u8], offset: usize) -> bool {
    let used = segment.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    (offset + 1..used).any(|at| {
        let Some(SegmentHeader { length, synced, crc }) = header(&segment[at..]) else {
            return false;
        };
        let body = segment[at + RECORD_HEADER_BYTES..].get(..length);
        synced as usize > offset && body.is_some_and(|body| crc32fast::hash(body) == crc)
    })
}

struct SegmentHeader {
    length: usize,
    synced: u32,
    crc: u32,
}

/// Returns the header of a record, if the bytes begin with one.
fn header(bytes: &[u8]) -> Option<SegmentHeader> {
    let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
    let length = word(bytes) as usize;
    // A body has at least the tag of its record, so zeros are no header.
    let whole = (1..=BODY_BYTES_MAX).contains(&length)
        && word(&bytes[12..]) == crc32fast::hash(&bytes[..12]);
    whole.then(|| SegmentHeader { length, synced: word(&bytes[4..]), crc: word(&bytes[8..]) })
}

/// Returns whether a sector with a part of these bytes looks as if it was never written, which
/// means that it is zero to its end. The sector in which the bytes begin was written before, up to
/// that offset.
fn has_unwritten(segment: &[u8], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        let next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        if is_zero(&segment[at..next.min(segment.len())]) {
            return true;
        }
        at = next;
    }
    false
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crane_core::paxos::Ballot;

    fn segment(payloads: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = segment_header(3).to_vec();
        let mut offsets = Vec::new();
        for payload in payloads {
            offsets.push(bytes.len());
            let promise = Record::Promise { ballot: Ballot::ZERO };
            encode(&StoredRecord::Paxos(promise), payload, 0, &mut bytes);
        }
        (bytes, offsets)
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let (bytes, offsets) = segment(&[b"one", b"", b"three"]);
        check_segment(&bytes, 3).unwrap();
        let mut at = SEGMENT_HEADER_BYTES;
        for (payload, offset) in [&b"one"[..], b"", b"three"].iter().zip(offsets) {
            let found = decode(&bytes, at).unwrap().unwrap();
            assert_eq!((found.offset, found.payload), (offset, *payload));
            at = found.end;
        }
        assert_eq!(decode(&bytes, at), Ok(None));
    }

    #[test]
    fn a_record_that_was_cut_is_torn() {
        let (bytes, offsets) = segment(&[b"one", b"a longer one"]);
        for end in offsets[1] + 1..bytes.len() {
            assert_eq!(decode(&bytes[..end], offsets[1]), Err(Bad::Torn { offset: offsets[1] }));
        }
    }

    #[test]
    fn a_flipped_bit_is_damage_wherever_it_is() {
        let (bytes, offsets) = segment(&[&[7; 900]]);
        for at in offsets[0]..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(decode(&changed, offsets[0]), Err(Bad::Damaged { offset: offsets[0] }));
        }
    }

    #[test]
    fn a_sector_that_was_never_written_is_torn() {
        let (mut bytes, offsets) = segment(&[&[7; 2000]]);
        bytes[1024..1536].fill(0);
        assert_eq!(decode(&bytes, offsets[0]), Err(Bad::Torn { offset: offsets[0] }));
        // The sector with the header was not written, the next one was.
        let (mut bytes, offsets) = segment(&[&[7; 2000]]);
        bytes[offsets[0]..512].fill(0);
        assert_eq!(decode(&bytes, offsets[0]), Err(Bad::Torn { offset: offsets[0] }));
        // The sector in which the body ends was not written either.
        let (mut bytes, offsets) = segment(&[&[7; 2000]]);
        bytes[1536..].fill(0);
        bytes.resize(4096, 0);
        assert_eq!(decode(&bytes, offsets[0]), Err(Bad::Torn { offset: offsets[0] }));
    }

    #[test]
    fn zeros_to_the_end_are_room() {
        let (mut bytes, offsets) = segment(&[b"one"]);
        let end = bytes.len();
        bytes.resize(end + 4096, 0);
        let one = decode(&bytes, offsets[0]).unwrap().unwrap();
        assert_eq!((one.end, decode(&bytes, end)), (end, Ok(None)));
        bytes[end + 4000] = 1;
        assert!(decode(&bytes, end).is_err());
    }

    #[test]
    fn a_later_record_tells_what_was_on_the_disk() {
        let (mut bytes, offsets) = segment(&[&[7; 2000]]);
        let synced = bytes.len();
        bytes[1024..1536].fill(0);
        assert!(!is_known_synced(&bytes, offsets[0]));
        encode(&StoredRecord::Closed, b"", offsets[0] as u32, &mut bytes);
        assert!(!is_known_synced(&bytes, offsets[0]));
        encode(&StoredRecord::Closed, b"", synced as u32, &mut bytes);
        assert!(is_known_synced(&bytes, offsets[0]));
        assert!(!is_known_synced(&bytes, synced));
    }

    #[test]
    fn another_version_is_named() {
        let mut header = segment_header(1);
        header[8] = 9;
        let crc = crc32fast::hash(&header[..16]);
        header[16..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(check_segment(&header, 1), Err(Bad::Version { version: 9 }));
        assert_eq!(check_segment(&segment_header(1), 2), Err(Bad::Damaged { offset: 0 }));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1_u64;
        for length in 0..300 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let _ = decode(&bytes, 0);
            let _ = decode(&bytes, length / 2);
            let _ = check_segment(&bytes, 1);
            let _ = is_known_synced(&bytes, length / 3);
        }
    }
}
