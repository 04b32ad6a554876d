//! Records from the server to the daemon: bytes for this replica's clients, listeners, notes.
//!
//! The daemon is woken by a byte in a named pipe, and only when it has looked since the last time.
//! That costs microseconds, so it is put off until the thread stops for another reason, or has
//! written often.

use crane_core::execution::socket::Bound;
use crane_core::id::ConnId;
use crane_shm::region::output;
use crane_shm::ring::RingError;
use crane_shm::{RingWriter, ServerSide, sys};

/// Writes after which the daemon is woken even if the server continues.
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
    /// `wake`: the named pipe's descriptor.
    pub(crate) fn new(writer: RingWriter, region: ServerSide, wake: i32) -> Self {
        let node = region.node() as u8;
        Self { writer, region, wake, node, put_off: 0 }
    }

    /// The descriptor that is ours and not the server's.
    pub(crate) fn descriptor(&self) -> i32 {
        self.wake
    }

    /// Returns whether a client of this replica is at the other end.
    pub(crate) fn is_own(&self, conn: ConnId) -> bool {
        // The daemon begins a new generation while the server runs when the group has given this
        // replica up.
        conn.entry.number() == self.node && conn.generation.0 >= self.region.first_generation()
    }

    /// Bytes for a client, if it is one of ours.
    pub(crate) fn data(&mut self, conn: ConnId, bytes: &[u8]) {
        self.about(output::DATA, conn, 0, bytes);
    }

    /// Something about a connection, if it is one of ours.
    pub(crate) fn about(&mut self, kind: u32, conn: ConnId, number: u64, bytes: &[u8]) {
        if self.is_own(conn) {
            self.push(kind, [conn.number, conn.generation.0, number], bytes);
        }
    }

    /// The server listens.
    pub(crate) fn listen(&mut self, bound: &Bound) {
        self.push_place(output::LISTEN, bound);
        self.wake();
    }

    /// The server listens no more.
    pub(crate) fn unlisten(&mut self, bound: &Bound) {
        self.push_place(output::UNLISTEN, bound);
        self.wake();
    }

    fn push_place(&mut self, kind: u32, bound: &Bound) {
        let numbers = [u64::from(bound.at.port), u64::from(bound.v6only), 0];
        self.push(kind, numbers, &bound.at.address);
    }

    /// Text for the daemon's events; `level`: 0 error, 1 warning, 2 information.
    pub(crate) fn note(&mut self, level: u64, text: &str) {
        self.push(output::NOTE, [level, 0, 0], text.as_bytes());
        self.wake();
    }

    /// Wakes the daemon if something was said since it was woken last.
    pub(crate) fn flush(&mut self) {
        if self.put_off > 0 {
            self.wake();
        }
    }

    /// Wakes the daemon.
    pub(crate) fn wake(&mut self) {
        self.put_off = 0;
        if self.region.begin_wake() {
            // A full pipe has woken the daemon already; a closed one means that it is gone, and the
            // server with it.
            let _ = sys::write(self.wake, &[1]);
        }
    }

    fn push(&mut self, kind: u32, numbers: [u64; 3], bytes: &[u8]) {
        while let Err(error) = self.writer.push(kind, numbers, &[bytes]) {
            assert!(error == RingError::Full, "output: {error}");
            let (region, mut pushed) = (self.region, false);
            region.await_output_taken(100_000_000, || {
                pushed = self.writer.push(kind, numbers, &[bytes]).is_ok();
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
