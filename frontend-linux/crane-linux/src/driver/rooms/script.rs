//! How far the log has been observed, and what it said.

use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{Entry, SnapshotMeta};
use crane_core::wire::{Genesis, ProgramCrash};

use crate::server_program::Upgrade;

/// The number of crashes within [`CRASHES_WITHIN`] after which the group stops.
pub(in crate::driver) const CRASHES_MAX: usize = 3;
/// The agreed time, in nanoseconds, in which this many crashes stop the group.
const CRASHES_WITHIN: u64 = 60_000_000_000;

/// How far the log has been observed, and what it said.
#[derive(Debug)]
pub(in crate::driver) struct Script {
    /// The last observed slot.
    pub(in crate::driver) observed: Slot,
    /// The group's genesis, once it is committed, and its slot.
    pub(in crate::driver) genesis: Option<(Slot, Genesis)>,
    /// The observed entries in sum, apart from their ops for the server.
    pub(in crate::driver) sum: Sum,
    /// The sums at earlier slots: each holds from its slot to that of the next one.
    sums: Vec<Sum>,
    /// The restarts behind the log's prefix that count, in their order.
    pub(in crate::driver) restarts: Vec<Restart>,
    /// The programs that restarts behind the log's prefix began, in their order.
    pub(in crate::driver) upgrades: Vec<Upgrade>,
}

/// The entries up to a slot in sum, apart from their ops for the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::driver) struct Sum {
    /// The state of agreement.
    pub(in crate::driver) snapshot: SnapshotMeta,
    /// By entry replica: the highest generation with a connection.
    pub(in crate::driver) connected: [Option<Generation>; NODES_MAX],
    /// By entry replica: the highest generation that was retired.
    pub(in crate::driver) retired: [Generation; NODES_MAX],
    /// The last incarnation that the log has begun.
    pub(in crate::driver) incarnation: Incarnation,
}

/// A restart of the server that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::driver) struct Restart {
    /// Its slot.
    pub(in crate::driver) slot: Slot,
    /// The incarnation that begins behind the slot.
    pub(in crate::driver) incarnation: Incarnation,
    /// The timestamp of its entry, with which agreed time begins.
    pub(in crate::driver) timestamp: u64,
    /// The crash that it follows, if it follows one.
    pub(in crate::driver) crash: Option<ProgramCrash>,
}

impl Sum {
    /// Returns the sum of a log's prefix of which only the state of agreement is known.
    pub(in crate::driver) fn behind(snapshot: SnapshotMeta) -> Self {
        let retired = [Generation::default(); NODES_MAX];
        let incarnation = Incarnation::FIRST;
        Self { snapshot, connected: [None; NODES_MAX], retired, incarnation }
    }

    fn at(&self, slot: Slot) -> Self {
        Self { snapshot: SnapshotMeta { slot, ..self.snapshot }, ..*self }
    }
}

impl Script {
    /// Returns the state before the first entry behind a prefix of the log.
    pub(in crate::driver) fn behind(sum: Sum) -> Self {
        Self {
            observed: sum.snapshot.slot,
            genesis: None,
            sum,
            sums: vec![sum],
            restarts: Vec::new(),
            upgrades: Vec::new(),
        }
    }

    /// Takes the entry of the next slot as observed. Its ops have been taken.
    pub(in crate::driver) fn include(&mut self, entry: &Entry) {
        self.observed = self.observed.next();
        self.sum.snapshot.include(entry);
        assert_eq!(self.sum.snapshot.slot, self.observed, "each entry is included once");
        let last = self.sums.last().expect("never empty");
        if last.at(self.observed) != self.sum {
            self.sums.push(self.sum);
        }
    }

    /// Returns the sum of the entries up to an observed slot, unless it is forgotten.
    pub(in crate::driver) fn sum_at(&self, slot: Slot) -> Option<Sum> {
        let known = self.sums.iter().rev().find(|sum| sum.snapshot.slot <= slot);
        known.filter(|_| slot <= self.observed).map(|sum| sum.at(slot))
    }

    /// Forgets the sums of slots below one: they are not asked for again.
    pub(in crate::driver) fn forget_below(&mut self, slot: Slot) {
        let needed = self.sums.iter().rposition(|sum| sum.snapshot.slot <= slot);
        self.sums.drain(..needed.unwrap_or(0));
    }

    /// Returns the restart that ends an incarnation, if there is one.
    pub(in crate::driver) fn end_of(&self, incarnation: Incarnation) -> Option<Restart> {
        let place = self.restarts.partition_point(|restart| restart.incarnation <= incarnation);
        self.restarts.get(place).copied()
    }

    /// Returns the restart that follows a crash, if there is one.
    pub(in crate::driver) fn restart_after(&self, crash: ProgramCrash) -> Option<Restart> {
        self.restarts.iter().rev().find(|restart| restart.crash == Some(crash)).copied()
    }

    /// Returns the crash with which the program has crashed too often within a short time, if the
    /// last restart follows it.
    // specs: I5
    pub(in crate::driver) fn last_crash(&self) -> Option<ProgramCrash> {
        let last = self.restarts.last()?;
        let crash = last.crash?;
        let is_recent = |restart: &&Restart| {
            restart.crash.is_some() && restart.timestamp + CRASHES_WITHIN >= last.timestamp
        };
        let count = self
            .restarts
            .iter()
            .rev()
            .take_while(|restart| restart.timestamp + CRASHES_WITHIN >= last.timestamp);
        (count.filter(is_recent).count() >= CRASHES_MAX).then_some(crash)
    }

    /// Returns the generation of an entry replica that may have open connections.
    pub(in crate::driver) fn open_generation(&self, node: NodeId) -> Option<Generation> {
        let retired = self.sum.retired[node.index()];
        self.sum.connected[node.index()].filter(|generation| *generation > retired)
    }
}

#[cfg(test)]
mod tests {
    use crane_core::paxos::{Ballot, Content, Members};

    use super::*;

    #[test]
    fn a_sum_is_that_of_all_entries_up_to_its_slot() {
        let members = Members::first(3);
        let node = |number| NodeId::new(number).expect("a number");
        let entry = |round, content| Entry { ballot: Ballot::new(round, Some(node(1))), content };
        let smaller = Members { voters: members.voters.without(node(3)), ..members };
        let mut script = Script::behind(Sum::behind(SnapshotMeta::genesis(members)));
        let mut all = vec![script.sum];
        for slot in 1..=40 {
            let content = if slot == 30 { smaller } else { members };
            if slot == 20 {
                script.sum.connected[1] = Some(Generation(7));
            }
            if slot == 25 {
                script.sum.retired[1] = Generation(7);
            }
            script.include(&entry(1 + slot / 10, Content::Change(content)));
            assert_eq!(script.observed, Slot(slot));
            all.push(script.sum);
        }
        let is_right =
            |script: &Script, slot: usize| script.sum_at(Slot(slot as u64)) == Some(all[slot]);
        assert!((0..=40).all(|slot| is_right(&script, slot)));
        assert_eq!(script.sum_at(Slot(41)), None);
        assert!(script.sums.len() < 12, "{} sums", script.sums.len());
        script.forget_below(Slot(27));
        assert!((27..=40).all(|slot| is_right(&script, slot)));
        assert_eq!(script.sum_at(Slot(19)), None);
    }
}
