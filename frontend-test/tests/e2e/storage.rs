//! Storage that goes back, acts that lower redundancy, disks that hang under load, and clocks that
//! are off.

use std::time::Duration;

use crane_test::e2e::binary::told;
use crane_test::e2e::clocks;
use crane_test::e2e::flood;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::old_copy;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};

#[test]
fn an_old_copy_that_is_put_back_is_told_and_loses_no_write() {
    // The fifth round starts a copy behind the same name.
    old_copy::run(5, |line| println!("{line}"));
}

#[test]
fn a_hung_disk_lets_no_log_grow_and_no_daemon() {
    let Some(flooded) = flood::run(64) else { return };
    assert_eq!(flood::bars(&flooded), Vec::<String>::new(), "{flooded:?}");
}

#[test]
fn one_clock_that_is_off_moves_no_time_of_the_server() {
    for (name, fault) in clocks::FAULTS {
        let seen = clocks::run(fault, Duration::from_secs(4));
        assert_eq!(clocks::bars(name, &seen), Vec::<String>::new());
    }
}

#[test]
fn a_member_is_not_removed_while_the_rest_would_be_no_quorum() {
    let machine = Machine::take("redundancy");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let primary = group.primary();
    let backups: Vec<u8> = group.ids().filter(|id| *id != primary).collect();
    group.kill(backups[0]);
    let why = group.member(&["remove", &backups[1].to_string()]).expect_err("a refusal");
    let number = backups[0];
    for word in ["of the 2 voters that would be left, 1 answer", &format!("start replica {number}")]
    {
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(counted(&group, primary), 1, "the group serves");
    // The dead one may go: the two others are a quorum of themselves.
    group.member(&["remove", &number.to_string()]).expect("a removal");
    group.now_has(&[primary, backups[1]]);
    assert_eq!(counted(&group, backups[1]), 2);
    group.await_settled();
}

#[test]
fn the_log_of_a_witness_is_cut_only_if_the_others_have_it() {
    let machine = Machine::take("witness-cut");
    let mut group = Group::prepare(&machine, program::redis(machine.folder()), 3, &[]);
    let witness = group.peer_address(3).ip().to_string();
    group.options_mut().extend(["--witness".to_string(), witness]);
    group.start_all();
    for count in 1..=100 {
        assert_eq!(counted(&group, 1), count);
    }
    group.await_settled();
    group.stop_replica(3);
    let cut = |group: &Group| {
        let data = group.data(3).display().to_string();
        let words = ["log", "cut", &data, "--behind", "50"].map(str::to_owned);
        told(&[&words[..], &group.known()].concat(), machine.folder())
    };
    group.stop_replica(2);
    let why = cut(&group).expect_err("a refusal");
    for word in ["the log is not cut: 2 of the other voters must have slot 50", "does not answer"] {
        assert!(why.contains(word), "{why}");
    }
    group.start_replica(2);
    eventually("a cut", START, || cut(&group));
    group.start_replica(3);
    group.await_serving();
    assert_eq!(counted(&group, 2), 101);
}

fn counted(group: &Group, id: u8) -> i64 {
    let open = || Connection::open(group.address(id), ANSWER);
    let mut connection = eventually("a connection", START, open);
    match connection.call(&[b"INCR", b"count"]).expect("an answer") {
        Reply::Number(count) => count,
        other => panic!("{other:?}"),
    }
}
