//! The bytes that clients have sent and the server has not read: a ring of fixed size for each
//! connection, in memory that the kernel provides at the first access.
//!
//! A ring begins anew whenever it is empty, so a client whose requests are read as they come
//! touches the first page of its ring alone. A connection that ends gives the other pages back, but
//! for the first places, which few connections use again and again.

use crane_core::execution::socket::ConnIndex;
use crane_core::limits::RECEIVE_WINDOW;
use rustix::mm::{Advice, madvise};

use crate::capacities::CONNECTIONS;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Rings that keep their memory.
const KEPT: usize = 64;

/// The use of one ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingUse {
    /// The number of the connection's byte that lies at the ring's beginning.
    first: u64,
    /// The number of the byte behind the last one.
    end: u64,
    /// Bytes from the ring's beginning that were touched.
    touched: u32,
}

impl RingUse {
    /// None yet.
    pub(crate) const NONE: Self = Self { first: 0, end: 0, touched: 0 };
}

/// The rings, one for each place in the connection table.
pub(crate) struct Inbox {
    start: *mut u8,
    uses: &'static mut [RingUse; CONNECTIONS],
}

impl Inbox {
    /// Creates rings for all connections, whose memory begins here.
    ///
    /// # Safety
    /// There is a ring for each connection, which nobody else uses.
    pub(crate) unsafe fn new(start: *mut u8, uses: &'static mut [RingUse; CONNECTIONS]) -> Self {
        Self { start, uses }
    }

    /// Keeps bytes, the first of which is number `at` of its connection; those before `consumed`
    /// were read.
    pub(crate) fn put(&mut self, conn: ConnIndex, at: u64, consumed: u64, bytes: &[u8]) {
        let ring_use = &mut self.uses[usize::from(conn.0)];
        if consumed == at {
            ring_use.first = at;
        }
        let place = place_of(ring_use, at);
        ring_use.end = at + bytes.len() as u64;
        let reach = (place + bytes.len()).min(RECEIVE_WINDOW) as u32;
        ring_use.touched = ring_use.touched.max(reach);
        let first = bytes.len().min(RECEIVE_WINDOW - place);
        let ring = self.ring(conn);
        ring[place..place + first].copy_from_slice(&bytes[..first]);
        ring[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }

    /// Copies bytes from number `at` on out of a ring.
    pub(crate) fn copy(&mut self, conn: ConnIndex, at: u64, space: &mut [u8]) {
        let ring_use = &self.uses[usize::from(conn.0)];
        assert!(space.is_empty() || at + space.len() as u64 <= ring_use.end, "bytes that came");
        let place = place_of(ring_use, at);
        let first = space.len().min(RECEIVE_WINDOW - place);
        let ring = self.ring(conn);
        let (start, rest) = space.split_at_mut(first);
        start.copy_from_slice(&ring[place..place + first]);
        rest.copy_from_slice(&ring[..rest.len()]);
    }

    /// A connection has ended: its place may be another's.
    pub(crate) fn close(&mut self, conn: ConnIndex) {
        let index = usize::from(conn.0);
        let ring_use = std::mem::replace(&mut self.uses[index], RingUse::NONE);
        if index < KEPT || ring_use.touched as usize <= PAGE {
            return;
        }
        let (ring, length) = (self.ring(conn), RECEIVE_WINDOW - PAGE);
        // SAFETY: whole pages of this ring, whose bytes no connection has; they read as zero
        // afterwards. Where the kernel refuses, they keep their memory.
        let _ = unsafe { madvise(ring[PAGE..].as_mut_ptr().cast(), length, Advice::LinuxRemove) };
    }

    fn ring(&mut self, conn: ConnIndex) -> &mut [u8] {
        let index = usize::from(conn.0);
        assert!(index < CONNECTIONS);
        // SAFETY: inside the mapping (asserted), exclusive through `&mut self`.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(index * RECEIVE_WINDOW), RECEIVE_WINDOW)
        }
    }
}

/// Returns the place in a ring of a byte, by its number.
fn place_of(ring_use: &RingUse, at: u64) -> usize {
    ((at - ring_use.first) % RECEIVE_WINDOW as u64) as usize
}
