//! The processes of a simulated server, on the core's table of processes and its turn: they are
//! forked, signal each other, wait for their children, and end by themselves, by a signal or by a
//! fault.
//!
//! The answers to their calls go into the replica's output hash. The host of a replica makes and
//! ends real processes at times of its own, which only broken variants show: there, these are the
//! times at which entries arrive.

use std::ops::AddAssign;

use crane_core::execution::processes::{Children, Existence, FoundChild, ProcessId, ProcessTable};
use crane_core::execution::turn::{NEVER, ThreadId, WaitKey, Woken};
use crane_core::mutants::{Mutant, broken};

use super::children::{ChildStep, ChildThread};
use super::server::Server;

/// The number of threads that a server may have.
pub(super) const THREADS_MAX: usize = 16;
const PROCESSES: usize = 6;
const FIRST: ProcessId = ProcessId::FIRST;
/// The kernel's number of the first process, in a cell of its own.
pub(super) const FIRST_NUMBER: i32 = 2;

/// The key of the wait for a child of the process 0.
const CHILD_OF: u64 = 20;

// The answers to calls that fail.
const NO_PROCESS: u64 = 3;
const INTERRUPTED: u64 = 4;
const NO_CHILD: u64 = 10;
const AGAIN: u64 = 11;

/// A signal. The one with the lowest number comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Signal {
    /// `SIGUSR1`, for which the first process and its copies have a handler.
    User,
    /// `SIGSEGV`, by which only a fault ends a process.
    Fault,
    /// `SIGTERM`, for which no process has a handler.
    Terminate,
    /// `SIGCHLD`, which a process without a handler ignores.
    Child,
}

/// The program that a process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Program {
    /// That of its parent, with the handlers of that.
    #[default]
    Forked,
    /// Another one, without handlers.
    Executed,
}

/// The events among the processes of servers, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lives {
    /// Children that were made.
    pub births: u64,
    /// Children for which there was no place.
    pub refused: u64,
    /// Programs that were executed.
    pub executions: u64,
    /// Threads that children made.
    pub threads: u64,
    /// Signals for which a handler ran.
    pub handled: u64,
    /// Processes that ended by themselves, by a signal, and by a fault.
    pub exits: u64,
    /// See [`Lives::exits`].
    pub killed: u64,
    /// See [`Lives::exits`].
    pub faults: u64,
    /// Children that were waited for.
    pub waits: u64,
    /// Waits that a signal interrupted.
    pub interrupted: u64,
}

impl AddAssign for Lives {
    fn add_assign(&mut self, other: Self) {
        self.births += other.births;
        self.refused += other.refused;
        self.executions += other.executions;
        self.threads += other.threads;
        self.handled += other.handled;
        self.exits += other.exits;
        self.killed += other.killed;
        self.faults += other.faults;
        self.waits += other.waits;
        self.interrupted += other.interrupted;
    }
}

impl Lives {
    /// Returns whether each event happened.
    pub fn is_each(&self) -> bool {
        let Self { births, refused, executions, threads, handled, .. } = *self;
        let Self { exits, killed, faults, waits, interrupted, .. } = *self;
        let begins = [births, refused, executions, threads, handled];
        !begins.contains(&0) && ![exits, killed, faults, waits, interrupted].contains(&0)
    }
}

/// The processes of a server, and what is on its way to them.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub table: ProcessTable<Program, PROCESSES>,
    /// The threads of all processes but the first, by number.
    pub threads: [Option<ChildThread>; THREADS_MAX],
    /// The signals that wait for the turn of their thread, a bit for each.
    posted: [u8; THREADS_MAX],
    /// Whether a signal has ended the wait of a thread, until its next call.
    interrupted: [bool; THREADS_MAX],
    /// The children for which a thread waits.
    awaited: [Option<Children>; THREADS_MAX],
    /// The number that the kernel has given last.
    number: i32,
    /// The thread that has the turn, and an instruction of which the processor has refused.
    pub faulted: Option<ThreadId>,
    /// In a broken variant: the threads of the children that the host has not made yet.
    unborn: Vec<ThreadId>,
    /// In a broken variant: the ends that the host has not reported yet.
    unheard: Vec<(ProcessId, i32)>,
    pub lives: Lives,
}

impl Family {
    pub(super) fn new() -> Self {
        Self {
            table: ProcessTable::new(FIRST_NUMBER),
            threads: [None; THREADS_MAX],
            posted: [0; THREADS_MAX],
            interrupted: [false; THREADS_MAX],
            awaited: [None; THREADS_MAX],
            number: FIRST_NUMBER,
            faulted: None,
            unborn: Vec::new(),
            unheard: Vec::new(),
            lives: Lives::default(),
        }
    }

    /// Checks the table, and that no thread waits for a child that has ended. No thread is
    /// runnable.
    pub(super) fn invariants(&self) {
        self.table.invariants();
        for (thread, wanted) in (0..).map(ThreadId).zip(self.awaited) {
            let child = wanted.map(|wanted| self.child(self.process_of(thread), wanted));
            let has_ended = matches!(child, Some(FoundChild::Ended(_)));
            assert!(!has_ended, "thread {} waits for a child that has ended", thread.0);
        }
    }

    pub(super) fn process_of(&self, thread: ThreadId) -> ProcessId {
        self.threads[usize::from(thread.0)].map_or(FIRST, |it| it.process)
    }

    fn child(&self, parent: ProcessId, wanted: Children) -> FoundChild {
        self.table.child(parent, wanted, group_of)
    }

    /// Returns the ended child of a process with the lowest number, as a broken variant finds it.
    fn lowest_child(&self, parent: ProcessId) -> FoundChild {
        let numbers = (0..PROCESSES as u16).map(|id| self.table.get(ProcessId(id)).number());
        let mut found = numbers.map(|number| self.child(parent, Children::Number(number)));
        let lowest = found.find(|found| matches!(found, FoundChild::Ended(_)));
        lowest.unwrap_or_else(|| self.child(parent, Children::All))
    }

    fn forget_thread(&mut self, thread: ThreadId) {
        let at = usize::from(thread.0);
        (self.threads[at], self.posted[at]) = (None, 0);
        (self.interrupted[at], self.awaited[at]) = (false, None);
        self.unborn.retain(|unborn| *unborn != thread);
    }

    fn take_interrupted(&mut self, thread: ThreadId) -> bool {
        std::mem::take(&mut self.interrupted[usize::from(thread.0)])
    }
}

/// Returns the group of a process by its number, as the kernel would know it.
pub(super) fn group_of(number: i32) -> i32 {
    number % 2
}

impl Server {
    /// Does what the host's own times bring, in broken variants.
    pub(super) fn on_host_event(&mut self) {
        for thread in std::mem::take(&mut self.family.unborn) {
            self.execution.turn.start(thread);
        }
        for (process, status) in std::mem::take(&mut self.family.unheard) {
            self.end_in_table(process, status);
        }
        if !broken(Mutant::HandledOnArrival) {
            return;
        }
        for thread in (0..THREADS_MAX as u16).map(ThreadId) {
            let has_handlers = self.has_handlers(self.family.process_of(thread));
            let posted = &mut self.family.posted[usize::from(thread.0)];
            let user = 1 << Signal::User as u8;
            if has_handlers && *posted & user != 0 {
                *posted &= !user;
                self.handle(thread);
            }
        }
    }

    /// Ends the process of the holder, if an instruction of its own was refused. Until the kernel
    /// reports that, the dead thread has the turn.
    // specs: S16
    pub(super) fn end_faulted(&mut self) -> bool {
        let Some(thread) = self.family.faulted.take() else { return false };
        self.family.lives.faults += 1;
        self.end_process(thread, Signal::Fault as i32);
        true
    }

    /// Makes a child of the caller's process. Its numbers are decided here, and it waits for its
    /// first turn in the queue.
    // specs: S15
    pub(super) fn fork(&mut self, caller: ThreadId, life: u8) {
        let parent = self.family.process_of(caller);
        let Some((process, thread)) = self.reserve(parent) else {
            self.family.lives.refused += 1;
            return self.execution.output.put(AGAIN);
        };
        let has_foreign = self.breakable && broken(Mutant::HostNumbers);
        let foreign = if has_foreign { self.script.len() as i32 } else { 0 };
        let Family { table, threads, number, lives, unborn, .. } = &mut self.family;
        *number += 1 + foreign;
        lives.births += 1;
        table.set_number(process, *number);
        *table.frontend(process) = *table.get(parent).frontend();
        threads[usize::from(thread.0)] = Some(ChildThread::new(process, life));
        self.execution.output.put(u64::from(number.cast_unsigned()));
        if self.breakable && broken(Mutant::BornOnArrival) {
            unborn.push(thread);
        } else {
            self.execution.turn.start(thread);
        }
    }

    fn reserve(&mut self, parent: ProcessId) -> Option<(ProcessId, ThreadId)> {
        let thread = self.execution.turn.reserve()?;
        let process = self.family.table.make(parent);
        if process.is_none() {
            self.execution.turn.release(thread);
        }
        Some((process?, thread))
    }

    /// Executes another program in the caller's process, which keeps its number and this thread.
    // specs: S15
    pub(super) fn execute(&mut self, caller: ThreadId) {
        let process = self.family.process_of(caller);
        self.remove_threads(process, caller);
        *self.family.table.frontend(process) = Program::Executed;
        self.family.lives.executions += 1;
    }

    /// Looks for an ended child of the caller's process. Returns whether the call has an answer;
    /// otherwise the caller waits.
    // specs: S16
    pub(super) fn wait_for(&mut self, caller: ThreadId, wanted: Children, blocks: bool) -> bool {
        let (at, parent) = (usize::from(caller.0), self.family.process_of(caller));
        let was_interrupted = self.family.take_interrupted(caller);
        self.family.awaited[at] = None;
        let by_number = wanted == Children::All && self.breakable && broken(Mutant::LowestReaped);
        let found = match by_number {
            true => self.family.lowest_child(parent),
            false => self.family.child(parent, wanted),
        };
        let output = &mut self.execution.output;
        match found {
            FoundChild::Ended(child) => {
                let ended = self.family.table.get(child);
                for value in [ended.number(), ended.status()] {
                    output.put(u64::from(value.cast_unsigned()));
                }
                self.family.table.forget(child);
                self.family.lives.waits += 1;
            }
            FoundChild::Running if blocks && !was_interrupted => {
                self.family.awaited[at] = Some(wanted);
                self.execution.turn.wait(child_of(parent), NEVER);
                return false;
            }
            FoundChild::Running if blocks => {
                self.family.lives.interrupted += 1;
                output.put(INTERRUPTED);
            }
            FoundChild::Running => output.put(0),
            FoundChild::Nothing => output.put(NO_CHILD),
        }
        true
    }

    /// Sends a signal to the process of a number.
    // specs: S17
    pub(super) fn send(&mut self, number: i32, signal: Signal) {
        let answer = match self.family.table.existence(number, true) {
            Existence::Runs => {
                let process = self.family.table.find(number).expect("a process that runs");
                self.post(process, signal);
                0
            }
            Existence::Ended => 0,
            Existence::Gone | Existence::Unknown => NO_PROCESS,
        };
        self.execution.output.put(answer);
    }

    /// Posts a signal to a thread of a process: the first that does not block it, or else the
    /// first. A wait of it ends.
    // specs: S17
    fn post(&mut self, process: ProcessId, signal: Signal) {
        let open = self.threads_of(process).find(|thread| !self.blocks_signals(*thread));
        let receiver = open.or_else(|| self.threads_of(process).next());
        // In a broken variant, the host has ended a process, and has not reported that.
        let Some(thread) = receiver else { return };
        self.family.posted[usize::from(thread.0)] |= 1 << signal as u8;
        if self.execution.turn.is_waiting(thread) {
            self.family.interrupted[usize::from(thread.0)] = true;
            self.execution.turn.wake_thread(thread, Woken::Called);
        }
    }

    /// Returns the threads of a process, by number. All workers are the first one's.
    fn threads_of(&self, process: ProcessId) -> impl Iterator<Item = ThreadId> {
        let workers = if process == FIRST { self.workers.len() } else { 0 };
        let is_its =
            move |it: &Option<ChildThread>| it.is_some_and(|it: ChildThread| it.process == process);
        let others = (0..).zip(&self.family.threads).filter(move |(_, it)| is_its(it));
        (0..workers as u16).chain(others.map(|(thread, _)| thread)).map(ThreadId)
    }

    /// Handles the signals that were posted to the caller, at a call of its own, the lowest first.
    /// Returns `false` if one has ended its process.
    // specs: S10, S17
    pub(super) fn take_signals(&mut self, caller: ThreadId) -> bool {
        let process = self.family.process_of(caller);
        let has_handlers = self.has_handlers(process);
        while !self.blocks_signals(caller) {
            let posted = &mut self.family.posted[usize::from(caller.0)];
            let signals = [Signal::User, Signal::Terminate, Signal::Child];
            let Some(signal) = signals.into_iter().find(|it| *posted & 1 << *it as u8 != 0) else {
                break;
            };
            *posted &= !(1 << signal as u8);
            match signal {
                Signal::Child if !has_handlers => {}
                Signal::User | Signal::Child if has_handlers => self.handle(caller),
                _ => {
                    self.family.lives.killed += 1;
                    self.end_process(caller, signal as i32);
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn has_handlers(&self, process: ProcessId) -> bool {
        *self.family.table.get(process).frontend() == Program::Forked
    }

    /// Runs a handler, which writes values that threads of all processes read.
    fn handle(&mut self, thread: ThreadId) {
        self.racy += 5 + u64::from(thread.0);
        self.family.lives.handled += 1;
    }

    /// Ends the process of the caller, which has the turn, with a status.
    // specs: S16
    pub(super) fn end_process(&mut self, caller: ThreadId, status: i32) {
        let has_turn = self.execution.turn.holder() == Some(caller);
        assert!(has_turn, "a process ends without the turn");
        let process = self.family.process_of(caller);
        self.remove_threads(process, caller);
        self.family.forget_thread(caller);
        self.execution.turn.end();
        if self.breakable && broken(Mutant::EndedOnArrival) {
            self.family.unheard.push((process, status));
        } else {
            self.end_in_table(process, status);
        }
    }

    /// Ends a process at a time of the host's, in a broken variant.
    pub(super) fn lose_process(&mut self) {
        let last = self.family.table.running().map(|(process, _)| process).last();
        let Some(process) = last.filter(|last| *last != FIRST) else { return };
        for thread in self.threads_of(process).collect::<Vec<_>>() {
            match self.execution.turn.holder() == Some(thread) {
                true => self.execution.turn.end(),
                false => self.execution.turn.remove(thread),
            }
            self.family.forget_thread(thread);
            self.family.faulted.take_if(|faulted| *faulted == thread);
        }
        self.end_in_table(process, Signal::Fault as i32);
    }

    /// Records the end of a process, and tells its parent.
    // specs: S16, S17
    fn end_in_table(&mut self, process: ProcessId, status: i32) {
        let number = self.family.table.get(process).number();
        // Some of the executed programs forget their children.
        let forgets = number % 5 == 4;
        let parent = self.family.table.end(process, status, group_of(number), |_| forgets);
        let Some(parent) = parent else { return };
        let waited = self.execution.turn.wake(child_of(parent), u32::MAX) > 0;
        if !(waited && self.breakable && broken(Mutant::EndUnsignalled)) {
            self.post(parent, Signal::Child);
        }
    }

    /// Removes the threads of a process but one, which has the turn.
    fn remove_threads(&mut self, process: ProcessId, stays: ThreadId) {
        let others: Vec<_> = self.threads_of(process).filter(|thread| *thread != stays).collect();
        for thread in others {
            self.execution.turn.remove(thread);
            self.family.forget_thread(thread);
        }
    }

    fn blocks_signals(&self, thread: ThreadId) -> bool {
        match self.family.threads[usize::from(thread.0)] {
            Some(ChildThread { step, .. }) => matches!(step, ChildStep::Begin),
            None => self.workers[usize::from(thread.0)].has_lock(),
        }
    }
}

fn child_of(parent: ProcessId) -> WaitKey {
    WaitKey(CHILD_OF + u64::from(parent.0))
}
