//! A simulated group: real nodes, a simulated network, simulated disks, one clock.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_core::intake::Intake;
use crane_core::mutants::{Mutant, broken};
use crane_core::paxos::{
    Config, DurableState, Effect, Effects, Input, Members, Message, Node, Record, Role,
    SnapshotMeta, VotingStatus, WriteNumber,
};
use crane_core::time::{Duration, Instant};

use super::checks::Checks;
use super::clients::{EntryReplica, ForwardedOps, OpBytes};
use super::disk::{Contents, Disk, DiskFaults, DiskSpeed};
use super::faults::{Happened, Stop, StorageCopy};
use super::network::Network;
use super::queue::Queue;
use super::random::Random;
use super::runs::{Brought, Carried, Runs, Said};
use super::server::Server;
use super::stamps::Stamps;
use crate::specification::event::{Event as Told, Recorder};

/// Microseconds of simulated time.
pub type Micros = u64;

/// A future event.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Deliver {
        from: NodeId,
        to: NodeId,
        /// The run of the sender.
        run: u64,
        message: Message,
        carried: Option<Carried>,
    },
    Wake {
        node: NodeId,
    },
    Synced {
        node: NodeId,
        run: u64,
        count: usize,
    },
    Link {
        at: NodeId,
        of: NodeId,
        up: bool,
    },
    Start {
        node: NodeId,
    },
    /// A state transfer: a checkpoint taken at this snapshot.
    Install {
        to: NodeId,
        snapshot: SnapshotMeta,
        checkpoint: Box<Server>,
    },
    /// An entry replica forwards ops to the primary.
    Handed {
        to: NodeId,
        forwarded: Box<ForwardedOps>,
    },
}

impl Event {
    /// Returns the node at which the event happens.
    fn node(&self) -> NodeId {
        match *self {
            Self::Deliver { to, .. } | Self::Install { to, .. } | Self::Handed { to, .. } => to,
            Self::Wake { node } | Self::Synced { node, .. } | Self::Start { node } => node,
            Self::Link { at, .. } => at,
        }
    }
}

/// A member: a node while it runs, and a disk always.
#[derive(Debug)]
pub(super) struct Place<const WINDOW: usize> {
    pub(super) id: NodeId,
    pub(super) node: Option<Box<Node<WINDOW>>>,
    pub(super) disk: Disk,
    /// The log in the frontend's memory, with its payloads, as far as it was written.
    pub(super) memory: Contents,
    /// The number of the program's run. Events of another run are stale.
    pub(super) run: u64,
    pub(super) syncing: bool,
    pub(super) wake_at: Micros,
    /// The rate of the node's clock, in thousandths of the simulated clock, from which its start
    /// differs.
    pub(super) rate: u64,
    pub(super) offset: u64,
    /// The nanoseconds by which the host's time of day is ahead of the simulated one.
    pub(super) ahead: u64,
    pub(super) stamps: Stamps,
    /// The time until which the host is suspended.
    pub(super) suspended: Micros,
    /// The last committed index that the frontend has stored.
    pub(super) hint: Slot,
    /// The members that the node is given at its first start and after a loss.
    pub(super) members: Members,
    /// Whether storage was lost, and the node has not voted since.
    pub(super) lost: bool,
    /// The server of this run, and the ops of its clients.
    pub(super) server: Server,
    pub(super) clients: EntryReplica,
    /// The generation of the node as an entry replica, which only grows.
    pub(super) generation: Generation,
    /// The last incarnation of the server in the log as it is committed here.
    pub(super) incarnation: Incarnation,
    /// The forwarded ops that the node has taken as primary.
    pub(super) intake: Intake,
    /// The ops that were forwarded to the node as primary.
    pub(super) handed: VecDeque<OpBytes>,
    /// The last checkpoint's server, at the slot where the log was cut.
    pub(super) checkpoint: Option<Box<Server>>,
    /// A copy of the storage.
    pub(super) copy: Option<StorageCopy>,
    /// The first run whose messages still arrive. Links are closed with the programs that made
    /// them.
    pub(super) heard_from: u64,
}

/// A whole group, stepped one event at a time.
pub struct Group<const WINDOW: usize> {
    /// Simulated time.
    pub now: Micros,
    /// The source of all random numbers.
    pub random: Random,
    /// The links.
    pub network: Network,
    /// The checked invariants.
    pub checks: Checks,
    /// The disks.
    pub disk_speed: DiskSpeed,
    /// The disks' faults.
    pub disk_faults: DiskFaults,
    /// The number of bytes that may be undecided.
    pub bytes_undecided_max: u64,
    /// The restarts of the server that primaries propose, of a thousand entries.
    pub restarts: u64,
    /// How long nodes wait for what all others recall of their storage.
    pub storage_check: Duration,
    /// The node whose storage has gone back, until it knows. No other node stops meanwhile: nothing
    /// else recalls what that node has said.
    pub(super) unaware: Option<NodeId>,
    /// The faults that happened to the group.
    pub happened: Happened,
    /// The counts of entries that were written together.
    pub written_runs: Runs,
    pub(super) places: Vec<Place<WINDOW>>,
    events: Queue<Event>,
    /// The place in which the effects of each step are collected, because effects are large and
    /// every step has some.
    effects: Option<Box<Effects>>,
    /// The last message that went over the wire format.
    pub(super) said: Option<Said>,
    /// The place in which the records of a slot range are collected.
    pub(super) records: Vec<(WriteNumber, Record)>,
    /// The payloads that were ever proposed, by their numbers from 1.
    pub(super) payloads: Vec<Rc<[u8]>>,
    steps: Rc<Cell<u64>>,
    /// The recorder of the run, for the rules of the specification.
    pub(super) recorder: Recorder,
}

impl<const WINDOW: usize> Group<WINDOW> {
    /// Creates a group of `count` members and some more nodes that may join, with empty disks. All
    /// nodes are about to start.
    pub fn new(
        count: usize,
        spare: usize,
        mut random: Random,
        network: Network,
        disk_speed: DiskSpeed,
        recorder: Recorder,
    ) -> Self {
        let ids: Vec<NodeId> = (1..=(count + spare) as u8).filter_map(NodeId::new).collect();
        let members = Members::first(count);
        let clocks_apart = *random.pick(&[1 << 29, 1 << 40]);
        let places = ids
            .iter()
            .map(|id| Place {
                id: *id,
                node: None,
                disk: Disk::default(),
                memory: Contents::default(),
                run: 0,
                syncing: false,
                wake_at: Micros::MAX,
                rate: random.range(900, 1100),
                offset: random.range(0, 1 << 40),
                ahead: random.range(0, clocks_apart),
                stamps: Stamps::new(0, 0),
                suspended: 0,
                hint: Slot::NONE,
                members,
                lost: false,
                server: Server::default(),
                clients: EntryReplica::new(*id, Generation(0), Recorder::default()),
                generation: Generation(0),
                incarnation: Incarnation::FIRST,
                intake: Intake::new(),
                handed: VecDeque::new(),
                checkpoint: None,
                copy: None,
                heard_from: 0,
            })
            .collect();
        let mut group = Self {
            now: 0,
            random,
            network,
            checks: Checks::new(members),
            disk_speed,
            disk_faults: DiskFaults::default(),
            bytes_undecided_max: u64::MAX,
            restarts: 0,
            storage_check: Duration::ZERO,
            unaware: None,
            happened: Happened::default(),
            written_runs: Runs::default(),
            places,
            events: Queue::default(),
            effects: None,
            said: None,
            records: Vec::new(),
            payloads: Vec::new(),
            steps: Rc::default(),
            recorder,
        };
        for node in ids {
            let at = group.random.range(0, 20_000);
            group.schedule(at, Event::Start { node });
        }
        group
    }

    /// Returns the members' names.
    pub fn ids(&self) -> Vec<NodeId> {
        self.places.iter().map(|place| place.id).collect()
    }

    /// Returns the node of this name, if it runs.
    pub fn node(&self, id: NodeId) -> Option<&Node<WINDOW>> {
        self.places[id.index()].node.as_deref()
    }

    /// Returns the node's log, as its frontend has it in memory.
    pub fn memory(&self, id: NodeId) -> &Contents {
        &self.places[id.index()].memory
    }

    /// Returns the number of nodes' steps, in a counter that outlives the group if a check fails.
    pub fn steps(&self) -> Rc<Cell<u64>> {
        self.steps.clone()
    }

    /// Carries out all events up to `until`.
    pub fn run_until(&mut self, until: Micros) {
        while let Some((at, event)) = self.events.next(until) {
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = until;
    }

    /// Returns whether a node runs.
    pub fn runs(&self, id: NodeId) -> bool {
        self.places[id.index()].node.is_some()
    }

    pub(super) fn local(&self, id: NodeId) -> Instant {
        let place = &self.places[id.index()];
        Instant::from_micros(place.offset + self.now * place.rate / 1000)
    }

    /// Returns a node's clock in nanoseconds, and its host's time of day.
    pub(super) fn clocks(&self, id: NodeId) -> (u64, u64) {
        let place = &self.places[id.index()];
        (self.local(id).as_micros() * 1000, place.ahead + self.now * 1000)
    }

    /// Returns whether a node runs on a host that is not suspended.
    pub(super) fn is_awake(&self, id: NodeId) -> bool {
        self.runs(id) && self.places[id.index()].suspended <= self.now
    }

    pub(super) fn schedule(&mut self, at: Micros, event: Event) {
        self.events.schedule(at, event);
    }

    fn happen(&mut self, event: Event) {
        let until = self.places[event.node().index()].suspended;
        if until > self.now {
            return self.schedule(until, event);
        }
        match event {
            Event::Deliver { from, to, run, message, carried } => {
                if run >= self.places[from.index()].heard_from {
                    self.deliver(from, to, &message, carried.as_ref());
                }
            }
            Event::Wake { node } => {
                if self.places[node.index()].wake_at <= self.now {
                    self.places[node.index()].wake_at = Micros::MAX;
                    self.step(node, Input::Wake, Brought::NONE);
                }
            }
            Event::Synced { node, run, count } => {
                let place = &mut self.places[node.index()];
                if place.run != run || place.node.is_none() {
                    return;
                }
                place.syncing = false;
                let fails = self.disk_faults.syncs > 0
                    && self.unaware.is_none()
                    && self.random.draw() % 1_000_000 < self.disk_faults.syncs;
                if fails && !broken(Mutant::SyncFailureIgnored) {
                    return self.stop(node, Stop::SyncFailed);
                }
                let disk = &mut place.disk;
                if let Some(up_to) = if fails { disk.forget(count) } else { disk.sync(count) } {
                    self.step(node, Input::Durable { up_to }, Brought::NONE);
                }
                self.sync(node);
            }
            Event::Link { at, of, up } => {
                let input =
                    if up { Input::LinkUp { node: of } } else { Input::LinkDown { node: of } };
                self.step(at, input, Brought::NONE);
            }
            Event::Start { node } => self.restore(node),
            Event::Install { to, snapshot, checkpoint } => self.install(to, snapshot, checkpoint),
            Event::Handed { to, forwarded } => self.take_ops(to, &forwarded),
        }
    }

    pub(super) fn restore(&mut self, id: NodeId) {
        if self.runs(id) {
            return;
        }
        let now = self.local(id);
        let nonce = self.random.draw() | 1;
        let members = self.checks.members();
        let place = &mut self.places[id.index()];
        place.run += 1;
        // Nothing else shows a node with blank storage that the group exists. If all members that
        // it knows were blank as well, they would begin another group.
        if place.lost && place.disk.safe().stored == DurableState::BLANK {
            place.members = members;
        }
        place.memory = place.disk.open(nonce).clone();
        (place.intake, place.handed) = (Intake::new(), VecDeque::new());
        place.suspended = 0;
        let mut config = Config::new(id, place.members, nonce);
        config.heartbeat = Duration::from_millis(20);
        config.storage_check = self.storage_check;
        config.bytes_undecided_max = self.bytes_undecided_max;
        config.bytes_behind_max = self.bytes_undecided_max;
        let mut stored = place.memory.stored;
        if self.random.permille(500) {
            stored.committed = place.hint;
        }
        let checkpoint = place.checkpoint.as_ref();
        place.incarnation = checkpoint.map_or(Incarnation::FIRST, |server| server.incarnation());
        let first = Generation::before(place.incarnation).0 + 1;
        let generation = Generation(place.run.max(place.generation.0 + 1).max(first));
        place.generation = generation;
        self.recorder.add(id, || {
            let log = place.memory.slots().map(|(_, entry)| entry).collect();
            Told::Started { nonce, generation, stored, log }
        });
        let recorder = self.recorder.clone();
        place.clients = EntryReplica::new(id, generation, recorder.clone());
        place.server = place.checkpoint.as_deref().cloned().unwrap_or_default().at(id, recorder);
        let node = Node::restore(config, now, stored, place.memory.slots());
        self.start_stamps(id);
        let place = &mut self.places[id.index()];
        place.node = Some(Box::new(node));
        self.checks.on_started(id, self.places[id.index()].memory.cut());
        self.step(id, Input::Wake, Brought::NONE);
        for other in self.ids() {
            if other != id && self.runs(other) {
                let at = self.now + self.random.range(50, 5_000);
                self.schedule(at, Event::Link { at: other, of: id, up: true });
                self.schedule(at, Event::Link { at: id, of: other, up: true });
            }
        }
    }

    pub(super) fn step(&mut self, id: NodeId, input: Input<'_>, brought: Brought<'_>) {
        let now = self.local(id);
        let Some(node) = &mut self.places[id.index()].node else { return };
        match input {
            Input::Message { from, message, .. } => {
                self.recorder.add(id, || Told::Received { from, message: *message });
            }
            Input::Durable { up_to } => self.recorder.add(id, || Told::Durable { up_to }),
            _ => {}
        }
        let mut out = self.effects.take().unwrap_or_default();
        node.step(now, input, &mut out);
        self.carry_out(id, out, brought);
    }

    /// Returns an empty place for effects.
    pub(super) fn effects(&mut self) -> Box<Effects> {
        self.effects.take().unwrap_or_default()
    }

    pub(super) fn carry_out(&mut self, id: NodeId, mut out: Box<Effects>, brought: Brought<'_>) {
        self.said.take_if(|said| said.carried.is_some());
        self.steps.set(self.steps.get() + 1);
        self.places[id.index()].node.iter().for_each(|node| node.invariants());
        self.checks.on_effects(&out);
        for effect in &*out {
            self.checks.on_effect(id, effect);
            match *effect {
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Write { number, record } => {
                    if !self.write(id, number, record, brought) {
                        break;
                    }
                    self.sync(id);
                }
                Effect::Append { number, range } => {
                    if !self.append(id, number, range, brought) {
                        break;
                    }
                    self.sync(id);
                }
                Effect::Committed { up_to } => {
                    self.recorder.add(id, || Told::Committed { up_to });
                    self.committed(id, up_to);
                }
                Effect::ServeCatchUp { to, from, up_to } => self.serve(id, to, from, up_to),
                Effect::Role { role, .. } => {
                    self.recorder.add(id, || Told::Role { role });
                    let place = &mut self.places[id.index()];
                    (place.intake, place.handed) = (Intake::new(), VecDeque::new());
                    if role == Role::Primary {
                        self.places[id.index()].stamps.timestamps.became_primary();
                    }
                }
                Effect::Members { .. } => {}
            }
        }
        out.clear();
        self.effects = Some(out);
        let place = &mut self.places[id.index()];
        let Some(node) = &place.node else { return };
        if node.votes() {
            place.lost = false;
        }
        let knows = node.votes() || matches!(node.voting(), VotingStatus::Rejoining { .. });
        self.unaware.take_if(|unaware| *unaware == id && knows);
        place.hint = node.snapshot().slot;
        self.checks.on_state(id, node);
        self.serve_clients(id);
        self.checks.on_kept(id, &self.places[id.index()].clients);
        self.set_alarm(id);
    }

    /// Schedules the next wake of a node at the time that it asks for.
    pub(super) fn set_alarm(&mut self, id: NodeId) {
        let place = &mut self.places[id.index()];
        let Some(node) = &place.node else { return };
        let deadline = node.deadline().as_micros().saturating_sub(place.offset);
        let at = (deadline * 1000 / place.rate).max(self.now) + 1;
        if at < place.wake_at {
            place.wake_at = at;
            self.schedule(at, Event::Wake { node: id });
        }
    }

    fn sync(&mut self, id: NodeId) {
        let place = &self.places[id.index()];
        if place.syncing || place.disk.waiting() == 0 || place.node.is_none() {
            return;
        }
        let (run, mut count) = (place.run, place.disk.waiting());
        // Records that were written together need not become safe together.
        if count > 1 && self.random.permille(200) {
            count = self.random.range(1, count as u64) as usize;
        }
        let at = self.now + self.random.range(self.disk_speed.min, self.disk_speed.max + 1);
        self.places[id.index()].syncing = true;
        self.schedule(at, Event::Synced { node: id, run, count });
    }
}
