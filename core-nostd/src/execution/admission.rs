//! Admission: an op becomes visible to the server.
//!
//! The entry rule: ops may reach the log twice, or after an older one was lost with a primary.
//! Numbers and offsets in the ops tell; what the script already held is skipped, what would leave a
//! gap is dropped (the entry replica sends again from where the script stands).
//!
//! Theorem: the tables are a function of the admitted ops and of the server's own calls; each
//! connection's bytes are admitted once, in order, without a gap.

use heapless::index_map::FnvIndexMap;

use crate::id::{ConnId, Generation, NodeId};
use crate::index_list::{IndexList, Neighbours};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::wire::{Endpoint, Op};

use super::socket::{Conn, ConnIndex, Listener, ListenerIndex};

/// What an op did, for the frontend: it keeps the bytes, and wakes who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admitted<'a> {
    /// Nothing: a duplicate, an op after a gap, or about a connection that has ended.
    Nothing,
    /// A new connection waits at a listener.
    Acceptable(ListenerIndex),
    /// Nobody listens there, or the backlog or the table is full: the client gets a reset.
    Refused(ConnId),
    /// Bytes to keep, the first of which is number `at` of its connection.
    Data {
        /// Whose.
        conn: ConnIndex,
        /// The number of the first byte.
        at: u64,
        /// The new ones among the op's.
        bytes: &'a [u8],
    },
    /// The client's side has ended.
    Ended(ConnIndex),
    /// The client is gone.
    Reset(ConnIndex),
    /// There is room to write again.
    Room(ConnIndex),
    /// All connections of these generations of this replica are gone: see [`Sockets::retired`].
    Retired(NodeId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct EntryReplica {
    generation: Generation,
    /// The next connection's number.
    next: u64,
    /// Up to here, nothing counts any more.
    retired: Generation,
}

/// The server's listeners and connections.
#[derive(Clone, Debug)]
pub struct Sockets<const CONNECTIONS: usize, const LISTENERS: usize> {
    listeners: [Option<Listener>; LISTENERS],
    conns: [Option<Conn>; CONNECTIONS],
    /// Of the connections that wait in backlogs.
    links: [Neighbours; CONNECTIONS],
    by_id: FnvIndexMap<ConnId, u16, CONNECTIONS>,
    entries: [EntryReplica; NODES_MAX],
    /// Where the search for a free place begins; everything below is taken.
    free: usize,
}

impl<const CONNECTIONS: usize, const LISTENERS: usize> Sockets<CONNECTIONS, LISTENERS> {
    /// No sockets. `CONNECTIONS` is a power of two, at most 32 768.
    pub const fn new() -> Self {
        assert!(CONNECTIONS <= 1 << 15 && LISTENERS <= 1 << 15);
        let entry = EntryReplica { generation: Generation(0), next: 1, retired: Generation(0) };
        Self {
            listeners: [None; LISTENERS],
            conns: [None; CONNECTIONS],
            links: [Neighbours::UNLINKED; CONNECTIONS],
            by_id: FnvIndexMap::new(),
            entries: [entry; NODES_MAX],
            free: 0,
        }
    }

    /// Applies an op.
    pub fn admit<'a>(&mut self, op: &Op<'a>) -> Admitted<'a> {
        match *op {
            Op::Connect { conn, local, peer } => self.connect(conn, local, peer),
            Op::Send { conn, offset, bytes } => self.send(conn, offset, bytes),
            Op::Shut { conn, total } => self.with(conn, |index, conn| {
                let news = conn.received == total && !conn.ended;
                conn.ended |= news;
                conn.read_edges = conn.read_edges.wrapping_add(u32::from(news));
                if news { Admitted::Ended(index) } else { Admitted::Nothing }
            }),
            Op::Reset { conn } => self.with(conn, |index, conn| {
                if reset(conn) { Admitted::Reset(index) } else { Admitted::Nothing }
            }),
            Op::Drained { conn, total } => self.with(conn, |index, conn| {
                let news = total > conn.drained && total <= conn.sent;
                if news {
                    conn.drained = total;
                    conn.write_edges = conn.write_edges.wrapping_add(1);
                }
                if news { Admitted::Room(index) } else { Admitted::Nothing }
            }),
            Op::Time | Op::Member { .. } => Admitted::Nothing,
            Op::Retire { node, generation } => self.retire(node, generation),
        }
    }

    /// After [`Admitted::Retired`]: the next connection of retired generations of `node` that was
    /// not told yet that it is reset, in the order of the table.
    // specs: E7
    pub fn retired(&mut self, node: NodeId) -> Option<ConnIndex> {
        let retired = self.entries[node.index()].retired;
        let conns = self.conns.iter_mut().enumerate();
        for (index, conn) in conns.filter_map(|(index, conn)| Some((index, conn.as_mut()?))) {
            if conn.id.entry == node && conn.id.generation <= retired && reset(conn) {
                return Some(ConnIndex(index as u16));
            }
        }
        None
    }

    /// Begins to listen. `None`: the table is full.
    pub fn listen(&mut self, bound: Endpoint, ipv6: bool, backlog: u32) -> Option<ListenerIndex> {
        let index = self.listeners.iter().position(Option::is_none)?;
        let queue = IndexList::EMPTY;
        self.listeners[index] = Some(Listener { bound, ipv6, backlog, waiting: 0, queue });
        Some(ListenerIndex(index as u16))
    }

    /// Whether a port is listened at, by a socket of this family.
    pub fn is_bound(&self, port: u16, ipv6: bool) -> bool {
        self.listeners.iter().flatten().any(|other| other.bound.port == port && other.ipv6 == ipv6)
    }

    /// Ends listening; what waited to be accepted is closed, see the connections given to `closed`.
    pub fn unlisten(&mut self, listener: ListenerIndex, mut closed: impl FnMut(ConnId)) {
        while let Some(conn) = self.accept(listener) {
            closed(self.conn(conn).id);
            self.close(conn);
        }
        self.listeners[listener.0 as usize] = None;
    }

    /// A listener that exists.
    pub fn listener(&self, listener: ListenerIndex) -> &Listener {
        self.listeners[listener.0 as usize].as_ref().expect("a listener that exists")
    }

    /// How many connections wait to be accepted.
    pub fn acceptable(&self, listener: ListenerIndex) -> u32 {
        self.listener(listener).waiting
    }

    /// Takes the first connection that waits.
    pub fn accept(&mut self, listener: ListenerIndex) -> Option<ConnIndex> {
        let entry = self.listeners[listener.0 as usize].as_mut().expect("a listener that exists");
        let first = ConnIndex(entry.queue.pop_front(&mut self.links)?);
        entry.waiting -= 1;
        self.conn_mut(first).backlog_of = None;
        Some(first)
    }

    /// A connection that exists.
    pub fn conn(&self, conn: ConnIndex) -> &Conn {
        self.conns[conn.0 as usize].as_ref().expect("a connection that exists")
    }

    /// A connection that exists, to read or write by it.
    pub fn conn_mut(&mut self, conn: ConnIndex) -> &mut Conn {
        self.conns[conn.0 as usize].as_mut().expect("a connection that exists")
    }

    /// The server is done with a connection that it has accepted: its place is free, and what is
    /// still said about it counts no more.
    pub fn close(&mut self, conn: ConnIndex) {
        let place = conn.0 as usize;
        let closed = self.conns[place].take().expect("a connection that exists");
        assert!(closed.backlog_of.is_none());
        self.by_id.swap_remove(&closed.id);
        self.free = self.free.min(place);
    }

    /// How many connections exist.
    pub fn open(&self) -> usize {
        self.by_id.len()
    }

    // specs: E1, E3
    fn connect<'a>(&mut self, id: ConnId, local: Endpoint, peer: Endpoint) -> Admitted<'a> {
        let entry = &mut self.entries[id.entry.index()];
        if id.generation <= entry.retired || id.generation < entry.generation {
            return Admitted::Nothing;
        }
        let expected = if id.generation == entry.generation { entry.next } else { 1 };
        if id.number != expected && !broken(Mutant::NumberUnchecked) {
            say!(
                debug,
                "connection {} by node {} is not the next one",
                id.number,
                id.entry.number()
            );
            return Admitted::Nothing;
        }
        (entry.generation, entry.next) = (id.generation, expected + 1);
        let Some(listener) = self.listener_for(&local) else { return Admitted::Refused(id) };
        let Listener { backlog, waiting, .. } = *self.listener(listener);
        let free = (self.free..CONNECTIONS).find(|place| self.conns[*place].is_none());
        let (Some(place), true) = (free, waiting < backlog) else {
            return Admitted::Refused(id);
        };
        self.free = place + 1;
        let index = ConnIndex(place as u16);
        assert!(matches!(self.by_id.insert(id, index.0), Ok(None)), "numbers only grow");
        let mut conn = Conn::new(id, local, peer);
        conn.backlog_of = Some(listener);
        self.conns[place] = Some(conn);
        let entry = self.listeners[listener.0 as usize].as_mut().expect("a listener that exists");
        entry.queue.push_back(&mut self.links, index.0);
        entry.waiting += 1;
        Admitted::Acceptable(listener)
    }

    fn send<'a>(&mut self, id: ConnId, offset: u64, bytes: &'a [u8]) -> Admitted<'a> {
        self.with(id, |conn, state| match state.fresh(offset, bytes) {
            None => {
                say!(
                    debug,
                    "bytes at {} of connection {} are known or too early",
                    offset,
                    id.number
                );
                Admitted::Nothing
            }
            Some(bytes) => {
                let at = state.received;
                state.received += bytes.len() as u64;
                state.read_edges = state.read_edges.wrapping_add(1);
                Admitted::Data { conn, at, bytes }
            }
        })
    }

    // specs: E7
    fn retire<'a>(&mut self, node: NodeId, generation: Generation) -> Admitted<'a> {
        let entry = &mut self.entries[node.index()];
        if generation <= entry.retired {
            return Admitted::Nothing;
        }
        entry.retired = generation;
        Admitted::Retired(node)
    }

    /// Has an op act on its connection, unless that is not there, or is reset: then its client is
    /// gone, and what comes late does not count.
    // specs: E3, E7
    fn with<'a>(
        &mut self,
        id: ConnId,
        act: impl FnOnce(ConnIndex, &mut Conn) -> Admitted<'a>,
    ) -> Admitted<'a> {
        match self.by_id.get(&id).copied().map(ConnIndex) {
            Some(index) if !self.conn(index).reset => act(index, self.conn_mut(index)),
            _ => Admitted::Nothing,
        }
    }

    /// The listener at a port: one for the family and address that match best, the first of them.
    fn listener_for(&self, local: &Endpoint) -> Option<ListenerIndex> {
        let ipv6 = local.ipv4().is_none();
        let at_port = self.listeners.iter().enumerate().filter_map(|(index, listener)| {
            let listener = listener.as_ref()?;
            (listener.bound.port == local.port).then_some((index, listener))
        });
        at_port
            .min_by_key(|(index, listener)| (listener.ipv6 != ipv6, *index))
            .map(|(index, _)| ListenerIndex(index as u16))
    }
}

impl<const CONNECTIONS: usize, const LISTENERS: usize> Default for Sockets<CONNECTIONS, LISTENERS> {
    fn default() -> Self {
        Self::new()
    }
}

/// The client is gone; true when that is news.
fn reset(conn: &mut Conn) -> bool {
    let news = !conn.reset;
    if news {
        conn.reset = true;
        conn.read_edges = conn.read_edges.wrapping_add(1);
        conn.write_edges = conn.write_edges.wrapping_add(1);
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = Sockets<4, 2>;

    fn id(generation: u64, number: u64) -> ConnId {
        let entry = NodeId::new(2).unwrap();
        ConnId { entry, generation: Generation(generation), number }
    }

    fn end(port: u16) -> Endpoint {
        Endpoint::from_ipv4([127, 0, 0, 2], port)
    }

    fn connect(sockets: &mut Small, id: ConnId) -> Admitted<'static> {
        sockets.admit(&Op::Connect { conn: id, local: end(80), peer: end(4000) })
    }

    fn listening() -> (Small, ListenerIndex) {
        let mut sockets = Small::new();
        let listener = sockets.listen(end(80), false, 3).unwrap();
        (sockets, listener)
    }

    #[test]
    fn connections_are_accepted_in_the_order_of_the_script() {
        let (mut sockets, listener) = listening();
        for number in 1..=3 {
            assert_eq!(connect(&mut sockets, id(1, number)), Admitted::Acceptable(listener));
        }
        assert_eq!(connect(&mut sockets, id(1, 4)), Admitted::Refused(id(1, 4)));
        for number in 1..=3 {
            let conn = sockets.accept(listener).unwrap();
            assert_eq!(sockets.conn(conn).id, id(1, number));
        }
        assert_eq!(sockets.accept(listener), None);
    }

    #[test]
    fn a_connect_that_comes_twice_or_after_a_lost_one_is_dropped() {
        let (mut sockets, listener) = listening();
        assert_eq!(connect(&mut sockets, id(1, 2)), Admitted::Nothing);
        assert_eq!(connect(&mut sockets, id(1, 1)), Admitted::Acceptable(listener));
        assert_eq!(connect(&mut sockets, id(1, 1)), Admitted::Nothing);
        let conn = sockets.accept(listener).unwrap();
        sockets.close(conn);
        assert_eq!(connect(&mut sockets, id(1, 1)), Admitted::Nothing);
        assert_eq!(connect(&mut sockets, id(1, 2)), Admitted::Acceptable(listener));
        assert_eq!(sockets.open(), 1);
    }

    #[test]
    fn bytes_are_admitted_once_and_in_order() {
        let (mut sockets, listener) = listening();
        connect(&mut sockets, id(1, 1));
        let conn = sockets.accept(listener).unwrap();
        let mut send = |offset, bytes: &'static [u8]| {
            sockets.admit(&Op::Send { conn: id(1, 1), offset, bytes })
        };
        assert_eq!(send(0, b"abcd"), Admitted::Data { conn, at: 0, bytes: b"abcd" });
        assert_eq!(send(0, b"abcd"), Admitted::Nothing);
        assert_eq!(send(6, b"gh"), Admitted::Nothing);
        assert_eq!(send(2, b"cdef"), Admitted::Data { conn, at: 4, bytes: b"ef" });
        let early = Op::Shut { conn: id(1, 1), total: 9 };
        assert_eq!(sockets.admit(&early), Admitted::Nothing);
        let shut = Op::Shut { conn: id(1, 1), total: 6 };
        assert_eq!(sockets.admit(&shut), Admitted::Ended(conn));
        assert_eq!(sockets.conn(conn).readable(), 6);
    }

    #[test]
    fn a_retired_generation_is_reset_and_heard_no_more() {
        let (mut sockets, listener) = listening();
        let node = NodeId::new(2).unwrap();
        connect(&mut sockets, id(1, 1));
        connect(&mut sockets, id(1, 2));
        let first = sockets.accept(listener).unwrap();
        let retire = Op::Retire { node, generation: Generation(1) };
        assert_eq!(sockets.admit(&retire), Admitted::Retired(node));
        assert_eq!(sockets.retired(node), Some(first));
        assert!(sockets.retired(node).is_some());
        assert_eq!(sockets.retired(node), None);
        for conn in [id(1, 1), id(1, 2)] {
            assert_eq!(sockets.admit(&Op::Shut { conn, total: 0 }), Admitted::Nothing);
            assert_eq!(sockets.admit(&Op::Reset { conn }), Admitted::Nothing);
        }
        assert_eq!(connect(&mut sockets, id(1, 3)), Admitted::Nothing);
        assert_eq!(connect(&mut sockets, id(2, 1)), Admitted::Acceptable(listener));
        assert_eq!(sockets.admit(&retire), Admitted::Nothing);
    }

    #[test]
    fn closing_a_listener_closes_what_waits_there() {
        let (mut sockets, listener) = listening();
        connect(&mut sockets, id(1, 1));
        let mut closed = 0;
        sockets.unlisten(listener, |_| closed += 1);
        assert_eq!((closed, sockets.open()), (1, 0));
        assert_eq!(connect(&mut sockets, id(1, 2)), Admitted::Refused(id(1, 2)));
    }
}
