//! Traces of simulated groups, checked against the rules of `specs/`.

mod made;
mod tamper;
mod tamper_script;

use crane_test::simulation::scenario;
use crane_test::specification::validate;

/// `ci/check-specs` runs all of them; without optimisation that takes minutes.
const SEEDS: u64 = if cfg!(debug_assertions) { 40 } else { 200 };

#[test]
fn what_simulated_groups_do_keeps_the_rules() {
    let mut events = 0;
    for seed in 0..SEEDS {
        let (members, trace) = scenario::trace(seed).expect("the range itself holds");
        let verdict = validate(members, &trace);
        assert_eq!(verdict, Ok(()), "seed {seed}, of {} events", trace.len());
        events += trace.len();
    }
    println!("{SEEDS} traces, {events} events");
}
