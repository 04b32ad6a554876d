//! Whole replicas without I/O: three drivers over a host in memory, stepped in virtual time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use clap::Parser;
use crane_core::execution::Mark;
use crane_core::execution::hash::RunningHash;
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::paxos::{Config, DurableState, Entry, Message, Node};
use crane_core::wire::{Endpoint, EntryPayload, Op};
use crane_shm::region::{output, script};
use crane_shm::{EndReason, RingError, RingRecord, ServerState};

use super::*;
use crate::checkpoint::store::{Manifest, Processes};
use crate::frozen::{FrozenCall, FrozenCalls, ServerHistory};
use crate::log::fetch::Fetch;
use crate::log::{Batch, record};
use crate::net::frame::FrameKind;
use crate::net::handshake::{MAGIC, PROTOCOL_VERSION};
use crate::net::message::{FetchedEntry, Received};
use crate::options::{Cli, Priority};
use crate::report::Ending;

mod divergence;
mod replicas;

const NAMES: [&str; 3] = ["a:1", "b:1", "c:1"];
/// The length of a step of the group in nanoseconds.
const STEP: u64 = 1_000_000;

/// Inputs on their way to a replica.
type Queue = Rc<RefCell<VecDeque<DriverInput>>>;

/// A host in memory. Its links carry frames to the other hosts; its disk keeps writes, and confirms
/// them later.
struct MemoryHost {
    me: NodeId,
    queues: [Queue; 3],
    /// The segments' bytes.
    disk: BTreeMap<u32, Vec<u8>>,
    /// By run of the server: the payloads that it received, by slot.
    scripts: Vec<Vec<(Slot, u32, Vec<u8>)>>,
    /// Bytes for clients by key, and their resets.
    replies: BTreeMap<u64, Vec<u8>>,
    resets: Vec<u64>,
    ports: Vec<u16>,
    /// A port that no client reaches.
    unreached: u16,
    fetches: u32,
    metas: u32,
    inspections: u32,
    /// Slots at which calls were frozen.
    frozen: Vec<Slot>,
    /// The marks of the present run.
    marks: BTreeMap<Slot, Mark>,
    /// By run: the bytes of the entry from which on the server goes wrong, which it hashes
    /// differently.
    wrong: Vec<u64>,
    /// By run: the hash of its output.
    outputs: Vec<u64>,
    /// The clock of the server, if it is above the number of the last slot.
    clock: u64,
    /// The room on the disk of the server's files.
    room: Option<DiskRoom>,
    /// Whether a started server is ready only when the test says so.
    starts_late: bool,
    /// By run: the slot of the checkpoint from which it has started.
    started_from: Vec<Option<Slot>>,
    /// The checkpoints that were set aside.
    aside: Vec<(PathBuf, &'static str)>,
}

/// Returns a checkpoint behind a slot.
fn checkpoint(group: &str, slot: Slot) -> Checkpoint {
    let manifest = Manifest {
        library: [0; 16],
        group: group.to_string(),
        slot,
        clock: 1,
        processes: Processes::default(),
        digest: [0; 32],
    };
    Checkpoint { place: PathBuf::from(format!("/data/checkpoints/slot-{slot}")), manifest }
}

impl MemoryHost {
    fn queue(&self, input: DriverInput) {
        self.queues[self.me.index()].borrow_mut().push_back(input);
    }

    fn queue_at(&self, to: NodeId, input: DriverInput) {
        self.queues[to.index()].borrow_mut().push_back(input);
    }

    fn admitted(&self) -> u64 {
        self.scripts.last().and_then(|script| script.last()).map_or(0, |(slot, ..)| slot.0)
    }
}

impl Host for MemoryHost {
    fn send_message(&mut self, to: NodeId, message: &Message, entries: &[FetchedEntry]) {
        let received = Received {
            message: *message,
            entries: entries.iter().map(|(entry, _)| *entry).collect::<Vec<Entry>>(),
            payloads: entries.iter().map(|(_, payload)| payload.clone()).collect(),
        };
        self.queue_at(to, DriverInput::Message(self.me, received));
    }

    fn send_frame(&mut self, to: NodeId, kind: FrameKind, body: &[u8]) {
        let input = match kind {
            FrameKind::Ops => DriverInput::Ops(self.me, body.to_vec()),
            FrameKind::Calls => {
                DriverInput::Calls(self.me, postcard::from_bytes(body).expect("calls"))
            }
            FrameKind::Mark => {
                DriverInput::Mark(self.me, postcard::from_bytes(body).expect("a mark"))
            }
            FrameKind::Server => {
                DriverInput::Report(self.me, postcard::from_bytes(body).expect("a report"))
            }
            FrameKind::Roster => DriverInput::Roster(postcard::from_bytes(body).expect("members")),
            other => panic!("{other:?} is no frame of a driver"),
        };
        self.queue_at(to, input);
    }

    fn set_hello(&mut self, _: &Hello) {}

    fn dial(&mut self, _: NodeId, _: &str) {}

    fn write(&mut self, batch: Batch) {
        for chunk in batch.chunks {
            let segment = self.disk.entry(chunk.segment).or_default();
            let end = chunk.offset as usize + chunk.bytes.len();
            segment.resize(segment.len().max(end), 0);
            segment[chunk.offset as usize..end].copy_from_slice(&chunk.bytes);
        }
        self.queue(DriverInput::Durable(batch.up_to));
    }

    fn fetch(&mut self, fetcher: FetchFor, fetch: Fetch) {
        self.fetches += 1;
        let segment = &self.disk[&fetch.segment().expect("a fetch names a segment")];
        let read = |space: &mut [u8], offset: u64| -> Result<(), ()> {
            let offset = offset as usize;
            space.copy_from_slice(&segment[offset..offset + space.len()]);
            Ok(())
        };
        let records = fetch.read_by(read).expect("memory can be read").expect("as written");
        self.queue(DriverInput::Fetched(fetcher, records));
    }

    fn keep_meta(&mut self, meta: &Meta) {
        self.metas += 1;
        self.queue(DriverInput::MetaKept(Generation(meta.generation)));
    }

    fn keep_base(&mut self) {}

    fn command_client(&mut self, key: u64, command: ClientCommand<'_>) {
        match command {
            ClientCommand::Send(bytes) => {
                self.replies.entry(key).or_default().extend_from_slice(bytes);
            }
            ClientCommand::Reset => self.resets.push(key),
            _ => {}
        }
    }

    fn open_port(&mut self, at: &ServerListener, _: &Path) -> Result<Option<String>, String> {
        self.ports.push(at.at.port);
        Ok((at.at.port == self.unreached).then(|| "no client reaches it".to_string()))
    }

    fn close_port(&mut self, at: &ServerListener) {
        self.ports.retain(|open| *open != at.at.port);
    }

    fn take_checkpoint(&mut self, group: &str) {
        let slot = self.scripts.last().and_then(|script| script.last()).expect("entries").0;
        let checkpoint = checkpoint(group, slot);
        let taken = Taken { checkpoint, held_ms: 5 };
        self.queue(DriverInput::CheckpointTaken(self.scripts.len() as u64, Ok(taken)));
    }

    fn set_checkpoint_aside(&mut self, place: &Path, why: &'static str) {
        self.aside.push((place.to_path_buf(), why));
    }

    fn start_server(&mut self, run: u64, _: Generation, from: Option<&Checkpoint>) {
        let slot = from.map(|from| from.manifest.slot);
        self.started_from.push(slot);
        // An image has the entries before it in it.
        let mut script = self.scripts.last().cloned().unwrap_or_default();
        script.retain(|(before, ..)| Some(*before) <= slot);
        self.scripts.push(script);
        self.marks.clear();
        if !self.starts_late {
            self.queue(DriverInput::Server(run, ServerChange::Ready));
        }
    }

    fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        let run = self.scripts.len();
        let script = self.scripts.last_mut().expect("it runs");
        script.push((slot, kind, payload.to_vec()));
        let mut hash = RunningHash::new();
        for (_, _, payload) in &*script {
            hash.put_bytes(payload);
        }
        if let Some(wrong) = self.wrong.get(run - 1).filter(|wrong| **wrong > 0) {
            hash.put(*wrong);
        }
        let schedule = hash.value();
        let output = self.outputs.get(run - 1).copied().unwrap_or(0);
        let clock = self.clock.max(slot.0);
        self.marks.insert(slot, Mark { slot, clock, schedule, output });
        Ok(())
    }

    fn ring(&mut self) {}

    fn inspect_cell(&mut self) {
        let run = self.scripts.len() as u64;
        self.queue(DriverInput::CellSeen(run, Vec::new()));
    }

    fn measure_disk(&mut self) {
        if let Some(room) = self.room {
            self.queue(DriverInput::DiskMeasured(room));
        }
    }

    fn mark(&self, slot: Slot) -> Option<Mark> {
        self.marks.get(&slot).copied()
    }

    fn history(&mut self) -> Option<ServerHistory> {
        let run = self.scripts.len();
        let wrong = self.wrong.get(run - 1).copied().unwrap_or(0);
        let bytes = self.outputs.get(run - 1).copied().unwrap_or(0);
        let calls = (1..=self.admitted()).map(|clock| {
            // A wrong server makes a different call at clock 2, and writes different bytes at clock
            // 3.
            let object = if clock == 2 { wrong } else { clock };
            let output = if clock > 3 { bytes } else { 0 };
            FrozenCall { word: 5 << 32 | object, address: 17, output }
        });
        Some(ServerHistory { first_call: 1, calls: calls.collect(), ..ServerHistory::default() })
    }

    fn keep_frozen(&mut self, frozen: Arc<FrozenCalls>) {
        self.frozen.push(frozen.slot);
        self.queue(DriverInput::FrozenKept(Ok("frozen".into())));
    }

    fn stop_server(&mut self) {
        let run = self.scripts.len() as u64;
        let end = ProgramEnd {
            ending: Ending::Killed(9),
            clock: run,
            admitted: self.admitted(),
            trouble: String::new(),
            end_reason: None,
        };
        self.queue(DriverInput::Server(run, ServerChange::Ended(end)));
    }

    fn inspect_server(&mut self) {
        self.inspections += 1;
    }

    fn set_first_generation(&mut self, _: Generation) {}

    fn watch_state(&mut self, _: bool) {}
}

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

    fn input(&mut self, place: usize, input: DriverInput) {
        self.queues[place].borrow_mut().push_back(input);
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
        refused_connections: 0,
    }
}

fn driver(place: usize, queues: &[Queue; 3]) -> Driver<MemoryHost> {
    let names: Vec<String> = NAMES.iter().map(|name| (*name).to_string()).collect();
    let cli = Cli::try_parse_from(["crane-linux", "--peers", "a,b,c", "--", "server"]).unwrap();
    let founders = Roster::founders(&names, NodeSet::EMPTY);
    let me = node(place);
    let config = Config::new(me, founders.first_members(), place as u64 + 1);
    let moment = Moment { since_start: 0, unix: 1_000_000_000 };
    let restored = Node::restore(config, moment.instant(), DurableState::BLANK, []);
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
        base: Base::default(),
    };
    let settings = Settings {
        me,
        name: NAMES[place].into(),
        founders,
        args: cli.replica,
        base: Base::default(),
        service: Vec::new(),
        program: Some("server".into()),
        data: PathBuf::from("/data"),
        random: [7; 48],
    };
    let log = Log::new(None);
    let parts = Restored {
        node: Box::new(restored),
        log,
        last_timestamp: 0,
        meta,
        hello,
        checkpoint: None,
        note: None,
    };
    let host = MemoryHost {
        me,
        queues: queues.clone(),
        disk: [(1, record::segment_header(1).to_vec())].into(),
        scripts: Vec::new(),
        replies: BTreeMap::new(),
        resets: Vec::new(),
        ports: Vec::new(),
        unreached: 0,
        fetches: 0,
        metas: 0,
        inspections: 0,
        frozen: Vec::new(),
        marks: BTreeMap::new(),
        wrong: Vec::new(),
        outputs: Vec::new(),
        clock: 0,
        room: None,
        starts_late: false,
        started_from: Vec::new(),
        aside: Vec::new(),
    };
    Driver::new(settings, parts, host, moment)
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint { address: [0; 16], port }
}

fn connected() -> ClientInput {
    ClientInput::Connected { local: endpoint(80), peer: endpoint(5000) }
}
