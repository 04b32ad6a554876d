//! One replica: its data directory always, and its daemon while that runs. A start does what the
//! product's start does behind its checks of the command line and the host.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Parser;
use crane_core::id::{NodeId, Slot};
use crane_core::paxos::{NodeSet, Role, StorageEpoch, VotingStatus};
use crane_core::time::Instant;
use crane_core::wire::HostFigures;

use crate::base::Base;
use crate::checkpoint::every::CheckpointEvery;
use crate::driver::{ClientInput, Driver, Moment, Restored, Settings};
use crate::meta::{DATA_VERSION, Meta};
use crate::options::{Cli, Durability, ReplicaArgs};
use crate::restored;
use crate::roster::Roster;
use crate::upgraded;

use super::files::DataFiles;
use super::host::SimHost;
use super::queue::Nanos;
use super::random::SeededRandom;
use super::server::{PORT, SimServer};

/// The addresses of the replicas.
const NAMES: [&str; 3] = ["a:1", "b:1", "c:1"];
/// The time of day at the beginning, in nanoseconds since the Unix epoch.
const EPOCH: u64 = 1_700_000_000_000_000_000;

/// The clock of a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostClock {
    /// When the daemon started.
    pub(super) started: Nanos,
    /// The rate, in thousandths of simulated time.
    rate: u64,
    /// The nanoseconds by which the time of day is ahead.
    ahead: u64,
}

impl HostClock {
    /// Returns the time as the daemon sees it.
    pub(super) fn moment(&self, now: Nanos) -> Moment {
        let since_start = (now - self.started) * self.rate / 1000;
        Moment { since_start, unix: EPOCH + self.ahead + now }
    }

    /// Returns the simulated time at which the daemon's clock has come so far.
    pub(super) fn time_of(&self, at: Instant) -> Nanos {
        let since = at.as_micros().saturating_mul(1000).saturating_mul(1000);
        self.started.saturating_add(since.div_ceil(self.rate))
    }
}

/// A replica.
pub(super) struct SimReplica {
    pub(super) id: NodeId,
    pub(super) daemon: Option<Box<Driver<SimHost>>>,
    pub(super) files: DataFiles,
    /// A copy of a data directory that was lost.
    pub(super) copy: Option<Box<DataFiles>>,
    /// The number of the daemon's run. Events of an earlier run have no effect.
    pub(super) run: u64,
    pub(super) clock: HostClock,
    /// When the daemon is woken.
    pub(super) wake_at: Nanos,
    /// Whether a round is scheduled.
    pub(super) round_due: bool,
    /// Whether a run of the server is scheduled.
    pub(super) server_due: bool,
    /// The number of the current link to each replica.
    pub(super) linked: [Option<u64>; 3],
    /// Actions of clients for which the daemon had no room.
    pub(super) waiting: VecDeque<(u64, ClientInput)>,
    /// The daemon stands still until then.
    pub(super) suspended: Nanos,
    pub(super) ails: SimAilments,
    /// The number of the server's run that is held for a checkpoint.
    pub(super) held: Option<u64>,
    /// Whether it is being removed, or its successor added.
    pub(super) changes: bool,
}

/// The faults of a replica that last.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct SimAilments {
    /// Syncs do not return.
    pub(super) disk_hangs: bool,
    /// A sync takes this long, if it is not quick.
    pub(super) disk_slow: Option<Nanos>,
    /// The server makes no calls.
    pub(super) server_hangs: bool,
    /// Writes and syncs fail.
    pub(super) disk_fails: bool,
}

fn args() -> &'static ReplicaArgs {
    static ARGS: OnceLock<ReplicaArgs> = OnceLock::new();
    ARGS.get_or_init(|| {
        let words = ["crane-linux", "--peers", "a,b,c", "--", "server"];
        Cli::try_parse_from(words).expect("a command line").replica
    })
}

fn founders() -> Roster {
    Roster::founders(&NAMES.map(String::from), NodeSet::EMPTY)
}

/// Returns the meta of a data directory that is new.
fn blank_meta(node: NodeId) -> Meta {
    let names = NAMES.map(String::from);
    Meta {
        version: DATA_VERSION,
        group: None,
        node,
        address: names[node.index()].clone(),
        witness: false,
        founders: founders(),
        roster: founders(),
        given: names.to_vec(),
        generation: 0,
        diverged_behind: None,
        restart: None,
        command: args().program.clone(),
        upgrades: Vec::new(),
    }
}

impl SimReplica {
    /// Creates a replica that has never run.
    pub(super) fn new(place: usize, random: &mut SeededRandom) -> Self {
        let id = NodeId::new(place as u8 + 1).expect("a number");
        let (rate, ahead) = (random.range(950, 1050), random.range(0, 1 << 40));
        Self {
            id,
            daemon: None,
            files: DataFiles::new(blank_meta(id)),
            copy: None,
            run: 0,
            clock: HostClock { started: 0, rate, ahead },
            wake_at: Nanos::MAX,
            round_due: false,
            server_due: false,
            linked: [None; 3],
            waiting: VecDeque::new(),
            suspended: 0,
            ails: SimAilments::default(),
            held: None,
            changes: false,
        }
    }

    /// Loses the data directory. A copy of it is kept.
    pub(super) fn lose_data(&mut self) {
        let Meta { address, witness, roster, .. } = self.files.meta.clone();
        let blank = Meta { address, witness, roster, ..blank_meta(self.id) };
        self.copy = Some(Box::new(self.files.lose_all(blank)));
    }

    /// Loses the data directory, and has the copy in its place.
    pub(super) fn put_copy_back(&mut self) {
        let copy = self.copy.take().expect("a copy was kept");
        self.files.put_back(*copy);
    }

    /// Returns whether the daemon runs, and votes with the epoch that its log names.
    pub(super) fn votes(&self) -> bool {
        let Some(node) = self.daemon.as_ref().map(|daemon| daemon.node()) else { return false };
        node.voting() == VotingStatus::Voter { epoch: node.snapshot().epoch(self.id) }
    }

    /// Has the data directory of a replica that joins the group in this one's place.
    pub(super) fn join(&mut self, address: String, witness: bool, roster: Roster) {
        let meta = blank_meta(self.id);
        self.files.lose_all(Meta { address, witness, roster, ..meta });
    }

    /// Returns the address by which others know it.
    pub(super) fn address(&self) -> &str {
        &self.files.meta.address
    }

    /// Returns whether it runs no server.
    pub(super) fn is_witness(&self) -> bool {
        self.files.meta.witness
    }

    /// Starts the daemon. `group` is the group that other replicas belong to, as far as any of them
    /// could be asked.
    pub(super) fn start(
        &mut self,
        now: Nanos,
        group: Option<u128>,
        checkpoints: Option<CheckpointEvery>,
        random: &mut SeededRandom,
    ) {
        assert!(self.daemon.is_none(), "it runs already");
        self.run += 1;
        self.clock.started = now;
        let moment = self.clock.moment(now);
        let durability = match self.files.has_journal {
            true => Durability::Memory,
            false => Durability::Fsync,
        };
        let args = ReplicaArgs { checkpoint_every: checkpoints, durability, ..args().clone() };
        let nonce = random.draw() | 1;
        if self.files.is_blank()
            && let Some(group) = group
        {
            self.files.meta.group = Some(format!("{group:032x}"));
            self.files.begin_rejoining(StorageEpoch(nonce));
        }
        upgraded::adopt_of(&mut self.files.meta, &self.files.checkpoints.usable());
        self.files.meta.generation = self.files.meta.next_generation(moment.unix);
        let meta = self.files.meta.clone();
        let mut opened = self.files.open().expect("the log is sound");
        if self.files.has_journal {
            opened.log.without_syncs();
        }
        let config = restored::config(&args, &meta, nonce);
        let node = restored::node(config, moment.instant(), &mut opened);
        let hello = restored::hello(&args, &meta, &Base::default());
        let mut seed = [0; 48];
        seed.chunks_mut(8).for_each(|bytes| bytes.copy_from_slice(&random.draw().to_le_bytes()));
        let settings = Settings {
            me: self.id,
            name: meta.address.clone(),
            founders: meta.founders.clone(),
            args,
            base: Base::default(),
            service: Vec::new(),
            figures: HostFigures { processors: 2, memory: 1 << 30 },
            program: (!meta.witness).then(|| "server".into()),
            data: PathBuf::from("/data"),
            random: seed,
        };
        let restored = Restored {
            node,
            log: opened.log,
            last_timestamp: opened.last_timestamp,
            meta,
            hello: hello.clone(),
            heard: Roster::default(),
            checkpoints: self.files.checkpoints.usable(),
            note: None,
        };
        let mut driver = Driver::new(settings, restored, SimHost::new(hello), moment);
        driver.begin(moment);
        self.daemon = Some(Box::new(driver));
    }

    /// Drops what belongs to the daemon's run, which has ended.
    pub(super) fn end(&mut self) {
        self.daemon = None;
        self.run += 1;
        self.wake_at = Nanos::MAX;
        (self.round_due, self.server_due) = (false, false);
        self.linked = [None; 3];
        self.waiting.clear();
        (self.suspended, self.held) = (0, None);
        self.files.end_process();
    }

    /// Returns the host of the running daemon.
    pub(super) fn host(&mut self) -> Option<&mut SimHost> {
        self.daemon.as_mut().map(|daemon| daemon.host())
    }

    /// Returns the running server.
    pub(super) fn server(&mut self) -> Option<&mut SimServer> {
        self.host()?.server.as_mut()
    }

    /// Returns whether its server runs, or it is to have none.
    pub(super) fn has_its_server(&mut self) -> bool {
        self.is_witness() || self.server().is_some()
    }

    /// Returns whether the server makes no calls.
    pub(super) fn stands_still(&self) -> bool {
        self.ails.server_hangs || self.held.is_some()
    }

    /// Returns the requests that the server has carried out, if a server runs.
    pub(super) fn list(&mut self) -> Option<Vec<u64>> {
        Some(self.host()?.server.as_ref()?.list().to_vec())
    }

    /// Returns the last slot that the server has admitted, if a server runs.
    pub(super) fn admitted(&mut self) -> Option<Slot> {
        Some(self.host()?.server.as_ref()?.admitted())
    }

    /// Returns whether the daemon is primary.
    pub(super) fn is_primary(&self) -> bool {
        self.role() == Some(Role::Primary)
    }

    /// Returns the role of the running daemon.
    pub(super) fn role(&self) -> Option<Role> {
        self.daemon.as_ref().map(|daemon| daemon.role())
    }

    /// Returns whether clients can connect.
    pub(super) fn is_open(&mut self) -> bool {
        self.host().is_some_and(|host| host.ports.contains(&PORT))
    }
}
