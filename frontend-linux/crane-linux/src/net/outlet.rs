//! The writing half of a TCP stream: what cannot be written at once waits here, within bounds.

use std::cell::RefCell;
use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// A stream that the driver writes to, and a task waits on.
#[derive(Debug)]
pub struct Outlet {
    stream: TcpStream,
    waiting: RefCell<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of them have been written.
    written: usize,
}

impl Outlet {
    /// For a stream whose two directions are used apart.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, waiting: RefCell::default() }
    }

    /// The stream, to read from.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes that wait.
    pub fn backlog(&self) -> usize {
        let waiting = self.waiting.borrow();
        waiting.bytes.len() - waiting.written
    }

    /// Adds what `put` writes to what waits. [`Outlet::flush`] sends it.
    pub fn append(&self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.waiting.borrow_mut().bytes);
    }

    /// Writes as much as the stream takes now, and says how many bytes that were.
    ///
    /// # Errors
    /// The stream's; it is of no use any more then.
    pub fn flush(&self) -> io::Result<usize> {
        let mut waiting = self.waiting.borrow_mut();
        let before = waiting.written;
        let mut total = 0;
        while waiting.written < waiting.bytes.len() {
            match self.stream.try_write(&waiting.bytes[waiting.written..]) {
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

    /// Waits until the stream can be written to, or has failed.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.ready(Interest::WRITABLE).await.map(drop)
    }
}
