//! Programs that crash: every replica ends at the same call and clock, and reports the cause.

use std::io::{Read, Write};
use std::net::TcpStream;

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::wait::ANSWER;

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

/// Sends the line that ends the program, and returns the log of each replica.
fn end_with(line: &str) -> Vec<String> {
    let machine = Machine::take("crash");
    let program = program::compiled(machine.folder(), "mortal", &[]);
    let mut group = Group::start(&machine, program, 3, &[]);
    let mut client = TcpStream::connect(group.address(1)).unwrap();
    client.set_read_timeout(Some(ANSWER)).unwrap();
    client.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello\n");
    client.write_all(line.as_bytes()).unwrap();
    let rest = client.read(&mut answer);
    assert!(matches!(rest, Ok(0) | Err(_)), "the server answered after its end");
    group
        .ids()
        .map(|id| {
            let status = group.await_exit(id);
            assert!(!status.success(), "replica {id} ended with {status}");
            group.log(id)
        })
        .collect()
}
