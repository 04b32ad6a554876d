//! Signals that a program sends to itself, which must reach its threads at the same point of the
//! schedule in every replica.

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::racy::{ask_all, ask_between_stops};
use crane_test::e2e::wait::{START, within};

const CLIENTS: usize = 6;
const REQUESTS: usize = 40;

#[test]
fn signals_reach_the_threads_of_all_replicas_at_the_same_clock() {
    let machine = Machine::take("signals");
    let program = program::compiled(machine.folder(), "signals", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let answers = ask_between_stops(&group, CLIENTS, REQUESTS);
    assert_eq!(answers.len(), CLIENTS);
}

#[test]
fn signals_that_bypass_the_hooks_make_replicas_differ() {
    let machine = Machine::take("signals-unseen");
    let program = program::compiled(machine.folder(), "signals", &["-DUNSEEN"]);
    let group = Group::start(&machine, program, 3, &[NO_FLOOR]);
    // The others may stop a replica that differs during a request, so answers are ignored.
    let differs = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        status.difference().ok_or_else(|| status.brief())
    });
    let difference = differs.expect("unseen signals make replicas differ");
    println!("replicas differ, as expected: {difference}");
}
