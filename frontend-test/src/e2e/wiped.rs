//! A replica whose data directory is deleted: it returns from another replica's checkpoint, leads,
//! and is lost as primary. Connections through the others stay open all the while.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::binary::run_bounded;
use super::checkpoints::{checkpoint, size_of, started_from};
use super::group::Group;
use super::http;
use super::machine::Machine;
use super::program::{self, PAGE, Program};
use super::resp;
use super::wait::{ANSWER, START, eventually};

/// The connections that stay open.
const CONNECTIONS: usize = 16;
/// Requests on each of them, between two steps, that make a proof possible.
const REQUESTS: usize = 150;
/// The bytes of a value of redis.
const VALUE_BYTES: usize = 64 << 10;

/// A client's connection that stays open.
enum Kept {
    Web(http::Connection),
    Redis(resp::Connection),
}

impl Kept {
    fn open(address: SocketAddr, web: bool) -> io::Result<Self> {
        Ok(match web {
            true => Self::Web(http::Connection::open(address, ANSWER)?),
            false => Self::Redis(resp::Connection::open(address, ANSWER)?),
        })
    }

    /// Makes a request, and checks its answer; `count` is the number of redis' answers before.
    fn ask(&mut self, count: &mut i64) -> Result<(), String> {
        match self {
            Self::Web(connection) => match connection.get(PAGE) {
                Ok(reply) if reply.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            },
            Self::Redis(connection) => {
                *count += 1;
                match connection.call(&[b"INCR", b"count"]) {
                    Ok(resp::Reply::Number(number)) if number == *count => Ok(()),
                    other => Err(format!("{other:?} instead of {count}")),
                }
            }
        }
    }
}

/// The steps, with their times.
struct Steps<F> {
    begun: Instant,
    last: Instant,
    said: F,
}

impl<F: FnMut(String)> Steps<F> {
    fn done(&mut self, text: &str) {
        let (now, begun, last) = (Instant::now(), self.begun, self.last);
        let (all, step) = ((now - begun).as_millis(), (now - last).as_millis());
        (self.said)(format!("{all:>7} ms  {step:>+7} ms  {text}"));
        self.last = now;
    }
}

/// Walks the whole way with civetweb, or with redis and about this many MiB in it.
///
/// # Panics
///
/// Panics if a step fails, a connection is lost, or hashes differ.
pub fn run(web: bool, mebibytes: usize, said: impl FnMut(String)) {
    let machine = Machine::take("wiped");
    let folder = machine.folder();
    let program: Program = if web { program::civetweb(folder, 32) } else { program::redis(folder) };
    let name = program.name;
    let mut steps = Steps { begun: Instant::now(), last: Instant::now(), said };
    let mut group = Group::start(&machine, program, 3, &[]);
    let primary = group.primary();
    let backups: Vec<u8> = group.ids().filter(|id| *id != primary).collect();
    let [stays, wiped] = backups[..] else { panic!("{backups:?}") };
    steps.done(&format!("{name}: three replicas serve; replica {primary} is primary"));
    if !web {
        fill(group.address(primary), mebibytes);
        steps.done(&format!("{mebibytes} MiB are in it"));
    }
    let mut count = 0;
    let through = |number: usize| if number.is_multiple_of(2) { primary } else { stays };
    let mut kept: Vec<Kept> = (0..CONNECTIONS)
        .map(|number| Kept::open(group.address(through(number)), web).expect("a connection"))
        .collect();
    let mut ask_all = |times: usize| {
        for _ in 0..times {
            for (number, connection) in kept.iter_mut().enumerate() {
                let asked = connection.ask(&mut count);
                asked.unwrap_or_else(|why| panic!("{name}: connection {number}: {why}"));
            }
        }
    };
    ask_all(1);
    steps.done(&format!("{CONNECTIONS} connections are open, through replicas {primary}, {stays}"));
    for id in [stays, wiped] {
        let (place, slot) = checkpoint(&group, id).expect("a checkpoint");
        let held = group.status().expect("a status").replica(id).checkpoint["held_ms"].clone();
        steps.done(&format!(
            "replica {id} has a checkpoint behind slot {slot}, of {} KiB; held for {held} ms",
            size_of(&place) >> 10
        ));
        eventually("the proof", START, || {
            ask_all(REQUESTS);
            let replica = group.status()?.replica(id).clone();
            match &replica.checkpoint["proved"] {
                proved if *proved == slot => Ok(()),
                other => Err(format!("proved: {other}, {:?}", replica.faults)),
            }
        });
        steps.done("a second server that was made from it did the same as the others: proved");
    }
    let front = eventually("a cut of the log", START, || {
        ask_all(1);
        let status = group.status()?;
        let front = |id| status.replica(id).log["behind"].as_u64().unwrap_or(0);
        let fronts: Vec<u64> = group.ids().map(front).collect();
        let all_cut = fronts.iter().all(|front| *front > 0);
        if all_cut { Ok(fronts[0]) } else { Err(format!("behind {fronts:?}")) }
    });
    let bytes = group.status().expect("a status").replica(primary).log["bytes"].clone();
    steps
        .done(&format!("the logs begin behind slot {front}; that of replica {primary}: {bytes} B"));

    group.kill(wiped);
    fs::remove_dir_all(group.data(wiped)).expect("the data directory");
    ask_all(10);
    steps.done(&format!("replica {wiped} is killed, and its data directory is deleted"));
    group.start_replica(wiped);
    eventually("the wiped replica is in step", START, || {
        ask_all(1);
        let status = group.status()?;
        status.healthy(3)?;
        match started_from(&status, wiped) {
            Some(from) if from >= front => Ok(()),
            other => Err(format!("started from {other:?}")),
        }
    });
    let status = group.status().expect("a status");
    let from = started_from(&status, wiped).expect("as above");
    steps.done(&format!("it is in step again, from a peer's checkpoint behind slot {from}"));
    ask_all(10);
    let data = group.data(stays).display().to_string();
    let words = ["primary", "move", "--to", &wiped.to_string(), "--data-dir", &data];
    let moved = run_bounded(&words.map(String::from), &group.program().base);
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    assert_eq!(group.primary(), wiped);
    ask_all(10);
    steps.done("it is primary");
    let hashes = group.status().expect("a status");
    assert_eq!(hashes.diverged(), None);
    group.kill(wiped);
    ask_all(10);
    steps.done(&format!("it is killed as primary; all {CONNECTIONS} connections are answered"));
    group.start_replica(wiped);
    drop(kept);
    group.await_settled();
    steps.done("it is back, and all hashes are equal");
}

/// Puts values of random bytes, which no compression makes small, into redis.
///
/// # Panics
///
/// Panics if redis does not take them.
pub fn fill(address: SocketAddr, mebibytes: usize) {
    let mut connection = resp::Connection::open(address, Duration::from_secs(20)).expect("redis");
    let mut state = 1_u64;
    let mut value = vec![0; VALUE_BYTES];
    for key in 0..mebibytes * (1 << 20) / VALUE_BYTES {
        for byte in &mut value {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let reply = connection.call(&[b"SET", format!("key {key}").as_bytes(), &value]);
        assert_eq!(reply.expect("an answer"), resp::Reply::Simple("OK".into()));
    }
}
