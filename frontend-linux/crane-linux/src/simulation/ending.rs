//! The end of a run: all faults are healed, every client is served, and all servers have done the
//! same.

use std::collections::BTreeSet;

use super::clients::{ClientLink, SimClient};
use super::faults::FaultCounts;
use super::group::{MILLISECOND, SECOND, SimGroup};
use super::queue::Nanos;
use super::replica::SimReplica;
use super::server::SimServer;

/// The time within which a healed group must reach the right state.
const HEALED_WITHIN: Nanos = 60 * SECOND;
/// How many answers each client gets after the faults.
const ANSWERS_AFTER: u64 = 3;

/// The result of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DaemonsOutcome {
    /// A hash of all events, which is equal for equal runs.
    pub hash: u64,
    /// The number of events.
    pub steps: u64,
    /// The number of requests that were answered.
    pub answered: u64,
    /// The number of requests that were sent.
    pub sent: u64,
    /// The faults that happened.
    pub happened: FaultCounts,
    /// The simulated time that healing took, in milliseconds.
    pub healing: u64,
}

impl SimGroup {
    /// Reaches the end of the run, and returns its outcome.
    pub(super) fn finish(mut self) -> DaemonsOutcome {
        let healing = self.reach_the_end();
        self.outcome(healing)
    }

    fn outcome(&self, healing: Nanos) -> DaemonsOutcome {
        let mut happened = self.happened;
        happened.dropped_frames = self.network.dropped as u32;
        DaemonsOutcome {
            hash: self.hash,
            steps: self.steps.get(),
            answered: self.acknowledged.len() as u64,
            sent: self.last_request,
            happened,
            healing: healing / MILLISECOND,
        }
    }

    /// Heals all faults, and waits until every client is served and all servers have done the same.
    /// Returns how long that took.
    pub(super) fn reach_the_end(&mut self) -> Nanos {
        self.heal_all();
        let start = self.now;
        let goals: Vec<u64> =
            self.clients.iter().map(|client| client.answered + ANSWERS_AFTER).collect();
        loop {
            assert!(self.now - start < HEALED_WITHIN, "no liveness: {}", self.describe());
            self.run_until(self.now + 100 * MILLISECOND);
            // A replica without a server may wait for a checkpoint, which answers to clients prove.
            let all_serve = self.replicas.iter_mut().all(SimReplica::has_its_server);
            for (client, goal) in self.clients.iter_mut().zip(&goals) {
                client.rests = all_serve && client.answered >= *goal;
            }
            let asks = |open: &ClientLink| !open.asked.is_empty();
            let rest = |client: &SimClient| client.rests && !client.open.as_ref().is_some_and(asks);
            if self.clients.iter().all(rest) && self.is_healed() {
                break;
            }
        }
        self.check_acknowledged();
        self.now - start
    }

    /// Returns whether one replica is primary, all of them vote, and all servers have done the
    /// same and are right. One that is wrong, and was so when it was made from a checkpoint, may
    /// stay if the group says that it no longer compares outputs (rule D7).
    fn is_healed(&mut self) -> bool {
        let daemons = || self.replicas.iter().filter_map(|replica| replica.daemon.as_ref());
        let may_be_wrong = daemons().any(|daemon| !daemon.compares_output());
        let is_right = |replica: &mut SimReplica| {
            let is_right = |server: &mut SimServer| !server.is_wrong || may_be_wrong;
            replica.votes() && (replica.is_witness() || replica.server().is_some_and(is_right))
        };
        if !self.replicas.iter_mut().all(is_right) {
            return false;
        }
        let primaries = self.replicas.iter().filter(|replica| replica.is_primary()).count();
        let all_run = self.replicas.iter().all(|replica| replica.daemon.is_some());
        let servers = self.replicas.iter_mut().filter(|replica| !replica.is_witness());
        let lists: Vec<_> = servers.map(|replica| replica.list()).collect();
        let alike = lists[0].is_some() && lists.iter().all(|list| *list == lists[0]);
        primaries == 1 && all_run && alike
    }

    /// Checks that each request that was answered is in the state of all servers.
    fn check_acknowledged(&mut self) {
        let list = self.replicas.iter_mut().find_map(|replica| replica.list());
        let list = list.expect("a server runs");
        let done: BTreeSet<u64> = list.into_iter().collect();
        let lost = self.acknowledged.iter().find(|request| !done.contains(request));
        assert_eq!(lost, None, "an answered request is lost");
    }

    pub(super) fn describe(&mut self) -> String {
        let one = |replica: &mut SimReplica| {
            let done = replica.list().map(|list| list.len());
            let admitted = replica.admitted();
            let is_wrong = replica.server().is_some_and(|server| server.is_wrong);
            format!(
                "{}: {}, votes {}, primary {}, wrong {is_wrong}, linked {:?}, list {done:?}, \
                 admitted {admitted:?}",
                replica.id,
                if replica.daemon.is_some() { "up" } else { "down" },
                replica.votes(),
                replica.is_primary(),
                replica.linked,
            )
        };
        let replicas: Vec<String> = self.replicas.iter_mut().map(one).collect();
        let clients: Vec<String> =
            self.clients.iter().map(|client| format!("{:?}", client.open)).collect();
        format!("{}; clients {}", replicas.join("; "), clients.join(", "))
    }
}
