//! Servers whose processes race, in several ways: each answer is a signature of the order in which
//! they acted, and the same on all replicas, although single processes are stopped at random.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::group::Group;
use super::hosts::Hosts;
use super::idle::tree_of;
use super::machine::Machine;
use super::native::Native;
use super::program::{self, Program};
use super::wait::{ANSWER, Raise, START, eventually};

/// The ways of `frontend-test/programs/kin.c`.
pub const WAYS: [&str; 12] = [
    "memory",
    "flock",
    "fcntl",
    "mutex",
    "shell",
    "supervisor",
    "tree",
    "many",
    "signals",
    "timer",
    "interrupts",
    "profiler",
];

/// The way with a timer of processor time, whose signals come from outside of the schedule: they
/// are counted, and its handler does nothing that matters.
const PROFILED: &str = "profiler";

/// The runs that a native server makes at most until two differ, and those that begin with the same
/// memory.
const NATIVE: usize = 1600;
const ALIKE: usize = 16;

/// The least number of stops during the runs in one way. Runs that are over before are made again,
/// at most so often.
const STOPS: u64 = 5;
const AGAIN: usize = 50;

fn program(folder: &Path) -> Program {
    program::compiled(folder, "kin", &[])
}

/// Makes runs in one way, one behind the other, on one connection.
fn ask(address: SocketAddr, way: &str, runs: usize) -> Result<Vec<String>, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).map_err(told)?;
    stream.set_read_timeout(Some(START)).map_err(told)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(told)?);
    let mut signatures = Vec::new();
    for _ in 0..runs {
        stream.write_all(format!("{way}\n").as_bytes()).map_err(told)?;
        let mut answer = String::new();
        answers.read_line(&mut answer).map_err(told)?;
        if !answer.contains(" after ") {
            return Err(format!("{way}: {answer:?}"));
        }
        signatures.push(answer);
    }
    Ok(signatures)
}

/// Returns whether native runs in a way differ.
///
/// # Errors
///
/// Returns the error of a request.
pub fn differs_natively(way: &str) -> Result<bool, String> {
    let machine = Machine::take("kin-natively");
    let native = Native::start(&machine, &program(machine.folder()));
    for _ in 0..NATIVE / ALIKE {
        if ask(native.address(), way, ALIKE)?.iter().collect::<BTreeSet<_>>().len() > 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Has replicas on three hosts make runs in some ways, as many in each as are said, while their
/// processes are stopped at random, and compares them behind each way, of which `told` hears.
///
/// # Panics
///
/// Panics if a request fails, or the replicas differ.
pub fn compare(
    machine: &Machine,
    hosts: &Arc<Hosts>,
    ways: &[(&str, usize)],
    told: impl Fn(&str, u64),
) {
    let group = Group::start_on(machine, hosts, program(machine.folder()));
    let mut uncovered = 0;
    for (number, (way, runs)) in ways.iter().enumerate() {
        let address = group.address(1 + (number % 3) as u8);
        let (ended, stops) = (AtomicBool::new(false), AtomicU64::new(0));
        scope(|threads| {
            threads.spawn(|| disturb(&group, &ended, &stops));
            let _raise = Raise(&ended);
            for _ in 0..AGAIN {
                ask(address, way, *runs).unwrap_or_else(|why| panic!("{way}: {why}"));
                if stops.load(Ordering::SeqCst) >= STOPS {
                    break;
                }
            }
        });
        let stops = stops.into_inner();
        assert!(stops >= STOPS, "{way}: {stops} stops, which show nothing");
        let status = group.await_settled();
        let calls: u64 =
            status.servers().map(|replica| replica.uncovered_calls.as_u64().unwrap_or(0)).sum();
        assert!(*way == PROFILED || calls == uncovered, "{way}: {:?}", notes(&group));
        uncovered = calls;
        told(way, stops);
    }
}

fn notes(group: &Group) -> Vec<String> {
    let status = eventually("a status", START, || group.status());
    status.servers().flat_map(|replica| replica.notes.clone()).collect()
}

/// Stops processes of the servers for moments until the end, and counts the stops.
fn disturb(group: &Group, ended: &AtomicBool, stops: &AtomicU64) {
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let status = eventually("a status", START, || group.status());
    let servers: Vec<u32> = status.servers().filter_map(|replica| replica.server_pid).collect();
    while !ended.load(Ordering::SeqCst) {
        sleep(Duration::from_micros(500 + next(8000)));
        let all = tree_of(servers[next(servers.len() as u64) as usize]);
        let process = Pid::from_raw(all[next(all.len() as u64) as usize].cast_signed());
        let Some(process) = process else { continue };
        // It may have ended meanwhile.
        if kill_process(process, Signal::STOP).is_ok() {
            stops.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_micros(200 + next(6000)));
            let _ = kill_process(process, Signal::CONT);
        }
    }
}
