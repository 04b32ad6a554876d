//! fork, and what is not covered.
//!
//! A child process takes no part: its hooks make the real calls. That is right for a child that
//! only executes another program. One that would serve clients gets a clear end instead of silence.

use std::sync::atomic::Ordering;

use crane_shm::sys;
use libc::pid_t;

use crate::descriptors::{DescriptionKind, TableEntry};
pub(super) use crate::notes::{full, uncovered};
use crate::trouble;
use crate::turn::{Call, begin};
use crate::world::{self, PROCESS, World};

/// Exit status of a child that would serve: `EX_UNAVAILABLE` of sysexits(3).
const CANNOT_SERVE: u8 = 69;

const SERVES: &str = "a child process of the server uses a client's socket; servers that fork to \
    serve are not supported yet: let it serve by threads, and run it in the foreground";

/// Called when a thread that takes no part uses a descriptor of ours: in a child, a client's socket
/// is the end; pipes and the like are the kernel's there.
pub(super) fn refuse_in_child(place: TableEntry, call: Call) {
    let process = PROCESS.load(Ordering::Relaxed);
    if process == 0 || process == sys::pid() {
        return;
    }
    if matches!(call, Call::Name | Call::Option) {
        // The stand-in answers, and no client notices.
        return;
    }
    // SAFETY: a child has a copy of its own, and one thread.
    let kind = unsafe { world::world() }.descriptors.at(place).kind;
    if matches!(
        kind,
        DescriptionKind::Conn(_) | DescriptionKind::Listener(_) | DescriptionKind::Epoll
    ) {
        refuse_child();
    }
}

/// Called where a thread that takes no part would bind or listen: in a child, that is the end.
pub(super) fn refuse_listening() {
    let process = PROCESS.load(Ordering::Relaxed);
    if process != 0 && process != sys::pid() {
        refuse_child();
    }
}

fn refuse_child() -> ! {
    // SAFETY: a child has a copy of its own, and one thread.
    let wake = unsafe { world::world() }.output.descriptor();
    trouble::refuse(CANNOT_SERVE, SERVES, wake)
}

/// Prepares for a child process, which is about to begin.
pub(super) fn before_child(world: &mut World) {
    // From now on a pipe's bytes may come from a child.
    world.descriptors.share_channels();
    world.forked = true;
    uncovered(world, "fork: what a child process does is not replicated");
}

fn fork_in_turn() -> pid_t {
    let real = real!(fork: fn() -> pid_t);
    let Some(mut held) = begin(Call::Fork, 0) else {
        // SAFETY: no arguments.
        return unsafe { real() };
    };
    before_child(held.world());
    // Handlers that the program registered may come to our hooks.
    held.leave();
    // SAFETY: no arguments.
    let child = unsafe { real() };
    if child == 0 {
        crate::membership::forget_self();
    }
    child
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fork() -> pid_t {
    fork_in_turn()
}

// A child by vfork would write into its parent's tables; fork is what POSIX allows it to be.
#[unsafe(no_mangle)]
unsafe extern "C" fn vfork() -> pid_t {
    fork_in_turn()
}
