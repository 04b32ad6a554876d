//! Changes of state that several handlers make: to the promise, the log, the commit index and the
//! role.

use crate::id::Slot;
use crate::mutants::{Mutant, broken};

use super::node::push;
use super::roles::RoleState;
use super::{Ballot, Effect, Effects, Entry, Node, Reason, Record, SlotRange, WriteNumber};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Raises the promise, and ends this node's role under a lower ballot.
    // specs: P2
    pub(super) fn promise(&mut self, ballot: Ballot, out: &mut Effects) {
        assert!(ballot > self.acceptor.promised, "a promise must rise");
        self.acceptor.promised = ballot;
        if !broken(Mutant::PromiseUnwritten) {
            self.acceptor.promise_write = self.write(Record::Promise { ballot }, out);
        }
        self.acceptor.answer_due = false;
        self.following.ballot = None;
        self.role_state = RoleState::Backup;
    }

    /// Ends the role of candidate or primary.
    pub(super) fn step_down(&mut self, reason: Reason, out: &mut Effects) {
        self.role_state = RoleState::Backup;
        self.following.ballot = None;
        self.why = reason;
        self.emit_role(reason, out);
    }

    /// Accepts the whole log, as it is, under `ballot`.
    pub(super) fn accept_under(&mut self, ballot: Ballot, up_to: Slot, out: &mut Effects) {
        assert_eq!(up_to, self.acceptor.log.last(), "a log is not accepted to its end");
        assert!(ballot >= self.acceptor.promised, "a log is accepted below the promise");
        self.acceptor.accepted = ballot;
        self.acceptor.accepted_write = self.write(Record::Adopt { ballot, up_to }, out);
    }

    /// Puts an entry into its slot, and removes all entries after it.
    pub(super) fn put(&mut self, slot: Slot, entry: Entry, out: &mut Effects) {
        self.put_all(slot, core::iter::once(entry), out);
    }

    /// Puts entries into their slots, and removes all entries after them.
    // specs: P4
    #[inline]
    pub(super) fn put_all(
        &mut self,
        first: Slot,
        entries: impl ExactSizeIterator<Item = Entry>,
        out: &mut Effects,
    ) {
        assert!(first > self.acceptor.committed, "a committed entry is replaced");
        if first <= self.acceptor.log.last() {
            self.truncate(first);
        }
        assert_eq!(first, self.acceptor.log.last().next(), "an entry leaves a gap in the log");
        let range = SlotRange { first, count: entries.len() as u32 };
        let number = WriteNumber(self.acceptor.written.0 + 1);
        append(out, number, range);
        let Self { config, voting, .. } = self;
        let (mut accepted, mut accepted_write) =
            (self.acceptor.accepted, self.acceptor.accepted_write);
        let (mut written, mut rejoined) = (self.acceptor.written, None);
        let entries = entries.inspect(|entry| {
            written.0 += 1;
            if entry.ballot > accepted {
                (accepted, accepted_write) = (entry.ballot, written);
            }
            if entry.content.payload().is_none()
                && voting.status.is_named_by(config.me, &entry.content)
            {
                rejoined = Some(written);
            }
        });
        self.acceptor.log.extend(entries, number);
        (self.acceptor.accepted, self.acceptor.accepted_write) = (accepted, accepted_write);
        if let Some(written) = rejoined {
            self.voting.rejoined = Some(Slot(first.0 + written.0 - number.0));
        }
        self.acceptor.written = written;
    }

    /// Removes the entries from `slot` on, because another primary's log has other entries there.
    // specs: P11
    pub(super) fn truncate(&mut self, slot: Slot) {
        assert!(slot > self.acceptor.committed, "a committed entry is removed");
        self.acceptor.log.truncate(slot);
        let last = self.acceptor.log.last();
        self.acceptor.durable = self.acceptor.durable.min(last);
        self.following.matched = self.following.matched.min(last);
        self.voting.rejoined = self.voting.rejoined.filter(|rejoined| *rejoined <= last);
    }

    /// Raises the commit index, if `up_to` is above it.
    // specs: P11
    pub(super) fn commit(&mut self, up_to: Slot) {
        let least =
            if broken(Mutant::CommitTakenBack) { Slot::NONE } else { self.acceptor.committed };
        self.acceptor.committed = least.max(up_to);
    }
}

/// Emits the write of entries. Writes of successive slots become one effect.
#[inline]
fn append(out: &mut Effects, number: WriteNumber, range: SlotRange) {
    if let Some(Effect::Append { number: first, range: before }) = out.last_mut()
        && before.last().next() == range.first
        && first.0 + u64::from(before.count) == number.0
    {
        before.count += range.count;
    } else {
        push(out, Effect::Append { number, range });
    }
}
