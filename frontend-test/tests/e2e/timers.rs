//! Timers that send signals or call functions expire at the same point of the schedule in every
//! replica.

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
/// How often a replica is stopped for a moment while clients ask.
const STOPS: u8 = 12;

#[test]
fn timers_expire_among_the_threads_of_all_replicas_at_the_same_clock() {
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
        assert_eq!(replica.uncovered_calls, 0, "a timer of its own expired outside the schedule");
    }
}

/// Returns whether each of the four timers has expired, as the answer says.
fn have_expired(answer: &str) -> bool {
    let (_, counts) = answer.split_once(", seen ").expect("counts of expirations");
    let mut counts = counts.split_whitespace();
    (0..4).all(|_| counts.next().is_some_and(|count| count != "0"))
}

#[test]
fn timers_that_no_hook_sees_expire_when_they_like() {
    let machine = Machine::take("timers-unseen");
    let program = program::compiled(machine.folder(), "timers", &["-DUNSEEN"]);
    let group = Group::start(&machine, program, 3, &[]);
    // A replica that differs may be stopped by the others in the middle: answers are not looked at.
    let found = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        if let Some(difference) = status.diverged() {
            return Ok(difference);
        }
        let uncovered = status.servers().any(|replica| replica.uncovered_calls != 0);
        uncovered.then(|| status.brief()).ok_or_else(|| status.brief())
    });
    println!("as it must be: {}", found.expect("unseen timers should have been found"));
}
