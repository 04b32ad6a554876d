//! Faults on hosts in network namespaces: short forms of `ci/measure failover` and `linear`, and
//! partial partitions, in which some pairs of hosts do not reach each other.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crane_test::e2e::failover::{self, Fault};
use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::linear;
use crane_test::e2e::probe::Probe;
use crane_test::e2e::program;
use crane_test::e2e::wait::{SOON, START, eventually};

/// The faults, each with its number of rounds. `ci/measure failover` does 50 kills and 10 to 20
/// rounds of each other fault, and compares the times with their bars.
const ROUNDS: [(Fault, usize); 5] = [
    (Fault::Kill, 4),
    (Fault::Freeze, 2),
    (Fault::Cut, 2),
    (Fault::Replace, 2),
    (Fault::Exchange, 2),
];
/// The operations of the history. `ci/measure linear` makes 20 histories of 10 000 operations.
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
        assert_eq!(lived, all, "{fault:?}: connections through survivors that lived");
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

/// The primary and one backup do not reach each other; both reach the other backup.
#[test]
fn a_chain_of_three_hosts_serves() {
    let Some((machine, hosts, _hub)) = Hosts::take("chain", 3) else { return };
    let group = Group::start_on(&machine, &hosts, program::redis_on_hosts(machine.folder()));
    let end = group.primary();
    let middle = group.ids().find(|id| *id != end).expect("a backup");
    let gone = only_through(&hosts, middle, &group);
    println!("a chain of three answers {gone:.0?} after its ends were cut apart");
    group.await_settled();
}

/// Four of five hosts reach only the fifth, which was a backup. The primary has lost its quorum,
/// although the only node that can have one still reaches it.
#[test]
fn a_star_of_five_hosts_serves_with_its_middle_as_primary() {
    let Some((machine, hosts, _hub)) = Hosts::take("star", 5) else { return };
    let group = Group::start_on(&machine, &hosts, program::redis_on_hosts(machine.folder()));
    let primary = group.primary();
    let middle = group.ids().find(|id| *id != primary).expect("a backup");
    let gone = only_through(&hosts, middle, &group);
    println!("a star of five answers {gone:.0?} after the others were cut apart");
    group.await_settled();
}

/// Cuts all hosts apart except from `middle`, waits for writes through its replica, and heals the
/// network. Returns how long the first write took.
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
    // Every timeout runs out meanwhile, so that the old state cannot answer the writes.
    sleep(Duration::from_secs(2));
    for _ in 0..100 {
        probe.write().expect("the middle answers");
    }
    if hosts.ids().count() > 3 {
        assert_eq!(group.primary(), middle, "no other node reaches a quorum");
    }
    for (from, to) in &pairs {
        hosts.unmute(*from, *to);
    }
    let count = group.ids().count();
    eventually("good health", START, || group.status()?.healthy(count));
    first
}
