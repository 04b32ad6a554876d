//! Clients that keep one connection and record the time of each request.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::http::invalid;
use super::resp::{Connection, Reply};
use super::wait::ANSWER;

/// The pause between two requests. The log of the group must stay short, because a replica that
/// returns replays all of it.
const PAUSE: Duration = Duration::from_millis(5);

/// A connection to the service on one replica, which has answered at least once.
pub struct Probe {
    connection: Connection,
    /// The time at which each request was sent, and the duration until its answer.
    times: Vec<(Instant, Duration)>,
}

impl Probe {
    /// Connects and writes once.
    ///
    /// # Errors
    ///
    /// Returns the error of connecting or writing.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let mut probe = Self { connection: Connection::open(address, ANSWER)?, times: Vec::new() };
        probe.write()?;
        Ok(probe)
    }

    /// Makes one write, so that the answer needs agreement and not only a running process.
    ///
    /// # Errors
    ///
    /// Returns an error for a missing or wrong answer.
    pub fn write(&mut self) -> io::Result<()> {
        let start = Instant::now();
        match self.connection.call(&[b"INCR", b"probes"])? {
            Reply::Number(_) => {
                self.times.push((start, start.elapsed()));
                Ok(())
            }
            other => Err(invalid(format!("INCR answered {other:?}"))),
        }
    }

    /// Writes until the probe must stop, and then once more.
    ///
    /// # Errors
    ///
    /// Returns the error of the first write without an answer.
    pub fn write_until(mut self, stop: &AtomicBool) -> io::Result<Self> {
        while !stop.load(Ordering::Relaxed) {
            self.write()?;
            sleep(PAUSE);
        }
        self.write()?;
        Ok(self)
    }

    /// Returns when each request was sent, and the time until its answer.
    #[must_use]
    pub fn times(&self) -> &[(Instant, Duration)] {
        &self.times
    }

    /// Returns the slowest of the requests that were sent after a moment.
    #[must_use]
    pub fn slowest_since(&self, moment: Instant) -> Duration {
        let later = self.times.iter().filter(|(start, _)| *start >= moment);
        later.map(|(_, time)| *time).max().unwrap_or_default()
    }
}
