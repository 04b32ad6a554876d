//! Traces of simulated groups and traces made by hand, checked against the rules of `specs/`.

mod made;
mod tamper;
mod tamper_script;

use crane_test::simulation::scenario;
use crane_test::specification::validate;

/// The number of seeds. `ci/check-specs` runs all, which takes minutes without optimisation.
const SEEDS: u64 = if cfg!(debug_assertions) { 40 } else { 200 };

#[test]
fn traces_of_simulated_groups_keep_the_rules() {
    let mut events = 0;
    for seed in 0..SEEDS {
        let (members, trace) = scenario::trace(seed).expect("the simulation itself succeeds");
        let verdict = validate(members, &trace);
        assert_eq!(verdict, Ok(()), "seed {seed}, of {} events", trace.len());
        events += trace.len();
    }
    println!("{SEEDS} traces, {events} events");
}
