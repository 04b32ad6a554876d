//! What stands in a segment of the log, as bytes.
//!
//! ```text
//! segment:  "CRANELOG"  version u32  number u32  crc u32      then records to the end of the file
//! record:   length u32  crc of body u32  crc of these 8 bytes u32   body: Stored, then the payload
//! ```
//!
//! A crash can leave the last records *torn*: cut short, or with a sector that was never written and
//! reads as zeros (etcd's rule, `server/storage/wal/decoder.go`, `isTornEntry`). Everything else that
//! does not fit its checksum is *damage*: something that was promised to others may be in it.

use crane_core::id::Slot;
use crane_core::paxos::Record;
use serde::{Deserialize, Serialize};

/// Raised when the layout changes.
pub const LOG_VERSION: u32 = 1;
/// Bytes before a segment's first record.
pub const SEGMENT_HEADER_BYTES: usize = 20;
/// Bytes before a record's body.
pub const RECORD_HEADER_BYTES: usize = 12;
/// Bytes of the longest body.
pub const BODY_BYTES_MAX: usize = crane_core::limits::ENTRY_BYTES_MAX + 1024;

const MAGIC: &[u8; 8] = b"CRANELOG";
const SECTOR_BYTES: usize = 512;

/// What a record says, beside its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stored {
    /// What paxos wants to be durable.
    Paxos(Record),
    /// Every slot up to here has been committed. A hint: it may be lost.
    Committed(Slot),
}

/// A record that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<'a> {
    /// Where it begins in its segment.
    pub offset: usize,
    /// Where the next one begins.
    pub end: usize,
    /// What it says.
    pub stored: Stored,
    /// The payload; empty if it has none.
    pub payload: &'a [u8],
}

/// Why no record could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// Bytes from here on were never written as a whole.
    Torn {
        /// The last whole record ends here.
        offset: usize,
    },
    /// The bytes here were written, and are not what they were.
    Damaged {
        /// The record's beginning.
        offset: usize,
    },
    /// The segment is of a layout that this program does not know.
    Version {
        /// The number it has.
        version: u32,
    },
}

/// The first bytes of a segment.
pub fn segment_header(number: u32) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&LOG_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Appends a record to `space`.
///
/// # Panics
/// When the payload is longer than an entry can be: the caller has checked it.
pub fn encode(stored: &Stored, payload: &[u8], space: &mut Vec<u8>) {
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
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&header[..8]);
    header[8..].copy_from_slice(&crc.to_le_bytes());
}

/// Checks the first bytes of a segment.
///
/// # Errors
/// [`Bad`], whatever the bytes are.
pub fn check_segment(bytes: &[u8], number: u32) -> Result<(), Bad> {
    let expected = segment_header(number);
    let Some(header) = bytes.get(..SEGMENT_HEADER_BYTES) else {
        return Err(Bad::Torn { offset: 0 });
    };
    if header == expected {
        return Ok(());
    }
    if header.iter().all(|byte| *byte == 0) {
        return Err(Bad::Torn { offset: 0 });
    }
    let version = word(&header[8..]);
    let whole = word(&header[16..]) == crc32fast::hash(&header[..16]);
    if whole && header.starts_with(MAGIC) && version != LOG_VERSION {
        return Err(Bad::Version { version });
    }
    Err(Bad::Damaged { offset: 0 })
}

/// Reads the record at `offset`; `None` at the end of the segment.
///
/// # Errors
/// [`Bad`], whatever the bytes are; never a panic.
pub fn decode(segment: &[u8], offset: usize) -> Result<Option<Found<'_>>, Bad> {
    let left = segment.get(offset..).unwrap_or_default();
    if left.is_empty() {
        return Ok(None);
    }
    let Some(header) = left.get(..RECORD_HEADER_BYTES) else { return Err(Bad::Torn { offset }) };
    if word(&header[8..]) != crc32fast::hash(&header[..8]) {
        let unwritten = left.iter().all(|byte| *byte == 0);
        return Err(if unwritten { Bad::Torn { offset } } else { Bad::Damaged { offset } });
    }
    let length = word(header) as usize;
    let Some(body) = left[RECORD_HEADER_BYTES..].get(..length) else {
        return Err(Bad::Torn { offset });
    };
    let end = offset + RECORD_HEADER_BYTES + length;
    if word(&header[4..]) != crc32fast::hash(body) {
        let torn = has_unwritten_sector(segment, offset + RECORD_HEADER_BYTES, end);
        return Err(if torn { Bad::Torn { offset } } else { Bad::Damaged { offset } });
    }
    match postcard::take_from_bytes::<Stored>(body) {
        Ok((stored, payload)) => Ok(Some(Found { offset, end, stored, payload })),
        Err(_) => Err(Bad::Damaged { offset }),
    }
}

fn has_unwritten_sector(segment: &[u8], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(to);
        if segment[at..next].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = next;
    }
    false
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
            encode(&Stored::Paxos(promise), payload, &mut bytes);
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
        let (mut bytes, offsets) = segment(&[b"x"]);
        bytes.truncate(offsets[0]);
        bytes.resize(offsets[0] + 4096, 0);
        assert_eq!(decode(&bytes, offsets[0]), Err(Bad::Torn { offset: offsets[0] }));
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
        }
    }
}
