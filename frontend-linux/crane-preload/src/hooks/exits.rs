//! exit_group(2): the end of a process that is not the program's only one.
//!
//! It ends at a clock value: its numbers are closed, its threads leave the turn, and its parent is
//! told. Only then the turn passes, and the kernel ends the process. The process that the daemon
//! has started stays for the daemon as long as others run, without a part in anything.

use std::ffi::c_int;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::ThreadId;
use crane_shm::parking::{self, Scope};
use crane_shm::sys;
use libc::pid_t;

use super::shared;
use super::transfer::release;
use crate::clone;
use crate::execution::On;
use crate::expirations;
use crate::family;
use crate::hold;
use crate::inherited;
use crate::net;
use crate::numbers::forget_numbers;
use crate::parents;
use crate::posting;
use crate::processes::{self, group_of};
use crate::readiness;
use crate::service;
use crate::signals::{self, restore_default};
use crate::stops;
use crate::trouble::Text;
use crate::turn::{self, Call, Held, begin};
use crate::world::{self, NO_THREAD, World};

/// Marks the word that says that all processes have ended.
const ENDED: u32 = 1 << 8;

/// Returns whether this process is the program's first and only one.
fn is_alone(held: &mut Held) -> bool {
    let own = processes::own();
    own == ProcessId::FIRST && !held.world().processes.has_others(own)
}

/// Ends this process by exit_group(2), if it is not the only one. Returns if it is, or takes no
/// part: the kernel ends it then.
// specs: S16
pub(super) fn exit_group(code: c_int) {
    let Some(mut held) = begin(Call::Exit, 0) else { return };
    if is_alone(&mut held) {
        return held.end();
    }
    let status = (code & 0xff) << 8;
    end_process(held, status);
    leave(code)
}

/// Ends this process by a signal without a handler, in the turn, if it is not the only one. Returns
/// if it is, without the turn: the kernel ends it then.
// specs: S17
pub(crate) fn end_by_signal(mut held: Held, signal: c_int) {
    if is_alone(&mut held) {
        return held.leave();
    }
    end_process(held, signal);
    leave_by(signal)
}

/// Does the same for the calling thread, which has the turn and is in a hook.
pub(crate) fn end_thread_by_signal(me: ThreadId, signal: c_int) {
    end_by_signal(Held { me, cancellable: false, cancelled: false, hears: false }, signal);
}

/// Ends this process in the turn, with a status as wait(2) returns it. It must leave then.
fn end_process(mut held: Held, status: c_int) {
    let (me, own) = (held.me, processes::own());
    signals::block_all();
    net::let_end();
    // The other ends find this one closed from here on.
    close_in_kernel();
    forget_numbers();
    let world = held.world();
    give_up_locks(world, own);
    world.remove_threads(own, Some(me));
    signals::forget(me);
    end_in_table(world, own, status);
    world.threads[usize::from(me.0)] = NO_THREAD;
    world.run.turn.end();
    held.end_process();
}

/// Gives up the robust mutexes that threads of this process hold: the kernel would mark them behind
/// the turn.
fn give_up_locks(world: &mut World, own: ProcessId) {
    let World { threads, run, .. } = world;
    for thread in threads.iter().filter(|thread| thread.process == own && thread.runs()) {
        clone::end_robust(thread.tid, |word| {
            run.turn.wake(shared::at(word).key(), u32::MAX);
        });
    }
}

/// Ends what a process has in the tables, and tells its parent.
fn end_in_table(world: &mut World, process: ProcessId, status: c_int) {
    for place in world.descriptors.leave(service::numbers(process.0.into())) {
        release(world, place);
    }
    world.run.turn.wake(On::FileLock.key(), u32::MAX);
    expirations::end_all_of(world, process, None);
    service::note_end(world.number_of(process).cast_unsigned());
    parents::on_end_of_process(world, process);
    stops::forget(world, process);
    notify_parent(world, process, status);
    if world.processes.running().next().is_none() {
        // The shell's code of one that a signal has ended.
        let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + status };
        service::end().store(ENDED | code as u32 & 0xff, Ordering::SeqCst);
        parking::wake(service::end(), u32::MAX, Scope::Shared);
    }
}

/// The signals by which an instruction of a process's own ends it.
const BY_ITSELF: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Handles the end of a child of this process by the kernel. One that has ended in the turn is
/// known. One that a fault of its own has ended had the turn, which it has left to nobody: it ends
/// here, at the same clock everywhere. Anything else is this host's doing, which the program must
/// not see: the server ends, and is built again.
// specs: S16
pub(crate) fn on_death(number: pid_t, status: c_int) {
    // SAFETY: the child had the turn, and has ended; or nothing but its number is read here.
    let world = unsafe { world::world() };
    let Some(process) = world.processes.find(number) else { return };
    let holder = world.run.turn.holder();
    let its = holder.filter(|it| world.threads[usize::from(it.0)].process == process);
    let by_itself = libc::WIFSIGNALED(status) && BY_ITSELF.contains(&libc::WTERMSIG(status));
    let Some(holder) = its.filter(|_| by_itself) else { end_server(world, number, status) };
    world.remove_threads(process, Some(holder));
    signals::forget(holder);
    end_in_table(world, process, status);
    world.threads[usize::from(holder.0)] = NO_THREAD;
    world.run.turn.end();
    turn::pass_for_dead();
}

/// Handles the ends of further children of this process by the kernel.
pub(crate) fn look_for_deaths() {
    let own = processes::own();
    let mut next = 0;
    loop {
        // SAFETY: only the table of processes is read.
        let world = unsafe { world::world() };
        let mut running = world.processes.running();
        let child =
            running.find(|(id, it)| id.0 >= next && it.parent() == Some(own) && it.number() != 0);
        let Some((id, number)) = child.map(|(id, it)| (id, it.number())) else { return };
        next = id.0 + 1;
        if let Some(status) = processes::ended_status(number) {
            on_death(number, status);
        }
    }
}

/// Ends the server, one of whose processes this host has ended.
fn end_server(world: &mut World, number: pid_t, status: c_int) -> ! {
    let mut text = Text::new();
    // A text that is cut is better than none.
    let _ = match libc::WIFSIGNALED(status) {
        true => write!(
            text,
            "process {number} of the server was ended by signal {} from outside of the schedule \
             (kill -9, or the system for want of memory)",
            libc::WTERMSIG(status)
        ),
        false => write!(text, "process {number} of the server has ended outside of the schedule"),
    };
    // A process may have given a better reason before it ended.
    if !world.region.is_ending() {
        world.region.put_trouble(text.as_str().as_bytes());
    }
    let first = world.processes.first_number();
    for process in [first, sys::pid()] {
        let arguments = [process as usize, libc::SIGKILL as usize, 0, 0, 0, 0];
        // SAFETY: a signal.
        unsafe { sys::syscall(libc::SYS_kill, arguments) };
    }
    loop {
        std::hint::spin_loop();
    }
}

/// Wakes whoever waits at descriptors of a process, which ends in the turn.
// specs: S16
fn report_at_descriptors(world: &mut World, number: pid_t) {
    while let Some(place) = world.descriptors.end_process(number) {
        let World { run, descriptors, watches, .. } = &mut *world;
        let edges = &mut descriptors.at(place).edges;
        *edges = edges.wrapping_add(1);
        run.turn.wake(On::Read(place).key(), u32::MAX);
        readiness::changed(run, descriptors, watches, place);
    }
}

/// Tells the parent of a process that it ends.
fn notify_parent(world: &mut World, process: ProcessId, status: c_int) {
    let number = world.processes.get(process).number();
    report_at_descriptors(world, number);
    let forgets = |parent: ProcessId| {
        service::forgets(parent.0.into()).load(Ordering::Relaxed) & family::FORGETS != 0
    };
    let parent = world.processes.end(process, status, group_of(number), forgets);
    let Some(parent) = parent else { return };
    for on in [On::Member(parent), On::Child] {
        world.run.turn.wake(on.key(), u32::MAX);
    }
    let info = signals::of_child(number, status);
    posting::send_end_of_child(world, parent, &info);
}

/// Closes all that the process has open, but for what belongs to this library.
fn close_in_kernel() {
    let last = inherited::first_number() - 1;
    // SAFETY: close_range touches no memory.
    unsafe { sys::syscall(libc::SYS_close_range, [0, last as usize, 0, 0, 0, 0]) };
}

/// Ends this process, which has left the turn, with a code.
fn leave(code: c_int) -> ! {
    let code = stay().unwrap_or(code);
    loop {
        // SAFETY: the process ends.
        unsafe { sys::syscall(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Does the same by a signal.
fn leave_by(signal: c_int) -> ! {
    if let Some(code) = stay() {
        leave(code);
    }
    restore_default(signal);
    signals::set_mask(!signals::bit(signal));
    loop {
        let arguments = [sys::pid() as usize, sys::tid() as usize, signal as usize, 0, 0, 0];
        // SAFETY: a signal to this process.
        unsafe { sys::syscall(libc::SYS_tgkill, arguments) };
    }
}

/// Waits for the end of all processes, in the one that the daemon has started, which reports it by
/// its own end. Returns the code with which the last has ended, if this one is the first and not
/// the last.
fn stay() -> Option<c_int> {
    let word = service::end();
    let is_first = processes::own() == ProcessId::FIRST;
    if is_first {
        loop {
            match word.load(Ordering::SeqCst) {
                0 => parking::sleep(word, 0, Scope::Shared),
                service::HOLD => {
                    word.store(0, Ordering::SeqCst);
                    hold::follow();
                }
                ended => return Some((ended & 0xff) as c_int),
            }
            processes::reap_all();
        }
    }
    None
}
