//! A run: a group, a time of faults, a time of healing, and the state to which it must lead.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::copies;
use super::ending::DaemonsOutcome;
use super::group::{MILLISECOND, SECOND, SimGroup};
use super::members;
use super::random::SeededRandom;
use super::sick;

/// A failed check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaemonsFailure {
    /// The broken invariant.
    pub message: String,
    /// The number of events before it.
    pub steps: u64,
}

/// Runs the scenario of a seed. The caller should set a panic hook, or the broken invariant is also
/// printed.
///
/// # Errors
/// Returns the [`DaemonsFailure`] of an invariant in the product or of a check of the simulation.
pub fn run(seed: u64) -> Result<DaemonsOutcome, DaemonsFailure> {
    let steps: Rc<Cell<u64>> = Rc::default();
    let counted = steps.clone();
    let run = AssertUnwindSafe(|| match seed % 4 {
        3 => sick::run(seed / 4, counted),
        _ if seed.is_multiple_of(16) => copies::run(seed / 16, counted),
        _ if seed % 16 == 8 => members::run(seed / 16, counted),
        _ => faults_of_all_kinds(seed, counted),
    });
    panic::catch_unwind(run).map_err(|cause| {
        let text = cause.downcast_ref::<&str>().map(|text| (*text).to_string());
        let message = cause.downcast_ref::<String>().cloned().or(text);
        let message = message.unwrap_or_else(|| "a panic without words".into());
        DaemonsFailure { message, steps: steps.get() }
    })
}

/// Lets any faults happen for some seconds, and heals them. Some groups acknowledge what is in
/// memory.
fn faults_of_all_kinds(seed: u64, steps: Rc<Cell<u64>>) -> DaemonsOutcome {
    let mut random = SeededRandom::new(seed);
    let clients = random.range(1, 6) as usize;
    let often = *random.pick(&[300, 1000, 2500]);
    let until = random.range(3, 9) * SECOND;
    let mut group = SimGroup::new(random, clients, steps);
    for replica in &mut group.replicas {
        replica.files.has_journal = seed % 8 == 5;
    }
    group.run_until(SECOND);
    while group.now < until {
        group.strike();
        let next = group.random.range(often / 4, often) * MILLISECOND;
        group.run_until((group.now + next).min(until));
    }
    group.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    // That each fault happens is checked over more seeds, by `ci/simulate --daemons`.
    #[test]
    fn a_run_is_a_function_of_its_seed() {
        for seed in [0, 3] {
            let outcome = run(seed).expect("the run itself holds");
            assert!(outcome.answered > 0);
            assert_eq!(run(seed), Ok(outcome), "seed {seed} runs in two ways");
        }
    }
}
