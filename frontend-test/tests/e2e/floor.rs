//! `--floor`: calls without a function of libc's are ordered and answered as by the hooks.

use std::collections::BTreeSet;

use crane_test::e2e::alarm::{BYPASSES, OnFloor, stick_on_floor};
use crane_test::e2e::group::Group;
use crane_test::e2e::load::{Load, ab, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::programs::{self, Expect};
use crane_test::e2e::racy::{ask_all, ask_between_stops};
use crane_test::e2e::wait::{SOON, eventually};

const CLIENTS: usize = 6;
const REQUESTS: usize = 40;

/// One in this number of stuck programs runs here.
const ONE_IN: usize = 3;

#[test]
fn programs_that_wait_without_libc_hold_up_no_other() {
    let all = programs::stuck();
    let waiting: Vec<_> = all.iter().filter(|stuck| stuck.expect == Expect::InKernel).collect();
    let (mut works, mut named) = (BTreeSet::new(), BTreeSet::new());
    for stuck in waiting.into_iter().step_by(ONE_IN) {
        let outcome = stick_on_floor(stuck).unwrap_or_else(|why| panic!("{why}"));
        println!("{}: {outcome:?}", stuck.name);
        match outcome {
            OnFloor::Works => works.insert(stuck.name.as_str()),
            OnFloor::Named(_) => named.insert(stuck.name.as_str()),
        };
    }
    // Of all 50, 40 work.
    assert!(works.len() >= 3 * named.len(), "{works:?}; {named:?}");
}

#[test]
fn calls_by_instructions_of_the_program_are_equal_on_all_replicas() {
    let machine = Machine::take("floor-inline");
    let program = program::compiled(machine.folder(), "inline", &[]);
    let group = Group::start(&machine, program, 3, &["--floor", "--strict"]);
    let answers = ask_between_stops(&group, CLIENTS, REQUESTS);
    let mixed = answers.iter().flatten().any(|answer| !answer.contains(" moved 299 to "));
    assert!(mixed, "no request met another: {answers:?}");
}

#[test]
fn without_a_floor_the_same_server_answers_nobody_and_its_calls_are_named() {
    let machine = Machine::take("no-floor");
    let program = program::compiled(machine.folder(), "inline", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let answers = ask_all(&group.all_addresses(), CLIENTS, 1);
    assert!(answers.is_err(), "{answers:?}");
    eventually("a note", SOON, || {
        let status = group.status()?;
        let named = status.replicas.iter().all(|replica| {
            replica.notes.iter().any(|note| note.contains(BYPASSES) && note.contains("in inline"))
        });
        named.then_some(()).ok_or_else(|| status.brief())
    });
}

#[test]
fn redis_and_civetweb_run_on_the_floor() {
    let load = Load { requests: 2000, connections: 8, keepalive: true };
    let machine = Machine::take("floor-redis");
    let options = ["--floor", "--strict"];
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &options);
    redis_benchmark(group.address(1), "set,get", load).unwrap();
    group.await_settled();
    drop(group);
    drop(machine);
    let machine = Machine::take("floor-web");
    let group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &options);
    ab(group.address(1), program::PAGE, load).unwrap();
    group.await_settled();
}
