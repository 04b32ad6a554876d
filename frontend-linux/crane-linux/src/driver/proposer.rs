//! The primary's proposals: the ops of all replicas' clients, bubbles, deadlines of the server, and
//! the end of connections that entered by a replica which is gone.

use crane_core::bubble::{Ask, Sight};
use crane_core::forward::TicketRange;
use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::mutants::{Mutant, broken};
use crane_core::paxos::{Effects, NodeSet, ProposeError};
use crane_core::time::Duration;
use crane_core::wire::{Address, EntryWriter, Founder, Genesis, Op, Schedule};
use crane_shm::ServerState;
use tracing::{info, warn};

use crate::log::{Payload, describe};
use crate::net::ops;
use crate::options::{self};
use crate::proxy;

use super::agreement::InputPayloads;
use super::{Driver, Host};

/// The number of proposed entries that may be uncommitted; ops that arrive meanwhile are batched.
const PIPELINE: u64 = 4;
/// How long a replica may be without a link before its connections are given up.
const GIVE_UP_AFTER: Duration = Duration::from_millis(1000);
/// How long to wait before a deadline that its time op did not end is proposed again.
const SAME_DEADLINE_AFTER: Duration = Duration::from_millis(1);

impl<H: Host> Driver<H> {
    /// Handles ops that another replica forwards.
    pub(super) fn on_ops(&mut self, from: NodeId, bytes: Vec<u8>) {
        if !self.is_primary() {
            return;
        }
        match ops::read(from, &bytes) {
            Ok((range, ops)) => self.take_ops(from, &range, ops),
            Err(why) => warn!("replica {from} forwards {why}"),
        }
    }

    /// Takes the ops of a range of tickets that this primary has not taken before, if there is room
    /// for them. Their entry replica forwards them again otherwise.
    // specs: E12
    pub(super) fn take_ops(&mut self, from: NodeId, range: &TicketRange, ops: &[u8]) {
        let counters = &mut self.events.counters;
        let Some(known) = self.proposer.intake.missing(from, range) else {
            counters.ops_dropped += u64::from(range.count);
            return;
        };
        let count = range.count as usize - known;
        if !self.proposer.push_all(ops::after(ops, known), count) {
            counters.ops_refused += u64::from(range.count);
            return;
        }
        counters.ops_dropped += known as u64;
        self.proposer.intake.took(from, range);
    }

    /// Proposes everything that can be proposed. Returns whether it proposed anything.
    pub(super) fn propose(&mut self) -> bool {
        self.proposer.alarm = None;
        if !self.is_primary() {
            return false;
        }
        if self.log.genesis().is_none() {
            return self.node.last() == self.node.committed()
                && self.may_begin_time()
                && self.propose_genesis();
        }
        if self.script.genesis.is_none() {
            return false;
        }
        self.retire_lost();
        self.retire_handed_on();
        let mut any = false;
        while !self.proposer.pending.is_empty() && self.undecided() < PIPELINE {
            if !self.propose_ops() {
                return any;
            }
            any = true;
        }
        any || self.propose_time() || self.propose_bubble()
    }

    fn undecided(&self) -> u64 {
        self.node.last().0 - self.node.committed().0
    }

    fn propose_payload(&mut self, payload: Payload) -> bool {
        let mut out = Effects::new();
        let first = self.node.last().next();
        match self.node.propose(self.now(), &[describe(&payload)], &mut out) {
            Ok(_) => {
                self.events.counters.bytes_proposed += payload.len() as u64;
                self.carry_out(&out, InputPayloads { first, payloads: &[Some(payload)] });
                true
            }
            Err(ProposeError::Full | ProposeError::NotPrimary { .. }) => false,
        }
    }

    fn propose_genesis(&mut self) -> bool {
        // A replica without a base cannot describe it, so a witness transfers the leadership.
        if self.is_witness() {
            return false;
        }
        let timestamp = self.next_timestamp();
        let (group, seed) = self.settings.random.split_at(16);
        let args = &self.settings.args;
        let founders = self.settings.founders.iter().map(|place| Founder {
            address: Address::try_from(&*place.address).expect("names were checked for length"),
            witness: place.witness,
        });
        let service = self.settings.service.iter();
        let genesis = Genesis {
            group: u128::from_le_bytes(group.try_into().expect("16 of 48 bytes")),
            members: founders.collect(),
            base: self.settings.base.digest(),
            seed: seed.try_into().expect("32 of 48 bytes"),
            timestamp,
            quantum: args.quantum,
            nclock: args.nclock,
            schedule: match args.schedule {
                options::ScheduleArg::Serial => Schedule::Serial,
                options::ScheduleArg::Parallel => Schedule::Parallel,
            },
            service: service.map(|address| proxy::endpoint((*address, 0).into()).address).collect(),
            figures: self.settings.figures,
        };
        let length = genesis.encode(&mut self.proposer.space).expect("an entry's space suffices");
        let payload = Payload::from(&self.proposer.space[..length]);
        info!("creating the group");
        self.propose_payload(payload)
    }

    fn propose_ops(&mut self) -> bool {
        let timestamp = self.next_timestamp();
        let proposer = &mut self.proposer;
        let Some(bubbles) = &mut proposer.bubbles else { return false };
        let grant = bubbles.op();
        let mut writer = EntryWriter::new(&mut proposer.space).expect("an entry's space");
        let mut taken = 0;
        for chunk in &proposer.pending {
            if writer.push_encoded(&chunk.bytes, chunk.count).is_err() {
                break;
            }
            taken += 1;
        }
        assert!(taken > 0, "a chunk fits into an empty entry");
        let bytes = writer.finish(timestamp, grant);
        let payload = Payload::from(bytes);
        if !self.propose_payload(payload) {
            return false;
        }
        self.events.counters.entries_proposed += 1;
        for chunk in self.proposer.pending.drain(..taken) {
            self.proposer.pending_bytes -= chunk.bytes.len();
        }
        true
    }

    /// Proposes an op of this primary itself. Returns whether it could.
    pub(super) fn propose_op(&mut self, op: Op<'_>) -> bool {
        let Some(bubbles) = &mut self.proposer.bubbles else { return false };
        let grant = bubbles.op();
        self.events.counters.entries_proposed += 1;
        self.propose_entry(Some(op), grant)
    }

    fn propose_entry(&mut self, op: Option<Op<'_>>, grant: u32) -> bool {
        let timestamp = self.next_timestamp();
        let mut writer = EntryWriter::new(&mut self.proposer.space).expect("an entry's space");
        if let Some(op) = op {
            writer.push(&op).expect("one op fits into an empty entry");
        }
        let payload = Payload::from(writer.finish(timestamp, grant));
        self.propose_payload(payload)
    }

    /// Returns what the primary sees of its own server: its state, and whether something is on its
    /// way.
    pub(super) fn sight(&self) -> Option<(ServerState, bool)> {
        let view = *self.server.view()?;
        let outstanding = self.undecided() > 0 || Slot(view.admitted) < self.committed;
        Some((view.state, outstanding))
    }

    fn propose_bubble(&mut self) -> bool {
        let Some((state, outstanding)) = self.sight() else { return false };
        let alone = !self.clients.has_clients() && self.server.connections() == 0;
        let sight = Sight { stalled: state == ServerState::Stalled, outstanding, alone };
        let now = self.now();
        let Some(bubbles) = &mut self.proposer.bubbles else { return false };
        match bubbles.look(now, sight) {
            Ask::Nothing => false,
            Ask::At(at) => {
                self.proposer.ring_at(at);
                false
            }
            Ask::Now { grant } => {
                self.events.counters.bubbles_proposed += 1;
                self.propose_entry(None, grant)
            }
        }
    }

    /// Proposes a time op for a server that only waits for a deadline. Returns whether it did.
    fn propose_time(&mut self) -> bool {
        let Some((ServerState::Quiescent, false)) = self.sight() else { return false };
        let deadline = self.server.time_deadline();
        if deadline == u64::MAX {
            return false;
        }
        let now = self.now();
        let agreed = self.timestamps.now(self.moment.since_start);
        let mut due = now + Duration::from_micros(deadline.saturating_sub(agreed).div_ceil(1000));
        if let Some((asked, at)) = self.proposer.time_asked
            && asked == deadline
        {
            due = due.max(at + SAME_DEADLINE_AFTER);
        }
        if now < due || agreed < deadline {
            self.proposer.ring_at(due);
            return false;
        }
        self.proposer.time_asked = Some((deadline, now));
        self.propose_op(Op::Time)
    }

    /// Ends the connections that entered by replicas which have been gone for too long.
    fn retire_lost(&mut self) {
        let now = self.now();
        // This includes replicas that are no longer members.
        for node in NodeSet::first(NODES_MAX).without(self.me()).iter() {
            let Some(since) = self.proposer.down_since[node.index()] else { continue };
            let Some(generation) = self.script.open_generation(node) else { continue };
            if self.proposer.retiring[node.index()] >= generation {
                continue;
            }
            let due = since + GIVE_UP_AFTER;
            if now < due {
                self.proposer.ring_at(due);
                continue;
            }
            info!("replica {node} has been gone for too long: its clients' connections end");
            self.retire(node, generation);
        }
    }

    /// Ends the connections whose clients a replica has handed on.
    // specs: H9
    fn retire_handed_on(&mut self) {
        for node in self.linked.iter() {
            let handed_on = self.health.vigil.handed_on_by(node);
            let open = self.script.open_generation(node);
            let Some(generation) = open.filter(|open| *open <= handed_on) else { continue };
            if broken(Mutant::HandedOnUnretired) {
                continue;
            }
            if self.proposer.retiring[node.index()] < generation {
                info!("replica {node} has handed its clients on: their connections end");
                self.retire(node, generation);
            }
        }
    }

    fn retire(&mut self, node: NodeId, generation: Generation) {
        self.proposer.retiring[node.index()] = generation;
        let mut space = [0; 64];
        let retire = Op::Retire { node, generation };
        let length = retire.encode(&mut space).expect("64 bytes hold it");
        self.proposer.push(&space[..length]);
    }
}
