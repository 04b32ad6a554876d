//! The ops of the log: connections, bytes, deadlines and changes of the group.

use serde::{Deserialize, Serialize};

use crate::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crate::limits::{
    ADDRESS_BYTES_MAX, COMMAND_BYTES_MAX, INCARNATIONS_MAX, SEND_BYTES_MAX, SIGNAL_MAX,
};

use super::WireError;

/// One end of a client's connection: an IPv6 address, or an IPv4 address mapped into one
/// (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2), and a port; or a Unix socket, which has an address that
/// no TCP connection has, of the IPv6 range for multicast (RFC 4291 §2.7), and port 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address in network order.
    pub address: [u8; 16],
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Returns the IPv4 address, if the endpoint has one.
    pub const fn ipv4(&self) -> Option<[u8; 4]> {
        match self.address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
            _ => None,
        }
    }

    /// Returns the end of the Unix socket that the server was the `number`th to bind. Its path is
    /// not in the log: where calls are in one order, the number says as much.
    // specs: E11
    pub const fn from_unix_listener(number: u64) -> Self {
        let mut address = [0; 16];
        address[0] = UNIX;
        let (_, low) = address.split_at_mut(8);
        low.copy_from_slice(&number.to_be_bytes());
        Self { address, port: 0 }
    }

    /// Returns the end of a client by a Unix socket: one without a name, of a process that runs as
    /// this user and this group.
    pub const fn from_unix_client(user: u32, group: u32) -> Self {
        Self::from_unix_listener(((user as u64) << 32) | group as u64)
    }

    /// Returns whether it is a Unix socket.
    pub const fn is_unix(&self) -> bool {
        self.address[0] == UNIX
    }

    /// Returns whether it is the Unix socket that the server was the `number`th to bind.
    pub fn is_unix_number(&self, number: u64) -> bool {
        *self == Self::from_unix_listener(number)
    }

    /// Returns user and group of a client by a Unix socket.
    pub const fn unix_credentials(&self) -> Option<(u32, u32)> {
        if !self.is_unix() {
            return None;
        }
        let [.., a, b, c, d, e, f, g, h] = self.address;
        Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
    }

    /// Returns the endpoint of an IPv4 address and a port.
    pub const fn from_ipv4([a, b, c, d]: [u8; 4], port: u16) -> Self {
        Self { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port }
    }
}

/// The first byte of an address that stands for a Unix socket.
const UNIX: u8 = 0xff;

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
    /// A client connected to `local`, whose port names the listener, from `peer`.
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
        /// The connection on which the bytes came.
        conn: ConnId,
        /// The number of bytes that the client had sent before.
        offset: u64,
        /// The bytes, at most [`SEND_BYTES_MAX`].
        #[serde(borrow)]
        bytes: &'a [u8],
    },
    /// The client will send nothing more.
    Shut {
        /// The connection.
        conn: ConnId,
        /// The number of bytes that the client sent in all.
        total: u64,
    },
    /// The client is gone, or can no longer be reached.
    Reset {
        /// The connection that ends.
        conn: ConnId,
    },
    /// The client has taken bytes that the server wrote, so there is room for more.
    Drained {
        /// The connection.
        conn: ConnId,
        /// The number of bytes that the client has taken in all.
        total: u64,
    },
    /// A deadline of the server has come; the entry's timestamp says when.
    Time,
    /// All connections that entered by this replica, up to this generation, have ended; later ops
    /// about them have no effect.
    Retire {
        /// The entry replica.
        node: NodeId,
        /// The last generation that ended.
        generation: Generation,
    },
    /// The address of a member. Agreement itself decides membership and votes, apart from the ops;
    /// this op precedes such a decision, so that every node that learns of a member knows its
    /// address. It has no effect on the server.
    Member {
        /// The member's number, which no longer names an earlier member of the same number.
        node: NodeId,
        /// `host:port`, at most [`ADDRESS_BYTES_MAX`] bytes.
        #[serde(borrow)]
        address: &'a str,
        /// Whether the member only keeps the log, and runs no server.
        witness: bool,
    },
    /// The servers diverge, and no server is known to be right: the service ends here, also after a
    /// restart.
    Halt {
        /// The slot before which they differ.
        slot: Slot,
    },
    /// The server program ends here on all replicas, and starts again on the files that it leaves.
    /// The op counts if no op before it in the log has this number or a higher one.
    Restart {
        /// The incarnation that begins behind the op's slot.
        incarnation: Incarnation,
        /// The reason.
        #[serde(borrow)]
        reason: RestartReason<'a>,
    },
    /// An operator has ordered that the server's program gets a signal.
    Signal {
        /// The incarnation that is to get it; another one does not.
        incarnation: Incarnation,
        /// The signal's number (signal(7)), from 1 to [`SIGNAL_MAX`].
        number: u8,
    },
}

/// Why the server program starts again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RestartReason<'a> {
    /// An operator has ordered it.
    Ordered,
    /// The program has ended by itself at one point on a quorum of servers.
    Crashed(ProgramCrash),
    /// An operator has ordered that another program starts.
    Upgraded {
        /// The digest of its base.
        base: [u8; 32],
        /// Its command: words that zero bytes separate, at most [`COMMAND_BYTES_MAX`] bytes.
        #[serde(borrow)]
        command: &'a str,
    },
}

impl RestartReason<'_> {
    /// Returns whether a restart as this incarnation can have the reason.
    fn fits(&self, incarnation: Incarnation) -> bool {
        match self {
            Self::Ordered => true,
            Self::Crashed(crash) => crash.incarnation.0 > 0 && crash.incarnation < incarnation,
            Self::Upgraded { command, .. } => command.len() <= COMMAND_BYTES_MAX,
        }
    }
}

/// The point at which a program ended by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProgramCrash {
    /// The incarnation that ended.
    pub incarnation: Incarnation,
    /// Its clock at the end.
    pub clock: u64,
    /// The exit status; 0 if a signal ended it.
    pub status: u8,
    /// The signal that ended it, or 0.
    pub signal: u8,
}

impl<'a> Op<'a> {
    /// Decodes one op from the front of `bytes`, and returns the rest as well.
    ///
    /// # Errors
    /// Returns [`WireError::Malformed`] and [`WireError::OutOfBounds`], for any bytes that begin
    /// with no op; never a panic.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), WireError> {
        let (op, rest) = postcard::take_from_bytes::<Op<'a>>(bytes)?;
        let bounded = match &op {
            Op::Send { offset, bytes, .. } => {
                bytes.len() <= SEND_BYTES_MAX && offset.checked_add(bytes.len() as u64).is_some()
            }
            Op::Member { address, .. } => address.len() <= ADDRESS_BYTES_MAX,
            Op::Restart { incarnation, reason } => {
                (2..=INCARNATIONS_MAX).contains(&incarnation.0) && reason.fits(*incarnation)
            }
            Op::Signal { number, .. } => (1..=SIGNAL_MAX).contains(number),
            _ => true,
        };
        if bounded { Ok((op, rest)) } else { Err(WireError::OutOfBounds) }
    }

    /// Writes the op to the front of `space` and returns how many bytes it took.
    ///
    /// # Errors
    /// Returns [`WireError::Full`] when `space` does not suffice, [`WireError::OutOfBounds`] for
    /// too much data.
    pub fn encode(&self, space: &mut [u8]) -> Result<usize, WireError> {
        let bounded = match self {
            Op::Send { bytes, .. } => bytes.len() <= SEND_BYTES_MAX,
            Op::Member { address, .. } => address.len() <= ADDRESS_BYTES_MAX,
            Op::Restart { reason: RestartReason::Upgraded { command, .. }, .. } => {
                command.len() <= COMMAND_BYTES_MAX
            }
            Op::Signal { number, .. } => (1..=SIGNAL_MAX).contains(number),
            _ => true,
        };
        if !bounded {
            return Err(WireError::OutOfBounds);
        }
        Ok(postcard::to_slice(self, space)?.len())
    }

    /// Returns the connection that the op concerns.
    pub fn conn(&self) -> Option<ConnId> {
        match *self {
            Op::Connect { conn, .. }
            | Op::Send { conn, .. }
            | Op::Shut { conn, .. }
            | Op::Reset { conn }
            | Op::Drained { conn, .. } => Some(conn),
            Op::Time
            | Op::Retire { .. }
            | Op::Member { .. }
            | Op::Halt { .. }
            | Op::Restart { .. }
            | Op::Signal { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_begins_a_later_incarnation_than_the_one_that_crashed() {
        let crashed = |of: u32, incarnation: u32| {
            let crash =
                ProgramCrash { incarnation: Incarnation(of), clock: 7, status: 0, signal: 11 };
            let reason = RestartReason::Crashed(crash);
            Op::Restart { incarnation: Incarnation(incarnation), reason }
        };
        let decoded = |op: Op<'_>| {
            let mut space = [0; 64];
            let length = op.encode(&mut space).unwrap();
            Op::decode(&space[..length]).map(|(again, _)| again == op)
        };
        assert_eq!(decoded(crashed(1, 2)), Ok(true));
        assert_eq!(decoded(crashed(1, INCARNATIONS_MAX)), Ok(true));
        for wrong in [crashed(2, 2), crashed(0, 2), crashed(1, INCARNATIONS_MAX + 1)] {
            assert_eq!(decoded(wrong), Err(WireError::OutOfBounds), "{wrong:?}");
        }
        for number in [0, 1] {
            let incarnation = Incarnation(number);
            let op = Op::Restart { incarnation, reason: RestartReason::Ordered };
            assert_eq!(decoded(op), Err(WireError::OutOfBounds), "{number}");
        }
    }

    #[test]
    fn a_signal_has_a_number_that_a_signal_can_have() {
        let mut space = [0; 16];
        for (number, fits) in [(0, false), (1, true), (SIGNAL_MAX, true), (SIGNAL_MAX + 1, false)] {
            let op = Op::Signal { incarnation: Incarnation::FIRST, number };
            assert_eq!(op.encode(&mut space).is_ok(), fits, "{number}");
            // Another program may write it without a look at the bounds.
            let bytes = postcard::to_slice(&op, &mut space).unwrap();
            assert_eq!(Op::decode(bytes).is_ok(), fits, "{number}");
        }
    }

    #[test]
    fn a_unix_socket_is_no_internet_address() {
        let listener = Endpoint::from_unix_listener(3);
        assert!(listener.is_unix() && listener.ipv4().is_none());
        assert!(listener.is_unix_number(3) && !listener.is_unix_number(4));
        let client = Endpoint::from_unix_client(1000, u32::MAX);
        assert_eq!(client.unix_credentials(), Some((1000, u32::MAX)));
        let internet = Endpoint::from_ipv4([10, 0, 0, 1], 80);
        assert_eq!((internet.is_unix(), internet.unix_credentials()), (false, None));
    }
}
