//! One thing that happens to the service.

use serde::{Deserialize, Serialize};

use crate::id::{ConnId, Generation, NodeId, Slot};
use crate::limits::{ADDRESS_BYTES_MAX, SEND_BYTES_MAX};

use super::WireError;

/// One end of a client's connection: an IPv6 address, or an IPv4 address mapped into one
/// (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2), and a port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address in network order.
    pub address: [u8; 16],
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Returns the IPv4 address, if it is one.
    pub const fn ipv4(&self) -> Option<[u8; 4]> {
        match self.address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
            _ => None,
        }
    }

    /// Returns the endpoint of an IPv4 address and a port.
    pub const fn from_ipv4([a, b, c, d]: [u8; 4], port: u16) -> Self {
        Self { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port }
    }
}

/// An op of the log. Offsets and totals count the bytes of one connection's direction from 0, so
/// that an op which arrives twice, or after a lost one, is recognised (the entry rule).
///
/// ```
/// use crane_core::id::{ConnId, Generation, NodeId};
/// use crane_core::wire::Op;
///
/// let conn = ConnId { entry: NodeId::new(1).unwrap(), generation: Generation(1), number: 1 };
/// let op = Op::Shut { conn, total: 300 };
/// let mut space = [0; 16];
/// let length = op.encode(&mut space)?;
/// assert_eq!(Op::decode(&space[..length])?, (op, &[][..]));
/// # Ok::<(), crane_core::wire::WireError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op<'a> {
    /// A client connected to `local` (the port says to which listener) from `peer`.
    Connect {
        /// The new connection's name; its number is the entry's last one plus 1.
        conn: ConnId,
        /// The address that the client connected to.
        local: Endpoint,
        /// The client's own address.
        peer: Endpoint,
    },
    /// The client sent bytes.
    Send {
        /// The connection that they came by.
        conn: ConnId,
        /// The number of bytes that it had sent before.
        offset: u64,
        /// At most [`SEND_BYTES_MAX`] of them.
        #[serde(borrow)]
        bytes: &'a [u8],
    },
    /// The client will send nothing more.
    Shut {
        /// The connection.
        conn: ConnId,
        /// The number of bytes that it sent in all.
        total: u64,
    },
    /// The client, or the way to it, is gone.
    Reset {
        /// The connection that ends.
        conn: ConnId,
    },
    /// The client has taken bytes that the server wrote: there is room for more.
    Drained {
        /// The connection.
        conn: ConnId,
        /// The number of bytes that it has taken in all.
        total: u64,
    },
    /// A deadline of the server has come; the entry's timestamp says when.
    Time,
    /// Connections that entered by this replica, up to this generation, have ended; later ops about
    /// them do not count.
    Retire {
        /// The entry replica.
        node: NodeId,
        /// The last generation that ended.
        generation: Generation,
    },
    /// The address of a member. Membership and votes are decided beside the ops, by agreement
    /// itself; this comes first, so that every node that learns of a member knows its address. It
    /// means nothing to the server.
    Member {
        /// The member's number. It no longer means a member that had it before.
        node: NodeId,
        /// `host:port`, at most [`ADDRESS_BYTES_MAX`] bytes.
        #[serde(borrow)]
        address: &'a str,
        /// Whether it keeps the log only, and runs no server.
        witness: bool,
    },
    /// The servers do not do the same, and none is right: the service ends here, also after a
    /// restart.
    Halt {
        /// The slot before which they differ.
        slot: Slot,
    },
}

impl<'a> Op<'a> {
    /// Decodes one op from the front of `bytes`, and returns the rest as well.
    ///
    /// # Errors
    /// [`WireError::Malformed`] and [`WireError::OutOfBounds`], for any bytes that begin with no
    /// op; never a panic.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), WireError> {
        let (op, rest) = postcard::take_from_bytes::<Op<'a>>(bytes)?;
        let bounded = match &op {
            Op::Send { offset, bytes, .. } => {
                bytes.len() <= SEND_BYTES_MAX && offset.checked_add(bytes.len() as u64).is_some()
            }
            Op::Member { address, .. } => address.len() <= ADDRESS_BYTES_MAX,
            _ => true,
        };
        if bounded { Ok((op, rest)) } else { Err(WireError::OutOfBounds) }
    }

    /// Writes the op to the front of `space` and returns how many bytes it took.
    ///
    /// # Errors
    /// [`WireError::Full`] when `space` does not suffice, [`WireError::OutOfBounds`] for too much
    /// data.
    pub fn encode(&self, space: &mut [u8]) -> Result<usize, WireError> {
        let bounded = match self {
            Op::Send { bytes, .. } => bytes.len() <= SEND_BYTES_MAX,
            Op::Member { address, .. } => address.len() <= ADDRESS_BYTES_MAX,
            _ => true,
        };
        if !bounded {
            return Err(WireError::OutOfBounds);
        }
        Ok(postcard::to_slice(self, space)?.len())
    }

    /// Returns the connection that the op is about.
    pub fn conn(&self) -> Option<ConnId> {
        match *self {
            Op::Connect { conn, .. }
            | Op::Send { conn, .. }
            | Op::Shut { conn, .. }
            | Op::Reset { conn }
            | Op::Drained { conn, .. } => Some(conn),
            Op::Time | Op::Retire { .. } | Op::Member { .. } | Op::Halt { .. } => None,
        }
    }
}
