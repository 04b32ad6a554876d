//! Committed entries: their meaning to this replica, and their way into the server's script.

use crane_core::id::{Incarnation, Slot};
use crane_core::mutants::{Mutant, broken};
use crane_core::paxos::Content;
use crane_core::wire::{EntryReader, Genesis, Op, RestartReason, WireError};
use crane_shm::RingError;
use crane_shm::region::script;
use tracing::info;

use crate::event::Event;
use crate::log::{FETCH_RECORDS, Lookup};
use crate::net::handshake::short;
use crate::roster::RosterMember;
use crate::signal_name::SignalName;

use super::rooms::Restart;
use super::{Driver, FetchFor, Host, LOOK_AGAIN};

/// The number of slots that one pass observes.
const SLOTS_PER_PASS: usize = 256;

impl<H: Host> Driver<H> {
    /// Takes the slots before the log's front as observed: the front holds the group's genesis, and
    /// `meta` its members.
    pub(super) fn start_behind_front(&mut self) {
        let front = self.log.front();
        let Some(genesis) = self.log.genesis().filter(|genesis| *genesis <= front) else { return };
        if let Some(payload) = self.log.genesis_payload().cloned() {
            self.on_committed(genesis, &payload);
        }
        if let Some(restart) = self.meta.restart.filter(|restart| restart.slot <= front) {
            let known = &mut self.script.sum.incarnation;
            *known = (*known).max(restart.incarnation);
        }
    }

    /// Observes committed entries. Returns whether there were any.
    pub(super) fn observe(&mut self) -> bool {
        let mut count = 0;
        while self.script.observed < self.committed && count < SLOTS_PER_PASS {
            let slot = self.script.observed.next();
            if self.log.is_old(slot) && self.awaits_feeding(slot) {
                break;
            }
            let entry = match self.log.read(slot) {
                Lookup::Found(entry, Some(payload)) => {
                    self.on_committed(slot, &payload);
                    entry
                }
                Lookup::Found(entry, None) => {
                    if let Content::Change(members) = entry.content {
                        self.on_committed_change(slot, &members);
                    }
                    entry
                }
                Lookup::Absent => break,
                Lookup::OnDisk => {
                    self.fetch(FetchFor::Observing, slot);
                    break;
                }
            };
            self.script.include(&entry);
            count += 1;
        }
        count > 0
    }

    /// Returns whether the observation of an old slot waits until the server has been fed more. As
    /// long as the server takes entries, each is read once for both. Nothing else waits for what a
    /// backup without clients observes.
    fn awaits_feeding(&mut self, slot: Slot) -> bool {
        let fed = self.fed();
        let is_far = slot.0 > fed.0 + FETCH_RECORDS as u64;
        if self.now() >= self.server.takes_until
            || !(is_far || slot > fed.next() && self.log.has_much_fetched())
            || self.is_primary()
            || self.clients.has_clients()
        {
            return false;
        }
        self.look_again_at(self.server.takes_until);
        true
    }

    fn on_committed(&mut self, slot: Slot, payload: &[u8]) {
        if self.script.genesis.is_none() {
            match Genesis::decode(payload) {
                Ok(genesis) => self.on_genesis(slot, genesis),
                Err(error) => self.fail(format!("slot {slot} holds no genesis entry: {error}")),
            }
            return;
        }
        if let Err(error) = self.on_committed_entry(slot, payload) {
            self.fail(format!("slot {slot} holds no entry: {error}"));
        }
    }

    fn on_committed_entry(&mut self, slot: Slot, payload: &[u8]) -> Result<(), WireError> {
        let mut entry = EntryReader::new(payload)?;
        self.saw_timestamp(entry.timestamp);
        while let Some(op) = entry.next_op()? {
            self.on_committed_op(slot, entry.timestamp, &op);
        }
        Ok(())
    }

    fn on_committed_op(&mut self, slot: Slot, timestamp: u64, op: &Op<'_>) {
        self.clients.committed(self.now(), op);
        match *op {
            Op::Connect { conn, .. } => {
                let known = &mut self.script.sum.connected[conn.entry.index()];
                *known = (*known).max(Some(conn.generation));
                if conn.entry == self.me() && conn.generation > self.own_generation() {
                    info!("the log knows a later generation of this replica than it has");
                    self.begin_generation_above(conn.generation);
                }
            }
            Op::Retire { node, generation } => {
                let known = &mut self.script.sum.retired[node.index()];
                *known = (*known).max(generation);
                if node == self.me() && generation >= self.own_generation() {
                    info!("the group had given this replica up: its clients are reset");
                    self.begin_generation_above(generation);
                }
            }
            Op::Halt { slot } => self.on_halt(slot),
            Op::Restart { incarnation, reason } => {
                let crash = match reason {
                    RestartReason::Crashed(crash) => Some(crash),
                    RestartReason::Ordered | RestartReason::Upgraded { .. } => None,
                };
                let restart = Restart { slot, incarnation, timestamp, crash };
                self.on_committed_restart(restart, &reason);
            }
            Op::Signal { number, incarnation } if incarnation == self.script.sum.incarnation => {
                let signal = SignalName::of(number).to_string();
                self.record_event(Event::Signal { signal, slot: slot.0 });
            }
            Op::Member { node, address, witness } => {
                let address = address.to_string();
                self.on_committed_member(slot, RosterMember { node, address, witness });
            }
            _ => {}
        }
    }

    fn on_genesis(&mut self, slot: Slot, genesis: Genesis) {
        let is_first = self.meta.program_since() == Incarnation::FIRST;
        if !self.is_witness() && is_first && genesis.base != self.settings.base.digest() {
            return self.fail(
                "the group was created from another base (program, libraries, files, arguments or \
                 environment); start this replica from the same one, also if the group was \
                 upgraded since: it passes through the upgrade"
                    .to_string(),
            );
        }
        let founders = self.settings.founders.iter();
        let told = founders.map(|place| (&*place.address, place.witness));
        let said = genesis.members.iter().map(|founder| (&*founder.address, founder.witness));
        if !told.eq(said) {
            let names: Vec<&str> =
                genesis.members.iter().map(|founder| &*founder.address).collect();
            return self.fail(format!(
                "the group was created with the members {}, and this replica was told of {}; give \
                 the same --peers and --witness everywhere",
                names.join(","),
                self.settings.founders
            ));
        }
        let group = format!("{:032x}", genesis.group);
        if self.meta.group.as_ref().is_some_and(|known| *known != group) {
            return self.fail(format!(
                "the log is of group {}, and the data directory of another; give the \
                 right --data-dir",
                short(genesis.group)
            ));
        }
        self.host.keep_base();
        if self.meta.group.is_none() {
            info!("group {} exists", short(genesis.group));
            self.meta.group = Some(group);
            self.host.keep_meta(&self.meta);
        }
        self.hello.group = Some(genesis.group);
        self.host.set_hello(&self.hello);
        self.saw_timestamp(genesis.timestamp);
        self.proposer.genesis(&genesis);
        self.script.genesis = Some((slot, genesis));
        if !self.is_witness() {
            self.server.want();
        }
    }

    /// Feeds the server the entries that it does not have yet, up to the end of its incarnation.
    /// Returns whether there were any.
    // specs: I3
    pub(super) fn feed(&mut self) -> bool {
        let Some(genesis) = self.script.genesis.as_ref().map(|(slot, _)| *slot) else {
            return false;
        };
        let Some(mut fed) = self.server.run.as_ref().map(|run| run.fed) else { return false };
        let first = self.server.behind.map_or(genesis, |restart| restart.slot);
        let end = self.script.end_of(self.server.incarnation).map(|restart| restart.slot);
        // A server that proves a checkpoint says nothing new before the verdict.
        let ends = [end, self.proof_limit()].into_iter().flatten();
        let decided =
            if broken(Mutant::FedUndecided) { self.node.last() } else { self.script.observed };
        let end = ends.fold(decided, Slot::min);
        let mut count = 0;
        while fed < end && count < SLOTS_PER_PASS {
            let slot = fed.next();
            if slot >= first && !self.feed_slot(slot, first) {
                break;
            }
            fed = slot;
            count += 1;
        }
        if count > 0 {
            self.host.ring();
            self.server.expect_taking(self.now());
        }
        if let Some(run) = &mut self.server.run {
            run.fed = fed;
        }
        count > 0
    }

    /// Returns the slot behind which the script of the last run begins.
    pub(super) fn start_slot(&self) -> Slot {
        match self.server.behind {
            Some(restart) => Slot(restart.slot.0 - 1),
            None => self.checkpoint.start_slot().unwrap_or(Slot::NONE),
        }
    }

    /// Returns the last slot that the server was given, or behind which it starts.
    fn fed(&self) -> Slot {
        self.server.run.map_or_else(|| self.start_slot(), |run| run.fed)
    }

    /// Requests the entries that the readers of the log need next.
    pub(super) fn read_ahead(&mut self) {
        let observed = self.script.observed;
        if observed < self.committed {
            self.read_ahead_for(FetchFor::Observing, observed.next(), self.committed);
        }
        // Entries that are not observed yet are read for that.
        if let Some(run) = self.server.run.filter(|run| run.fed < observed) {
            self.read_ahead_for(FetchFor::Feeding, run.fed.next(), observed);
        }
        if let Some(fed) = self.needed_for_proof().filter(|fed| *fed < observed) {
            self.read_ahead_for(FetchFor::Proving, fed.next(), observed);
        }
    }

    /// Drops entries that were read again and that no reader needs soon.
    pub(super) fn forget_fetched(&mut self) {
        let observed = self.script.observed.next();
        let starts = self.now() < self.server.takes_until;
        let fed = (starts || self.server.run.is_some()).then(|| self.fed().next());
        let proof = self.needed_for_proof().map(Slot::next);
        let readers = [observed].into_iter().chain(fed).chain(proof).chain(self.checkpoint.cut_at);
        self.log.forget_fetched(readers.chain(self.owed.slots()));
    }

    /// Feeds the server the entry in one slot; in the first slot, its genesis. Returns whether it
    /// could.
    // specs: I4
    fn feed_slot(&mut self, slot: Slot, first: Slot) -> bool {
        if let Some(restart) = self.server.behind.filter(|restart| restart.slot == slot)
            && let Some((_, genesis)) = &self.script.genesis
        {
            let genesis = Genesis { timestamp: restart.timestamp, ..genesis.clone() };
            let payload = postcard::to_allocvec(&genesis).expect("plain data");
            return self.feed_record(script::GENESIS, slot, &payload);
        }
        let payload = match self.log.read(slot) {
            Lookup::Found(_, payload) => payload,
            Lookup::Absent => return false,
            Lookup::OnDisk => {
                self.fetch(FetchFor::Feeding, slot);
                return false;
            }
        };
        let kind = if slot == first { script::GENESIS } else { script::ENTRY };
        self.feed_record(kind, slot, payload.as_deref().unwrap_or_default())
    }

    fn feed_record(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> bool {
        match self.host.feed(kind, slot, payload) {
            Ok(()) => return true,
            // The server does not report when it has made room.
            Err(RingError::Full) => self.look_again_at(self.now() + LOOK_AGAIN),
            Err(error) => {
                self.fail(format!("slot {slot} cannot be given to the server: {error}"));
            }
        }
        false
    }
}
