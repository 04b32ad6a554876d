//! Whether the calling thread takes part in the run, and whether it is in a hook.

use std::cell::Cell;

use crane_core::execution::turn::ThreadId;

thread_local! {
    /// The thread's number plus 1, with [`INSIDE`] while it is in a hook; 0 for a thread that takes
    /// no part, and [`INSIDE`] alone after the thread's end.
    static SELF: Cell<u32> = const { Cell::new(0) };
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
    let number = SELF.get();
    let thread = |number: u32| ThreadId((number - 1) as u16);
    match number {
        0 => Membership::None,
        INSIDE => Membership::Ended,
        number if number & INSIDE == 0 => Membership::Outside(thread(number)),
        number => Membership::Inside(thread(number & !INSIDE)),
    }
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
    SELF.set(u32::from(me.0) + 1);
}

/// Records that the calling thread is in a hook from now on.
#[inline]
pub(crate) fn set_inside(me: ThreadId) {
    SELF.set((u32::from(me.0) + 1) | INSIDE);
}

/// Records that the calling thread's last call has begun. Calls that libc still makes for it are
/// not ordered.
pub(crate) fn set_ended() {
    SELF.set(INSIDE);
}

/// Records that this process, a child after fork, takes no part.
pub(crate) fn forget_self() {
    SELF.set(0);
}

/// Returns whether the calling thread takes part and is not in a hook.
pub(crate) fn takes_part() -> bool {
    matches!(current(), Membership::Outside(_))
}
