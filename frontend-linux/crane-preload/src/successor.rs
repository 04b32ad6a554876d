//! The way from a program to the one that takes its place by exec(3).
//!
//! A launcher, a `#!` script or a shell that ends in `exec` is not the server, but becomes it, and
//! the child of a server that runs another program stays its child. The process therefore continues
//! to take part: the next program, whose environment leads it to the memory that all processes
//! share, is the same thread at the same clock there.

use std::ffi::{CStr, c_int};
use std::sync::atomic::Ordering;

use crane_core::execution::turn::ThreadId;
use crane_shm::sys;
use rustix::fd::BorrowedFd;

use crate::execution::On;
use crate::expirations;
use crate::family;
use crate::hooks::open_files;
use crate::inherited;
use crate::numbers;
use crate::parents;
use crate::processes::{self, Legacy};
use crate::processors;
use crate::service;
use crate::signals;
use crate::watch::PollSet;
use crate::world::{NO_THREAD, PreloadThread, World};

/// Leaves what the next program needs that only this one knows, and the library's descriptors.
/// `me` continues.
///
/// # Errors
/// Returns why no program can take the place of this one.
pub(crate) fn leave(world: &mut World, me: ThreadId) -> Result<(), &'static str> {
    let legacy = Legacy {
        thread: me,
        open_files: open_files::hard(),
        processors: processors::wish(Some(me)).0,
        owed: signals::kept::owed(),
    };
    world.processes.frontend(processes::own()).legacy = Some(legacy);
    inherited::pass_on(true)
}

/// Takes the legacy back, because no program takes the place of this one after all.
pub(crate) fn take_back(world: &mut World) {
    world.processes.frontend(processes::own()).legacy = None;
    // They were open a moment ago.
    let _ = inherited::pass_on(false);
}

/// Has this process, whose program before left a legacy, use the memory that all share, by the
/// descriptor that the value of `CRANE_SERVICE` names.
///
/// # Errors
/// Returns what is wrong with the descriptor, or with the memory.
pub(crate) fn attach(value: &CStr) -> Result<(&'static mut World, Legacy), String> {
    let memory = inherited::take_service(value)?;
    // SAFETY: a number that is not negative; a file that is closed is refused.
    service::map(unsafe { BorrowedFd::borrow_raw(memory) })
        .map_err(|error| format!("cannot map the memory of CRANE_SERVICE: error {error}"))?;
    // SAFETY: the program before had the turn, and has left it to this one.
    let world = unsafe { &mut *service::world() };
    let own = world.processes.find(sys::pid()).ok_or("no process of this number takes part")?;
    let legacy =
        world.processes.frontend(own).legacy.take().ok_or("the program before left nothing")?;
    processes::set_own(own);
    signals::kept::take_over(legacy.owed);
    if world.processes.has_others(own) {
        processes::set_has_made();
    }
    Ok((world, legacy))
}

/// Ends what execve(2) ends: the other threads, the timers but for that of real time, and the
/// handlers. The descriptors that the kernel has closed are left to the caller.
pub(crate) fn begin(world: &mut World, me: ThreadId) {
    let own = processes::own();
    parents::on_exec(world, own, me);
    world.remove_threads(own, Some(me));
    let wished = world.threads[usize::from(me.0)].at_parents_end;
    let timer = world.processes.get(own).frontend().interval_timer;
    expirations::end_all_of(world, own, timer);
    let forgets = if ignores_children() { family::FORGETS } else { 0 };
    service::forgets(own.0.into()).fetch_and(forgets, Ordering::Relaxed);
    if world.processes.frontend(own).spawning.take().is_some()
        && let Some(parent) = world.processes.get(own).parent()
    {
        world.run.turn.wake(On::Member(parent).key(), u32::MAX);
    }
    *world.watches.set_of(usize::from(me.0)) = PollSet::EMPTY;
    world.threads[usize::from(me.0)] =
        PreloadThread { process: own, at_parents_end: wished, ..NO_THREAD };
    numbers::use_numbers(service::numbers(own.0.into()));
}

/// Returns whether the kernel has the disposition that nobody waits for children: that stays.
fn ignores_children() -> bool {
    signals::exchange(libc::SIGCHLD, None).is_ignored()
}

/// Returns whether the kernel has closed a number of this process.
pub(crate) fn is_closed(descriptor: c_int) -> bool {
    let arguments = [descriptor as usize, libc::F_GETFD as usize, 0, 0, 0, 0];
    // SAFETY: F_GETFD touches no memory.
    sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, arguments) }).is_err()
}
