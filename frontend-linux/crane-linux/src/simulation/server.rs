//! A simulated server: one thread on the real scheduler and admission. Each request is a number,
//! which the server appends to its list; the answer is the request and its position there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crane_core::execution::admission::Admitted;
use crane_core::execution::conn_table::ConnTable;
use crane_core::execution::socket::{Bound, ConnIndex, ListenerIndex};
use crane_core::execution::turn::{NEVER, ThreadId, WaitKey};
use crane_core::execution::{Execution, Mark, word};
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::wire::{Endpoint, EntryPayload, Genesis};
use crane_shm::region::{output, script};
use crane_shm::{RingRecord, ServerState};

use crate::driver::{Activity, RunNumber, ServerView};
use crate::frozen::ServerHistory;
use crate::report::Ending;

use super::history::CallHistory;
use super::requests::{answer_bytes, is_fatal, requests_in};

/// The port at which the server listens.
pub(super) const PORT: u16 = 80;
/// The key of everything that the thread waits for.
const INPUT: WaitKey = WaitKey(1);
/// The duration of the server's timer, in nanoseconds.
const TIMER_LASTS: u64 = 1_000_000_000;

/// A record of the server's output.
#[derive(Clone, Debug)]
pub(super) struct OutputRecord {
    kind: u32,
    numbers: [u64; 3],
    bytes: Vec<u8>,
}

impl OutputRecord {
    /// Returns the record as the daemon reads it.
    pub(super) fn as_ring(&self) -> RingRecord<'_> {
        RingRecord { kind: self.kind, numbers: self.numbers, bytes: &self.bytes }
    }
}

/// The next call of the thread.
#[derive(Clone, Copy, Debug)]
enum ServerStep {
    Listen,
    Look,
    Accept,
    Receive(ConnIndex),
    Answer(ConnIndex),
    Close(ConnIndex),
}

/// A run of the server.
#[derive(Clone, Debug)]
pub(super) struct SimServer {
    pub(super) run: RunNumber,
    me: NodeId,
    /// Clients of older generations get no output.
    pub(super) first_generation: Generation,
    /// The execution, from the genesis on.
    execution: Option<Box<Execution<1, 64, 1>>>,
    listener: Option<ListenerIndex>,
    step: ServerStep,
    script: VecDeque<(u32, Slot, Vec<u8>)>,
    output: VecDeque<OutputRecord>,
    /// The accepted connections, with the bytes that were admitted and not read.
    accepted: BTreeSet<u16>,
    inbox: BTreeMap<u16, Vec<u8>>,
    /// Requests that were read and not answered, by connection.
    requests: BTreeMap<u16, VecDeque<u64>>,
    timer_at: u64,
    /// The requests in their order, which is the server's whole state.
    list: Vec<u64>,
    known: BTreeSet<u64>,
    marks: BTreeMap<Slot, Mark>,
    history: CallHistory,
    admitted: Slot,
    state: ServerState,
    deadline: u64,
    entries: u64,
    bubbles: u64,
    /// Whether it has admitted the end of its incarnation.
    is_restarted: bool,
    /// Whether the program has crashed.
    is_crashed: bool,
    /// Whether it does something else than the servers of others.
    pub(super) is_wrong: bool,
    /// The clock of the first call that wrote other bytes than those of others did.
    pub(super) parted_at: Option<u64>,
    /// The activity of its thread when it makes no call for long.
    pub(super) activity: Option<Activity>,
    processor: u64,
}

impl SimServer {
    /// Creates a server before its first call.
    pub(super) fn new(run: RunNumber, me: NodeId, first_generation: Generation) -> Self {
        Self {
            run,
            me,
            first_generation,
            execution: None,
            listener: None,
            step: ServerStep::Listen,
            script: VecDeque::new(),
            output: VecDeque::new(),
            accepted: BTreeSet::new(),
            inbox: BTreeMap::new(),
            requests: BTreeMap::new(),
            timer_at: 0,
            list: Vec::new(),
            known: BTreeSet::new(),
            marks: BTreeMap::new(),
            history: CallHistory::default(),
            admitted: Slot::NONE,
            state: ServerState::Starting,
            deadline: NEVER,
            entries: 0,
            bubbles: 0,
            is_restarted: false,
            is_crashed: false,
            is_wrong: false,
            parted_at: None,
            activity: None,
            processor: 0,
        }
    }

    /// Returns the server as a checkpoint has it, with the slot and the mark behind which it is: of
    /// what is on its way to it and from it, it has nothing. `None` before the first entry.
    pub(super) fn image(&self) -> Option<(Self, Mark)> {
        let (_, mark) = self.marks.last_key_value()?;
        let (script, output) = (VecDeque::new(), VecDeque::new());
        Some((Self { script, output, ..self.clone() }, *mark))
    }

    /// Returns a server before its first call, on the files that this one has left.
    pub(super) fn files(&self) -> Self {
        let Self { run, me, first_generation, is_wrong, .. } = *self;
        let (list, known) = (self.list.clone(), self.known.clone());
        Self { list, known, is_wrong, ..Self::new(run, me, first_generation) }
    }

    /// Returns whether its incarnation has ended.
    pub(super) fn is_restarted(&self) -> bool {
        self.is_restarted
    }

    /// Returns how it has ended, if it has ended by itself.
    pub(super) fn ending(&self) -> Option<Ending> {
        let ended = self.is_restarted.then_some(Ending::Exited(0));
        if self.is_crashed { Some(Ending::Killed(libc::SIGSEGV)) } else { ended }
    }

    /// Returns whether it has output.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Lets an image continue as a run of a replica's server. It says where it listens once more.
    pub(super) fn continue_as(&mut self, run: RunNumber, me: NodeId, first_generation: Generation) {
        (self.run, self.me, self.first_generation) = (run, me, first_generation);
        self.state = ServerState::Starting;
        if self.listener.is_some() {
            self.say_where();
        }
    }

    /// Appends a record to the script.
    pub(super) fn feed(&mut self, kind: u32, slot: Slot, payload: &[u8]) {
        self.script.push_back((kind, slot, payload.to_vec()));
    }

    /// Takes the next record of the output.
    pub(super) fn take_output(&mut self) -> Option<OutputRecord> {
        self.output.pop_front()
    }

    /// Returns the requests that the server has carried out, in their order.
    pub(super) fn list(&self) -> &[u64] {
        &self.list
    }

    /// Returns the requests that the server has admitted, those without an answer too.
    pub(super) fn admitted_requests(&self) -> Vec<u64> {
        let read = self.list.iter().chain(self.requests.values().flatten()).copied();
        read.chain(self.inbox.values().flat_map(|bytes| requests_in(bytes))).collect()
    }

    /// Returns the mark at the admission of a slot.
    pub(super) fn mark(&self, slot: Slot) -> Option<Mark> {
        self.marks.get(&slot).copied()
    }

    /// Returns what it did last.
    pub(super) fn history(&self) -> ServerHistory {
        self.history.with_marks(&self.marks)
    }

    /// Checks the invariants of the execution.
    pub(super) fn invariants(&self) {
        self.execution.iter().for_each(|execution| execution.invariants());
    }

    /// Returns the processor time that it has used, in microseconds.
    pub(super) fn measure(&mut self) -> u64 {
        self.processor += u64::from(self.activity == Some(Activity::Computes)) * 1000;
        self.processor
    }

    /// Returns how many connections it has open that entered by a replica.
    pub(super) fn connections_by(&self, entry: NodeId) -> usize {
        let Some(execution) = &self.execution else { return 0 };
        let by = |at: &&u16| execution.sockets.conn(ConnIndex(**at)).id.entry == entry;
        self.accepted.iter().filter(by).count()
    }

    /// Returns the logical clock.
    pub(super) fn clock(&self) -> u64 {
        self.execution.as_ref().map_or(0, |execution| execution.gate.clock())
    }

    /// Returns the last slot that was admitted.
    pub(super) fn admitted(&self) -> Slot {
        self.admitted
    }

    /// Returns the daemon's view of the server.
    pub(super) fn view(&self) -> ServerView {
        ServerView {
            state: self.state,
            admitted: self.admitted.0,
            clock: self.clock(),
            connections: self.execution.as_ref().map_or(0, |at| at.sockets.open() as u64),
            deadline: self.deadline,
            entries: self.entries,
            bubbles: self.bubbles,
            uncovered_calls: 0,
            caught_calls: 0,
            refused_connections: 0,
        }
    }

    /// Makes at most `calls` calls, as far as the script goes. Returns whether it could make more.
    pub(super) fn run_calls(&mut self, calls: u64) -> bool {
        for _ in 0..calls {
            if self.ending().is_some() {
                return false;
            }
            let Some(execution) = self.execution.as_deref_mut() else {
                if self.begin() { continue } else { return false }
            };
            self.processor += 1;
            let holder = execution.turn.holder().or_else(|| execution.pass());
            let Some(thread) = holder else {
                execution.gate.drop_grant();
                if self.admit() {
                    continue;
                }
                return self.rest(ServerState::Quiescent);
            };
            let (kind, object) = self.step.call();
            if !execution.call(thread, kind, object) {
                if self.admit() {
                    continue;
                }
                return self.rest(ServerState::Stalled);
            }
            let (word, clock) = (word(thread, kind, object), execution.gate.clock());
            let schedule = execution.schedule.value();
            self.history.record(clock, word, execution.output.value(), schedule);
            self.act();
        }
        self.state = ServerState::Running;
        true
    }

    fn rest(&mut self, state: ServerState) -> bool {
        self.state = state;
        let execution = self.execution.as_deref_mut().expect("it has begun");
        self.deadline = execution.turn.first_deadline();
        false
    }

    /// Begins with the genesis at the script's head, if it is there.
    fn begin(&mut self) -> bool {
        let Some((kind, slot, bytes)) = self.script.pop_front() else { return false };
        assert_eq!(kind, script::GENESIS, "the script begins with a genesis");
        let genesis = Genesis::decode(&bytes).expect("the genesis can be read");
        let Genesis { quantum, timestamp, .. } = genesis;
        let mut execution =
            Execution::with_table(ConnTable::new(), self.run.incarnation, quantum, timestamp);
        let thread: ThreadId = execution.turn.reserve().expect("room for a thread");
        execution.turn.start(thread);
        self.execution = Some(Box::new(execution));
        self.timer_at = timestamp + TIMER_LASTS;
        self.admitted = slot;
        true
    }

    /// Admits the entry at the script's head, if there is one. No-ops are not part of the script.
    fn admit(&mut self) -> bool {
        while let Some((kind, slot, bytes)) = self.script.pop_front() {
            assert_eq!(kind, script::ENTRY, "entries follow the genesis");
            self.admitted = slot;
            if bytes.is_empty() {
                continue;
            }
            let entry = EntryPayload::decode(&bytes).expect("what is committed can be read");
            self.bubbles += u64::from(entry.is_bubble());
            self.entries += u64::from(!entry.is_bubble());
            let execution = self.execution.as_deref_mut().expect("it has begun");
            let (inbox, mut refused) = (&mut self.inbox, Vec::new());
            let is_restarted = &mut self.is_restarted;
            let mark =
                execution.admit(slot, entry.timestamp, entry.ops(), entry.grant, |at, admitted| {
                    match admitted {
                        Admitted::Data { conn, bytes, .. } => {
                            inbox.entry(conn.0).or_default().extend_from_slice(bytes);
                            at.turn.wake(INPUT, 1);
                        }
                        Admitted::Retired(node) => {
                            let mut last = None;
                            while let Some(conn) = at.sockets.retired(node, last) {
                                last = Some(conn);
                                at.turn.wake(INPUT, 1);
                            }
                        }
                        Admitted::Refused(id, _) => refused.push(id),
                        Admitted::Restarted(_) => *is_restarted = true,
                        Admitted::Nothing | Admitted::Signalled(_) => {}
                        Admitted::Acceptable(_)
                        | Admitted::Ended(_)
                        | Admitted::Reset(_)
                        | Admitted::Room(_) => {
                            at.turn.wake(INPUT, 1);
                        }
                    }
                });
            self.marks.insert(slot, mark);
            for id in refused {
                self.say(output::RESET, id, 0, Vec::new());
            }
            return true;
        }
        false
    }

    /// Appends a record about a connection of this replica to the output.
    fn say(&mut self, kind: u32, id: ConnId, total: u64, bytes: Vec<u8>) {
        if self.speaks_to(id) {
            let numbers = [id.number, id.generation.0, total];
            self.output.push_back(OutputRecord { kind, numbers, bytes });
        }
    }

    /// Returns whether a connection is one of this replica, whose client gets output.
    fn speaks_to(&self, id: ConnId) -> bool {
        id.entry == self.me && id.generation >= self.first_generation
    }

    fn act(&mut self) {
        self.step = match self.step {
            ServerStep::Listen => self.listen(),
            ServerStep::Look => self.look(),
            ServerStep::Accept => {
                let execution = self.execution.as_deref_mut().expect("it has begun");
                let conn = self.listener.and_then(|listener| execution.sockets.accept(listener));
                self.accepted.extend(conn.map(|conn| conn.0));
                ServerStep::Look
            }
            ServerStep::Receive(at) => self.receive(at),
            ServerStep::Answer(at) => self.answer(at),
            ServerStep::Close(at) => {
                let execution = self.execution.as_deref_mut().expect("it has begun");
                let id = execution.sockets.conn(at).id;
                execution.sockets.close(at);
                self.accepted.remove(&at.0);
                self.inbox.remove(&at.0);
                self.requests.remove(&at.0);
                self.say(output::CLOSE, id, 0, Vec::new());
                ServerStep::Look
            }
        };
    }

    fn listen(&mut self) -> ServerStep {
        let execution = self.execution.as_deref_mut().expect("it has begun");
        let at = Endpoint::from_ipv4([0; 4], PORT);
        self.listener = execution.sockets.listen(Bound::plain(at), 64);
        self.say_where();
        ServerStep::Look
    }

    fn say_where(&mut self) {
        let bytes = Endpoint::from_ipv4([0; 4], PORT).address.to_vec();
        let record = OutputRecord { kind: output::LISTEN, numbers: [PORT.into(), 0, 0], bytes };
        self.output.push_back(record);
    }

    /// Chooses what is ready, or waits for it and for the timer.
    fn look(&mut self) -> ServerStep {
        let execution = self.execution.as_deref_mut().expect("it has begun");
        let listener = self.listener.expect("it listens");
        if execution.sockets.acceptable(listener) > 0 {
            return ServerStep::Accept;
        }
        let conn = |at: &u16| execution.sockets.conn(ConnIndex(*at));
        let can_answer = |at: &u16| {
            let first = self.requests.get(at).and_then(|requests| requests.front());
            first.is_some_and(|first| conn(at).room() >= answer_bytes(*first) || conn(at).reset)
        };
        if let Some(at) = self.accepted.iter().find(|at| can_answer(at)) {
            return ServerStep::Answer(ConnIndex(*at));
        }
        // The end of a connection waits until the requests before it are answered.
        let waits = |at: &u16| self.requests.contains_key(at) && conn(at).readable() == 0;
        let is_ready = |at: &u16| conn(at).reset || conn(at).read_ready() && !waits(at);
        if let Some(at) = self.accepted.iter().find(|at| is_ready(at)) {
            return ServerStep::Receive(ConnIndex(*at));
        }
        let agreed = execution.gate.agreed();
        if agreed >= self.timer_at {
            execution.output.put(self.list.len() as u64 + u64::from(self.is_wrong));
            if self.is_wrong {
                self.parted_at.get_or_insert_with(|| execution.gate.clock());
            }
            self.timer_at = agreed + TIMER_LASTS;
        }
        execution.turn.wait(INPUT, self.timer_at);
        ServerStep::Look
    }

    fn receive(&mut self, at: ConnIndex) -> ServerStep {
        let execution = self.execution.as_deref_mut().expect("it has begun");
        let conn = execution.sockets.conn_mut(at);
        let (id, count) = (conn.id, conn.readable());
        if conn.reset || count == 0 {
            return ServerStep::Close(at);
        }
        conn.consume(count);
        let total = conn.consumed;
        let bytes = self.inbox.remove(&at.0).expect("readable bytes were kept");
        assert_eq!(bytes.len(), count, "the bytes of {id} are not those that were admitted");
        self.requests.entry(at.0).or_default().extend(requests_in(&bytes));
        self.say(output::CONSUMED, id, total, Vec::new());
        ServerStep::Look
    }

    /// Carries out the next request of a connection, which has room for the answer or is gone.
    fn answer(&mut self, at: ConnIndex) -> ServerStep {
        let requests = self.requests.get_mut(&at.0).expect("it has requests");
        let request = requests.pop_front().expect("it has requests");
        if requests.is_empty() {
            self.requests.remove(&at.0);
        }
        if is_fatal(request) {
            self.is_crashed = true;
            return ServerStep::Look;
        }
        assert!(self.known.insert(request), "request {request} is carried out twice");
        self.list.push(request);
        let (length, mut answer) = (answer_bytes(request), Vec::new());
        answer.extend_from_slice(&request.to_le_bytes());
        answer.extend_from_slice(&(self.list.len() as u64).to_le_bytes());
        let execution = self.execution.as_deref_mut().expect("it has begun");
        execution.output.put_bytes(&answer);
        execution.output.put(u64::from(self.is_wrong));
        if self.is_wrong {
            self.parted_at.get_or_insert_with(|| execution.gate.clock());
        }
        let conn = execution.sockets.conn_mut(at);
        let (id, total, is_gone) = (conn.id, conn.sent, conn.reset);
        if !is_gone {
            conn.produce(length);
        }
        if !is_gone && self.speaks_to(id) {
            answer.resize(length, 0);
            self.say(output::DATA, id, total, answer);
        }
        ServerStep::Look
    }
}

impl ServerStep {
    /// Returns the number and the object of the call.
    fn call(self) -> (u16, u32) {
        match self {
            Self::Listen => (1, 0),
            Self::Look => (2, 0),
            Self::Accept => (3, 0),
            Self::Receive(at) => (4, at.0.into()),
            Self::Answer(at) => (5, at.0.into()),
            Self::Close(at) => (6, at.0.into()),
        }
    }
}
