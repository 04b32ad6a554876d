//! Whether a node may vote: how a new group starts, and how one that lost its storage returns.
//!
//! A node that has lost its storage has forgotten its promises, and nothing in an empty directory
//! tells it so. So it first asks everybody:
//!
//! * When all other members are new as well (`Blank`, `Ready`), nobody has voted yet: it becomes
//!   `Ready`, durably. When all are `Ready`, or when somebody votes already, it votes. A new group
//!   therefore needs all its members once.
//! * When anybody votes while its own storage is still blank, it counts as lost. It then only learns,
//!   and asks the primary to put [`Content::Rejoin`] into the log, which names the new life of its
//!   storage. Who knows that entry counts no promise and no acknowledgement of an older life; and the
//!   node votes again when the entry is committed in its own durable log.
//!
//! Why this is safe: the entry was chosen by a majority without that node, so the log of every later
//! candidate, as completed from the majority that promised, has it; an older promise of the node, still
//! on its way, then counts for nothing. What was chosen before with the node's help is in the log
//! below the entry, on that majority. (Viewstamped Replication's recovery protocol, which asks a
//! majority for the state, forgets promises: Michael, Ports, Sharma and Szekeres, "Recovering Shared
//! Objects Without Stable Storage", 2017.)
//!
//! Answers count only if they carry the nonce of this run: an answer from before the loss says
//! nothing about now.

use crate::id::NodeId;
use crate::limits::NODES_MAX;

use crate::mutants::{Mutant, broken};

use super::node::{Part, send};
use super::{Content, Effects, Life, Message, Node, Reason, Record, Standing};

impl<const WINDOW: usize> Node<WINDOW> {
    /// Asks everybody, as long as this node may not vote.
    pub(super) fn say_hello(&mut self, out: &mut Effects) {
        self.hello_at = self.now + self.config.heartbeat;
        let (nonce, standing, named) = (self.config.nonce, self.standing, self.named);
        for to in self.others().iter() {
            send(out, to, Message::Hello { nonce, standing, named });
        }
        self.settle_beginning(out);
    }

    // specs: R7
    pub(super) fn on_hello(
        &mut self,
        from: NodeId,
        nonce: u64,
        standing: Standing,
        named: Life,
        out: &mut Effects,
    ) {
        let in_log = self.log.end().life(from);
        send(out, from, Message::HelloBack { nonce, standing: self.standing, named: in_log });
        if let Standing::Rejoining { life } = standing
            && matches!(self.part, Part::Primary { .. })
            && self.members().all().contains(from)
            && in_log != life
            && in_log == named
        {
            // It has forgotten its vote. Nor is it any longer one to whom the role could be handed over:
            // as long as a witness waits for that, nothing is proposed.
            self.progress[from.index()].voted = false;
            if self.may_reconfigure() {
                self.propose_content(Content::Rejoin { node: from, life }, out);
            }
        }
    }

    // specs: R6
    pub(super) fn on_hello_back(
        &mut self,
        from: NodeId,
        nonce: u64,
        standing: Standing,
        named: Life,
        out: &mut Effects,
    ) {
        if nonce != self.config.nonce {
            return;
        }
        if self.primary().is_none_or(|primary| primary == from) {
            self.named = named;
        }
        self.met[from.index()] = Some(standing);
        match standing {
            Standing::Voter { .. } | Standing::Rejoining { .. } => self.on_group_exists(out),
            Standing::Blank | Standing::Ready => self.settle_beginning(out),
        }
    }

    /// Somebody votes, or has voted.
    // specs: R2, R3
    pub(super) fn on_group_exists(&mut self, out: &mut Effects) {
        match self.standing {
            Standing::Blank if broken(Mutant::LossUnnoticed) => {
                self.change_standing(Standing::Voter { life: Life::FIRST }, out);
            }
            Standing::Blank => {
                self.change_standing(Standing::Rejoining { life: Life(self.config.nonce) }, out);
            }
            Standing::Ready => self.change_standing(Standing::Voter { life: Life::FIRST }, out),
            Standing::Rejoining { .. } | Standing::Voter { .. } => {}
        }
    }

    /// Goes on when all the others have got so far.
    // specs: R1, R2
    fn settle_beginning(&mut self, out: &mut Effects) {
        // Who is not a member from the first is to join a group that exists.
        if !self.members().voters.contains(self.config.me) {
            return;
        }
        let met = |node: NodeId| self.met[node.index()];
        match self.standing {
            Standing::Blank
                if self
                    .others()
                    .iter()
                    .all(|node| matches!(met(node), Some(Standing::Blank | Standing::Ready))) =>
            {
                self.change_standing(Standing::Ready, out);
            }
            Standing::Ready
                if self.others().iter().all(|node| met(node) == Some(Standing::Ready)) =>
            {
                self.change_standing(Standing::Voter { life: Life::FIRST }, out);
            }
            _ => {}
        }
    }

    /// Writes the new standing down; it holds when that is durable.
    fn change_standing(&mut self, standing: Standing, out: &mut Effects) {
        if self.standing_due.is_none() {
            let number = self.write(Record::Standing(standing), out);
            self.standing_due = Some((number, standing));
        }
    }

    pub(super) fn on_standing_durable(&mut self, out: &mut Effects) {
        let Some((number, standing)) = self.standing_due else { return };
        if number > self.settled {
            return;
        }
        self.standing_due = None;
        self.standing = standing;
        self.hello_at = self.now;
        match standing {
            Standing::Voter { .. } => {
                self.met = [None; NODES_MAX];
                self.stand_soon();
                self.tell_role(Reason::Admitted, out);
            }
            Standing::Rejoining { .. } => {
                self.part = Part::Backup;
                self.forget_part();
                self.tell_role(Reason::StorageLost, out);
            }
            Standing::Blank | Standing::Ready => {}
        }
    }

    /// Looks whether the log has admitted this node, or has named another life of it.
    // specs: R5, R8
    #[inline]
    pub(super) fn check_standing(&mut self, out: &mut Effects) {
        let named = self.log.base().life(self.config.me);
        if self.standing != (Standing::Voter { life: named }) {
            self.change_by_log(out);
        }
    }

    #[cold]
    fn change_by_log(&mut self, out: &mut Effects) {
        let me = self.config.me;
        match self.standing {
            Standing::Rejoining { life } => {
                let early = broken(Mutant::ReturnedEarly);
                let decided = if early { self.durable } else { self.committed.min(self.durable) };
                if self.rejoined.is_some_and(|slot| slot <= decided) {
                    self.change_standing(Standing::Voter { life }, out);
                }
            }
            // Somebody has put an older copy of the storage back. Its votes do not count any more, so
            // it starts another life.
            Standing::Voter { life }
                if self.log.base().life(me) != life
                    && self.rejoined.is_none_or(|slot| slot <= self.log.base().slot)
                    && self.standing_due.is_none() =>
            {
                self.lives_used += 1;
                self.rejoined = None;
                let life = Life(self.config.nonce.wrapping_add(self.lives_used));
                self.change_standing(Standing::Rejoining { life }, out);
            }
            _ => {}
        }
    }
}
