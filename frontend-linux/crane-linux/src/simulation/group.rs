//! The group: three replicas, their network and their clients under one clock, stepped one event at
//! a time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crane_core::id::Generation;
use crane_core::paxos::Role;

use crate::checkpoint::every::CheckpointEvery;
use crate::driver::{ClientInput, Driver, DriverInput, RunNumber, RunStart};
use crate::meta::Meta;
use crate::net::handshake::Hello;

use super::clients::{Manners, SimClient};
use super::faults::{FaultCounts, FaultKind};
use super::host::SimHost;
use super::links::{SentFrame, SimNetwork};
use super::queue::{EventQueue, Nanos};
use super::random::SeededRandom;
use super::replica::SimReplica;
use super::server::SimServer;

pub(super) const MICROSECOND: Nanos = 1000;
pub(super) const MILLISECOND: Nanos = 1000 * MICROSECOND;
pub(super) const SECOND: Nanos = 1000 * MILLISECOND;

/// The longest time between an input and the round after it.
const ROUND_WITHIN: Nanos = 60 * MICROSECOND;
/// How soon a daemon is woken at the earliest.
const WAKE_AFTER: Nanos = 10 * MICROSECOND;

/// In one of how many events the invariants of the core are checked as a whole.
const INVARIANTS_EVERY: u64 = 16;

/// A future event. Places are those of replicas.
#[derive(Debug)]
pub(super) enum SimEvent {
    /// A daemon's deadline has come.
    Wake { at: usize, run: u64 },
    /// A daemon makes its passes.
    Round { at: usize, run: u64 },
    /// Something has an outcome.
    Input { at: usize, run: u64, input: DriverInput },
    /// A meta is durable.
    MetaKept { at: usize, run: u64, meta: Box<Meta> },
    /// A sync returns.
    Synced { at: usize, run: u64 },
    /// A server's program is started.
    ServerStarts { at: usize, run: u64, number: RunNumber, generation: Generation, from: RunStart },
    /// A server that is held is copied.
    Image { at: usize, run: u64, number: u64, group: String },
    /// The server of a proof is made.
    ProofBegins { at: usize, run: u64, number: u64, place: PathBuf },
    /// A checkpoint arrives.
    CheckpointArrives { at: usize, run: u64, from: usize, with_files: bool },
    /// A server makes calls.
    ServerRuns { at: usize, run: u64 },
    /// A frame arrives.
    Frame { at: usize, from: usize, link: u64, frame: SentFrame },
    /// A link begins at one end.
    LinkUp { at: usize, run: u64, link: u64, peer: usize, hello: Box<Hello> },
    /// A daemon learns that a later one of its number is known.
    Fence { at: usize, link: u64, from: usize, newest: Generation },
    /// One end notices that a link is closed.
    LinkDown { at: usize, link: u64, peer: usize },
    /// Two replicas try to link.
    Dial { one: usize, other: usize },
    /// A direction has been cut for long.
    TimeOut { from: usize, to: usize, since: Nanos },
    /// A daemon starts.
    Start { at: usize },
    /// A fault that lasts is over.
    Heal { at: usize, kind: FaultKind },
    /// All cut directions are mended.
    Mend,
    /// A client's action arrives.
    FromClient { at: usize, run: u64, key: u64, what: ClientInput },
    /// A client acts.
    Act { client: usize, attempt: u64 },
    /// Answers arrive at the client of a connection.
    Answer { key: u64, bytes: Vec<u8> },
    /// The connection of a client ends.
    EndClient { key: u64 },
}

impl SimEvent {
    /// Returns the replica whose host carries the event out.
    fn place(&self) -> Option<usize> {
        match *self {
            Self::Wake { at, .. }
            | Self::Round { at, .. }
            | Self::Input { at, .. }
            | Self::MetaKept { at, .. }
            | Self::Synced { at, .. }
            | Self::ServerStarts { at, .. }
            | Self::ServerRuns { at, .. }
            | Self::Image { at, .. }
            | Self::ProofBegins { at, .. }
            | Self::CheckpointArrives { at, .. }
            | Self::Frame { at, .. }
            | Self::LinkUp { at, .. }
            | Self::LinkDown { at, .. }
            | Self::Fence { at, .. }
            | Self::FromClient { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Returns a number of the kind.
    fn kind(&self) -> u64 {
        match self {
            Self::Wake { .. } => 1,
            Self::Round { .. } => 2,
            Self::Input { .. } => 3,
            Self::MetaKept { .. } => 4,
            Self::Synced { .. } => 5,
            Self::ServerStarts { .. } => 6,
            Self::ServerRuns { .. } => 7,
            Self::Frame { frame, .. } => 8 + 32 * frame.1.len() as u64,
            Self::LinkUp { .. } => 9,
            Self::LinkDown { .. } => 10,
            Self::Dial { .. } => 11,
            Self::TimeOut { .. } => 12,
            Self::Start { .. } => 13,
            Self::FromClient { .. } => 14,
            Self::Act { .. } => 15,
            Self::Answer { .. } => 16,
            Self::EndClient { .. } => 17,
            Self::Heal { .. } => 18,
            Self::Mend => 19,
            Self::Image { .. } => 20,
            Self::ProofBegins { .. } => 21,
            Self::CheckpointArrives { .. } => 22,
            Self::Fence { .. } => 23,
        }
    }
}

/// A simulated group.
pub(super) struct SimGroup {
    pub(super) now: Nanos,
    pub(super) random: SeededRandom,
    pub(super) replicas: Vec<SimReplica>,
    pub(super) network: SimNetwork,
    pub(super) clients: Vec<SimClient>,
    pub(super) manners: Manners,
    /// When which replica became primary.
    pub(super) primaries: Vec<(Nanos, usize)>,
    /// The clients of connections.
    pub(super) keys: BTreeMap<u64, usize>,
    /// The last request, and the last connection.
    pub(super) last_request: u64,
    pub(super) last_key: u64,
    /// The bytes that clients have sent, and the number of all that they did.
    pub(super) sent: (u64, u64),
    /// The requests whose answers have arrived.
    pub(super) acknowledged: Vec<u64>,
    /// The bounds of the time of a sync.
    pub(super) sync_time: (Nanos, Nanos),
    /// How often replicas take checkpoints.
    checkpoints: Option<CheckpointEvery>,
    pub(super) happened: FaultCounts,
    events: EventQueue<SimEvent>,
    /// The number of events, in a counter that outlives the group if a check fails.
    pub(super) steps: Rc<Cell<u64>>,
    pub(super) hash: u64,
}

impl SimGroup {
    /// Creates a group whose daemons are about to start.
    pub(super) fn new(mut random: SeededRandom, clients: usize, steps: Rc<Cell<u64>>) -> Self {
        let replicas = (0..3).map(|place| SimReplica::new(place, &mut random)).collect();
        let fastest = random.range(20, 300) * MICROSECOND;
        let network = SimNetwork::new((fastest, fastest * random.range(1, 4)));
        let quickest = random.range(50, 2000) * MICROSECOND;
        let sync_time = (quickest, quickest * random.range(1, 4));
        let checkpoints = *random.pick(&[
            None,
            Some(CheckpointEvery::Time(Duration::from_secs(1))),
            Some(CheckpointEvery::Time(Duration::from_secs(3))),
            Some(CheckpointEvery::Entries(300)),
            Some(CheckpointEvery::Log(1 << 16)),
        ]);
        let mut group = Self {
            now: 0,
            random,
            replicas,
            network,
            clients: (0..clients).map(|_| SimClient::default()).collect(),
            manners: Manners::Any,
            primaries: Vec::new(),
            keys: BTreeMap::new(),
            last_request: 0,
            last_key: 0,
            sent: (0, 0),
            acknowledged: Vec::new(),
            sync_time,
            checkpoints,
            happened: FaultCounts::default(),
            events: EventQueue::default(),
            steps,
            hash: 0,
        };
        for at in 0..3 {
            let start = group.random.range(0, 50 * MILLISECOND);
            group.schedule(start, SimEvent::Start { at });
        }
        for client in 0..clients {
            group.schedule(SECOND / 2, SimEvent::Act { client, attempt: 0 });
        }
        group
    }

    /// Creates a group with some clients, of a number within these bounds, all of which it has
    /// served.
    pub(super) fn begun(
        number: u64,
        clients: Range<u64>,
        manners: Manners,
        steps: Rc<Cell<u64>>,
    ) -> Self {
        let mut random = SeededRandom::new(number);
        let clients = random.range(clients.start, clients.end) as usize;
        let mut group = Self::new(random, clients, steps);
        group.manners = manners;
        group.must_have_begun();
        group
    }

    /// Lets the group form, and checks that all clients are served.
    pub(super) fn must_have_begun(&mut self) {
        self.run_until(2 * SECOND);
        while self.primary().is_none() || self.clients.iter().any(|client| client.answered == 0) {
            assert!(self.now < 10 * SECOND, "no client is served: {}", self.describe());
            self.run_for(100 * MILLISECOND);
        }
    }

    /// Schedules an event.
    pub(super) fn schedule(&mut self, at: Nanos, event: SimEvent) {
        self.events.schedule(at, event);
    }

    /// Schedules an event after a time between two bounds.
    pub(super) fn schedule_in(&mut self, low: Nanos, high: Nanos, event: SimEvent) {
        let after = self.random.range(low, high + 1);
        self.events.schedule(self.now + after, event);
    }

    /// Carries out all events up to `until`.
    pub(super) fn run_until(&mut self, until: Nanos) {
        while let Some((at, event)) = self.events.next(until) {
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: SimEvent) {
        if let Some(place) = event.place() {
            let until = self.replicas[place].suspended;
            if until > self.now {
                return self.schedule(until, event);
            }
        }
        self.steps.set(self.steps.get() + 1);
        let place = event.place().map_or(0, |place| place as u64 + 1);
        let word = self.now ^ (event.kind() << 48) ^ (place << 60);
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match event {
            SimEvent::Wake { at, run } => {
                if self.runs(at, run) && self.replicas[at].wake_at <= self.now {
                    self.replicas[at].wake_at = Nanos::MAX;
                    self.give(at, DriverInput::Wake);
                }
            }
            SimEvent::Round { at, run } => {
                if self.runs(at, run) {
                    self.round(at);
                }
            }
            SimEvent::Input { at, run, input } => {
                if self.runs(at, run) {
                    self.give(at, input);
                }
            }
            SimEvent::MetaKept { at, run, meta } => {
                if self.runs(at, run) && self.replicas[at].ails.disk_hangs {
                    let again = SimEvent::MetaKept { at, run, meta };
                    self.schedule(self.now + 50 * MILLISECOND, again);
                } else if self.runs(at, run) {
                    let generation = Generation(meta.generation);
                    self.replicas[at].files.meta = *meta;
                    self.give(at, DriverInput::MetaKept(generation));
                }
            }
            SimEvent::Synced { at, run } => {
                if self.runs(at, run) {
                    self.on_synced(at);
                }
            }
            SimEvent::ServerStarts { at, run, number, generation, from } => {
                if self.runs(at, run) {
                    self.on_server_starts(at, number, generation, &from);
                }
            }
            SimEvent::Image { at, run, number, group } => {
                if self.runs(at, run) {
                    self.on_image(at, number, &group);
                }
            }
            SimEvent::ProofBegins { at, run, number, place } => {
                if self.runs(at, run) {
                    self.on_proof_begins(at, number, &place);
                }
            }
            SimEvent::CheckpointArrives { at, run, from, with_files } => {
                if self.runs(at, run) {
                    self.on_checkpoint_arrives(at, from, with_files);
                }
            }
            SimEvent::ServerRuns { at, run } => {
                if self.runs(at, run) {
                    self.on_server_runs(at);
                }
            }
            SimEvent::Frame { at, from, link, frame } => self.on_frame(at, from, link, &frame),
            SimEvent::LinkUp { at, run, link, peer, hello } => {
                if self.runs(at, run) && self.network.ends(link).is_some() {
                    self.on_link_up(at, link, peer, hello);
                }
            }
            SimEvent::LinkDown { at, link, peer } => self.on_link_down(at, link, peer),
            SimEvent::Fence { at, link, from, newest } => self.on_fence(at, link, from, newest),
            SimEvent::Dial { one, other } => self.dial(one, other),
            SimEvent::TimeOut { from, to, since } => {
                if self.network.cut_since(from, to) == Some(since) {
                    self.close_links(from, to);
                }
            }
            SimEvent::Start { at } => self.start(at),
            SimEvent::Heal { at, kind } => self.heal(at, kind),
            SimEvent::Mend => self.mend_network(),
            SimEvent::FromClient { at, run, key, what } => {
                if self.runs(at, run) {
                    self.replicas[at].waiting.push_back((key, what));
                    self.plan_round(at);
                }
            }
            SimEvent::Act { client, attempt } => self.act(client, attempt),
            SimEvent::Answer { key, bytes } => self.on_answer(key, &bytes),
            SimEvent::EndClient { key } => self.on_end_of_client(key),
        }
    }

    /// Returns whether this run of a daemon is not over.
    fn runs(&self, at: usize, run: u64) -> bool {
        self.replicas[at].run == run && self.replicas[at].daemon.is_some()
    }

    /// Gives a running daemon an input. A round follows soon, after other inputs perhaps.
    pub(super) fn give(&mut self, at: usize, input: DriverInput) {
        let moment = self.replicas[at].clock.moment(self.now);
        if let Some(daemon) = &mut self.replicas[at].daemon {
            daemon.handle(moment, input);
            self.plan_round(at);
        }
    }

    /// Schedules a round of a running daemon, if none is.
    pub(super) fn plan_round(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if !std::mem::replace(&mut replica.round_due, true) {
            let run = replica.run;
            self.schedule_in(0, ROUND_WITHIN, SimEvent::Round { at, run });
        }
    }

    /// Makes the passes of a daemon, as the product's loop does.
    fn round(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        replica.round_due = false;
        let Some(mut daemon) = replica.daemon.take() else { return };
        let moment = replica.clock.moment(self.now);
        let mut more = true;
        for _ in 0..Driver::<SimHost>::passes_per_round() {
            if !std::mem::take(&mut more) {
                break;
            }
            let output =
                |daemon: &mut Driver<SimHost>| daemon.host().server.as_mut()?.take_output();
            while let Some(record) = output(&mut daemon) {
                daemon.handle_output(moment, &record.as_ring());
                more = true;
            }
            while daemon.has_room_for_clients()
                && let Some((key, what)) = replica.waiting.pop_front()
            {
                daemon.handle(moment, DriverInput::Client(key, what));
                more = true;
            }
            let view = daemon.host().server.as_ref().map(|server| server.view());
            more |= daemon.pass(moment, view);
            if daemon.stop().is_some() {
                break;
            }
        }
        daemon.end_round(moment, more);
        let effects = std::mem::take(&mut daemon.host().effects);
        let stop = daemon.stop().cloned();
        if daemon.role() == Role::Primary && self.primaries.last().is_none_or(|last| last.1 != at) {
            self.primaries.push((self.now, at));
        }
        if self.steps.get().is_multiple_of(INVARIANTS_EVERY) {
            daemon.node().invariants();
            daemon.host().server.iter().for_each(SimServer::invariants);
        }
        replica.daemon = Some(daemon);
        for effect in effects {
            self.carry_out(at, effect);
        }
        match stop {
            Some(stop) => self.on_stop(at, &stop),
            None => self.plan_wake(at),
        }
    }

    fn plan_wake(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let Some(daemon) = &replica.daemon else { return };
        let due = replica.clock.time_of(daemon.deadline()).max(self.now + WAKE_AFTER);
        if due < replica.wake_at {
            replica.wake_at = due;
            let run = replica.run;
            self.schedule(due, SimEvent::Wake { at, run });
        }
    }

    /// Starts a daemon, unless it runs, or its disk hangs, or has no room for a new log.
    fn start(&mut self, at: usize) {
        if self.replicas[at].daemon.is_some() {
            return;
        }
        let replica = &self.replicas[at];
        let is_blocked = replica.ails.disk_fails && replica.files.is_blank();
        if replica.ails.disk_hangs || is_blocked {
            return self.schedule(self.now + SECOND / 2, SimEvent::Start { at });
        }
        let hellos = self.replicas.iter_mut().filter_map(|replica| replica.host());
        let group = hellos.filter_map(|host| host.hello.group).next();
        let Self { replicas, random, now, checkpoints, .. } = self;
        replicas[at].start(*now, group, *checkpoints, random);
        self.plan_round(at);
        for other in (0..3).filter(|other| *other != at) {
            self.schedule_in(MILLISECOND, 20 * MILLISECOND, SimEvent::Dial { one: at, other });
        }
    }

    /// Ends a daemon at once, with its server and its links.
    pub(super) fn end(&mut self, at: usize, kind: FaultKind) {
        // A journal survives daemons, and no more is asked of it.
        let kind = match kind {
            FaultKind::PowerLost | FaultKind::OldCopy if self.replicas[at].files.has_journal => {
                FaultKind::Killed
            }
            kind => kind,
        };
        self.happened.count(kind);
        for link in self.network.links_of(at) {
            self.close_link(link);
        }
        let gone = self.keys_at(at);
        let Self { replicas, random, .. } = self;
        replicas[at].end();
        match kind {
            FaultKind::PowerLost => replicas[at].files.lose_power(random),
            FaultKind::DataLost => replicas[at].lose_data(),
            FaultKind::OldCopy => replicas[at].put_copy_back(),
            _ => {}
        }
        for key in gone {
            self.schedule_in(0, 2 * MILLISECOND, SimEvent::EndClient { key });
        }
    }
}
