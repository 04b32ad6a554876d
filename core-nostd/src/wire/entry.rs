//! The payload of an entry: the primary's timestamp, ops, then one grant.
//!
//! The layout is a header of fixed size (timestamp, grant, number of ops; little-endian, so that
//! the number can be filled in when all ops are written), then the ops one after the other.

use crate::limits::{ENTRY_BYTES_MAX, ENTRY_OPS_MAX};

use super::{Op, WireError};

/// The number of bytes before the ops: timestamp, grant and number of ops.
const HEADER_BYTES: usize = 8 + 4 + 4;
const _: () = assert!(HEADER_BYTES <= crate::limits::ENTRY_HEADER_BYTES_MAX);

/// An entry in its encoded form, checked from end to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryPayload<'a> {
    /// The primary's clock, in nanoseconds since the Unix epoch. It grows from entry to entry.
    pub timestamp: u64,
    /// The clock steps that may be used before the next entry of the script is needed.
    pub grant: u32,
    /// The ops, all of them decodable.
    ops: Ops<'a>,
}

impl<'a> EntryPayload<'a> {
    /// Decodes an entry, and checks that every op in it can be decoded.
    ///
    /// # Errors
    /// Returns [`WireError::Malformed`] or [`WireError::OutOfBounds`], for any bytes that are no
    /// entry; never a panic.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = EntryReader::new(bytes)?;
        let EntryReader { timestamp, grant, ops } = reader;
        while reader.next_op()?.is_some() {}
        Ok(Self { timestamp, grant, ops })
    }

    /// Returns the ops in their order.
    pub fn ops(&self) -> Ops<'a> {
        self.ops
    }

    /// Returns whether the entry has a grant only.
    pub fn is_bubble(&self) -> bool {
        self.ops.left == 0
    }
}

/// An entry that is decoded once, op by op. It serves a reader that stops for good at an op that
/// cannot be decoded, and therefore need not check all ops beforehand.
///
/// ```
/// use crane_core::wire::{EntryReader, EntryWriter, Op};
///
/// let mut space = [0; 64];
/// let mut writer = EntryWriter::new(&mut space)?;
/// writer.push(&Op::Time)?;
/// let bytes = writer.finish(1_000, 50);
///
/// let mut reader = EntryReader::new(bytes)?;
/// assert_eq!(reader.timestamp, 1_000);
/// assert_eq!(reader.next_op()?, Some(Op::Time));
/// assert_eq!(reader.next_op()?, None);
/// # Ok::<(), crane_core::wire::WireError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EntryReader<'a> {
    /// The primary's clock, in nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// The clock steps that may be used before the next entry of the script is needed.
    pub grant: u32,
    /// The remaining ops, not checked yet.
    ops: Ops<'a>,
}

impl<'a> EntryReader<'a> {
    /// Decodes an entry's header.
    ///
    /// # Errors
    /// Returns [`WireError::Malformed`] or [`WireError::OutOfBounds`], for bytes that begin no
    /// entry.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(WireError::OutOfBounds);
        }
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(WireError::Malformed)?;
        let (timestamp, header) = header.split_first_chunk::<8>().ok_or(WireError::Malformed)?;
        let (grant, header) = header.split_first_chunk::<4>().ok_or(WireError::Malformed)?;
        let (count, _) = header.split_first_chunk::<4>().ok_or(WireError::Malformed)?;
        let count = u32::from_le_bytes(*count) as usize;
        if count > ENTRY_OPS_MAX {
            return Err(WireError::OutOfBounds);
        }
        Ok(Self {
            timestamp: u64::from_le_bytes(*timestamp),
            grant: u32::from_le_bytes(*grant),
            ops: Ops { bytes: rest, left: count },
        })
    }

    /// Decodes the next op, or returns `None` at the end of the entry.
    ///
    /// # Errors
    /// Returns [`WireError`] for an op that cannot be read, or bytes behind the last one.
    pub fn next_op(&mut self) -> Result<Option<Op<'a>>, WireError> {
        let Some(left) = self.ops.left.checked_sub(1) else {
            return if self.ops.bytes.is_empty() { Ok(None) } else { Err(WireError::Malformed) };
        };
        let (op, rest) = Op::decode(self.ops.bytes)?;
        self.ops = Ops { bytes: rest, left };
        Ok(Some(op))
    }
}

/// The ops of an entry that has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ops<'a> {
    /// The encoded remaining ops, exactly `left` of them.
    bytes: &'a [u8],
    /// The number of remaining ops.
    left: usize,
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (op, rest) = Op::decode(self.bytes).expect("EntryPayload::decode has read all ops");
        self.bytes = rest;
        Some(op)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Ops<'_> {}

/// Writes an entry into space that the caller owns, op by op.
///
/// ```
/// use crane_core::id::{ConnId, Generation, NodeId};
/// use crane_core::wire::{EntryPayload, EntryWriter, Op};
///
/// let conn = ConnId { entry: NodeId::new(1).unwrap(), generation: Generation(1), number: 1 };
/// let op = Op::Send { conn, offset: 0, bytes: b"GET /" };
/// let mut space = [0; 64];
/// let mut writer = EntryWriter::new(&mut space)?;
/// writer.push(&op)?;
/// let bytes = writer.finish(1_000, 50);
///
/// let entry = EntryPayload::decode(bytes)?;
/// assert_eq!((entry.timestamp, entry.grant), (1_000, 50));
/// assert!(entry.ops().eq([op]));
/// assert!(EntryPayload::decode(&bytes[1..]).is_err());
/// # Ok::<(), crane_core::wire::WireError>(())
/// ```
#[derive(Debug)]
pub struct EntryWriter<'a> {
    /// The caller's space, cut to the length of the longest entry; at least a header fits.
    space: &'a mut [u8],
    /// The number of bytes written, header included.
    used: usize,
    /// The number of ops written; at most [`ENTRY_OPS_MAX`].
    count: u32,
}

impl<'a> EntryWriter<'a> {
    /// Starts an entry without ops.
    ///
    /// # Errors
    /// Returns [`WireError::Full`] when `space` is shorter than an entry's header.
    pub fn new(space: &'a mut [u8]) -> Result<Self, WireError> {
        let bounded = space.len().min(ENTRY_BYTES_MAX);
        let space = &mut space[..bounded];
        if space.len() < HEADER_BYTES {
            return Err(WireError::Full);
        }
        Ok(Self { space, used: HEADER_BYTES, count: 0 })
    }

    /// Adds an op.
    ///
    /// # Errors
    /// Returns [`WireError::Full`] when the entry is full; it stays as it was, and can be finished.
    pub fn push(&mut self, op: &Op<'_>) -> Result<(), WireError> {
        if self.count as usize == ENTRY_OPS_MAX {
            return Err(WireError::Full);
        }
        let length = op.encode(&mut self.space[self.used..])?;
        self.used += length;
        self.count += 1;
        Ok(())
    }

    /// Adds ops that are already encoded and checked.
    ///
    /// # Errors
    /// Returns [`WireError::Full`] when they do not fit; the entry stays as it was, and can be
    /// finished.
    pub fn push_encoded(&mut self, ops: &[u8], count: usize) -> Result<(), WireError> {
        let end = self.used + ops.len();
        if self.count as usize + count > ENTRY_OPS_MAX || end > self.space.len() {
            return Err(WireError::Full);
        }
        self.space[self.used..end].copy_from_slice(ops);
        self.used = end;
        self.count += count as u32;
        Ok(())
    }

    /// Returns the number of ops that are written.
    pub fn ops(&self) -> usize {
        self.count as usize
    }

    /// Returns the number of bytes that are written.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Returns whether no op is written yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Writes the header, and returns the encoded entry.
    pub fn finish(self, timestamp: u64, grant: u32) -> &'a [u8] {
        self.space[..8].copy_from_slice(&timestamp.to_le_bytes());
        self.space[8..12].copy_from_slice(&grant.to_le_bytes());
        self.space[12..16].copy_from_slice(&self.count.to_le_bytes());
        &self.space[..self.used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnId, Generation, NodeId};

    fn conn() -> ConnId {
        ConnId { entry: NodeId::new(2).unwrap(), generation: Generation(7), number: 1 }
    }

    #[test]
    fn an_entry_is_decoded_as_it_was_encoded() {
        let mut space = [0; 256];
        let mut writer = EntryWriter::new(&mut space).unwrap();
        let ops = [
            Op::Send { conn: conn(), offset: 5, bytes: b"GET /" },
            Op::Shut { conn: conn(), total: 10 },
            Op::Time,
        ];
        for op in &ops {
            writer.push(op).unwrap();
        }
        let bytes = writer.finish(17, 1000);
        let entry = EntryPayload::decode(bytes).unwrap();
        assert_eq!((entry.timestamp, entry.grant, entry.is_bubble()), (17, 1000, false));
        assert!(entry.ops().eq(ops));
    }

    #[test]
    fn a_full_entry_refuses_an_op_and_stays_whole() {
        let mut space = [0; HEADER_BYTES + 8];
        let mut writer = EntryWriter::new(&mut space).unwrap();
        writer.push(&Op::Time).unwrap();
        let long = Op::Send { conn: conn(), offset: 0, bytes: &[1; 64] };
        assert_eq!(writer.push(&long), Err(WireError::Full));
        assert_eq!(EntryPayload::decode(writer.finish(1, 1)).unwrap().ops().len(), 1);
    }

    #[test]
    fn cut_or_lengthened_bytes_are_refused() {
        let mut space = [0; 128];
        let mut writer = EntryWriter::new(&mut space).unwrap();
        writer.push(&Op::Send { conn: conn(), offset: 0, bytes: b"abc" }).unwrap();
        let length = writer.finish(1, 1).len();
        for cut in 0..length {
            assert_eq!(EntryPayload::decode(&space[..cut]), Err(WireError::Malformed));
        }
        assert_eq!(EntryPayload::decode(&space[..length + 1]), Err(WireError::Malformed));
    }
}
