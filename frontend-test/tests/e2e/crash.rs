//! Programs that crash: every replica ends at the same call and clock, and reports the cause.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::wait::ANSWER;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_signal_is_reported_on_all_replicas() {
    let log = end_with("abort\n");
    for text in &log {
        let named = text.contains("SIGABRT") || text.contains("signal 6");
        assert!(named, "the signal is not named:\n{text}");
    }
}

#[test]
fn an_exit_status_is_reported_on_all_replicas() {
    for text in &end_with("exit\n") {
        assert!(text.contains("status 3"), "the status is not named:\n{text}");
    }
}

#[test]
fn the_reason_that_the_library_gives_is_reported_on_all_replicas() {
    for text in &end_with("fork\n") {
        let event = text.lines().find(|line| line.contains("cannot run replicated"));
        let event = event.unwrap_or_else(|| panic!("no event:\n{text}"));
        let named = event.contains("servers that fork to serve are not supported yet");
        assert!(named, "the reason is not named: {event}");
    }
}

#[test]
fn replicas_wait_for_a_server_that_reaches_the_end_late() {
    let machine = Machine::take("late");
    let program = program::compiled(machine.folder(), "mortal", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let late = group.ids().find(|id| *id != group.primary()).unwrap();
    let server = group.status().unwrap().replica(late).server_pid.unwrap();
    let server = Pid::from_raw(server as i32).unwrap();
    kill_process(server, Signal::STOP).unwrap();
    let entry = group.ids().find(|id| *id != late).unwrap();
    let log = end_group(group, entry, "exit\n", || {
        sleep(Duration::from_millis(700));
        kill_process(server, Signal::CONT).unwrap();
    });
    let (late, others) = (log[usize::from(late) - 1].as_str(), log.len());
    assert_eq!(others, 3);
    assert!(late.contains("the program has ended by itself"), "{late}");
    assert!(!late.contains("is built again"), "{late}");
}

#[test]
fn a_witness_ends_with_the_program() {
    let machine = Machine::take("witness-ends");
    let program = program::compiled(machine.folder(), "mortal", &[]);
    let witness = machine.address(3).to_string();
    let group = Group::start(&machine, program, 3, &["--witness", &witness]);
    for text in &end_group(group, 1, "exit\n", || ()) {
        assert!(text.contains("status 3 at clock"), "{text}");
    }
}

/// Sends the line that ends the program, and returns the log of each replica.
fn end_with(line: &str) -> Vec<String> {
    let machine = Machine::take("crash");
    let program = program::compiled(machine.folder(), "mortal", &[]);
    end_group(Group::start(&machine, program, 3, &[]), 1, line, || ())
}

/// Sends the line through replica `entry`, calls `then`, and returns the log of each replica.
fn end_group(mut group: Group, entry: u8, line: &str, then: impl FnOnce()) -> Vec<String> {
    let mut client = TcpStream::connect(group.address(entry)).unwrap();
    client.set_read_timeout(Some(ANSWER)).unwrap();
    client.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
    client.write_all(line.as_bytes()).unwrap();
    let rest = client.read(&mut answer);
    assert!(matches!(rest, Ok(0) | Err(_)), "the server answered after its end");
    then();
    group
        .ids()
        .map(|id| {
            let status = group.await_exit(id);
            assert!(!status.success(), "replica {id} ended with {status}");
            group.log(id)
        })
        .collect()
}
