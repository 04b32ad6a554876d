//! Requests of a driver to a primary, to propose, to change the members and to transfer the
//! leadership; and to any node, to find out whether it has been removed.

use crate::id::{NodeId, Slot};
use crate::mutants::{Mutant, broken};
use crate::time::Instant;

use super::roles::{Leadership, RoleState};
use super::{Content, Descriptor, Effects, Entry, Members, Node, NodeSet};

/// The error of [`Node::propose`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// This node is not the primary, which alone may propose.
    NotPrimary {
        /// The primary, if it is known.
        primary: Option<NodeId>,
    },
    /// Too many slots or bytes are undecided, or the leadership is being transferred. Try again
    /// after the next step.
    Full,
}

impl core::fmt::Display for ProposeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotPrimary { .. } => "this node is not the primary",
            Self::Full => "too many slots or bytes are undecided; try again after the next step",
        })
    }
}

impl core::error::Error for ProposeError {}

/// The error of [`Node::change_members`] and [`Node::transfer_leadership`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// This node is not the primary, which alone may propose.
    NotPrimary {
        /// The primary, if it is known.
        primary: Option<NodeId>,
    },
    /// The previous change is not committed yet, or this primary was elected too recently. Try
    /// again later.
    Busy,
    /// The change would add or remove more than one voter, or leave no voter, or change nothing.
    Unsound,
    /// A node that is to vote lacks some of the log, or has lost its storage and not rejoined, or a
    /// quorum of the new voters is unreachable.
    NotReady,
}

impl core::fmt::Display for ChangeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotPrimary { .. } => "this node is not the primary",
            Self::Busy => "the change before this one is not committed yet",
            Self::Unsound => "only one voter can be added or removed at a time",
            Self::NotReady => "a node that is to vote is not ready for it",
        })
    }
}

impl core::error::Error for ChangeError {}

impl<const WINDOW: usize> Node<WINDOW> {
    /// Proposes payloads for the next slots, as many as there is room for, and returns their
    /// number: at least one, unless `descriptors` is empty. They belong to the
    /// [`Effect::Append`](super::Effect::Append) among the effects.
    ///
    /// # Errors
    /// Returns [`ProposeError`] if the node cannot propose now; the node is unchanged in that case.
    ///
    /// # Panics
    /// Panics if `out` is not empty.
    pub fn propose(
        &mut self,
        now: Instant,
        descriptors: &[Descriptor],
        out: &mut Effects,
    ) -> Result<usize, ProposeError> {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        let RoleState::Primary(Leadership { ballot, .. }) = self.role_state else {
            return Err(ProposeError::NotPrimary { primary: self.primary() });
        };
        let mut bytes = self.undecided_bytes();
        let fits = |descriptor: &&Descriptor| {
            let before = bytes;
            bytes += u64::from(descriptor.length);
            before == 0 || bytes <= self.config.bytes_undecided_max
        };
        let room = if self.is_disk_behind() { 0 } else { self.capacity_left() };
        let taken = descriptors.iter().take(room).take_while(fits).count();
        if taken == 0 && !descriptors.is_empty() {
            return Err(ProposeError::Full);
        }
        if taken > 0 {
            let payloads = descriptors[..taken].iter().map(|of| Content::Payload(*of));
            let entries = payloads.map(|content| Entry { ballot, content });
            let last = self.acceptor.log.last();
            let twice = broken(Mutant::ProposedTwice) && last > self.acceptor.committed;
            self.put_all(if twice { last } else { last.next() }, entries, out);
        }
        self.conclude(out);
        Ok(taken)
    }

    /// Returns the number of payload bytes that are not decided yet.
    pub(super) fn undecided_bytes(&self) -> u64 {
        self.acceptor.log.bytes_after(self.acceptor.committed)
    }

    /// Proposes other members, and returns the slot of the change. A voter is added when it has the
    /// whole log as a learner (and has rejoined, if its storage is new); one voter is added or
    /// removed at a time, so that quorums before and after have a node in common (Ongaro,
    /// "Consensus: Bridging Theory and Practice", 2014, §4.1; with the correction of 2015: a
    /// primary first has something of its own chosen).
    ///
    /// # Errors
    /// Returns [`ChangeError`]; nothing has changed in that case.
    ///
    /// # Panics
    /// Panics if `out` is not empty.
    // specs: M1, M4
    pub fn change_members(
        &mut self,
        now: Instant,
        members: Members,
        out: &mut Effects,
    ) -> Result<Slot, ChangeError> {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        let Some(lead) = self.role_state.leadership() else {
            return Err(ChangeError::NotPrimary { primary: self.primary() });
        };
        let old = self.members();
        let added = members.voters.difference(old.voters);
        let removed = old.voters.difference(members.voters);
        let many = added.len() + removed.len() > 1 && !broken(Mutant::TwoVotersChanged);
        if !members.is_sound() || members == old || many {
            return Err(ChangeError::Unsound);
        }
        if !self.may_reconfigure() {
            return Err(ChangeError::Busy);
        }
        let ready = |node: NodeId| {
            let progress = &lead.progress[node.index()];
            let near = progress.matched.0 + WINDOW as u64 / 2 >= self.acceptor.committed.0;
            old.learners.contains(node) && progress.voted && near || broken(Mutant::VoterUnready)
        };
        let votes = |node: NodeId| lead.progress[node.index()].voted && self.is_there(node);
        let voting: NodeSet = self.others().iter().filter(|node| votes(*node)).collect();
        let can_decide = members.is_quorum(voting.with(self.config.me));
        if !added.iter().all(ready) || !can_decide {
            return Err(ChangeError::NotReady);
        }
        let slot = self.propose_content(Content::Change(members), out);
        self.conclude(out);
        Ok(slot)
    }

    /// Transfers the leadership to another voter. Nothing is proposed until that node has the whole
    /// log and has been asked to take over. If it does not take over within an election timeout,
    /// this node continues as primary.
    ///
    /// # Errors
    /// Returns [`ChangeError`]; nothing has changed in that case.
    ///
    /// # Panics
    /// Panics if `out` is not empty.
    pub fn transfer_leadership(
        &mut self,
        now: Instant,
        to: NodeId,
        out: &mut Effects,
    ) -> Result<(), ChangeError> {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        let members = self.members();
        let RoleState::Primary(lead) = &mut self.role_state else {
            return Err(ChangeError::NotPrimary { primary: self.primary() });
        };
        if to == self.config.me || !members.voters.contains(to) || members.witnesses.contains(to) {
            return Err(ChangeError::Unsound);
        }
        if !lead.progress[to.index()].voted {
            return Err(ChangeError::NotReady);
        }
        lead.successor = Some((to, self.now + self.config.election_timeout));
        lead.take_over_sent = false;
        self.conclude(out);
        Ok(())
    }

    /// Asks a node for the decided entries that this one lacks, because it claims that this node
    /// has been removed. Only the entries say so, if it is true.
    ///
    /// # Panics
    /// Panics if `out` is not empty.
    // specs: M6
    pub fn ask_about_removal(&mut self, now: Instant, node: NodeId, out: &mut Effects) {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        if self.voting.status.is_voter()
            && !self.role_state.is_primary()
            && !broken(Mutant::RemovedUnaware)
        {
            self.learn_from(node, out);
        }
        self.conclude(out);
    }
}
