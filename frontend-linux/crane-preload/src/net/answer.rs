//! Calls that bypass the hooks and are answered by them all the same.
//!
//! The answer is given within the handler that the call raised, on a stack of the library's own:
//! the program's may have no room. It may wait, and the program's handlers run meanwhile (see
//! [`within`]); its thread may be cancelled in it. The kernel restores the program's registers,
//! vectors included.

use std::arch::global_asm;

use libc::{c_long, ucontext_t};

use super::selector::lend;
use super::{answers, arming, tsc};
use crate::cancellation;
use crate::clone::{self, Registers};
use crate::membership;
use crate::signals::within;
use crate::world;

/// Returns the address of the function that makes a call unchanged, which no trap sees.
pub(super) fn passage() -> usize {
    (&raw const crane_net_pass).addr()
}

/// Answers a call of the program's, whose context is given. Returns `None` if the program must make
/// it again.
pub(super) fn answer(context: &mut ucontext_t, number: c_long) -> Option<isize> {
    within::answer(context, |context| {
        let registers = registers_of(context, number);
        let Registers { r9, r8, r10, rdx, rsi, rdi, .. } = registers;
        let answers = answers::get().expect("no call is answered before");
        let point = cancellation::keep_point();
        let lent = lend();
        let result = match number {
            // SAFETY: the program's own call.
            libc::SYS_clone => unsafe { clone::clone(&registers, answers.answer) },
            _ => {
                if number == libc::SYS_exit {
                    clone::end();
                }
                // SAFETY: as above.
                unsafe { (answers.answer)(number, [rdi, rsi, rdx, r10, r8, r9]) }
            }
        };
        lent.give_back();
        point.leave();
        arm_again();
        result
    })
}

/// Answers a read of the processor's time stamp. Returns `None` if the program must read again.
pub(super) fn read_tsc(context: &mut ucontext_t) -> Option<u64> {
    within::answer(context, |_| {
        let now = tsc::now();
        arm_again();
        now
    })
}

fn registers_of(context: &ucontext_t, number: c_long) -> Registers {
    let register = |register: i32| context.uc_mcontext.gregs[register as usize] as usize;
    Registers {
        r15: register(libc::REG_R15),
        r14: register(libc::REG_R14),
        r13: register(libc::REG_R13),
        r12: register(libc::REG_R12),
        rbx: register(libc::REG_RBX),
        number,
        r9: register(libc::REG_R9),
        r8: register(libc::REG_R8),
        r10: register(libc::REG_R10),
        rdx: register(libc::REG_RDX),
        rsi: register(libc::REG_RSI),
        rdi: register(libc::REG_RDI),
        rbp: register(libc::REG_RBP),
        next: register(libc::REG_RIP),
    }
}

/// Arms the thread behind an answer that may have waited, while an image was taken of the process.
/// A child of fork, which takes no part, is not armed.
fn arm_again() {
    if membership::takes_part()
        && let Some(region) = world::region()
    {
        arming::arm_again(region);
    }
}

unsafe extern "C" {
    static crane_net_pass: u8;
}

// It gets the place to go back to in rcx, which a system call changes anyway, and leaves the 128
// bytes below the stack's top alone, which a function may use without a frame (System V ABI, the
// red zone). The frame's address (CFA) is that of the program's stack before the call.
global_asm!(
    ".pushsection .text.crane_net_pass,\"ax\",@progbits",
    ".hidden crane_net_pass",
    ".globl crane_net_pass",
    ".type crane_net_pass, @function",
    ".balign 16",
    "crane_net_pass:",
    ".cfi_startproc",
    ".cfi_signal_frame",
    ".cfi_register 16, 2",
    ".cfi_def_cfa 7, 0",
    "lea rsp, [rsp - 128]",
    ".cfi_def_cfa_offset 128",
    "push rcx",
    ".cfi_def_cfa_offset 136",
    ".cfi_offset 16, -136",
    "syscall",
    "ret 128",
    ".cfi_endproc",
    ".size crane_net_pass, . - crane_net_pass",
    ".popsection",
);
