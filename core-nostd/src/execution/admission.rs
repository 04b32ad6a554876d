//! Admission: an op becomes visible to the server.
//!
//! The entry rule: an op may reach the log twice, or after an older op was lost with a primary.
//! Admission recognises both by the numbers and offsets in the ops. It skips whatever the script
//! already held, and drops an op that would leave a gap (the entry replica sends again from the end
//! of what the script holds).
//!
//! Theorem: the tables are a function of the admitted ops and of the server's own calls; each
//! connection's bytes are admitted once, in order, without a gap.

use core::borrow::BorrowMut;

use crate::id::{ConnId, Generation, Incarnation, NodeId};
use crate::index_list::IndexList;
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::wire::{Endpoint, Op};

use super::conn_table::ConnTable;
use super::socket::{Bound, Conn, ConnIndex, Listener, ListenerIndex};

/// The effect of an op, for the frontend, which keeps the bytes and wakes the waiting threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admitted<'a> {
    /// No effect: the op is a duplicate, follows a gap, or concerns a connection that has ended.
    Nothing,
    /// A new connection waits at a listener.
    Acceptable(ListenerIndex),
    /// The connection is refused, for this reason: the client gets a reset.
    Refused(ConnId, ConnRefusal),
    /// New bytes of a connection, for the frontend to keep.
    Data {
        /// The connection.
        conn: ConnIndex,
        /// The number of the first byte, counted from the connection's beginning.
        at: u64,
        /// The part of the op's bytes that is new.
        bytes: &'a [u8],
    },
    /// The client will send nothing more.
    Ended(ConnIndex),
    /// The client is gone.
    Reset(ConnIndex),
    /// The server has room to write again.
    Room(ConnIndex),
    /// All connections of these generations of this replica are gone: see [`Sockets::retired`].
    Retired(NodeId),
    /// The program ends here, and this incarnation of it begins.
    Restarted(Incarnation),
    /// The program gets the signal of this number.
    Signalled(u8),
}

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnRefusal {
    /// The server does not listen there.
    NoListener,
    /// As many as the server asked for wait to be accepted.
    BacklogFull,
    /// The table has no place for another connection.
    TableFull,
}

/// The state of an entry replica's connections with which admission compares ops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct EntryReplica {
    /// The generation of the last connection; connections of older ones are dropped.
    generation: Generation,
    /// The next connection's number.
    next: u64,
    /// The last generation that was retired; ops of it and of older ones have no effect.
    retired: Generation,
}

/// The server's listeners and connections, `CONNECTIONS` of them at a time. Their table is a part
/// of this, or is borrowed: a large one has its own place.
#[derive(Clone, Debug)]
pub struct Sockets<const CONNECTIONS: usize, const LISTENERS: usize, Table = ConnTable<CONNECTIONS>>
{
    /// Listeners by index.
    listeners: [Option<Listener>; LISTENERS],
    /// The connections.
    table: Table,
    /// By entry replica: the state with which admission compares ops.
    entries: [EntryReplica; NODES_MAX],
    /// The incarnation of the server.
    incarnation: Incarnation,
}

impl<const CONNECTIONS: usize, const LISTENERS: usize> Sockets<CONNECTIONS, LISTENERS> {
    /// Creates a table without sockets, for the first incarnation of a server.
    pub const fn new() -> Self {
        Self::with_table(ConnTable::new(), Incarnation::FIRST)
    }
}

impl<const CONNECTIONS: usize, const LISTENERS: usize, Table>
    Sockets<CONNECTIONS, LISTENERS, Table>
{
    /// As [`Sockets::new`], with a given table, which has no connections, and for any incarnation.
    /// The connections of the incarnations before have ended.
    // specs: I2
    pub const fn with_table(table: Table, incarnation: Incarnation) -> Self {
        assert!(LISTENERS <= 1 << 15, "a listener has a number");
        let retired = Generation::before(incarnation);
        let entry = EntryReplica { generation: Generation(0), next: 1, retired };
        let entries = [entry; NODES_MAX];
        Self { listeners: [None; LISTENERS], table, entries, incarnation }
    }

    /// Returns the incarnation of the server.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

impl<const CONNECTIONS: usize, const LISTENERS: usize, Table> Sockets<CONNECTIONS, LISTENERS, Table>
where
    Table: BorrowMut<ConnTable<CONNECTIONS>>,
{
    /// Returns whether there are neither listeners nor connections.
    pub fn is_empty(&self) -> bool {
        self.table().is_empty() && self.listeners.iter().all(Option::is_none)
    }

    /// Applies an op.
    pub fn admit<'a>(&mut self, op: &Op<'a>) -> Admitted<'a> {
        let admitted = self.apply(op);
        self.check();
        admitted
    }

    /// Applies an op without checking the tables.
    fn apply<'a>(&mut self, op: &Op<'a>) -> Admitted<'a> {
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
                let news = news && !broken(Mutant::DrainedIgnored);
                if news {
                    conn.drained = total;
                    conn.write_edges = conn.write_edges.wrapping_add(1);
                }
                if news { Admitted::Room(index) } else { Admitted::Nothing }
            }),
            Op::Time | Op::Member { .. } | Op::Halt { .. } => Admitted::Nothing,
            Op::Retire { .. } if broken(Mutant::RetireIgnored) => Admitted::Nothing,
            Op::Retire { node, generation } => self.retire(node, generation),
            Op::Restart { incarnation, .. } => self.restart(incarnation),
            Op::Signal { incarnation, number } => self.signal(incarnation, number),
        }
    }

    /// Returns whether a restart counts: it does if its incarnation is above this one.
    // specs: I1
    fn restart<'a>(&self, incarnation: Incarnation) -> Admitted<'a> {
        match incarnation > self.incarnation || broken(Mutant::RestartUnchecked) {
            true => Admitted::Restarted(incarnation),
            false => Admitted::Nothing,
        }
    }

    /// Returns whether a signal counts: it does for the incarnation that it was meant for.
    // specs: S14
    fn signal<'a>(&self, incarnation: Incarnation, number: u8) -> Admitted<'a> {
        match incarnation == self.incarnation {
            true => Admitted::Signalled(number),
            false => Admitted::Nothing,
        }
    }

    /// Returns the first connection after `after` in the table that is of retired generations of
    /// `node` and has not been reported as reset. Call it after [`Admitted::Retired`], until it
    /// returns `None`.
    // specs: E7
    pub fn retired(&mut self, node: NodeId, after: Option<ConnIndex>) -> Option<ConnIndex> {
        let retired = self.entries[node.index()].retired;
        let first = after.map_or(0, |conn| u32::from(conn.0) + 1);
        let table = self.table_mut();
        for index in (first..table.reached()).map(|at| ConnIndex(at as u16)) {
            if let Some(conn) = table.get_mut(index)
                && conn.id.entry == node
                && conn.id.generation <= retired
                && reset(conn)
            {
                return Some(index);
            }
        }
        None
    }

    /// Begins to listen, or returns `None` if the table is full.
    pub fn listen(&mut self, bound: Bound, backlog: u32) -> Option<ListenerIndex> {
        let index = self.listeners.iter().position(Option::is_none)?;
        let queue = IndexList::EMPTY;
        self.listeners[index] = Some(Listener { bound, backlog, waiting: 0, queue });
        Some(ListenerIndex(index as u16))
    }

    /// Returns the addresses at which the server listens.
    pub fn listening(&self) -> impl Iterator<Item = &Bound> {
        self.listeners.iter().flatten().map(|listener| &listener.bound)
    }

    /// Returns whether another socket prevents this one from listening.
    pub fn is_taken(&self, bound: &Bound) -> bool {
        self.listeners.iter().flatten().any(|other| bound.excludes(&other.bound))
    }

    /// Ends listening. Every connection that waited to be accepted is closed, and passed to
    /// `closed`.
    pub fn unlisten(&mut self, listener: ListenerIndex, mut closed: impl FnMut(ConnId)) {
        while let Some(conn) = self.accept(listener) {
            closed(self.conn(conn).id);
            self.close(conn);
        }
        self.listeners[listener.0 as usize] = None;
    }

    /// Returns a listener, which must exist.
    pub fn listener(&self, listener: ListenerIndex) -> &Listener {
        self.listeners[listener.0 as usize].as_ref().expect("a listener that exists")
    }

    /// Returns how many connections wait to be accepted.
    pub fn acceptable(&self, listener: ListenerIndex) -> u32 {
        self.listener(listener).waiting
    }

    /// Takes the first waiting connection out of the backlog.
    pub fn accept(&mut self, listener: ListenerIndex) -> Option<ConnIndex> {
        let entry = self.listeners[listener.0 as usize].as_mut().expect("a listener that exists");
        let first = self.table.borrow_mut().leave(&mut entry.queue)?;
        entry.waiting -= 1;
        self.conn_mut(first).backlog_of = None;
        self.check();
        Some(first)
    }

    /// Returns a connection, which must exist.
    pub fn conn(&self, conn: ConnIndex) -> &Conn {
        self.table().get(conn).expect("a connection that exists")
    }

    /// Returns a connection, which must exist, to read or write on it.
    pub fn conn_mut(&mut self, conn: ConnIndex) -> &mut Conn {
        self.table_mut().get_mut(conn).expect("a connection that exists")
    }

    /// Closes an accepted connection, because the server is done with it. Its place becomes free,
    /// and later ops about it have no effect.
    pub fn close(&mut self, conn: ConnIndex) {
        let closed = self.table_mut().remove(conn);
        assert!(closed.backlog_of.is_none());
        self.check();
    }

    /// Checks what holds between any two steps, in time proportional to the connections that there
    /// were at one time: each is found by its name, and keeps its windows; each listener's queue
    /// has exactly the connections that wait there, and counts them correctly.
    ///
    /// Called always in simulation, and under debug assertions after each admission to small
    /// tables.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub fn invariants(&self) {
        let table = self.table();
        table.invariants();
        let waiting = table.iter().filter(|(_, conn)| conn.backlog_of.is_some()).count();
        let mut queued = 0;
        let listeners = self.listeners.iter().enumerate();
        for (index, listener) in listeners.filter_map(|(index, at)| Some((index, at.as_ref()?))) {
            let here = Some(ListenerIndex(index as u16));
            let length = table.check_queue(listener.queue, |conn| conn.backlog_of == here);
            assert!(length == listener.waiting as usize, "a backlog is miscounted");
            queued += length;
        }
        assert!(queued == waiting, "a connection waits in no backlog");
        assert!(table.linked() == queued, "a place that waits in no backlog is linked");
    }

    /// Checks the tables under debug assertions, where they are small.
    #[inline]
    fn check(&self) {
        if cfg!(debug_assertions) && CONNECTIONS <= 64 {
            self.invariants();
        }
    }

    /// Returns how many connections exist.
    pub fn open(&self) -> usize {
        self.table().len()
    }

    /// Returns the table.
    #[inline]
    fn table(&self) -> &ConnTable<CONNECTIONS> {
        self.table.borrow()
    }

    /// Returns the table, to change it.
    #[inline]
    fn table_mut(&mut self) -> &mut ConnTable<CONNECTIONS> {
        self.table.borrow_mut()
    }

    /// Admits a connection: the next of its generation, once.
    // specs: E1, E3
    fn connect<'a>(&mut self, id: ConnId, local: Endpoint, peer: Endpoint) -> Admitted<'a> {
        let older = Generation::before(self.incarnation);
        let entry = &mut self.entries[id.entry.index()];
        let is_retired = id.generation <= entry.retired
            && !(entry.retired == older && broken(Mutant::OlderConnectionsAdmitted))
            && !(entry.retired > older && broken(Mutant::RetiredAdmitted));
        if is_retired || id.generation < entry.generation {
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
        let Some(listener) = self.listener_for(&local, &peer) else {
            return Admitted::Refused(id, ConnRefusal::NoListener);
        };
        let entry = self.listeners[listener.0 as usize].as_mut().expect("a listener that exists");
        if self.table.borrow().is_full() {
            return Admitted::Refused(id, ConnRefusal::TableFull);
        }
        if entry.waiting >= entry.backlog {
            return Admitted::Refused(id, ConnRefusal::BacklogFull);
        }
        let mut conn = Conn::new(id, local, peer);
        conn.backlog_of = Some(listener);
        self.table.borrow_mut().enter(conn, &mut entry.queue);
        entry.waiting += 1;
        Admitted::Acceptable(listener)
    }

    /// Admits the bytes that the connection does not have yet, if they leave no gap.
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

    /// Ends the connections of an entry replica up to a generation.
    // specs: E7
    fn retire<'a>(&mut self, node: NodeId, generation: Generation) -> Admitted<'a> {
        let entry = &mut self.entries[node.index()];
        if generation <= entry.retired {
            return Admitted::Nothing;
        }
        entry.retired = generation;
        Admitted::Retired(node)
    }

    /// Applies an op to its connection, unless the connection does not exist or is reset. In that
    /// case its client is gone, and late ops have no effect.
    // specs: E3, E7
    fn with<'a>(
        &mut self,
        id: ConnId,
        act: impl FnOnce(ConnIndex, &mut Conn) -> Admitted<'a>,
    ) -> Admitted<'a> {
        match self.table().find(&id) {
            Some(index) if !self.conn(index).reset => act(index, self.conn_mut(index)),
            _ => Admitted::Nothing,
        }
    }

    /// Returns the listener whose address is nearest to the address that the client connected to.
    /// If several listeners share that address, the client's port decides.
    // specs: E9
    fn listener_for(&self, local: &Endpoint, peer: &Endpoint) -> Option<ListenerIndex> {
        let distance = |listener: &Listener| listener.bound.distance(local);
        let nearest = self.listeners.iter().flatten().filter_map(distance).min()?;
        let is_nearest =
            |at: &Option<Listener>| at.as_ref().and_then(distance).is_some_and(|at| at == nearest);
        let near = || self.listeners.iter().enumerate().filter(|(_, at)| is_nearest(at));
        let chosen = usize::from(peer.port) % near().count();
        near().nth(chosen).map(|(index, _)| ListenerIndex(index as u16))
    }
}

impl<const CONNECTIONS: usize, const LISTENERS: usize> Default for Sockets<CONNECTIONS, LISTENERS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Marks the client as gone, and returns whether that is new.
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
mod tests;
