//! Sending a signal to a process that takes part, in the turn.
//!
//! As in the kernel, a signal for a process goes to its first thread if that thread does not block
//! it, and otherwise to another thread. The signal is posted to a thread that does not have the
//! turn. The kernel handles a signal whose thread blocks it, and a signal without a handler.
//!
//! A signal for another process is always posted: one of its threads finds in its own turn whether
//! it has a handler, is blocked, or ends the process.

use std::ffi::c_int;

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::{ThreadId, Woken};
use crane_shm::sys;
use libc::siginfo_t;

use crate::processes;
use crate::signals::{self, DefaultAction, Disposition};
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
    if process != processes::own() {
        send_to_other(world, process, target, info);
        return Route::Sent;
    }
    let receiver = match target {
        Target::Thread(thread) => accepts(world, caller, thread, bit).then_some(thread),
        Target::Process(process) => receiver(world, caller, process, signal),
    };
    match receiver {
        // All threads block the signal, so the kernel keeps it, whatever its disposition is.
        None => {
            keep_in_kernel(world, target, info);
            wake_waiter(world, target, bit);
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
fn send_to_other(world: &mut World, process: ProcessId, target: Target, info: &siginfo_t) {
    let bit = signals::bit(info.si_signo);
    let receiver = match target {
        Target::Thread(thread) => Some(thread),
        Target::Process(_) => receiver(world, None, process, info.si_signo)
            .or_else(|| first_thread(world, process, |thread| thread.awaited & bit != 0))
            .or_else(|| first_thread(world, process, |_| true)),
    };
    // A process that has no thread is about to have one.
    let Some(receiver) = receiver else { return };
    if signals::post(receiver, info) {
        interrupt(world, receiver);
    }
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

/// Returns the thread that receives a signal for a process: the first that does not block it.
pub(crate) fn receiver(
    world: &World,
    caller: Option<ThreadId>,
    process: ProcessId,
    signal: c_int,
) -> Option<ThreadId> {
    let mut threads = (0..world.threads.len() as u16).map(ThreadId);
    threads.find(|thread| {
        world.threads[usize::from(thread.0)].process == process
            && accepts(world, caller, *thread, signals::bit(signal))
    })
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
    let record = std::ptr::from_ref(info).addr();
    // The kernel does not let a thread send a record to another thread as if a person or the kernel
    // sent it, and makes the same record by itself.
    let plain = info.si_code >= 0 || info.si_code == libc::SI_TKILL;
    let (call, arguments) = match target {
        Target::Process(_) if plain => (libc::SYS_kill, [process, signal, 0, 0, 0, 0]),
        Target::Process(_) => (libc::SYS_rt_sigqueueinfo, [process, signal, record, 0, 0, 0]),
        Target::Thread(thread) => {
            let tid = world.threads[thread.0 as usize].tid as usize;
            match plain {
                true => (libc::SYS_tgkill, [process, tid, signal, 0, 0, 0]),
                false => (libc::SYS_rt_tgsigqueueinfo, [process, tid, signal, record, 0, 0]),
            }
        }
    };
    // SAFETY: the kernel reads the record, which lives during the call.
    unsafe { sys::syscall(call, arguments) };
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

/// Finds a thread by the kernel's number.
pub(crate) fn find_by_tid(world: &World, tid: c_int) -> Option<ThreadId> {
    let wanted = u32::try_from(tid).ok().filter(|tid| *tid != 0)?;
    let is_it = |thread: &PreloadThread| thread.tid == wanted && thread.runs();
    world.threads.iter().position(is_it).map(|place| ThreadId(place as u16))
}
