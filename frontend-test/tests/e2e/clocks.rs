//! Clocks that are read without a function of libc: the processor's time stamp, and the functions
//! of the kernel's own library.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crane_test::e2e::alarm::{BYPASSES, NO_FLOOR};
use crane_test::e2e::checkpoints::{are_possible, checkpoint, return_from};
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::native::Native;
use crane_test::e2e::program;
use crane_test::e2e::wait::{ANSWER, SOON, eventually};

/// The beginning of each full answer: the time stamps grow, a fault reached its handler, and the
/// children ended with status 0.
const WHOLE: &str = "1, 1, 0: ";

/// Returns the answers to these lines, which one client sends.
fn ask(address: SocketAddr, lines: &[&str]) -> Vec<String> {
    let stream = TcpStream::connect_timeout(&address, ANSWER).expect("a connection");
    stream.set_read_timeout(Some(ANSWER)).expect("a limit");
    let mut reader = BufReader::new(&stream);
    let answer = |line: &&str| {
        writeln!(&stream, "{line}").expect("a request");
        let mut answer = String::new();
        reader.read_line(&mut answer).expect("an answer");
        assert!(!answer.is_empty(), "the server ends the connection");
        answer
    };
    lines.iter().map(answer).collect()
}

/// Returns the random bytes and the difference of two time stamps of a full answer.
fn random_and_difference(answer: &str) -> (String, u64) {
    assert!(answer.starts_with(WHOLE), "{answer}");
    let mut words = answer.split_whitespace();
    let difference = words.nth(4).and_then(|word| word.parse().ok()).expect("a difference");
    (words.last().expect("random bytes").to_string(), difference)
}

#[test]
fn clocks_that_no_call_reads_are_agreed_on_the_floor() {
    let machine = Machine::take("clocks");
    let program = program::compiled(machine.folder(), "clocks", &[]);
    let group = Group::start(&machine, program, 3, &["--strict"]);
    let mut differences = Vec::new();
    for _ in 0..5 {
        for id in group.ids() {
            for answer in ask(group.address(id), &["all", "all"]) {
                differences.push(random_and_difference(&answer).1);
            }
        }
    }
    // Two calls in a row, by the clock of the calls.
    assert!(differences.iter().all(|difference| *difference == 100), "{differences:?}");
    group.await_settled();
}

#[test]
fn two_native_runs_read_different_clocks() {
    let machine = Machine::take("clocks-native");
    let program = program::compiled(machine.folder(), "clocks", &[]);
    let runs = [(), ()].map(|()| {
        let native = Native::start(&machine, &program);
        random_and_difference(&ask(native.address(), &["all"])[0])
    });
    assert_ne!(runs[0].0, runs[1].0);
}

#[test]
fn an_image_keeps_the_clocks_agreed() {
    let machine = Machine::take("clocks-image");
    if !are_possible(machine.folder()) {
        return;
    }
    let program = program::compiled(machine.folder(), "clocks", &[]);
    let mut group = Group::start(&machine, program, 3, &["--strict"]);
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let lines = ["vdso", "all", "vdso"];
    ask(group.address(primary), &lines);
    let (_, slot) = checkpoint(&group, backup).expect("a checkpoint");
    // The server that was held, and then the one from the image, find the kernel's library anew.
    ask(group.address(primary), &lines);
    group.await_settled();
    return_from(&mut group, backup, slot);
    group.await_serving();
    ask(group.address(backup), &lines);
    group.await_settled();
}

#[test]
fn without_a_floor_clocks_that_no_call_reads_are_named() {
    let machine = Machine::take("clocks-named");
    let program = program::compiled(machine.folder(), "clocks", &[]);
    let group = Group::start(&machine, program, 3, &[NO_FLOOR]);
    ask(group.address(group.primary()), &["vdso"]);
    let named = |parts: &[&str]| {
        eventually("a note", SOON, || {
            let status = group.status()?;
            let is_named = status.replicas.iter().any(|replica| {
                replica.notes.iter().any(|note| {
                    note.contains(BYPASSES) && parts.iter().all(|part| note.contains(part))
                })
            });
            is_named.then_some(()).ok_or_else(|| status.brief())
        });
    };
    named(&["clock_gettime", "in [vdso]"]);
    // The bytes of a full answer differ between replicas, which is told as well.
    ask(group.address(group.primary()), &["all"]);
    named(&["rdtsc at take in clocks"]);
}
