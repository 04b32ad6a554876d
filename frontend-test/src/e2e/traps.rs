//! The calls of a server that the net below the hooks catches, which costs microseconds each, by
//! request.

use std::net::SocketAddr;
use std::thread::scope;

use super::group::Group;
use super::http::Connection;
use super::load::{Load, ab, mariadb, redis_benchmark};
use super::machine::Machine;
use super::program::{self, PAGE, Program};
use super::runtimes::{self, Runtime};
use super::status::Caught;
use super::wait::{ANSWER, START, eventually};

/// The number of clients at the same time.
const CLIENTS: u32 = 8;
/// The highest share of requests that may meet such a call.
const BAR: f64 = 0.01;
/// The same for statements of MariaDB.
const BAR_OF_STATEMENTS: f64 = 0.1;

/// Serves requests, and returns how many calls were caught meanwhile, by replica.
///
/// # Panics
///
/// Panics if the replicas differ, or the net caught nothing before.
pub fn caught_in(group: &Group, serve: impl FnOnce()) -> Vec<u64> {
    let caught = || {
        let status = group.await_settled();
        status.replicas.iter().map(|replica| replica.caught_calls).collect::<Vec<_>>()
    };
    let before = caught();
    assert!(before.iter().all(|caught| *caught > 0), "the net catches nothing: {before:?}");
    serve();
    caught().iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Measures each server with this number of requests, prints the figures and the places, and
/// returns what misses the bars.
#[must_use]
pub fn measure(requests: u32) -> Vec<String> {
    let load = Load { requests, connections: CLIENTS, keepalive: true };
    let mut missed = Vec::new();
    let mut report = |outcome: Result<f64, String>, name: &str, bar: f64| match outcome {
        Ok(share) if share > bar => missed.push(format!("{name}: {share:.4} calls a request")),
        Ok(_) => {}
        Err(why) => missed.push(format!("{name}: {why}")),
    };
    let web = |address| ab(address, PAGE, load).map(drop);
    let civetweb = |machine: &Machine| Ok(program::civetweb(machine.folder(), 8));
    report(share("civetweb", requests, civetweb, web), "civetweb", BAR);
    let redis = |machine: &Machine| Ok(program::redis(machine.folder()));
    let sets = |address| redis_benchmark(address, "set", load).map(drop);
    report(share("redis", requests, redis, sets), "redis", BAR);
    for runtime in runtimes::RUNTIMES {
        let name = format!("{runtime:?}");
        let program = |machine: &Machine| runtimes::program(runtime, machine.folder());
        let bar = if runtime == Runtime::Java { BAR } else { f64::INFINITY };
        report(share(&name, requests, program, |address| count(address, requests)), &name, bar);
    }
    let database = |machine: &Machine| Ok(program::mariadb(machine.folder()));
    let statements = |address| statements(address, requests);
    report(share("mariadb", requests, database, statements), "mariadb", BAR_OF_STATEMENTS);
    missed
}

/// Returns the calls that are caught for each request of a load, once another one has passed.
fn share(
    name: &str,
    requests: u32,
    program: impl FnOnce(&Machine) -> Result<Program, String>,
    load: impl Fn(SocketAddr) -> Result<(), String>,
) -> Result<f64, String> {
    let machine = Machine::take("traps");
    let group = Group::start(&machine, program(&machine)?, 3, &[]);
    let address = group.address(1);
    // Calls that a server makes once precede.
    eventually("a first load", START, || load(address));
    let mut outcome = Ok(());
    let caught = caught_in(&group, || outcome = load(address));
    outcome?;
    let most = caught.iter().copied().max().unwrap_or(0);
    let share = most as f64 / f64::from(requests);
    println!("{name}: {share:.4} calls a request ({caught:?} in {requests})");
    for Caught { call, place, calls } in &group.status()?.replica(1).caught {
        println!("  {calls} {call} at {}", place.as_deref().unwrap_or("a place without a name"));
    }
    Ok(share)
}

/// Makes requests by several clients at once, each on one connection.
fn count(address: SocketAddr, requests: u32) -> Result<(), String> {
    let one = || {
        let mut connection =
            Connection::open(address, ANSWER).map_err(|error| error.to_string())?;
        for _ in 0..requests / CLIENTS {
            connection.get("/").map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    scope(|threads| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(one)).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client"))
    })
}

/// Inserts rows and reads them back, by several clients at once.
fn statements(address: SocketAddr, requests: u32) -> Result<(), String> {
    let made = "create database if not exists d; create table if not exists d.t \
                (id int auto_increment primary key, name varchar(40), \
                made timestamp default now())";
    mariadb(address, made)?;
    let one = || {
        let pair = "insert into d.t (name) values ('a row'); select * from d.t where id = 7; ";
        mariadb(address, &pair.repeat((requests / CLIENTS / 2) as usize)).map(drop)
    };
    scope(|threads| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(one)).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client"))
    })
}
