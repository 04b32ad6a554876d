//! The net's own signal, SIGSYS, kept out of the program's hands.
//!
//! A SIGSYS that the kernel forces on a thread which blocks or ignores it ends the process. So no
//! mask holds the signal while a thread is armed, and the program's own action for it is kept
//! here: the program reads back what it has set, and its handler gets what is not the net's.

use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crane_shm::sys;

use crate::signals::action::{Action, exchange as exchange_action};
use crate::signals::masks::{self, bit};

/// The signal, as a mask.
pub(crate) const OWN: u64 = 1 << (libc::SIGSYS - 1);

/// `SA_RESTORER`, which libc's headers hide.
const RESTORER: usize = 0x0400_0000;

/// The program's own action for SIGSYS.
#[derive(Clone, Copy, Default)]
pub(crate) struct OwnAction {
    /// `SIG_DFL`, `SIG_IGN`, or a function.
    pub handler: usize,
    /// Its flags.
    pub flags: usize,
    /// The signals that it blocks.
    pub mask: u64,
}

static HANDLER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static FLAGS: AtomicUsize = AtomicUsize::new(0);
static MASK: AtomicU64 = AtomicU64::new(0);

/// Returns the program's own action for SIGSYS, and keeps another one if it is given.
pub(crate) fn exchange(new: Option<OwnAction>) -> OwnAction {
    let before = OwnAction {
        handler: HANDLER.load(Ordering::Relaxed),
        flags: FLAGS.load(Ordering::Relaxed),
        mask: MASK.load(Ordering::Relaxed),
    };
    if let Some(OwnAction { handler, flags, mask }) = new {
        MASK.store(mask, Ordering::Relaxed);
        FLAGS.store(flags, Ordering::Relaxed);
        HANDLER.store(handler, Ordering::Relaxed);
    }
    before
}

/// Copies bytes between this process's own addresses by the kernel, which answers for bad ones.
fn copy(from: usize, to: usize, length: usize) -> Result<usize, i32> {
    let [from, to] =
        [from, to].map(|at| libc::iovec { iov_base: at as *mut libc::c_void, iov_len: length });
    let (to, from) = ((&raw const to).addr(), (&raw const from).addr());
    let arguments = [sys::pid() as usize, to, 1, from, 1, 0];
    // SAFETY: the kernel writes to `to` only, which its caller vouches for or the program gave.
    sys::checked(unsafe { sys::syscall(libc::SYS_process_vm_readv, arguments) })
}

/// Copies at most `words` words of a stack to a place that has room for them, and returns the
/// number of words copied.
pub(super) fn copy_words(from: usize, to: *mut u64, words: usize) -> usize {
    // A page may end before them: what lies behind it is not copied.
    let to_end = 4096 - (from & 4095);
    let whole = copy(from, to.addr(), words * 8);
    whole.or_else(|_| copy(from, to.addr(), to_end.min(words * 8) & !7)).map_or(0, |size| size / 8)
}

/// Returns a value of the program's, or `None` if the address is not readable.
pub(super) fn read<T: Default>(address: usize) -> Option<T> {
    let mut value = T::default();
    let size = size_of::<T>();
    copy(address, (&raw mut value).addr(), size).is_ok_and(|got| got == size).then_some(value)
}

/// Writes a value of the program's, if it wants it. Returns whether it could be written.
fn write<T>(address: usize, value: &T) -> bool {
    let size = size_of::<T>();
    address == 0 || copy(ptr::from_ref(value).addr(), address, size).is_ok_and(|got| got == size)
}

const BAD_ADDRESS: isize = -(libc::EFAULT as isize);
const INVALID: isize = -(libc::EINVAL as isize);

/// As rt_sigaction(2) with the program's own arguments.
///
/// # Safety
/// As unsafe as the call.
pub(super) unsafe fn action(signal: i32, new: usize, old: usize, size: usize) -> isize {
    let arguments = |new: usize| [signal as usize, new, old, size, 0, 0];
    if size != masks::MASK {
        return INVALID;
    }
    let mut wanted: Option<Action> = None;
    if new != 0 {
        wanted = read(new);
        if wanted.is_none() {
            return BAD_ADDRESS;
        }
    }
    if signal == libc::SIGSYS {
        let wanted =
            wanted.map(|Action { handler, flags, mask, .. }| OwnAction { handler, flags, mask });
        let OwnAction { handler, flags, mask } = exchange(wanted);
        let before = Action { handler, flags, restorer: 0, mask };
        return if write(old, &before) { 0 } else { BAD_ADDRESS };
    }
    if let Some(wanted) = &mut wanted {
        wanted.mask &= !OWN;
    }
    let new = wanted.as_ref().map_or(0, |wanted| ptr::from_ref(wanted).addr());
    // SAFETY: an action of ours, and the caller's duty.
    unsafe { sys::syscall(libc::SYS_rt_sigaction, arguments(new)) }
}

/// As rt_sigprocmask(2) with the program's own arguments, for a thread whose mask is `mask`.
pub(super) fn change_mask(mask: &mut u64, [how, new, old, size, ..]: [usize; 6]) -> isize {
    if size != masks::MASK {
        return INVALID;
    }
    let before = *mask;
    if new != 0 {
        let Some(wanted) = read::<u64>(new) else { return BAD_ADDRESS };
        *mask = match how as i32 {
            libc::SIG_BLOCK => before | wanted,
            libc::SIG_UNBLOCK => before & !wanted,
            libc::SIG_SETMASK => wanted,
            _ => return INVALID,
        } & !(OWN | bit(libc::SIGKILL) | bit(libc::SIGSTOP));
    }
    if write(old, &before) { 0 } else { BAD_ADDRESS }
}

/// As rt_sigprocmask(2) with the program's own arguments, for the calling thread.
pub(super) fn change_own_mask(arguments: [usize; 6]) -> isize {
    let mut mask = masks::blocked();
    let result = change_mask(&mut mask, arguments);
    masks::set_mask(mask);
    result
}

/// Installs the net's handler, which all signals wait for.
pub(super) fn install(handler: usize, restorer: usize) {
    let flags = RESTORER | libc::SA_SIGINFO as usize;
    let ours = Action { handler, flags, restorer, mask: u64::MAX };
    let Action { handler, flags, mask, .. } = exchange_action(libc::SIGSYS, Some(&ours));
    exchange(Some(OwnAction { handler, flags, mask }));
}

/// Restores the kernel's default action for a signal.
pub(super) fn restore_default(signal: i32) {
    exchange_action(signal, Some(&Action::DEFAULT));
}

/// Sets the calling thread's mask.
pub(super) fn set_mask(mask: u64) {
    let arguments = [libc::SIG_SETMASK as usize, (&raw const mask).addr(), 0, masks::MASK, 0, 0];
    // SAFETY: the mask is 8 bytes, alive for the call.
    unsafe { sys::syscall(libc::SYS_rt_sigprocmask, arguments) };
}

/// Takes the signal out of the masks of handlers that were installed unseen.
pub(super) fn mend() {
    for signal in (1..=masks::LAST).filter(|signal| *signal != libc::SIGSYS) {
        let action = exchange_action(signal, None);
        if action.is_function() && action.mask & OWN != 0 {
            exchange_action(signal, Some(&Action { mask: action.mask & !OWN, ..action }));
        }
    }
}
