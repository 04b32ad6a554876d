//! The net's own signals, SIGSYS and SIGSEGV, kept out of the program's hands.
//!
//! One that the kernel forces on a thread which blocks or ignores it ends the process. So no mask
//! holds them while a thread is armed, and the program's own actions for them are kept here: the
//! program reads back what it has set, and its handler gets what is not the net's.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crane_shm::sys;

use crate::signals::action::{Action, ProgramHandler, RESTORER, exchange as exchange_action};
use crate::signals::ends::own_end;
use crate::signals::masks::{self, bit};

pub(crate) use crate::signals::masks::OWN;

/// The program's own action for a signal of the net's.
#[derive(Clone, Copy, Default)]
pub(crate) struct OwnAction {
    /// `SIG_DFL`, `SIG_IGN`, or a function.
    pub handler: usize,
    /// Its flags.
    pub flags: usize,
    /// The signals that it blocks.
    pub mask: u64,
}

impl OwnAction {
    /// Returns its handler.
    pub(super) fn handler(&self) -> ProgramHandler {
        let Self { handler: address, flags, mask } = *self;
        ProgramHandler { address, flags: flags as c_int, mask, restorer: 0 }
    }
}

struct Kept {
    handler: AtomicUsize,
    flags: AtomicUsize,
    mask: AtomicU64,
}

impl Kept {
    const fn new() -> Self {
        let (handler, flags) = (AtomicUsize::new(libc::SIG_DFL), AtomicUsize::new(0));
        Self { handler, flags, mask: AtomicU64::new(0) }
    }

    fn exchange(&self, new: Option<OwnAction>) -> OwnAction {
        let before = OwnAction {
            handler: self.handler.load(Ordering::Relaxed),
            flags: self.flags.load(Ordering::Relaxed),
            mask: self.mask.load(Ordering::Relaxed),
        };
        if let Some(OwnAction { handler, flags, mask }) = new {
            self.mask.store(mask, Ordering::Relaxed);
            self.flags.store(flags, Ordering::Relaxed);
            self.handler.store(handler, Ordering::Relaxed);
        }
        before
    }
}

static OF_CALLS: Kept = Kept::new();
static OF_FAULTS: Kept = Kept::new();

/// The address of the handler for SIGSEGV, or 0 while the program's own action is the kernel's.
static FAULT_HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Returns whether the program's own action for a signal is kept here.
pub(crate) fn keeps(signal: i32) -> bool {
    signal == libc::SIGSYS
        || (signal == libc::SIGSEGV && FAULT_HANDLER.load(Ordering::Relaxed) != 0)
}

/// Returns the program's own action for a signal of the net's, and keeps another one if it is
/// given.
pub(crate) fn exchange(signal: i32, new: Option<OwnAction>) -> OwnAction {
    if signal == libc::SIGSYS {
        return OF_CALLS.exchange(new);
    }
    let before = OF_FAULTS.exchange(new);
    if let Some(new) = new {
        exchange_action(libc::SIGSEGV, Some(&for_faults(new)));
    }
    before
}

/// Returns the real action for SIGSEGV beside one of the program's.
fn for_faults(program: OwnAction) -> Action {
    Action {
        flags: program.flags & libc::SA_RESTART as usize | ON_OWN_STACK,
        ..ours(FAULT_HANDLER.load(Ordering::Relaxed))
    }
}

/// The flags of this library's own handlers.
const ON_OWN_STACK: usize = RESTORER | (libc::SA_SIGINFO | libc::SA_ONSTACK) as usize;

/// Returns the action of a handler of this library's, which all signals wait for.
fn ours(handler: usize) -> Action {
    Action { handler, flags: ON_OWN_STACK, restorer: own_end(), mask: u64::MAX }
}

/// Installs the handler for SIGSEGV.
pub(super) fn install_for_faults(handler: usize) {
    let Action { handler: programs, flags, mask, .. } = exchange_action(libc::SIGSEGV, None);
    FAULT_HANDLER.store(handler, Ordering::Relaxed);
    exchange(libc::SIGSEGV, Some(OwnAction { handler: programs, flags, mask }));
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
pub(crate) fn read<T: Default>(address: usize) -> Option<T> {
    let mut value = T::default();
    let size = size_of::<T>();
    copy(address, (&raw mut value).addr(), size).is_ok_and(|got| got == size).then_some(value)
}

/// Writes a value of the program's, if it wants it. Returns whether it could be written.
pub(crate) fn write<T>(address: usize, value: &T) -> bool {
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
    if keeps(signal) {
        let wanted =
            wanted.map(|Action { handler, flags, mask, .. }| OwnAction { handler, flags, mask });
        let OwnAction { handler, flags, mask } = exchange(signal, wanted);
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

/// Installs the net's handler.
pub(super) fn install(handler: usize) {
    let Action { handler, flags, mask, .. } = exchange_action(libc::SIGSYS, Some(&ours(handler)));
    OF_CALLS.exchange(Some(OwnAction { handler, flags, mask }));
}

/// Sets the calling thread's mask.
pub(super) fn set_mask(mask: u64) {
    let arguments = [libc::SIG_SETMASK as usize, (&raw const mask).addr(), 0, masks::MASK, 0, 0];
    // SAFETY: the mask is 8 bytes, alive for the call.
    unsafe { sys::syscall(libc::SYS_rt_sigprocmask, arguments) };
}

/// Takes the signals out of the masks of handlers that were installed unseen, and puts the handler
/// for SIGSEGV back.
pub(super) fn mend() {
    if keeps(libc::SIGSEGV) {
        let Action { handler, flags, mask, .. } = exchange_action(libc::SIGSEGV, None);
        if handler != FAULT_HANDLER.load(Ordering::Relaxed) {
            exchange(libc::SIGSEGV, Some(OwnAction { handler, flags, mask }));
        }
    }
    for signal in (1..=masks::LAST).filter(|signal| *signal != libc::SIGSYS) {
        let action = exchange_action(signal, None);
        if action.is_function() && action.mask & OWN != 0 {
            exchange_action(signal, Some(&Action { mask: action.mask & !OWN, ..action }));
        }
    }
}
