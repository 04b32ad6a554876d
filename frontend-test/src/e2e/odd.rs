//! Clients that behave oddly, and still know every byte that they must get.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::http::{self, invalid};
use super::program::{LARGE, LARGE_PAGE, PAGE};
use super::resp::{self, Reply};
use super::wait::ANSWER;

/// The behaviour of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connects and closes without a byte.
    Silent,
    /// Ends its side after the request, then reads to the end.
    HalfClose,
    /// Sends its request one byte at a time.
    ByteByByte,
    /// Sends ten requests at once, then reads ten replies.
    Pipelined,
    /// Stops reading for two seconds in the middle of 10 MB.
    Stalled,
    /// Resets the connection in the middle of 10 MB.
    Reset,
}

/// All behaviours.
pub const KINDS: [Kind; 6] =
    [Kind::Silent, Kind::HalfClose, Kind::ByteByByte, Kind::Pipelined, Kind::Stalled, Kind::Reset];

/// The time for which a stalled reader stops.
const STALL: Duration = Duration::from_secs(2);
const PIPELINED: usize = 10;

/// The server that the clients talk to.
#[derive(Clone, Copy, Debug)]
pub enum Service<'a> {
    /// civetweb; the small page and the large one.
    Web(&'a [u8], &'a [u8]),
    /// Redis; the large value is under [`LARGE_KEY`].
    Redis(&'a [u8]),
}

/// The key of the large value.
pub const LARGE_KEY: &[u8] = b"large";

impl Kind {
    /// Returns how many clients of this kind may run at a time: a stalled reader holds a thread of
    /// the server, or the whole value in the server's memory, for two seconds.
    #[must_use]
    pub fn at_once(self) -> usize {
        match self {
            Self::Stalled => 40,
            Self::Reset => 4,
            _ => 8,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "connect and close",
            Self::HalfClose => "half-close",
            Self::ByteByByte => "one byte at a time",
            Self::Pipelined => "pipelined",
            Self::Stalled => "stalled reader",
            Self::Reset => "reset in the middle",
        })
    }
}

/// Lets `times` clients of one kind loose, spread over `addresses`.
///
/// # Errors
///
/// Returns the errors of the first clients that failed.
pub fn storm(
    kind: Kind,
    service: Service<'_>,
    addresses: &[SocketAddr],
    times: usize,
) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    scope(|threads| {
        for _ in 0..kind.at_once().min(times) {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= times {
                        return;
                    }
                    let address = addresses[number % addresses.len()];
                    if let Err(error) = visit(kind, service, address) {
                        let text = format!("client {number} of {address}: {error}");
                        failures.lock().expect("the list of failures").push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("the list of failures");
    if failures.is_empty() {
        return Ok(());
    }
    let first: Vec<&str> = failures.iter().take(3).map(String::as_str).collect();
    Err(format!("{kind}: {} of {times} failed: {}", failures.len(), first.join("; ")))
}

/// Stores the large value, for [`Service::Redis`].
///
/// # Errors
///
/// Returns the error of the connection.
pub fn store_large(address: SocketAddr, value: &[u8]) -> io::Result<()> {
    let mut connection = resp::Connection::open(address, ANSWER)?;
    match connection.call(&[b"SET", LARGE_KEY, value])? {
        Reply::Simple(text) if text == "OK" => Ok(()),
        other => Err(invalid(format!("SET answered {other:?}"))),
    }
}

fn visit(kind: Kind, service: Service<'_>, address: SocketAddr) -> io::Result<()> {
    match service {
        Service::Web(small, large) => visit_web(kind, address, small, large),
        Service::Redis(large) => visit_redis(kind, address, large),
    }
}

fn visit_web(kind: Kind, address: SocketAddr, small: &[u8], large: &[u8]) -> io::Result<()> {
    let mut client = http::Connection::open(address, ANSWER)?;
    let request = http::get_request(PAGE);
    let same = |reply: http::Reply, body: &[u8]| {
        if reply.status == 200 && reply.body == body {
            return Ok(());
        }
        Err(invalid(format!("status {}, {} bytes", reply.status, reply.body.len())))
    };
    match kind {
        Kind::Silent => Ok(()),
        Kind::HalfClose => {
            client.stream().write_all(request.as_bytes())?;
            client.stream().shutdown(Shutdown::Write)?;
            same(client.reply()?, small)?;
            client.closed()
        }
        Kind::ByteByByte => {
            byte_by_byte(client.stream(), request.as_bytes())?;
            same(client.reply()?, small)
        }
        Kind::Pipelined => {
            client.stream().write_all(request.repeat(PIPELINED).as_bytes())?;
            (0..PIPELINED).try_for_each(|_| same(client.reply()?, small))
        }
        Kind::Stalled => {
            client.stream().write_all(http::get_request(LARGE_PAGE).as_bytes())?;
            let bytes = read_with_stall(client.stream(), large.len())?;
            let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0) + 4;
            let mut body = bytes[end..].to_vec();
            let missing = large.len().checked_sub(body.len());
            let missing = missing.ok_or_else(|| invalid("too many bytes".into()))?;
            let mut rest = vec![0; missing];
            client.stream().read_exact(&mut rest)?;
            body.extend_from_slice(&rest);
            same(http::Reply { status: 200, body }, large)
        }
        Kind::Reset => {
            client.stream().write_all(http::get_request(LARGE_PAGE).as_bytes())?;
            reset_midway(client.stream())
        }
    }
}

fn visit_redis(kind: Kind, address: SocketAddr, large: &[u8]) -> io::Result<()> {
    let mut client = resp::Connection::open(address, ANSWER)?;
    let request = resp::command(&[b"ECHO", b"twenty bytes of echo"]);
    let expected = Reply::Bulk(Some(b"twenty bytes of echo".to_vec()));
    let same = |reply: Reply| {
        if reply == expected { Ok(()) } else { Err(invalid(format!("answer {reply:?}"))) }
    };
    let large_request = resp::command(&[b"GET", LARGE_KEY]);
    match kind {
        Kind::Silent => Ok(()),
        Kind::HalfClose => {
            client.send(&request)?;
            client.stream().shutdown(Shutdown::Write)?;
            same(client.reply()?)?;
            client.closed()
        }
        Kind::ByteByByte => {
            byte_by_byte(client.stream(), &request)?;
            same(client.reply()?)
        }
        Kind::Pipelined => {
            client.send(&request.repeat(PIPELINED))?;
            (0..PIPELINED).try_for_each(|_| same(client.reply()?))
        }
        Kind::Stalled => {
            client.send(&large_request)?;
            let head = format!("${}\r\n", large.len());
            let mut bytes = read_with_stall(client.stream(), large.len())?;
            let total = head.len() + large.len() + 2;
            let missing = total.checked_sub(bytes.len());
            let mut rest = vec![0; missing.ok_or_else(|| invalid("too many bytes".into()))?];
            client.stream().read_exact(&mut rest)?;
            bytes.extend_from_slice(&rest);
            let right = bytes.starts_with(head.as_bytes())
                && &bytes[head.len()..total - 2] == large
                && bytes.ends_with(b"\r\n");
            if right { Ok(()) } else { Err(invalid("the value differs".into())) }
        }
        Kind::Reset => {
            client.send(&large_request)?;
            reset_midway(client.stream())
        }
    }
}

/// Sends each byte in its own segment, with time for the server to read it.
fn byte_by_byte(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    bytes.iter().try_for_each(|byte| {
        sleep(Duration::from_micros(500));
        stream.write_all(&[*byte])
    })
}

/// Reads half of `total` bytes, waits, and reads until at least three quarters are there.
fn read_with_stall(mut stream: &TcpStream, total: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; total / 2];
    stream.read_exact(&mut bytes)?;
    sleep(STALL);
    bytes.resize(total / 4 * 3, 0);
    stream.read_exact(&mut bytes[total / 2..])?;
    Ok(bytes)
}

fn reset_midway(mut stream: &TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; LARGE / 20];
    stream.read_exact(&mut bytes)?;
    // With a linger time of zero, close sends a reset instead of an orderly end.
    set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread::spawn;

    #[test]
    fn a_lost_byte_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let _ = stream.read(&mut request).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok");
        });
        let failed = storm(Kind::ByteByByte, Service::Web(b"ok!", b""), &[address], 1);
        assert!(failed.is_err(), "{failed:?}");
    }
}
