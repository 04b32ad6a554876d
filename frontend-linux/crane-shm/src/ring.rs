//! Records of bytes from one writer to one reader, through memory that both map.
//!
//! A record is a header of 32 bytes and its data, padded to a multiple of 8 bytes. A record never
//! wraps, so the reader can use its data in place: a record that does not fit before the end of the
//! ring starts at the ring's beginning, after a pad record. Positions count bytes since the start
//! and only grow.
//!
//! Neither end trusts a length or a position that the other may have corrupted. A value that leads
//! out of the ring, or between two records, is an error, and never leads to an access.

use core::sync::atomic::{AtomicU64, Ordering};

const HEADER_BYTES: usize = size_of::<RingHeader>();
const PAD: u32 = u32::MAX;
/// The alignment of records, and of the ring itself.
const ALIGNMENT: usize = align_of::<RingHeader>();

#[repr(C)]
#[derive(Clone, Copy)]
struct RingHeader {
    length: u32,
    kind: u32,
    numbers: [u64; 3],
}

/// The two positions of a ring, each on a cache line of its own.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Positions {
    /// The position up to which the ring is written. Only the writer changes it.
    written: CacheLine,
    /// The position up to which the ring is read. Only the reader changes it.
    read: CacheLine,
}

#[repr(C, align(64))]
#[derive(Debug, Default)]
struct CacheLine(AtomicU64);

impl Positions {
    /// Returns the number of bytes that are written and not read yet.
    pub fn backlog(&self) -> u64 {
        let read = self.read.0.load(Ordering::Acquire);
        self.written.0.load(Ordering::Acquire).saturating_sub(read)
    }
}

/// An error of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingError {
    /// The ring has no room for the record until the reader has read more.
    Full,
    /// The record can never fit into the ring.
    TooLong,
    /// The other side has written an impossible value.
    Damaged,
}

impl core::fmt::Display for RingError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Full => "the ring is full",
            Self::TooLong => "the record is longer than half of the ring",
            Self::Damaged => "the ring is corrupt",
        })
    }
}

impl core::error::Error for RingError {}

/// One record, as the reader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingRecord<'a> {
    /// The record's kind, whose meaning the two sides agree on.
    pub kind: u32,
    /// The record's numbers, whose meaning depends on the kind.
    pub numbers: [u64; 3],
    /// The record's data.
    pub bytes: &'a [u8],
}

/// The writing end of a ring.
#[derive(Debug)]
pub struct RingWriter {
    positions: *const Positions,
    data: *mut u8,
    capacity: usize,
}

// SAFETY: the pointers lead into a mapping that lives as long as its `Shared`, shared by design; a
// `RingWriter` is the only one of its ring and is used through `&mut`.
unsafe impl Send for RingWriter {}

impl RingWriter {
    /// Creates the writing end of the ring with these positions and data.
    ///
    /// # Safety
    /// Both stay mapped while the writer lives, `data` has `capacity` bytes aligned to 8 (a
    /// multiple of 64), and no other writer of this ring exists.
    pub unsafe fn new(positions: *const Positions, data: *mut u8, capacity: usize) -> Self {
        assert!(capacity.is_multiple_of(64) && data.addr().is_multiple_of(8));
        Self { positions, data, capacity }
    }

    /// Appends a record whose data is the sum of `parts`.
    ///
    /// # Errors
    /// Returns [`RingError::Full`] if the record may fit later, [`RingError::TooLong`] if it can
    /// never fit, and [`RingError::Damaged`] if the other side has corrupted the positions.
    pub fn push(&mut self, kind: u32, numbers: [u64; 3], parts: &[&[u8]]) -> Result<(), RingError> {
        assert!(kind != PAD);
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let size = record_size(length);
        if size > self.capacity / 2 {
            return Err(RingError::TooLong);
        }
        // SAFETY: `new`'s caller keeps the positions mapped.
        let positions = unsafe { &*self.positions };
        let written = positions.written.0.load(Ordering::Relaxed);
        let read = positions.read.0.load(Ordering::Acquire);
        let used = written.wrapping_sub(read) as usize;
        let place = (written % self.capacity as u64) as usize;
        let pad = if place + size > self.capacity { self.capacity - place } else { 0 };
        if used > self.capacity || !place.is_multiple_of(ALIGNMENT) {
            return Err(RingError::Damaged);
        }
        if used + pad + size > self.capacity {
            return Err(RingError::Full);
        }
        if pad >= HEADER_BYTES {
            self.put_header(place, RingHeader { length: 0, kind: PAD, numbers: [0; 3] });
        }
        let place = if pad > 0 { 0 } else { place };
        self.put_header(place, RingHeader { length: length as u32, kind, numbers });
        let mut at = place + HEADER_BYTES;
        for part in parts {
            // SAFETY: the record fits before the end of the ring (see `pad`), and the reader does
            // not look at it before `written` says so.
            unsafe {
                core::ptr::copy_nonoverlapping(part.as_ptr(), self.data.add(at), part.len());
            }
            at += part.len();
        }
        positions.written.0.store(written.wrapping_add((pad + size) as u64), Ordering::Release);
        Ok(())
    }

    fn put_header(&mut self, place: usize, header: RingHeader) {
        assert!(place + HEADER_BYTES <= self.capacity && place.is_multiple_of(ALIGNMENT));
        // SAFETY: inside the ring and aligned (asserted).
        unsafe { self.data.add(place).cast::<RingHeader>().write(header) };
    }
}

/// The reading end of a ring.
#[derive(Debug)]
pub struct RingReader {
    positions: *const Positions,
    data: *const u8,
    capacity: usize,
    /// The end of the last record that `peek` returned.
    peeked: Option<u64>,
}

// SAFETY: as for `RingWriter`.
unsafe impl Send for RingReader {}

impl RingReader {
    /// Creates the reading end of the ring with these positions and data.
    ///
    /// # Safety
    /// As for [`RingWriter::new`]; no other reader of this ring exists.
    pub unsafe fn new(positions: *const Positions, data: *const u8, capacity: usize) -> Self {
        assert!(capacity.is_multiple_of(64) && data.addr().is_multiple_of(8));
        Self { positions, data, capacity, peeked: None }
    }

    /// Returns the record at the head, which stays there until [`RingReader::pop`].
    ///
    /// # Errors
    /// Returns [`RingError::Damaged`] if the writer has corrupted the ring.
    pub fn peek(&mut self) -> Result<Option<RingRecord<'_>>, RingError> {
        // SAFETY: `new`'s caller keeps the positions mapped.
        let positions = unsafe { &*self.positions };
        self.peeked = None;
        let mut read = positions.read.0.load(Ordering::Relaxed);
        let written = positions.written.0.load(Ordering::Acquire);
        loop {
            let left = written.wrapping_sub(read);
            if left == 0 {
                return Ok(None);
            }
            if left > self.capacity as u64 {
                return Err(RingError::Damaged);
            }
            let place = (read % self.capacity as u64) as usize;
            if !place.is_multiple_of(ALIGNMENT) {
                return Err(RingError::Damaged);
            }
            let until_end = self.capacity - place;
            if until_end < HEADER_BYTES {
                read = read.wrapping_add(until_end as u64);
                continue;
            }
            // SAFETY: a whole header lies before the end of the ring, and `place` is aligned
            // (looked at above).
            let header = unsafe { self.data.add(place).cast::<RingHeader>().read() };
            if header.kind == PAD {
                read = read.wrapping_add(until_end as u64);
                continue;
            }
            let length = header.length as usize;
            let size = record_size(length);
            if size > until_end || size as u64 > written.wrapping_sub(read) {
                return Err(RingError::Damaged);
            }
            self.peeked = Some(read.wrapping_add(size as u64));
            // SAFETY: the data lies inside the ring (checked); the writer does not touch it before
            // `pop` has moved the reading position.
            let bytes =
                unsafe { core::slice::from_raw_parts(self.data.add(place + HEADER_BYTES), length) };
            return Ok(Some(RingRecord { kind: header.kind, numbers: header.numbers, bytes }));
        }
    }

    /// Frees the last record that [`RingReader::peek`] returned.
    ///
    /// # Panics
    /// Panics if `peek` has returned no record since the last call.
    pub fn pop(&mut self) {
        let end = self.peeked.take().expect("peek comes before pop");
        // SAFETY: `new`'s caller keeps the positions mapped.
        let positions = unsafe { &*self.positions };
        positions.read.0.store(end, Ordering::Release);
    }
}

const fn record_size(length: usize) -> usize {
    HEADER_BYTES + length.next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Data([u8; 512]);

    #[test]
    fn records_come_out_as_they_went_in_through_many_wraps() {
        let positions = Positions::default();
        let mut data = Data([0; 512]);
        let start = data.0.as_mut_ptr();
        // SAFETY: both live to the end of the test; one writer, one reader.
        let mut writer = unsafe { RingWriter::new(&positions, start, 512) };
        // SAFETY: as above.
        let mut reader = unsafe { RingReader::new(&positions, start, 512) };
        let bytes: Vec<u8> = (0..200).collect();
        for round in 0..1000_usize {
            let first = &bytes[..round % 97];
            let second = &bytes[..round % 13];
            writer.push(7, [round as u64, 1, 2], &[first, second]).unwrap();
            let record = reader.peek().unwrap().unwrap();
            assert_eq!((record.kind, record.numbers), (7, [round as u64, 1, 2]));
            assert_eq!(record.bytes, [first, second].concat());
            reader.pop();
            assert_eq!(reader.peek(), Ok(None));
        }
    }

    #[test]
    fn a_full_ring_says_so_and_loses_nothing() {
        let positions = Positions::default();
        let mut data = Data([0; 512]);
        let start = data.0.as_mut_ptr();
        // SAFETY: both live to the end of the test; one writer, one reader.
        let mut writer = unsafe { RingWriter::new(&positions, start, 512) };
        // SAFETY: as above.
        let mut reader = unsafe { RingReader::new(&positions, start, 512) };
        assert_eq!(writer.push(1, [0; 3], &[&[0; 300]]), Err(RingError::TooLong));
        let mut pushed = 0;
        while writer.push(1, [pushed, 0, 0], &[&[0; 40]]).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, 7);
        for expected in 0..pushed {
            assert_eq!(reader.peek().unwrap().unwrap().numbers[0], expected);
            reader.pop();
        }
        assert_eq!(reader.peek(), Ok(None));
    }

    #[test]
    fn a_length_out_of_the_ring_is_damage() {
        let positions = Positions::default();
        let mut data = Data([0; 512]);
        let start = data.0.as_mut_ptr();
        // SAFETY: both live to the end of the test; one writer, one reader.
        let mut writer = unsafe { RingWriter::new(&positions, start, 512) };
        // SAFETY: as above.
        let mut reader = unsafe { RingReader::new(&positions, start, 512) };
        writer.push(1, [0; 3], &[&[0; 8]]).unwrap();
        writer.put_header(0, RingHeader { length: 10_000, kind: 1, numbers: [0; 3] });
        assert_eq!(reader.peek(), Err(RingError::Damaged));
    }

    #[test]
    fn spoilt_positions_are_damage_and_never_a_panic() {
        let positions = Positions::default();
        let mut data = Data([0; 512]);
        let start = data.0.as_mut_ptr();
        // SAFETY: both live to the end of the test; one writer, one reader.
        let mut writer = unsafe { RingWriter::new(&positions, start, 512) };
        // SAFETY: as above.
        let mut reader = unsafe { RingReader::new(&positions, start, 512) };
        let move_to = |written: u64, read: u64| {
            positions.written.0.store(written, Ordering::Relaxed);
            positions.read.0.store(read, Ordering::Relaxed);
        };
        // The first position lies between two records; in the second case the reading position is
        // beyond the writing one.
        for (written, read) in [(43, 3), (0, 40), (u64::MAX, u64::MAX - 40)] {
            move_to(written, read);
            assert_eq!(reader.peek(), Err(RingError::Damaged), "{written} {read}");
            assert_eq!(writer.push(1, [0; 3], &[]), Err(RingError::Damaged), "{written} {read}");
        }
        // At the end of their range the positions start again from 0.
        let near_end = u64::MAX - 511;
        move_to(near_end, near_end);
        for number in 0..40 {
            writer.push(1, [number, 0, 0], &[&[1; 70]]).unwrap();
            assert_eq!(reader.peek().unwrap().unwrap().numbers[0], number);
            reader.pop();
        }
        // `pop` frees the record that `peek` returned, whatever the writer has done to the position
        // since.
        writer.push(1, [0; 3], &[]).unwrap();
        assert!(reader.peek().unwrap().is_some());
        let end = positions.written.0.load(Ordering::Relaxed);
        positions.read.0.store(u64::MAX, Ordering::Relaxed);
        reader.pop();
        assert_eq!(positions.read.0.load(Ordering::Relaxed), end);
    }
}
