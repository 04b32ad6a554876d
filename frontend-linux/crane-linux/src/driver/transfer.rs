//! The way of a replica that cannot build its server from its own log: the log here, or the log of
//! the others, begins behind entries that it needs. It receives a checkpoint of another replica,
//! and starts again from it.

use crane_core::id::{NodeId, Slot};
use crane_core::time::{Duration, Instant};
use tracing::info;

use super::rooms::{Finding, FindingKind, Transfer};
use super::{Arriving, Driver, Host};

/// The time after a transfer that failed, before the next one.
const TRY_AGAIN: Duration = Duration::from_millis(1000);
/// How soon to look again for a replica that has a checkpoint.
const LOOK_FOR_OFFERS: Duration = Duration::from_millis(50);
/// The time after which a lack of checkpoints is a fault.
const FAULT_AFTER: Duration = Duration::from_millis(3000);

impl<H: Host> Driver<H> {
    /// Handles the answer that another replica's log begins behind a slot.
    pub(super) fn on_needed(&mut self, from: NodeId, front: Slot) {
        // An answer that came late needs no action.
        if front > self.committed && front > self.checkpoint.needed {
            info!("replica {from} has no entry before slot {}", front.next());
            self.need_checkpoint(front);
        }
    }

    /// Records that this replica needs a checkpoint behind this slot or a later one.
    pub(crate) fn need_checkpoint(&mut self, slot: Slot) {
        if self.checkpoint.needed == Slot::NONE {
            self.checkpoint.needed_since = self.now();
            // It leaves the role to replicas with servers, if there are any.
            self.node.set_in_step(false);
        }
        self.checkpoint.needed = self.checkpoint.needed.max(slot);
    }

    /// Begins to receive a checkpoint if this replica needs one. Returns when to call this function
    /// again.
    pub(super) fn watch_transfer(&mut self) -> Option<Instant> {
        let needed = self.checkpoint.needed;
        if needed == Slot::NONE || self.checkpoint.transfer.is_some() {
            return None;
        }
        let now = self.now();
        if now < self.checkpoint.receive_after {
            return Some(self.checkpoint.receive_after);
        }
        let offers = |node: &NodeId| {
            self.is_linked(*node) && self.checkpoint.peers[node.index()].proved >= needed
        };
        let proved = |node: &NodeId| self.checkpoint.peers[node.index()].proved;
        let Some(from) = self.servers().iter().filter(offers).max_by_key(proved) else {
            // Links are made and checkpoints are announced within this time.
            if now < self.checkpoint.needed_since + FAULT_AFTER {
                return Some(now + LOOK_FOR_OFFERS);
            }
            let text = format!(
                "this replica needs a checkpoint behind slot {needed} or a later one, because the \
                 entries before it are deleted, or are of the program before an upgrade, and no \
                 linked replica has such a one that is proved (images of another version of crane \
                 do not count): it waits for one, which a replica whose server runs takes now, if \
                 CRIU works there (crane-linux checkpoint --help), and proves while clients are \
                 answered"
            );
            self.find(FindingKind::Lacking, Finding { text, is_fault: true });
            return Some(now + TRY_AGAIN);
        };
        self.checkpoint.transfer = Some(Transfer { from, got: 0, of: 0 });
        info!("receiving a checkpoint of replica {from}");
        self.host.receive_checkpoint(from, !self.is_witness());
        None
    }

    /// Handles the progress of a checkpoint on its way to this replica.
    pub(super) fn on_arriving(&mut self, arriving: Arriving) {
        let Some(transfer) = &mut self.checkpoint.transfer else { return };
        let from = transfer.from;
        match arriving {
            Arriving::Piece { got, of } => (transfer.got, transfer.of) = (got, of),
            Arriving::Here { slot, sent, bytes } => self.end_to_begin_again(format!(
                "the checkpoint of replica {from} behind slot {slot} is here, {bytes} bytes of \
                 files, for which {sent} were sent: starting from it"
            )),
            Arriving::Failed(why) => {
                self.checkpoint.transfer = None;
                self.checkpoint.receive_after = self.now() + TRY_AGAIN;
                // A checkpoint that is not offered any more is replaced by a newer one.
                let text = format!("the checkpoint of replica {from} has not arrived: {why}");
                self.find(FindingKind::Lacking, Finding { text, is_fault: true });
            }
        }
    }
}
