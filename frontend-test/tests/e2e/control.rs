//! The control: the comparison of replicas can fail.
//!
//! A threaded server whose answers depend on how its threads interleave gives equal hashes when it
//! is admitted by the script, and different ones when ops are admitted as they arrive.

use crane_test::e2e::binary::crane_linux_on_arrival;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::racy::ask_all;
use crane_test::e2e::wait::{START, within};

const CLIENTS: usize = 9;
const REQUESTS: usize = 60;

#[test]
fn admitted_by_the_script_a_racy_server_is_the_same_everywhere() {
    let machine = Machine::take("control-script");
    let program = program::compiled(machine.folder(), "racy", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    ask_all(&group.all_addresses(), CLIENTS, REQUESTS).unwrap();
    group.await_settled();
}

#[test]
fn admitted_on_arrival_a_racy_server_differs() {
    let machine = Machine::take("control-arrival");
    let program = program::compiled(machine.folder(), "racy", &[]);
    let mut group = Group::prepare(&machine, program, 3, &[]);
    group.run_command(crane_linux_on_arrival());
    group.start_all();
    // A replica that differs may be stopped by the others in the middle: answers are not looked at.
    let differs = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        status.diverged().ok_or_else(|| status.brief())
    });
    let difference = differs.expect("admission on arrival should have shown");
    println!("as it must be: {difference}");
}
