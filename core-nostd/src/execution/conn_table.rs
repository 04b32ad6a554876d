//! The connections of a server: by place, by the name that the log gives them, and in the order in
//! which they wait to be accepted. Each of these takes constant time, however many there are.

use crate::id::ConnId;
use crate::index_list::{IndexList, Neighbours};
use crate::slab::Slab;

use super::socket::{Conn, ConnIndex};

/// A connection in the table.
#[derive(Clone, Debug)]
struct ConnRecord {
    /// The connection.
    conn: Conn,
    /// The next one whose name falls into the same bucket, plus 1; 0: none.
    next: u32,
}

/// At most `CONNECTIONS` connections, 65 536 of them at most.
///
/// Without connections it is all zero, and what it touches grows with the connections that there
/// are at a time.
#[derive(Clone, Debug)]
pub struct ConnTable<const CONNECTIONS: usize> {
    /// Connections by place.
    conns: Slab<ConnRecord, CONNECTIONS>,
    /// By place: the neighbours in a backlog.
    links: [Neighbours; CONNECTIONS],
    /// By bucket of their names: the place of the first connection, plus 1; 0: none.
    buckets: [u32; CONNECTIONS],
}

impl<const CONNECTIONS: usize> ConnTable<CONNECTIONS> {
    /// No connections.
    pub const fn new() -> Self {
        assert!(CONNECTIONS <= 1 << 16, "the place of a connection has 16 bits");
        Self {
            conns: Slab::new(),
            links: [Neighbours::UNLINKED; CONNECTIONS],
            buckets: [0; CONNECTIONS],
        }
    }

    /// Returns how many connections exist.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Returns whether no connection exists.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Returns whether there is no place for another connection.
    pub fn is_full(&self) -> bool {
        self.len() == CONNECTIONS
    }

    /// Returns the number of places below which all connections are.
    pub(super) fn reached(&self) -> u32 {
        self.conns.reached() as u32
    }

    /// Returns the connection at a place.
    #[inline]
    pub(super) fn get(&self, at: ConnIndex) -> Option<&Conn> {
        self.conns.get(u32::from(at.0)).map(|record| &record.conn)
    }

    /// Returns the connection at a place, to change it.
    #[inline]
    pub(super) fn get_mut(&mut self, at: ConnIndex) -> Option<&mut Conn> {
        self.conns.get_mut(u32::from(at.0)).map(|record| &mut record.conn)
    }

    /// Returns the connections with their places, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnIndex, &Conn)> {
        self.conns.iter().map(|(at, record)| (ConnIndex(at as u16), &record.conn))
    }

    /// Returns the place of the connection with a name.
    #[inline]
    pub(super) fn find(&self, id: &ConnId) -> Option<ConnIndex> {
        let mut next = self.buckets[bucket::<CONNECTIONS>(id)];
        while let Some(at) = next.checked_sub(1) {
            let record = self.record(at);
            if record.conn.id == *id {
                return Some(ConnIndex(at as u16));
            }
            next = record.next;
        }
        None
    }

    /// Adds a connection behind those that wait in a backlog.
    ///
    /// # Panics
    /// Panics if the table is full, or there is one of the same name.
    pub(super) fn enter(&mut self, conn: Conn, queue: &mut IndexList) {
        assert!(self.find(&conn.id).is_none(), "numbers only grow");
        let bucket = bucket::<CONNECTIONS>(&conn.id);
        let record = ConnRecord { conn, next: self.buckets[bucket] };
        let at = self.conns.insert(record).expect("room for a connection");
        self.buckets[bucket] = at + 1;
        queue.push_back(&mut self.links, at);
    }

    /// Takes the first connection out of a backlog.
    pub(super) fn leave(&mut self, queue: &mut IndexList) -> Option<ConnIndex> {
        queue.pop_front(&mut self.links).map(|at| ConnIndex(at as u16))
    }

    /// Removes a connection that waits in no backlog.
    ///
    /// # Panics
    /// Panics if it does not exist.
    pub(super) fn remove(&mut self, at: ConnIndex) -> Conn {
        let id = self.get(at).expect("a connection that exists").id;
        self.forget(&id);
        self.conns.remove(u32::from(at.0)).conn
    }

    /// Takes a name out of its bucket.
    pub(super) fn forget(&mut self, id: &ConnId) {
        let bucket = bucket::<CONNECTIONS>(id);
        let (mut before, mut next) = (None, self.buckets[bucket]);
        while let Some(at) = next.checked_sub(1) {
            let record = self.record(at);
            let (found, behind) = (record.conn.id == *id, record.next);
            if found {
                match before.and_then(|before| self.conns.get_mut(before)) {
                    Some(before) => before.next = behind,
                    None => self.buckets[bucket] = behind,
                }
                return;
            }
            (before, next) = (Some(at), behind);
        }
        panic!("a connection is not found by its name");
    }

    /// Checks that each connection is found by its name, and keeps its windows.
    pub(super) fn invariants(&self) {
        self.conns.invariants();
        for (at, conn) in self.iter() {
            conn.invariants();
            assert!(self.find(&conn.id) == Some(at), "a connection is not found by its name");
        }
    }

    /// Checks that a backlog's connections belong to it. Returns how many they are.
    pub(super) fn check_queue(&self, queue: IndexList, belongs: impl Fn(&Conn) -> bool) -> usize {
        queue.invariants(&self.links, |at| self.conns.get(at).is_some_and(|it| belongs(&it.conn)))
    }

    /// Returns how many places are linked.
    pub(super) fn linked(&self) -> usize {
        self.links[..self.conns.reached()].iter().filter(|links| links.is_linked()).count()
    }

    /// Returns the record at a place to which a bucket has led.
    fn record(&self, at: u32) -> &ConnRecord {
        self.conns.get(at).expect("a bucket leads to connections")
    }
}

impl<const CONNECTIONS: usize> Default for ConnTable<CONNECTIONS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the bucket of a name. The numbers of an entry replica's connections follow each other,
/// so they fill the buckets evenly.
const fn bucket<const BUCKETS: usize>(id: &ConnId) -> usize {
    let entry = (id.entry.number() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (id.number.wrapping_add(entry) % BUCKETS as u64) as usize
}
