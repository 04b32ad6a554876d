//! What the primary proposes: its clients' ops and other replicas', bubbles, deadlines of the
//! server, and the end of connections that entered by a replica which is gone.

use std::collections::VecDeque;

use crane_core::bubble::{Ask, Bubbles, Sight};
use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::{ENTRY_BYTES_MAX, ENTRY_OPS_MAX, NODES_MAX};
use crane_core::paxos::{Effects, NodeSet, ProposeError};
use crane_core::time::{Duration, Instant};
use crane_core::wire::{Address, EntryWriter, Founder, Genesis, Op, Schedule};
use crane_shm::ServerState;
use tracing::{debug, info, warn};

use crate::log::{Payload, describe};
use crate::net::ops;
use crate::options::{self, ReplicaArgs};

use super::Driver;
use super::agreement::InputPayloads;

/// Entries that are proposed while none of them is committed; what comes meanwhile is batched.
const PIPELINE: u64 = 4;
/// Bytes of ops that wait to be proposed. Other replicas bound what they hand over; this bounds
/// what they can repeat.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// After so long without a link, a replica's connections are given up.
const GIVE_UP_AFTER: Duration = Duration::from_millis(1000);
/// A deadline that did not end by its time op is asked for again after this.
const SAME_DEADLINE_AFTER: Duration = Duration::from_millis(1);

/// The primary's work.
#[derive(Debug)]
pub(super) struct Proposer {
    wtimeout: Duration,
    bubbles: Option<Bubbles>,
    pending: VecDeque<OpBatch>,
    pending_bytes: usize,
    alarm: Option<Instant>,
    /// Since when there is no link to a replica.
    down_since: [Option<Instant>; NODES_MAX],
    retiring: [Generation; NODES_MAX],
    time_asked: Option<(u64, Instant)>,
    space: Vec<u8>,
}

/// Encoded ops that go into one entry.
#[derive(Debug)]
struct OpBatch {
    bytes: Vec<u8>,
    count: usize,
}

impl Proposer {
    pub(super) fn new(args: &ReplicaArgs) -> Self {
        Self {
            wtimeout: Duration::from_micros(args.wtimeout.as_micros() as u64),
            bubbles: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            alarm: None,
            down_since: [Some(Instant::START); NODES_MAX],
            retiring: [Generation(0); NODES_MAX],
            time_asked: None,
            space: vec![0; ENTRY_BYTES_MAX],
        }
    }

    pub(super) fn genesis(&mut self, genesis: &Genesis) {
        self.bubbles = Some(Bubbles::new(self.wtimeout, genesis.nclock));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.alarm
    }

    pub(super) fn link_up(&mut self, node: NodeId) {
        self.down_since[node.index()] = None;
        self.retiring[node.index()] = Generation(0);
    }

    pub(super) fn link_down(&mut self, node: NodeId, now: Instant) {
        self.down_since[node.index()] = Some(now);
    }

    /// What waits was handed to a primary that this replica is not any more, or not yet. Whoever
    /// handed it over does so again. Who is not linked gets its time from now on.
    pub(super) fn role_changed(&mut self, now: Instant) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.retiring = [Generation(0); NODES_MAX];
        self.time_asked = None;
        for since in self.down_since.iter_mut().flatten() {
            *since = now;
        }
    }

    /// Adds one encoded op.
    pub(super) fn push(&mut self, op: &[u8]) {
        self.pending_bytes += op.len();
        if let Some(last) = self.pending.back_mut()
            && last.count < ENTRY_OPS_MAX
            && last.bytes.len() + op.len() <= ENTRY_BYTES_MAX / 2
        {
            last.bytes.extend_from_slice(op);
            last.count += 1;
            return;
        }
        self.pending.push_back(OpBatch { bytes: op.to_vec(), count: 1 });
    }

    fn push_all(&mut self, bytes: Vec<u8>, count: usize) {
        if self.pending_bytes + bytes.len() <= PENDING_BYTES_MAX {
            self.pending_bytes += bytes.len();
            self.pending.push_back(OpBatch { bytes, count });
        }
    }

    fn ring_at(&mut self, at: Instant) {
        self.alarm = Some(self.alarm.map_or(at, |other| other.min(at)));
    }
}

impl Driver {
    /// Another replica hands ops over.
    pub(super) fn on_ops(&mut self, from: NodeId, bytes: Vec<u8>) {
        if !self.is_primary() {
            return;
        }
        match ops::count(from, &bytes) {
            Ok(count) => self.proposer.push_all(bytes, count),
            Err(why) => warn!("replica {from} hands over {why}"),
        }
    }

    /// Proposes what there is. Says whether it did.
    pub(super) fn propose(&mut self) -> bool {
        self.proposer.alarm = None;
        if !self.is_primary() {
            return false;
        }
        if self.log.genesis().is_none() {
            return self.node.last() == self.node.committed() && self.propose_genesis();
        }
        if self.script.genesis.is_none() {
            return false;
        }
        self.retire_lost();
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
        match self.node.propose(self.clock.now(), &[describe(&payload)], &mut out) {
            Ok(_) => {
                self.events.counters.bytes_proposed += payload.len() as u64;
                self.carry_out(&out, InputPayloads { first, payloads: &[Some(payload)] });
                true
            }
            Err(ProposeError::Full | ProposeError::NotPrimary { .. }) => false,
        }
    }

    fn propose_genesis(&mut self) -> bool {
        // Whoever has no base cannot say what it is. A witness hands its role over.
        if self.is_witness() {
            return false;
        }
        let mut random = [0; 48];
        if let Err(why) = fill_random(&mut random) {
            self.fail(format!("no random numbers for a new group: {why}"));
            return false;
        }
        let (group, seed) = random.split_at(16);
        let args = &self.settings.args;
        let founders = self.settings.founders.iter().map(|place| Founder {
            address: Address::try_from(&*place.address).expect("names were checked for length"),
            witness: place.witness,
        });
        let genesis = Genesis {
            group: u128::from_le_bytes(group.try_into().expect("16 of 48 bytes")),
            members: founders.collect(),
            base: self.settings.base.digest(),
            seed: seed.try_into().expect("32 of 48 bytes"),
            timestamp: self.agreed.timestamp(),
            quantum: args.quantum,
            nclock: args.nclock,
            schedule: match args.schedule {
                options::ScheduleArg::Serial => Schedule::Serial,
                options::ScheduleArg::Parallel => Schedule::Parallel,
            },
        };
        let length = genesis.encode(&mut self.proposer.space).expect("an entry's space suffices");
        let payload = Payload::from(&self.proposer.space[..length]);
        info!("creating the group");
        self.propose_payload(payload)
    }

    fn propose_ops(&mut self) -> bool {
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
        let bytes = writer.finish(self.agreed.timestamp(), grant);
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

    /// Proposes an op of this primary's own. Says whether it could.
    pub(super) fn propose_op(&mut self, op: Op<'_>) -> bool {
        let Some(bubbles) = &mut self.proposer.bubbles else { return false };
        let grant = bubbles.op();
        self.events.counters.entries_proposed += 1;
        self.propose_entry(Some(op), grant)
    }

    fn propose_entry(&mut self, op: Option<Op<'_>>, grant: u32) -> bool {
        let mut writer = EntryWriter::new(&mut self.proposer.space).expect("an entry's space");
        if let Some(op) = op {
            writer.push(&op).expect("one op fits into an empty entry");
        }
        let payload = Payload::from(writer.finish(self.agreed.timestamp(), grant));
        self.propose_payload(payload)
    }

    /// What the primary sees of its own server: its state, and whether something is on its way.
    fn sight(&self) -> Option<(ServerState, bool)> {
        let region = self.server.region()?;
        let admitted = Slot(region.admitted.load(std::sync::atomic::Ordering::SeqCst));
        let outstanding = self.undecided() > 0 || admitted < self.committed;
        Some((region.state(), outstanding))
    }

    fn propose_bubble(&mut self) -> bool {
        let Some((state, outstanding)) = self.sight() else { return false };
        let alone = !self.clients.has_clients() && self.server.connections() == 0;
        let sight = Sight { stalled: state == ServerState::Stalled, outstanding, alone };
        let now = self.clock.now();
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

    /// A deadline of a server that waits for nothing else.
    fn propose_time(&mut self) -> bool {
        let Some((ServerState::Quiescent, false)) = self.sight() else { return false };
        let deadline = self.server.time_deadline();
        if deadline == u64::MAX {
            return false;
        }
        let now = self.clock.now();
        let agreed = self.agreed.now();
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
        let now = self.clock.now();
        // Also of those that are not members any more.
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
            self.proposer.retiring[node.index()] = generation;
            let mut space = [0; 64];
            let retire = Op::Retire { node, generation };
            let length = retire.encode(&mut space).expect("64 bytes hold it");
            self.proposer.push(&space[..length]);
        }
    }

    /// Somebody else should be primary: this replica's server cannot be.
    pub(super) fn resign(&mut self) {
        self.node.set_in_step(false);
        if !self.is_primary() {
            return;
        }
        let linked = self.servers().iter().filter(|node| self.links[node.index()].is_some());
        let mut alive = linked.filter(|node| {
            !matches!(self.reports[node.index()], crate::report::ServerReport::Ended { .. })
        });
        let Some(to) = alive.next() else { return };
        match self.hand_role_to(to) {
            Ok(()) => info!("handing the primary's role to replica {to}"),
            Err(error) => debug!("the role stays: {error}"),
        }
    }
}

/// Random bytes of the host.
fn fill_random(space: &mut [u8]) -> std::io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use crane_core::wire::EntryPayload;

    fn proposer() -> Proposer {
        let cli = options::Cli::try_parse_from(["crane-linux", "--local", "1", "--", "x"]).unwrap();
        Proposer::new(&cli.replica)
    }

    #[test]
    fn what_waits_is_cut_into_chunks_that_fit_into_entries() {
        let mut proposer = proposer();
        let mut op = [0; 64];
        let length = Op::Time.encode(&mut op).unwrap();
        for _ in 0..3 * ENTRY_OPS_MAX {
            proposer.push(&op[..length]);
        }
        assert_eq!(proposer.pending.len(), 3);
        assert_eq!(proposer.pending_bytes, 3 * ENTRY_OPS_MAX * length);
        for chunk in &proposer.pending {
            let mut space = vec![0; ENTRY_BYTES_MAX];
            let mut writer = EntryWriter::new(&mut space).unwrap();
            writer.push_encoded(&chunk.bytes, chunk.count).unwrap();
            assert_eq!(
                EntryPayload::decode(writer.finish(1, 1)).unwrap().ops().len(),
                ENTRY_OPS_MAX
            );
        }
    }

    #[test]
    fn repeated_ops_of_others_are_bounded_and_forgotten_with_the_role() {
        let mut proposer = proposer();
        for _ in 0..100 {
            proposer.push_all(vec![0; 1 << 20], 1);
        }
        assert_eq!(proposer.pending_bytes, PENDING_BYTES_MAX);
        proposer.role_changed(Instant::START);
        assert!(proposer.pending.is_empty() && proposer.pending_bytes == 0);
    }
}
