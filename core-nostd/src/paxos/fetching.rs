//! Requests for ranges of another node's log, by a candidate or by a node that learns of a higher
//! commit index, and the answers to them.

use crate::id::{NodeId, Slot};

use super::node::{push, send};
use super::{Ballot, Effect, Effects, Message, Node};

/// The number of slots that one [`Message::Fetch`] asks for.
pub(super) const FETCH_SLOTS: u64 = 32;

impl<const WINDOW: usize> Node<WINDOW> {
    /// Asks a node that has a higher commit index for its entries. That node need not be the
    /// primary, nor reach it.
    pub(super) fn learn_from(&mut self, node: NodeId, out: &mut Effects) {
        let from = self.acceptor.committed.next();
        self.learning = Some((node, from));
        self.fetch(node, Ballot::ZERO, from, out);
    }

    /// Asks a node for its log from a slot on, for the candidate of `ballot` or for a learner.
    pub(super) fn fetch(&self, node: NodeId, ballot: Ballot, from: Slot, out: &mut Effects) {
        let before = self.acceptor.log.ballot(Slot(from.0 - 1)).unwrap_or_default();
        let committed = self.acceptor.committed;
        send(out, node, Message::Fetch { ballot, committed, from, before });
    }

    /// Sends a range of the log: the decided part from the frontend's storage, and for a candidate
    /// the undecided part as well.
    pub(super) fn on_fetch(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        committed: Slot,
        (wanted, before): (Slot, Ballot),
        out: &mut Effects,
    ) {
        let agrees =
            wanted > committed && self.acceptor.log.ballot(Slot(wanted.0 - 1)) == Some(before);
        let first = if agrees { wanted } else { Slot(committed.0.saturating_add(1)) };
        if first > self.acceptor.log.last() {
            return;
        }
        let base = self.acceptor.log.base().slot;
        let range_end = Slot(first.0.saturating_add(FETCH_SLOTS - 1)).min(self.acceptor.log.last());
        if first <= base {
            push(out, Effect::ServeCatchUp { to: from, from: first, up_to: range_end.min(base) });
        }
        if !ballot.belongs_to(from)
            || ballot != self.acceptor.promised
            || self.following.ballot.is_some()
        {
            return;
        }
        let mut slot = first.max(base.next());
        while slot <= range_end {
            let range = self.acceptor.log.range(slot, range_end);
            let before =
                self.acceptor.log.ballot(Slot(slot.0 - 1)).expect("the window has no gaps");
            send(out, from, Message::Copy { ballot, range, before });
            slot = range.last().next();
        }
    }
}
