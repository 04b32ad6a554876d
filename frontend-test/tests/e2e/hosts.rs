//! Faults on three hosts in network namespaces: short forms of `ci/measure failover` and `linear`.

use crane_test::e2e::failover::{self, Fault};
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::linear;
use crane_test::e2e::wait::SOON;

/// `ci/measure failover` does 50 kills, 10 freezes, 10 cuts, and holds the times against their bars.
const ROUNDS: [(Fault, usize); 3] = [(Fault::Kill, 4), (Fault::Freeze, 2), (Fault::Cut, 2)];
/// `ci/measure linear` makes 20 histories of 10 000.
const OPERATIONS: usize = 3000;

#[test]
fn a_dead_frozen_or_cut_off_primary_is_replaced_and_does_no_harm() {
    if let Err(why) = Hosts::possible() {
        println!("not tried, no network namespaces here: {why}");
        return;
    }
    for (fault, rounds) in ROUNDS {
        let outcome = failover::fresh(fault, rounds, |line| println!("{line}"));
        println!("{} (in full: ci/measure failover)", outcome.summary(fault));
        let (all, lived) = outcome.connections;
        assert_eq!(lived, all, "{fault:?}: connections through survivors");
        assert!(outcome.worst() < SOON, "{fault:?}: {:?}", outcome.worst());
    }
}

#[test]
fn a_history_with_faults_is_linearizable_and_a_planted_stale_read_is_found() {
    let seed = std::process::id().into();
    match linear::run(seed, OPERATIONS) {
        Ok(outcome) => println!("seed {seed}: {outcome:?} (in full: ci/measure linear)"),
        Err(why) => panic!("seed {seed}: {why}"),
    }
}
