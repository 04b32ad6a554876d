//! Signals that a program sends to itself, which must reach its threads at the same point of the
//! schedule in every replica.

use std::thread::{scope, sleep};
use std::time::Duration;

use crane_test::e2e::frozen::freeze;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::racy::ask_all;
use crane_test::e2e::wait::{START, within};

const CLIENTS: usize = 6;
const REQUESTS: usize = 40;
/// How often a replica is frozen for a moment during the requests.
const STOPS: u8 = 12;

#[test]
fn signals_reach_the_threads_of_all_replicas_at_the_same_clock() {
    let machine = Machine::take("signals");
    let program = program::compiled(machine.folder(), "signals", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    scope(|threads| {
        let clients = threads.spawn(|| ask_all(&group.all_addresses(), CLIENTS, REQUESTS));
        for stop in 0..STOPS {
            sleep(Duration::from_millis(40));
            let frozen = freeze(&group, stop % 3 + 1);
            sleep(Duration::from_millis(20));
            drop(frozen);
        }
        clients.join().expect("the clients").expect("an answer to each request");
    });
    group.await_settled();
    let status = group.status().expect("a status");
    for replica in status.servers() {
        assert_eq!(replica.uncovered_calls, 0, "a server's own signal counted as uncovered");
    }
}

#[test]
fn signals_that_bypass_the_hooks_make_replicas_differ() {
    let machine = Machine::take("signals-unseen");
    let program = program::compiled(machine.folder(), "signals", &["-DUNSEEN"]);
    let group = Group::start(&machine, program, 3, &[]);
    // The others may stop a replica that differs during a request, so answers are ignored.
    let differs = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        status.diverged().ok_or_else(|| status.brief())
    });
    let difference = differs.expect("unseen signals make replicas differ");
    println!("replicas differ, as expected: {difference}");
}
