//! Calls that bypass the hooks: crane names them, and refuses them with `--strict`. Packaged
//! servers make none.

use crane_test::e2e::alarm::{BYPASSES, NO_FLOOR, REPORTED_WITHIN, stick, stick_strictly};
use crane_test::e2e::group::Group;
use crane_test::e2e::http::Connection;
use crane_test::e2e::load::{Load, ab, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::programs::{self, Expect, Stuck};
use crane_test::e2e::wait::ANSWER;

fn bypasses() -> Vec<Stuck> {
    let all: Vec<_> =
        programs::stuck().into_iter().filter(|stuck| stuck.expect == Expect::Bypass).collect();
    assert!(all.len() >= 7, "{all:?}");
    all
}

#[test]
fn calls_that_bypass_the_hooks_are_named_with_symbol_and_library() {
    for stuck in bypasses() {
        let reported = stick(&stuck).unwrap_or_else(|why| panic!("{why}"));
        println!("{reported:?}");
        let after = reported.after.expect("the bypass is reported");
        assert!(after < REPORTED_WITHIN, "{}: {after:?}", stuck.name);
    }
}

#[test]
fn a_strict_replica_ends_with_the_name_of_the_call() {
    for stuck in bypasses() {
        let reason = stick_strictly(&stuck).unwrap_or_else(|why| panic!("{why}"));
        println!("{reason}");
    }
}

/// Asserts that all replicas run and that no call has bypassed the hooks.
fn assert_none(group: &Group) {
    let status = group.await_settled();
    for replica in &status.replicas {
        let unseen = replica.notes.iter().find(|note| note.contains(BYPASSES));
        assert_eq!(unseen, None, "replica {}", replica.id);
        assert_eq!(replica.uncovered_calls, 0, "replica {}", replica.id);
    }
}

#[test]
fn redis_and_civetweb_run_under_strict_without_a_floor() {
    let load = Load { requests: 2000, connections: 8, keepalive: true };
    let options = ["--strict", NO_FLOOR];
    let machine = Machine::take("strict-redis");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &options);
    redis_benchmark(group.address(1), "set,get", load).unwrap();
    assert_none(&group);
    drop(group);
    drop(machine);
    let machine = Machine::take("strict-web");
    let group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &options);
    ab(group.address(1), program::PAGE, load).unwrap();
    assert_none(&group);
}

#[test]
fn python_runs_under_strict() {
    let machine = Machine::take("strict-python");
    let group = Group::start(&machine, program::python(machine.folder()), 3, &["--strict"]);
    for id in group.ids() {
        let mut connection = Connection::open(group.address(id), ANSWER).unwrap();
        assert_eq!(connection.post("/", &format!("post {id}")).unwrap().status, 200);
    }
    assert_none(&group);
}
