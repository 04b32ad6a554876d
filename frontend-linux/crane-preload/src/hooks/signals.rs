//! kill, tgkill, pthread_kill, sigqueue: a signal that the program sends to itself reaches its
//! thread in the turn.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use crane_core::execution::processes::Existence;
use crane_shm::sys;
use libc::{pid_t, pthread_t, siginfo_t, sigval};

use super::exits;
use super::threads::find;
use crate::errno;
use crate::net;
use crate::posting::{self, Route, Target};
use crate::processes::{self, group_of, knows_all};
use crate::signals::{self, DefaultAction, Disposition};
use crate::turn::{Call, begin, enter};
use crate::world::World;

/// The longest wait for a signal to this process's group, which the kernel delivers within
/// microseconds.
const GROUP_WAIT: Duration = Duration::from_millis(500);

/// Sends a signal of this process to `target`, in the turn. Returns `false` if the real call is
/// due.
fn send(target: impl FnOnce(&World) -> Option<Target>, info: &siginfo_t) -> bool {
    let signal = info.si_signo;
    if signals::bit(signal) == 0 {
        return false;
    }
    let Some(mut held) = begin(Call::Signal, signal as u32) else { return false };
    let me = held.me;
    let world = held.world();
    let Some(target) = target(world) else {
        held.end();
        return false;
    };
    match posting::send(world, Some(me), target, info) {
        Route::Sent => {
            held.rest();
            held.end();
        }
        Route::Caller => {
            // A handler of this thread runs at the end of the call, and its calls take part.
            held.leave();
            signals::send_behind(info);
        }
        Route::Kernel if signals::default_action(signal) == DefaultAction::End => {
            exits::end_by_signal(held, signal);
            return false;
        }
        Route::Kernel => {
            held.leave();
            return false;
        }
    }
    true
}

/// Returns the whole process of the program that has this number.
fn process_of(world: &World, number: pid_t) -> Option<Target> {
    world.processes.find(number).map(Target::Process)
}

/// The answer to a signal for a process by its number.
enum ToProcess {
    /// It is sent in the turn.
    Member,
    /// The call has this answer.
    Answer(Result<usize, c_int>),
    /// The real call is due.
    Kernel,
}

/// Finds out how a signal to a process, or to a thread of it, is answered. That of a process that
/// has ended must not depend on when the kernel ends it.
// specs: S16
fn to_process(number: pid_t, thread: Option<pid_t>, signal: c_int) -> ToProcess {
    // Whether a thread exists is as the kernel says: it ends in the turn.
    let asks_for_thread = thread.is_some() && signal == 0;
    if number <= 0 || asks_for_thread {
        return ToProcess::Kernel;
    }
    let Some(mut held) = enter() else { return ToProcess::Kernel };
    let world = held.world();
    let existence = world.processes.existence(number, knows_all(&world.processes, world.forked));
    let is_own = number == sys::pid();
    let is_alone = !processes::has_made();
    held.leave();
    // Signal 0 asks whether it may be sent.
    let arguments = [number as usize, 0, 0, 0, 0, 0];
    // SAFETY: kill touches no memory.
    let may = || sys::checked(unsafe { sys::syscall(libc::SYS_kill, arguments) });
    match existence {
        _ if is_alone && !is_own => ToProcess::Kernel,
        Existence::Runs if is_own && signal != 0 => ToProcess::Member,
        Existence::Runs if signal == 0 => ToProcess::Answer(may()),
        Existence::Runs => {
            may().map_or_else(|error| ToProcess::Answer(Err(error)), |_| ToProcess::Member)
        }
        Existence::Ended if signal == 0 || signals::bit(signal) != 0 => ToProcess::Answer(Ok(0)),
        Existence::Ended => ToProcess::Answer(Err(libc::EINVAL)),
        Existence::Gone => ToProcess::Answer(Err(libc::ESRCH)),
        Existence::Unknown => ToProcess::Kernel,
    }
}

/// Sends a signal to a process of the program, or to one of its threads. Returns `None` if the real
/// call is due.
fn send_to(
    (process, thread): (pid_t, Option<pid_t>),
    target: impl FnOnce(&World) -> Option<Target>,
    info: &siginfo_t,
) -> Option<Result<usize, c_int>> {
    match to_process(process, thread, info.si_signo) {
        ToProcess::Member => send(target, info).then_some(Ok(0)),
        ToProcess::Answer(answer) => Some(answer),
        ToProcess::Kernel => None,
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn kill(process: pid_t, signal: c_int) -> c_int {
    let info = signals::sent_by_self(signal, libc::SI_USER);
    let target = |world: &World| process_of(world, process);
    if let Some(result) = send_to((process, None), target, &info) {
        return errno::answer_int(result);
    }
    let arguments = [process as usize, signal as usize, 0, 0, 0, 0];
    if let Some(result) = signal_members(process, &info) {
        return errno::answer_int(result);
    }
    if is_own_group(process) {
        return errno::answer_int(signal_group(signal, arguments));
    }
    // SAFETY: kill touches no memory.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_kill, arguments) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn killpg(group: pid_t, signal: c_int) -> c_int {
    if group < 0 {
        return errno::answer_int(Err(libc::EINVAL));
    }
    // SAFETY: plain numbers; the symbol is this library's own.
    unsafe { kill(-group, signal) }
}

/// Returns whether a number of kill(2) means the group that this process is in.
fn is_own_group(process: pid_t) -> bool {
    let own = || rustix::process::getpgrp().as_raw_nonzero().get();
    process == 0 || process < -1 && -process == own()
}

/// Sends a signal to each process of a group (kill(2)), if this program has several. Returns `None`
/// if the kernel must answer: for a group without any of them, or all processes there are.
fn signal_members(group: pid_t, info: &siginfo_t) -> Option<Result<usize, c_int>> {
    let is_known = info.si_signo == 0 || signals::bit(info.si_signo) != 0;
    if group > 0 || group == -1 || !processes::has_made() || !is_known {
        return None;
    }
    let group = if group == 0 { group_of(0) } else { -group };
    let own = processes::own();
    let (mut any, mut is_own_too, mut next) = (false, false, 0);
    while let Some(mut held) = enter() {
        let running = held.world().processes.running().map(|(id, process)| (id, process.number()));
        let found = running.skip_while(|(id, _)| id.0 < next);
        let found = { found }.find(|(_, number)| group_of(*number) == group);
        held.leave();
        let Some((process, _)) = found else { break };
        any = true;
        next = process.0 + 1;
        if process == own {
            is_own_too = true;
        } else if info.si_signo != 0 {
            send(|_| Some(Target::Process(process)), info);
        }
    }
    if is_own_too && info.si_signo != 0 && !send(|_| Some(Target::Process(own)), info) {
        let arguments = [sys::pid() as usize, info.si_signo as usize, 0, 0, 0, 0];
        // SAFETY: kill touches no memory.
        return Some(sys::checked(unsafe { sys::syscall(libc::SYS_kill, arguments) }));
    }
    if any {
        return Some(Ok(0));
    }
    let mut held = enter()?;
    let world = held.world();
    let existence =
        world.processes.existence_of_group(group, knows_all(&world.processes, world.forked));
    held.leave();
    match existence {
        Existence::Ended => Some(Ok(0)),
        Existence::Gone => Some(Err(libc::ESRCH)),
        Existence::Runs | Existence::Unknown => None,
    }
}

/// Sends a signal to the group of this process. The kernel delivers it to this process as well. The
/// function waits for a signal that reaches another thread, so that the schedule does not depend on
/// its time.
fn signal_group(signal: c_int, arguments: [usize; 6]) -> Result<usize, c_int> {
    // SAFETY: kill touches no memory.
    let real = || sys::checked(unsafe { sys::syscall(libc::SYS_kill, arguments) });
    let handled = signals::bit(signal) != 0 && signals::disposition(signal) != Disposition::Kernel;
    let Some(mut held) = begin(Call::Signal, signal as u32) else { return real() };
    let me = held.me;
    let receiver = posting::receiver(held.world(), Some(me), processes::own(), signal);
    let other = handled && receiver.is_some_and(|receiver| receiver != me);
    held.leave();
    let result = real();
    let start = Instant::now();
    while other && result.is_ok() && !signals::has_news() && start.elapsed() < GROUP_WAIT {
        rustix::thread::sched_yield();
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_kill(handle: pthread_t, signal: c_int) -> c_int {
    let info = signals::sent_by_self(signal, libc::SI_TKILL);
    if send(|world| find(world, handle).map(Target::Thread), &info) {
        return 0;
    }
    let real = real!(pthread_kill: fn(pthread_t, c_int) -> c_int);
    // SAFETY: the caller's own arguments.
    unsafe { real(handle, signal) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tgkill(process: pid_t, thread: pid_t, signal: c_int) -> c_int {
    let info = signals::sent_by_self(signal, libc::SI_TKILL);
    let target = |world: &_| posting::find_by_tid(world, thread).map(Target::Thread);
    if let Some(result) = send_to((process, Some(thread)), target, &info) {
        return errno::answer_int(result);
    }
    let arguments = [process as usize, thread as usize, signal as usize, 0, 0, 0];
    // SAFETY: tgkill touches no memory.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_tgkill, arguments) }))
}

/// Returns the record of a signal with a value (sigqueue(3)).
fn with_value(signal: c_int, value: sigval) -> siginfo_t {
    /// The fields of `siginfo_t` for `SI_QUEUE`.
    #[repr(C)]
    struct Queued {
        sent: [u8; 24],
        value: sigval,
    }
    let mut info = signals::sent_by_self(signal, libc::SI_QUEUE);
    // SAFETY: the value lies behind process and user in the record (sigaction(2)), which is longer.
    unsafe { (&raw mut (*(&raw mut info).cast::<Queued>()).value).write(value) };
    info
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigqueue(process: pid_t, signal: c_int, value: sigval) -> c_int {
    let info = with_value(signal, value);
    let target = |world: &World| process_of(world, process);
    if let Some(result) = send_to((process, None), target, &info) {
        return errno::answer_int(result);
    }
    let record = (&raw const info).addr();
    let arguments = [process as usize, signal as usize, record, 0, 0, 0];
    // SAFETY: the kernel reads the record, which lives during the call.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_rt_sigqueueinfo, arguments) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigqueue(handle: pthread_t, signal: c_int, value: sigval) -> c_int {
    let info = with_value(signal, value);
    if send(|world| find(world, handle).map(Target::Thread), &info) {
        return 0;
    }
    let real = real!(pthread_sigqueue: fn(pthread_t, c_int, sigval) -> c_int);
    // SAFETY: the caller's own arguments.
    unsafe { real(handle, signal, value) }
}

/// rt_sigqueueinfo(2) and rt_tgsigqueueinfo(2), by their numbers: a signal with the caller's own
/// record. Returns `None` if the kernel must answer: for another process, or what it refuses.
pub(super) fn queue_by_number(
    process: pid_t,
    thread: Option<pid_t>,
    signal: c_int,
    record: usize,
) -> Option<c_int> {
    let given: [u64; size_of::<siginfo_t>() / 8] = net::read(record)?;
    // SAFETY: as many bytes, all of which are valid.
    let mut info = unsafe { std::mem::transmute::<[u64; 16], siginfo_t>(given) };
    info.si_signo = signal;
    signals::mark_own(&mut info);
    let target = |world: &World| match thread {
        None => process_of(world, process),
        Some(thread) => posting::find_by_tid(world, thread).map(Target::Thread),
    };
    let result = send_to((process, thread), target, &info)?;
    Some(errno::answer_int(result))
}
