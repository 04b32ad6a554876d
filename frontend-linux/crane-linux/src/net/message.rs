//! The body of a paxos frame: a message, and the entries of its range with their payloads. Pure.
//!
//! ```text
//! body:  length of the message u8   the message   then, for each slot of its range: entry, payload
//! ```
//!
//! An entry gives the length of its payload, if it has one.

use std::fmt;

use crane_core::limits::ENTRY_BYTES_MAX;
use crane_core::paxos::{Entry, MESSAGE_BYTES_MAX, Message, RANGE_BYTES_MAX, RANGE_ENTRIES_MAX};

use crate::log::{Payload, describe};

use super::frame;

/// Bytes of the longest encoded entry, without its payload.
const ENTRY_WORDS_MAX: usize = 64;

// One entry may be longer than a range of several; the first byte of a frame's body is its kind.
const RUN_PAYLOADS_MAX: usize = if ENTRY_BYTES_MAX > RANGE_BYTES_MAX as usize {
    ENTRY_BYTES_MAX
} else {
    RANGE_BYTES_MAX as usize
};
const _: () = assert!(MESSAGE_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(
    2 + MESSAGE_BYTES_MAX + RANGE_ENTRIES_MAX * ENTRY_WORDS_MAX + RUN_PAYLOADS_MAX
        <= frame::BODY_BYTES_MAX
);

/// An entry as the log keeps it: with its payload, if its content has one.
pub type FetchedEntry = (Entry, Option<Payload>);

/// The content of a frame's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// The entries of its range, as many as the message announces; empty if it has none.
    pub entries: Vec<Entry>,
    /// The payload of each entry; it matches the entry's descriptor.
    pub payloads: Vec<Option<Payload>>,
}

/// The reason why bytes are not a message with its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageError {
    /// The bytes do not begin with a message.
    Malformed,
    /// No range can have this number of entries.
    Count(u32),
    /// An entry is missing or malformed.
    Entry,
    /// A payload is missing, too long, or does not match its entry's descriptor.
    Payload,
    /// Bytes follow the last entry.
    Trailing,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("malformed message"),
            Self::Count(count) => write!(f, "invalid count of {count} entries in a message"),
            Self::Entry => f.write_str("malformed or missing entry in a message"),
            Self::Payload => f.write_str("an entry's payload is missing or does not match"),
            Self::Trailing => f.write_str("extra bytes after a message"),
        }
    }
}

impl std::error::Error for MessageError {}

/// Decodes the body of a paxos frame. Checks each payload against its descriptor, so that no caller
/// sees one that does not match.
///
/// # Errors
/// Returns a [`MessageError`] if the bytes are malformed. It never panics.
pub fn read_message(body: &[u8]) -> Result<Received, MessageError> {
    let (length, rest) = body.split_first().ok_or(MessageError::Malformed)?;
    let (message, mut left) =
        rest.split_at_checked(usize::from(*length)).ok_or(MessageError::Malformed)?;
    let message = Message::decode(message).map_err(|_| MessageError::Malformed)?;
    let (mut entries, mut payloads) = (Vec::new(), Vec::new());
    if let Some(range) = message.range() {
        let count = range.count as usize;
        if !(1..=RANGE_ENTRIES_MAX).contains(&count) {
            return Err(MessageError::Count(range.count));
        }
        entries.reserve_exact(count);
        payloads.reserve_exact(count);
        for _ in 0..count {
            let (entry, payload);
            (entry, left) =
                postcard::take_from_bytes::<Entry>(left).map_err(|_| MessageError::Entry)?;
            (payload, left) = take_payload(&entry, left)?;
            entries.push(entry);
            payloads.push(payload);
        }
    }
    if !left.is_empty() {
        return Err(MessageError::Trailing);
    }
    Ok(Received { message, entries, payloads })
}

/// Returns the payload of an entry, and the bytes after it.
fn take_payload<'a>(
    entry: &Entry,
    bytes: &'a [u8],
) -> Result<(Option<Payload>, &'a [u8]), MessageError> {
    let Some(descriptor) = entry.content.payload() else { return Ok((None, bytes)) };
    let length = descriptor.length as usize;
    if length > ENTRY_BYTES_MAX {
        return Err(MessageError::Payload);
    }
    let (payload, left) = bytes.split_at_checked(length).ok_or(MessageError::Payload)?;
    if describe(payload) != descriptor {
        return Err(MessageError::Payload);
    }
    Ok((Some(Payload::from(payload)), left))
}

/// Appends the body of a frame with this message and the entries of its range, `run`, to `space`.
///
/// # Panics
/// Panics if `run` has another number of entries than the message announces.
pub fn write_message(message: &Message, range: &[FetchedEntry], space: &mut Vec<u8>) {
    let count = message.range().map_or(0, |range| range.count as usize);
    assert_eq!(range.len(), count, "a message goes with the entries of its range");
    let mut words = [0; MESSAGE_BYTES_MAX];
    let length = message.encode(&mut words).expect("a message has a longest form");
    space.push(length as u8);
    space.extend_from_slice(&words[..length]);
    for (entry, payload) in range {
        let mut words = [0; ENTRY_WORDS_MAX];
        let words = postcard::to_slice(entry, &mut words).expect("64 bytes hold any entry");
        space.extend_from_slice(words);
        space.extend_from_slice(payload.as_deref().unwrap_or_default());
    }
}

/// Collects entries in successive slots, so that they go out in as few messages as possible.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The entries so far.
    pub range: Vec<FetchedEntry>,
    bytes: u64,
}

impl Collected {
    /// Returns whether an entry can be added: one alone may be longer than several together.
    pub(crate) fn has_room(&self, (_, payload): &FetchedEntry) -> bool {
        let bytes = self.bytes + length(payload);
        self.range.is_empty() || self.range.len() < RANGE_ENTRIES_MAX && bytes <= RANGE_BYTES_MAX
    }

    /// Adds an entry, which must have room.
    pub(crate) fn push(&mut self, kept: FetchedEntry) {
        self.bytes += length(&kept.1);
        self.range.push(kept);
    }

    /// Returns the bytes of the entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn length(payload: &Option<Payload>) -> u64 {
    payload.as_ref().map_or(0, |payload| payload.len() as u64)
}

#[cfg(test)]
mod tests {
    use crane_core::id::{NodeId, Slot};
    use crane_core::paxos::{Ballot, Content, Descriptor, Members, SlotRange, StorageEpoch};

    use super::*;

    const BALLOT: Ballot = Ballot::new(Ballot::ROUND_MAX, NodeId::new(7));

    fn kept(payload: &[u8]) -> FetchedEntry {
        let content = Content::Payload(describe(payload));
        (Entry { ballot: BALLOT, content }, Some(Payload::from(payload)))
    }

    fn own(content: Content) -> FetchedEntry {
        (Entry { ballot: BALLOT, content }, None)
    }

    /// One entry of each kind, with an empty payload among them.
    fn mixed() -> Vec<FetchedEntry> {
        let rejoin =
            Content::Rejoin { node: NodeId::new(3).unwrap(), epoch: StorageEpoch(u64::MAX) };
        let change = Content::Change(Members::first(7));
        vec![kept(b"payload"), own(rejoin), kept(b""), own(change), kept(&[7; 300])]
    }

    fn accept(count: u32) -> Message {
        let range = SlotRange { first: Slot(4), count };
        Message::Accept {
            ballot: BALLOT,
            range,
            before: BALLOT,
            committed: Slot(2),
            start: Slot(3),
        }
    }

    fn body(message: &Message, range: &[FetchedEntry]) -> Vec<u8> {
        let mut space = Vec::new();
        write_message(message, range, &mut space);
        space
    }

    /// The entries of a run behind a message that says another number of them.
    fn lying(count: u32, range: &[FetchedEntry]) -> Vec<u8> {
        let honest = body(&accept(range.len() as u32), range);
        let entries = &honest[usize::from(honest[0]) + 1..];
        let mut words = [0; MESSAGE_BYTES_MAX];
        let length = accept(count).encode(&mut words).unwrap();
        [&[length as u8], &words[..length], entries].concat()
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        for count in 1..=mixed().len() {
            let range = &mixed()[..count];
            let received = read_message(&body(&accept(count as u32), range)).unwrap();
            assert_eq!(received.message, accept(count as u32));
            let read: Vec<FetchedEntry> =
                received.entries.into_iter().zip(received.payloads).collect();
            assert_eq!(read, range);
        }
        let prepare = Message::Prepare { ballot: BALLOT };
        let received = read_message(&body(&prepare, &[])).unwrap();
        assert_eq!(received, Received { message: prepare, entries: vec![], payloads: vec![] });
    }

    #[test]
    fn the_longest_runs_fit_into_a_frame() {
        let framed = |range: &[FetchedEntry]| {
            let mut space = Vec::new();
            let message = accept(range.len() as u32);
            frame::encode_with(frame::FrameKind::Paxos, &mut space, |space| {
                write_message(&message, range, space);
            });
            let mut decoder = frame::Decoder::default();
            decoder.feed(&space);
            let (_, body) = decoder.take().unwrap().unwrap();
            assert_eq!(read_message(body).unwrap().entries.len(), range.len());
        };
        framed(&[kept(&vec![1; ENTRY_BYTES_MAX])]);
        framed(&vec![kept(&[1; RANGE_BYTES_MAX as usize / RANGE_ENTRIES_MAX]); RANGE_ENTRIES_MAX]);
    }

    #[test]
    fn a_payload_must_be_the_one_that_was_described() {
        let (range, message) = (mixed(), accept(5));
        let whole = body(&message, &range);
        // The last bytes are a payload's.
        for at in whole.len() - 300..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(read_message(&changed), Err(MessageError::Payload));
        }
        let place = whole.windows(7).position(|bytes| bytes == b"payload").unwrap();
        let mut changed = whole.clone();
        changed[place + 6] = b'D';
        assert_eq!(read_message(&changed), Err(MessageError::Payload));
    }

    #[test]
    fn bytes_that_are_missing_or_too_many_are_refused() {
        for range in [mixed(), mixed()[..4].to_vec()] {
            let whole = body(&accept(range.len() as u32), &range);
            for length in 0..whole.len() {
                assert!(read_message(&whole[..length]).is_err(), "{length} bytes");
            }
            let more = [&whole[..], b"x"].concat();
            assert_eq!(read_message(&more), Err(MessageError::Trailing));
        }
        let alone = body(&Message::Prepare { ballot: BALLOT }, &[]);
        assert_eq!(read_message(&[&alone[..], b"x"].concat()), Err(MessageError::Trailing));
    }

    #[test]
    fn a_count_that_lies_is_refused() {
        assert!(read_message(&lying(5, &mixed())).is_ok());
        assert_eq!(read_message(&lying(4, &mixed())), Err(MessageError::Trailing));
        assert_eq!(read_message(&lying(6, &mixed())), Err(MessageError::Entry));
        for count in [0, RANGE_ENTRIES_MAX as u32 + 1, u32::MAX] {
            assert_eq!(read_message(&lying(count, &mixed())), Err(MessageError::Count(count)));
        }
        let too_many = vec![kept(b""); RANGE_ENTRIES_MAX + 1];
        let refused = read_message(&lying(too_many.len() as u32, &too_many));
        assert_eq!(refused, Err(MessageError::Count(too_many.len() as u32)));
    }

    #[test]
    fn a_payload_that_no_entry_can_have_is_refused() {
        let long = vec![1; ENTRY_BYTES_MAX + 1];
        assert_eq!(read_message(&body(&accept(1), &[kept(&long)])), Err(MessageError::Payload));
        // Nor is room made for one that is only announced.
        let content = Content::Payload(Descriptor { length: u32::MAX, digest: 0 });
        assert_eq!(read_message(&body(&accept(1), &[own(content)])), Err(MessageError::Payload));
    }

    #[test]
    fn no_bytes_are_a_message_by_accident() {
        assert!(read_message(&[]).is_err());
        assert!(read_message(&[200, 1, 2]).is_err());
        assert!(read_message(&[0]).is_err());
        for first in 0..=255 {
            let _ = read_message(&[3, first, 1, 1]);
        }
    }

    #[test]
    fn what_is_collected_stays_within_the_bounds_of_a_run() {
        let mut collected = Collected::default();
        let long = kept(&vec![1; ENTRY_BYTES_MAX]);
        assert!(collected.has_room(&long), "alone it may be long");
        collected.push(long);
        assert!(!collected.has_room(&kept(b"")));
        collected = Collected::default();
        let half = kept(&[1; RANGE_BYTES_MAX as usize / 2]);
        collected.push(half.clone());
        assert!(collected.has_room(&half));
        collected.push(half);
        assert!(collected.has_room(&kept(b"")) && !collected.has_room(&kept(b"x")));
        collected = Collected::default();
        let change = own(Content::Change(Members::first(3)));
        for _ in 0..RANGE_ENTRIES_MAX {
            assert!(collected.has_room(&change));
            collected.push(change.clone());
        }
        assert!(!collected.has_room(&change));
    }
}
