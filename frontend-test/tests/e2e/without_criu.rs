//! Hosts without CRIU: the files behind a restart by order are their checkpoints.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::binary::told;
use crane_test::e2e::checkpoints::{await_start_from, checkpoint};
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};

const KEYS: usize = 200;

#[test]
fn a_restart_by_order_lets_logs_be_cut_and_a_wiped_replica_return() {
    let machine = Machine::take("without-criu");
    let command = machine.folder().join("crane-without-criu");
    let script =
        format!("#!/bin/sh\nCRANE_CRIU=/nowhere/criu exec '{}' \"$@\"\n", crane_linux().display());
    fs::write(&command, script).unwrap();
    fs::set_permissions(&command, Permissions::from_mode(0o755)).unwrap();
    let mut group = Group::prepare(&machine, program::redis(machine.folder()), 3, &[]);
    group.run_command(&command);
    group.start_all();
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let why = checkpoint(&group, backup).unwrap_err();
    assert!(why.contains("/nowhere/criu"), "there is a CRIU: {why}");
    let mut connection = Connection::open(group.address(primary), ANSWER).unwrap();
    for key in 0..KEYS {
        let reply = connection.call(&[b"SET", format!("key {key}").as_bytes(), b"value"]);
        assert_eq!(reply.unwrap(), Reply::Simple("OK".into()));
    }
    let mut order = vec!["restart".to_owned()];
    order.extend(group.reached());
    println!("{}", told(&order, &group.program().base).unwrap());
    let mut connection = eventually("the next incarnation", START, || {
        let mut connection = Connection::open(group.address(primary), ANSWER)?;
        connection.call(&[b"PING"]).map(|_| connection)
    });
    let mut count = 0;
    let mut ask = |times: i64| {
        for _ in 0..times {
            count += 1;
            assert_eq!(connection.call(&[b"INCR", b"count"]).unwrap(), Reply::Number(count));
        }
        count
    };
    let slot = eventually("proofs, and a cut of the logs", START, || {
        ask(100);
        let status = group.status()?;
        let all: Vec<_> = status.servers().collect();
        let proved: Vec<_> = all.iter().map(|it| it.checkpoint["proved"].as_u64()).collect();
        let fronts: Vec<_> = all.iter().map(|it| it.log["behind"].as_u64()).collect();
        match proved[0] {
            Some(slot) if [&proved, &fronts].iter().all(|it| **it == [Some(slot); 3]) => Ok(slot),
            _ => Err(format!("proved {proved:?}, cut behind {fronts:?}")),
        }
    });
    assert!(!group.log(backup).contains(" in place: "));
    group.kill(backup);
    fs::remove_dir_all(group.data(backup)).unwrap();
    ask(100);
    group.start_replica(backup);
    await_start_from(&group, backup, |from| from == slot);
    let mut fresh = eventually("the returned replica's clients", START, || {
        Connection::open(group.address(backup), ANSWER)
    });
    assert_eq!(fresh.call(&[b"DBSIZE"]).unwrap(), Reply::Number(KEYS as i64 + 1));
    let count = ask(1).to_string();
    assert_eq!(fresh.call(&[b"GET", b"count"]).unwrap(), Reply::Bulk(Some(count.into_bytes())));
    // Alone, it starts from its own copy.
    let server = group.status().unwrap().replica(backup).server_pid.expect("a server");
    crane_test::e2e::group::kill(server).unwrap();
    let status = await_start_from(&group, backup, |from| from == slot);
    assert_eq!(status.replica(backup).log["behind"], slot);
    drop((fresh, connection));
    group.await_settled();
}
