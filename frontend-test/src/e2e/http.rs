//! A small HTTP/1.1 client that checks its replies.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply: its status and its whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status, such as 200.
    pub status: u16,
    /// The body: as many bytes as the header said, or all up to the end of the connection.
    pub body: Vec<u8>,
}

/// A connection on which several requests can be made.
pub struct Connection {
    stream: TcpStream,
    /// The bytes that are read and not consumed: the beginning of the next reply.
    rest: Vec<u8>,
}

impl Connection {
    /// Connects; every later read and write ends within `bound`.
    ///
    /// # Errors
    ///
    /// Returns the error of connecting.
    pub fn open(address: SocketAddr, bound: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, bound)?;
        stream.set_read_timeout(Some(bound))?;
        stream.set_write_timeout(Some(bound))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, rest: Vec::new() })
    }

    /// Returns the socket, for odd behaviour.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Asks for a page and reads the whole reply.
    ///
    /// # Errors
    ///
    /// Returns an error if the request is refused, reset, closed in the middle or too slow, or the
    /// reply is not HTTP.
    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.stream.write_all(get_request(path).as_bytes())?;
        self.reply()
    }

    /// Posts a body and reads the whole reply.
    ///
    /// # Errors
    ///
    /// Returns an error as [`Connection::get`] does.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<Reply> {
        let length = body.len();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: crane\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(text.as_bytes())?;
        self.reply()
    }

    /// Reads one reply.
    ///
    /// # Errors
    ///
    /// Returns an error as [`Connection::get`] does.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let end = loop {
            if let Some(at) = find(&self.rest, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest.drain(..end);
        let status = head
            .strip_prefix("HTTP/1.")
            .and_then(|text| text.get(2..5))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid(format!("not a status line: {head:?}")))?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        let Some(length) = length else {
            // Without a length the body extends to the end of the connection (RFC 9112 §6.3).
            self.stream.read_to_end(&mut self.rest)?;
            return Ok(Reply { status, body: std::mem::take(&mut self.rest) });
        };
        while self.rest.len() < length {
            self.more()?;
        }
        let body = self.rest.drain(..length).collect();
        Ok(Reply { status, body })
    }

    /// Reads until the server closes. No byte may come before that.
    ///
    /// # Errors
    ///
    /// Returns an error for a reset, a time-out, or bytes that belong to no reply.
    pub fn closed(&mut self) -> io::Result<()> {
        let mut byte = [0];
        match self.rest.len() + self.stream.read(&mut byte)? {
            0 => Ok(()),
            more => Err(invalid(format!("{more} bytes after the last reply"))),
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// Makes one request on a new connection.
///
/// # Errors
///
/// Returns an error as [`Connection::get`] does.
pub fn fetch(address: SocketAddr, path: &str, bound: Duration) -> io::Result<Reply> {
    Connection::open(address, bound)?.get(path)
}

/// Returns the bytes of a request.
#[must_use]
pub fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: crane\r\n\r\n")
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
