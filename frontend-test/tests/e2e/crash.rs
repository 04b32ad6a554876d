//! Programs that crash: every replica ends at the same call and clock, and reports the cause.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{sleep, spawn};
use std::time::Duration;

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::wait::{ANSWER, START, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// A line at which the program does what cannot be replicated, which ends the group at once.
const REFUSED: &str = "fork\n";

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
    // Without a floor, no child takes part.
    for text in &end_with_options(REFUSED, &["--floor=never"]) {
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
    let entry = group.ids().find(|id| *id != late).unwrap();
    let log = end_group(group, entry, "exit\n", |group| {
        // It may still be on its way there.
        let server = eventually("the third incarnation", START, || {
            let status = group.status()?;
            let replica = status.replica(late);
            let pid = replica.server_pid.filter(|_| replica.incarnation == Some(3));
            pid.ok_or_else(|| status.brief())
        });
        let server = Pid::from_raw(server as i32).unwrap();
        kill_process(server, Signal::STOP).unwrap();
        spawn(move || {
            sleep(Duration::from_millis(700));
            kill_process(server, Signal::CONT).unwrap();
        });
    });
    let (late, others) = (log[usize::from(late) - 1].as_str(), log.len());
    assert_eq!(others, 3);
    assert!(late.contains("has crashed 3 times within a minute"), "{late}");
    assert!(!late.contains("is built again"), "{late}");
}

#[test]
fn a_witness_ends_with_the_program() {
    let machine = Machine::take("witness-ends");
    let program = program::compiled(machine.folder(), "mortal", &[]);
    let witness = machine.address(3).to_string();
    let group = Group::start(&machine, program, 3, &["--witness", &witness]);
    for text in &end_group(group, 1, "exit\n", |_| ()) {
        assert!(text.contains("has crashed 3 times within a minute"), "{text}");
    }
}

/// The crashes within a minute that stop a group.
const CRASHES: u32 = 3;

/// Sends the line that ends the program, and returns the log of each replica.
fn end_with(line: &str) -> Vec<String> {
    end_with_options(line, &[])
}

fn end_with_options(line: &str, options: &[&str]) -> Vec<String> {
    let machine = Machine::take("crash");
    let program = program::compiled(machine.folder(), "mortal", &[]);
    end_group(Group::start(&machine, program, 3, options), 1, line, |_| ())
}

/// Sends the line through replica `entry` until the group stops, and returns the log of each
/// replica. Calls `before` before the last time.
fn end_group(mut group: Group, entry: u8, line: &str, before: impl FnOnce(&Group)) -> Vec<String> {
    let mut before = Some(before);
    for round in 1..=CRASHES {
        let mut client = greet(&group, entry);
        if round == CRASHES
            && let Some(before) = before.take()
        {
            before(&group);
        }
        client.write_all(line.as_bytes()).unwrap();
        let rest = client.read(&mut [0; 6]);
        assert!(matches!(rest, Ok(0) | Err(_)), "the server answered after its end");
        if line == REFUSED {
            break;
        }
    }
    group
        .ids()
        .map(|id| {
            let status = group.await_exit(id);
            assert!(!status.success(), "replica {id} ended with {status}");
            group.log(id)
        })
        .collect()
}

/// Connects to the server, once it serves.
fn greet(group: &Group, id: u8) -> TcpStream {
    eventually("an answer", START, || {
        let mut client = TcpStream::connect(group.address(id))?;
        client.set_read_timeout(Some(ANSWER))?;
        client.write_all(b"hello\n")?;
        let mut answer = [0; 6];
        client.read_exact(&mut answer)?;
        assert_eq!(&answer, b"hello\n");
        Ok::<_, std::io::Error>(client)
    })
}
