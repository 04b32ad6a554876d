//! Signals: the program's handler of each, and the signals that wait for their thread's turn.
//!
//! A thread that waits in the turn sits in a futex of this library. A handler that ran there would
//! run beside the holder of the turn, would make real calls, and would not end the wait. The real
//! handler of each signal that the program handles is therefore [`on_signal`]. In a thread that
//! runs code of the program it calls the program's handler at once, as the kernel would. In a
//! thread that is in a hook it *posts* the signal. The thread then sends itself each posted signal
//! when it has the turn, outside of any hook. The kernel makes the frame, on the right stack and
//! with the right mask, and the handler's calls are hooked.
//!
//! The library's own handler runs on a stack of the library's own ([`stack`]), with all signals
//! blocked, and leads to the program's by a frame of its making ([`frame`]).
//!
//! A signal that the program sends to itself is posted by the sender, in the turn, and so reaches
//! its thread at the same clock in every replica. A signal from outside arrives at any time.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use crane_shm::{ServerSide, sys};
use libc::{siginfo_t, ucontext_t};

use crate::bases::for_signals;
use crate::membership::{self, Membership};
use crate::output::Output;
use crate::processes;
use crate::trouble::Text;
use crate::world;

pub(crate) mod action;
pub(crate) mod ends;
pub(crate) mod frame;
pub(crate) mod kept;
pub(crate) mod masks;
mod posted;
mod records;
pub(crate) mod stack;
pub(crate) mod within;

use action::ProgramHandler;
pub(crate) use action::{Action, exchange, restore_default};
use ends::own_end;
pub(crate) use kept::pending;
use masks::LAST;
pub(crate) use masks::{bit, block_all, block_one, blocked, blocked_of, each, mask_at, set_mask};
pub(crate) use posted::{
    PostedSignals, any, first_receiver_from, forget, has_news, post, set_news, take, take_blocked,
    take_news, use_table, waits,
};
pub(crate) use records::{
    is_kernels_of_child, mark_own, of_change, of_child, of_descriptor, sent_by, sent_by_kernel,
    sent_by_self, sent_by_timer,
};
use records::{is_own_sent, is_own_timer};
pub(crate) use within::{blocked_by_program, send_behind, send_to_self};

/// The effect of a signal on this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disposition {
    /// The kernel ignores the signal, or takes the default action.
    Kernel,
    /// A handler of the program runs.
    Handler {
        /// Whether the interrupted call starts again (`SA_RESTART`).
        restarts: bool,
    },
}

/// The program's own handler of a signal.
struct Handler {
    /// The handler's address, or 0 if the kernel has the program's own disposition.
    address: AtomicUsize,
    /// The flags with which the program installed it.
    flags: AtomicI32,
    /// The signals that it blocks.
    mask: AtomicU64,
    /// The function of the program's to which it returns, or 0.
    restorer: AtomicUsize,
}

static HANDLERS: [Handler; LAST as usize + 1] = [const {
    Handler {
        address: AtomicUsize::new(0),
        flags: AtomicI32::new(0),
        mask: AtomicU64::new(0),
        restorer: AtomicUsize::new(0),
    }
}; LAST as usize + 1];

/// The signals that a thread causes by an instruction of its own, which would cause it again.
const FAULTS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];

/// The signals that came from outside the program, by their bits.
static FOREIGN: AtomicU64 = AtomicU64::new(0);

/// The signals from outside of which the daemon knows.
static REPORTED: AtomicU64 = AtomicU64::new(0);

/// Returns whether signals came from outside the program of which the daemon does not know.
#[inline]
pub(crate) fn has_foreign() -> bool {
    FOREIGN.load(Ordering::Relaxed) != 0
}

/// Counts the signals that came from outside the program, and notes each kind once for the daemon:
/// other replicas receive them at another moment, or not at all.
#[cold]
pub(crate) fn report_foreign(output: &mut Output, region: ServerSide) {
    let came = FOREIGN.swap(0, Ordering::Relaxed);
    let news = came & !REPORTED.fetch_or(came, Ordering::Relaxed);
    for signal in each(came) {
        region.count_uncovered();
        if news & bit(signal) != 0 {
            let mut text = Text::new();
            // A text that is cut is better than none.
            let _ = write!(
                text,
                "signal {signal} ({}) from outside the schedule: each replica gets it at a moment \
                 of its own, and they may differ afterwards",
                name(signal)
            );
            output.note(1, text.as_str());
        }
    }
}

/// Returns the name of a signal without its SIG.
fn name(signal: c_int) -> &'static str {
    unsafe extern "C" {
        fn sigabbrev_np(signal: c_int) -> *const c_char;
    }
    // SAFETY: libc's table of names, which is constant.
    let name = unsafe { sigabbrev_np(signal).as_ref() };
    // SAFETY: a string that ends with a zero byte.
    let name = name.map(|name| unsafe { CStr::from_ptr(name) });
    name.and_then(|name| name.to_str().ok()).unwrap_or("of no name")
}

/// Returns the real action of a signal that the program handles, whose own flags are given.
pub(crate) fn real_action(flags: c_int) -> Action {
    /// The library's handler runs more often than the program's, and blocks all signals.
    const OWN: c_int = libc::SA_RESETHAND | libc::SA_NODEFER;
    let flags = flags & !OWN | libc::SA_SIGINFO | libc::SA_ONSTACK;
    Action {
        handler: (on_signal_entry as *const ()).addr(),
        flags: flags as u32 as usize | action::RESTORER,
        restorer: own_end(),
        mask: !masks::OWN,
    }
}

for_signals!(on_signal_entry, "crane_on_signal", on_signal);

extern "C" fn on_signal(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
    base: usize,
) -> bool {
    let part = membership::current();
    // A child after fork has a copy of the whole state, and takes no part.
    let ours = world::PROCESS.load(Ordering::Relaxed) == sys::pid();
    // SAFETY: the kernel's own record, or one that this process sent.
    let record = unsafe { &mut *info };
    if ours && is_kernels_of_child(record) {
        processes::hear_of_end(record);
    }
    if ours && !kept::receive(record) {
        return false;
    }
    let record = &*record;
    if ours && part != Membership::None {
        note_foreign(record);
    }
    let is_fault = record.si_code > 0 && FAULTS.contains(&signal);
    if let Membership::Inside(me) = part
        && ours
        && !is_fault
        && post(me, record)
    {
        set_news();
        if let Some(region) = world::region() {
            region.ring_script();
        }
        return false;
    }
    let Some((address, flags)) = handler(signal) else { return false };
    let own = &HANDLERS[signal as usize];
    let (mask, restorer) = (own.mask.load(Ordering::Relaxed), own.restorer.load(Ordering::Relaxed));
    if flags & libc::SA_RESETHAND != 0 {
        reset(signal);
    }
    // SAFETY: the kernel's own record and frame, and the program's handler.
    unsafe { frame::run(ProgramHandler { address, flags, mask, restorer }, info, context, base) }
}

/// Records a signal that neither this process nor a fault in it has sent.
fn note_foreign(info: &siginfo_t) {
    // SAFETY: the record is longer than what is read of it.
    let is_own = unsafe { is_own_sent(info) }
        // SAFETY: of a timer.
        || info.si_code == libc::SI_TIMER && unsafe { is_own_timer(info) };
    let sender = match info.si_code {
        _ if is_own => sys::pid(),
        // SAFETY: these have a sender.
        libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL => unsafe { info.si_pid() },
        _ => 0,
    };
    if sender != sys::pid() {
        FOREIGN.fetch_or(bit(info.si_signo), Ordering::Relaxed);
    }
}

/// Gives a signal its default disposition, because its handler runs only once. As in the kernel,
/// flags and mask stay.
fn reset(signal: c_int) {
    let handler = &HANDLERS[signal as usize];
    handler.address.store(0, Ordering::Release);
    let flags = handler.flags.load(Ordering::Relaxed) as u32 as usize;
    let mask = handler.mask.load(Ordering::Relaxed);
    let default =
        Action { handler: libc::SIG_DFL, flags: flags | action::RESTORER, mask, ..Action::DEFAULT };
    exchange(signal, Some(&default));
}

/// Returns the program's own handler and its flags, or `None` if the kernel has the disposition.
fn handler(signal: c_int) -> Option<(usize, c_int)> {
    let handler = HANDLERS.get(usize::try_from(signal).ok()?)?;
    let address = handler.address.load(Ordering::Acquire);
    (address != 0).then(|| (address, handler.flags.load(Ordering::Relaxed)))
}

/// Exchanges the program's own action for a signal whose handler is called by the library's.
pub(crate) fn exchange_own(signal: c_int, new: Option<&Action>) -> Action {
    let own = handler(signal).map(|(handler, flags)| {
        let mask = HANDLERS[signal as usize].mask.load(Ordering::Relaxed);
        (handler, flags, mask)
    });
    let real = match new {
        // This precedes the installation, so that the next signal finds the handler.
        Some(new) if new.is_function() => {
            let place = &HANDLERS[signal as usize];
            place.flags.store(new.flags as c_int, Ordering::Relaxed);
            place.mask.store(new.mask, Ordering::Relaxed);
            place.restorer.store(new.restorer, Ordering::Relaxed);
            place.address.store(new.handler, Ordering::Release);
            Some(real_action(new.flags as c_int))
        }
        new => new.map(|new| Action { restorer: own_end(), ..*new }),
    };
    let before = exchange(signal, real.as_ref());
    if real.is_some_and(|real| !real.is_function()) {
        HANDLERS[signal as usize].address.store(0, Ordering::Release);
    }
    match own {
        // Whether calls start again may have been changed since (siginterrupt(3)).
        Some((handler, flags, mask)) if before.is_function() => {
            const RESTARTS: usize = libc::SA_RESTART as usize;
            let flags = flags as u32 as usize & !RESTARTS | before.flags & RESTARTS;
            let restorer = HANDLERS[signal as usize].restorer.load(Ordering::Relaxed);
            Action { handler, flags, mask, restorer }
        }
        _ => before,
    }
}

/// The effect on its process of a signal that no handler takes (signal(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DefaultAction {
    /// Nothing.
    Ignore,
    /// It stops until another signal.
    Stop,
    /// It ends.
    End,
}

/// Returns what a signal does to this process that has no handler for it.
pub(crate) fn default_action(signal: c_int) -> DefaultAction {
    if signal != libc::SIGKILL
        && signal != libc::SIGSTOP
        && exchange(signal, None).handler == libc::SIG_IGN
    {
        return DefaultAction::Ignore;
    }
    match signal {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT => DefaultAction::Ignore,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => DefaultAction::Stop,
        _ => DefaultAction::End,
    }
}

/// Returns whether a signal ends this process, in the thread that calls.
pub(crate) fn is_fatal(signal: c_int) -> bool {
    let is_default =
        disposition(signal) == Disposition::Kernel && default_action(signal) == DefaultAction::End;
    is_default && (signal == libc::SIGKILL || blocked() & bit(signal) == 0)
}

/// Returns the effect of a signal on this process.
pub(crate) fn disposition(signal: c_int) -> Disposition {
    let action = exchange(signal, None);
    if !action.is_function() {
        return Disposition::Kernel;
    }
    Disposition::Handler { restarts: action.flags & libc::SA_RESTART as usize != 0 }
}
