//! When the primary gives its role away: to a replica of higher priority, or because its own server
//! cannot serve.

use crane_core::id::NodeId;
use crane_core::mutants::{Mutant, broken};
use crane_core::time::{Duration, Instant};
use tracing::{debug, info};

use crate::report::ServerReport;

use super::redundancy::SLOTS_BEHIND_MAX;
use super::{Driver, Host};

/// How long a member of higher priority must have been fit before it becomes primary.
const PREFER_AFTER: Duration = Duration::from_millis(3000);

impl<H: Host> Driver<H> {
    /// Transfers this primary's leadership to a member that has been fit for a while: one of higher
    /// priority, or any if this replica's own server is not in step. Returns when to look again.
    // specs: H11
    pub(super) fn prefer(&mut self) -> Option<Instant> {
        if !self.is_primary() {
            self.preference.fit = None;
            return None;
        }
        let now = self.now();
        let in_step = self.reports[self.me().index()] == ServerReport::Alive { in_step: true };
        let counts = in_step || broken(Mutant::ServerlessLeads);
        let mine = counts.then_some(self.settings.args.priority);
        let candidates = self.servers().without(self.me());
        let best = candidates
            .iter()
            .filter(|node| self.is_fit(*node))
            .max_by_key(|node| (self.preference.priorities[node.index()], u8::MAX - node.number()))
            .filter(|node| Some(self.preference.priorities[node.index()]) > mine);
        let Some(best) = best else {
            self.preference.fit = None;
            return None;
        };
        let since = match self.preference.fit {
            Some((node, since)) if node == best => since,
            _ => now,
        };
        self.preference.fit = Some((best, since));
        if now < since + PREFER_AFTER {
            return Some(since + PREFER_AFTER);
        }
        self.preference.fit = None;
        match self.hand_role_to(best) {
            Ok(()) if in_step => {
                info!("replica {best} has a higher priority: the role is handed to it");
            }
            Ok(()) => info!(
                "the server of this replica is not in step, and that of replica {best} is: the \
                 role is handed to it"
            ),
            Err(error) => debug!("the role stays: {error}"),
        }
        None
    }

    // specs: H5
    fn is_fit(&self, node: NodeId) -> bool {
        let in_step = self.reports[node.index()] == ServerReport::Alive { in_step: true };
        let has_log = self.node.contact(node).matched.0 + SLOTS_BEHIND_MAX >= self.committed.0;
        self.is_linked(node) && in_step && has_log && self.health.vigil.is_well(node)
    }

    /// Transfers this primary's leadership, because this replica's server cannot serve.
    pub(super) fn resign(&mut self) {
        self.node.set_in_step(false);
        if !self.is_primary() {
            return;
        }
        let linked = self.servers().iter().filter(|node| self.is_linked(*node));
        let mut alive =
            linked.filter(|node| !matches!(self.reports[node.index()], ServerReport::Ended { .. }));
        let Some(to) = alive.next() else { return };
        match self.hand_role_to(to) {
            Ok(()) => info!("handing the primary's role to replica {to}"),
            Err(error) => debug!("the role stays: {error}"),
        }
    }
}
