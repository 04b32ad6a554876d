//! Stalls: waits of this replica that last too long, with the reason for each, for the operator of
//! a slow group.

use crane_core::id::NodeId;
use crane_core::time::{Duration, Instant};
use tracing::{info, warn};

use crate::event::{Cause, Event};

use super::rooms::Wait;
use super::{Driver, Host, ServerView};

/// How long a wait may last before it is reported: less than a primary without a quorum takes to
/// step down.
const REPORT_AFTER: Duration = Duration::from_millis(200);
/// The number of slots that a server may lack, without taking any, before it counts as stalled.
const SERVER_BEHIND: u64 = 64;

impl<H: Host> Driver<H> {
    /// Checks what this replica waits for, and since when. Returns when to look again.
    pub(super) fn watch_stalls(&mut self) -> Option<Instant> {
        let now = self.now();
        let wait = self.waits_for();
        let since = match (self.stalls.present, wait) {
            (Some((before, since)), Some(wait)) if before == wait => since,
            (before, _) => {
                if let Some((Wait { cause, .. }, since)) = before
                    && self.stalls.told
                {
                    self.report_resumed(cause, now.since(since));
                }
                self.stalls.told = false;
                self.stalls.present = wait.map(|wait| (wait, now));
                now
            }
        };
        let wait = wait.filter(|_| !self.stalls.told)?;
        let due = since + REPORT_AFTER;
        if now < due {
            return Some(due);
        }
        self.stalls.told = true;
        let nodes = self.waits_for_whom(wait.cause);
        let event = Event::Stalled { cause: wait.cause, nodes };
        warn!("{event}");
        self.record_silently(event);
        None
    }

    fn report_resumed(&mut self, cause: Cause, after: Duration) {
        let event = Event::Resumed { cause, after_ms: after.as_micros() / 1000 };
        info!("{event}");
        self.record_silently(event);
    }

    /// Returns the present wait, with a number that changes when the wait is over.
    fn waits_for(&self) -> Option<Wait> {
        let wait = |cause, mark| Some(Wait { cause, mark });
        let first_undecided = self.node.committed().next();
        if self.node.primary().is_none() {
            return wait(Cause::NoPrimary, 0);
        }
        if self.is_primary() && self.node.last() >= first_undecided {
            let disk = self.node.durable() < first_undecided;
            let cause = if disk { Cause::Disk } else { Cause::Votes };
            return wait(cause, self.node.committed().0);
        }
        if let Some(&ServerView { admitted, .. }) = self.server.view()
            && admitted + SERVER_BEHIND <= self.committed.0
        {
            return wait(Cause::Server, admitted);
        }
        if self.clients.deadline().is_some() {
            return wait(Cause::Commitment, self.clients.first_kept());
        }
        None
    }

    fn waits_for_whom(&self, cause: Cause) -> Vec<u8> {
        let behind = |node: &NodeId| self.node.contact(*node).matched <= self.node.committed();
        match cause {
            Cause::Votes => {
                let voters = self.node.members().voters.without(self.me());
                voters.iter().filter(behind).map(NodeId::number).collect()
            }
            Cause::Commitment => self.node.primary().map(NodeId::number).into_iter().collect(),
            Cause::NoPrimary => {
                let gone = self.others().iter().filter(|node| !self.is_linked(*node));
                gone.map(NodeId::number).collect()
            }
            Cause::Disk | Cause::Server => vec![self.me().number()],
        }
    }
}
