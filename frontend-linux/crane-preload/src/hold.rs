//! The hold point: the server stops behind a committed slot for an image of its process, and
//! continues with the region that it left, or wakes in another cell with that of another daemon.
//!
//! The thread that holds the turn stops here, between two admissions. All others wait for the turn
//! then, in loops that bear a return without a reason. What the process shares with the daemon is
//! left before the image is taken and asked for behind it (see [`crane_shm::HOLD_SOCKET`]), so that
//! the image is that of a process without a daemon.

use core::fmt::Write;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use crane_core::execution::socket::Bound;
use crane_shm::{HOLD_SOCKET, ServerState};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, socket_with,
};
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::announce;
use crate::capacities::LISTENERS;
use crate::inherited;
use crate::net;
use crate::signals;
use crate::trouble::{self, Text};
use crate::world::{SERIAL, World};

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
    region.set_held(slot);
    world.output.wake();
    // SAFETY: all other threads wait for the turn. Handlers that interrupt them ring a bell, which
    // is lost: the script is looked at again behind the hold point.
    if let Err(error) = unsafe { region.leave() } {
        fail("left", error);
    }
    inherited::close();
    let [memory, wake] = loop {
        match ask() {
            Ok(Some(descriptors)) => break descriptors,
            _ => pause(),
        }
    };
    // SAFETY: as above.
    if let Err(error) = unsafe { region.take(memory.as_fd()) } {
        fail("taken again", error);
    }
    if let Err(error) = inherited::replace([memory, wake]) {
        fail("kept", error);
    }
    if region.admitted() != slot {
        introduce(world, slot);
    }
    world.output.wake();
    net::forget_arming();
    net::arm_again(region);
    signals::set_mask(mask);
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

/// Asks for a region and a pipe. `None`, or an error: nobody gives them yet.
fn ask() -> Result<Option<[OwnedFd; 2]>, Errno> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(HOLD_SOCKET)?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut given) = message
            && let (Some(memory), Some(wake)) = (given.next(), given.next())
        {
            return Ok(Some([memory, wake]));
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
