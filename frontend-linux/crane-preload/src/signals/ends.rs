//! The function that the library's own handlers return to, and the unwinding of such functions.

use std::arch::global_asm;

/// The unwinding of a function that a handler returns to: the registers are in the context at the
/// stack's top (DWARF expressions of `rsp` and an offset).
macro_rules! unwinds_by_context {
    () => {
        ".cfi_startproc
        .cfi_signal_frame
        .cfi_escape 0x0f, 4, 0x77, 0xa0, 1, 0x06
        .cfi_escape 0x10, 8, 2, 0x77, 0x28
        .cfi_escape 0x10, 9, 2, 0x77, 0x30
        .cfi_escape 0x10, 10, 2, 0x77, 0x38
        .cfi_escape 0x10, 11, 3, 0x77, 0xc0, 0
        .cfi_escape 0x10, 12, 3, 0x77, 0xc8, 0
        .cfi_escape 0x10, 13, 3, 0x77, 0xd0, 0
        .cfi_escape 0x10, 14, 3, 0x77, 0xd8, 0
        .cfi_escape 0x10, 15, 3, 0x77, 0xe0, 0
        .cfi_escape 0x10, 5, 3, 0x77, 0xe8, 0
        .cfi_escape 0x10, 4, 3, 0x77, 0xf0, 0
        .cfi_escape 0x10, 6, 3, 0x77, 0xf8, 0
        .cfi_escape 0x10, 3, 3, 0x77, 0x80, 1
        .cfi_escape 0x10, 1, 3, 0x77, 0x88, 1
        .cfi_escape 0x10, 0, 3, 0x77, 0x90, 1
        .cfi_escape 0x10, 2, 3, 0x77, 0x98, 1
        .cfi_escape 0x10, 7, 3, 0x77, 0xa0, 1
        .cfi_escape 0x10, 16, 3, 0x77, 0xa8, 1
        nop"
    };
}
pub(super) use unwinds_by_context;

unsafe extern "C" {
    static crane_own_end: u8;
}

/// Returns the address of the end of the library's own handlers.
pub(crate) fn own_end() -> usize {
    (&raw const crane_own_end).addr()
}

// The kernel must not trap its call, which is made by this library's text.
global_asm!(
    ".pushsection .text.crane_own_end,\"ax\",@progbits",
    ".balign 16",
    unwinds_by_context!(),
    ".hidden crane_own_end",
    ".globl crane_own_end",
    ".type crane_own_end, @function",
    "crane_own_end:",
    "mov eax, {number}",
    "syscall",
    ".cfi_endproc",
    ".size crane_own_end, . - crane_own_end",
    ".popsection",
    number = const libc::SYS_rt_sigreturn,
);
