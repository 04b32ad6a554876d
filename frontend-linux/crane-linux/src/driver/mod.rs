//! The driver: one task that owns the machines and carries values between them and the world.
//!
//! It waits for one thing to happen, tells the machine whose business that is, and then makes a
//! *round*: committed entries to the server, the server's output to clients, clients' ops to the
//! primary, ops and bubbles into entries, records to the disk, frames to the links. Each of these
//! does what it can and never waits.
//!
//! | file, from the lowest | thought |
//! |---|---|
//! | `rooms` | state with owners: clients, proposer, preference, script, server, stalls |
//! | `agreement` | paxos's effects: links, log, roles |
//! | `clients` | the clients that came in by this replica |
//! | `proposer` | what the primary proposes, and when |
//! | `members` | who belongs to the group, and the preferred primary |
//! | `stalls` | what this replica waits for |
//! | `script` | what a committed entry means here, and its way to the server |
//! | `server` | the server's life: start, output, end, rebuilding |
//! | `answers` | the state, for people and programs |
//! | `arrivals` | what links bring |
//! | `run` | the loop around all of them |
//!
//! A file calls only files above its own in this table; `ci/tidy cycles` refuses a circle.

mod agreement;
mod answers;
mod arrivals;
mod clients;
mod members;
mod proposer;
mod rooms;
mod run;
mod script;
mod server;
mod stalls;

use std::net::IpAddr;
use std::rc::Rc;

use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{Node, Role};
use crane_core::time::{Duration, Instant};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use tracing::{info, warn};

use crate::base::Base;
use crate::cell::{Report, Spec};
use crate::clock::{AgreedClock, Clock};
use crate::event::{Event, Events};
use crate::log::Log;
use crate::log::fetch::LogFiles;
use crate::log::storage::{Storage, WriteProgress};
use crate::meta::{DataDirectory, Meta};
use crate::net::link::{Link, Peers};
use crate::options::ReplicaArgs;
use crate::proxy::ClientEvents;
use crate::report::ServerReport;
use crate::roster::Roster;

use rooms::{Clients, Preference, Proposer, Script, Server, Stalls};

/// Slots that may be undecided at the same time.
pub const WINDOW: usize = 256;

/// How soon to look again where nobody wakes the driver.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What a replica is started with.
#[derive(Debug)]
pub struct Settings {
    /// Its number.
    pub me: NodeId,
    /// Where the others reach it.
    pub name: String,
    /// The members that the group was, or is, created with.
    pub founders: Roster,
    /// Where it listens for clients.
    pub address: IpAddr,
    /// The command line.
    pub args: ReplicaArgs,
    /// What the server starts from.
    pub base: Base,
    /// How the server is started; a witness has none.
    pub spec: Option<Spec>,
    /// The data directory.
    pub data: DataDirectory,
}

/// Where the driver's machines start from.
pub struct Restored {
    /// Paxos, restored.
    pub node: Box<Node<WINDOW>>,
    /// The log, opened.
    pub log: Log,
    /// The highest timestamp in it.
    pub last_timestamp: u64,
    /// Where it is written.
    pub storage: Storage,
    /// How far that is, if it takes time.
    pub progress: Option<WriteProgress>,
    /// The links.
    pub peers: Rc<Peers>,
    /// What the data directory says; its generation is this run's.
    pub meta: Meta,
    /// The clock that paxos was restored with.
    pub clock: Clock,
    /// What the operator should know of how it started, if anything; `status` shows it.
    pub note: Option<String>,
}

/// Why the driver stops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stop {
    /// The exit status.
    pub status: i32,
    /// What the operator should know.
    pub why: String,
}

/// What the server's cell says, and of which run.
type CellReports = Channel<NoopRawMutex, (u64, Report), 16>;

/// The task's state.
pub struct Driver {
    settings: Settings,
    clock: Clock,
    agreed: AgreedClock,
    node: Box<Node<WINDOW>>,
    role: Role,
    log: Log,
    files: LogFiles,
    storage: Storage,
    progress: Option<WriteProgress>,
    committed: Slot,
    /// The last commit index that was written as a hint.
    hinted: Slot,
    peers: Rc<Peers>,
    links: [Option<Rc<Link>>; NODES_MAX],
    meta: Meta,
    script: Script,
    clients: Clients,
    client_events: Rc<ClientEvents>,
    proposer: Proposer,
    preference: Preference,
    server: Server,
    cell_reports: Rc<CellReports>,
    reports: [ServerReport; NODES_MAX],
    last_error: Option<String>,
    events: Events,
    stalls: Stalls,
    look_again: Option<Instant>,
    stop: Option<Stop>,
}

impl Driver {
    /// Puts the machines together.
    pub fn new(settings: Settings, parts: Restored) -> Self {
        let Restored { node, log, last_timestamp, storage, progress, peers, meta, clock, note } =
            parts;
        let mut agreed = AgreedClock::default();
        agreed.saw(last_timestamp);
        let files = LogFiles::new(&settings.data.log());
        let clients = Clients::new(settings.me, Generation(meta.generation));
        let proposer = Proposer::new(&settings.args);
        Self {
            clock,
            agreed,
            role: node.role(),
            node,
            committed: Slot::NONE,
            hinted: Slot::NONE,
            log,
            files,
            storage,
            progress,
            peers,
            links: Default::default(),
            meta,
            script: Script::default(),
            clients,
            client_events: Rc::new(ClientEvents::new()),
            proposer,
            preference: Preference::default(),
            server: Server::default(),
            cell_reports: Rc::new(CellReports::new()),
            reports: [ServerReport::Alive { in_step: false }; NODES_MAX],
            last_error: note,
            events: Events::default(),
            stalls: Stalls::default(),
            look_again: None,
            stop: None,
            settings,
        }
    }

    fn record_event(&mut self, event: Event) {
        info!("{event}");
        self.events.record(event);
    }

    fn look_again_at(&mut self, at: Instant) {
        self.look_again = Some(self.look_again.map_or(at, |other| other.min(at)));
    }

    /// An event that the operator should see, and that `status` shows.
    fn warn_operator(&mut self, text: String) {
        warn!("{text}");
        self.last_error = Some(text);
    }

    /// The replica cannot go on.
    fn fail(&mut self, why: String) {
        self.end(1, why);
    }

    fn end(&mut self, status: i32, why: String) {
        if self.stop.is_none() {
            self.stop = Some(Stop { status, why });
        }
    }

    fn me(&self) -> NodeId {
        self.settings.me
    }

    fn is_witness(&self) -> bool {
        self.settings.spec.is_none()
    }

    fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }
}
