//! Replication: a primary sends each member the entries that it lacks, takes its acknowledgements,
//! and counts votes.

use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};

use super::node::{push, send};
use super::roles::{Acknowledged, Leadership, RoleState};
use super::state::Acceptor;
use super::window::Window;
use super::{
    Ballot, CATCH_UP_SLOTS_MAX, EFFECTS_MAX, Effect, Effects, LogEnd, Message, Node, NodeSet,
};

/// The number of effects that may follow the entries for a member: two for each other member (one
/// that serves it, and one with a commit index), and those that conclude the step.
const EFFECTS_AFTER_ENTRIES: usize = 2 * (NODES_MAX - 1) + 6;

impl<const WINDOW: usize> Node<WINDOW> {
    /// Returns all nodes that receive the log: the members, and removed members that may not know
    /// of their removal yet.
    pub(super) fn receivers(&self) -> NodeSet {
        self.others().union(self.acceptor.log.base().members.all().without(self.config.me))
    }

    /// Takes a member's acknowledgement, which may be a vote, and determines which entries it
    /// lacks.
    // specs: R4, R10
    pub(super) fn on_accepted(&mut self, from: NodeId, asked: Ballot, said: Acknowledged) {
        let receivers = self.receivers();
        let Self { acceptor: Acceptor { log, committed, .. }, role_state, recalled, .. } = self;
        if let Some(epoch) = said.epoch
            && epoch == log.end().epoch(from)
        {
            let end = LogEnd { ballot: asked, slot: said.up_to };
            recalled[from.index()].add(epoch, asked, end);
        }
        let RoleState::Primary(lead) = role_state else { return };
        let believable = said.received <= log.last() && said.up_to <= said.received;
        if asked != lead.ballot || !believable || !receivers.contains(from) {
            return;
        }
        let epoch = log.end().epoch(from);
        let progress = &mut lead.progress[from.index()];
        // A member votes only once it has adopted the whole log that this primary took over.
        let counts =
            said.epoch == Some(epoch) || said.epoch.is_some() && broken(Mutant::EpochsUncounted);
        if counts && said.up_to >= lead.start {
            progress.matched =
                if progress.voted { progress.matched.max(said.up_to) } else { said.up_to };
            progress.voted = true;
            lead.recount |= said.up_to > *committed || !lead.established;
        }
        if said.beat > 0 && said.beat >= progress.beat {
            progress.beat = said.beat;
            progress.received = said.received;
        } else {
            progress.received = progress.received.max(said.received);
        }
        let expected = progress.received.next();
        match progress.next {
            None => progress.next = Some(expected),
            Some(next) if next < expected => progress.next = Some(expected),
            // Two heartbeats in a row found no progress, so the entries that were sent are lost.
            Some(next) if said.beat > 0 && next > expected && !broken(Mutant::NeverRepeated) => {
                if progress.stalled == Some(progress.received) {
                    progress.next = Some(expected);
                    progress.served = Slot::NONE;
                    progress.stalled = None;
                } else {
                    progress.stalled = Some(progress.received);
                }
            }
            Some(_) => {}
        }
    }

    /// Commits the entries that a quorum has durable under this ballot, which are chosen.
    // specs: P9, R4
    fn choose(&mut self) {
        let RoleState::Primary(lead) = &self.role_state else { return };
        let members = self.members();
        let less = usize::from(broken(Mutant::ChosenByOneLess) && members.quorum() > 1);
        let quorum = members.quorum() - less;
        // Once an entry is chosen under this ballot, only votes for later slots can change the
        // result.
        let known = lead.established.then_some(self.acceptor.committed);
        let mut votes = [Slot::NONE; NODES_MAX];
        let mut count = 0;
        for node in members.voters.iter() {
            if let Some(vote) = self.vote_of(lead, node)
                && Some(vote) > known
            {
                votes[count] = vote;
                count += 1;
            }
        }
        if count < quorum {
            return;
        }
        let votes = &mut votes[..count];
        votes.sort_unstable();
        let chosen = votes[count - quorum];
        assert!(chosen >= lead.start, "a vote does not reach the log that was taken over");
        if let Some(lead) = self.role_state.leadership_mut() {
            lead.established = true;
        }
        self.commit(chosen);
    }

    /// Returns the slot up to which a voter has the log durable under this primary's ballot.
    // specs: R4
    #[inline]
    fn vote_of(&self, lead: &Leadership, node: NodeId) -> Option<Slot> {
        if node == self.config.me {
            let counts = self.epoch() == Some(self.acceptor.log.end().epoch(node));
            return (counts && self.acceptor.accepted_is_durable())
                .then_some(self.acceptor.durable);
        }
        let progress = &lead.progress[node.index()];
        progress.voted.then_some(progress.matched)
    }

    /// Ends a primary's step: counts votes if they may have changed, and sends members the entries
    /// that they lack.
    #[inline(never)]
    pub(super) fn conclude_lead(&mut self, out: &mut Effects) {
        let RoleState::Primary(lead) = &mut self.role_state else { return };
        if core::mem::take(&mut lead.recount) {
            self.choose();
        }
        self.replicate(out);
    }

    /// Sends each member the entries that it lacks, as far as the effects have room.
    fn replicate(&mut self, out: &mut Effects) {
        let receivers = self.receivers();
        let Self { acceptor: Acceptor { log, committed, .. }, role_state, .. } = self;
        let RoleState::Primary(lead) = role_state else { return };
        let (ballot, committed) = (lead.ballot, *committed);
        lead.unsent = false;
        for to in receivers.iter() {
            let Some(next) = lead.progress[to.index()].next else { continue };
            if next <= log.last() {
                send_entries(log, committed, lead, (to, next), out);
            }
            let progress = &mut lead.progress[to.index()];
            if progress.committed_sent < committed {
                progress.committed_sent = committed;
                send(out, to, Message::Commit { ballot, committed });
            }
        }
        if let Some((to, _)) = lead.successor
            && !lead.take_over_sent
            && lead.progress[to.index()].matched == log.last()
        {
            lead.take_over_sent = true;
            send(out, to, Message::TakeOver { ballot });
        }
    }

    /// Sends a heartbeat, which the member answers with the end of its log.
    pub(super) fn send_heartbeat(&self, to: NodeId, out: &mut Effects) {
        let RoleState::Primary(lead) = &self.role_state else { return };
        let Leadership { ballot, start, beat, .. } = *lead;
        let log = &self.acceptor.log;
        let (committed, last, last_ballot) =
            (self.acceptor.committed, log.last(), log.end().ballot);
        send(out, to, Message::Heartbeat { ballot, committed, last, last_ballot, start, beat });
    }
}

/// Sends a member the entries from `next` on, as far as the effects have room.
fn send_entries<const WINDOW: usize>(
    log: &Window<WINDOW>,
    committed: Slot,
    lead: &mut Leadership,
    (to, mut next): (NodeId, Slot),
    out: &mut Effects,
) {
    let (base, last) = (log.base().slot, log.last());
    let (ballot, start) = (lead.ballot, lead.start);
    let progress = &mut lead.progress[to.index()];
    if progress.received < progress.served {
        return;
    }
    if next <= base {
        // The member cannot take more than its window at once.
        let range = CATCH_UP_SLOTS_MAX.min(WINDOW as u64);
        let up_to = Slot(next.0 + range - 1).min(base);
        progress.served = up_to;
        progress.next = Some(up_to.next());
        return push(out, Effect::ServeCatchUp { to, from: next, up_to });
    }
    while next <= last {
        if out.len() + EFFECTS_AFTER_ENTRIES >= EFFECTS_MAX {
            lead.unsent = true;
            break;
        }
        let range = log.range(next, last);
        let before = log.ballot(Slot(next.0 - 1)).expect("the window has no gaps");
        send(out, to, Message::Accept { ballot, range, before, committed, start });
        progress.committed_sent = committed;
        next = range.last().next();
    }
    progress.next = Some(next);
}
