//! The writing half of a TCP stream, with a bounded buffer for bytes that the socket cannot yet
//! take.

use std::cell::RefCell;
use std::io;

use rustls::Connection;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::reading::read_available;
use super::session::Session;

/// A stream that the driver writes to while a task waits for it.
pub(crate) struct Outlet {
    stream: TcpStream,
    /// TLS, between replicas.
    session: Option<Session>,
    waiting: RefCell<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many bytes of it have been written.
    written: usize,
}

impl Outlet {
    /// Wraps a stream whose two directions are used separately.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, session: None, waiting: RefCell::default() }
    }

    /// Wraps such a stream to another replica, with the state of TLS if there is one.
    pub(super) fn secured(stream: TcpStream, connection: Option<Connection>) -> Self {
        Self { session: connection.map(Session::new), ..Self::new(stream) }
    }

    /// Returns the stream, to read from.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns how many bytes wait; of encrypted ones, only that there are some.
    pub(crate) fn backlog(&self) -> usize {
        let waiting = self.waiting.borrow();
        let encrypted = self.session.as_ref().is_some_and(Session::is_pending);
        waiting.bytes.len() - waiting.written + usize::from(encrypted)
    }

    /// Appends the bytes that `put` writes to the buffer. [`Outlet::flush`] sends them.
    pub(crate) fn append(&self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.waiting.borrow_mut().bytes);
    }

    /// Writes as many bytes as the stream takes now, and returns how many.
    ///
    /// # Errors
    /// Returns the stream's error; the stream cannot be used afterwards.
    pub(crate) fn flush(&self) -> io::Result<usize> {
        let mut waiting = self.waiting.borrow_mut();
        let before = waiting.written;
        let mut total = 0;
        if let Some(session) = &self.session
            && let Err(error) = session.send_pending(&self.stream)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            return Err(error);
        }
        while waiting.written < waiting.bytes.len() {
            match self.try_write(&waiting.bytes[waiting.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    waiting.written += length;
                    total += length;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        debug_assert_eq!(waiting.written - before, total);
        if waiting.written == waiting.bytes.len() {
            waiting.bytes.clear();
            waiting.written = 0;
        } else if waiting.written > waiting.bytes.len() / 2 {
            let written = std::mem::take(&mut waiting.written);
            waiting.bytes.drain(..written);
        }
        Ok(total)
    }

    /// Waits until the stream is writable or has failed.
    ///
    /// # Errors
    /// Returns the runtime's error.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.stream.ready(Interest::WRITABLE).await.map(drop)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.session {
            None => self.stream.try_write(bytes),
            Some(session) => session.try_write(&self.stream, bytes),
        }
    }

    /// Reads the bytes that have arrived, decrypted. Returns `None` if there are none, 0 at the end
    /// of the stream. `space` must have [`Outlet::READ_BYTES`].
    ///
    /// # Errors
    /// Returns the stream's error, or `InvalidData` if the bytes are not the peer's.
    pub(super) fn read_available(&self, space: &mut [u8]) -> io::Result<Option<usize>> {
        match &self.session {
            None => read_available(&self.stream, space),
            Some(session) => session.read_available(&self.stream, space),
        }
    }

    /// The room that [`Outlet::read_available`] needs.
    pub(super) const READ_BYTES: usize = Session::PLAIN_BYTES;
}
