//! Faults on hosts in network namespaces: short forms of `ci/measure failover` and `linear`, and
//! hosts of which some do not reach some.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crane_test::e2e::failover::{self, Fault};
use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::linear;
use crane_test::e2e::probe::Probe;
use crane_test::e2e::program;
use crane_test::e2e::wait::{SOON, START, eventually};

/// `ci/measure failover` does 50 kills and 10 to 20 of each other, and holds the times against
/// their bars.
const ROUNDS: [(Fault, usize); 5] = [
    (Fault::Kill, 4),
    (Fault::Freeze, 2),
    (Fault::Cut, 2),
    (Fault::Replace, 2),
    (Fault::Exchange, 2),
];
/// `ci/measure linear` makes 20 histories of 10 000.
const OPERATIONS: usize = 3000;

#[test]
fn a_dead_frozen_or_cut_off_primary_is_replaced_and_does_no_harm() {
    if !Hosts::are_possible() {
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

/// The primary and one backup do not hear each other; both hear the other backup.
#[test]
fn a_chain_of_three_goes_on() {
    let Some((machine, hosts, _hub)) = Hosts::take("chain", 3) else { return };
    let group = Group::start_on(&machine, &hosts, program::redis_on_hosts(machine.folder()));
    let end = group.primary();
    let middle = group.ids().find(|id| *id != end).expect("a backup");
    let gone = only_through(&hosts, middle, &group);
    println!("a chain of three answers {gone:.0?} after its ends were parted");
    group.await_settled();
}

/// Of five hosts, four hear nobody but the fifth, which was a backup: the primary has lost its
/// majority, and the only one who can have one still hears it.
#[test]
fn a_star_of_five_goes_on_with_its_middle() {
    let Some((machine, hosts, _hub)) = Hosts::take("star", 5) else { return };
    let group = Group::start_on(&machine, &hosts, program::redis_on_hosts(machine.folder()));
    let primary = group.primary();
    let middle = group.ids().find(|id| *id != primary).expect("a backup");
    let gone = only_through(&hosts, middle, &group);
    println!("a star of five answers {gone:.0?} after the others were parted");
    group.await_settled();
}

/// Parts all hosts from each other but from `middle`, waits for writes through `middle`'s replica
/// while that is so, and heals. Gives how long the first one took.
fn only_through(hosts: &Hosts, middle: u8, group: &Group) -> Duration {
    let pairs: Vec<(u8, u8)> = hosts
        .ids()
        .flat_map(|from| hosts.ids().map(move |to| (from, to)))
        .filter(|(from, to)| from != to && *from != middle && *to != middle)
        .collect();
    let moment = Instant::now();
    for (from, to) in &pairs {
        hosts.mute(*from, *to);
    }
    let address = group.address(middle);
    let mut probe = eventually("an answer in the middle", SOON, || {
        group.at_host(middle, || Probe::open(address))
    });
    let first = moment.elapsed();
    // Long enough for every timeout to have run out, so that it is not the old state that answers.
    sleep(Duration::from_secs(2));
    for _ in 0..100 {
        probe.write().expect("the middle goes on");
    }
    if hosts.ids().count() > 3 {
        assert_eq!(group.primary(), middle, "nobody else reaches a quorum");
    }
    for (from, to) in &pairs {
        hosts.unmute(*from, *to);
    }
    let count = group.ids().count();
    eventually("good health", START, || group.status()?.healthy(count));
    first
}
