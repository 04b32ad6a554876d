//! Virtual sockets: what `accept`, `recv`, `send` and `epoll` may answer, as a function of admitted
//! ops and of the server's own calls. The bytes themselves are kept by the frontend; this module
//! counts them.

use crate::id::ConnId;
use crate::index_list::IndexList;
use crate::limits::{RECEIVE_WINDOW, SEND_WINDOW};
use crate::mutants::{Mutant, broken};
use crate::wire::Endpoint;

/// The place of a connection in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnIndex(pub u16);

/// The place of a listener in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerIndex(pub u16);

/// The address at which a socket listens, with its conditions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bound {
    /// The address that the server bound; the unspecified address of its family means all
    /// addresses.
    pub at: Endpoint,
    /// Whether a socket at the unspecified IPv6 address takes no IPv4 clients (`IPV6_V6ONLY`).
    pub v6only: bool,
    /// Whether other sockets with this flag may listen at the same address (`SO_REUSEPORT`).
    pub shared: bool,
}

impl Bound {
    /// Creates an address without further conditions.
    pub const fn plain(at: Endpoint) -> Self {
        Self { at, v6only: false, shared: false }
    }

    /// Returns whether it is the wildcard address of IPv4 or IPv6.
    fn is_unspecified(&self) -> bool {
        self.at.address == [0; 16] || self.at.ipv4() == Some([0; 4])
    }

    /// Returns whether the socket takes clients of a family.
    fn takes(&self, ipv6: bool) -> bool {
        let own = self.at.ipv4().is_none();
        own == ipv6 || (own && self.is_unspecified() && !self.v6only)
    }

    /// Returns whether the two addresses exclude each other.
    // specs: E9
    pub fn excludes(&self, other: &Self) -> bool {
        let meet = [false, true].iter().any(|ipv6| self.takes(*ipv6) && other.takes(*ipv6));
        let same = self.at.address == other.at.address;
        self.at.port == other.at.port
            && meet
            && (same || self.is_unspecified() || other.is_unspecified())
            && !(self.shared && other.shared)
    }

    /// Returns the distance from the address that a client connected to, 0 for the same address, or
    /// `None` if connections to that address do not come to this socket.
    // specs: E9
    pub(super) fn distance(&self, local: &Endpoint) -> Option<u8> {
        let ipv6 = local.ipv4().is_none();
        if self.at.port != local.port || !self.takes(ipv6) {
            return None;
        }
        match self.at.address == local.address {
            true => Some(0),
            false if !self.is_unspecified() => None,
            false => Some(if self.at.ipv4().is_none() == ipv6 { 1 } else { 2 }),
        }
    }
}

/// A socket that listens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listener {
    /// The address at which it listens.
    pub bound: Bound,
    /// The number of connections that may wait for `accept`.
    pub backlog: u32,
    /// The number of connections that wait.
    pub(super) waiting: u32,
    /// The waiting connections, in the order of the script.
    pub(super) queue: IndexList,
}

/// A client's connection.
///
/// Guarantees: `consumed ≤ received ≤ consumed + RECEIVE_WINDOW` and
/// `drained ≤ sent ≤ drained + SEND_WINDOW`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Conn {
    /// The name that the log gives it.
    pub id: ConnId,
    /// The address that the client connected to.
    pub local: Endpoint,
    /// The client's own address.
    pub peer: Endpoint,
    /// The number of bytes from the client that were admitted.
    pub received: u64,
    /// The number of admitted bytes that the server has read.
    pub consumed: u64,
    /// The number of bytes that the server has written.
    pub sent: u64,
    /// The number of written bytes that the client has taken.
    pub drained: u64,
    /// Whether the client will send nothing more.
    pub ended: bool,
    /// Whether the client is gone.
    pub reset: bool,
    /// Whether the server has shut its reading side.
    pub read_shut: bool,
    /// Whether the server has shut its writing side.
    pub write_shut: bool,
    /// The number of read edges for epoll: it grows with new bytes, the end or a reset.
    pub read_edges: u32,
    /// The number of write edges for epoll: it grows when there is room to write again, or with a
    /// reset.
    pub write_edges: u32,
    /// The listener in whose backlog the connection waits.
    pub(super) backlog_of: Option<ListenerIndex>,
}

impl Conn {
    /// Creates a connection on which nothing has been sent.
    pub(super) const fn new(id: ConnId, local: Endpoint, peer: Endpoint) -> Self {
        Self {
            id,
            local,
            peer,
            received: 0,
            consumed: 0,
            sent: 0,
            drained: 0,
            ended: false,
            reset: false,
            read_shut: false,
            write_shut: false,
            read_edges: 0,
            write_edges: 0,
            backlog_of: None,
        }
    }

    /// Checks the guarantees above.
    ///
    /// # Panics
    /// Panics if one of them does not hold.
    pub fn invariants(&self) {
        let unread = self.received.checked_sub(self.consumed);
        assert!(
            unread.is_some_and(|unread| unread <= RECEIVE_WINDOW as u64),
            "a window is overrun"
        );
        let untaken = self.sent.checked_sub(self.drained);
        assert!(
            untaken.is_some_and(|untaken| untaken <= SEND_WINDOW as u64),
            "a window is overrun"
        );
    }

    /// Returns how many bytes `recv` may return.
    pub fn readable(&self) -> usize {
        (self.received - self.consumed) as usize
    }

    /// Returns how many bytes `send` may accept.
    pub fn room(&self) -> usize {
        SEND_WINDOW - (self.sent - self.drained) as usize
    }

    /// Returns whether `recv` would return at once, with bytes, the end or an error.
    pub fn read_ready(&self) -> bool {
        self.readable() > 0 || self.ended || self.reset || self.read_shut
    }

    /// Returns whether `send` would return at once, with success or an error. As in Linux, a socket
    /// counts as writable when a third of its buffer is free (`sk_stream_is_writeable`).
    pub fn write_ready(&self) -> bool {
        self.room() >= SEND_WINDOW / 3 || self.reset || self.write_shut
    }

    /// Records that the server has read `count` bytes.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.readable());
        self.consumed += count as u64;
    }

    /// Records that the server has written `count` bytes.
    pub fn produce(&mut self, count: usize) {
        assert!(count <= self.room() && !self.write_shut);
        self.sent += count as u64;
    }

    /// Returns the part of the bytes at `offset` that is new and fits into the window, or `None` if
    /// no byte is new or the bytes would leave a gap.
    // specs: E2, E3
    pub(super) fn fresh<'a>(&self, offset: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if broken(Mutant::OffsetUnchecked) {
            return (!bytes.is_empty()).then_some(bytes);
        }
        let known = self.received.checked_sub(offset)?;
        let fresh = bytes.get(usize::try_from(known).ok()?..)?;
        let fits = self.readable() + fresh.len() <= RECEIVE_WINDOW;
        (fits && !fresh.is_empty() && !self.ended && !self.reset).then_some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Generation, NodeId};

    fn conn() -> Conn {
        let id = ConnId { entry: NodeId::new(1).unwrap(), generation: Generation(1), number: 1 };
        let end = Endpoint::from_ipv4([127, 0, 0, 1], 80);
        Conn::new(id, end, end)
    }

    #[test]
    fn known_bytes_are_cut_off_and_bytes_behind_a_gap_are_dropped() {
        let mut conn = conn();
        conn.received = 10;
        assert_eq!(conn.fresh(10, b"abc"), Some(&b"abc"[..]));
        assert_eq!(conn.fresh(8, b"abc"), Some(&b"c"[..]));
        assert_eq!(conn.fresh(7, b"abc"), None);
        assert_eq!(conn.fresh(0, b"abc"), None);
        assert_eq!(conn.fresh(11, b"abc"), None);
    }

    #[test]
    fn windows_bound_both_directions() {
        let mut conn = conn();
        let much = [0; RECEIVE_WINDOW + 1];
        assert_eq!(conn.fresh(0, &much), None);
        assert_eq!(conn.fresh(0, &much[1..]).map(<[u8]>::len), Some(RECEIVE_WINDOW));
        conn.produce(SEND_WINDOW);
        assert_eq!((conn.room(), conn.write_ready()), (0, false));
        conn.drained = SEND_WINDOW as u64 / 2;
        assert!(conn.write_ready());
    }
}
