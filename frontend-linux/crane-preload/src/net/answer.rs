//! Calls that bypass the hooks and are answered by them all the same (`--floor`).
//!
//! The handler of SIGSYS only *leads* the thread to a function of this library and ends, so that
//! the thread goes on as if the program had called that function in the place of the system call.
//! A hook therefore never runs on top of a signal's frame. It may wait, its thread may be cancelled
//! or leave it by siglongjmp(3), and the program's signals find the program's own mask.
//!
//! The functions get the place to go back to in rcx, which a system call changes anyway. They leave
//! the 128 bytes below the stack's top alone, which a function may use without a frame (System V
//! ABI, the red zone), and all registers but rax, rcx and r11, vectors included, as the kernel
//! does.

use std::arch::global_asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::answers::{self, Answers};
use super::arming;
use super::selector::lend;
use super::tsc;
use crate::bases::{SWITCHES, enter_library, leave_library};
use crate::cancellation;
use crate::image::threads::{self, Registers};
use crate::membership;
use crate::world;

/// The state of the processor that a hook may change, as the bits of XSAVE, and the bytes that it
/// takes.
static STATE: AtomicU64 = AtomicU64::new(0);
static STATE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The parts of the state that no hook changes: the rights of keys (9), and the tiles of matrices
/// (17 and 18), which take 8 KiB.
const UNTOUCHED: u64 = 1 << 9 | 1 << 17 | 1 << 18;

/// The place of XSAVE's header, which has to be zero before it is first written, and its end.
const HEADER: usize = 512;
const HEADER_END: usize = 576;

/// Lets calls be answered from now on. Returns the reason if this processor cannot save what a
/// system call leaves as it is.
pub(super) fn begin(answers: Answers) -> Result<(), &'static str> {
    find_state()?;
    answers::set(answers);
    Ok(())
}

/// Finds the state of the processor that the functions below save. Returns the reason if it cannot
/// be saved.
pub(super) fn find_state() -> Result<(), &'static str> {
    // CPUID 1, ecx: the system has enabled XSAVE.
    const ENABLED: u32 = 1 << 27;
    if __cpuid(1).ecx & ENABLED == 0 {
        return Err(
            "this processor, or its hypervisor, has no XSAVE, without which no call can be \
            answered in the place of the kernel: use another host, or leave --floor out",
        );
    }
    // SAFETY: XSAVE is enabled, so the instruction exists.
    let state = unsafe { _xgetbv(0) } & !UNTOUCHED;
    let mut bytes = HEADER_END;
    for part in (2..63).filter(|part| state & 1 << part != 0) {
        let size = __cpuid_count(0xd, part);
        bytes = bytes.max((size.ebx + size.eax) as usize);
    }
    STATE.store(state, Ordering::SeqCst);
    STATE_BYTES.store(bytes, Ordering::SeqCst);
    Ok(())
}

/// Returns the address of the function that answers a call.
pub(super) fn entry() -> usize {
    (&raw const crane_net_answer).addr()
}

/// Returns the address of the function that makes a call unchanged, which no trap sees.
pub(super) fn passage() -> usize {
    (&raw const crane_net_pass).addr()
}

/// Returns the address of the function that answers a read of the processor's time stamp.
pub(super) fn tsc_entry() -> usize {
    (&raw const crane_net_tsc).addr()
}

unsafe extern "C" fn answer(registers: &Registers) -> isize {
    let Registers { number, r9, r8, r10, rdx, rsi, rdi, .. } = *registers;
    let answers = answers::get().expect("no thread is led here before");
    let point = cancellation::keep_point();
    let lent = lend();
    let result = match number {
        // Only a program that is linked statically is led here with these.
        // SAFETY: the program's own call.
        libc::SYS_clone => unsafe { threads::clone(registers, answers.answer) },
        _ => {
            if number == libc::SYS_exit {
                threads::end();
            }
            // SAFETY: as above.
            unsafe { (answers.answer)(number, [rdi, rsi, rdx, r10, r8, r9]) }
        }
    };
    lent.give_back();
    point.leave();
    arm_again();
    result
}

unsafe extern "C" fn read_tsc() -> u64 {
    let now = tsc::now();
    arm_again();
    now
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
    static crane_net_answer: u8;
    static crane_net_pass: u8;
    static crane_net_tsc: u8;
}

/// The beginning of all functions: below the red zone, they keep the place to go back to, which is
/// in a register of this name and of this number (System V ABI, figure 3.36).
macro_rules! leave_red_zone {
    ($register:literal, $number:literal) => {
        concat!(
            ".cfi_startproc
            .cfi_signal_frame
            .cfi_register 16, ",
            $number,
            "
            .cfi_def_cfa 7, 0
            lea rsp, [rsp - 128]
            .cfi_def_cfa_offset 128
            push ",
            $register,
            "
            .cfi_def_cfa_offset 136
            .cfi_offset 16, -136"
        )
    };
}

/// Begins a frame, and keeps the flags.
macro_rules! begin_frame {
    () => {
        "push rbp
        .cfi_def_cfa_offset 144
        .cfi_offset 6, -144
        mov rbp, rsp
        .cfi_def_cfa_register 6
        pushfq
        cld"
    };
}

/// Keeps what the processor has beside the general registers, on an aligned stack.
macro_rules! save_state {
    () => {
        "sub rsp, qword ptr [rip + {bytes}]
        and rsp, -64
        lea rdi, [rsp + {header}]
        xor eax, eax
        mov ecx, 8
        rep stosq
        mov eax, dword ptr [rip + {state}]
        mov edx, dword ptr [rip + {state} + 4]
        xsave64 [rsp]"
    };
}

macro_rules! restore_state {
    () => {
        "mov eax, dword ptr [rip + {state}]
        mov edx, dword ptr [rip + {state} + 4]
        xrstor64 [rsp]"
    };
}

/// Ends the frame, and goes back.
macro_rules! end_frame {
    () => {
        "popfq
        pop rbp
        .cfi_def_cfa 7, 136
        .cfi_restore 6
        ret 128
        .cfi_endproc"
    };
}

// The frame's address (CFA) is that of the program's stack before the call. With it, libc unwinds
// a thread that ends in a hook.
global_asm!(
    ".pushsection .text.crane_net_answer,\"ax\",@progbits",
    ".hidden crane_net_answer",
    ".globl crane_net_answer",
    ".type crane_net_answer, @function",
    ".balign 16",
    "crane_net_answer:",
    leave_red_zone!("rcx", "2"),
    begin_frame!(),
    "push rdi",
    "push rsi",
    "push rdx",
    "push r10",
    "push r8",
    "push r9",
    "push rax",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    enter_library!(),
    save_state!(),
    "lea rdi, [rbp - 104]",
    "call {answer}",
    "mov qword ptr [rbp - 64], rax",
    restore_state!(),
    leave_library!(),
    "lea rsp, [rbp - 72]",
    "pop rbx",
    "pop rax",
    "pop r9",
    "pop r8",
    "pop r10",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    end_frame!(),
    ".size crane_net_answer, . - crane_net_answer",
    ".hidden crane_net_pass",
    ".globl crane_net_pass",
    ".type crane_net_pass, @function",
    ".balign 16",
    "crane_net_pass:",
    leave_red_zone!("rcx", "2"),
    "syscall",
    "ret 128",
    ".cfi_endproc",
    ".size crane_net_pass, . - crane_net_pass",
    ".popsection",
    state = sym STATE,
    bytes = sym STATE_BYTES,
    answer = sym answer,
    switches = sym SWITCHES,
    header = const HEADER,
);

// The instructions give the lower half in eax, the upper half in edx, and change no other register
// but, as the case may be, ecx.
global_asm!(
    ".pushsection .text.crane_net_tsc,\"ax\",@progbits",
    ".hidden crane_net_tsc",
    ".globl crane_net_tsc",
    ".type crane_net_tsc, @function",
    ".balign 16",
    "crane_net_tsc:",
    leave_red_zone!("rdx", "1"),
    begin_frame!(),
    "push rcx",
    "push rdi",
    "push rsi",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rax",
    "push rbx",
    enter_library!(),
    save_state!(),
    "call {tsc}",
    "mov qword ptr [rbp - 72], rax",
    restore_state!(),
    leave_library!(),
    "lea rsp, [rbp - 80]",
    "pop rbx",
    "pop rax",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rsi",
    "pop rdi",
    "pop rcx",
    "mov rdx, rax",
    "shr rdx, 32",
    "mov eax, eax",
    end_frame!(),
    ".size crane_net_tsc, . - crane_net_tsc",
    ".popsection",
    state = sym STATE,
    bytes = sym STATE_BYTES,
    tsc = sym read_tsc,
    switches = sym SWITCHES,
    header = const HEADER,
);
