//! Searches all states of small groups of the real core: `model-check`, or `model-check NAME`.
//!
//! The number of states is pinned: a change of the core that changes it is looked at by a human.

mod model;

use std::process::ExitCode;
use std::time::Instant;

use model::{Bounds, Group};
use stateright::{Checker, HasDiscoveries, Model};

const NONE: Bounds = Bounds {
    nodes: 0,
    candidacies: 0,
    proposals: 0,
    removals: 0,
    crashes: 0,
    losses: 0,
    slow_disks: false,
};

/// What is searched, and how many different states there are.
const RUNS: &[(&str, Bounds, usize)] = &[
    (
        "accept",
        Bounds { nodes: 3, candidacies: 1, proposals: 2, slow_disks: true, ..NONE },
        273_757,
    ),
    ("election", Bounds { nodes: 3, candidacies: 2, proposals: 1, ..NONE }, 692_154),
    (
        "power",
        Bounds { nodes: 3, candidacies: 1, proposals: 1, crashes: 1, slow_disks: true, ..NONE },
        71_955,
    ),
    (
        "two nodes",
        Bounds { nodes: 2, candidacies: 2, proposals: 2, crashes: 1, slow_disks: true, ..NONE },
        208_705,
    ),
    ("members", Bounds { nodes: 3, candidacies: 1, proposals: 1, removals: 1, ..NONE }, 25_705),
    ("loss", Bounds { nodes: 2, candidacies: 2, proposals: 1, losses: 1, ..NONE }, 974_812),
];

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let mut failed = false;
    for (name, bounds, states) in RUNS {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let start = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        let checker = Group(*bounds)
            .checker()
            .threads(threads)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_dfs()
            .join();
        let found = checker.unique_state_count();
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {found} states, {seconds:.1} s: {bounds:?}");
        if !checker.is_done() || found != *states {
            println!("{name}: FAILED: {states} states are expected");
            failed = true;
        }
        for property in Group(*bounds).properties() {
            let discovery = checker.discovery(property.name);
            let wanted = property.expectation == stateright::Expectation::Sometimes;
            if discovery.is_some() != wanted {
                println!("{name}: FAILED: {}", property.name);
                if let Some(path) = discovery {
                    for action in path.into_actions() {
                        println!("    {action:?}");
                    }
                }
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
