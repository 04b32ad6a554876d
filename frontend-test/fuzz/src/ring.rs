//! Arbitrary content of the shared memory, as a faulty server may leave it. The daemon must get
//! records or an error, and must not touch a byte outside of the ring.

use crane_shm::ring::{Positions, RingError, RingReader, RingWriter};

const CAPACITY: usize = 512;
const POSITIONS: usize = size_of::<Positions>();
const GUARD: u8 = 0xa5;

/// The two positions, the ring, and bytes that belong to neither.
#[repr(C, align(64))]
struct Memory {
    positions: [u8; POSITIONS],
    data: [u8; CAPACITY],
    guard: [u8; 256],
}

/// Fills positions and ring with any bytes, and then reads or writes as the daemon while the server
/// spoils more bytes.
pub(crate) fn ring(bytes: &[u8]) {
    let mut memory =
        Box::new(Memory { positions: [0; POSITIONS], data: [0; CAPACITY], guard: [GUARD; 256] });
    let Some((how, rest)) = bytes.split_first() else { return };
    let (first, rest) = rest.split_at(rest.len().min(16));
    let (written, read) = first.split_at(first.len().min(8));
    let at: *mut Memory = &mut *memory;
    // SAFETY: both lie in `memory`, which lives to the end of this function.
    let (positions, data) = unsafe { (&raw mut (*at).positions, &raw mut (*at).data) };
    let (positions, data) = (positions.cast::<u8>(), data.cast::<u8>());
    spoil(positions, POSITIONS, 0, written);
    spoil(positions, POSITIONS, POSITIONS / 2, read);
    let (start, mut changes) = rest.split_at(rest.len().min(CAPACITY));
    spoil(data, CAPACITY, 0, start);
    let positions_there = positions.cast::<Positions>().cast_const();
    // SAFETY: positions and ring live to the end of this function; the ring's length is a multiple
    // of 64, and the ring is aligned; it has one reader and one writer.
    let (mut reader, mut writer) = unsafe {
        (
            RingReader::new(positions_there, data.cast_const(), CAPACITY),
            RingWriter::new(positions_there, data, CAPACITY),
        )
    };
    for round in 0..64_u64 {
        if how & 1 == 0 {
            let inside = data.addr()..data.addr() + CAPACITY;
            match reader.peek() {
                Ok(Some(record)) => {
                    let from = record.bytes.as_ptr().addr();
                    assert!(inside.contains(&from) || record.bytes.is_empty());
                    assert!(from + record.bytes.len() <= inside.end);
                    std::hint::black_box(
                        record.bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>(),
                    );
                }
                Ok(None) => {}
                Err(error) => assert_eq!(error, RingError::Damaged),
            }
        } else {
            let length = changes.first().map_or(8, |length| usize::from(*length));
            let _ = writer.push(7, [round; 3], &[&[0x11; 256][..length], &[0x22; 9]]);
        }
        if let [place, value, left @ ..] = changes {
            changes = left;
            let target = if place & 0x80 == 0 { (positions, POSITIONS) } else { (data, CAPACITY) };
            spoil(target.0, target.1, usize::from(place & 0x7f) * 4, &[*value; 4]);
        }
        // A record that was peeked at can be freed even if the positions have changed since then.
        if how & 1 == 0 && matches!(reader.peek(), Ok(Some(_))) {
            if how & 2 != 0 {
                spoil(positions, POSITIONS, POSITIONS / 2, &[0xff; 8]);
            }
            reader.pop();
        }
    }
    assert!(memory.guard.iter().all(|byte| *byte == GUARD), "a byte beyond the ring has changed");
}

/// Writes bytes as a faulty server does.
fn spoil(memory: *mut u8, length: usize, place: usize, bytes: &[u8]) {
    for (at, byte) in (place..length).zip(bytes) {
        // SAFETY: `at` is below `length`, the number of the caller's bytes at `memory`; no
        // reference to them lives.
        unsafe { memory.add(at).write(*byte) };
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let record = |length: u32, kind: u32, data: &[u8]| {
        let mut record = Vec::new();
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&kind.to_le_bytes());
        record.extend_from_slice(&[1; 24]);
        record.extend_from_slice(data);
        record
    };
    let ring = |how: u8, written: u64, read: u64, records: &[Vec<u8>]| {
        let mut seed = vec![how];
        seed.extend_from_slice(&written.to_le_bytes());
        seed.extend_from_slice(&read.to_le_bytes());
        seed.extend(records.concat());
        seed
    };
    let records =
        [record(8, 3, &[7; 8]), record(3, 5, &[7; 8]), record(0, u32::MAX, &[]), record(0, 1, &[])];
    let near_end = u64::MAX - 511;
    vec![
        ring(0, 40 + 40 + 512, 0, &records),
        ring(2, 80, 0, &records),
        ring(0, near_end.wrapping_add(512), near_end, &records),
        ring(0, 37, 3, &records),
        ring(1, 0, 0, &[]),
        ring(1, near_end, near_end, &[]),
        ring(1, 3, 3, &[]),
    ]
}
