//! When the primary gives its role away: to a replica of higher priority, or because its own server
//! cannot serve.

use crane_core::id::NodeId;
use crane_core::time::{Duration, Instant};
use tracing::{debug, info};

use crate::report::ServerReport;

use super::redundancy::SLOTS_BEHIND_MAX;
use super::{Driver, Host};

/// How long a member of higher priority must have been fit before it becomes primary.
const PREFER_AFTER: Duration = Duration::from_millis(3000);

impl<H: Host> Driver<H> {
    /// Transfers this primary's leadership to a member of higher priority that has been fit for a
    /// while. Returns when to look again.
    pub(super) fn prefer(&mut self) -> Option<Instant> {
        if !self.is_primary() {
            self.preference.fit = None;
            return None;
        }
        let now = self.now();
        let mine = self.settings.args.priority;
        let candidates = self.servers().without(self.me());
        let best = candidates
            .iter()
            .filter(|node| self.is_fit(*node))
            .max_by_key(|node| (self.preference.priorities[node.index()], u8::MAX - node.number()))
            .filter(|node| self.preference.priorities[node.index()] > mine);
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
            Ok(()) => info!("replica {best} has a higher priority: the role is handed to it"),
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
