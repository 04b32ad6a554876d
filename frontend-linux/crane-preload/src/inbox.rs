//! The bytes that clients have sent and the server has not read: a ring of fixed size for each
//! connection, in memory that the kernel provides at the first access.

use std::ptr;

use crane_core::execution::socket::ConnIndex;
use crane_core::limits::RECEIVE_WINDOW;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// The rings, one for each place in the connection table.
pub(crate) struct Inbox {
    start: *mut u8,
    conns: usize,
}

impl Inbox {
    /// Creates rings for `conns` connections.
    pub(crate) fn new(conns: usize) -> Result<Self, i32> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let (length, protection) = (conns * RECEIVE_WINDOW, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, protection, flags) };
        let start = start.map_err(Errno::raw_os_error)?.cast();
        Ok(Self { start, conns })
    }

    /// Keeps bytes, the first of which is number `at` of its connection.
    pub(crate) fn put(&mut self, conn: ConnIndex, at: u64, bytes: &[u8]) {
        let place = (at % RECEIVE_WINDOW as u64) as usize;
        let first = bytes.len().min(RECEIVE_WINDOW - place);
        let ring = self.ring(conn);
        ring[place..place + first].copy_from_slice(&bytes[..first]);
        ring[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }

    /// Copies bytes from number `at` on out of a ring.
    pub(crate) fn copy(&mut self, conn: ConnIndex, at: u64, space: &mut [u8]) {
        let place = (at % RECEIVE_WINDOW as u64) as usize;
        let first = space.len().min(RECEIVE_WINDOW - place);
        let ring = self.ring(conn);
        let (start, rest) = space.split_at_mut(first);
        start.copy_from_slice(&ring[place..place + first]);
        rest.copy_from_slice(&ring[..rest.len()]);
    }

    fn ring(&mut self, conn: ConnIndex) -> &mut [u8] {
        let index = conn.0 as usize;
        assert!(index < self.conns);
        // SAFETY: inside the mapping (asserted), exclusive through `&mut self`.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(index * RECEIVE_WINDOW), RECEIVE_WINDOW)
        }
    }
}
