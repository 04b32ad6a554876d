//! The driver: one state machine that owns the machines of the core, and forms a replica of them.
//!
//! Each input goes to the room that handles it ([`Driver::handle`]). *Passes* follow
//! ([`Driver::pass`]): committed entries go to the server, clients' ops to the primary, ops and
//! bubbles into entries, records to the disk, frames to the links. Each pass does what it can and
//! never waits: the driver asks the [`Host`] for everything that takes time, and the outcome
//! arrives as an input.
//!
//! | file, from the lowest | thought |
//! |---|---|
//! | `seen` | what the host sees of the server |
//! | `taken` | a checkpoint that was taken, and the phases until then |
//! | `host` | the interface to the host |
//! | `rooms` | state with owners: clients, proposer, preference, script, server, stalls, watch |
//! | `fetching` | entries that are read again, and what waits for them |
//! | `agreement` | the effects of agreement: links, log, roles |
//! | `clients` | the clients that connected to this replica |
//! | `clocks` | the clocks of the hosts, and the time with which a group begins |
//! | `proposer` | the primary's proposals, and their times |
//! | `fence` | daemons that have the number of a later one |
//! | `redundancy` | acts that lower the redundancy of the group |
//! | `members` | the members of the group |
//! | `preferring` | when the primary gives its role away |
//! | `stalls` | waits of this replica that last too long |
//! | `watch` | whether the server makes progress |
//! | `clock_watch` | agreed time is corrected, and clocks that are off are named |
//! | `progress` | whether this replica makes progress, and what follows if it does not |
//! | `bypass` | calls of the server that no hook sees |
//! | `divergence` | servers that differ |
//! | `hold` | the permission to hold the server |
//! | `checkpoint` | orders to take checkpoints, and the server's start from one |
//! | `proof` | the proof that a server made from a checkpoint does as the others do |
//! | `incarnations` | restarts of the server at one slot on all replicas |
//! | `cut` | the cut of the log behind proved checkpoints |
//! | `transfer` | a checkpoint of another replica for this one |
//! | `script` | committed entries, and their way to the server |
//! | `server` | the server's life: start, output, end, rebuilding |
//! | `answers` | the state, for people and programs |
//! | `handle` | inputs, and the passes after them |
//!
//! A file calls only files above its own in this table; `ci/tidy cycles` refuses a circle.

mod agreement;
mod answers;
mod bypass;
mod checkpoint;
mod clients;
mod clock_watch;
mod clocks;
mod cut;
mod disk;
mod divergence;
mod fence;
mod fetching;
mod freeze;
mod handle;
mod hold;
mod host;
mod host_fault;
mod incarnations;
mod members;
mod preferring;
mod progress;
mod proof;
mod proposer;
mod redundancy;
mod rooms;
mod script;
mod seen;
mod server;
mod stalls;
mod taken;
#[cfg(test)]
mod tests;
mod transfer;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;

use crane_core::clocks::Clocks;
use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{Members, Node, NodeSet, Role, SnapshotMeta};
use crane_core::time::{Duration, Instant};
use crane_core::timestamp::Timestamps;
use crane_core::wire::HostFigures;
use tracing::{info, warn};

use crate::base::Base;
use crate::checkpoint::store::Checkpoint;
use crate::event::{Event, Events};
use crate::log::Log;
use crate::meta::Meta;
use crate::net::frame::FrameKind;
use crate::net::handshake::Hello;
use crate::options::ReplicaArgs;
use crate::report::{CheckpointMessage, ServerReport};
use crate::roster::Roster;

use rooms::{
    Checkpoints, Claims, Clients, ClockDates, Debts, Divergence, Fence, Health, Preference,
    Proposer, Script, Server, Stalls, Sum, Watch,
};

pub(crate) use host::{
    Arriving, CaughtCall, ClientCommand, ClientInput, DiskRoom, DriverInput, FetchFor, Host,
    HostFacts, Moment, ProgramEnd, ProofChange, RunNumber, RunStart, ServerChange, ServerListener,
    ServerView,
};
pub(crate) use seen::{Activity, Bypassed, Inspection, SeenCell, Unannounced};
pub(crate) use taken::{Taken, TakingPhase};

/// The number of slots that may be undecided, or decided and not yet durable here, at the same
/// time. A disk on which a sync takes some hundred milliseconds does not limit the rate of the
/// group.
pub(crate) const WINDOW: usize = if crate::LIMITS_ARE_SMALL { 256 } else { 4096 };

/// How soon to look again at a state whose change does not wake the driver.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The settings of a replica.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The replica's number.
    pub me: NodeId,
    /// The address at which the other replicas reach it.
    pub name: String,
    /// The members with which the group was, or is, created.
    pub founders: Roster,
    /// The command line.
    pub args: ReplicaArgs,
    /// The files and words from which the server starts.
    pub base: Base,
    /// Addresses that the server may bind although not every host has them.
    pub service: Vec<IpAddr>,
    /// The figures of a host that the server of a group sees which this replica creates.
    pub figures: HostFigures,
    /// The name of the server's program in messages; a witness has none.
    pub program: Option<String>,
    /// The data directory, for messages.
    pub data: PathBuf,
    /// Random bytes, for a group that this replica creates.
    pub random: [u8; 48],
}

/// The state that the driver starts from.
pub(crate) struct Restored {
    /// The restored node.
    pub node: Box<Node<WINDOW>>,
    /// The opened log.
    pub log: Log,
    /// The highest timestamp in the log.
    pub last_timestamp: u64,
    /// The meta of the data directory, with the generation of this run.
    pub meta: Meta,
    /// The hello of this replica's links.
    pub hello: Hello,
    /// The list of members that others have sent before the start, if it is newer.
    pub heard: Roster,
    /// The checkpoints of the data directory that can be used, the newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// A note for the operator on how it started, if there is one; `status` shows it.
    pub note: Option<String>,
}

/// The end of the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stop {
    /// The exit status.
    pub status: i32,
    /// The reason, for the operator.
    pub why: String,
    /// Whether the replica is to start again at once.
    pub again: bool,
}

/// A replica.
pub(crate) struct Driver<H> {
    settings: Settings,
    host: H,
    /// The time of the present step.
    moment: Moment,
    timestamps: Timestamps,
    /// The clocks of the other members' hosts.
    clocks: Clocks,
    clock_dates: ClockDates,
    node: Box<Node<WINDOW>>,
    /// The node's role according to its last effect.
    role: Role,
    log: Log,
    /// The parts of the driver that wait for entries to be read again.
    fetching: Vec<FetchFor>,
    /// Messages and entries that other replicas wait for.
    owed: Debts,
    /// The highest committed slot.
    committed: Slot,
    /// The last commit index that was written as a hint.
    hinted: Slot,
    /// The replicas to which there is a link.
    linked: NodeSet,
    /// The hello of this replica's links. Its roster is the list of members by the log here.
    hello: Hello,
    claims: Claims,
    meta: Meta,
    fence: Fence,
    /// The next generation, which begins once it is kept. No client can act before.
    next_generation: Option<Generation>,
    script: Script,
    clients: Clients,
    proposer: Proposer,
    preference: Preference,
    server: Server,
    /// The state of each replica's server.
    reports: [ServerReport; NODES_MAX],
    /// Since when the server has lacked a part of the log, if it does.
    behind_since: Option<Instant>,
    last_error: Option<String>,
    events: Events,
    health: Health,
    stalls: Stalls,
    watch: Watch,
    divergence: Divergence,
    checkpoint: Checkpoints,
    /// The last program that this replica was to look at, and what it has found.
    seen_program: Option<(Vec<String>, Result<Base, String>)>,
    look_again: Option<Instant>,
    stop: Option<Stop>,
}

impl<H: Host> Driver<H> {
    /// Combines the machines into a driver over this host.
    pub(crate) fn new(settings: Settings, parts: Restored, host: H, moment: Moment) -> Self {
        let Restored { node, log, last_timestamp, meta, hello, heard, checkpoints, note } = parts;
        let mut timestamps = Timestamps::new(moment.since_start, moment.unix);
        timestamps.saw(moment.since_start, last_timestamp);
        for proof in checkpoints.iter().filter_map(|it| it.manifest.proof.as_ref()) {
            timestamps.saw(moment.since_start, proof.prefix.timestamp);
        }
        let clients = Clients::new(settings.me, Generation(meta.generation));
        let proposer = Proposer::new(&settings.args);
        let prefix = prefix_of(&log, &checkpoints, meta.founders.first_members());
        Self {
            host,
            moment,
            timestamps,
            clocks: Clocks::new(),
            clock_dates: ClockDates::default(),
            role: node.role(),
            node,
            log,
            fetching: Vec::new(),
            owed: Debts::default(),
            committed: Slot::NONE,
            hinted: Slot::NONE,
            linked: NodeSet::EMPTY,
            hello,
            claims: Claims::new(heard, settings.me),
            meta,
            fence: Fence::default(),
            next_generation: None,
            script: Script::behind(prefix),
            clients,
            proposer,
            preference: Preference::default(),
            server: Server::default(),
            reports: [ServerReport::Alive { in_step: false }; NODES_MAX],
            behind_since: None,
            last_error: note,
            events: Events::default(),
            health: Health::new(settings.me, moment.instant()),
            stalls: Stalls::default(),
            watch: Watch::default(),
            divergence: Divergence::default(),
            checkpoint: Checkpoints::new(checkpoints),
            seen_program: None,
            look_again: None,
            stop: None,
            settings,
        }
    }

    /// Returns the host by which the driver acts.
    pub(crate) fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// Returns the host, and drops everything else.
    pub(crate) fn into_host(self) -> H {
        self.host
    }

    /// Returns why the replica has to stop, if it has.
    pub(crate) fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// Returns the name of the group; empty if there is none yet.
    pub(crate) fn group(&self) -> String {
        self.meta.group.clone().unwrap_or_default()
    }

    /// Returns the node.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn node(&self) -> &Node<WINDOW> {
        &self.node
    }

    /// Returns the node's role.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Returns how often this server was found to differ, and was built again.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn divergences(&self) -> u64 {
        self.events.counters.divergences
    }

    /// Returns the faults among the last events.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn faults_told(&self) -> Vec<String> {
        self.events
            .kept()
            .filter_map(|told| match &told.event {
                Event::Fault { text } => Some(text.clone()),
                _ => None,
            })
            .collect()
    }

    /// Returns whether the bytes for clients are compared still (rule D7).
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn compares_output(&self) -> bool {
        !self.divergence.output_differs
    }

    fn now(&self) -> Instant {
        self.moment.instant()
    }

    /// Records an event, and prints it.
    fn record_event(&mut self, event: Event) {
        info!("{event}");
        self.record_silently(event);
    }

    /// Records an event without printing it.
    fn record_silently(&mut self, event: Event) {
        self.events.record(self.moment.unix / 1_000_000, event);
    }

    fn look_again_at(&mut self, at: Instant) {
        self.look_again = Some(self.look_again.map_or(at, |other| other.min(at)));
    }

    /// Keeps a warning that the operator should see, and that `status` shows.
    fn warn_operator(&mut self, text: String) {
        warn!("{text}");
        self.last_error = Some(text);
    }

    /// Stops the replica, which cannot continue, with an exit status of 1.
    fn fail(&mut self, why: String) {
        self.end(1, why);
    }

    fn end(&mut self, status: i32, why: String) {
        if self.stop.is_none() {
            self.stop = Some(Stop { status, why, again: false });
        }
    }

    /// Ends the replica, which starts again at once.
    fn end_to_begin_again(&mut self, why: String) {
        if self.stop.is_none() {
            self.stop = Some(Stop { status: 0, why, again: true });
        }
    }

    fn me(&self) -> NodeId {
        self.settings.me
    }

    fn is_witness(&self) -> bool {
        self.settings.program.is_none()
    }

    fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    fn send_about_checkpoints(&mut self, to: NodeId, message: CheckpointMessage) {
        let body = postcard::to_allocvec(&message).expect("plain data");
        self.host.send_frame(to, FrameKind::Checkpoint, &body);
    }

    fn is_linked(&self, node: NodeId) -> bool {
        self.linked.contains(node)
    }
}

/// Returns what is known of the entries before the log's front. A checkpoint behind the front knows
/// more than the front: what it knows is true at a later slot, before which nothing is asked.
fn prefix_of(log: &Log, checkpoints: &[Checkpoint], founders: Members) -> Sum {
    let snapshot = log.snapshot().unwrap_or_else(|| SnapshotMeta::genesis(founders));
    let mut sum = Sum::behind(snapshot);
    let proved = checkpoints.iter().rev().filter_map(|it| it.manifest.proof.as_ref());
    for prefix in proved.map(|proof| &proof.prefix).filter(|_| snapshot.slot > Slot::NONE) {
        (sum.connected, sum.retired) = (prefix.connected, prefix.retired);
        if prefix.snapshot.slot <= snapshot.slot {
            sum.incarnation = sum.incarnation.max(prefix.incarnation);
        }
    }
    sum
}
