//! One replica of the model of processes: its server, whose threads act on the real turn and table,
//! and its host.

use std::hash::{Hash, Hasher};

use crane_core::execution::Execution;
use crane_core::execution::processes::{Children, Existence, FoundChild, ProcessId, ProcessTable};
use crane_core::execution::turn::{NEVER, ThreadId, WaitKey, Woken};
use crane_core::id::Slot;

use super::Step::{
    self, Ask, Execute, Exit, Fault, Fork, Rest, SignalFirstChild, SignalParent, Wait, Work,
};
use super::{FIRST, Programs, Rule};

/// The first process, two children, and a child of one of them. Each has one thread.
const PROCESSES: usize = 4;
pub(super) const FIRST_NUMBER: i32 = 2;
const GRANT: u32 = 8;
const CHILD_OF: u64 = 1;
const REST: WaitKey = WaitKey(100);

/// The statuses of ends, and the marks of events in a history.
const EXITED: i32 = 11;
const KILLED: i32 = 12;
const FAULTED: i32 = 13;
const ADMITTED: u8 = 200;
const DROPPED: u8 = 201;
const HANDLED: u8 = 202;
const NOTHING: u8 = 203;
const INTERRUPTED: u8 = 204;

/// The program that a thread runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Image {
    First,
    /// That of a child of the first process.
    Child(usize),
    /// That of a child's child.
    Short,
    Executed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Thread {
    process: ProcessId,
    pub(super) image: Image,
    pub(super) at: usize,
    /// Whether a signal with a handler waits for its turn, and one of a child's end.
    posted: [bool; 2],
    interrupted: bool,
    waits_for_child: bool,
}

/// One replica, with its server and its host.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    execution: Execution<PROCESSES, 1, 1>,
    pub(super) table: ProcessTable<(), PROCESSES>,
    threads: [Option<Thread>; PROCESSES],
    /// The number that the kernel has given last.
    pub(super) number: i32,
    shared: u8,
    pub(super) arrived: usize,
    admitted: usize,
    pub(super) history: Vec<u8>,
    /// The numbers of the real processes that the host has made; of those that it is to end; and of
    /// those that it has ended, in that order.
    pub(super) made: Vec<u8>,
    pub(super) ending: Vec<u8>,
    ended: Vec<u8>,
    /// The thread that has faulted, and whose end is not reported.
    faulted: Option<ThreadId>,
    /// In a broken replica: the children that are not in the queue, and the ends that are not heard
    /// of.
    unqueued: Vec<(u8, ThreadId)>,
    unheard: Vec<(u8, ProcessId, i32)>,
}

impl PartialEq for Replica {
    fn eq(&self, other: &Self) -> bool {
        let host = |it: &Self| (it.arrived, it.made.clone(), it.ending.clone(), it.ended.clone());
        self.history == other.history && host(self) == host(other)
    }
}

impl Eq for Replica {}

impl Hash for Replica {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.arrived, &self.made, &self.ending, &self.ended, &self.history).hash(state);
    }
}

impl Replica {
    pub(super) fn new() -> Self {
        let mut execution = Execution::new(2, 0);
        let thread = execution.turn.reserve().expect("a free place for the thread");
        execution.turn.start(thread);
        let mut threads = [None; PROCESSES];
        threads[0] = Some(Thread::new(FIRST, Image::First));
        Self {
            execution,
            table: ProcessTable::new(FIRST_NUMBER),
            threads,
            number: FIRST_NUMBER,
            shared: 1,
            arrived: 0,
            admitted: 0,
            history: Vec::new(),
            made: Vec::new(),
            ending: Vec::new(),
            ended: Vec::new(),
            faulted: None,
            unqueued: Vec::new(),
            unheard: Vec::new(),
        }
    }

    fn thread(&mut self, thread: ThreadId) -> &mut Thread {
        self.threads[usize::from(thread.0)].as_mut().expect("a thread that lives")
    }

    fn number_of(&self, process: ProcessId) -> u8 {
        self.table.get(process).number() as u8
    }

    /// Returns whether no thread is runnable although a process runs that is not the first, or the
    /// first one waits for a child that has ended. A broken replica may.
    pub(super) fn waits_for_nothing(&self) -> bool {
        let turn = &self.execution.turn;
        let is_quiescent = turn.holder().is_none() && !turn.has_runnable();
        let is_broken = !self.unqueued.is_empty() || !self.unheard.is_empty();
        let first = self.threads[0].is_some_and(|first| first.waits_for_child);
        let child = self.table.child(FIRST, Children::All, |_| 0);
        is_quiescent
            && !is_broken
            && (self.table.has_others(FIRST) || first && matches!(child, FoundChild::Ended(_)))
    }

    /// Makes a call, or admits the next entry if the gate holds the call back. Returns `false` if
    /// neither is possible.
    pub(super) fn run(&mut self, programs: &Programs, rule: Rule) -> bool {
        if self.faulted.is_some() {
            return false;
        }
        let holder = self.execution.turn.holder().or_else(|| self.execution.pass());
        let Some(me) = holder else {
            if self.admitted == self.arrived {
                return false;
            }
            self.history.push(DROPPED);
            self.execution.gate.drop_grant();
            self.admit();
            return true;
        };
        let Thread { process, .. } = *self.thread(me);
        let number = self.number_of(process);
        // The turn waits for a real process that is not there yet.
        if process != FIRST && !self.made.contains(&number) {
            return false;
        }
        let step = programs.step(self.thread(me));
        if !self.execution.call(me, step as u16, u32::from(number)) {
            let arrived = self.admitted < self.arrived;
            if arrived {
                self.admit();
            }
            return arrived;
        }
        self.history.extend([number, step as u8]);
        if self.take_signals(me, rule) {
            self.act(me, step, rule);
        }
        let turn = &mut self.execution.turn;
        if turn.holder().is_some() && self.faulted.is_none() && turn.spend() {
            turn.yield_turn();
        }
        true
    }

    fn admit(&mut self) {
        self.admitted += 1;
        self.history.push(ADMITTED);
        let slot = Slot(self.admitted as u64);
        self.execution.admit(slot, slot.0, std::iter::empty(), GRANT, |_, _| {});
    }

    /// Handles the signals of a thread at its call. Returns `false` if one has ended its process.
    // specs: S17
    fn take_signals(&mut self, me: ThreadId, rule: Rule) -> bool {
        let thread = self.thread(me);
        let posted = std::mem::take(&mut thread.posted);
        let has_handler = thread.image != Image::Executed;
        if posted[0] && !has_handler {
            self.end(me, KILLED, rule);
            return false;
        }
        for _ in posted.iter().filter(|posted| **posted && has_handler) {
            self.handle();
        }
        true
    }

    fn handle(&mut self) {
        self.shared = self.shared.wrapping_mul(5).wrapping_add(1);
        self.history.extend([HANDLED, self.shared]);
    }

    fn act(&mut self, me: ThreadId, step: Step, rule: Rule) {
        let interrupted = std::mem::take(&mut self.thread(me).interrupted);
        let process = self.thread(me).process;
        self.thread(me).waits_for_child = false;
        self.thread(me).at += 1;
        match step {
            Fork => self.fork(me, rule),
            Work => {
                self.shared = self.shared.wrapping_mul(3).wrapping_add(self.number_of(process));
                self.history.push(self.shared);
            }
            Execute => {
                let thread = self.thread(me);
                (thread.image, thread.at) = (Image::Executed, 0);
            }
            SignalParent => {
                let parent = self.table.get(process).parent().expect("the first process rests");
                self.send(self.table.get(parent).number());
            }
            SignalFirstChild => self.send(FIRST_NUMBER + 1),
            Ask | Wait => self.look(me, step == Wait, interrupted, rule),
            Fault if rule == Rule::FaultPasses => {
                self.ending.push(self.number_of(process));
                self.unheard.push((self.number_of(process), process, FAULTED));
                self.threads[usize::from(me.0)] = None;
                self.execution.turn.end();
            }
            Fault => {
                self.ending.push(self.number_of(process));
                self.faulted = Some(me);
            }
            Exit => self.end(me, EXITED, rule),
            Rest => {
                self.thread(me).at -= 1;
                self.execution.turn.wait(REST, NEVER);
            }
        }
    }

    // specs: S15
    fn fork(&mut self, me: ThreadId, rule: Rule) {
        let Thread { process: parent, image, .. } = *self.thread(me);
        let thread = self.execution.turn.reserve().expect("few threads");
        let child = self.table.make(parent).expect("few processes");
        self.number += 1;
        self.table.set_number(child, self.number);
        let image = match image {
            Image::First => Image::Child(usize::from(self.number > FIRST_NUMBER + 1)),
            _ => Image::Short,
        };
        self.threads[usize::from(thread.0)] = Some(Thread::new(child, image));
        let number = self.number_of(child);
        self.history.push(number);
        match rule {
            Rule::QueuedWhenMade => self.unqueued.push((number, thread)),
            _ => self.execution.turn.start(thread),
        }
    }

    /// Looks for a child that has ended.
    // specs: S16
    fn look(&mut self, me: ThreadId, blocks: bool, interrupted: bool, rule: Rule) {
        let process = self.thread(me).process;
        let found = match rule {
            Rule::HostsOrder => self.first_of_host(process),
            _ => self.table.child(process, Children::All, |_| 0),
        };
        match found {
            FoundChild::Ended(child) => {
                let status = self.table.get(child).status() as u8;
                self.history.extend([self.number_of(child), status]);
                self.table.forget(child);
            }
            FoundChild::Running if blocks && !interrupted => {
                let thread = self.thread(me);
                (thread.at, thread.waits_for_child) = (thread.at - 1, true);
                self.execution.turn.wait(child_of(process), NEVER);
            }
            FoundChild::Running if blocks => self.history.push(INTERRUPTED),
            FoundChild::Running | FoundChild::Nothing => self.history.push(NOTHING),
        }
    }

    /// Returns the first child that the host has ended, in a broken replica.
    fn first_of_host(&self, parent: ProcessId) -> FoundChild {
        let one = |number: i32| self.table.child(parent, Children::Number(number), |_| 0);
        let mut ended = self.ended.iter().map(|number| one(i32::from(*number)));
        let all = || match self.table.has_children(parent) {
            true => FoundChild::Running,
            false => FoundChild::Nothing,
        };
        ended.find(|found| matches!(found, FoundChild::Ended(_))).unwrap_or_else(all)
    }

    // specs: S17
    fn send(&mut self, number: i32) {
        let existence = self.table.existence(number, true);
        self.history.push(existence as u8);
        if existence == Existence::Runs {
            self.post(self.table.find(number).expect("it runs"), 0);
        }
    }

    // specs: S17
    fn post(&mut self, process: ProcessId, signal: usize) {
        let mut all = (0..).map(ThreadId).zip(&mut self.threads);
        let its = all.find_map(|(id, thread)| {
            thread.as_mut().filter(|thread| thread.process == process).map(|thread| (id, thread))
        });
        let Some((receiver, thread)) = its else { return };
        thread.posted[signal] = true;
        if self.execution.turn.is_waiting(receiver) {
            thread.interrupted = true;
            self.execution.turn.wake_thread(receiver, Woken::Called);
        }
    }

    /// Ends the process of a thread, which has the turn.
    // specs: S16
    fn end(&mut self, me: ThreadId, status: i32, rule: Rule) {
        let process = self.thread(me).process;
        let number = self.number_of(process);
        self.threads[usize::from(me.0)] = None;
        self.execution.turn.end();
        if status != FAULTED {
            self.ending.push(number);
        }
        match rule {
            Rule::HeardWhenEnded => self.unheard.push((number, process, status)),
            _ => self.end_in_table(process, status),
        }
    }

    // specs: S16, S17
    fn end_in_table(&mut self, process: ProcessId, status: i32) {
        let Some(parent) = self.table.end(process, status, 0, |_| false) else { return };
        self.execution.turn.wake(child_of(parent), u32::MAX);
        self.post(parent, 1);
    }

    pub(super) fn host_makes(&mut self, number: u8, rule: Rule) -> bool {
        self.made.push(number);
        self.made.sort_unstable();
        let at = self.unqueued.iter().position(|(unqueued, _)| *unqueued == number);
        if let Some(at) = at.filter(|_| rule == Rule::QueuedWhenMade) {
            let (_, thread) = self.unqueued.remove(at);
            self.execution.turn.start(thread);
        }
        true
    }

    /// Ends a real process. One that has faulted ends in the schedule, too: its dead thread has had
    /// the turn until then.
    pub(super) fn host_ends(&mut self, number: u8, rule: Rule) -> bool {
        self.ending.retain(|ending| *ending != number);
        self.ended.push(number);
        // The order is seen by a broken replica alone.
        if rule != Rule::HostsOrder {
            self.ended.sort_unstable();
        }
        if let Some(thread) = self.faulted.take() {
            let process = self.thread(thread).process;
            if self.number_of(process) == number {
                self.end(thread, FAULTED, Rule::Right);
            } else {
                self.faulted = Some(thread);
            }
        }
        if let Some(at) = self.unheard.iter().position(|(unheard, ..)| *unheard == number) {
            let (_, process, status) = self.unheard.remove(at);
            self.end_in_table(process, status);
        }
        if rule == Rule::HostsOrder {
            for parent in 0..PROCESSES as u64 {
                self.execution.turn.wake(WaitKey(CHILD_OF + parent), u32::MAX);
            }
        }
        true
    }

    pub(super) fn host_delivers(&mut self) -> bool {
        let mut live = self.threads.iter_mut().flatten();
        let receiver = live.find(|thread| thread.image != Image::Executed && thread.posted[0]);
        let Some(thread) = receiver else { return false };
        thread.posted[0] = false;
        self.handle();
        true
    }
}

impl Thread {
    fn new(process: ProcessId, image: Image) -> Self {
        let posted = [false; 2];
        Self { process, image, at: 0, posted, interrupted: false, waits_for_child: false }
    }
}

fn child_of(parent: ProcessId) -> WaitKey {
    WaitKey(CHILD_OF + u64::from(parent.0))
}
