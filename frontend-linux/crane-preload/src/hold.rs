//! The hold point: the server stops behind a committed slot for an image of its process, and
//! continues with the region that it left, or wakes in another cell with that of another daemon.
//!
//! The thread that holds the turn stops here, between two admissions. All others wait for the turn
//! then, in loops that bear a return without a reason. What the processes share with the daemon is
//! left before the image is taken and asked for behind it (see [`crane_shm::HOLD_SOCKET`]), so that
//! the image is that of processes without a daemon. In each other process one thread does so when
//! it is told, instead of the turn.

use core::fmt::Write;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};

use crane_core::execution::socket::Bound;
use crane_core::execution::turn::ThreadId;
use crane_shm::parking::{self, Scope};
use crane_shm::{HOLD_SOCKET, ServerSide, ServerState, sys};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::announce;
use crate::capacities::LISTENERS;
use crate::inherited;
use crate::memory;
use crate::net;
use crate::processes;
use crate::service;
use crate::signals;
use crate::trouble::{self, Text};
use crate::world::{self, PreloadThread, SERIAL, World};

/// The pause between two questions for a region, in nanoseconds.
const PAUSE: i64 = 1_000_000;

/// Returns whether the server has to stop here.
#[inline]
pub(crate) fn is_due(world: &World) -> bool {
    world.region.must_hold() && SERIAL.load(Ordering::Relaxed)
}

/// Stops until there is a region again.
#[cold]
pub(crate) fn hold(world: &mut World) {
    let region = world.region;
    let slot = region.admitted();
    let mask = signals::block_all();
    world.output.flush();
    let others = stop_others(world);
    await_others(others);
    region.set_held(slot);
    world.output.wake();
    let limits = raise_limits();
    bury(world);
    leave(region);
    take(region, others);
    restore_limits(limits);
    if region.admitted() != slot {
        introduce(world, slot);
    }
    wake_others(others);
    world.output.wake();
    net::arm_again(region);
    signals::set_mask(mask);
}

/// Has this process stop at the hold point, because another one has the turn there.
#[cold]
pub(crate) fn follow() {
    let Some(region) = world::region() else { return };
    let mask = signals::block_all();
    let limits = raise_limits();
    // SAFETY: the thread that has the turn waits until this process has stopped.
    bury(unsafe { world::world() });
    leave(region);
    let now = service::holds().load(Ordering::SeqCst);
    count();
    while service::holds().load(Ordering::SeqCst) == now {
        parking::sleep(service::holds(), now, Scope::Shared);
    }
    take(region, 0);
    restore_limits(limits);
    count();
    signals::set_mask(mask);
}

/// The limits that bind who takes an image from within this process, and the library itself.
const RAISED: [Resource; 2] = [Resource::Nofile, Resource::Fsize];

/// Raises the limits that the program may have set lower than an image needs. Returns them.
fn raise_limits() -> [Rlimit; 2] {
    RAISED.map(|resource| {
        let limit = getrlimit(resource);
        // An image that is refused because the hard limit is low is told by its name.
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
        limit
    })
}

/// Sets the program's limits again.
fn restore_limits(limits: [Rlimit; 2]) {
    for (resource, limit) in RAISED.into_iter().zip(limits) {
        // It was lower before.
        let _ = setrlimit(resource, limit);
    }
}

/// The time that the kernel gets for ending a process, in pauses.
const DIES_WITHIN: u32 = 200;

/// Waits until the kernel has ended the children of this process that have ended in the turn, and
/// has it forget them: an image has none of them, dead or dying, and CRIU may never finish a tree
/// in which one leads a session.
fn bury(world: &World) {
    if world.forked {
        return;
    }
    let is_over = |number: &u32| world.processes.find(number.cast_signed()).is_none();
    for number in service::last_ended().filter(is_over) {
        for _ in 0..DIES_WITHIN {
            let options = (libc::__WALL | libc::WNOHANG) as usize;
            let arguments = [number as usize, 0, options, 0, 0, 0];
            // SAFETY: wait4 without places touches no memory.
            match sys::checked(unsafe { sys::syscall(libc::SYS_wait4, arguments) }) {
                Ok(0) | Err(libc::EINTR) => pause(),
                // It is forgotten, or another's child.
                _ => break,
            }
        }
    }
}

/// Leaves the region in a process that ends: an image that is taken meanwhile has none of it.
pub(crate) fn leave_for_good(region: ServerSide) {
    // SAFETY: the process has no other thread that runs, and writes nothing more.
    let _ = unsafe { region.leave() };
    inherited::close();
}

fn leave(region: ServerSide) {
    // SAFETY: all other threads wait for the turn. Handlers that interrupt them ring a bell, which
    // is lost: the script is looked at again behind the hold point.
    if let Err(error) = unsafe { region.leave() } {
        fail("left", error);
    }
    inherited::close();
}

/// Takes a region. `others` processes will ask for it, too.
fn take(region: ServerSide, others: u32) {
    let [memory, wake, service] = loop {
        match ask(others) {
            Ok(Some(descriptors)) => break descriptors,
            _ => pause(),
        }
    };
    // SAFETY: as in `leave`.
    if let Err(error) = unsafe { region.take(memory.as_fd()) } {
        fail("taken again", error);
    }
    if let Err(error) = inherited::replace([memory, wake, service]) {
        fail("kept", error);
    }
    net::forget_arming();
    memory::find_again();
}

/// Tells a thread of each other process to stop here. Returns the number of processes.
fn stop_others(world: &World) -> u32 {
    let own = processes::own();
    let mut told = 0;
    service::held().store(0, Ordering::SeqCst);
    service::holds().fetch_add(1, Ordering::SeqCst);
    for (process, _) in world.processes.running().filter(|(process, _)| *process != own) {
        let is_its = |thread: &PreloadThread| thread.process == process && thread.runs();
        let thread = world.threads.iter().position(is_its).expect("a process has a thread");
        stop(service::word(ThreadId(thread as u16)));
        told += 1;
    }
    if world.processes.first_has_ended() {
        stop(service::end());
        told += 1;
    }
    told
}

fn stop(word: &AtomicU32) {
    word.store(service::HOLD, Ordering::SeqCst);
    parking::wake(word, 1, Scope::Shared);
}

fn wake_others(others: u32) {
    service::held().store(0, Ordering::SeqCst);
    service::holds().fetch_add(1, Ordering::SeqCst);
    parking::wake(service::holds(), others, Scope::Shared);
    await_others(others);
}

/// Counts this process among those that have done what they were told.
fn count() {
    service::held().fetch_add(1, Ordering::SeqCst);
    parking::wake(service::held(), 1, Scope::Shared);
}

/// Waits until all other processes have done what they were told.
fn await_others(others: u32) {
    loop {
        let so_far = service::held().load(Ordering::SeqCst);
        if so_far == others {
            return;
        }
        parking::sleep(service::held(), so_far, Scope::Shared);
    }
}

/// Publishes in a fresh region what the daemon before knew.
fn introduce(world: &mut World, slot: u64) {
    let region = world.region;
    world.output.rejoin();
    region.set_state(ServerState::Running);
    region.set_admitted(slot);
    region.set_clock(world.run.gate.clock());
    announce::totals(world);
    let all: [Option<Bound>; LISTENERS] = {
        let mut bounds = world.run.sockets.listening().copied();
        core::array::from_fn(|_| bounds.next())
    };
    for bound in all.iter().flatten() {
        announce::listener(world, bound);
    }
}

/// Asks for the descriptors, and says how many processes will do so behind this one. `None`, or
/// an error: nobody gives them yet.
fn ask(others: u32) -> Result<Option<[OwnedFd; 3]>, Errno> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(HOLD_SOCKET)?)?;
    send(&socket, &others.to_le_bytes(), SendFlags::NOSIGNAL)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut given) = message
            && let (Some(memory), Some(wake), Some(service)) =
                (given.next(), given.next(), given.next())
        {
            return Ok(Some([memory, wake, service]));
        }
    }
    Ok(None)
}

/// Ends the process, whose region could not be treated so.
fn fail(treated: &str, error: i32) -> ! {
    let mut text = Text::new();
    // A text that is cut is better than none.
    let _ = write!(text, "at the hold point, the region could not be {treated}: error {error}");
    trouble::end(1, text.as_str())
}

fn pause() {
    let mut rest = Timespec { tv_sec: 0, tv_nsec: PAUSE };
    while let NanosleepRelativeResult::Interrupted(left) = nanosleep(&rest) {
        rest = left;
    }
}
