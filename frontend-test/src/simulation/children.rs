//! The programs of a simulated server's children. What each does next depends on what it reads of
//! the memory that it shares with the others, and so on the order of all calls.

use crane_core::execution::processes::{Children, ProcessId};
use crane_core::execution::turn::{ThreadId, WaitKey};

use super::processes::{FIRST_NUMBER, Program, Signal};
use super::server::Server;

/// The kernel's number of the first child, which makes others for as long as it lives.
const SUPERVISOR: i32 = FIRST_NUMBER + 1;
/// The number of choices that a child of the first process has before it ends.
pub(super) const LIFE: u8 = 7;
/// The key of the pause of thread 0.
const PAUSE: u64 = 200;
/// The duration of a pause, in nanoseconds.
const PAUSE_LASTS: u64 = 30_000;

/// A thread of a process beside the first one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChildThread {
    pub process: ProcessId,
    pub step: ChildStep,
    /// The number of choices that are left.
    life: u8,
}

/// The next call of such a thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum ChildStep {
    Begin,
    Work(u64),
    Execute,
    MakeThread,
    Fork,
    Signal,
    Pause,
    Wait(Children),
    Ask(Children),
    Exit,
}

impl ChildThread {
    pub(super) fn new(process: ProcessId, life: u8) -> Self {
        Self { process, step: ChildStep::Begin, life }
    }
}

impl Server {
    /// Returns the kind of a child's call, and the number of its process. `None`: the thread is one
    /// of the first process.
    pub(super) fn call_of_child(&self, thread: ThreadId) -> Option<(u16, u32)> {
        let ChildThread { process, step, .. } = self.family.threads[usize::from(thread.0)]?;
        let kind = match step {
            ChildStep::Begin => 20,
            ChildStep::Work(_) => 21,
            ChildStep::Execute => 22,
            ChildStep::MakeThread => 23,
            ChildStep::Fork => 24,
            ChildStep::Signal => 25,
            ChildStep::Pause => 26,
            ChildStep::Wait(_) => 27,
            ChildStep::Ask(_) => 28,
            ChildStep::Exit => 29,
        };
        Some((kind, self.family.table.get(process).number().cast_unsigned()))
    }

    /// Does one step of a child's thread.
    pub(super) fn act_as_child(&mut self, thread: ThreadId, child: ChildThread) {
        let ChildThread { process, step, life } = child;
        let number = self.family.table.get(process).number();
        match step {
            ChildStep::Begin => self.racy += u64::from(number.cast_unsigned()),
            ChildStep::Work(left @ 1..) => {
                self.racy += left;
                return self.continue_with(thread, ChildStep::Work(left - 1));
            }
            ChildStep::Work(0) => {
                if !self.has_handlers(process) && self.racy % 8 == 5 {
                    self.family.faulted = Some(thread);
                    return;
                }
            }
            ChildStep::Execute => {
                self.execute(thread);
                return self.continue_with(thread, ChildStep::Begin);
            }
            ChildStep::MakeThread => self.make_thread(process, life / 2),
            ChildStep::Fork if number == SUPERVISOR => self.fork(thread, LIFE),
            ChildStep::Fork => self.fork(thread, life.saturating_sub(2)),
            ChildStep::Signal => self.signal_relative(process, number),
            ChildStep::Pause => {
                let until = self.execution.gate.agreed() + PAUSE_LASTS;
                self.execution.turn.wait(WaitKey(PAUSE + u64::from(thread.0)), until);
            }
            ChildStep::Wait(wanted) if !self.wait_for(thread, wanted, true) => return,
            ChildStep::Wait(_) => {}
            ChildStep::Ask(wanted) => {
                self.wait_for(thread, wanted, false);
            }
            ChildStep::Exit => {
                self.execution.output.put(self.racy);
                self.family.lives.exits += 1;
                let code = (self.racy % 200) as i32;
                return self.end_process(thread, code << 8);
            }
        }
        self.choose(thread, number);
    }

    fn continue_with(&mut self, thread: ThreadId, step: ChildStep) {
        let child = self.family.threads[usize::from(thread.0)].as_mut();
        child.expect("a child's thread").step = step;
    }

    /// Chooses the next step of a child's thread.
    fn choose(&mut self, thread: ThreadId, number: i32) {
        let chance = self.racy + 3 * u64::from(thread.0);
        let child = self.family.threads[usize::from(thread.0)].as_mut();
        let child = child.expect("a child's thread");
        let is_forked = *self.family.table.get(child.process).frontend() == Program::Forked;
        if number == SUPERVISOR {
            child.step = match child.step {
                ChildStep::Fork => ChildStep::Wait(Children::All),
                ChildStep::Wait(_) => ChildStep::Pause,
                _ => ChildStep::Fork,
            };
            return;
        }
        let Some(life) = child.life.checked_sub(1) else {
            child.step = ChildStep::Exit;
            return;
        };
        child.life = life;
        child.step = match chance % 11 {
            0 | 1 if is_forked => ChildStep::Execute,
            2 => ChildStep::MakeThread,
            3 => ChildStep::Fork,
            4 | 5 => ChildStep::Signal,
            6 => ChildStep::Pause,
            7 => ChildStep::Wait(Children::All),
            8 => ChildStep::Ask(Children::Group((chance / 11 % 2) as i32)),
            9 => ChildStep::Exit,
            _ => ChildStep::Work(chance % 3),
        };
    }

    /// Makes another thread of a child's process, which ends it as any of its threads does.
    fn make_thread(&mut self, process: ProcessId, life: u8) {
        let Some(thread) = self.execution.turn.reserve() else { return };
        self.family.threads[usize::from(thread.0)] = Some(ChildThread::new(process, life));
        self.family.lives.threads += 1;
        self.execution.turn.start(thread);
    }

    /// Sends a signal to the parent of a process, to the first process, or to the one that was made
    /// before.
    fn signal_relative(&mut self, process: ProcessId, number: i32) {
        let table = &self.family.table;
        let parent = table.get(process).parent().map(|parent| table.get(parent).number());
        let (to, signal) = match self.racy % 4 {
            0 => (parent.unwrap_or(FIRST_NUMBER), Signal::User),
            1 => (FIRST_NUMBER, Signal::User),
            2 if number - 1 > SUPERVISOR => (number - 1, Signal::Terminate),
            _ => (number - 1, Signal::User),
        };
        self.send(to, signal);
    }
}
