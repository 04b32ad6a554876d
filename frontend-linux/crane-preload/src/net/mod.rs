//! The net below the hooks: calls that bypass them are noticed, by Syscall User Dispatch (the
//! kernel's `Documentation/admin-guide/syscall-user-dispatch.rst`).
//!
//! While a thread is *armed*, each system call that is not made by this library's own text raises
//! SIGSYS, and [`trap`] looks at it. What libc does for itself, and what answers the same in every
//! replica, passes silently ([`judge`]); anything else is noted for the daemon by number and place,
//! once for each kind, and passes too, or ends the server (`--strict`).
//!
//! A trap costs microseconds, a thread that is not armed nothing. So threads are armed from the
//! start until the program listens, and then anew in each *round*, which the daemon begins every
//! second or two, until a *budget* of traps is used up: an idle server is always watched, and a
//! busy one in samples. With `--strict` all threads are armed all the time. Nothing here touches
//! the schedule: a trap is no call, and moves no clock.
//!
//! Calls of libc's that pass in any case are led around the net where each call is caught
//! ([`sites`]), and so are places that read the time stamp, or make a call with a prompt answer,
//! often ([`tsc_sites`], [`call_sites`]).
//!
//! Clocks that are read without a call are made part of it: the functions of the kernel's own
//! library ([`vdso`]) become system calls, and reads of the processor's time stamp counter
//! ([`tsc`]) raise SIGSEGV, at which [`faults`] looks.
//!
//! The kernel keeps the setting by thread, and clears it for a new thread or process, and at exec:
//! the hooks of thread creation and the start of the next program arm again, children do not.

mod answer;
mod answers;
mod arming;
mod call_sites;
mod detours;
mod faults;
mod judge;
mod maker;
mod masks;
mod moved;
mod prompt;
mod selector;
mod sites;
mod text;
mod touch;
mod trap;
mod tsc;
mod tsc_sites;
mod vdso;

use std::sync::atomic::Ordering;

use crane_shm::{ServerSide, sys};

pub(crate) use answers::Answers;
pub(crate) use arming::{arm_again, end_start, look};
pub(crate) use judge::is_of_parent;
pub(crate) use maker::{Maker, maker};
pub(crate) use masks::{OWN, OwnAction, exchange, keeps, read, write};
pub(crate) use selector::{Lent, lend, recall};
pub(crate) use sites::KeptSites;
pub(crate) use touch::{can_read, can_write};
pub(crate) use trap::exchange_stack;
pub(crate) use tsc::{Permit, ReadClock, pass as pass_clock};

use selector::{set_word, word};
use tsc::Watched;

use crate::world;

/// Lets the hooks answer the calls that the net catches, as far as they know them. Call it before
/// the net is spread.
pub(crate) fn answer_by(answers: Answers) {
    answers::set(answers);
}

/// Spreads the net, before the program's first instruction. `wake` is the descriptor by which the
/// daemon is woken. Returns the kernel's error if it refuses.
pub(crate) fn spread(region: ServerSide, wake: i32, sites: &KeptSites) -> Result<(), i32> {
    text::find();
    if answers::is_begun() {
        sites::lead_around(sites);
    }
    trap::install(wake);
    let round = arming::numbered(region.net_round());
    arming::begin_round(round);
    arming::arm(round)
}

/// Makes the clocks that are read without a system call part of the net, once that is spread:
/// `clock` answers for the processor's. Returns the reason if this host's cannot be.
pub(crate) fn watch_clocks(region: ServerSide, clock: ReadClock) -> Result<(), &'static str> {
    vdso::replace()?;
    faults::install();
    let watched = match (region.is_strict(), answers::is_begun()) {
        (true, _) => Watched::Always,
        (false, true) => Watched::InWindows,
        (false, false) => Watched::InSamples,
    };
    tsc::begin(watched, clock);
    tsc::forbid();
    Ok(())
}

/// Records that no thread of this process is armed any more: an image of it was taken.
pub(crate) fn forget_arming() {
    arming::forget();
    vdso::replace_again();
}

/// Records that this process is a child, whose thread is not armed.
pub(crate) fn leave_to_child() {
    tsc::permit_always();
    set_word(0);
}

/// Forgets the settings of the calling thread, which the kernel has not given to this new process.
/// The thread is armed when it has the turn.
pub(crate) fn begin_in_child() {
    tsc::permit_always();
    set_word(0);
}

/// Arms a new thread, which takes part.
pub(crate) fn arm_new_thread(region: ServerSide) {
    let round = arming::numbered(region.net_round());
    if !arming::has_given_up() && round != 0 && arming::is_watched(region) {
        let _ = arming::arm(round);
    } else if !arming::has_given_up() {
        tsc::permit_always();
    }
}

/// Returns whether the net does nothing at a call of the calling thread, whose base of this
/// library's is given, at this value of the logical clock, in this round.
#[inline]
pub(crate) fn is_quiet(base: usize, clock: u64, round: u32) -> bool {
    !tsc::is_edge(clock) && arming::is_settled(selector::word_at(base), round)
}

/// Returns whether hooks answer the calls that bypass them.
pub(crate) fn has_floor() -> bool {
    answers::is_begun()
}

/// Returns whether children of the program take part. Without a floor, calls of theirs could pass
/// unseen; in parallel mode, nothing orders their memory.
pub(crate) fn orders_children() -> bool {
    has_floor() && world::SERIAL.load(Ordering::Relaxed)
}

/// Lets the calling thread's calls pass, because it is about to end.
pub(crate) fn let_end() {
    set_word(word() & !1);
}

/// Lets the calling thread's calls pass, because it runs a function of libc's for a hook that only
/// looks at the result. With a floor they do not pass.
pub(crate) fn keep_watch() -> Lent {
    if answers::is_begun() { selector::keep() } else { lend() }
}

/// Makes a call with a program's own arguments, but keeps the net's signal and setting as they are:
/// for calls by libc's `syscall()` and `prctl()`.
///
/// # Safety
/// As unsafe as the call.
pub(crate) unsafe fn pass(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, ..] = arguments;
    if world::region().is_some() {
        match number {
            libc::SYS_prctl if a as i32 == arming::DISPATCH => return -(libc::EINVAL as isize),
            libc::SYS_prctl if a as i32 == libc::PR_SET_SECCOMP => arming::give_up(),
            libc::SYS_seccomp if a as u32 == libc::SECCOMP_SET_MODE_FILTER => arming::give_up(),
            libc::SYS_seccomp if a as u32 == libc::SECCOMP_SET_MODE_STRICT => arming::give_up(),
            // SAFETY: the caller's duty.
            libc::SYS_rt_sigaction => return unsafe { masks::action(a as i32, b, c, d) },
            libc::SYS_rt_sigprocmask => return masks::change_own_mask(arguments),
            _ => {}
        }
    }
    // SAFETY: the caller's duty.
    unsafe { sys::syscall(number, arguments) }
}
