//! Whole replicas without I/O: three drivers over a host in memory, stepped in virtual time.

use std::collections::BTreeMap;

use clap::Parser;
use crane_core::execution::Mark;
use crane_core::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crane_core::paxos::{Config, DurableState, Node};
use crane_core::wire::{Endpoint, EntryPayload, HostFigures, Op};
use crane_shm::region::{output, script};
use crane_shm::{EndReason, RingRecord, ServerState};

use super::*;
use crate::log::{Opened, record};
use crate::net::handshake::{MAGIC, PROTOCOL_VERSION};
use crate::options::{Cli, Priority};
use crate::report::Ending;

mod checkpoints;
mod claims;
mod divergence;
mod fetching;
mod held;
mod incarnations;
mod lacking;
mod memory;
mod progress;
mod replicas;
mod storage;

use memory::{MemoryHost, Queue};

const NAMES: [&str; 3] = ["a:1", "b:1", "c:1"];
/// The length of a step of the group in nanoseconds.
const STEP: u64 = 1_000_000;

/// Three replicas.
struct Group {
    drivers: Vec<Driver<MemoryHost>>,
    queues: [Queue; 3],
    /// The replicas to which no link leads, and which do nothing.
    cut_off: Vec<usize>,
    /// The replicas that may stop.
    may_stop: Vec<usize>,
    time: u64,
}

fn node(place: usize) -> NodeId {
    NodeId::new(place as u8 + 1).expect("a number")
}

impl Group {
    fn new() -> Self {
        let queues: [Queue; 3] = Default::default();
        let drivers = (0..3).map(|place| driver(place, &queues)).collect();
        let mut group =
            Self { drivers, queues, cut_off: Vec::new(), may_stop: Vec::new(), time: 0 };
        for place in 0..3 {
            let moment = group.moment();
            group.drivers[place].begin(moment);
            for other in (0..3).filter(|other| *other != place) {
                let hello = Box::new(group.drivers[other].hello.clone());
                group.queues[place].borrow_mut().push_back(DriverInput::LinkUp(hello));
            }
        }
        group
    }

    /// Returns a group that has a primary, and the places of the two other replicas.
    fn with_backups() -> (Self, usize, usize) {
        let mut group = Self::new();
        group.run(1000);
        let primary = group.primary();
        (group, (primary + 1) % 3, (primary + 2) % 3)
    }

    fn moment(&self) -> Moment {
        Moment { since_start: self.time, unix: 1_000_000_000 + self.time }
    }

    /// Lets time pass, and carries out everything that is due.
    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.time += STEP;
            for place in 0..3 {
                if !self.cut_off.contains(&place) {
                    self.step(place);
                }
            }
        }
    }

    fn step(&mut self, place: usize) {
        let moment = self.moment();
        let driver = &mut self.drivers[place];
        driver.host().sync(self.time);
        if driver.deadline() <= moment.instant() {
            driver.handle(moment, DriverInput::Wake);
        }
        loop {
            let input = self.queues[place].borrow_mut().pop_front();
            let Some(input) = input else { break };
            driver.handle(moment, input);
        }
        for _ in 0..Driver::<MemoryHost>::passes_per_round() {
            let admitted = driver.host().admitted();
            let clock = driver.host().clock.max(admitted);
            let view = (!driver.host().scripts.is_empty()).then_some(view(admitted, clock));
            if !driver.pass(moment, view) {
                break;
            }
        }
        driver.end_round(moment, false);
        if !self.may_stop.contains(&place) {
            assert_eq!(driver.stop(), None, "replica {place}");
        } else if driver.stop().is_some() {
            self.cut_off(place);
        }
    }

    /// Cuts a replica off from the others.
    fn cut_off(&mut self, place: usize) {
        self.cut_off.push(place);
        for other in (0..3).filter(|other| !self.cut_off.contains(other)) {
            let input = DriverInput::LinkDown(node(place));
            self.queues[other].borrow_mut().push_back(input);
        }
    }

    /// Links a replica that was cut off with the others.
    fn link_again(&mut self, place: usize) {
        self.cut_off.retain(|cut| *cut != place);
        for other in (0..3).filter(|other| *other != place && !self.cut_off.contains(other)) {
            for (at, to) in [(place, other), (other, place)] {
                let hello = Box::new(self.drivers[to].hello.clone());
                self.queues[at].borrow_mut().push_back(DriverInput::LinkUp(hello));
            }
        }
    }

    fn input(&mut self, place: usize, input: DriverInput) {
        self.queues[place].borrow_mut().push_back(input);
    }

    /// Lets a replica's server be ended by a signal, at this clock and slot 5.
    fn end_server(&mut self, place: usize, clock: u64, signal: i32) {
        let run = self.drivers[place].host().scripts.len() as u64;
        let (ending, trouble) = (Ending::Killed(signal), String::new());
        let end = ProgramEnd { ending, clock, admitted: 5, trouble, end_reason: None };
        self.input(place, DriverInput::Server(run, ServerChange::Ended(end)));
    }

    fn say(&mut self, place: usize, record: &RingRecord<'_>) {
        let moment = self.moment();
        self.drivers[place].handle_output(moment, record);
    }

    fn primary(&self) -> usize {
        let is_primary = |place: &usize| self.drivers[*place].is_primary();
        let mut primaries = (0..3).filter(|place| !self.cut_off.contains(place)).filter(is_primary);
        let primary = primaries.next().expect("one replica is primary");
        assert_eq!(primaries.next(), None, "two replicas are primary");
        primary
    }

    /// Returns the script that the last run of a replica's server received.
    fn script(&mut self, place: usize) -> Vec<(Slot, u32, Vec<u8>)> {
        self.drivers[place].host().scripts.last().expect("it runs").clone()
    }

    /// Calls `each` for every op that a replica's server received.
    fn ops(&mut self, place: usize, mut each: impl FnMut(Op<'_>)) {
        for (_, kind, payload) in self.script(place) {
            if kind == script::ENTRY && !payload.is_empty() {
                EntryPayload::decode(&payload).expect("an entry").ops().for_each(&mut each);
            }
        }
    }

    /// Returns the bytes that clients have sent, in the order of the script.
    fn sent(&mut self, place: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        self.ops(place, |op| {
            if let Op::Send { bytes, .. } = op {
                sent.extend_from_slice(bytes);
            }
        });
        sent
    }

    /// Returns the connections that clients have made, in the order of the script.
    fn connects(&mut self, place: usize) -> Vec<ConnId> {
        let mut connects = Vec::new();
        self.ops(place, |op| {
            if let Op::Connect { conn, .. } = op {
                connects.push(conn);
            }
        });
        connects
    }
}

fn view(admitted: u64, clock: u64) -> ServerView {
    ServerView {
        state: ServerState::Quiescent,
        admitted,
        clock,
        connections: 1,
        deadline: u64::MAX,
        entries: 0,
        bubbles: 0,
        uncovered_calls: 0,
        caught_calls: 0,
        refused_connections: 0,
    }
}

fn driver(place: usize, queues: &[Queue; 3]) -> Driver<MemoryHost> {
    let disk = [(1, record::segment_header(1).to_vec())].into();
    let moment = Moment { since_start: 0, unix: 1_000_000_000 };
    let opened = Opened {
        log: Log::new(None),
        stored: DurableState::BLANK,
        entries: Vec::new(),
        last_timestamp: 0,
        torn_bytes: 0,
        is_new: true,
    };
    driver_from(place, queues, opened, disk, moment)
}

/// Returns a driver over a log that has been opened.
fn driver_from(
    place: usize,
    queues: &[Queue; 3],
    opened: Opened,
    disk: BTreeMap<u32, Vec<u8>>,
    moment: Moment,
) -> Driver<MemoryHost> {
    let names: Vec<String> = NAMES.iter().map(|name| (*name).to_string()).collect();
    let cli = Cli::try_parse_from(["crane-linux", "--peers", "a,b,c", "--", "server"]).unwrap();
    let founders = Roster::founders(&names, NodeSet::EMPTY);
    let me = node(place);
    let config = Config::new(me, founders.first_members(), place as u64 + 1);
    let slots = (opened.log.front().0 + 1..).map(Slot);
    let entries = slots.zip(opened.entries);
    let restored = Node::restore(config, moment.instant(), opened.stored, entries);
    let meta = Meta {
        version: 1,
        group: None,
        node: me,
        address: NAMES[place].into(),
        witness: false,
        founders: founders.clone(),
        roster: founders.clone(),
        given: names,
        generation: 1,
        diverged_behind: None,
        restart: None,
        command: vec!["server".into()],
        upgrades: Vec::new(),
    };
    let hello = Hello {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
        node: me.number(),
        address: NAMES[place].into(),
        to: 0,
        generation: 1,
        group: None,
        joined: false,
        roster: founders.clone(),
        witness: false,
        priority: Priority::Normal,
        program_since: Incarnation::FIRST,
        base: Base::default(),
    };
    let settings = Settings {
        me,
        name: NAMES[place].into(),
        founders,
        args: cli.replica,
        base: Base::default(),
        service: Vec::new(),
        figures: HostFigures { processors: 2, memory: 1 << 30 },
        program: Some("server".into()),
        data: PathBuf::from("/data"),
        random: [7; 48],
    };
    let parts = Restored {
        node: Box::new(restored),
        log: opened.log,
        last_timestamp: opened.last_timestamp,
        meta,
        hello,
        heard: Roster::default(),
        checkpoints: Vec::new(),
        note: None,
    };
    let host = MemoryHost {
        sync_takes: 0,
        unsynced: None,
        syncing: None,
        mute_to: NodeSet::EMPTY,
        stands_at: None,
        computes: false,
        processor_time: 0,
        me,
        queues: queues.clone(),
        disk,
        scripts: Vec::new(),
        replies: BTreeMap::new(),
        resets: Vec::new(),
        ports: Vec::new(),
        unreached: 0,
        read_again: Vec::new(),
        fetches: 0,
        lacks_segments: false,
        sent: 0,
        metas: 0,
        dialed: Vec::new(),
        closed: Vec::new(),
        inspections: 0,
        frozen: Vec::new(),
        marks: BTreeMap::new(),
        wrong: Vec::new(),
        outputs: Vec::new(),
        clock: 0,
        room: None,
        starts_late: false,
        started_from: Vec::new(),
        proof: None,
        wrong_proofs: Vec::new(),
        proofs: 0,
        proof_is_late: false,
        no_room: None,
        asked_for_checkpoint: Vec::new(),
        prepared: false,
        checkpoints_are_late: false,
        aside: Vec::new(),
        files: Vec::new(),
        kept_files: BTreeMap::new(),
        programs: Vec::new(),
        incarnations: Vec::new(),
        crashed: Vec::new(),
        immune: Vec::new(),
    };
    Driver::new(settings, parts, host, moment)
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint { address: [0; 16], port }
}

fn connected() -> ClientInput {
    ClientInput::Connected { local: endpoint(80), peer: endpoint(5000) }
}
