//! Timers of the program, which expire by agreed time, so that each expiration has its place in the
//! schedule.
//!
//! No thread of the program waits for a timer, so one number of the core's turn is reserved for all
//! of them, with the first timer that a program starts. The number waits until the first timer is
//! due, like a sleeping thread. When it gets the turn, all due timers expire, and the turn passes
//! to the next thread (see `turn::choose`). A call that asks about a timer makes the timer expire
//! first if it is due.

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::NEVER;
use libc::siginfo_t;

use crate::descriptors::TimerIndex;
use crate::execution::On;
use crate::posting::{self, Route, Target};
use crate::readiness;
use crate::signals;
use crate::timers::Expires;
use crate::world::World;

/// Sets a timer to expire at `next`, and after each `interval` from then on. Returns `false`, with
/// the timer stopped, if no thread number is free for the program's first timer.
// specs: S11
pub(crate) fn start(world: &mut World, timer: TimerIndex, next: u64, interval: u64) -> bool {
    let World { timers, run, .. } = &mut *world;
    let starts = next != NEVER;
    if starts && timers.thread.is_none() {
        let Some(thread) = run.turn.reserve() else { return false };
        run.turn.wait_reserved(thread, On::Timers.key(), NEVER);
        timers.thread = Some(thread);
    }
    let timer = timers.at(timer);
    (timer.next, timer.interval) = (next, interval);
    reschedule(world);
    true
}

/// Ends a timer.
pub(crate) fn end(world: &mut World, timer: TimerIndex) {
    world.timers.free(timer);
    reschedule(world);
}

/// Ends the timers of a process or program, but for those behind descriptors, and one that stays.
pub(crate) fn end_all_of(world: &mut World, process: ProcessId, stays: Option<TimerIndex>) {
    world.timers.free_all_of(process, stays);
    reschedule(world);
}

/// Stops a timer.
pub(crate) fn stop(world: &mut World, timer: TimerIndex) {
    world.timers.at(timer).next = NEVER;
    reschedule(world);
}

/// Finds the first expiration again, which may have changed.
fn reschedule(world: &mut World) {
    let World { timers, run, .. } = world;
    timers.next = timers.first().map_or(NEVER, |(next, _)| next);
    if let Some(thread) = timers.thread
        && run.turn.is_waiting(thread)
    {
        run.turn.set_deadline(thread, timers.next);
    }
}

/// Makes all due timers expire, because the number that waits for timers has the turn.
// specs: S11
pub(crate) fn take_turn(world: &mut World) {
    expire(world);
    world.run.turn.wait(On::Timers.key(), world.timers.next);
}

/// Makes all due timers expire, in the order of their times.
#[inline]
pub(crate) fn expire(world: &mut World) {
    if world.timers.next <= world.run.gate.agreed() {
        expire_due(world);
    }
}

#[cold]
fn expire_due(world: &mut World) {
    let agreed = world.run.gate.agreed();
    while let Some((next, index)) = world.timers.first()
        && next <= agreed
    {
        let timer = world.timers.at(index);
        // As in the kernel, a late timer counts each expiration that it has missed.
        let times = match timer.interval {
            0 => 1,
            interval => 1 + (agreed - next) / interval,
        };
        timer.next = match timer.interval {
            0 => NEVER,
            interval => next.saturating_add(times.saturating_mul(interval)),
        };
        let expires = timer.expires;
        timer.overrun = u32::try_from(times - 1).unwrap_or(u32::MAX).min(i32::MAX as u32);
        timer.unserved += u64::from(expires == Expires::Thread) * times;
        expire_one(world, index, expires, times);
    }
    reschedule(world);
}

fn expire_one(world: &mut World, timer: TimerIndex, expires: Expires, times: u64) {
    match expires {
        Expires::Free | Expires::Count | Expires::Deleted => {}
        Expires::Alarm => {
            let info = signals::sent_by_kernel(libc::SIGALRM);
            let process = world.timers.at(timer).process;
            send(world, Target::Process(process), &info);
        }
        Expires::Signal(signal) => {
            let process = world.timers.at(timer).process;
            let target = signal.thread.map_or(Target::Process(process), Target::Thread);
            let overrun = world.timers.at(timer).overrun;
            let info =
                signals::sent_by_timer(signal.number, signal.timer, overrun as i32, signal.value);
            send(world, target, &info);
        }
        Expires::Thread => {
            world.run.turn.wake(On::Expiration(timer).key(), 1);
        }
        Expires::Descriptor(place) => {
            let World { run, descriptors, watches, .. } = world;
            let description = descriptors.at(place);
            description.expirations = description.expirations.saturating_add(times);
            description.edges = description.edges.wrapping_add(1);
            run.turn.wake(On::Read(place).key(), u32::MAX);
            readiness::changed(run, descriptors, watches, place);
        }
    }
}

/// Sends the signal of a timer.
fn send(world: &mut World, target: Target, info: &siginfo_t) {
    if posting::send(world, None, target, info) == Route::Kernel {
        // No thread waits in a call for what it does by default.
        posting::keep_in_kernel(world, target, info);
    }
}
