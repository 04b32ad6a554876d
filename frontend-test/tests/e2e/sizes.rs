//! Groups of five and seven replicas, which must do the same as a group of three.

use std::thread::scope;

use crane_test::e2e::group::Group;
use crane_test::e2e::kills;
use crane_test::e2e::load::{Load, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::steady;
use crane_test::e2e::wait::ANSWER;

#[test]
fn five_and_seven_replicas_serve_agree_and_survive_their_primary() {
    for count in [5, 7] {
        let machine = Machine::take("sizes");
        let mut group = Group::start(&machine, program::redis(machine.folder()), count, &[]);
        scope(|threads| {
            for address in group.all_addresses() {
                let load = Load { requests: 1000, connections: 4, keepalive: true };
                threads.spawn(move || redis_benchmark(address, "set,get", load).unwrap());
            }
        });
        group.await_settled();
        let outcome = kills::run(&mut group, 2, |line| println!("{count} replicas: {line}"));
        assert_eq!(outcome.survivors, 2, "connections through survivors that answered");
    }
}

#[test]
fn seven_replicas_serve_without_three() {
    let machine = Machine::take("minority");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 7, &[]);
    let mut dead = Vec::new();
    for round in 1..=3 {
        let primary = group.primary();
        group.kill(primary);
        dead.push(primary);
        let up = group.ids().find(|id| !dead.contains(id)).expect("a survivor");
        let mut connection = Connection::open(group.address(up), ANSWER).unwrap();
        assert_eq!(connection.call(&[b"INCR", b"rounds"]).unwrap(), Reply::Number(round));
    }
    for id in dead {
        group.start_replica(id);
    }
    group.await_serving();
    group.await_settled();
}

/// Runs the load for 8 s. `ci/measure steady` runs it for ten minutes.
#[test]
fn full_load_changes_no_primary() {
    let outcome = steady::run(std::time::Duration::from_secs(8));
    println!("{outcome:?} (in full: ci/measure steady)");
    assert_eq!(outcome.primaries.len(), 1, "{:?}", outcome.primaries);
}
