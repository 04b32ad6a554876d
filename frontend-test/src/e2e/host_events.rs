//! Events of one of three hosts: it ends a process of its server, or a call fails there and nowhere
//! else. The others serve on, no client of theirs sees an error, and the server is built again and
//! in step without a person.
//!
//! `strace` makes the calls fail, in all processes of the server on that host (strace(1),
//! `inject`).

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::group::{Group, kill};
use super::hosts::Hosts;
use super::idle::children_of;
use super::machine::Machine;
use super::program;
use super::wait::{ANSWER, START, eventually, within};

/// Requests of each client between two looks.
const REQUESTS: u64 = 4;
/// The time for which a call may fail before that counts as an event that did not happen.
const HAPPENS_WITHIN: Duration = Duration::from_secs(30);

/// Something that a host does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HostEvent {
    /// A process of the server is ended (`kill -9`), as the system does for want of memory.
    Kill,
    /// A call fails with an error, whoever makes it.
    Fails(&'static str, &'static str),
}

use HostEvent::{Fails, Kill};

impl fmt::Display for HostEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kill => write!(f, "kill -9 of a child"),
            Fails(call, error) => write!(f, "{call}: {error}"),
        }
    }
}

/// All events.
pub const EVENTS: [HostEvent; 12] = [
    Kill,
    Fails("openat", "EIO"),
    Fails("read", "EIO"),
    Fails("pread64", "EIO"),
    Fails("pwrite64", "EIO"),
    Fails("pwrite64", "ENOSPC"),
    Fails("openat", "ENFILE"),
    Fails("pipe2", "ENFILE"),
    Fails("socket", "ENFILE"),
    Fails("mmap", "ENOMEM"),
    Fails("clone", "ENOMEM"),
    Fails("clone3", "EAGAIN"),
];

impl HostEvent {
    /// Returns what the log of the replica says of it.
    fn reason(self) -> &'static str {
        match self {
            Kill => "was ended by signal 9 from outside of the schedule",
            Fails(_, "ENOSPC") => "finds no room",
            Fails(_, _) => "an error of this host",
        }
    }
}

/// Lets each event whose text contains `only` happen this often at one of three hosts, and calls
/// `told` behind each.
///
/// # Panics
///
/// Panics if an event does not happen, a client of the other hosts sees an error, or the server is
/// not in step again.
pub fn run(machine: &Machine, hosts: &Arc<Hosts>, rounds: u32, only: &str, told: impl Fn(String)) {
    let program = program::compiled(machine.folder(), "works", &[]);
    let group = Group::start_on(machine, hosts, program);
    let mut count = 0;
    ask_all(&group, &mut count);
    for event in EVENTS.into_iter().filter(|event| event.to_string().contains(only)) {
        for round in 0..rounds {
            // The primary is a host like the others, in each third round.
            let place = (group.primary() + (round % 3) as u8 + 1) % 3;
            let victim = if place == 0 { 3 } else { place };
            happen(&group, victim, event, &mut count);
            group.await_healed();
            ask(group.address(victim), &mut count);
        }
        told(format!("{event}: {rounds} times, the others served on, the server is back"));
    }
    group.await_settled();
}

/// Lets an event happen at a host, while clients ask the others.
fn happen(group: &Group, victim: u8, event: HostEvent, count: &mut u64) {
    let is_named = |log: &str| log.lines().filter(|line| line.contains(event.reason())).count();
    let before = is_named(&group.log(victim));
    let server = eventually("the server", START, || {
        group.status()?.replica(victim).server_pid.ok_or_else(|| "no server".to_owned())
    });
    let _cause = match event {
        Kill => None,
        Fails(call, error) => Some(Injection::begin(server, call, error)),
    };
    let others: Vec<SocketAddr> =
        group.ids().filter(|id| *id != victim).map(|id| group.address(id)).collect();
    if event == Kill {
        kill_child(server);
    }
    let happened = within(HAPPENS_WITHIN, || {
        for address in &others {
            ask(*address, count);
        }
        let log = group.log(victim);
        if is_named(&log) > before { Ok(()) } else { Err(log) }
    });
    if let Err(log) = happened {
        panic!("{event} at replica {victim} is not named: {log}");
    }
}

/// Ends the child of the server that lives as long as it does.
fn kill_child(server: u32) {
    if let Some(child) = children_of(server).first() {
        // It may have ended with its server.
        let _ = kill(*child);
    }
}

/// A program that makes calls of a server fail, until it is dropped.
struct Injection {
    tracer: Child,
    /// It ends if nobody can hear it.
    _told: BufReader<ChildStderr>,
}

impl Injection {
    fn begin(server: u32, call: &str, error: &str) -> Self {
        let mut tracer = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error={error}:when=1+")])
            .args(["-p", &server.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace");
        let mut told = BufReader::new(tracer.stderr.take().expect("a pipe"));
        let mut line = String::new();
        told.read_line(&mut line).expect("a line");
        assert!(line.contains("attached"), "strace: {line}");
        Self { tracer, _told: told }
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

fn ask_all(group: &Group, count: &mut u64) {
    for address in group.all_addresses() {
        ask(address, count);
    }
}

/// Makes requests on one connection, each of which must get the next number.
fn ask(address: SocketAddr, count: &mut u64) {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).expect("a connection");
    stream.set_read_timeout(Some(ANSWER)).expect("a time");
    let mut answers = BufReader::new(stream.try_clone().expect("a stream"));
    for _ in 0..REQUESTS {
        stream.write_all(b"work\n").expect("a request");
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("an answer");
        *count += 1;
        assert_eq!(answer.trim_end(), count.to_string());
    }
}
