//! The promises of POSIX and Linux in the corners of calls, natively and under the library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crane_core::wire::{Op, Schedule};

use crate::driver::{Driver, Library, answers, backlog, corners, host};

/// The probes of `programs/threads.c`.
const OF_THREADS: [&str; 13] = [
    "mutexes",
    "robust",
    "rwlocks",
    "semaphores",
    "conditions",
    "threads",
    "exited",
    "cancellation",
    "onces",
    "barriers",
    "times",
    "chances",
    "kills",
];

/// The probes of `programs/descriptors.c` that need no client.
const OF_DESCRIPTORS: [&str; 5] = ["pipes", "duplicates", "polls", "epolls", "listeners"];

/// The probes of `programs/answers.c` that need no client.
const OF_ANSWERS: [&str; 4] = ["refusals", "numbers", "children", "addresses"];

/// The probes of `programs/host.c` that say what holds natively as well.
const OF_HOST: [&str; 2] = ["affinity", "usage"];

fn probes() -> impl Iterator<Item = (&'static Path, &'static str)> {
    let [threads, descriptors] = corners();
    let of_threads = OF_THREADS.map(|name| (threads.as_path(), name));
    let of_descriptors = OF_DESCRIPTORS.map(|name| (descriptors.as_path(), name));
    let of_answers = OF_ANSWERS.map(|name| (answers(), name));
    let of_host = OF_HOST.map(|name| (host(), name));
    of_threads.into_iter().chain(of_descriptors).chain(of_answers).chain(of_host)
}

/// Natively a probe's sleeps are real, and too short when the machine is busy: one good run shows
/// that what the probe says is so. (Under the library they are steps of the clock.)
const NATIVE_TRIES: usize = 10;

#[test]
fn the_probes_hold_natively() {
    for (program, name) in probes() {
        let mut printed = String::new();
        let holds = (0..NATIVE_TRIES).any(|_| {
            let output = Command::new(program).arg(name).output().unwrap();
            printed = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success() && printed == format!("{name} ok\n")
        });
        assert!(holds, "{name}: {printed}");
    }
}

#[test]
fn the_probes_hold_under_the_library() {
    let failures: Vec<String> = probes()
        .flat_map(|(program, name)| [1, 100].map(|quantum| (program, name, quantum)))
        .filter_map(|(program, name, quantum)| {
            let outcome = catch_unwind(|| run(program, name, quantum));
            match outcome {
                Ok((Some(0), printed)) if printed == format!("{name} ok\n") => None,
                Ok(other) => Some(format!("{name}, quantum {quantum}: {other:?}")),
                Err(_) => Some(format!("{name}, quantum {quantum}: does not end")),
            }
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_full_table_of_connections_is_told_by_name() {
    const PLACES: u64 = 65_536;
    const AT_ONCE: u64 = 512;
    let mut driver = Driver::start_program(backlog(), &[], 100, Schedule::Serial, Library::Product);
    assert!(driver.settle());
    for first in (1..=PLACES).step_by(AT_ONCE as usize) {
        let ops: Vec<Op<'_>> = (first..first + AT_ONCE).map(Driver::connect).collect();
        driver.feed(&ops);
        assert!(driver.settle());
    }
    assert_eq!((driver.resets.as_slice(), driver.notes.len()), (&[][..], 0));
    driver.feed(&[Driver::connect(PLACES + 1), Driver::connect(PLACES + 2)]);
    assert!(driver.settle());
    assert_eq!(driver.resets, [PLACES + 1, PLACES + 2]);
    assert_eq!(driver.refused_connections(), 2);
    let notes = &driver.notes;
    assert!(notes.len() == 1 && notes[0].contains("has 65536 connections"), "{notes:?}");
}

/// Runs one probe to its end: its exit code, and what it printed.
fn run(program: &Path, name: &str, quantum: u32) -> (Option<i32>, String) {
    let mut driver =
        Driver::start_program(program, &[name], quantum, Schedule::Serial, Library::Product);
    // A probe that waits for what never comes is noticed at once; one that goes round and round is
    // not.
    driver.timeout = Duration::from_secs(20);
    let end = driver.end();
    (end.code, end.printed)
}

#[test]
fn a_signal_to_a_thread_arrives_at_the_same_time_in_every_run() {
    let run = || {
        let [threads, _] = corners();
        Driver::start_program(threads, &["kills"], 1, Schedule::Serial, Library::Product).end()
    };
    let first = run();
    assert_eq!(first.code, Some(0), "{}", first.printed);
    for _ in 0..5 {
        assert_eq!(run(), first);
    }
}

/// The answer of the probe "connections" to its first client.
const REPLY: &[u8] = b"one one one one fileab\n";

#[test]
fn connections_hold_natively() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = Command::new(&corners()[1])
        .args(["connections", &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(printed.next().as_deref(), Some("listening"));
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut client = connect();
    client.write_all(b"abcdefghij").unwrap();
    let mut reply = vec![0; REPLY.len() + 6];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, [REPLY, b"go on\n"].concat());
    client.write_all(b"klm").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    reply.clear();
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, b"bye\n");
    let mut client = connect();
    client.write_all(b"x").unwrap();
    let mut six = [0; 6];
    client.read_exact(&mut six).unwrap();
    reset(client);
    let mut client = connect();
    let sent = printed.next().unwrap();
    reply.clear();
    client.read_to_end(&mut reply).unwrap();
    assert!(reply.ends_with(b"end\n"));
    assert_eq!(sent, format!("sent {}", reply.len() - 4));
    assert_eq!(printed.next().as_deref(), Some("connections ok"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn connections_hold_under_the_library() {
    let program = &corners()[1];
    let arguments = ["connections", "7777"];
    let mut driver =
        Driver::start_program(program, &arguments, 100, Schedule::Serial, Library::Product);
    let conn = Driver::conn;
    let steps: [&[Op<'_>]; 5] = [
        &[Driver::connect(1), Op::Send { conn: conn(1), offset: 0, bytes: b"abcdefghij" }],
        &[
            Op::Send { conn: conn(1), offset: 10, bytes: b"klm" },
            Op::Shut { conn: conn(1), total: 13 },
        ],
        &[Driver::connect(2), Op::Send { conn: conn(2), offset: 0, bytes: b"x" }],
        &[Op::Reset { conn: conn(2) }],
        &[Driver::connect(3)],
    ];
    let mut lives = driver.settle();
    for ops in steps {
        if lives {
            driver.feed(ops);
            lives = driver.settle();
        }
    }
    let sent = driver.replies.get(2).map_or(0, Vec::len);
    if lives {
        driver.feed(&[Op::Drained { conn: conn(3), total: sent as u64 }]);
        driver.settle();
    }
    let replies = std::mem::take(&mut driver.replies);
    let end = driver.end();
    assert_eq!(end.printed, format!("listening\nsent {sent}\nconnections ok\n"));
    assert_eq!(replies[0], [REPLY, b"go on\nbye\n"].concat());
    assert_eq!(replies[1], b"go on\n");
    assert!(sent > 0 && replies[2].len() == sent + 4 && replies[2].ends_with(b"end\n"));
}

/// Closes a connection with a reset.
fn reset(client: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: a live descriptor and a live value of the given length.
    let result = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&client),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}
