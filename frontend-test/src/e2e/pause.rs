//! The longest pause that a client sees: one that makes a small request after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::healthy::connect;
use super::http::{self, invalid};
use super::program::PAGE;
use super::wait::ANSWER;

/// The time between two requests.
const REST: Duration = Duration::from_millis(1);

/// A connection of the client, as its server likes it.
enum Client {
    Web(http::Connection),
    /// The request of a line, and the connection.
    Lines(&'static [u8], BufReader<TcpStream>),
    /// The request of a server that serves one connection at a time, or answers once on each.
    Once(&'static [u8], SocketAddr),
}

impl Client {
    fn open(server: &str, address: SocketAddr) -> io::Result<Self> {
        let request: &[u8] = match server {
            "civetweb" => return http::Connection::open(address, ANSWER).map(Self::Web),
            "clamd" => return Ok(Self::Once(b"zPING\0", address)),
            "objects" => return Ok(Self::Once(b"next\n", address)),
            "redis" => b"*1\r\n$4\r\nPING\r\n",
            _ => b"get nothing\r\n",
        };
        connect(address).map(|stream| Self::Lines(request, BufReader::new(stream)))
    }

    fn ask(&mut self) -> io::Result<()> {
        let length = match self {
            Self::Web(connection) => connection.get(PAGE)?.body.len(),
            Self::Lines(request, stream) => {
                stream.get_mut().write_all(request)?;
                stream.read_line(&mut String::new())?
            }
            Self::Once(request, address) => {
                let mut stream = connect(*address)?;
                stream.write_all(request)?;
                stream.read(&mut [0; 512])?
            }
        };
        if length == 0 { Err(invalid("no answer".to_string())) } else { Ok(()) }
    }
}

/// The pauses of one client.
#[derive(Default)]
pub struct Pauses {
    /// The start of the present request, of a client that has a connection.
    waiting: Mutex<Option<Instant>>,
    longest_micros: AtomicU64,
    /// The number of answers.
    answers: AtomicU64,
}

impl Pauses {
    /// Makes requests of a server at an address until `stop` is set. A connection that is lost is
    /// followed by another, which is not counted as a pause.
    pub fn watch(&self, server: &str, address: SocketAddr, stop: &AtomicBool) {
        let mut client = None;
        while !stop.load(Ordering::Relaxed) {
            sleep(REST);
            let known = client.take().map_or_else(|| Client::open(server, address), Ok);
            let Ok(mut known) = known else { continue };
            let since = Instant::now();
            *self.waiting.lock().expect("no thread panics") = Some(since);
            let asked = known.ask();
            *self.waiting.lock().expect("no thread panics") = None;
            if asked.is_ok() {
                self.saw(since.elapsed());
                self.answers.fetch_add(1, Ordering::Relaxed);
                client = Some(known);
            }
        }
    }

    fn saw(&self, pause: Duration) {
        self.longest_micros.fetch_max(pause.as_micros() as u64, Ordering::Relaxed);
    }

    /// Begins to look at pauses. What was before does not count.
    pub fn begin(&self) {
        self.longest_micros.store(0, Ordering::Relaxed);
    }

    /// Returns the longest one since then, that of the present request included.
    pub fn longest(&self) -> Duration {
        if let Some(since) = *self.waiting.lock().expect("no thread panics") {
            self.saw(since.elapsed());
        }
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }

    /// Returns the number of answers until now.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}
