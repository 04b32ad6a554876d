//! Sending a signal to a process that takes part, in the turn.
//!
//! As in the kernel, a signal for a process goes to its first thread if that thread does not block
//! it, and otherwise to another thread. The signal is posted to a thread that does not have the
//! turn. The kernel handles a signal whose thread blocks it, and a signal without a handler.
//!
//! A signal for another process is always posted: one of its threads finds in its own turn whether
//! it has a handler, is blocked, or ends the process.

use std::ffi::c_int;
use std::sync::OnceLock;

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::{ThreadId, Woken};
use crane_shm::sys;
use libc::siginfo_t;

use crate::execution::On;
use crate::membership;
use crate::processes;
use crate::readiness;
use crate::signals::{self, DefaultAction, Disposition};
use crate::stops::{self, News};
use crate::world::{PreloadThread, World};

/// The receiver of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Any thread of this process that does not block it.
    Process(ProcessId),
    /// This thread.
    Thread(ThreadId),
}

/// The way of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// The signal was posted, or the kernel keeps it until a thread unblocks it or waits for it.
    Sent,
    /// The caller must send the signal to itself, outside of its hook.
    Caller,
    /// The kernel takes the default action: it ignores the signal, or ends or stops the process.
    /// The caller must send the signal, outside of its hook.
    Kernel,
}

/// Sends a signal. `caller` is the thread that holds the turn, if one does.
// specs: S10
pub(crate) fn send(
    world: &mut World,
    caller: Option<ThreadId>,
    target: Target,
    info: &siginfo_t,
) -> Route {
    let signal = info.si_signo;
    let bit = signals::bit(signal);
    assert!(bit != 0, "signal {signal} is sent");
    let process = match target {
        Target::Thread(thread) => world.threads[usize::from(thread.0)].process,
        Target::Process(process) => process,
    };
    let (is_done, news) = stops::on_sent(world, process, signal);
    send_news(world, news);
    if is_done {
        return Route::Sent;
    }
    if process != processes::own() {
        send_to_other(world, process, target, info);
        return Route::Sent;
    }
    let receiver = match target {
        Target::Thread(thread) => accepts(world, caller, thread, bit).then_some(thread),
        Target::Process(process) => receiver(world, caller, process, signal),
    };
    match receiver {
        // One waits for it in a call, so the kernel keeps it for that.
        Some(thread) if awaits(world, thread, bit) => {
            keep_in_kernel(world, Target::Thread(thread), info);
            world.run.turn.wake_thread(thread, Woken::Called);
            Route::Sent
        }
        // All threads block the signal, so the kernel keeps it, whatever its disposition is.
        None => {
            keep_in_kernel(world, target, info);
            wake_observers(world, target, bit);
            Route::Sent
        }
        // The schedule must know of an end among several processes: a thread ends its own.
        Some(thread)
            if processes::has_made()
                && Some(thread) != caller
                && signals::disposition(signal) == Disposition::Kernel
                && signals::default_action(signal) == DefaultAction::End =>
        {
            if signals::post(thread, info) {
                interrupt(world, thread);
            }
            Route::Sent
        }
        Some(_) if stops::is_stop(signal) => {
            let news = stops::stop_own(world, signal);
            send_news(world, news);
            Route::Sent
        }
        Some(_) if signals::disposition(signal) == Disposition::Kernel => Route::Kernel,
        Some(thread) if Some(thread) == caller => Route::Caller,
        Some(thread) => {
            if signals::post(thread, info) {
                interrupt(world, thread);
            } else {
                keep_in_kernel(world, target, info);
            }
            Route::Sent
        }
    }
}

/// Sends a process the signal that tells of a child's end. It may be the calling thread's, which
/// is in a handler then, and has no mask of the program's.
// specs: S17
pub(crate) fn send_end_of_child(world: &mut World, process: ProcessId, info: &siginfo_t) {
    if process != processes::own() {
        return send_to_other(world, process, Target::Process(process), info);
    }
    let bit = signals::bit(info.si_signo);
    let receiver = first_thread(world, process, |thread| thread.awaited & bit != 0)
        .or_else(|| first_thread(world, process, |_| true));
    if let Some(receiver) = receiver
        && signals::post(receiver, info)
    {
        interrupt(world, receiver);
    }
}

/// Sends a signal to a process other than the calling thread's.
// specs: S17
pub(crate) fn send_to_other(
    world: &mut World,
    process: ProcessId,
    target: Target,
    info: &siginfo_t,
) {
    let bit = signals::bit(info.si_signo);
    let accepting = match target {
        Target::Thread(thread) => accepts(world, None, thread, bit).then_some(thread),
        Target::Process(_) => receiver(world, None, process, info.si_signo),
    };
    let receiver = accepting.or_else(|| match target {
        Target::Thread(thread) => Some(thread),
        Target::Process(_) => first_thread(world, process, |thread| thread.awaited & bit != 0)
            .or_else(|| first_thread(world, process, |_| true)),
    });
    // A process that has no thread is about to have one.
    let Some(receiver) = receiver else { return };
    if signals::post(receiver, info) {
        interrupt(world, receiver);
    }
    if accepting.is_none() {
        wake_observers(world, target, bit);
    }
}

/// Gives the kernel the signals that were posted to threads of this process which block them, so
/// that whoever looks for them finds them there. `me` has the turn.
// specs: S17
#[inline]
pub(crate) fn settle(world: &mut World, me: ThreadId) {
    if signals::any() {
        settle_posted(world, me);
    }
}

#[cold]
fn settle_posted(world: &mut World, me: ThreadId) {
    let mut from = 0;
    while let Some(thread) = signals::first_receiver_from(from) {
        from = u32::from(thread.0) + 1;
        let PreloadThread { process, tid, .. } = world.threads[usize::from(thread.0)];
        if process != processes::own() {
            continue;
        }
        let blocked = if thread == me { signals::blocked() } else { signals::blocked_of(tid) };
        while let Some(info) = signals::take_blocked(thread, blocked) {
            let awaited = world.threads[usize::from(thread.0)].awaited;
            hand_on(world, me, thread, &info, awaited);
        }
    }
}

/// Sets the mask of the calling thread, which has the turn, and returns the one before. A signal
/// that the kernel has kept and that ends the process ends it here: the schedule must know.
// specs: S17
pub(crate) fn open_mask(me: ThreadId, mask: u64) -> u64 {
    if let Some(signal) = fatal_outside(mask) {
        end_process_by(me, signal);
    }
    signals::set_mask(mask)
}

/// Returns a signal that the kernel keeps and that ends this process under another mask, if it is
/// not the only one.
pub(crate) fn fatal_outside(mask: u64) -> Option<c_int> {
    if !processes::has_made() {
        return None;
    }
    signals::each(signals::pending() & !mask).find(|signal| {
        signals::disposition(*signal) == Disposition::Kernel
            && signals::default_action(*signal) == DefaultAction::End
    })
}

/// Sends a signal because of what a call, or the admission of an op, has done. `caller` is the
/// thread that makes the call: its own signal comes at the call's end.
pub(crate) fn send_in_call(
    world: &mut World,
    caller: Option<ThreadId>,
    target: Target,
    info: &siginfo_t,
) {
    match send(world, caller, target, info) {
        Route::Sent => {}
        Route::Caller | Route::Kernel if caller.is_some_and(|me| signals::post(me, info)) => {}
        Route::Caller | Route::Kernel => keep_in_kernel(world, target, info),
    }
}

/// Sends a parent what it hears of a child that has stopped or goes on.
fn send_news(world: &mut World, news: Option<News>) {
    if let Some(News { parent, info }) = news {
        send_in_call(world, None, Target::Process(parent), &info);
    }
}

/// Takes a signal that was posted to the calling thread, which blocks it, or whose process it
/// stops.
pub(crate) fn take_in_turn(
    world: &mut World,
    me: ThreadId,
    info: &siginfo_t,
    blocked: bool,
    awaited: u64,
) {
    if blocked {
        hand_on(world, me, me, info, awaited);
    } else {
        let news = stops::stop_own(world, info.si_signo);
        send_news(world, news);
    }
}

/// Hands a signal on that was posted to a thread which blocks it, to another thread or the kernel.
/// `me` has the turn. The thread takes those that it awaits from the kernel itself.
fn hand_on(world: &mut World, me: ThreadId, thread: ThreadId, info: &siginfo_t, awaited: u64) {
    if awaited & signals::bit(info.si_signo) != 0 {
        return keep_in_kernel(world, Target::Thread(thread), info);
    }
    let target = match info.si_code {
        libc::SI_TKILL => Target::Thread(thread),
        _ => Target::Process(processes::own()),
    };
    send_in_call(world, Some(me), target, info);
}

/// Returns the first thread of a process that is wanted.
fn first_thread(
    world: &World,
    process: ProcessId,
    wanted: impl Fn(&PreloadThread) -> bool,
) -> Option<ThreadId> {
    let is_it =
        |thread: &PreloadThread| thread.process == process && thread.runs() && wanted(thread);
    world.threads.iter().position(is_it).map(|place| ThreadId(place as u16))
}

/// Sends the first process that runs the signals of a set, which an operator has ordered, the
/// lowest number first. Without a handler, the kernel takes the default action.
// specs: S14
#[cold]
pub(crate) fn send_ordered(world: &mut World, ordered: u64) {
    let first = world.processes.running().next().map_or(ProcessId::FIRST, |(process, _)| process);
    for signal in 1..=64 {
        if ordered & signals::bit(signal) == 0 {
            continue;
        }
        let info = signals::sent_by_self(signal, libc::SI_USER);
        // A thread that waits for the script in a call is no caller: it gets the signal behind it.
        let target = Target::Process(first);
        if send(world, None, target, &info) == Route::Kernel {
            keep_in_kernel(world, target, &info);
        }
    }
}

/// Ends the wait of a thread to which a signal was posted, if it waits.
pub(crate) fn interrupt(world: &mut World, thread: ThreadId) {
    if world.run.turn.is_waiting(thread) {
        world.threads[thread.0 as usize].signalled = true;
        world.run.turn.wake_thread(thread, Woken::Called);
    }
}

/// Returns the thread that receives a signal for a process: the first that does not block it, or
/// waits for it.
pub(crate) fn receiver(
    world: &World,
    caller: Option<ThreadId>,
    process: ProcessId,
    signal: c_int,
) -> Option<ThreadId> {
    let bit = signals::bit(signal);
    let mut threads = (0..world.threads.len() as u16).map(ThreadId);
    threads.find(|thread| {
        world.threads[usize::from(thread.0)].process == process
            && (accepts(world, caller, *thread, bit) || awaits(world, *thread, bit))
    })
}

/// Returns whether a thread waits for a signal by sigwait(3) or its family.
fn awaits(world: &World, thread: ThreadId, bit: u64) -> bool {
    world.threads[usize::from(thread.0)].awaited & bit != 0 && world.run.turn.is_waiting(thread)
}

/// Returns whether a thread lives and does not block a signal.
fn accepts(world: &World, caller: Option<ThreadId>, thread: ThreadId, bit: u64) -> bool {
    let record = &world.threads[thread.0 as usize];
    if !record.runs() {
        return false;
    }
    let blocked = match caller == Some(thread) {
        true => signals::blocked(),
        false => signals::blocked_of(record.tid),
    };
    blocked & bit == 0
}

/// Lets the kernel send a signal, which every receiver blocks.
pub(crate) fn keep_in_kernel(world: &mut World, target: Target, info: &siginfo_t) {
    // A signalfd may have it.
    world.outside.touched = true;
    let (process, signal) = (sys::pid() as usize, info.si_signo as usize);
    // The kernel makes the same record of a plain signal by itself.
    // SAFETY: the record of a sent signal, which one of a child is as well.
    let is_own = unsafe { info.si_pid() } == sys::pid();
    let code = info.si_code;
    signals::kept::owe(info);
    let info = signals::kept::disguise(info);
    let record = (&raw const info).addr();
    let (call, arguments) = match target {
        Target::Process(_) if is_own && code == libc::SI_USER => {
            (libc::SYS_kill, [process, signal, 0, 0, 0, 0])
        }
        Target::Process(_) => (libc::SYS_rt_sigqueueinfo, [process, signal, record, 0, 0, 0]),
        Target::Thread(thread) => {
            let tid = world.threads[thread.0 as usize].tid as usize;
            match is_own && code == libc::SI_TKILL {
                true => (libc::SYS_tgkill, [process, tid, signal, 0, 0, 0]),
                false => (libc::SYS_rt_tgsigqueueinfo, [process, tid, signal, record, 0, 0]),
            }
        }
    };
    // SAFETY: the kernel reads the record, which lives during the call.
    unsafe { sys::syscall(call, arguments) };
}

/// Wakes whoever waits for a signal that all threads of its process block.
fn wake_observers(world: &mut World, target: Target, bit: u64) {
    wake_waiter(world, target, bit);
    for at in 0..world.descriptors.outside().len() {
        let place = world.descriptors.outside()[at];
        let World { run, descriptors, watches, .. } = &mut *world;
        let description = descriptors.at(place);
        if description.signals.is_some_and(|wanted| wanted & bit != 0) {
            description.edges = description.edges.wrapping_add(1);
            run.turn.wake(On::Read(place).key(), u32::MAX);
            readiness::suspect(run, descriptors, watches, place);
        }
    }
}

/// Wakes the first thread that waits for a signal by sigwait(3) or its family.
fn wake_waiter(world: &mut World, target: Target, bit: u64) {
    let waits = |world: &World, thread: ThreadId| {
        world.threads[thread.0 as usize].awaited & bit != 0 && world.run.turn.is_waiting(thread)
    };
    let waiter = match target {
        Target::Thread(thread) => waits(world, thread).then_some(thread),
        Target::Process(process) => (0..world.threads.len() as u16).map(ThreadId).find(|thread| {
            world.threads[usize::from(thread.0)].process == process && waits(world, *thread)
        }),
    };
    if let Some(thread) = waiter {
        world.run.turn.wake_thread(thread, Woken::Called);
    }
}

/// Ends the process of a thread, which has the turn and is to leave it, by a signal.
pub(crate) type EndBySignal = fn(ThreadId, c_int);

static END: OnceLock<EndBySignal> = OnceLock::new();

/// Has a process end by this function when it gets a signal that ends it.
pub(crate) fn end_by(end: EndBySignal) {
    let _ = END.set(end);
}

/// Ends the calling thread's process, if a signal that it gets does that: the schedule must know.
// specs: S17
#[inline]
pub(crate) fn end_if_fatal(me: ThreadId, signal: c_int) {
    if processes::has_made() && signals::is_fatal(signal) {
        end_process_by(me, signal);
    }
}

/// Ends the process of the calling thread, which has the turn, by a signal.
fn end_process_by(me: ThreadId, signal: c_int) {
    membership::set_inside(me);
    END.get().expect("it is set before the first call")(me, signal);
}

/// Finds a thread by the kernel's number.
pub(crate) fn find_by_tid(world: &World, tid: c_int) -> Option<ThreadId> {
    let wanted = u32::try_from(tid).ok().filter(|tid| *tid != 0)?;
    let is_it = |thread: &PreloadThread| thread.tid == wanted && thread.runs();
    world.threads.iter().position(is_it).map(|place| ThreadId(place as u16))
}
