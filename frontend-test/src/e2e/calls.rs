//! The client of `programs/calls.c`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait::ANSWER;

/// The probes that the program knows.
pub const PROBES: [&str; 18] = [
    "mutex",
    "cond",
    "rwlock",
    "semaphore",
    "barrier",
    "once",
    "threads",
    "sleeps",
    "times",
    "chance",
    "identity",
    "pipes",
    "events",
    "readiness",
    "sockets",
    "ring",
    "stream",
    "spawn",
];

/// Asks for one probe on a new connection, and returns the line of the answer.
///
/// # Errors
///
/// Returns an error if the connection breaks or the probe fails.
pub fn probe(address: SocketAddr, name: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(format!("{name}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.contains(&format!("{name}: ok")) && answer.ends_with('\n') {
        return Ok(answer);
    }
    Err(super::http::invalid(format!("{name}: {answer:?}")))
}
