//! The kernel's record of what a signal does, and its exchange (rt_sigaction(2)).

use std::ffi::c_int;
use std::ptr;

use crane_shm::sys;

use super::masks::MASK;

/// `struct kernel_sigaction`, as rt_sigaction(2) has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Action {
    /// `SIG_DFL`, `SIG_IGN`, or a function.
    pub handler: usize,
    /// The flags, with the kernel's own `SA_RESTORER`.
    pub flags: usize,
    /// The function that ends a handler.
    pub restorer: usize,
    /// The signals that the handler blocks.
    pub mask: u64,
}

/// `SA_RESTORER`, which libc's headers hide.
pub(crate) const RESTORER: usize = 0x0400_0000;

impl Action {
    /// The kernel's default action.
    pub(crate) const DEFAULT: Self =
        Self { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    /// No action.
    pub(crate) const IGNORE: Self = Self { handler: libc::SIG_IGN, ..Self::DEFAULT };

    /// Returns whether the signal is ignored.
    pub(crate) fn is_ignored(&self) -> bool {
        self.handler == libc::SIG_IGN
    }

    /// Returns whether a handler runs.
    pub(crate) fn is_function(&self) -> bool {
        self.handler != libc::SIG_DFL && !self.is_ignored()
    }
}

impl Default for Action {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Sets a signal's action if one is given. Returns the previous action, or the default one for a
/// number that is not a signal.
pub(crate) fn exchange(signal: c_int, new: Option<&Action>) -> Action {
    let mut before = Action::DEFAULT;
    let new = new.map_or(0, |new| ptr::from_ref(new).addr());
    let arguments = [signal as usize, new, (&raw mut before).addr(), MASK, 0, 0];
    // SAFETY: two actions of the kernel's size, alive for the call. A handler that is set is this
    // library's, or one that the program itself had set.
    unsafe { sys::syscall(libc::SYS_rt_sigaction, arguments) };
    before
}

/// A handler of the program's for a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramHandler {
    pub address: usize,
    /// The flags with which the program installed it.
    pub flags: c_int,
    /// The signals that it blocks.
    pub mask: u64,
    /// The function of the program's to which it returns, or 0.
    pub restorer: usize,
}

/// Restores the kernel's default action for a signal.
pub(crate) fn restore_default(signal: c_int) {
    exchange(signal, Some(&Action::DEFAULT));
}

/// Ends the process by a signal, once the calling thread does not block it.
pub(crate) fn end_by(signal: c_int) {
    restore_default(signal);
    let arguments = [sys::pid() as usize, sys::tid() as usize, signal as usize, 0, 0, 0];
    // SAFETY: tgkill touches no memory.
    unsafe { sys::syscall(libc::SYS_tgkill, arguments) };
}
