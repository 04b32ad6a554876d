//! Frames on a TCP stream: length, checksum, body. Pure.
//!
//! TCP's own checksum is 16 bits wide, and a stranger may connect to the port. A frame that does
//! not match its checksum is therefore refused before its body is decoded.

use std::fmt;

/// The length of the longest body: a message with its entries, or the parts of a base.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 8;

/// The kind of a frame: the first byte of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// The sender's description of itself: the first frame of a link, in both directions.
    Hello = 1,
    /// A message of agreement, with the entries of its range and their payloads.
    Paxos = 2,
    /// Ops that an entry replica forwards to the primary.
    Ops = 3,
    /// The state of the sender's server.
    Server = 4,
    /// A question about the replica's state; may be the first frame.
    Query = 5,
    /// The answer, as JSON.
    Answer = 6,
    /// A mark of the sender's server.
    Mark = 7,
    /// Calls of the sender's server, for one whose server differs.
    Calls = 8,
    /// The members, for a replica that is not one of them any more.
    Roster = 9,
    /// A message about checkpoints.
    Checkpoint = 10,
    /// A message of a transfer of a checkpoint.
    Transfer = 11,
    /// The progress of the sender.
    Vitals = 12,
    /// The generation of a daemon that has taken the place of the receiver.
    Fence = 13,
    /// A question about the receiver's clock, or the answer to one.
    Clock = 14,
}

impl FrameKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Hello,
        Self::Paxos,
        Self::Ops,
        Self::Server,
        Self::Query,
        Self::Answer,
        Self::Mark,
        Self::Calls,
        Self::Roster,
        Self::Checkpoint,
        Self::Transfer,
        Self::Vitals,
        Self::Fence,
        Self::Clock,
    ];
}

/// The reason why bytes are not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The length is 0 or above [`BODY_BYTES_MAX`].
    Length(u32),
    /// The checksum does not match the body.
    Checksum,
    /// The body begins with an unknown kind.
    FrameKind(u8),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "invalid frame length of {length} bytes"),
            Self::Checksum => f.write_str("corrupt frame: the checksum does not match"),
            Self::FrameKind(kind) => write!(f, "unknown frame kind {kind}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Appends a frame whose body is the sum of `parts`.
///
/// # Panics
/// Panics if the body is longer than [`BODY_BYTES_MAX`]: the caller knows its bounds.
pub fn encode(kind: FrameKind, parts: &[&[u8]], space: &mut Vec<u8>) {
    encode_with(kind, space, |space| {
        for part in parts {
            space.extend_from_slice(part);
        }
    });
}

/// Appends a frame whose body `write` appends.
///
/// # Panics
/// Panics if the body is longer than [`BODY_BYTES_MAX`]: the caller knows its bounds.
pub fn encode_with(kind: FrameKind, space: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = space.len();
    space.extend_from_slice(&[0; HEADER_BYTES]);
    space.push(kind as u8);
    write(space);
    let body = &space[start + HEADER_BYTES..];
    assert!(body.len() <= BODY_BYTES_MAX, "a frame of {} bytes", body.len());
    let (length, crc) = (body.len() as u32, crc32fast::hash(body));
    space[start..start + 4].copy_from_slice(&length.to_le_bytes());
    space[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Adds bytes from the stream. At most one frame and the bytes of one read are kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next frame, if all of it has arrived.
    ///
    /// # Errors
    /// Returns a [`FrameError`]; the stream cannot be used afterwards.
    pub fn take(&mut self) -> Result<Option<(FrameKind, &[u8])>, FrameError> {
        let left = &self.bytes[self.read..];
        let Some((length, rest)) = left.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length);
        if length == 0 || length as usize > BODY_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        let Some((crc, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some(body) = rest.get(..length as usize) else { return Ok(None) };
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(FrameError::Checksum);
        }
        let kind = FrameKind::ALL.into_iter().find(|kind| *kind as u8 == body[0]);
        let kind = kind.ok_or(FrameError::FrameKind(body[0]))?;
        self.read += HEADER_BYTES + length as usize;
        Ok(Some((kind, &body[1..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let mut stream = Vec::new();
        encode(FrameKind::Paxos, &[b"mes", b"sage"], &mut stream);
        encode(FrameKind::Ops, &[], &mut stream);
        for step in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for part in stream.chunks(step) {
                decoder.feed(part);
                while let Some((kind, body)) = decoder.take().unwrap() {
                    found.push((kind, body.to_vec()));
                }
            }
            assert_eq!(
                found,
                [(FrameKind::Paxos, b"message".to_vec()), (FrameKind::Ops, Vec::new())]
            );
        }
    }

    #[test]
    fn a_frame_of_each_kind_is_read_as_it_was_written() {
        // The compiler asks for a new kind here, and its number is not in the list before it is.
        let number = |kind| match kind {
            FrameKind::Hello => 1,
            FrameKind::Paxos => 2,
            FrameKind::Ops => 3,
            FrameKind::Server => 4,
            FrameKind::Query => 5,
            FrameKind::Answer => 6,
            FrameKind::Mark => 7,
            FrameKind::Calls => 8,
            FrameKind::Roster => 9,
            FrameKind::Checkpoint => 10,
            FrameKind::Transfer => 11,
            FrameKind::Vitals => 12,
            FrameKind::Fence => 13,
            FrameKind::Clock => 14,
        };
        for (place, kind) in (1..).zip(FrameKind::ALL) {
            assert_eq!((number(kind), kind as u8), (place, place));
            let mut stream = Vec::new();
            encode(kind, &[b"body"], &mut stream);
            let mut decoder = Decoder::default();
            decoder.feed(&stream);
            assert_eq!(decoder.take(), Ok(Some((kind, &b"body"[..]))));
        }
    }

    #[test]
    fn garbage_is_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(b"GET / HTTP/1.1\r\n\r\n");
        assert!(matches!(decoder.take(), Err(FrameError::Length(_))));
        let mut decoder = Decoder::default();
        decoder.feed(&[0; 8]);
        assert_eq!(decoder.take(), Err(FrameError::Length(0)));
        let mut stream = Vec::new();
        encode(FrameKind::Hello, &[b"x"], &mut stream);
        for at in 4..stream.len() {
            let mut changed = stream.clone();
            changed[at] ^= 4;
            let mut decoder = Decoder::default();
            decoder.feed(&changed);
            assert_eq!(decoder.take(), Err(FrameError::Checksum), "byte {at}");
        }
    }
}
