//! Replicas that begin where the log of the others is deleted: a new member, one in the place of
//! another, a witness that was away.

use std::fs;

use crane_test::e2e::binary::told;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};

/// Counts on, through one replica, until the group serves there. Returns the number.
fn count(group: &Group, id: u8) -> i64 {
    eventually(&format!("an answer of replica {id}"), START, || {
        let mut connection = Connection::open(group.address(id), ANSWER)?;
        match connection.call(&[b"INCR", b"count"])? {
            Reply::Number(number) => Ok(number),
            other => Err(std::io::Error::other(format!("{other:?}"))),
        }
    })
}

/// Restarts the server by order, and lets clients ask until the logs of all servers begin behind
/// that. Returns the slot.
fn cut(group: &Group) -> u64 {
    let before = group.status().unwrap().replica(1).checkpoint["newest"].as_u64();
    let mut order = vec!["restart".to_owned()];
    order.extend(group.reached());
    told(&order, &group.program().base).unwrap();
    eventually("a cut of the logs", START, || {
        count(group, 1);
        let status = group.status()?;
        let newest = status.replica(1).checkpoint["newest"].as_u64();
        let fronts: Vec<_> = status.servers().map(|it| it.log["behind"].as_u64()).collect();
        let are_cut = newest > before && fronts.iter().all(|front| *front == newest);
        newest.filter(|_| are_cut).ok_or_else(|| format!("{newest:?}, cut behind {fronts:?}"))
    })
}

#[test]
fn new_members_begin_behind_the_cut() {
    let machine = Machine::take("new-behind-cut");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let slot = cut(&group);
    group.start_newcomer(4);
    group.member(&["add", &group.peer_address(4).to_string()]).expect("replica 4 is added");
    group.now_has(&[1, 2, 3, 4]);
    group.await_serving();
    let before = count(&group, 1);
    assert_eq!(count(&group, 4), before + 1);
    let replica = group.status().unwrap().replica(4).clone();
    assert_eq!(replica.checkpoint["started_from"], slot);
    assert_eq!(replica.log["behind"], slot);

    // Another one takes the place of the primary.
    let primary = group.primary();
    group.replace(primary, 5);
    group.await_serving();
    assert_eq!(count(&group, 5), before + 2);
    assert!(group.log(5).contains(" bytes of files, for which "), "{}", group.log(5));
    group.await_settled();
}

#[test]
fn a_witness_that_was_away_or_lost_everything_votes_behind_the_cut() {
    let machine = Machine::take("witness-behind-cut");
    let witness = machine.address(3).to_string();
    let program = program::redis(machine.folder());
    let mut group = Group::start(&machine, program, 3, &["--witness", &witness]);
    count(&group, 1);
    group.kill(3);
    let slot = cut(&group);
    for wiped in [false, true] {
        if wiped {
            group.kill(3);
            fs::remove_dir_all(group.data(3)).unwrap();
        }
        group.start_replica(3);
        group.await_serving();
        eventually("the log of the witness", START, || {
            let front = group.status()?.replica(3).log["behind"].as_u64();
            if front == Some(slot) { Ok(()) } else { Err(format!("behind {front:?}")) }
        });
        // The group needs its vote while a server is down.
        let primary = group.primary();
        let before = count(&group, 3 - primary);
        group.kill(primary);
        assert_eq!(count(&group, 3 - primary), before + 1);
        group.start_replica(primary);
        group.await_serving();
        group.await_settled();
    }
}
