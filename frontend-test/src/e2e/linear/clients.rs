//! The clients that make a history.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::faults;
use super::history::{Answer, Event, History, Request};
use crate::e2e::group::Group;
use crate::e2e::hosts::Hosts;
use crate::e2e::http::invalid;
use crate::e2e::resp::{Connection, Reply};
use crate::simulation::random::Random;

/// The number of clients at each host, and their pause between two requests.
const CLIENTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(3);
/// The time after which a client gives up a request and goes to another replica. It is shorter than
/// some faults and longer than others.
const PATIENCE: Duration = Duration::from_millis(800);
/// The numbers of keys with text and of keys with counts. They are so large that the search for an
/// order is short, and so small that clients meet.
const TEXTS: u64 = 9;
const COUNTERS: u64 = 3;

/// The state that the clients of one history share.
struct Run {
    seed: u64,
    start: Instant,
    stop: AtomicBool,
    answered: AtomicUsize,
}

/// Lets clients at all replicas ask, and faults happen, until all faults have happened and `count`
/// requests are answered. Returns the history and the faults.
///
/// # Panics
///
/// Panics if a replica does not return, or hashes differ at the end.
pub fn make(
    group: &mut Group,
    hosts: Option<&Hosts>,
    seed: u64,
    count: usize,
) -> (History, Vec<String>) {
    let run = Run {
        seed,
        start: Instant::now(),
        stop: AtomicBool::new(false),
        answered: AtomicUsize::new(0),
    };
    let (events, faults) = scope(|threads| {
        let _stop = StopAtEnd(&run);
        let mut clients = Vec::new();
        for id in group.ids() {
            let mut addresses = group.all_addresses();
            addresses.rotate_left(usize::from(id) - 1);
            for number in 0..CLIENTS {
                let (run, addresses) = (&run, addresses.clone());
                let client = Client::new(run, u32::from(id) * 10 + number, addresses);
                clients.push(group.at_host(id, || threads.spawn(move || client.ask_until_told())));
            }
        }
        let faults = faults::all(group, hosts, seed);
        while run.answered.load(Ordering::Relaxed) < count {
            sleep(Duration::from_millis(10));
        }
        run.stop.store(true, Ordering::Relaxed);
        let events: Vec<Event> =
            clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
        (events, faults)
    });
    group.await_settled();
    let mut history = History::default();
    for event in events {
        history.add(event);
    }
    (history, faults)
}

struct Client<'a> {
    run: &'a Run,
    number: u32,
    /// A client tries the replica at its own host first.
    addresses: Vec<SocketAddr>,
    connection: Option<Connection>,
    random: Random,
    events: Vec<Event>,
}

impl<'a> Client<'a> {
    fn new(run: &'a Run, number: u32, addresses: Vec<SocketAddr>) -> Self {
        let random = Random::new(run.seed.wrapping_mul(1000).wrapping_add(number.into()));
        Self { run, number, addresses, connection: None, random, events: Vec::new() }
    }

    fn ask_until_told(mut self) -> Vec<Event> {
        let mut place = 0;
        while !self.run.stop.load(Ordering::Relaxed) {
            if self.connection.is_none() {
                let address = self.addresses[place % self.addresses.len()];
                self.connection = Connection::open(address, PATIENCE).ok();
                // The next attempt, if one is needed, goes to the next replica.
                place += 1;
                if self.connection.is_none() {
                    sleep(PAUSE);
                    continue;
                }
            }
            self.ask();
            sleep(PAUSE);
        }
        self.events
    }

    fn ask(&mut self) {
        let (key, request) = self.draw();
        let connection = self.connection.as_mut().expect("a connection");
        let asked = self.run.start.elapsed();
        let answer = ask(connection, &key, &request);
        let told = self.run.start.elapsed();
        let (told, answer) = match answer {
            Ok(answer) => {
                self.run.answered.fetch_add(1, Ordering::Relaxed);
                (nanoseconds(told), answer)
            }
            // A later answer would be taken for that of the next request.
            Err(_) => {
                self.connection = None;
                (i64::MAX, Answer::Unknown)
            }
        };
        let (client, asked) = (self.number, nanoseconds(asked));
        self.events.push(Event { client, key, asked, told, request, answer });
    }

    /// Returns a key and a request. No text is ever written twice.
    fn draw(&mut self) -> (String, Request) {
        let key = self.random.range(0, TEXTS + COUNTERS);
        let chance = self.random.range(0, 100);
        let text = || format!("{}.{};", self.number, self.events.len());
        if key >= TEXTS {
            let request = if chance < 50 { Request::Increment } else { Request::Get };
            return (format!("count-{key}"), request);
        }
        let request = match chance {
            0..50 => Request::Get,
            50..70 => Request::Set(text()),
            _ => Request::Append(text()),
        };
        (format!("text-{key}"), request)
    }
}

fn ask(connection: &mut Connection, key: &str, request: &Request) -> io::Result<Answer> {
    let key = key.as_bytes();
    let reply = match request {
        Request::Get => connection.call(&[b"GET", key]),
        Request::Set(value) => connection.call(&[b"SET", key, value.as_bytes()]),
        Request::Append(more) => connection.call(&[b"APPEND", key, more.as_bytes()]),
        Request::Increment => connection.call(&[b"INCR", key]),
    }?;
    match (request, reply) {
        (Request::Get, Reply::Bulk(bytes)) => {
            let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Ok(Answer::Value(text))
        }
        (Request::Set(_), Reply::Simple(ok)) if ok == "OK" => Ok(Answer::Done),
        (Request::Append(_) | Request::Increment, Reply::Number(number)) => {
            Ok(Answer::Number(number))
        }
        (request, reply) => Err(invalid(format!("{reply:?} to {request:?}"))),
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).expect("a run of less than 292 years")
}

struct StopAtEnd<'a>(&'a Run);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
