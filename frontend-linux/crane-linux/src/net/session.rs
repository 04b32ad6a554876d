//! TLS after the handshake, on a socket that never waits.
//!
//! The driver writes to a link in the middle of its work, so bytes are encrypted when the socket
//! can take them: at most one chunk is encrypted and not yet sent.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};

use rustls::Connection;
use tokio::net::TcpStream;

use super::reading::read_available;

/// How many bytes are encrypted at a time: four records (RFC 8446, section 5.1), one system call.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many bytes are read at a time. With a record that has arrived in part before, they are at
/// most [`Session::PLAIN_BYTES`] when decrypted.
const CIPHER_BYTES: usize = 48 * 1024;

/// The state of TLS for both directions of a stream.
pub(super) struct Session {
    connection: RefCell<Connection>,
    cipher: RefCell<Vec<u8>>,
}

impl Session {
    /// The room for decrypted bytes that a read needs.
    pub(super) const PLAIN_BYTES: usize = CIPHER_BYTES + 17 * 1024;

    /// Takes over the state that a handshake has left.
    pub(super) fn new(mut connection: Connection) -> Self {
        // The outlet in front of it has the limit.
        connection.set_buffer_limit(None);
        Self { connection: RefCell::new(connection), cipher: RefCell::new(vec![0; CIPHER_BYTES]) }
    }

    /// Returns whether encrypted bytes wait for the socket.
    pub(super) fn is_pending(&self) -> bool {
        self.connection.borrow().wants_write()
    }

    /// Encrypts and sends bytes, and returns how many it has taken. Those may wait for the socket
    /// still, see [`Session::is_pending`].
    ///
    /// # Errors
    /// Returns `WouldBlock` if former bytes wait, or the stream's error.
    pub(super) fn try_write(&self, stream: &TcpStream, plain: &[u8]) -> io::Result<usize> {
        let connection = &mut *self.connection.borrow_mut();
        send_pending(connection, stream)?;
        let part = &plain[..plain.len().min(CHUNK_BYTES)];
        connection.writer().write_all(part)?;
        match send_pending(connection, stream) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(part.len()),
        }
    }

    /// Sends the encrypted bytes that wait.
    ///
    /// # Errors
    /// Returns `WouldBlock` if some wait still, or the stream's error.
    pub(super) fn send_pending(&self, stream: &TcpStream) -> io::Result<()> {
        send_pending(&mut self.connection.borrow_mut(), stream)
    }

    /// Reads the bytes that have arrived, as [`read_available`] does. `space` must have
    /// [`Session::PLAIN_BYTES`].
    ///
    /// # Errors
    /// Returns the stream's error, or `InvalidData` if the bytes are not the peer's.
    pub(super) fn read_available(
        &self,
        stream: &TcpStream,
        space: &mut [u8],
    ) -> io::Result<Option<usize>> {
        debug_assert!(space.len() >= Self::PLAIN_BYTES, "too little room");
        let connection = &mut *self.connection.borrow_mut();
        // Bytes that came with the end of the handshake wait inside.
        match read_plain(connection, space)? {
            Some(0) => {}
            Some(length) => return Ok(Some(length)),
            None => return Ok(Some(0)),
        }
        let mut cipher = self.cipher.borrow_mut();
        let Some(length) = read_available(stream, &mut cipher)? else { return Ok(None) };
        if length == 0 {
            return Ok(Some(0));
        }
        let (mut left, mut filled) = (&cipher[..length], 0);
        while !left.is_empty() {
            if connection.read_tls(&mut left)? == 0 {
                break;
            }
            connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match read_plain(connection, &mut space[filled..])? {
                Some(more) => filled += more,
                // The peer has closed the stream; what it sent before counts.
                None if filled == 0 => return Ok(Some(0)),
                None => break,
            }
        }
        Ok(Some(filled).filter(|filled| *filled > 0))
    }
}

/// Reads what is decrypted. Returns `None` if the peer has closed the stream and all is read.
fn read_plain(connection: &mut Connection, space: &mut [u8]) -> io::Result<Option<usize>> {
    let mut filled = 0;
    while filled < space.len() {
        match connection.reader().read(&mut space[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Some(filled))
}

fn send_pending(connection: &mut Connection, stream: &TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(&mut Now(stream))?;
    }
    Ok(())
}

/// Writes to a stream without waiting.
struct Now<'a>(&'a TcpStream);

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
