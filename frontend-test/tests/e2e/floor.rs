//! The floor: calls without a function of libc's are ordered and answered as by the hooks.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crane_test::e2e::alarm::{BYPASSES, NO_FLOOR, OnFloor, stick_on_floor};
use crane_test::e2e::checkpoints::{are_possible, checkpoint, return_from};
use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::languages::{Language, compare};
use crane_test::e2e::load::{Load, ab, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::native::Native;
use crane_test::e2e::probes::{self, Probed};
use crane_test::e2e::program::{self, Program};
use crane_test::e2e::programs::{self, Expect};
use crane_test::e2e::racy::{ask_all, ask_between_stops};
use crane_test::e2e::runtimes::{self, Runtime, of_go};
use crane_test::e2e::traps::caught_in;
use crane_test::e2e::wait::{ANSWER, SOON, eventually};

const CLIENTS: usize = 6;
const REQUESTS: usize = 40;
/// The number of runs in each language (`ci/measure languages` makes 300, in more of them).
const RUNS: usize = 40;

/// One in this number of stuck programs runs here.
const ONE_IN: usize = 3;

#[test]
fn programs_that_wait_without_libc_hold_up_no_other() {
    let all = programs::stuck();
    let waiting: Vec<_> = all.iter().filter(|stuck| stuck.expect == Expect::InKernel).collect();
    let (mut works, mut named) = (BTreeSet::new(), BTreeSet::new());
    for stuck in waiting.into_iter().step_by(ONE_IN) {
        let outcome = stick_on_floor(stuck).unwrap_or_else(|why| panic!("{why}"));
        println!("{}: {outcome:?}", stuck.name);
        match outcome {
            OnFloor::Works => works.insert(stuck.name.as_str()),
            OnFloor::Named(_) => named.insert(stuck.name.as_str()),
        };
    }
    // Of all 50, 45 work.
    assert!(works.len() >= 3 * named.len(), "{works:?}; {named:?}");
}

/// Asserts that the replicas of a racy program answer the same while they are stopped in turns.
fn assert_equal_between_stops(machine: &Machine, program: Program) {
    let group = Group::start(machine, program, 3, &["--strict"]);
    let answers = ask_between_stops(&group, CLIENTS, REQUESTS);
    let mixed = answers.iter().flatten().any(|answer| !answer.contains(" moved 299 to "));
    assert!(mixed, "no request met another: {answers:?}");
}

#[test]
fn calls_by_instructions_of_the_program_are_equal_on_all_replicas() {
    let machine = Machine::take("floor-inline");
    let program = program::compiled(machine.folder(), "inline", &[]);
    assert_equal_between_stops(&machine, program);
}

/// Returns the answers to both lines that `cancelled.c` knows, three times.
fn told_of_cancelled(address: SocketAddr) -> Vec<String> {
    let stream = TcpStream::connect_timeout(&address, ANSWER).expect("a connection");
    stream.set_read_timeout(Some(ANSWER)).expect("a limit");
    let mut reader = BufReader::new(&stream);
    let mut answers = Vec::new();
    for line in ["stream\n", "instruction\n"].repeat(3) {
        (&stream).write_all(line.as_bytes()).expect("a request");
        let mut answer = String::new();
        reader.read_line(&mut answer).expect("an answer");
        answers.push(answer);
    }
    answers
}

#[test]
fn threads_are_cancelled_in_answered_calls_where_they_are_natively() {
    let machine = Machine::take("floor-cancelled");
    let program = program::compiled(machine.folder(), "cancelled", &[]);
    let native = Native::start(&machine, &program);
    let expected = told_of_cancelled(native.address());
    assert!(expected.iter().all(|answer| answer.starts_with("cancelled 1, cleaned 1,")));
    assert_ne!(expected[0], expected[1], "one of the two calls is a cancellation point");
    drop(native);
    let group = Group::start(&machine, program, 3, &[]);
    assert_eq!(told_of_cancelled(group.address(1)), expected);
    group.await_settled();
}

/// Sends a line on each stream, and waits for all answers.
fn ask_each(streams: &[TcpStream]) {
    for mut stream in streams {
        stream.write_all(b"a line\n").expect("a request");
    }
    for stream in streams {
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("an answer");
        assert!(answer.starts_with("a line moved "), "{answer}");
    }
}

#[test]
fn an_image_of_threads_that_wait_in_answered_calls_changes_nothing() {
    let machine = Machine::take("floor-image");
    if are_possible(machine.folder()) {
        change_nothing_by_an_image(&machine, program::compiled(machine.folder(), "inline", &[]));
    }
}

#[test]
fn an_image_of_a_statically_linked_server_changes_nothing() {
    let machine = Machine::take("static-image");
    if are_possible(machine.folder()) {
        let flags = &["-static"];
        change_nothing_by_an_image(&machine, program::compiled(machine.folder(), "racy", flags));
    }
}

#[test]
fn a_statically_linked_server_is_equal_on_all_replicas() {
    let machine = Machine::take("floor-static");
    let program = program::compiled(machine.folder(), "inline", &["-static"]);
    assert_equal_between_stops(&machine, program);
}

#[test]
fn a_server_of_go_is_equal_on_all_replicas() {
    let machine = Machine::take("floor-go");
    let program = of_go(machine.folder(), "racy").unwrap_or_else(|why| panic!("{why}"));
    assert_equal_between_stops(&machine, program);
}

#[test]
fn sources_of_nondeterminism_are_agreed_or_told() {
    if !Hosts::are_possible() {
        return;
    }
    const ROUNDS: usize = 2;
    let probed = probes::run(ROUNDS).unwrap_or_else(|why| panic!("{why}"));
    let silent = probed.iter().filter(|one| one.is_silent(ROUNDS) && one.known().is_none());
    assert_eq!(silent.collect::<Vec<_>>(), Vec::<&Probed>::new());
    // Controls: most differ between two native runs.
    let natively = probed.iter().filter(|one| one.differs_natively).count();
    assert!(natively * 2 > probed.len(), "{natively} of {}", probed.len());
}

#[test]
fn racy_servers_in_other_languages_are_equal_on_all_replicas() {
    let languages = [Language::C11, Language::Cpp, Language::OpenMp, Language::Rust];
    let met = languages.map(|language| {
        compare(language, RUNS).unwrap_or_else(|why| panic!("{language:?}: {why}"))
    });
    // Few runs of a language may meet no other by chance.
    assert!(met.iter().sum::<usize>() > 0, "no thread met another: {met:?}");
}

#[test]
fn an_image_of_a_server_of_go_changes_nothing() {
    let machine = Machine::take("go-image");
    if are_possible(machine.folder()) {
        let program = of_go(machine.folder(), "racy").unwrap_or_else(|why| panic!("{why}"));
        change_nothing_by_an_image(&machine, program);
    }
}

#[test]
fn a_server_of_go_counts_on_through_the_end_of_its_primary() {
    if Hosts::are_possible() {
        let outcome = runtimes::run(Runtime::Go, 200).unwrap_or_else(|why| panic!("{why}"));
        println!("{outcome:?} (in full: ci/measure runtimes)");
    }
}

/// Takes an image of a backup's server while clients ask, and lets the backup return from it.
fn change_nothing_by_an_image(machine: &Machine, program: Program) {
    let mut group = Group::start(machine, program, 3, &["--strict"]);
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let others = group.ids().filter(|id| *id != backup);
    let connect = |id| {
        let stream = TcpStream::connect_timeout(&group.address(id), ANSWER).expect("a connection");
        stream.set_read_timeout(Some(ANSWER)).expect("a limit");
        stream
    };
    let streams: Vec<_> = others.map(connect).collect();
    ask_each(&streams);
    let (_, slot) = checkpoint(&group, backup).expect("a checkpoint");
    // The threads of the server that was held make their next call without a hook before it.
    ask_each(&streams);
    ask_each(&streams);
    drop(streams);
    group.await_settled();
    return_from(&mut group, backup, slot);
    group.await_serving();
    ask_all(&group.all_addresses(), CLIENTS, 2).expect("answers");
    group.await_settled();
}

#[test]
fn without_a_floor_the_same_server_answers_nobody_and_its_calls_are_named() {
    let machine = Machine::take("no-floor");
    let program = program::compiled(machine.folder(), "inline", &[]);
    let group = Group::start(&machine, program, 3, &[NO_FLOOR]);
    let answers = ask_all(&group.all_addresses(), CLIENTS, 1);
    assert!(answers.is_err(), "{answers:?}");
    eventually("a note", SOON, || {
        let status = group.status()?;
        let named = status.replicas.iter().all(|replica| {
            replica.notes.iter().any(|note| note.contains(BYPASSES) && note.contains("in inline"))
        });
        named.then_some(()).ok_or_else(|| status.brief())
    });
}

/// Asserts that a hundredth of the requests at most meet a call that the net catches, which costs
/// microseconds.
fn assert_uncaught(group: &Group, requests: u64, serve: impl FnOnce()) {
    for caught in caught_in(group, serve) {
        println!("{caught} calls were caught in {requests} requests");
        assert!(caught * 100 <= requests, "{caught} calls were caught in {requests} requests");
    }
}

#[test]
fn redis_and_civetweb_run_on_the_floor() {
    let load = Load { requests: 2000, connections: 8, keepalive: true };
    let machine = Machine::take("floor-redis");
    let options = ["--strict"];
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &options);
    // Calls that a server makes once precede.
    redis_benchmark(group.address(1), "set,get", load).unwrap();
    assert_uncaught(&group, 2 * load.requests as u64, || {
        redis_benchmark(group.address(1), "set,get", load).unwrap();
    });
    group.await_settled();
    drop(group);
    drop(machine);
    let machine = Machine::take("floor-web");
    let group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &options);
    ab(group.address(1), program::PAGE, load).unwrap();
    assert_uncaught(&group, load.requests as u64, || {
        ab(group.address(1), program::PAGE, load).unwrap();
    });
    group.await_settled();
}
