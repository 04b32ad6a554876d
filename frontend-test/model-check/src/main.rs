//! Searches all states of small groups of the real core: `model-check`, or `model-check NAME`.
//!
//! The number of states is pinned, so that a change of it is reviewed by a person.

mod model;
mod processes;
mod script;

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;
use std::time::Instant;

use model::{Bounds, Group};
use processes::{Family, Rule as ProcessRule};
use script::{Rule, Service};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

const NONE: Bounds = Bounds {
    nodes: 0,
    begun: false,
    candidacies: 0,
    proposals: 0,
    at_once: 1,
    removals: 0,
    crashes: 0,
    losses: 0,
    slow_disks: false,
};

/// The searches, with their pinned counts of states.
const RUNS: &[(&str, Bounds, usize)] = &[
    (
        "accept",
        Bounds { nodes: 3, candidacies: 1, proposals: 2, slow_disks: true, ..NONE },
        283_177,
    ),
    ("election", Bounds { nodes: 3, candidacies: 2, proposals: 1, ..NONE }, 986_548),
    (
        "power",
        Bounds { nodes: 3, candidacies: 1, proposals: 1, crashes: 1, slow_disks: true, ..NONE },
        93_810,
    ),
    (
        "two nodes",
        Bounds { nodes: 2, candidacies: 2, proposals: 2, crashes: 1, slow_disks: true, ..NONE },
        359_839,
    ),
    ("members", Bounds { nodes: 3, candidacies: 1, proposals: 1, removals: 1, ..NONE }, 26_149),
    ("loss", Bounds { nodes: 2, candidacies: 2, proposals: 1, losses: 1, ..NONE }, 1_348_107),
    // Slot ranges of which an acceptor knows nothing, knows a part, or has other entries.
    (
        "runs",
        Bounds { nodes: 3, begun: true, candidacies: 1, proposals: 2, at_once: 2, ..NONE },
        2_154_242,
    ),
    (
        "runs and power",
        Bounds {
            nodes: 2,
            candidacies: 2,
            proposals: 3,
            at_once: 3,
            crashes: 1,
            slow_disks: true,
            ..NONE
        },
        3_762_026,
    ),
];

/// The searches of the script, each with its rule and its pinned count of states. A control has no
/// count: a state that breaks a property must be found.
const SCRIPTS: &[(&str, Rule, Option<usize>)] = &[
    ("script", Rule::Right, Some(87_449)),
    ("script, admitted on arrival", Rule::AdmitOnArrival, None),
    ("script, grant dropped for the next entry", Rule::DropForNext, None),
    ("script, continues without a grant", Rule::ContinueWithoutGrant, None),
];

/// The searches of processes, in the same way.
const PROCESSES: &[(&str, ProcessRule, Option<usize>)] = &[
    ("processes", ProcessRule::Right, Some(2_977_756)),
    ("processes, queued when made", ProcessRule::QueuedWhenMade, None),
    ("processes, heard of when ended", ProcessRule::HeardWhenEnded, None),
    ("processes, in the host's order", ProcessRule::HostsOrder, None),
    ("processes, handled on delivery", ProcessRule::HandledOnDelivery, None),
    ("processes, a fault passes the turn", ProcessRule::FaultPasses, None),
];

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let mut failed = false;
    for (name, bounds, states) in RUNS.iter().filter(|(name, ..)| is_wanted(name)) {
        failed |= !search(name, Group(*bounds), &format!("{bounds:?}"), Some(*states));
    }
    for (name, rule, states) in SCRIPTS.iter().filter(|(name, ..)| is_wanted(name)) {
        let service = Service { rule: *rule, ops: 4, bubbles: 4 };
        failed |= !search(name, service, "two replicas, four ops, four bubbles", *states);
    }
    for (name, rule, states) in PROCESSES.iter().filter(|(name, ..)| is_wanted(name)) {
        let family = Family { rule: *rule, entries: 4 };
        let what = "two replicas, three or four processes, four entries";
        failed |= !search(name, family, what, *states);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Searches all states, and returns whether the outcome is as expected. With `states`, the search
/// must reach this number of states, all of which keep the properties. Without, it must find a
/// state that breaks a property.
fn search<M>(name: &str, model: M, what: &str, states: Option<usize>) -> bool
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + PartialEq + Hash + Send + Sync + Debug,
    M::Action: Clone + Debug + PartialEq,
{
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let properties = model.properties();
    let checker = model
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let found = checker.unique_state_count();
    let seconds = start.elapsed().as_secs_f64();
    let wrong = properties.iter().find(|property| {
        let wanted = property.expectation == Expectation::Sometimes;
        checker.discovery(property.name).is_some() != wanted
    });
    let Some(states) = states else {
        let always = properties.iter().find(|at| at.expectation == Expectation::Always);
        let broken = always.and_then(|property| checker.discovery(property.name));
        let steps = broken.as_ref().map(|path| path.clone().into_actions().len());
        match steps {
            Some(steps) => println!("{name}: broken after {steps} actions, {seconds:.1} s"),
            None => println!("{name}: FAILED: none of {found} states breaks the control"),
        }
        return broken.is_some();
    };
    println!("{name}: {found} states, {seconds:.1} s: {what}");
    if let Some(property) = wrong {
        println!("{name}: FAILED: {}", property.name);
        for action in checker.discovery(property.name).into_iter().flat_map(|at| at.into_actions())
        {
            println!("    {action:?}");
        }
        return false;
    }
    if !checker.is_done() || found != states {
        println!("{name}: FAILED: expected {states} states");
        return false;
    }
    true
}
