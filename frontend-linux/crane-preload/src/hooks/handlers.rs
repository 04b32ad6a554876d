//! sigaction, signal and their family: the library keeps the program's handlers, and installs its
//! own for them (see [`crate::signals`]).

use std::ffi::c_int;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{sighandler_t, sigset_t};

use crate::errno;
use crate::net::{self, OwnAction};
use crate::signals;
use crate::signals::action::Action;
use crate::world;

/// The signals of faults, which a thread causes by its own code and whose handlers the kernel
/// calls, and the signals that cannot be handled.
const UNFOLLOWED: [c_int; 8] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGKILL,
    libc::SIGSTOP,
];

/// `SIG_HOLD` of sigset(3).
const HOLD: sighandler_t = 2;

/// Signals whose handlers, installed by signal(3), interrupt calls (siginterrupt(3)).
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

fn is_function(handler: sighandler_t) -> bool {
    handler != libc::SIG_DFL && handler != libc::SIG_IGN
}

/// Returns whether the program's handler of a signal is called by the library's.
fn is_followed(signal: c_int) -> bool {
    world::region().is_some() && signals::bit(signal) != 0 && !UNFOLLOWED.contains(&signal)
}

/// Returns the kernel's mask of 8 bytes, with which libc's mask begins.
fn kernel_mask(mask: &mut sigset_t) -> &mut u64 {
    // SAFETY: longer than 8 bytes, and aligned for them.
    unsafe { &mut *(&raw mut *mask).cast::<u64>() }
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
    let own = signals::handler_address() as sighandler_t;
    let before = signals::handler(signal);
    if let Some(action) = action.as_mut().filter(|action| is_function(action.sa_sigaction)) {
        // This precedes the installation, so that the next signal finds the handler.
        signals::set_handler(signal, action.sa_sigaction, action.sa_flags);
        action.sa_sigaction = own;
        // The library's handler runs more often than the program's.
        action.sa_flags = (action.sa_flags | libc::SA_SIGINFO) & !libc::SA_RESETHAND;
    }
    let install = action.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: an action of ours, and the caller's place.
    let result = unsafe { real(signal, install, old) };
    match action {
        Some(_) if result != 0 => {
            let (address, flags) = before.unwrap_or_default();
            signals::set_handler(signal, address, flags);
        }
        Some(action) if action.sa_sigaction != own => signals::set_handler(signal, 0, 0),
        _ => {}
    }
    // SAFETY: the caller's place, which the kernel has filled.
    if let Some(old) = unsafe { old.as_mut() }.filter(|old| result == 0 && old.sa_sigaction == own)
        && let Some((address, flags)) = before
    {
        let asked = libc::SA_SIGINFO | libc::SA_RESETHAND;
        old.sa_sigaction = address;
        old.sa_flags = (old.sa_flags & !asked) | (flags & asked);
    }
    result
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
    const OF_LIBC: Range<c_int> = 32..34;
    let signal = number as c_int;
    if !is_followed(signal) || OF_LIBC.contains(&signal) || size != size_of::<u64>() {
        // SAFETY: the caller's duty.
        return unsafe { net::pass(libc::SYS_rt_sigaction, [number, new, old, size, 0, 0]) };
    }
    // SAFETY: all-zero bytes are a valid action.
    let (mut wanted, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    if new != 0 {
        let Some(Action { handler, flags, mask, .. }) = net::read(new) else {
            return -(libc::EFAULT as isize);
        };
        (wanted.sa_sigaction, wanted.sa_flags) = (handler, flags as c_int);
        *kernel_mask(&mut wanted.sa_mask) = mask;
    }
    let wanted = if new == 0 { ptr::null() } else { &raw const wanted };
    // SAFETY: actions of ours; the symbol is this library's own.
    if unsafe { sigaction(signal, wanted, &raw mut before) } != 0 {
        return -(errno::current() as isize);
    }
    let before = Action {
        handler: before.sa_sigaction,
        flags: before.sa_flags as u32 as usize,
        restorer: before.sa_restorer.map_or(0, |function| (function as *const ()).addr()),
        mask: *kernel_mask(&mut before.sa_mask),
    };
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
    // SAFETY: plain numbers. It changes the flags of the action that is installed, whosever it is.
    let result = unsafe { real(signal, interrupts) };
    if result == 0 {
        let bit = signals::bit(signal);
        match interrupts {
            0 => INTERRUPTS.fetch_and(!bit, Ordering::Relaxed),
            _ => INTERRUPTS.fetch_or(bit, Ordering::Relaxed),
        };
    }
    result
}
