//! The control: a test that shows that the comparison of replicas can fail.
//!
//! The answers of a threaded server depend on how its threads interleave. Its replicas have equal
//! hashes when the script admits ops, and different hashes when ops are admitted as they arrive.

use crane_test::e2e::binary::crane_linux_on_arrival;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::racy::ask_all;
use crane_test::e2e::wait::{START, within};

const CLIENTS: usize = 9;
const REQUESTS: usize = 60;

#[test]
fn a_racy_server_is_equal_on_all_replicas_when_the_script_admits_ops() {
    let machine = Machine::take("control-script");
    let program = program::compiled(machine.folder(), "racy", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    ask_all(&group.all_addresses(), CLIENTS, REQUESTS).unwrap();
    group.await_settled();
}

#[test]
fn a_racy_server_differs_when_ops_are_admitted_on_arrival() {
    let machine = Machine::take("control-arrival");
    let program = program::compiled(machine.folder(), "racy", &[]);
    let mut group = Group::prepare(&machine, program, 3, &[]);
    group.run_command(crane_linux_on_arrival());
    group.start_all();
    // The others may stop a replica that differs during a request, so answers are ignored.
    let differs = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        status.difference().ok_or_else(|| status.brief())
    });
    let difference = differs.expect("admission on arrival makes replicas differ");
    println!("replicas differ, as expected: {difference}");
}
