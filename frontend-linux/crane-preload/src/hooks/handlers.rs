//! sigaction, signal and their family: the library keeps the program's handlers, and installs its
//! own for them (see [`crate::signals`]).

use std::ffi::c_int;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{sighandler_t, sigset_t};

use crate::errno;
use crate::family::{FORGETS, HEARS_NO_STOPS};
use crate::image::own;
use crate::membership;
use crate::net::{self, OwnAction};
use crate::processes;
use crate::service;
use crate::signals;
use crate::signals::action::{Action, RESTORER};
use crate::world;

/// The two signals of libc's own, which its function refuses. In a program that is linked
/// statically they are the program's, which has its own libc.
const OF_LIBC: Range<c_int> = 32..34;

/// The signals that cannot be handled, and that of the net, which keeps the program's action.
const UNFOLLOWED: [c_int; 3] = [libc::SIGSYS, libc::SIGKILL, libc::SIGSTOP];

/// `SIG_HOLD` of sigset(3).
const HOLD: sighandler_t = 2;

/// The signals that no handler can block.
const UNMASKABLE: u64 = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);

/// Signals whose handlers, installed by signal(3), interrupt calls (siginterrupt(3)).
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// Returns whether the program's handler of a signal is called by the library's.
fn is_followed(signal: c_int) -> bool {
    let is_of_libc = OF_LIBC.contains(&signal) && !own::is_image();
    let is_known = signals::bit(signal) != 0 && !is_of_libc;
    world::region().is_some() && is_known && !UNFOLLOWED.contains(&signal)
}

/// Returns the kernel's mask of 8 bytes, with which libc's mask begins.
fn kernel_mask(mask: &mut sigset_t) -> &mut u64 {
    // SAFETY: longer than 8 bytes, and aligned for them.
    unsafe { &mut *(&raw mut *mask).cast::<u64>() }
}

/// Exchanges the program's own action for a signal. That for `SIGCHLD` also says whether anybody
/// waits for this process's children.
fn exchange_followed(signal: c_int, new: Option<&Action>) -> Action {
    if let Some(new) = new.filter(|_| signal == libc::SIGCHLD)
        && membership::takes_part()
    {
        let forgets = new.is_ignored() || new.flags & libc::SA_NOCLDWAIT as usize != 0;
        let hears_no_stops = new.is_ignored() || new.flags & libc::SA_NOCLDSTOP as usize != 0;
        let word =
            if forgets { FORGETS } else { 0 } | if hears_no_stops { HEARS_NO_STOPS } else { 0 };
        service::forgets(processes::own().0.into()).store(word, Ordering::Relaxed);
        signals::kept::check();
    }
    signals::exchange_own(signal, new)
}

/// Keeps the program's own action for a signal of the net's, and returns the previous action.
fn exchange(signal: c_int, new: Option<&mut libc::sigaction>, old: Option<&mut libc::sigaction>) {
    let new = new.map(|new| OwnAction {
        handler: new.sa_sigaction,
        flags: new.sa_flags as usize,
        mask: *kernel_mask(&mut new.sa_mask),
    });
    let before = net::exchange(signal, new);
    if let Some(old) = old {
        old.sa_sigaction = before.handler;
        old.sa_flags = before.flags as c_int;
        *kernel_mask(&mut old.sa_mask) = before.mask;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    let real = real!(
        sigaction: fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int
    );
    // SAFETY: the caller's action, if it gave one.
    let mut action = unsafe { new.as_ref() }.copied();
    if world::region().is_some() {
        if net::keeps(signal) {
            // SAFETY: the caller's place.
            exchange(signal, action.as_mut(), unsafe { old.as_mut() });
            return 0;
        }
        if let Some(action) = &mut action {
            *kernel_mask(&mut action.sa_mask) &= !net::OWN;
        }
    }
    if !is_followed(signal) {
        let new = action.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: an action of ours, and the caller's own place.
        return unsafe { real(signal, new, old) };
    }
    let before = exchange_followed(signal, action.as_mut().map(as_kernel).as_ref());
    // SAFETY: the caller's place.
    if let Some(old) = unsafe { old.as_mut() } {
        old.sa_sigaction = before.handler;
        old.sa_flags = (before.flags & !RESTORER) as c_int;
        *kernel_mask(&mut old.sa_mask) = before.mask;
    }
    0
}

/// Returns an action as rt_sigaction(2) has it.
fn as_kernel(action: &mut libc::sigaction) -> Action {
    Action {
        handler: action.sa_sigaction,
        flags: action.sa_flags as u32 as usize | RESTORER,
        restorer: 0,
        mask: *kernel_mask(&mut action.sa_mask) & !UNMASKABLE,
    }
}

/// glibc's other name for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the caller's own arguments; the symbol is this library's own.
    unsafe { sigaction(signal, new, old) }
}

/// rt_sigaction(2), by its number. libc's own two signals, which its function refuses, and those
/// whose handlers the kernel calls, go on as they are.
///
/// # Safety
/// As unsafe as the call.
pub(super) unsafe fn action_by_number([number, new, old, size, ..]: [usize; 6]) -> isize {
    let signal = number as c_int;
    if !is_followed(signal) || size != size_of::<u64>() {
        // SAFETY: the caller's duty.
        return unsafe { net::pass(libc::SYS_rt_sigaction, [number, new, old, size, 0, 0]) };
    }
    let mut wanted = None;
    if new != 0 {
        let Some(action) = net::read::<Action>(new) else { return -(libc::EFAULT as isize) };
        let mask = action.mask & !(UNMASKABLE | net::OWN);
        // The unwinder of a program that is linked statically knows only its own functions.
        let restorer = if own::is_image() { action.restorer } else { 0 };
        wanted = Some(Action { mask, restorer, ..action });
    }
    if net::keeps(signal) {
        // SAFETY: the caller's duty.
        return unsafe { net::pass(libc::SYS_rt_sigaction, [number, new, old, size, 0, 0]) };
    }
    let before = exchange_followed(signal, wanted.as_ref());
    if net::write(old, &before) { 0 } else { -(libc::EFAULT as isize) }
}

/// Installs a handler with these flags, and returns the previous handler or `SIG_ERR`.
fn install(signal: c_int, handler: sighandler_t, flags: c_int) -> sighandler_t {
    // SAFETY: all-zero bytes are a valid action, with an empty mask.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    if flags & libc::SA_NODEFER == 0 && signals::bit(signal) != 0 {
        // SAFETY: a mask of ours.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, signal) };
    }
    // SAFETY: actions of ours; the symbol is this library's own.
    match unsafe { sigaction(signal, &raw const action, &raw mut before) } {
        0 => before.sa_sigaction,
        _ => libc::SIG_ERR,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    if handler == libc::SIG_ERR || signals::bit(signal) == 0 {
        errno::answer_int(Err(libc::EINVAL));
        return libc::SIG_ERR;
    }
    let interrupts = INTERRUPTS.load(Ordering::Relaxed) & signals::bit(signal) != 0;
    install(signal, handler, if interrupts { 0 } else { libc::SA_RESTART })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bsd_signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: the caller's own arguments; the symbol is this library's own.
    unsafe { signal(number, handler) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ssignal(number: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: as above.
    unsafe { signal(number, handler) }
}

/// Installs a handler as System V does: it runs once, and the same signal may interrupt it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sysv_signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    if handler == libc::SIG_ERR || signals::bit(signal) == 0 {
        errno::answer_int(Err(libc::EINVAL));
        return libc::SIG_ERR;
    }
    install(signal, handler, libc::SA_RESETHAND | libc::SA_NODEFER)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sysv_signal(signal: c_int, handler: sighandler_t) -> sighandler_t {
    // SAFETY: the caller's own arguments; the symbol is this library's own.
    unsafe { __sysv_signal(signal, handler) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigset(signal: c_int, handler: sighandler_t) -> sighandler_t {
    if handler == HOLD || !(is_followed(signal) || net::keeps(signal)) {
        let real = real!(sigset: fn(c_int, sighandler_t) -> sighandler_t);
        // SAFETY: the caller's own arguments.
        return unsafe { real(signal, handler) };
    }
    let before = install(signal, handler, 0);
    if before == libc::SIG_ERR {
        return before;
    }
    let was_blocked = signals::blocked() & signals::bit(signal) != 0;
    // SAFETY: masks of ours.
    unsafe {
        let mut only: sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut only, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, ptr::null_mut());
    }
    if was_blocked { HOLD } else { before }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn siginterrupt(signal: c_int, interrupts: c_int) -> c_int {
    let real = real!(siginterrupt: fn(c_int, c_int) -> c_int);
    let bit = signals::bit(signal);
    let result = if is_followed(signal) && !net::keeps(signal) {
        // The flags of the action that is installed, whosever it is.
        let action = signals::exchange(signal, None);
        let flags = match interrupts {
            0 => action.flags | libc::SA_RESTART as usize,
            _ => action.flags & !(libc::SA_RESTART as usize),
        };
        signals::exchange(signal, Some(&Action { flags, ..action }));
        0
    } else {
        // SAFETY: plain numbers.
        unsafe { real(signal, interrupts) }
    };
    if result == 0 {
        match interrupts {
            0 => INTERRUPTS.fetch_and(!bit, Ordering::Relaxed),
            _ => INTERRUPTS.fetch_or(bit, Ordering::Relaxed),
        };
    }
    result
}
