//! Whole replicas without I/O: three drivers over a host in memory, stepped in virtual time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use clap::Parser;
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::paxos::{Config, DurableState, Entry, Message, Node};
use crane_core::wire::{Endpoint, EntryPayload, Op};
use crane_shm::region::{output, script};
use crane_shm::{RingError, RingRecord, ServerState};

use super::*;
use crate::log::fetch::Fetch;
use crate::log::{Batch, record};
use crate::net::frame::FrameKind;
use crate::net::handshake::{MAGIC, PROTOCOL_VERSION};
use crate::net::message::{FetchedEntry, Received};
use crate::options::{Cli, Priority};
use crate::report::Ending;

const NAMES: [&str; 3] = ["a:1", "b:1", "c:1"];
/// Nanoseconds of a step of the group.
const STEP: u64 = 1_000_000;

/// What is on its way to a replica.
type Queue = Rc<RefCell<VecDeque<DriverInput>>>;

/// A host in memory. Links carry what is put into them; the disk keeps it, and says so later.
struct MemoryHost {
    me: NodeId,
    queues: [Queue; 3],
    /// The segments' bytes.
    disk: BTreeMap<u32, Vec<u8>>,
    /// By run of the server: the payloads that it was fed, by slot.
    scripts: Vec<Vec<(Slot, u32, Vec<u8>)>>,
    /// Bytes for clients by key, and their resets.
    replies: BTreeMap<u64, Vec<u8>>,
    resets: Vec<u64>,
    ports: Vec<u16>,
    fetches: u32,
    metas: u32,
    inspections: u32,
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
            FrameKind::Server => {
                DriverInput::Report(self.me, postcard::from_bytes(body).expect("a report"))
            }
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
        let segment = &self.disk[&fetch.segment().expect("something is fetched")];
        let read = |space: &mut [u8], offset: u64| -> Result<(), ()> {
            let offset = offset as usize;
            space.copy_from_slice(&segment[offset..offset + space.len()]);
            Ok(())
        };
        let records = fetch.read_by(read).expect("memory can be read").expect("as written");
        self.queue(DriverInput::Fetched(fetcher, records));
    }

    fn keep_meta(&mut self, _: &Meta) {
        self.metas += 1;
        self.queue(DriverInput::MetaKept);
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

    fn open_port(&mut self, at: Endpoint) -> Result<(), String> {
        self.ports.push(at.port);
        Ok(())
    }

    fn close_port(&mut self, at: Endpoint) {
        self.ports.retain(|open| *open != at.port);
    }

    fn start_server(&mut self, run: u64, _: Generation) {
        self.scripts.push(Vec::new());
        self.queue(DriverInput::Server(run, ServerChange::Ready));
    }

    fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) -> Result<(), RingError> {
        let script = self.scripts.last_mut().expect("it runs");
        script.push((slot, kind, payload.to_vec()));
        Ok(())
    }

    fn ring(&mut self) {}

    fn inspect_cell(&mut self) {}

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
    /// Replicas that no link leads to and that do nothing.
    cut_off: Vec<usize>,
    time: u64,
}

fn node(place: usize) -> NodeId {
    NodeId::new(place as u8 + 1).expect("a number")
}

impl Group {
    fn new() -> Self {
        let queues: [Queue; 3] = Default::default();
        let drivers = (0..3).map(|place| driver(place, &queues)).collect();
        let mut group = Self { drivers, queues, cut_off: Vec::new(), time: 0 };
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

    /// Lets time pass, and everything happen that is due.
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
            let view = (!driver.host().scripts.is_empty()).then_some(view(admitted));
            if !driver.pass(moment, view) {
                break;
            }
        }
        driver.end_round(moment, false);
        assert_eq!(driver.stop(), None, "replica {place}");
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
        let primary = primaries.next().expect("somebody is primary");
        assert_eq!(primaries.next(), None, "nobody else is");
        primary
    }

    /// What the last run of a replica's server was fed.
    fn script(&mut self, place: usize) -> Vec<(Slot, u32, Vec<u8>)> {
        self.drivers[place].host().scripts.last().expect("it runs").clone()
    }

    /// Calls `each` for every op that a replica's server was fed.
    fn ops(&mut self, place: usize, mut each: impl FnMut(Op<'_>)) {
        for (_, kind, payload) in self.script(place) {
            if kind == script::ENTRY && !payload.is_empty() {
                EntryPayload::decode(&payload).expect("an entry").ops().for_each(&mut each);
            }
        }
    }

    /// The bytes that clients have sent, in the order of the script.
    fn sent(&mut self, place: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        self.ops(place, |op| {
            if let Op::Send { bytes, .. } = op {
                sent.extend_from_slice(bytes);
            }
        });
        sent
    }

    /// The connections that were made, in the order of the script.
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

fn view(admitted: u64) -> ServerView {
    ServerView {
        state: ServerState::Quiescent,
        admitted,
        clock: admitted,
        connections: 1,
        deadline: u64::MAX,
        entries: 0,
        bubbles: 0,
        uncovered_calls: 0,
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
        program: Some("server".into()),
        data: PathBuf::from("/data"),
        random: [7; 48],
    };
    let log = Log::new(None);
    let parts =
        Restored { node: Box::new(restored), log, last_timestamp: 0, meta, hello, note: None };
    let host = MemoryHost {
        me,
        queues: queues.clone(),
        disk: [(1, record::segment_header(1).to_vec())].into(),
        scripts: Vec::new(),
        replies: BTreeMap::new(),
        resets: Vec::new(),
        ports: Vec::new(),
        fetches: 0,
        metas: 0,
        inspections: 0,
    };
    Driver::new(settings, parts, host, moment)
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint { address: [0; 16], port }
}

fn connected() -> ClientInput {
    ClientInput::Connected { local: endpoint(80), peer: endpoint(5000) }
}

#[test]
fn a_clients_bytes_reach_every_server_and_its_reply_only_the_client() {
    let mut group = Group::new();
    group.run(1000);
    let entry = (group.primary() + 1) % 3;
    group.say(entry, &RingRecord { kind: output::LISTEN, numbers: [80, 0, 0], bytes: &[0; 16] });
    group.run(10);
    assert_eq!(group.drivers[entry].host().ports, [80]);
    group.input(entry, DriverInput::Client(9, connected()));
    group.input(entry, DriverInput::Client(9, ClientInput::Sent(b"question".to_vec())));
    group.run(100);
    for place in 0..3 {
        assert_eq!(group.sent(place), b"question", "replica {place}");
        assert_eq!(group.script(place), group.script(0), "replica {place}");
    }
    for place in 0..3 {
        let numbers = [1, 1, 0];
        let kind = output::DATA;
        group.say(place, &RingRecord { kind, numbers, bytes: b"answer" });
        let reply = group.drivers[place].host().replies.get(&9).cloned();
        assert_eq!(reply.is_some(), place == entry, "replica {place}");
    }
}

#[test]
fn another_primary_takes_over_with_nothing_committed_lost() {
    let mut group = Group::new();
    group.run(1000);
    let first = group.primary();
    let entry = (first + 1) % 3;
    group.input(entry, DriverInput::Client(1, connected()));
    group.input(entry, DriverInput::Client(1, ClientInput::Sent(b"before ".to_vec())));
    group.run(100);
    group.cut_off(first);
    group.input(entry, DriverInput::Client(1, ClientInput::Sent(b"after".to_vec())));
    group.run(2000);
    assert_ne!(group.primary(), first);
    for place in (0..3).filter(|place| *place != first) {
        assert_eq!(group.sent(place), b"before after", "replica {place}");
    }
    assert_eq!(group.sent(first), b"before ");
}

#[test]
fn a_server_that_died_alone_is_fed_again_from_the_disk() {
    let mut group = Group::new();
    group.run(1000);
    let place = (group.primary() + 1) % 3;
    group.input(place, DriverInput::Client(1, connected()));
    // More than the log keeps in memory.
    for _ in 0..200 {
        group.input(place, DriverInput::Client(1, ClientInput::Sent(vec![5; 4000])));
        group.run(2);
    }
    group.run(200);
    let before = group.script(place);
    assert_eq!(group.sent(place).len(), 200 * 4000);
    assert_eq!(group.drivers[place].host().fetches, 0);

    let run = group.drivers[place].host().scripts.len() as u64;
    let (ending, trouble) = (Ending::Killed(11), String::new());
    let end = ProgramEnd { ending, clock: 5, admitted: 5, trouble, refused: false };
    let metas = group.drivers[place].host().metas;
    group.input(place, DriverInput::Server(run, ServerChange::Ended(end)));
    group.run(3000);
    assert_eq!(group.drivers[place].host().scripts.len(), run as usize + 1);
    let after = group.script(place);
    assert_eq!(after[..before.len()], before[..]);
    let host = group.drivers[place].host();
    assert!(host.fetches > 0);
    // Its clients were reset, and the next ones' generation was kept first.
    assert_eq!((host.resets.as_slice(), host.metas), (&[1][..], metas + 1));
    let generation = group.drivers[place].clients.generation();
    assert!(generation > Generation(1));
    // The next one is the first of its generation, whatever key the host gives it.
    group.input(place, DriverInput::Client(2, connected()));
    group.run(100);
    assert_eq!(
        group.connects(place).last(),
        Some(&ConnId { entry: node(place), generation, number: 1 })
    );
}

#[test]
fn a_program_that_the_library_refuses_ends_the_replica_and_is_not_built_again() {
    let mut group = Group::new();
    group.run(1000);
    let (moment, driver) = (group.moment(), &mut group.drivers[0]);
    let run = driver.host().scripts.len() as u64;
    let ending = Ending::Killed(libc::SIGKILL);
    let trouble = "a child serves".to_string();
    let end = ProgramEnd { ending, clock: 5, admitted: 5, trouble, refused: true };
    driver.handle(moment, DriverInput::Server(run, ServerChange::Ended(end)));
    let stop = driver.stop().expect("the replica ends");
    assert_eq!(stop.status, 1);
    assert!(stop.why.ends_with("cannot run replicated: a child serves"), "{}", stop.why);
}
