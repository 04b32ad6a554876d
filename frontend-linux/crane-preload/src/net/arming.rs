//! Whether threads are armed, and how long they stay so.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use crane_shm::{ServerSide, sys};

use super::answers;
use super::masks::{self, OWN};
use super::selector::{self, FORBIDS, set_word, word};
use super::tsc;
use crate::caller::own_text;

/// `prctl`'s option, and its first argument (linux/prctl.h).
pub(super) const DISPATCH: i32 = 59;
const DISPATCH_ON: usize = 1;

/// The number of traps without news in the start of a program, which take tens of milliseconds.
const START_BUDGET: i32 = 20_000;
/// The number of traps without news in a round, which take less than a millisecond.
const ROUND_BUDGET: i32 = 256;

/// The traps without news that are left before threads that trap are disarmed.
static BUDGET: AtomicI32 = AtomicI32::new(START_BUDGET);

/// The round that the process is in.
static ROUND: AtomicU32 = AtomicU32::new(0);

/// Whether the program filters its own calls (seccomp). No thread may be armed or disarmed then.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// The number of times that an image of the process was taken. It is part of each round's number,
/// so that threads are armed again.
static HOLDS: AtomicU32 = AtomicU32::new(0);

/// Returns the number under which threads are armed in a round of the daemon's, where 0 means none.
#[inline]
pub(super) fn numbered(round: u32) -> u32 {
    const HOLD_SHIFT: u32 = 24;
    if round == 0 {
        return 0;
    }
    round.wrapping_add(HOLDS.load(Ordering::Relaxed) << HOLD_SHIFT).max(1)
}

/// Counts an image of the process.
pub(super) fn forget() {
    selector::forget_known();
    HOLDS.fetch_add(1, Ordering::Relaxed);
}

/// Begins a round. Returns whether it is a new one.
pub(super) fn begin_round(round: u32) -> bool {
    let is_new = ROUND.swap(round, Ordering::SeqCst) != round;
    if is_new {
        BUDGET.fetch_max(ROUND_BUDGET, Ordering::SeqCst);
    }
    is_new
}

/// Returns whether threads that trap stay armed.
pub(super) fn is_watched(region: ServerSide) -> bool {
    has_no_budget(region) || BUDGET.load(Ordering::Relaxed) > 0
}

/// Returns whether each call counts, and not a sample of them.
pub(super) fn has_no_budget(region: ServerSide) -> bool {
    region.is_strict() || answers::is_begun()
}

/// Counts a trap, and disarms the calling thread until the next round when there were enough.
pub(super) fn spend(region: ServerSide) {
    if !has_no_budget(region) && BUDGET.fetch_sub(1, Ordering::Relaxed) <= 0 {
        disarm();
        set_word(selector::blocking(ROUND.load(Ordering::Relaxed)));
    }
}

/// Arms the calling thread again if it has to be. The thread takes part, and is in a hook.
#[inline]
pub(crate) fn look(round: u32) {
    if !is_settled(word(), round) {
        look_closely(numbered(round));
    }
}

/// Returns whether a thread with this word has the settings of this round.
#[inline]
pub(super) fn is_settled(word: u64, round: u32) -> bool {
    selector::is_known(word, round) || is_found_settled(word, round)
}

#[inline(never)]
fn is_found_settled(word: u64, round: u32) -> bool {
    let is_settled = word == selector::blocking(numbered(round)) | tsc::wanted();
    if is_settled {
        selector::know(word, round);
    }
    is_settled
}

#[cold]
fn look_closely(round: u32) {
    let now = word();
    if has_given_up() {
        // Without a call: the program's filter may not permit any.
        set_word(selector::blocking(round) & !1);
    } else if selector::is_lent(now) {
        // A function of libc calls back: the thread is armed again after it.
    } else if selector::round_of(now) == round {
        if tsc::count() {
            return;
        }
        // A trap has let a call pass. The thread may have blocked the signals since.
        unblock_own_signals();
        set_word(selector::blocking(round) | now & FORBIDS);
        tsc::settle_again(now);
    } else if round == 0 {
        disarm();
    } else {
        if begin_round(round) {
            masks::mend();
        }
        // Where the kernel refuses it, the first thread has said so.
        let _ = arm(round);
    }
}

/// Arms the calling thread, which had the turn taken from it, as soon as it has that back: while it
/// waited, the process may have been held, and no thread is armed behind that (see
/// [`forget`]).
#[inline]
pub(crate) fn arm_again(region: ServerSide) {
    if answers::is_begun() {
        look(region.net_round());
    }
}

/// Arms the calling thread in a round.
pub(super) fn arm(round: u32) -> Result<(), i32> {
    let text = own_text();
    let place = selector::address();
    set_word(selector::blocking(round) & !1);
    let arguments = [DISPATCH as usize, DISPATCH_ON, text.start, text.end - text.start, place, 0];
    // SAFETY: the selector lives as long as its thread; from here on only its value matters.
    let armed = sys::checked(unsafe { sys::syscall(libc::SYS_prctl, arguments) });
    unblock_own_signals();
    set_word(selector::blocking(round));
    tsc::settle();
    armed.map(|_| ())
}

/// Disarms the calling thread: from now on nothing that it does raises SIGSYS. A process image is
/// taken of threads that are disarmed only.
pub(super) fn disarm() {
    tsc::permit();
    // SAFETY: prctl with this option touches no memory.
    unsafe { sys::syscall(libc::SYS_prctl, [DISPATCH as usize, 0, 0, 0, 0, 0]) };
    set_word(0);
}

/// Lets the calling thread take the net's signals.
fn unblock_own_signals() {
    let mask = OWN;
    let arguments = [libc::SIG_UNBLOCK as usize, (&raw const mask).addr(), 0, 8, 0, 0];
    // SAFETY: the mask is 8 bytes, alive for the call.
    unsafe { sys::syscall(libc::SYS_rt_sigprocmask, arguments) };
}

/// Ends the start, because the program listens.
pub(crate) fn end_start() {
    BUDGET.fetch_min(ROUND_BUDGET, Ordering::SeqCst);
    tsc::end_start();
}

/// Stops arming and disarming, because the program installs a filter of its own (seccomp), which
/// sees calls first and may forbid those that arming needs.
pub(super) fn give_up() {
    tsc::permit();
    GIVEN_UP.store(true, Ordering::SeqCst);
}

/// Returns whether the program has a filter of its own.
pub(super) fn has_given_up() -> bool {
    GIVEN_UP.load(Ordering::Relaxed)
}
