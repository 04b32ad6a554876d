//! The driver: one task that owns the machines and carries values between them and the world.
//!
//! It waits for one thing to happen, tells the machine whose business that is, and then makes a
//! *round*: committed entries to the server, the server's output to clients, clients' ops to the
//! primary, ops and bubbles into entries, records to the disk, frames to the links. Each of these
//! does what it can and never waits.
//!
//! | file | thought |
//! |---|---|
//! | `agreement` | paxos's effects: links, log, roles |
//! | `script` | what a committed entry means here, and its way to the server |
//! | `clients` | the clients that came in by this replica |
//! | `proposer` | what the primary proposes, and when |
//! | `members` | who belongs to the group, and the preferred primary |
//! | `stalls` | what this replica waits for |
//! | `server` | the server's life: start, output, end, rebuilding |
//! | `answers` | the state, for people and programs |

mod agreement;
mod answers;
mod clients;
mod members;
mod proposer;
mod script;
mod server;
mod stalls;

use std::net::IpAddr;
use std::rc::Rc;

use crane_core::id::{Generation, NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{Input, Node, Role, WriteNumber};
use crane_core::time::{Duration, Instant};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::channel::Channel;
use tracing::{info, warn};

use crate::base::Base;
use crate::cell::{Report, Spec};
use crate::clock::{AgreedClock, Alarm, Clock};
use crate::event::{Event, Events};
use crate::log::Log;
use crate::log::storage::{Storage, WriteProgress};
use crate::meta::{DataDirectory, Meta};
use crate::net::link::{Arrival, Link, Peers};
use crate::options::ReplicaArgs;
use crate::proxy::{ClientEvent, ClientEvents};
use crate::report::ServerReport;
use crate::roster::Roster;

use agreement::InputPayloads;
use clients::Clients;
use members::Preference;
use proposer::Proposer;
use script::Script;
use server::Server;
use stalls::Stalls;

/// Slots that may be undecided at the same time.
pub const WINDOW: usize = 256;

/// Events that are handled before a round, so that they are batched.
const EVENTS_PER_ROUND: usize = 64;
/// Passes of a round before the runtime may do something else.
const PASSES_PER_ROUND: usize = 32;
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

/// What the driver waits for.
enum Happened {
    Alarm,
    Woken,
    Written(Result<WriteNumber, String>),
    Arrived(Arrival),
    Client(ClientEvent),
    Cell(u64, Report),
}

impl Driver {
    /// Puts the machines together.
    pub fn new(settings: Settings, parts: Restored) -> Self {
        let Restored { node, log, storage, progress, peers, meta, clock, note } = parts;
        let clients = Clients::new(settings.me, Generation(meta.generation));
        let proposer = Proposer::new(&settings.args);
        Self {
            clock,
            agreed: AgreedClock::default(),
            role: node.role(),
            node,
            committed: Slot::NONE,
            hinted: Slot::NONE,
            log,
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

    /// Runs until the replica has to stop, or `interrupted` is done.
    ///
    /// # Errors
    /// What the system refused.
    pub async fn run(
        mut self,
        interrupted: impl Future<Output = ()>,
    ) -> std::io::Result<Option<Stop>> {
        let mut alarm = Alarm::new()?;
        tokio::pin!(interrupted);
        self.start_behind_front();
        self.see_last_timestamp();
        self.paxos(Input::Wake, InputPayloads::NONE);
        loop {
            self.round();
            if let Some(stop) = self.stop.take() {
                self.leave();
                self.storage.finish();
                return Ok(Some(stop));
            }
            if self.server.is_wanted() {
                self.start_server().await;
                continue;
            }
            alarm.set(self.clock.now(), self.next_alarm())?;
            let mut next = tokio::select! {
                () = &mut interrupted => {
                    self.leave();
                    self.storage.finish();
                    return Ok(None);
                }
                happened = self.wait(&mut alarm) => Some(happened?),
            };
            for _ in 0..EVENTS_PER_ROUND {
                let Some(happened) = next else { break };
                self.handle(happened);
                next = self.waiting();
            }
            if let Some(happened) = next {
                self.handle(happened);
            }
        }
    }

    async fn wait(&self, alarm: &mut Alarm) -> std::io::Result<Happened> {
        let stored = async {
            match &self.progress {
                Some(progress) => progress.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = alarm.wait() => outcome.map(|()| Happened::Alarm),
            outcome = self.server.woken() => outcome.map(|()| Happened::Woken),
            outcome = stored => Ok(Happened::Written(outcome)),
            arrival = self.peers.arrivals.receive() => Ok(Happened::Arrived(arrival)),
            event = self.client_events.receive(), if self.clients.has_room() => {
                Ok(Happened::Client(event))
            }
            (run, report) = self.cell_reports.receive() => Ok(Happened::Cell(run, report)),
        }
    }

    /// Something that has happened already, if anything.
    fn waiting(&self) -> Option<Happened> {
        if let Some(outcome) = self.progress.as_ref().and_then(|progress| progress.try_take()) {
            return Some(Happened::Written(outcome));
        }
        if let Ok(arrival) = self.peers.arrivals.try_receive() {
            return Some(Happened::Arrived(arrival));
        }
        if self.clients.has_room()
            && let Ok(act) = self.client_events.try_receive()
        {
            return Some(Happened::Client(act));
        }
        None
    }

    fn handle(&mut self, happened: Happened) {
        match happened {
            Happened::Alarm => self.on_alarm(),
            Happened::Woken => self.server.listen_to_wakes(),
            Happened::Written(Ok(up_to)) => self.on_durable(up_to),
            Happened::Written(Err(why)) => self.fail(why),
            Happened::Arrived(arrival) => self.on_arrival(arrival),
            Happened::Client(act) => self.on_client_event(act),
            Happened::Cell(run, report) => self.on_cell_report(run, report),
        }
    }

    /// Something may be due. What is not, takes no harm.
    fn on_alarm(&mut self) {
        self.paxos(Input::Wake, InputPayloads::NONE);
        let now = self.clock.now();
        if self.look_again.is_some_and(|at| at <= now) {
            self.look_again = None;
        }
        if self.clients.wake(now) {
            self.events.counters.handed_over_again += 1;
            self.warn_operator(
                "no op of this replica's clients was committed for a while: sent again".into(),
            );
        }
        self.reconsider_end(now);
        if let Some(at) = self.prefer() {
            self.look_again_at(at);
        }
    }

    fn record_event(&mut self, event: Event) {
        info!("{event}");
        self.events.record(event);
    }

    /// Carries everything as far as it goes.
    fn round(&mut self) {
        for pass in 0.. {
            let mut more = self.observe();
            more |= self.feed();
            more |= self.take_output();
            more |= self.forward_ops();
            more |= self.propose();
            more |= self.write();
            if !more || self.stop.is_some() {
                break;
            }
            if pass == PASSES_PER_ROUND {
                self.look_again_at(self.clock.now());
                break;
            }
        }
        for link in self.links.iter().flatten() {
            link.flush();
        }
        if let Some(at) = self.watch_stalls() {
            self.look_again_at(at);
        }
    }

    fn next_alarm(&self) -> Instant {
        let others = [
            self.look_again,
            self.clients.deadline(),
            self.proposer.deadline(),
            self.server.deadline(),
        ];
        others.into_iter().flatten().fold(self.node.deadline(), Instant::min)
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

    /// The last thing that is done: others learn at once what this replica knows.
    fn leave(&mut self) {
        self.hint_committed();
        let _ = self.write();
        for link in self.links.iter().flatten() {
            link.flush();
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
