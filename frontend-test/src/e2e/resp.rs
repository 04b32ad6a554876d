//! A small Redis client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::http::invalid;

/// A reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status, such as `+OK`.
    Simple(String),
    /// A number, such as `:5`.
    Number(i64),
    /// Bytes, or nothing.
    Bulk(Option<Vec<u8>>),
    /// Several replies.
    List(Vec<Self>),
}

/// A connection to a Redis server.
pub struct Connection {
    reader: BufReader<TcpStream>,
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
        Ok(Self { reader: BufReader::with_capacity(65536, stream) })
    }

    /// Returns the socket, for odd behaviour.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends a command and reads its reply.
    ///
    /// # Errors
    ///
    /// Returns an error if the command is refused, reset, closed or too slow, or answered by an
    /// error.
    pub fn call(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        self.stream().write_all(&command(words))?;
        self.reply()
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    ///
    /// Returns the error of writing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream().write_all(bytes)
    }

    /// Reads one reply.
    ///
    /// # Errors
    ///
    /// Returns an error as [`Connection::call`] does.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let text = line
            .strip_suffix("\r\n")
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed"))?;
        let Some(kind) = text.get(..1) else { return Err(invalid("an empty line".into())) };
        let rest = &text[1..];
        let number = || rest.parse::<i64>().map_err(|_| invalid(format!("not a number: {text:?}")));
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            ":" => Ok(Reply::Number(number()?)),
            "$" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Bulk(None)) };
                let mut bytes = vec![0; length + 2];
                self.reader.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(Reply::Bulk(Some(bytes)))
            }
            "*" => {
                let count = usize::try_from(number()?).unwrap_or(0);
                (0..count).map(|_| self.reply()).collect::<io::Result<_>>().map(Reply::List)
            }
            _ => Err(invalid(format!("error reply: {text}"))),
        }
    }

    /// Reads until the server closes. No byte may come before that.
    ///
    /// # Errors
    ///
    /// Returns an error for a reset, a time-out, or more bytes.
    pub fn closed(&mut self) -> io::Result<()> {
        match self.reader.fill_buf()?.len() {
            0 => Ok(()),
            count => Err(invalid(format!("{count} bytes after the last reply"))),
        }
    }
}

/// Returns the bytes of a command.
#[must_use]
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
