//! Processes that a signal of the program has stopped (SIGSTOP, or SIGTSTP and its like by default),
//! until SIGCONT.
//!
//! Their threads take no turns: each that gets one gives it away at once, and waits until its
//! process goes on. The real process never stops, for the schedule would wait for it. As the parent
//! of one that ends, that of one that stops or goes on hears of it by SIGCHLD and at wait(2).

use std::sync::atomic::Ordering;

use libc::{c_int, pid_t};

use crate::capacities::PROCESSES;
use crate::execution::On;
use crate::fork;
use crate::posting;
use crate::processes::{self, Child, Process, ProcessId, group_of, is_meant};
use crate::service;
use crate::signals::{self, DefaultAction, Disposition};
use crate::world::World;

/// The part of a process in this.
#[derive(Clone, Copy)]
struct StopState {
    /// The signal that has stopped it, or 0.
    by: c_int,
    /// The last change, if no call of wait(2) has reported it: a status as it returns it, or 0.
    news: c_int,
}

/// By process: whether it is stopped.
pub(crate) struct Stops {
    states: [StopState; PROCESSES],
    /// The number of those that are stopped.
    count: u32,
}

impl Stops {
    const NONE: StopState = StopState { by: 0, news: 0 };

    /// Creates the table before the first stop.
    pub(crate) const fn new() -> Self {
        Self { states: [Self::NONE; PROCESSES], count: 0 }
    }

    fn at(&mut self, process: ProcessId) -> &mut StopState {
        &mut self.states[usize::from(process.0)]
    }

    /// Returns whether a process is stopped.
    #[inline]
    pub(crate) fn holds(&self, process: ProcessId) -> bool {
        self.count != 0 && self.states[usize::from(process.0)].by != 0
    }

    /// Lets a process run again, or forgets all about it.
    fn release(&mut self, process: ProcessId) {
        self.count -= u32::from(self.at(process).by != 0);
        self.at(process).by = 0;
    }
}

/// `WIFCONTINUED` of wait(2).
const CONTINUED: c_int = 0xffff;

/// The signals that stop a process.
const STOPPING: [c_int; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// The word of a process that says what it wishes to hear of its children (see `service`): nothing
/// of their ends; nothing of their stops.
pub(crate) const FORGETS: u32 = 1;
pub(crate) const HEARS_NO_STOPS: u32 = 2;

/// Handles what a signal does to a process when it is sent, whatever that thinks of it. Returns
/// whether nothing else is to be done.
// specs: S17
pub(crate) fn on_sent(world: &mut World, process: ProcessId, signal: c_int) -> bool {
    if !fork::take_part() {
        return false;
    }
    match signal {
        libc::SIGSTOP => {
            stop(world, process, signal);
            true
        }
        libc::SIGCONT => {
            go_on(world, process);
            false
        }
        libc::SIGKILL => {
            // It ends, and nobody hears that it has gone on.
            world.stops.release(process);
            world.run.turn.wake(On::Stopped(process).key(), u32::MAX);
            false
        }
        _ => false,
    }
}

/// Returns whether a signal that this process does not block stops it.
pub(crate) fn is_stop(signal: c_int) -> bool {
    fork::take_part()
        && STOPPING.contains(&signal)
        && signals::disposition(signal) == Disposition::Kernel
        && signals::default_action(signal) == DefaultAction::Stop
}

/// Stops this process by a signal that its parent's terminal would send. A group that nobody of its
/// session can let go on does not stop.
pub(crate) fn stop_own(world: &mut World, signal: c_int) {
    let own = processes::own();
    if signal == libc::SIGSTOP || !is_orphaned(world, group_of(0)) {
        stop(world, own, signal);
    }
}

/// Returns whether no parent of a process in a group is in another group of its session.
fn is_orphaned(world: &World, group: pid_t) -> bool {
    let session = session_of(0);
    !world.processes.running().any(|(_, process)| {
        let parent = process.parent.map(|parent| world.number_of(parent));
        group_of(process.number) == group
            && parent.is_some_and(|it| group_of(it) != group && session_of(it) == session)
    })
}

fn session_of(number: pid_t) -> pid_t {
    // SAFETY: getsid touches no memory.
    let answer =
        unsafe { crane_shm::sys::syscall(libc::SYS_getsid, [number as usize, 0, 0, 0, 0, 0]) };
    answer.max(-1) as pid_t
}

/// Stops a process.
fn stop(world: &mut World, process: ProcessId, signal: c_int) {
    discard(world, process, signals::bit(libc::SIGCONT));
    let state = world.stops.at(process);
    if state.by != 0 {
        return;
    }
    *state = StopState { by: signal, news: signal << 8 | 0x7f };
    world.stops.count += 1;
    tell_parent(world, process, libc::CLD_STOPPED, signal);
}

/// Lets a process go on.
fn go_on(world: &mut World, process: ProcessId) {
    let stopping = STOPPING.iter().fold(0, |mask, signal| mask | signals::bit(*signal));
    discard(world, process, stopping);
    if !world.stops.holds(process) {
        return;
    }
    world.stops.release(process);
    world.stops.at(process).news = CONTINUED;
    world.run.turn.wake(On::Stopped(process).key(), u32::MAX);
    tell_parent(world, process, libc::CLD_CONTINUED, libc::SIGCONT);
}

/// Takes back what was posted to a process: a stop and its end exclude each other.
fn discard(world: &World, process: ProcessId, mask: u64) {
    let mut from = 0;
    while let Some(thread) = signals::first_receiver_from(from) {
        from = u32::from(thread.0) + 1;
        if world.threads[usize::from(thread.0)].process == process {
            while signals::take_blocked(thread, mask).is_some() {}
        }
    }
}

/// Tells the parent of a process that it has stopped or goes on.
fn tell_parent(world: &mut World, process: ProcessId, code: c_int, signal: c_int) {
    let Process { number, parent, .. } = *world.processes.get(process);
    let Some(parent) = parent else { return };
    for on in [On::Member(parent), On::Child] {
        world.run.turn.wake(on.key(), u32::MAX);
    }
    let word = service::forgets(parent.0.into()).load(Ordering::Relaxed);
    if word & HEARS_NO_STOPS == 0 {
        let info = signals::of_change(number, code, signal);
        posting::send_in_call(world, None, posting::Target::Process(parent), &info);
    }
}

/// Forgets all about a process that is made, or that has ended.
pub(crate) fn forget(world: &mut World, process: ProcessId) {
    world.stops.release(process);
    world.stops.at(process).news = 0;
}

/// Finds a child of a process that wait(2) means and that has stopped or gone on. Returns its number
/// and its status, which is reported once unless the options say otherwise.
pub(crate) fn changed_child(
    world: &mut World,
    parent: ProcessId,
    wanted: Child,
    group: pid_t,
) -> Option<(pid_t, c_int)> {
    let asks = |news: c_int| match news {
        0 => false,
        CONTINUED => wanted.options & libc::WCONTINUED != 0,
        _ => wanted.options & libc::WSTOPPED != 0,
    };
    let World { processes, stops, .. } = &mut *world;
    let mut running = processes.running();
    let (child, number) = running.find_map(|(id, process)| {
        let is_it = process.parent == Some(parent) && is_meant(process, wanted, group);
        (is_it && asks(stops.at(id).news)).then_some((id, process.number))
    })?;
    let state = stops.at(child);
    let status = state.news;
    if wanted.options & libc::WNOWAIT == 0 {
        state.news = 0;
    }
    Some((number, status))
}
