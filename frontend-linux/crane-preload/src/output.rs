//! Records from the server to the daemon: bytes for this replica's clients, listeners, notes.
//!
//! A byte in a pipe wakes the daemon, and only if it has looked since the last wake. A wake
//! costs microseconds, so it is postponed until the thread stops for another reason, or has written
//! often.

use crane_core::execution::socket::Bound;
use crane_core::id::ConnId;
use crane_shm::region::output;
use crane_shm::ring::RingError;
use crane_shm::{RingWriter, ServerSide, sys};

use crate::inherited;

/// The number of writes after which the library wakes the daemon even if the server continues.
const PUT_OFF_MAX: u32 = 16;

/// The server's end of the output ring.
pub(crate) struct Output {
    writer: RingWriter,
    region: ServerSide,
    wake: i32,
    node: u8,
    put_off: u32,
}

impl Output {
    /// Creates the server's end. `wake` is the descriptor of the pipe.
    pub(crate) fn new(writer: RingWriter, region: ServerSide, wake: i32) -> Self {
        let node = region.node() as u8;
        Self { writer, region, wake, node, put_off: 0 }
    }

    /// Takes over the number of this replica, because the daemon is another one.
    pub(crate) fn rejoin(&mut self) {
        self.node = self.region.node() as u8;
        self.put_off = 0;
    }

    /// Returns the descriptor that belongs to this library and not to the server.
    pub(crate) fn descriptor(&self) -> i32 {
        self.wake
    }

    /// Returns whether a client of this replica is at the other end of a connection.
    pub(crate) fn is_own(&self, conn: ConnId) -> bool {
        // The daemon begins a new generation while the server runs when the group has given this
        // replica up.
        conn.entry.number() == self.node && conn.generation.0 >= self.region.first_generation()
    }

    /// Writes bytes for a client, if it is a client of this replica. `offset` is their place among
    /// all bytes for the client.
    pub(crate) fn data(&mut self, conn: ConnId, offset: u64, bytes: &[u8]) {
        self.about(output::DATA, conn, offset, bytes);
    }

    /// Writes a record about a connection, if its client is a client of this replica.
    pub(crate) fn about(&mut self, kind: u32, conn: ConnId, number: u64, bytes: &[u8]) {
        if self.is_own(conn) {
            self.push(kind, [conn.number, conn.generation.0, number], &[bytes]);
        }
    }

    /// Reports that the server listens. `path` is that of a Unix socket, from the root, and empty
    /// for other sockets.
    pub(crate) fn listen(&mut self, bound: &Bound, path: &[u8]) {
        self.push_place(output::LISTEN, bound, path);
        self.wake();
    }

    /// Reports that the server stops listening.
    pub(crate) fn unlisten(&mut self, bound: &Bound) {
        self.push_place(output::UNLISTEN, bound, &[]);
        self.wake();
    }

    fn push_place(&mut self, kind: u32, bound: &Bound, path: &[u8]) {
        let numbers = [u64::from(bound.at.port), u64::from(bound.v6only), 0];
        self.push(kind, numbers, &[&bound.at.address, path]);
    }

    /// Writes a text for the daemon's events. `level` is 0 for an error, 1 for a warning, 2 for
    /// information.
    pub(crate) fn note(&mut self, level: u64, text: &str) {
        self.push(output::NOTE, [level, 0, 0], &[text.as_bytes()]);
        self.wake();
    }

    /// Wakes the daemon if there is a record since the last wake.
    pub(crate) fn flush(&mut self) {
        if self.put_off > 0 {
            self.wake();
        }
    }

    /// Wakes the daemon.
    pub(crate) fn wake(&mut self) {
        self.put_off = 0;
        if self.region.begin_wake() {
            // A full pipe has woken the daemon already; one without a reader means that it is gone,
            // and the server with it.
            if sys::write(self.wake, &[1]) == Err(libc::EBADF) {
                inherited::end_without_wake(self.region);
            }
        }
    }

    fn push(&mut self, kind: u32, numbers: [u64; 3], pieces: &[&[u8]]) {
        while let Err(error) = self.writer.push(kind, numbers, pieces) {
            assert!(error == RingError::Full, "output: {error}");
            let (region, mut pushed) = (self.region, false);
            region.await_output_taken(100_000_000, || {
                pushed = self.writer.push(kind, numbers, pieces).is_ok();
                if !pushed {
                    self.wake();
                }
                pushed
            });
            if pushed {
                break;
            }
        }
        self.put_off += 1;
        if self.put_off >= PUT_OFF_MAX {
            self.wake();
        }
    }
}
