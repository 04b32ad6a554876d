//! Timers that send signals or call functions, which must expire at the same point of the schedule
//! in every replica.

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
fn timers_expire_at_the_same_clock_on_all_replicas() {
    let machine = Machine::take("timers");
    let program = program::compiled(machine.folder(), "timers", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let answers = scope(|threads| {
        let clients = threads.spawn(|| ask_all(&group.all_addresses(), CLIENTS, REQUESTS));
        for stop in 0..STOPS {
            sleep(Duration::from_millis(40));
            let frozen = freeze(&group, stop % 3 + 1);
            sleep(Duration::from_millis(20));
            drop(frozen);
        }
        clients.join().expect("the clients").expect("an answer to each request")
    });
    let last = answers.iter().filter_map(|answers| answers.last());
    assert!(
        last.clone().count() > 0 && last.clone().all(|answer| have_expired(answer)),
        "{last:?}"
    );
    group.await_settled();
    let status = group.status().expect("a status");
    for replica in status.servers() {
        assert_eq!(
            replica.uncovered_calls, 0,
            "a timer of the server expired outside of the schedule"
        );
    }
}

/// Returns whether each of the four timers has expired, according to an answer.
fn have_expired(answer: &str) -> bool {
    let (_, counts) = answer.split_once(", seen ").expect("counts of expirations");
    let mut counts = counts.split_whitespace();
    (0..4).all(|_| counts.next().is_some_and(|count| count != "0"))
}

#[test]
fn timers_that_bypass_the_hooks_are_counted_or_make_replicas_differ() {
    let machine = Machine::take("timers-unseen");
    let program = program::compiled(machine.folder(), "timers", &["-DUNSEEN"]);
    let group = Group::start(&machine, program, 3, &[]);
    // The others may stop a replica that differs during a request, so answers are ignored.
    let found = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        if let Some(difference) = status.diverged() {
            return Ok(difference);
        }
        let uncovered = status.servers().any(|replica| replica.uncovered_calls != 0);
        uncovered.then(|| status.brief()).ok_or_else(|| status.brief())
    });
    println!("found, as expected: {}", found.expect("unseen timers are found"));
}
