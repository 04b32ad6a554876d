//! A simulated server: threads that accept, receive, lock, compute, race with each other, with a
//! timer and with children, and send, on the real scheduler and admission.
//!
//! Its actions depend on the order of its threads' calls and on the clock at which ops are
//! admitted, so its hashes differ as soon as one of these does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crane_core::execution::admission::Admitted;
use crane_core::execution::conn_table::ConnTable;
use crane_core::execution::processes::Children;
use crane_core::execution::socket::{Bound, ConnIndex, ListenerIndex};
use crane_core::execution::turn::{NEVER, ThreadId, WaitKey};
use crane_core::execution::{Execution, Mark};
use crane_core::id::{ConnId, Generation, Incarnation, NodeId, Slot};
use crane_core::mutants::{Mutant, broken};
use crane_core::wire::{Endpoint, EntryPayload};

use super::children::LIFE;
use super::clients::first_unexpected;
use super::processes::{Family, Lives, THREADS_MAX};
use crate::specification::event::{Event as Told, Outcome, Recorder};

/// The port at which the server listens.
pub const PORT: u16 = 80;

const THREADS: usize = 4;
const LISTENER: WaitKey = WaitKey(1);
const LOCK: WaitKey = WaitKey(2);
const TIMER: WaitKey = WaitKey(3);
const NAP: u64 = 100;
const READABLE: u64 = 1000;
/// The duration of the timer, in nanoseconds.
const TIMER_LASTS: u64 = 20_000;

/// A server's run, from its first call.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) execution: Execution<THREADS_MAX, 128, 2>,
    /// The threads of the first process.
    pub(super) workers: [Worker; THREADS],
    pub(super) family: Family,
    timer: Timer,
    listener: Option<ListenerIndex>,
    /// The replica that some of the broken variants break.
    pub(super) breakable: bool,
    pub(super) script: VecDeque<(Slot, Rc<[u8]>)>,
    locked: bool,
    guarded: u64,
    pub(super) racy: u64,
    received: BTreeMap<ConnId, u64>,
    refused: BTreeSet<ConnId>,
    marks: Vec<Mark>,
    /// The last slot that any incarnation has admitted.
    admitted: Slot,
    /// The recorder of its actions, and the number of its replica.
    recorder: (Option<NodeId>, Recorder),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Worker {
    step: Step,
    conn: ConnIndex,
    seen: u64,
}

/// A timer, which expires in the turn of the number that is reserved for it.
#[derive(Clone, Copy, Debug)]
struct Timer {
    number: ThreadId,
    /// The agreed time at which the timer expires, or [`NEVER`] while it is stopped.
    due: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Listen,
    Accept,
    Receive,
    Lock,
    Look,
    Compute(u64),
    Store,
    LookUnguarded,
    StoreUnguarded,
    Send,
    StartTimer,
    Nap,
    Fork,
    Wait,
    Ask,
}

impl Default for Server {
    fn default() -> Self {
        Self::begin(Incarnation::FIRST, 0)
    }
}

impl Server {
    /// Begins an incarnation.
    // specs: I4
    fn begin(incarnation: Incarnation, timestamp: u64) -> Self {
        let worker = Worker { step: Step::Accept, conn: ConnIndex(0), seen: 0 };
        let mut execution = Execution::with_table(ConnTable::new(), incarnation, 3, timestamp);
        for _ in 0..THREADS {
            let thread = execution.turn.reserve().expect("room for the threads");
            execution.turn.start(thread);
        }
        let number = execution.turn.reserve().expect("room for the timer");
        execution.turn.wait_reserved(number, TIMER, NEVER);
        let mut server = Self {
            execution,
            workers: [worker; THREADS],
            family: Family::new(),
            timer: Timer { number, due: NEVER },
            listener: None,
            breakable: false,
            script: VecDeque::new(),
            locked: false,
            guarded: 0,
            racy: 0,
            received: BTreeMap::new(),
            refused: BTreeSet::new(),
            marks: Vec::new(),
            admitted: Slot::NONE,
            recorder: Default::default(),
        };
        server.workers[0].step = Step::Listen;
        server
    }

    /// Creates the server as the replica of this number runs it.
    pub fn at(mut self, replica: NodeId, recorder: Recorder) -> Self {
        self.recorder = (Some(replica), recorder);
        self.breakable = replica.number() == 1;
        self
    }

    /// Appends a committed entry to the script.
    pub fn arrive(&mut self, slot: Slot, entry: Rc<[u8]>) {
        self.script.push_back((slot, entry));
        if self.breakable && broken(Mutant::AdmittedOnArrival) {
            while self.drop_and_admit() {}
        }
        if self.breakable && self.timer.due != NEVER && broken(Mutant::TimerOnArrival) {
            self.expire();
        }
        if self.breakable {
            self.on_host_event();
        }
        let runs = self.execution.turn.holder().is_some();
        if self.breakable && runs && broken(Mutant::YieldedOnArrival) {
            self.execution.turn.yield_turn();
        }
    }

    /// Makes at most `calls` calls, as far as the script goes.
    pub fn run(&mut self, calls: u64) {
        for _ in 0..calls {
            if self.end_faulted() {
                continue;
            }
            let holder = self.execution.turn.holder().or_else(|| self.execution.pass());
            let Some(thread) = holder else {
                if self.drop_and_admit() { continue } else { return }
            };
            if thread == self.timer.number {
                self.take_timers_turn();
                continue;
            }
            let (kind, object) = self.call_of(thread);
            if !self.execution.call(thread, kind, object) {
                if self.admit() {
                    continue;
                }
                if self.breakable && broken(Mutant::StepChosen) && self.has_few_calls() {
                    self.execution.gate.grant(1);
                    continue;
                }
                return;
            }
            if !self.take_signals(thread) {
                continue;
            }
            let step = self.workers.get(usize::from(thread.0)).map(|worker| worker.step);
            match self.family.threads[usize::from(thread.0)] {
                Some(child) => self.act_as_child(thread, child),
                None => self.act(thread),
            }
            if self.execution.turn.holder().is_none() || self.family.faulted.is_some() {
                continue;
            }
            let is_over = match step {
                Some(Step::Lock) => self.execution.spend_slice(true),
                Some(Step::Store) => self.execution.spend_slice(false),
                _ => self.execution.turn.spend(),
            };
            if is_over {
                self.execution.turn.yield_turn();
            }
        }
    }

    /// Returns the last slot that was admitted, if no entry is left.
    pub fn admitted(&self) -> Option<Slot> {
        self.script.is_empty().then_some(self.admitted)
    }

    /// Returns the incarnation.
    pub fn incarnation(&self) -> Incarnation {
        self.execution.sockets.incarnation()
    }

    /// Returns the time as the server sees it.
    pub fn agreed(&self) -> u64 {
        self.execution.gate.agreed()
    }

    /// Returns the numbers of calls made and bytes admitted.
    pub fn work(&self) -> (u64, u64) {
        (self.execution.gate.clock(), self.received.values().sum())
    }

    /// Returns the marks since the last call.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    /// Returns how many bytes of a connection were admitted, or `None` if the connection was
    /// refused.
    pub fn received(&self, conn: ConnId) -> Option<u64> {
        let count = self.received.get(&conn).copied().unwrap_or(0);
        (!self.refused.contains(&conn)).then_some(count)
    }

    /// Returns the events among its processes.
    pub fn lives(&self) -> Lives {
        self.family.lives
    }

    fn call_of(&self, thread: ThreadId) -> (u16, u32) {
        let of_child = self.call_of_child(thread);
        of_child.unwrap_or_else(|| self.workers[usize::from(thread.0)].call())
    }

    fn tell(&self, event: impl FnOnce() -> Told) {
        if let (Some(me), recorder) = &self.recorder {
            recorder.add(*me, event);
        }
    }

    /// Returns whether a replica that chooses a step for itself does so now, and not for ever.
    fn has_few_calls(&self) -> bool {
        self.execution.gate.clock().is_multiple_of(2)
    }

    fn drop_and_admit(&mut self) -> bool {
        self.execution.invariants();
        self.family.invariants();
        let runnable = self.execution.turn.has_runnable();
        self.tell(|| Told::Dropped { runnable });
        self.execution.gate.drop_grant();
        self.admit()
    }

    fn admit(&mut self) -> bool {
        let Some((slot, bytes)) = self.script.pop_front() else { return false };
        let entry = EntryPayload::decode(&bytes).expect("what is committed can be read");
        let Self { received, refused, .. } = self;
        let (mut outcomes, mut next) = (Vec::new(), None);
        let older = Generation::before(self.execution.sockets.incarnation());
        let own = if self.breakable && broken(Mutant::OwnTimeAdded) { 10_000 } else { 0 };
        let mark = self.execution.admit(
            slot,
            entry.timestamp + own,
            entry.ops(),
            entry.grant,
            |at, admitted| {
                outcomes.push(Outcome::of(&admitted));
                match admitted {
                    Admitted::Acceptable(_) => {
                        at.turn.wake(LISTENER, 1);
                    }
                    Admitted::Data { conn, at: first, bytes } => {
                        let id = at.sockets.conn(conn).id;
                        assert!(id.generation > older, "{id} has outlived its incarnation");
                        let count = received.entry(id).or_default();
                        assert_eq!(first, *count, "connection {id} got bytes out of order");
                        let wrong = first_unexpected(id, first, bytes);
                        assert_eq!(wrong, None, "connection {id} got another byte");
                        *count += bytes.len() as u64;
                        at.turn.wake(readable(conn), 1);
                    }
                    Admitted::Ended(conn) | Admitted::Reset(conn) => {
                        at.turn.wake(readable(conn), 1);
                    }
                    Admitted::Retired(node) => {
                        while let Some(conn) = at.sockets.retired(node, None) {
                            at.turn.wake(readable(conn), 1);
                        }
                    }
                    Admitted::Refused(id, _) => {
                        refused.insert(id);
                    }
                    Admitted::Restarted(incarnation) => next = Some(incarnation),
                    Admitted::Nothing | Admitted::Room(_) | Admitted::Signalled(_) => {}
                }
            },
        );
        self.marks.push(mark);
        let agreed = self.execution.gate.agreed();
        self.tell(|| Told::Admitted { mark, agreed, outcomes });
        self.admitted = slot;
        if let Some(next) = next {
            self.restart(next, entry.timestamp);
        }
        if self.breakable && slot.0.is_multiple_of(16) && broken(Mutant::GrantDropped) {
            self.execution.gate.drop_grant();
        }
        true
    }

    /// Ends the incarnation, and begins the next one on the same script.
    fn restart(&mut self, next: Incarnation, timestamp: u64) {
        let now = self.execution.sockets.incarnation();
        assert!(next > now, "incarnation {next} begins in incarnation {now}");
        let fresh = Self::begin(next, timestamp);
        let before = std::mem::replace(self, fresh);
        self.family.lives = before.family.lives;
        let Self { breakable, script, marks, admitted, recorder, .. } = before;
        *self = Self { breakable, script, marks, admitted, recorder, ..self.clone() };
    }

    /// Makes the timer expire if it is due, and wait for its next time.
    // specs: S11
    fn take_timers_turn(&mut self) {
        self.expire_due();
        self.execution.turn.wait(TIMER, self.timer.due);
    }

    fn expire_due(&mut self) {
        if self.timer.due <= self.execution.gate.agreed() {
            self.expire();
        }
    }

    /// Makes the timer expire, which writes values that threads read, as a signal's handler does.
    fn expire(&mut self) {
        self.timer.due = NEVER;
        self.racy += 3;
    }

    /// Starts the timer again, whenever it is due.
    // specs: S11
    fn start_timer(&mut self) {
        self.expire_due();
        self.timer.due = self.execution.gate.agreed() + TIMER_LASTS;
        let Timer { number, due } = self.timer;
        if self.execution.turn.is_waiting(number) {
            self.execution.turn.set_deadline(number, due);
        }
    }

    fn act(&mut self, thread: ThreadId) {
        let step = self.workers[thread.0 as usize].step;
        match step {
            Step::StartTimer => self.start_timer(),
            Step::Listen | Step::Fork => self.fork(thread, LIFE),
            Step::Wait if !self.wait_for(thread, Children::All, true) => return,
            Step::Ask => {
                self.wait_for(thread, Children::All, false);
            }
            _ => {}
        }
        let Self { execution, workers, listener, .. } = self;
        let worker = &mut workers[thread.0 as usize];
        worker.step = match worker.step {
            Step::Listen => {
                let bound = Endpoint::from_ipv4([0; 4], PORT);
                *listener = execution.sockets.listen(Bound::plain(bound), 64);
                Step::Accept
            }
            Step::Accept => match listener.and_then(|at| execution.sockets.accept(at)) {
                Some(conn) => {
                    worker.conn = conn;
                    Step::Receive
                }
                None => {
                    execution.turn.wait(LISTENER, NEVER);
                    Step::Accept
                }
            },
            Step::Receive => {
                let conn = execution.sockets.conn_mut(worker.conn);
                if conn.readable() > 0 && !conn.reset {
                    conn.consume(conn.readable().min(1 + self.racy as usize % 50));
                    Step::Lock
                } else if conn.ended || conn.reset {
                    execution.sockets.close(worker.conn);
                    Step::Accept
                } else {
                    execution.turn.wait(readable(worker.conn), NEVER);
                    Step::Receive
                }
            }
            Step::Lock if self.locked => {
                execution.turn.wait(LOCK, NEVER);
                Step::Lock
            }
            Step::Lock => {
                self.locked = true;
                Step::Look
            }
            Step::Look => {
                worker.seen = self.guarded;
                Step::Compute(self.guarded % 5)
            }
            Step::Compute(0) => Step::Store,
            Step::Compute(left) => Step::Compute(left - 1),
            Step::Store => {
                self.guarded = worker.seen + 1;
                self.locked = false;
                execution.turn.wake(LOCK, 1);
                Step::LookUnguarded
            }
            Step::LookUnguarded => {
                worker.seen = self.racy;
                Step::StoreUnguarded
            }
            Step::StoreUnguarded => {
                self.racy = worker.seen + u64::from(thread.0) + 1;
                Step::Send
            }
            Step::Send => {
                execution.output.put(self.guarded);
                execution.output.put(self.racy);
                match self.racy % 11 {
                    0 => Step::Nap,
                    1..3 => Step::StartTimer,
                    3 => Step::Fork,
                    4 => Step::Wait,
                    5 => Step::Ask,
                    _ => Step::Receive,
                }
            }
            Step::StartTimer | Step::Fork | Step::Wait | Step::Ask => Step::Receive,
            Step::Nap => {
                let until = execution.gate.agreed() + 40_000;
                execution.turn.wait(WaitKey(NAP + u64::from(thread.0)), until);
                Step::Receive
            }
        };
    }
}

impl Worker {
    fn call(&self) -> (u16, u32) {
        match self.step {
            Step::Listen => (1, 0),
            Step::Accept => (2, 0),
            Step::Receive => (3, u32::from(self.conn.0)),
            Step::Lock => (4, 0),
            Step::Look => (5, 0),
            Step::Compute(left) => (6, left as u32),
            Step::Store => (7, 0),
            Step::LookUnguarded => (8, 0),
            Step::StoreUnguarded => (9, 0),
            Step::Send => (10, u32::from(self.conn.0)),
            Step::Nap => (11, 0),
            Step::StartTimer => (12, 0),
            Step::Fork => (13, 0),
            Step::Wait => (14, 0),
            Step::Ask => (15, 0),
        }
    }

    /// Returns whether it has the lock, and blocks signals meanwhile.
    pub(super) fn has_lock(&self) -> bool {
        matches!(self.step, Step::Look | Step::Compute(_) | Step::Store)
    }
}

fn readable(conn: ConnIndex) -> WaitKey {
    WaitKey(READABLE + u64::from(conn.0))
}
