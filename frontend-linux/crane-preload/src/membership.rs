//! Whether the calling thread takes part in the run, and whether it is in a hook.

use std::arch::{asm, global_asm};

use crane_core::execution::turn::ThreadId;
use crane_shm::sys;

use crate::bases;

// The thread's number plus 1, with `INSIDE` while it is in a hook; 0 for a thread that takes no
// part, and `INSIDE` alone after the thread's end. It is found without a function (initial-exec
// TLS), because each hook looks at it.
global_asm!(
    ".pushsection .tbss.crane_member,\"awT\",@nobits",
    ".hidden crane_member",
    ".globl crane_member",
    ".type crane_member, @object",
    ".size crane_member, 4",
    ".balign 4",
    "crane_member:",
    ".zero 4",
    ".popsection",
);

/// The word of a thread, by this library's base of it.
#[derive(Clone, Copy)]
struct MemberWord(*mut u32);

impl MemberWord {
    /// Returns that of the thread whose base this is.
    #[inline(always)]
    fn at(base: usize) -> Self {
        let place: usize;
        // SAFETY: reads the word's offset, which the dynamic linker has set.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + crane_member@GOTTPOFF]",
                out(reg) place,
                options(nostack, readonly, preserves_flags),
            );
        }
        Self(std::ptr::with_exposed_provenance_mut(place.wrapping_add(base)))
    }

    /// Returns that of the calling thread, which has this library's base.
    #[inline(always)]
    fn own() -> Self {
        Self::at(bases::current())
    }

    #[inline(always)]
    fn get(self) -> u32 {
        // SAFETY: the calling thread's word, which no other thread knows.
        unsafe { self.0.read() }
    }

    #[inline(always)]
    fn set(self, value: u32) {
        // SAFETY: as above.
        unsafe { self.0.write(value) }
    }
}

const INSIDE: u32 = 1 << 31;

/// The calling thread's part in the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Membership {
    /// The thread takes no part: the library did not see it begin, or it belongs to a child
    /// process.
    None,
    /// The thread runs code of the program.
    Outside(ThreadId),
    /// The thread is in a hook.
    Inside(ThreadId),
    /// The thread is ending.
    Ended,
}

/// Returns the calling thread's part. Safe in a signal handler.
#[inline]
pub(crate) fn current() -> Membership {
    membership_of(MemberWord::own().get())
}

fn membership_of(number: u32) -> Membership {
    let thread = |number: u32| ThreadId((number - 1) as u16);
    match number {
        0 => Membership::None,
        INSIDE => Membership::Ended,
        number if number & INSIDE == 0 => Membership::Outside(thread(number)),
        number => Membership::Inside(thread(number & !INSIDE)),
    }
}

/// Does something in a hook of the calling thread, which has any base, if it takes part and runs
/// code of the program. `base` is this library's.
#[inline]
pub(crate) fn in_hook<R>(base: usize, what: impl FnOnce(ThreadId) -> R) -> Option<R> {
    let word = MemberWord::at(base);
    let number = word.get();
    // In few instructions: neither 0 nor with `INSIDE`.
    if number.wrapping_sub(1) >= INSIDE - 1 {
        return None;
    }
    word.set(number | INSIDE);
    let result = what(ThreadId((number - 1) as u16));
    word.set(number);
    Some(result)
}

/// Returns the number of the calling thread, if it takes part. Safe in a signal handler.
pub(crate) fn number() -> Option<ThreadId> {
    match current() {
        Membership::Outside(me) | Membership::Inside(me) => Some(me),
        Membership::None | Membership::Ended => None,
    }
}

/// Records that the calling thread runs code of the program from now on.
#[inline]
pub(crate) fn set_outside(me: ThreadId) {
    MemberWord::own().set(u32::from(me.0) + 1);
}

/// Records that the calling thread is in a hook from now on.
#[inline]
pub(crate) fn set_inside(me: ThreadId) {
    MemberWord::own().set((u32::from(me.0) + 1) | INSIDE);
}

/// Records that the calling thread's last call has begun. Calls that libc still makes for it are
/// not ordered.
pub(crate) fn set_ended() {
    MemberWord::own().set(INSIDE);
}

/// Records that this process, a child after fork, takes no part.
pub(crate) fn forget_self() {
    MemberWord::own().set(0);
}

/// Returns whether the calling thread takes part and is not in a hook.
pub(crate) fn takes_part() -> bool {
    matches!(current(), Membership::Outside(_))
}

/// Waits until the kernel knows no thread of this number. Such a thread has tens of instructions
/// left.
pub(crate) fn await_thread_exit(thread: i32) {
    let process = sys::pid() as usize;
    loop {
        let arguments = [process, thread as usize, 0, 0, 0, 0];
        // SAFETY: signal 0 only asks whether the thread exists.
        let exists = sys::checked(unsafe { sys::syscall(libc::SYS_tgkill, arguments) });
        if exists == Err(libc::ESRCH) {
            return;
        }
        rustix::thread::sched_yield();
    }
}
