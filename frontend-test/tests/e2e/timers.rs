//! Timers that send signals or call functions, which must expire at the same point of the schedule
//! in every replica.

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::racy::{ask_all, ask_between_stops};
use crane_test::e2e::wait::{START, within};

const CLIENTS: usize = 6;
const REQUESTS: usize = 40;

#[test]
fn timers_expire_at_the_same_clock_on_all_replicas() {
    let machine = Machine::take("timers");
    let program = program::compiled(machine.folder(), "timers", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let answers = ask_between_stops(&group, CLIENTS, REQUESTS);
    let last = answers.iter().filter_map(|answers| answers.last());
    assert!(
        last.clone().count() > 0 && last.clone().all(|answer| have_expired(answer)),
        "{last:?}"
    );
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
    let group = Group::start(&machine, program, 3, &[NO_FLOOR]);
    // The others may stop a replica that differs during a request, so answers are ignored.
    let found = within(START, || {
        let _ = ask_all(&group.all_addresses(), CLIENTS, REQUESTS);
        let status = group.status()?;
        if let Some(difference) = status.difference() {
            return Ok(difference);
        }
        let uncovered = status.servers().any(|replica| replica.uncovered_calls.as_u64() > Some(0));
        uncovered.then(|| status.brief()).ok_or_else(|| status.brief())
    });
    println!("found, as expected: {}", found.expect("unseen timers are found"));
}
