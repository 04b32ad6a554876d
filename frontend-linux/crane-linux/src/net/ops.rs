//! Ops that a replica hands to the primary for its clients, as bytes. Pure.

use std::fmt;

use crane_core::id::NodeId;
use crane_core::limits::{ENTRY_BYTES_MAX, ENTRY_HEADER_BYTES_MAX, ENTRY_OPS_MAX};
use crane_core::wire::Op;

/// Bytes of ops that one entry has room for, and so one frame.
pub const OPS_BYTES_MAX: usize = ENTRY_BYTES_MAX - ENTRY_HEADER_BYTES_MAX;

/// Why bytes cannot be put into the log for a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpsError {
    /// They are no ops, or none at all.
    Malformed,
    /// They are not about the sender's own clients.
    Foreign,
    /// No entry has room for them.
    TooMany,
}

impl fmt::Display for OpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpsError::Malformed => "bytes that are no ops",
            OpsError::Foreign => "ops that are not of its clients",
            OpsError::TooMany => "more ops than an entry has room for",
        })
    }
}

impl std::error::Error for OpsError {}

/// Counts ops that `from` hands over, encoded one after the other. They fit into an empty entry.
///
/// # Errors
/// [`OpsError`], whatever the bytes are; never a panic.
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
    use crane_core::id::{ConnId, Generation};
    use crane_core::limits::SEND_BYTES_MAX;

    fn encoded(op: &Op<'_>) -> Vec<u8> {
        let mut space = vec![0; SEND_BYTES_MAX + 128];
        let length = op.encode(&mut space).unwrap();
        space.truncate(length);
        space
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
