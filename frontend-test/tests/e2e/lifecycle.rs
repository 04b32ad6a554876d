//! Groups that stop and start, replicas that lose their data, and a command that is copied.

use std::fs;
use std::process::Command;

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};

#[test]
fn a_stopped_group_resumes_where_it_was() {
    let machine = Machine::take("restart");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    push(&group, 1, 1..=50);
    let identity = group.status().unwrap().group;
    group.stop();
    assert!(group.status().is_err() || group.status().unwrap().healthy(3).is_err());
    group.start_all();
    assert_eq!(group.status().unwrap().group, identity);
    push(&group, 2, 51..=100);
    group.await_settled();
    // All replicas end at once and without a warning, as in a power failure.
    for id in group.ids() {
        group.kill(id);
    }
    group.start_all();
    push(&group, 3, 101..=150);
    group.await_settled();
}

#[test]
fn a_replica_that_lost_its_data_gets_it_back_and_votes_again() {
    let machine = Machine::take("lost-data");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    push(&group, 1, 1..=50);
    let lost = group.primary();
    let kept = group.ids().find(|id| *id != lost).unwrap();
    group.kill(lost);
    fs::remove_dir_all(group.data(lost)).unwrap();
    push(&group, kept, 51..=100);
    group.start_replica(lost);
    group.await_serving();
    push(&group, lost, 101..=150);
    group.await_settled();
    // The replica votes again: with it and one more, the group serves without the third.
    let third = group.ids().find(|id| *id != lost && *id != kept).unwrap();
    group.kill(third);
    push(&group, lost, 151..=200);
    group.start_replica(third);
    group.await_serving();
    push(&group, third, 201..=210);
    group.await_settled();
}

#[test]
fn a_frozen_primary_is_replaced_and_is_a_backup_when_it_resumes() {
    let machine = Machine::take("hangs");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    push(&group, 1, 1..=50);
    let hung = group.primary();
    let other = group.ids().find(|id| *id != hung).unwrap();
    group.freeze(hung, true);
    push(&group, other, 51..=100);
    group.freeze(hung, false);
    group.await_serving();
    push(&group, hung, 101..=150);
    let settled = group.await_settled();
    assert_ne!(settled.primary(), Ok(hung), "the frozen replica is a backup now");
}

#[test]
fn a_copy_of_the_command_works() {
    let machine = Machine::take("copied");
    let copy = machine.folder().join("elsewhere");
    fs::create_dir(&copy).unwrap();
    let copy = copy.join("crane");
    fs::copy(crane_linux(), &copy).unwrap();
    let program = program::redis(machine.folder());
    let group = Group::prepare(&machine, program, 1, &[]);
    let mut child = Command::new(&copy)
        .args(group.arguments(1))
        .current_dir(&group.program().base)
        .env_clear()
        .spawn()
        .unwrap();
    let served = eventually("an answer", START, || {
        Connection::open(group.address(1), ANSWER).and_then(|mut c| c.call(&[b"PING"]))
    });
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(served, Reply::Simple("PONG".to_owned()));
}

#[test]
fn local_starts_three_replicas_and_stops_them() {
    let machine = Machine::take("local");
    let program = program::redis(machine.folder());
    let port = program.port;
    let mut child = Command::new(crane_linux())
        .args(["--local", "3", "--data-dir"])
        .arg(machine.folder().join("data"))
        .arg("--")
        .args(&program.command)
        .current_dir(&program.base)
        .spawn()
        .unwrap();
    for id in 1..=3u8 {
        eventually("an answer", START, || {
            Connection::open(([127, 0, 0, id], port).into(), ANSWER)
                .and_then(|mut c| c.call(&[b"PING"]))
        });
    }
    let stopped = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    eventually("the end of all replicas", START, || {
        child.try_wait().unwrap().ok_or("the command still runs")
    });
    for id in 1..=3u8 {
        let answer = Connection::open(([127, 0, 0, id], port).into(), ANSWER);
        assert!(answer.is_err(), "replica {id} still serves");
    }
}

/// Appends numbers through one replica, and checks the place of each.
fn push(group: &Group, id: u8, numbers: std::ops::RangeInclusive<i64>) {
    let mut connection = Connection::open(group.address(id), ANSWER).unwrap();
    for number in numbers {
        let text = number.to_string();
        let reply = connection.call(&[b"RPUSH", b"numbers", text.as_bytes()]).unwrap();
        assert_eq!(reply, Reply::Number(number));
    }
}
