//! Ops that a replica forwards to the primary for its clients, as bytes: their tickets, then the
//! ops, one after the other. Pure.

use std::fmt;

use crane_core::forward::TicketRange;
use crane_core::id::NodeId;
use crane_core::limits::{ENTRY_BYTES_MAX, ENTRY_HEADER_BYTES_MAX, ENTRY_OPS_MAX};
use crane_core::wire::Op;

/// How many bytes of ops fit into one entry, and therefore into one frame.
pub const OPS_BYTES_MAX: usize = ENTRY_BYTES_MAX - ENTRY_HEADER_BYTES_MAX;

/// The reason why forwarded bytes cannot go into the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpsError {
    /// The bytes are empty, or malformed.
    Malformed,
    /// An op concerns a client of another replica.
    Foreign,
    /// The ops do not fit into one entry.
    TooMany,
}

impl fmt::Display for OpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed ops",
            Self::Foreign => "ops of another replica's clients",
            Self::TooMany => "more ops than fit into an entry",
        })
    }
}

impl std::error::Error for OpsError {}

/// Begins a frame of ops: the ops follow.
pub fn begin(range: &TicketRange) -> Vec<u8> {
    postcard::to_allocvec(range).expect("plain data")
}

/// Splits a frame that `from` has forwarded into tickets and ops, each of which is checked.
///
/// # Errors
/// Returns an [`OpsError`] if the bytes are malformed. It never panics.
pub fn read(from: NodeId, frame: &[u8]) -> Result<(TicketRange, &[u8]), OpsError> {
    let (range, ops) =
        postcard::take_from_bytes::<TicketRange>(frame).map_err(|_| OpsError::Malformed)?;
    match count(from, ops)? == range.count as usize {
        true => Ok((range, ops)),
        false => Err(OpsError::Malformed),
    }
}

/// Returns the ops after the first ones.
///
/// # Panics
/// Panics if there are fewer, or if they are malformed: the caller has read them.
pub fn after(ops: &[u8], first: usize) -> &[u8] {
    (0..first).fold(ops, |left, _| Op::decode(left).expect("the ops were read before").1)
}

/// Counts the encoded ops that `from` forwards, and checks that they fit into an empty entry.
///
/// # Errors
/// Returns an [`OpsError`] if the bytes are malformed. It never panics.
pub fn count(from: NodeId, ops: &[u8]) -> Result<usize, OpsError> {
    if ops.len() > OPS_BYTES_MAX {
        return Err(OpsError::TooMany);
    }
    let mut left = ops;
    let mut count = 0;
    while !left.is_empty() {
        let (op, rest) = Op::decode(left).map_err(|_| OpsError::Malformed)?;
        let owner = match op {
            Op::Retire { node, .. } => Some(node),
            _ => op.conn().map(|conn| conn.entry),
        };
        if owner != Some(from) {
            return Err(OpsError::Foreign);
        }
        left = rest;
        count += 1;
    }
    match count {
        0 => Err(OpsError::Malformed),
        1..=ENTRY_OPS_MAX => Ok(count),
        _ => Err(OpsError::TooMany),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crane_core::forward::Ticket;
    use crane_core::id::{ConnId, Generation};
    use crane_core::limits::SEND_BYTES_MAX;

    fn encoded(op: &Op<'_>) -> Vec<u8> {
        let mut space = vec![0; SEND_BYTES_MAX + 128];
        let length = op.encode(&mut space).unwrap();
        space.truncate(length);
        space
    }

    #[test]
    fn a_frame_has_as_many_ops_as_tickets() {
        let from = NodeId::new(2).unwrap();
        let conn = ConnId { entry: from, generation: Generation(1), number: 1 };
        let two = [Op::Reset { conn }, Op::Shut { conn, total: 7 }].map(|op| encoded(&op));
        let mut range = TicketRange {
            generation: Generation(1),
            kept_from: Ticket(3),
            since: Ticket(5),
            first: Ticket(6),
            count: 2,
        };
        let frame = |range: &TicketRange| [begin(range), two.concat()].concat();
        let bytes = frame(&range);
        assert_eq!(read(from, &bytes), Ok((range, &two.concat()[..])));
        assert_eq!(after(&two.concat(), 1), two[1]);
        range.count = 3;
        assert_eq!(read(from, &frame(&range)), Err(OpsError::Malformed));
        for length in 0..bytes.len() {
            assert!(read(from, &bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn only_what_fits_into_an_entry_is_taken() {
        let from = NodeId::new(2).unwrap();
        let conn = ConnId { entry: from, generation: Generation(1), number: 1 };
        let reset = encoded(&Op::Reset { conn });
        assert_eq!(count(from, &reset.repeat(ENTRY_OPS_MAX)), Ok(ENTRY_OPS_MAX));
        assert_eq!(count(from, &reset.repeat(ENTRY_OPS_MAX + 1)), Err(OpsError::TooMany));
        // A frame has room for more bytes than an entry.
        let send = encoded(&Op::Send { conn, offset: 0, bytes: &[7; SEND_BYTES_MAX] });
        assert_eq!(count(from, &send.repeat(7)), Ok(7));
        assert_eq!(count(from, &send.repeat(8)), Err(OpsError::TooMany));
        assert_eq!(count(NodeId::new(1).unwrap(), &reset), Err(OpsError::Foreign));
        assert_eq!(count(from, &encoded(&Op::Time)), Err(OpsError::Foreign));
        assert_eq!(count(from, &reset[..reset.len() - 1]), Err(OpsError::Malformed));
        assert_eq!(count(from, &[]), Err(OpsError::Malformed));
    }
}
