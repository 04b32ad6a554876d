//! The service of a simulated group: clients' ops on their way into the log, and the servers that
//! take them out of it.

use std::rc::Rc;

use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_core::paxos::{Descriptor, NodeSet};
use crane_core::wire::{EntryPayload, EntryWriter, Op, RestartReason};

use super::clients::{EntryReplica, ForwardedOps};
use super::disk::Payload;
use super::group::{Event, Group, Place};
use super::processes::Lives;
use super::runs::Brought;
use crate::specification::event::{Event as Told, OpFact};

/// The maximum number of ops in one entry.
const ENTRY_OPS: usize = 6;
/// The maximum number of ops that wait at a primary.
const HANDED_MAX: usize = 64;

impl<const WINDOW: usize> Group<WINDOW> {
    /// Carries out an action of some client.
    pub fn client_acts(&mut self) {
        let ids = self.ids();
        let id = *self.random.pick(&ids);
        if self.is_awake(id) {
            self.places[id.index()].clients.act(&mut self.random);
            self.serve_clients(id);
        }
    }

    /// Makes some node that takes itself for the primary propose the ops forwarded to it, or
    /// bubbles: the given number of payloads, one by one or all at once.
    pub fn propose(&mut self, count: u64) {
        let run = if self.random.permille(500) { count } else { 1 };
        let ids = self.ids();
        let start = self.random.range(0, ids.len() as u64) as usize;
        for offset in 0..ids.len() {
            let id = ids[(start + offset) % ids.len()];
            let Some(node) = &self.places[id.index()].node else { continue };
            if node.primary() != Some(id) || !self.is_awake(id) {
                continue;
            }
            let mut proposed = 0;
            while proposed < count && self.propose_run(id, run) {
                proposed += run;
            }
            if proposed > 0 {
                return;
            }
        }
    }

    /// Makes a node propose this number of payloads at once. Returns whether it took any.
    fn propose_run(&mut self, id: NodeId, count: u64) -> bool {
        let now = self.local(id);
        let Some(node) = &self.places[id.index()].node else { return false };
        let first = node.last().next();
        let known = self.payloads.len();
        let payloads: Vec<_> =
            (0..count as usize).map(|before| Some(self.write_entry(id, before))).collect();
        let descriptors: Vec<_> =
            payloads.iter().flatten().map(|payload| self.describe(*payload)).collect();
        let mut out = self.effects();
        let Some(node) = &mut self.places[id.index()].node else { return false };
        // Otherwise it is not, or no longer, the primary, or too many slots or bytes are undecided.
        let taken = node.propose(now, &descriptors, &mut out).unwrap_or(0);
        self.payloads.truncate(known + taken);
        if taken == 0 {
            return false;
        }
        let handed = &mut self.places[id.index()].handed;
        handed.drain(..handed.len().min(taken * ENTRY_OPS));
        let payloads = &payloads[..taken];
        for (slot, payload) in (first.0..).map(Slot).zip(payloads.iter().flatten()) {
            self.checks.on_proposed(slot, *payload);
        }
        self.carry_out(id, out, Brought::by_proposal(first, payloads));
        self.look_at_undecided(id);
        true
    }

    /// Returns the next payload of the ops forwarded to a node, after the given number of payloads
    /// of the first ops.
    fn write_entry(&mut self, id: NodeId, before: usize) -> Payload {
        let mut space = [0; 4096];
        let mut writer = EntryWriter::new(&mut space).expect("the space suffices");
        let handed = self.places[id.index()].handed.iter().skip(before * ENTRY_OPS);
        for bytes in handed.take(ENTRY_OPS) {
            let (op, _) = Op::decode(bytes).expect("what was encoded can be decoded");
            writer.push(&op).expect("the space suffices");
        }
        // Another node's restart that is not committed here may have the same number.
        if self.restarts > 0
            && self.random.permille(self.restarts)
            && let Some(incarnation) = self.places[id.index()].incarnation.next()
        {
            let reason = RestartReason::Ordered;
            writer.push(&Op::Restart { incarnation, reason }).expect("the space suffices");
        }
        let grant = self.random.range(0, 60) as u32;
        let timestamp = self.next_stamp(id);
        let entry = writer.finish(timestamp, grant);
        self.payloads.push(Rc::from(entry));
        self.payloads.len() as Payload
    }

    /// Checks the bounds of the undecided slots and bytes, after a primary has proposed.
    fn look_at_undecided(&mut self, id: NodeId) {
        let Place { node: Some(node), memory, .. } = &self.places[id.index()] else { return };
        let mut lengths = Vec::new();
        let mut slot = node.committed().next();
        while slot <= node.last() {
            let (entry, _) = memory.entry(slot).expect("what is undecided was written here");
            lengths.extend(entry.content.payload().map(|payload| payload.length));
            slot = slot.next();
        }
        self.checks.on_undecided(id, &lengths, self.bytes_undecided_max);
    }

    /// Returns the descriptor of a payload.
    pub(super) fn describe(&self, payload: Payload) -> Descriptor {
        let bytes = &self.payloads[payload as usize - 1];
        Descriptor { length: bytes.len() as u32, digest: payload }
    }

    /// Forwards clients' ops to the primary that their entry replica knows.
    pub(super) fn serve_clients(&mut self, id: NodeId) {
        let now = self.local(id);
        let Place { node: Some(node), clients, .. } = &mut self.places[id.index()] else { return };
        let Some(primary) = node.primary() else { return };
        for forwarded in clients.hand_over(now, Some(primary)) {
            if primary == id {
                self.take_ops(id, &forwarded);
                continue;
            }
            for at in self.network.arrivals(self.now, id, primary, &mut self.random) {
                let forwarded = Box::new(forwarded.clone());
                self.schedule(at, Event::Handed { to: primary, forwarded });
            }
        }
    }

    /// Gives a primary the ops that an entry replica has forwarded.
    pub(super) fn take_ops(&mut self, id: NodeId, forwarded: &ForwardedOps) {
        let ForwardedOps { from, range, ops } = forwarded;
        let place = &mut self.places[id.index()];
        let Some(node) = place.node.as_ref().filter(|node| node.primary() == Some(id)) else {
            return;
        };
        let Some(known) = place.intake.missing(*from, range) else { return };
        if place.handed.len() + ops.len() > HANDED_MAX {
            return;
        }
        place.intake.took(*from, range);
        for (ticket, op) in (range.first.0..).zip(ops).skip(known) {
            self.checks.on_taken(node.ballot(), *from, range.generation, ticket);
            place.handed.push_back(op.clone());
        }
    }

    /// Takes slots that a node calls committed: checks them, and passes them to its server and its
    /// entry replica.
    pub(super) fn committed(&mut self, id: NodeId, up_to: Slot) {
        let mut slot = self.checks.committed_by(id).next();
        while slot <= up_to {
            let entry = self.places[id.index()].memory.entry(slot);
            let (entry, payload) = *entry.expect("what is committed here was written here");
            if self.checks.on_committed(id, slot, entry, payload) {
                self.tell_script(id, slot, payload);
                if let Some(payload) = payload {
                    self.checks.on_timestamp(slot, self.stamp_of(payload));
                }
                // A node without its disk may have voted with the lost one.
                let keeps = |place: &&Place<WINDOW>| {
                    place.lost || place.disk.safe().votes_for(slot, &entry)
                };
                let keepers: NodeSet =
                    self.places.iter().filter(keeps).map(|place| place.id).collect();
                let node =
                    self.places[id.index()].node.as_ref().expect("a node that has just reported");
                let enough = [node.members(), node.snapshot().members, self.checks.members()]
                    .iter()
                    .any(|members| members.is_quorum(keepers));
                assert!(enough, "slot {slot} was committed with copies at {keepers:?} only");
            }
            if let Some(payload) = payload {
                self.hand_in(id, slot, payload);
            }
            slot = slot.next();
        }
        let calls = self.random.range(0, 100);
        self.run_server(id, calls);
    }

    /// Records the content of a slot, for the specification.
    fn tell_script(&self, id: NodeId, slot: Slot, payload: Option<Payload>) {
        let Some(payload) = payload else { return };
        self.recorder.add(id, || {
            let bytes = &self.payloads[payload as usize - 1];
            let entry = EntryPayload::decode(bytes).expect("what was encoded can be decoded");
            let ops = entry.ops().map(|op| OpFact::of(&op)).collect();
            Told::Script { slot, timestamp: entry.timestamp, grant: entry.grant, ops }
        });
    }

    fn hand_in(&mut self, id: NodeId, slot: Slot, payload: Payload) {
        let now = self.local(id);
        let bytes = self.payloads[payload as usize - 1].clone();
        let place = &mut self.places[id.index()];
        let entry = EntryPayload::decode(&bytes).expect("what was encoded can be decoded");
        for op in entry.ops() {
            place.clients.committed(now, &op);
        }
        let restart = |op| match op {
            Op::Restart { incarnation, .. } => Some(incarnation),
            _ => None,
        };
        let next = entry.ops().filter_map(restart).max().filter(|next| *next > place.incarnation);
        place.server.arrive(slot, bytes.clone());
        if let Some(next) = next {
            self.begin_incarnation(id, next);
        }
    }

    /// Lets a node's clients connect to the next incarnation. Their connections to those before
    /// have ended.
    // specs: I2
    fn begin_incarnation(&mut self, id: NodeId, incarnation: Incarnation) {
        self.happened.restarts += 1;
        let place = &mut self.places[id.index()];
        place.incarnation = incarnation;
        let older = Generation::before(incarnation);
        // It may read the log again.
        if place.generation > older {
            return;
        }
        let generation = Generation(older.0 + 1);
        place.generation = generation;
        self.recorder.add(id, || Told::Generation { generation });
        place.clients = EntryReplica::new(id, generation, self.recorder.clone());
    }

    pub(super) fn run_server(&mut self, id: NodeId, calls: u64) {
        let server = &mut self.places[id.index()].server;
        server.run(calls);
        for mark in server.take_marks() {
            self.checks.on_mark(id, mark);
        }
    }

    /// Lets all servers run to the end of the script. Returns whether all ops of all clients are in
    /// it.
    pub fn service_is_done(&mut self) -> bool {
        for id in self.ids() {
            self.run_server(id, u64::MAX);
        }
        self.clients_are_done()
    }

    /// Returns whether all ops of all members' clients are committed.
    pub fn clients_are_done(&self) -> bool {
        let members = self.checks.members().all();
        self.places
            .iter()
            .filter(|place| members.contains(place.id))
            .all(|place| place.clients.is_done())
    }

    /// Returns the work of the busiest server: the numbers of calls made and bytes admitted.
    pub fn work(&self) -> (u64, u64) {
        self.places.iter().map(|place| place.server.work()).max().expect("a group has nodes")
    }

    /// Returns the events among the processes of all servers.
    pub fn lives(&self) -> Lives {
        let mut lives = Lives::default();
        self.places.iter().for_each(|place| lives += place.server.lives());
        lives
    }

    /// Checks that servers have received all bytes that clients have sent, and nothing else.
    pub fn check_service(&self) {
        let members = self.checks.members().all();
        let among = || self.places.iter().filter(|place| members.contains(place.id));
        for (entry, replica) in among().flat_map(|one| among().map(move |other| (one, other))) {
            for (conn, sent) in entry.clients.conns() {
                let received = replica.server.received(conn);
                assert!(
                    received.is_none_or(|received| received == sent),
                    "connection {conn}: {sent} bytes sent, {received:?} admitted at {}",
                    replica.id
                );
            }
        }
    }
}
