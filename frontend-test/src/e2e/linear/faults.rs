//! The faults of the replicas while a history is recorded.

use std::thread::sleep;
use std::time::Duration;

use crate::e2e::frozen::freeze;
use crate::e2e::group::Group;
use crate::e2e::hosts::Hosts;
use crate::e2e::wait::{START, eventually};
use crate::simulation::random::Random;

#[derive(Clone, Copy, Debug)]
enum Fault {
    KillPrimary,
    KillBackup,
    FreezePrimary,
    CutPrimary,
    CutBackup,
    /// The primary's packets to one backup are lost; the other direction works.
    MutePrimary,
}

/// The duration of a fault, and the time of the group afterwards, in milliseconds: from less than a
/// change of primary takes to more than clients wait.
const LASTS: (u64, u64) = (100, 1200);
const BETWEEN: (u64, u64) = (100, 600);

/// Makes every kind of fault once, in an order and for times drawn from `seed`. The group is in
/// good health again after each. Returns the faults.
///
/// # Panics
///
/// Panics if the group does not recover.
pub fn all(group: &mut Group, hosts: Option<&Hosts>, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut left = vec![Fault::KillPrimary, Fault::KillBackup, Fault::FreezePrimary];
    if hosts.is_some() {
        left.extend([Fault::CutPrimary, Fault::CutBackup, Fault::MutePrimary]);
    }
    let mut done = Vec::new();
    while !left.is_empty() {
        sleep(drawn(&mut random, BETWEEN));
        let next = random.range(0, left.len() as u64) as usize;
        let fault = left.swap_remove(next);
        let lasts = drawn(&mut random, LASTS);
        let primary = group.primary();
        let backups: Vec<u8> = group.ids().filter(|id| *id != primary).collect();
        one(group, hosts, fault, (primary, *random.pick(&backups)), lasts);
        let count = group.ids().count();
        eventually("good health after a fault", START, || group.status()?.healthy(count));
        done.push(format!("{fault:?} {} ms", lasts.as_millis()));
    }
    done
}

fn one(
    group: &mut Group,
    hosts: Option<&Hosts>,
    fault: Fault,
    (primary, backup): (u8, u8),
    lasts: Duration,
) {
    let network = || hosts.expect("hosts of their own");
    match fault {
        Fault::KillPrimary | Fault::KillBackup => {
            let id = if matches!(fault, Fault::KillPrimary) { primary } else { backup };
            group.kill(id);
            sleep(lasts);
            group.start_replica(id);
        }
        Fault::FreezePrimary => {
            let frozen = freeze(group, primary);
            sleep(lasts);
            drop(frozen);
        }
        Fault::CutPrimary | Fault::CutBackup => {
            let id = if matches!(fault, Fault::CutPrimary) { primary } else { backup };
            network().cut(id);
            sleep(lasts);
            network().join(id);
        }
        Fault::MutePrimary => {
            network().mute(primary, backup);
            sleep(lasts);
            network().unmute(primary, backup);
        }
    }
}

fn drawn(random: &mut Random, (low, high): (u64, u64)) -> Duration {
    Duration::from_millis(random.range(low, high))
}
