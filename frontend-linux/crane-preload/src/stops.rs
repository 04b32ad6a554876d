//! Processes that a signal of the program has stopped (SIGSTOP, or by default SIGTSTP and its
//! like), until SIGCONT.
//!
//! Their threads take no turns: each that gets one gives it away at once, and waits until its
//! process goes on. The real process never stops, for the schedule would wait for it. As the parent
//! of one that ends, that of one that stops or goes on hears of it by SIGCHLD and at wait(2).

use std::sync::atomic::Ordering;

use crane_core::execution::processes::ProcessId;
use libc::{c_int, pid_t, siginfo_t};

use crate::execution::On;
use crate::family::HEARS_NO_STOPS;
use crate::net;
use crate::processes::{self, Child, group_of};
use crate::service;
use crate::signals::{self, DefaultAction, Disposition};
use crate::world::World;

/// `WIFCONTINUED` of wait(2).
const CONTINUED: c_int = 0xffff;

/// The signals that stop a process.
const STOPPING: [c_int; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// A signal for a parent, which the caller sends.
#[must_use]
pub(crate) struct News {
    pub parent: ProcessId,
    pub info: siginfo_t,
}

/// Handles what a signal does to a process when it is sent, whatever that thinks of it. Returns
/// whether nothing else is to be done, and what its parent hears.
// specs: S17
pub(crate) fn on_sent(
    world: &mut World,
    process: ProcessId,
    signal: c_int,
) -> (bool, Option<News>) {
    if !net::orders_children() {
        return (false, None);
    }
    match signal {
        libc::SIGSTOP => (true, stop(world, process, signal)),
        libc::SIGCONT => (false, go_on(world, process)),
        libc::SIGKILL => {
            // It ends, and nobody hears that it has gone on.
            world.stops.release(process);
            world.run.turn.wake(On::Stopped(process).key(), u32::MAX);
            (false, None)
        }
        _ => (false, None),
    }
}

/// Returns whether a signal that this process does not block stops it.
pub(crate) fn is_stop(signal: c_int) -> bool {
    net::orders_children()
        && STOPPING.contains(&signal)
        && signals::disposition(signal) == Disposition::Kernel
        && signals::default_action(signal) == DefaultAction::Stop
}

/// Stops this process by a signal that its parent's terminal would send. A group that nobody of its
/// session can let go on does not stop.
pub(crate) fn stop_own(world: &mut World, signal: c_int) -> Option<News> {
    let own = processes::own();
    if signal != libc::SIGSTOP && is_orphaned(world, group_of(0)) {
        return None;
    }
    stop(world, own, signal)
}

/// Returns whether no parent of a process in a group is in another group of its session.
fn is_orphaned(world: &World, group: pid_t) -> bool {
    let session = session_of(0);
    !world.processes.running().any(|(_, process)| {
        let parent = process.parent().map(|parent| world.number_of(parent));
        group_of(process.number()) == group
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
fn stop(world: &mut World, process: ProcessId, signal: c_int) -> Option<News> {
    discard(world, process, signals::bit(libc::SIGCONT));
    if world.stops.holds(process) {
        return None;
    }
    world.stops.stop(process, signal, signal << 8 | 0x7f);
    news_for_parent(world, process, libc::CLD_STOPPED, signal)
}

/// Lets a process go on.
fn go_on(world: &mut World, process: ProcessId) -> Option<News> {
    let stopping = STOPPING.iter().fold(0, |mask, signal| mask | signals::bit(*signal));
    discard(world, process, stopping);
    if !world.stops.holds(process) {
        return None;
    }
    world.stops.release(process);
    world.stops.at(process).news = CONTINUED;
    world.run.turn.wake(On::Stopped(process).key(), u32::MAX);
    news_for_parent(world, process, libc::CLD_CONTINUED, libc::SIGCONT)
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

/// Wakes a parent that waits for a process, and returns the signal by which it hears that this has
/// stopped or goes on, if it wants to.
fn news_for_parent(
    world: &mut World,
    process: ProcessId,
    code: c_int,
    signal: c_int,
) -> Option<News> {
    let it = world.processes.get(process);
    let (number, parent) = (it.number(), it.parent()?);
    for on in [On::Member(parent), On::Child] {
        world.run.turn.wake(on.key(), u32::MAX);
    }
    let word = service::forgets(parent.0.into()).load(Ordering::Relaxed);
    let info = signals::of_change(number, code, signal);
    (word & HEARS_NO_STOPS == 0).then_some(News { parent, info })
}

/// Forgets all about a process that is made, or that has ended.
pub(crate) fn forget(world: &mut World, process: ProcessId) {
    world.stops.release(process);
    world.stops.at(process).news = 0;
}

/// Finds a child of a process that wait(2) means and that has stopped or gone on. Returns its
/// number and its status, which is reported once unless the options say otherwise.
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
    let meant = processes::meant(wanted, group)?;
    let mut running = processes.running();
    let (child, number) = running.find_map(|(id, process)| {
        let is_it = process.parent() == Some(parent) && process.is_among(meant, group_of);
        (is_it && asks(stops.at(id).news)).then_some((id, process.number()))
    })?;
    let state = stops.at(child);
    let status = state.news;
    if wanted.options & libc::WNOWAIT == 0 {
        state.news = 0;
    }
    Some((number, status))
}
