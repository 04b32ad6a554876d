//! Whether memory of the program's is there, found by touching it: what raises SIGSEGV is not.
//!
//! The kernel answers a call whose argument leads to no memory by `EFAULT`, and so must the hooks
//! that answer calls by their numbers.

use std::arch::global_asm;

use super::prompt;

unsafe extern "C" {
    /// Reads a byte. Returns whether it is there.
    fn crane_touch_read(place: usize) -> bool;
    /// Writes the byte that is there, which no other thread can change meanwhile. Returns whether
    /// it could.
    fn crane_touch_write(place: usize) -> bool;
    static crane_touch_missing: u8;
}

global_asm!(
    ".pushsection .text.crane_touch,\"ax\",@progbits",
    ".hidden crane_touch_read",
    ".globl crane_touch_read",
    ".type crane_touch_read, @function",
    ".hidden crane_touch_write",
    ".globl crane_touch_write",
    ".type crane_touch_write, @function",
    ".hidden crane_touch_missing",
    ".globl crane_touch_missing",
    ".balign 16",
    ".cfi_startproc",
    "crane_touch_read:",
    "mov al, byte ptr [rdi]",
    "mov eax, 1",
    "ret",
    "crane_touch_write:",
    "lock add byte ptr [rdi], 0",
    "mov eax, 1",
    "ret",
    "crane_touch_missing:",
    "xor eax, eax",
    "ret",
    ".cfi_endproc",
    ".popsection",
);

/// Returns whether a byte of the program's can be read.
pub(crate) fn can_read(place: usize) -> bool {
    // SAFETY: a fault in it ends in the function's other end (see `behind_fault`).
    unsafe { crane_touch_read(place) }
}

/// Returns whether a byte of the program's can be written to.
pub(crate) fn can_write(place: usize) -> bool {
    // SAFETY: as above. The byte keeps its value.
    unsafe { crane_touch_write(place) }
}

/// Returns where a thread goes on that was at this instruction when memory was missing, if it is
/// one that expects it.
pub(super) fn behind_fault(at: usize) -> Option<usize> {
    let touches = [crane_touch_read as *const () as usize, crane_touch_write as *const () as usize];
    let missing = (&raw const crane_touch_missing).addr();
    touches.contains(&at).then_some(missing).or_else(|| prompt::behind_fault(at))
}
