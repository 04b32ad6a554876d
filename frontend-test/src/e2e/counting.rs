//! Clients that know which of their writes were acknowledged.
//!
//! Each writer appends numbered items to a list of its own, never the same item twice. An
//! acknowledged item must be in the list exactly once, at the place that the acknowledgement named.
//! An item whose answer never came may be there once or not at all.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle, sleep};
use std::time::Duration;

use super::http::invalid;
use super::resp::{Connection, Reply};
use super::wait::ANSWER;

/// Switches and figures shared by the writers of one run.
#[derive(Debug, Default)]
pub struct Writers {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// The memory of one writer.
#[derive(Debug)]
pub struct Memory {
    key: String,
    /// The items, each with the length of the list that its acknowledgement named.
    acknowledged: Vec<(u64, usize)>,
    /// The items whose fate is unknown.
    unknown: Vec<u64>,
}

impl Writers {
    /// Starts a writer with list `name`. It goes round the addresses: one connection until it
    /// breaks, then the next address. `pause` is its rest after each write.
    pub fn spawn<'scope>(
        &'scope self,
        threads: &'scope Scope<'scope, '_>,
        name: usize,
        addresses: Vec<SocketAddr>,
        pause: Duration,
    ) -> ScopedJoinHandle<'scope, Memory> {
        threads.spawn(move || self.write(name, &addresses, pause))
    }

    /// Makes all writers end after their current write.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Returns how many writes of all writers have been acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn write(&self, name: usize, addresses: &[SocketAddr], pause: Duration) -> Memory {
        let mut memory =
            Memory { key: format!("list-{name}"), acknowledged: vec![], unknown: vec![] };
        let mut connection = None;
        let mut next = name;
        let mut item = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(open) = &mut connection else {
                next += 1;
                connection = Connection::open(addresses[next % addresses.len()], ANSWER).ok();
                if connection.is_none() {
                    sleep(Duration::from_millis(5));
                }
                continue;
            };
            item += 1;
            match push(open, &memory.key, item) {
                Ok(length) => {
                    memory.acknowledged.push((item, length));
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {
                    memory.unknown.push(item);
                    connection = None;
                }
            }
            sleep(pause);
        }
        memory
    }
}

impl Memory {
    /// Returns how many writes were acknowledged, and how many have an unknown fate.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.acknowledged.len(), self.unknown.len())
    }

    /// Compares the writes with the lists that the service holds now.
    ///
    /// # Errors
    ///
    /// Returns the first writes that are lost, doubled or out of place.
    pub fn verify(&self, address: SocketAddr) -> io::Result<()> {
        let mut connection = Connection::open(address, ANSWER)?;
        let reply = connection.call(&[b"LRANGE", self.key.as_bytes(), b"0", b"-1"])?;
        let Reply::List(items) = reply else { return Err(invalid(format!("{reply:?}"))) };
        let held: Option<Vec<u64>> = items.iter().map(number).collect();
        let held = held.ok_or_else(|| invalid("an item that no client wrote".to_owned()))?;
        self.compare(&held).map_err(|why| invalid(format!("{}: {why}", self.key)))
    }

    fn compare(&self, held: &[u64]) -> Result<(), String> {
        let mut places = HashMap::new();
        for (place, item) in held.iter().enumerate() {
            if let Some(first) = places.insert(*item, place + 1) {
                return Err(format!("item {item} done twice, at {first} and {}", place + 1));
            }
        }
        for (item, length) in &self.acknowledged {
            match places.remove(item) {
                None => return Err(format!("item {item} was acknowledged and is lost")),
                Some(place) if place != *length => {
                    return Err(format!("item {item} acknowledged at {length}, is at {place}"));
                }
                Some(_) => {}
            }
        }
        places.retain(|item, _| !self.unknown.contains(item));
        if places.is_empty() {
            Ok(())
        } else {
            Err(format!("items that no client wrote: {places:?}"))
        }
    }
}

fn push(connection: &mut Connection, key: &str, item: u64) -> io::Result<usize> {
    match connection.call(&[b"RPUSH", key.as_bytes(), item.to_string().as_bytes()])? {
        Reply::Number(length) => {
            usize::try_from(length).map_err(|_| invalid(format!("length {length}")))
        }
        other => Err(invalid(format!("RPUSH answered {other:?}"))),
    }
}

fn number(item: &Reply) -> Option<u64> {
    let Reply::Bulk(Some(bytes)) = item else { return None };
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory {
            key: "list".to_owned(),
            acknowledged: vec![(1, 1), (2, 2), (4, 3)],
            unknown: vec![3, 5],
        }
    }

    #[test]
    fn each_acknowledged_item_is_found_once() {
        assert_eq!(memory().compare(&[1, 2, 4]), Ok(()));
        assert_eq!(memory().compare(&[1, 2, 4, 5]), Ok(()));
    }

    #[test]
    fn lost_doubled_moved_and_foreign_items_are_noticed() {
        assert!(memory().compare(&[1, 4]).is_err());
        assert!(memory().compare(&[1, 2, 4, 2]).is_err());
        assert!(memory().compare(&[1, 2, 4, 5, 5]).is_err());
        assert!(memory().compare(&[2, 1, 4]).is_err());
        assert!(memory().compare(&[1, 2, 4, 9]).is_err());
    }
}
