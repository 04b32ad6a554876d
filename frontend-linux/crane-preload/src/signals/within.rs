//! Answers that a thread gives the program within a handler of the library's: to the call that has
//! raised it.
//!
//! The answer may wait, and a handler of the program's may run meanwhile, on the program's stack
//! (see [`frame`]). What that calls is answered below, on the rest of the library's stack. If it
//! never returns (siglongjmp(3)), the answer is given up. Its place is taken again only when little
//! is left, because it can only be guessed by the program's stack.
//!
//! [`frame`]: super::frame

use std::cell::Cell;
use std::ptr;

use crane_shm::sys;
use libc::{siginfo_t, stack_t, ucontext_t};

use crate::trouble;

use super::masks::{self, block_all, mask_of, set_mask};
use super::stack;

/// The least rest of a stack on which a call is answered.
const REST: usize = 64 << 10;
/// The exit status of a program whose handlers interrupt each other too often.
const TOO_DEEP: u8 = 127;
/// The rest from which on places of answers that were given up are taken again.
const LITTLE: usize = 256 << 10;
/// The longest distance over which a function leaves others on its stack.
const JUMP_BYTES: usize = 1 << 20;

/// An answer that is being given.
struct Within {
    /// The program's context.
    context: *mut ucontext_t,
    /// The answer that this one interrupts.
    outer: *const Self,
    /// Where the next handler begins while a handler of the program's runs.
    rest: Cell<stack_t>,
    /// The program's mask, while signals wait for the end of the answer.
    mask: Cell<Option<u64>>,
}

thread_local! {
    /// The innermost answer of the calling thread.
    static INNERMOST: Cell<*const Within> = const { Cell::new(ptr::null()) };
}

/// Answers the program, whose context is given, with the mask that it has. Returns `None` if the
/// program must ask again: it finds more room then.
pub(crate) fn answer<R>(
    context: &mut ucontext_t,
    give: impl FnOnce(&mut ucontext_t) -> R,
) -> Option<R> {
    let mut outer = INNERMOST.get();
    if stack::is_own(ptr::from_ref(context).addr()) {
        let is_little = stack::below(ptr::from_ref(&outer).addr()).ss_size < LITTLE;
        let live = if is_little { live(place_of(context)) } else { outer };
        // SAFETY: an answer that is still being given, or whose place was not taken again.
        let rest = unsafe { live.as_ref() }.map(|live| live.rest.get());
        context.uc_stack = rest.unwrap_or_else(stack::whole);
        INNERMOST.set(live);
        if live != outer {
            return None;
        }
    } else {
        outer = ptr::null();
    }
    let mask = *mask_of(context);
    let within = Within { context, outer, rest: Cell::new(stack::whole()), mask: Cell::new(None) };
    INNERMOST.set(&raw const within);
    set_mask(mask);
    let result = give(context);
    let now = block_all();
    let mask = if now == masks::ALL { within.mask.get() } else { None };
    *mask_of(context) = mask.unwrap_or(now) & !masks::OWN;
    INNERMOST.set(outer);
    Some(result)
}

/// Returns the innermost answer that a program at `place` of its stack has not left, as it seems.
fn live(place: usize) -> *const Within {
    let mut innermost = INNERMOST.get();
    // SAFETY: answers that were given up lie above all that was used since.
    while let Some(within) = unsafe { innermost.as_ref() } {
        // SAFETY: as above.
        let at = place_of(unsafe { &*within.context });
        let is_left = match (stack::is_alternate(at), stack::is_alternate(place)) {
            // A handler that is interrupted on the alternate stack stays there.
            (true, false) => true,
            (false, true) => false,
            _ => place >= at && place - at <= JUMP_BYTES,
        };
        if !is_left {
            return innermost;
        }
        innermost = within.outer;
    }
    ptr::null()
}

fn place_of(context: &ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

/// Gives all answers of the calling thread up, which leaves the library's stack for good.
pub(crate) fn leave_for_good() {
    INNERMOST.set(ptr::null());
}

/// Returns the program's place on its stack, if the calling thread answers it, for a handler that
/// interrupts the answer at `own` of the library's stack. From now on the next handler begins
/// below.
pub(crate) fn interrupt(own: usize) -> Option<(usize, stack_t)> {
    /// Of the interrupted function, which may have no frame.
    const RED_ZONE: usize = 128;
    // SAFETY: the innermost answer of this thread is being given.
    let within = unsafe { INNERMOST.get().as_ref() }?;
    let rest = stack::below(own - RED_ZONE);
    if rest.ss_size < REST {
        trouble::end(TOO_DEEP, "the program's signal handlers interrupt each other too often");
    }
    within.rest.set(rest);
    // SAFETY: the context of that answer.
    Some((place_of(unsafe { &*within.context }), rest))
}

/// Sends the calling thread, which has left its hook, a signal. If it answers the program, the
/// handler begins when the answer has been given.
pub(crate) fn send_behind(info: &siginfo_t) {
    // SAFETY: the innermost answer of this thread is being given, if it is on the library's stack.
    let within = unsafe { INNERMOST.get().as_ref() };
    if let Some(within) = within.filter(|_| stack::is_own(ptr::from_ref(&within).addr())) {
        let mask = block_all();
        if within.mask.get().is_none() {
            within.mask.set(Some(mask));
        }
    }
    send_to_self(info);
}

/// Returns the program's place on its stack, for a function of the library's whose frame is at
/// `own`.
pub(crate) fn place(own: usize) -> usize {
    // SAFETY: as above.
    let within = unsafe { INNERMOST.get().as_ref() }.filter(|_| stack::is_own(own));
    // SAFETY: the context of that answer.
    within.map_or(own, |within| place_of(unsafe { &*within.context }))
}

/// Returns the signals that the program blocks in the calling thread, which has left its hook.
pub(crate) fn blocked_by_program() -> u64 {
    // SAFETY: as above.
    let within = unsafe { INNERMOST.get().as_ref() };
    let waiting = within.filter(|_| stack::is_own(ptr::from_ref(&within).addr()));
    waiting.and_then(|within| within.mask.get()).unwrap_or_else(masks::blocked)
}

/// Sends a signal to the calling thread, which does not block it, with the record of its first
/// sender. A handler runs before this function returns, unless it waits for the end of an answer.
pub(crate) fn send_to_self(info: &siginfo_t) {
    let (process, thread) = (sys::pid() as usize, sys::tid() as usize);
    let (signal, record) = (info.si_signo as usize, ptr::from_ref(info).addr());
    let arguments = [process, thread, signal, record, 0, 0];
    // SAFETY: the kernel reads the record, which lives during the call.
    unsafe { sys::syscall(libc::SYS_rt_tgsigqueueinfo, arguments) };
}
