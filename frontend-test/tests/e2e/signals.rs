//! Signals that a program sends to itself, or that an operator orders, which must reach its threads
//! at the same point of the schedule in every replica.

use std::process::{Command, Output};
use std::thread::scope;

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::racy::{ask_all, ask_between_stops};
use crane_test::e2e::resp::Connection;
use crane_test::e2e::status::Status;
use crane_test::e2e::wait::{START, within};

const CLIENTS: usize = 6;
const REQUESTS: usize = 40;

#[test]
fn signals_reach_the_threads_of_all_replicas_at_the_same_clock() {
    let machine = Machine::take("signals");
    let program = program::compiled(machine.folder(), "signals", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let answers = ask_between_stops(&group, CLIENTS, REQUESTS);
    assert_eq!(answers.len(), CLIENTS);
}

#[test]
fn signals_that_bypass_the_hooks_make_replicas_differ() {
    let machine = Machine::take("signals-unseen");
    let program = program::compiled(machine.folder(), "signals", &["-DUNSEEN"]);
    let group = Group::start(&machine, program, 3, &[NO_FLOOR]);
    // The others may stop a replica that differs during a request, so answers are ignored.
    let differs = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        status.difference().ok_or_else(|| status.brief())
    });
    let difference = differs.expect("unseen signals make replicas differ");
    println!("replicas differ, as expected: {difference}");
}

/// The number of signals that are ordered while clients ask.
const ORDERED: usize = 12;

#[test]
fn signals_by_order_reach_all_replicas_at_the_same_clock() {
    let machine = Machine::take("signals-ordered");
    let program = program::compiled(machine.folder(), "signals", &[]);
    let mut group = Group::start(&machine, program, 3, &[]);
    let count = |status: &Status| {
        let events = status.servers().map(|replica| {
            let events = replica.events.iter().map(ToString::to_string);
            events.filter(|event| event.contains("\"signal\":\"SIGUSR2\"")).count()
        });
        events.collect::<Vec<_>>()
    };
    let ask = |group: &Group| {
        let (answers, told) = scope(|threads| {
            let clients = threads.spawn(|| ask_all(&group.all_addresses(), CLIENTS, REQUESTS));
            let told: Vec<_> = (0..ORDERED).map(|_| order(group, "USR2")).collect();
            (clients.join().expect("the clients"), told)
        });
        for told in told {
            let text = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(told.status.success() && text.contains("SIGUSR2 is sent"), "{told:?}");
        }
        assert_eq!(answers.expect("an answer to each request").len(), CLIENTS);
    };
    ask(&group);
    let settled = group.await_settled();
    assert_eq!(count(&settled), [ORDERED; 3]);
    for replica in settled.servers() {
        assert_eq!(replica.uncovered_calls, 0, "replica {}: {:?}", replica.id, replica.notes);
    }
    // One that replays them gets them at the same calls.
    let killed = group.primary();
    group.kill(killed);
    group.start_replica(killed);
    group.await_serving();
    ask(&group);
    group.await_settled();
}

#[test]
fn signals_that_a_person_sends_to_each_server_make_replicas_differ() {
    let machine = Machine::take("signals-by-hand");
    let program = program::compiled(machine.folder(), "signals", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let differs = within(START, || {
        scope(|threads| {
            let clients = threads.spawn(|| ask_all(&group.all_addresses(), CLIENTS, REQUESTS));
            let pids = group.status()?.servers().filter_map(|it| it.server_pid).collect::<Vec<_>>();
            let pids = pids.iter().map(ToString::to_string);
            // The others may stop a replica that differs meanwhile.
            let _ = Command::new("kill").arg("-USR2").args(pids).output();
            let _ = clients.join();
            Ok::<_, String>(())
        })?;
        let status = group.status()?;
        status.difference().ok_or_else(|| status.brief())
    });
    println!("replicas differ, as expected: {}", differs.expect("they differ"));
}

#[test]
fn redis_that_is_told_to_end_ends_everywhere_with_all_that_it_has_acknowledged() {
    let Some((machine, hosts, _visit)) = Hosts::take("signals-end", 3) else { return };
    let mut group = Group::start_on(&machine, &hosts, program::redis_on_hosts(machine.folder()));
    let mut client = Connection::open(group.address(1), START).expect("a client");
    for number in 0..100 {
        let number = number.to_string();
        client.call(&[b"SET", b"key", number.as_bytes()]).expect("an answer");
    }
    drop(client);
    let told = order(&group, "sigterm");
    // The group may have ended before the answer came.
    let is_late = String::from_utf8_lossy(&told.stderr).contains("is the group running");
    assert!(told.status.success() || is_late, "{told:?}");
    for id in 1..=3 {
        group.await_exit(id);
        let log = group.log(id);
        assert!(log.contains("the program has ended by itself"), "{log}");
        let file = group.file(id, "appendonlydir/appendonly.aof.1.incr.aof").expect("the file");
        assert!(String::from_utf8_lossy(&file).contains("\r\n99\r\n"), "replica {id}");
    }
}

#[test]
fn what_cannot_be_sent_is_told() {
    let machine = Machine::take("signals-refused");
    let program = program::compiled(machine.folder(), "signals", &[]);
    let group = Group::start(&machine, program, 1, &[]);
    for signal in ["KILL", "SEGV", "33", "NOSUCH"] {
        let told = order(&group, signal);
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(told.status.code(), Some(2), "{signal}: {text}");
        assert!(text.contains("no signal that can be sent"), "{signal}: {text}");
    }
    // Ignored, as natively.
    assert!(order(&group, "WINCH").status.success());
    assert_eq!(ask_all(&group.all_addresses(), 1, 3).expect("answers").len(), 1);
}

/// Orders a signal.
fn order(group: &Group, signal: &str) -> Output {
    let mut command = Command::new(crane_linux());
    command.args(["signal", signal]).args(group.reached()).output().expect("crane-linux")
}
