//! fork, and calls of processes that take no part.
//!
//! Without a floor, a child process takes no part: its hooks make the real calls. That is right for
//! a child that only executes another program. A child that would serve clients ends with a reason
//! instead of failing silently.

use std::sync::atomic::Ordering;

use crane_core::execution::processes::ProcessId;
use crane_shm::sys;
use libc::{c_int, pid_t};

use crate::descriptors::{DescriptionKind, TableEntry};
use crate::errno;
use crate::fork;
use crate::notes::uncovered;
use crate::processes;
use crate::processors;
use crate::trouble;
use crate::turn::{Call, begin, enter};
use crate::world::{self, PROCESS, World};

/// The exit status of a child that would serve: `EX_UNAVAILABLE` of sysexits(3).
const CANNOT_SERVE: u8 = 69;

const SERVES: &str = "a child process of the server uses a client's socket; servers that fork to \
    serve are not supported yet: let it serve by threads, and run it in the foreground";

/// Handles the use of a followed descriptor by a thread that takes no part. A child that uses a
/// client's socket ends; its pipes and similar objects are the kernel's.
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
    let kind = unsafe { world::world() }.descriptors.at(place).kind();
    if matches!(
        kind,
        DescriptionKind::Conn(_) | DescriptionKind::Listener(_) | DescriptionKind::Epoll
    ) {
        refuse_child();
    }
}

/// Handles a bind or listen of a thread that takes no part, which ends a child.
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
    // From now on, bytes of a pipe may come from a child.
    world.descriptors.share_channels();
    world.forked = true;
    world.outside.in_vain = false;
    uncovered(world, "fork: what a child process does is not replicated");
}

/// Makes a child by libc's function.
fn made(real: unsafe extern "C" fn() -> pid_t) -> Result<pid_t, c_int> {
    // SAFETY: no arguments.
    match unsafe { real() } {
        -1 => Err(errno::current()),
        number => Ok(number),
    }
}

fn fork_in_turn() -> pid_t {
    let real = real!(fork: fn() -> pid_t);
    let Some(mut held) = begin(Call::Fork, 0) else {
        // SAFETY: no arguments.
        return unsafe { real() };
    };
    if fork::take_part() {
        let real = real_watched!(fork: fn() -> pid_t);
        return match fork::make_child(held, None, || made(real)) {
            Ok(number) => number,
            Err(error) => errno::answer_int(Err(error)),
        };
    }
    before_child(held.world());
    processors::set_wish(None, processors::wish(Some(held.me)));
    // Handlers that the program registered may call hooks.
    held.leave();
    // SAFETY: no arguments.
    unsafe { real() }
}

/// The number of the process below which those are whose parents have ended.
const INIT: pid_t = 1;

/// getppid(2): a process whose parent has ended is below the first one of the system, as the
/// program sees it, and not below the program's own first one, which keeps such processes together.
#[unsafe(no_mangle)]
pub(super) extern "C" fn getppid() -> pid_t {
    let own = processes::own();
    if own != ProcessId::FIRST
        && let Some(mut held) = enter()
    {
        let table = &held.world().processes;
        let parent = table.get(own).parent().map_or(INIT, |parent| table.get(parent).number());
        held.leave();
        return parent;
    }
    // SAFETY: getppid touches no memory.
    unsafe { sys::syscall(libc::SYS_getppid, [0; 6]) as pid_t }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fork() -> pid_t {
    fork_in_turn()
}

// A child made by vfork would write into its parent's tables. POSIX allows vfork to be the same as
// fork.
#[unsafe(no_mangle)]
unsafe extern "C" fn vfork() -> pid_t {
    fork_in_turn()
}
