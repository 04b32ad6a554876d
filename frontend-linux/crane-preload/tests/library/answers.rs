//! Refusals of calls, and messages of any length, natively and under the library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crane_core::limits::RECEIVE_WINDOW;
use crane_core::wire::{HostFigures, Op, Schedule};

use crate::driver::{Driver, End, FIGURES, Library, answers, host};

/// Bytes of the client's messages that come before the wait with a limit, and after it.
const BEFORE: usize = 1
    + 2
    + 100
    + 4096
    + 65536
    + 29524
    + 88573
    + 70000
    + (1 << 20)
    + 3
    + 65537
    + 100_000
    + 200_000
    + 3
    + 4;
const AFTER: usize = 5;

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

/// Starts a probe that listens at a port, and waits until it does.
fn serving(probe: &str, port: u16) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(answers())
        .args([probe, &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(printed.next().as_deref(), Some("listening"));
    (child, printed)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn messages_hold_natively() {
    let port = free_port();
    let (mut child, mut printed) = serving("messages", port);
    let all = bytes(BEFORE + AFTER);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(&all[..BEFORE]).unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    client.write_all(&all[BEFORE..]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let _second = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(printed.next().as_deref(), Some("messages ok"));
    assert!(child.wait().unwrap().success());
}

/// Sends bytes as a client whose window moves as the server reads.
fn send_all(driver: &mut Driver, number: u64, from: usize, bytes: &[u8]) {
    const STEP: usize = 8192;
    let mut sent = from;
    let end = from + bytes.len();
    while sent < end {
        let room = driver.consumed(number) as usize + RECEIVE_WINDOW - sent;
        let step = STEP.min(room).min(end - sent);
        assert!(step > 0, "the window stays closed at {sent}");
        let bytes = &bytes[sent - from..sent - from + step];
        driver.feed(&[Op::Send { conn: Driver::conn(number), offset: sent as u64, bytes }]);
        sent += step;
        assert!(driver.settle(), "the server has ended at {sent}");
    }
}

#[test]
fn messages_hold_under_the_library() {
    let arguments = ["messages", "7777"];
    let mut driver =
        Driver::start_program(answers(), &arguments, 100, Schedule::Serial, Library::Product);
    assert!(driver.settle());
    driver.feed(&[Driver::connect(1)]);
    let all = bytes(BEFORE + AFTER);
    send_all(&mut driver, 1, 0, &all[..BEFORE]);
    assert_eq!(driver.replies, [b"more"]);
    send_all(&mut driver, 1, BEFORE, &all[BEFORE..]);
    driver.feed(&[Op::Shut { conn: Driver::conn(1), total: all.len() as u64 }]);
    assert!(driver.settle());
    driver.feed(&[Driver::connect(2)]);
    let end = driver.end();
    assert_eq!((end.code, end.printed.as_str()), (Some(0), "listening\nmessages ok\n"));
}

/// The bytes that the probe "direct" writes to its client.
const WRITTEN: &[u8] = b"number 42\n+-\n";

#[test]
fn calls_by_number_hold_natively() {
    let port = free_port();
    let (mut child, mut printed) = serving("direct", port);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"ab").unwrap();
    let mut reply = vec![0; 10];
    client.read_exact(&mut reply).unwrap();
    client.write_all(b"c").unwrap();
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, WRITTEN);
    assert_eq!(printed.next().as_deref(), Some("direct ok"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn calls_by_number_hold_under_the_library_and_unknown_ones_are_noted() {
    let arguments = ["direct", "7777"];
    let mut driver =
        Driver::start_program(answers(), &arguments, 100, Schedule::Serial, Library::Product);
    let send = |offset, bytes| Op::Send { conn: Driver::conn(1), offset, bytes };
    assert!(driver.settle());
    driver.feed(&[Driver::connect(1), send(0, b"ab")]);
    assert!(driver.settle());
    driver.feed(&[send(2, b"c")]);
    driver.await_end();
    assert_eq!(driver.replies, [WRITTEN]);
    assert_eq!(driver.end().printed, "listening\ndirect ok\n");

    let mut driver =
        Driver::start_program(answers(), &["numbers"], 100, Schedule::Serial, Library::Product);
    driver.await_end();
    assert_eq!(driver.notes, ["pidfd_open by libc's syscall(): it is not followed"]);
}

/// Runs a probe without clients. Returns the notes, and how it ended.
fn ran(arguments: &[&str]) -> (Vec<String>, End) {
    let mut driver =
        Driver::start_program(answers(), arguments, 100, Schedule::Serial, Library::Product);
    driver.await_end();
    (std::mem::take(&mut driver.notes), driver.end())
}

#[test]
fn a_program_and_its_children_see_the_figures_of_the_genesis() {
    let HostFigures { processors, memory } = FIGURES;
    let mut driver =
        Driver::start_program(host(), &["figures"], 100, Schedule::Serial, Library::Product);
    driver.await_end();
    let pages = memory / 4096;
    let of_program = format!("{processors} {processors} {pages} {memory}\n");
    let of_child = format!("{processors} {processors} 0\n0\n");
    assert_eq!(driver.end().printed, format!("{of_program}{of_child}figures ok\n"));
}

#[test]
fn a_child_that_would_listen_has_the_daemon_end_the_server() {
    let (_, end) = ran(&["child-listens", "7778"]);
    assert_eq!(end.printed, "child 69\nchild-listens ok\n");
    assert!(end.trouble.starts_with("a child process of the server uses"), "{}", end.trouble);
    assert!(end.refused);
    let (_, end) = ran(&["children"]);
    assert!(!end.refused);
}

#[test]
fn a_child_that_runs_for_long_holds_the_other_threads_up_once() {
    let native = Command::new(answers()).arg("outlived").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&native.stdout), "outlived ok\n");
    let (_, end) = ran(&["outlived"]);
    assert_eq!(end.printed, "outlived ok\n");
}

#[test]
fn locks_that_processes_share_are_noted() {
    let (notes, end) = ran(&["shared"]);
    assert_eq!(end.printed, "private\nshared ok\n");
    assert!(notes.len() == 1 && notes[0].starts_with("a lock that processes share"), "{notes:?}");
}

#[test]
fn an_address_that_is_not_the_groups_is_named() {
    let (notes, end) = ran(&["addresses"]);
    assert_eq!(end.printed, "addresses ok\n");
    assert!(notes.len() == 1 && notes[0].starts_with("the server binds 192.0.2.77"), "{notes:?}");
}
