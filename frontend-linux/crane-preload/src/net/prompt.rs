//! Prompt answers: those that a [detour](super::detours) gets without a trap, where nothing else is
//! due at the call ([`quiet`](crate::quiet)).
//!
//! They run on the program's stack, of which they use less than a kibibyte, and change no register
//! that the instruction would not. Of the vectors they save what code of this library may change:
//! the lower halves of sixteen, for it is compiled for the first processors of the architecture,
//! and calls nothing of libc's. Where there is no such answer, the detour makes the call, and that
//! raises the trap.

use std::arch::naked_asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{c_long, clockid_t};

use super::answers;
use crate::bases::{self, enter_library, leave_library};
use crate::signals;

/// How many bytes behind its return address a detour goes on that gets no answer.
pub(super) const UNANSWERED: usize = 10;
pub(super) const UNANSWERED_CALL: usize = 13;

/// No answer, an answer, and one behind which signals of the thread are due.
const NONE: u32 = 0;
const GIVEN: u32 = 1;
const GIVEN_WITH_SIGNALS: u32 = 2;

/// An answer: the place for two words, and these. A read of the time stamp has one, and no place.
#[derive(Default)]
#[repr(C)]
struct Prompt {
    place: usize,
    words: [u64; 2],
}

/// Returns the address of the function that answers reads of the time stamp.
pub(super) fn for_tsc() -> usize {
    prepare_state();
    (give_time as *const ()).addr()
}

/// Returns the address of the function that answers calls.
pub(super) fn for_calls() -> usize {
    prepare_state();
    (give_answer as *const ()).addr()
}

/// Returns whether calls of this number may have prompt answers.
pub(super) fn has_answer(number: c_long) -> bool {
    answers::is_begun() && [libc::SYS_clock_gettime, libc::SYS_gettimeofday].contains(&number)
}

/// Returns where a thread goes on that was at this instruction when memory was missing, if it was
/// about to write an answer to the program's place.
pub(super) fn behind_fault(at: usize) -> Option<usize> {
    unsafe extern "C" {
        static crane_prompt_write: u8;
        static crane_prompt_written: u8;
        static crane_prompt_bad: u8;
    }
    let writes = (&raw const crane_prompt_write).addr()..(&raw const crane_prompt_written).addr();
    writes.contains(&at).then(|| (&raw const crane_prompt_bad).addr())
}

/// The parts of the processor's state that functions of this library and libc may change: x87, SSE,
/// AVX, AVX-512 (Intel's manual, volume 1, 13.1).
const PARTS: u32 = 0b1110_0111;

/// The bytes that they take, once they are known.
static STATE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Finds the size of these parts, in the form in which `xsave` writes them.
fn prepare_state() {
    const LEAF: u32 = 0xd;
    const LEGACY_AND_HEADER: u32 = 576;
    if STATE_BYTES.load(Ordering::SeqCst) != 0 {
        return;
    }
    let parts = (2..8).filter(|part| PARTS & 1 << part != 0);
    let ends = parts.map(|part| {
        let about = __cpuid_count(LEAF, part);
        about.eax + about.ebx
    });
    let bytes = ends.fold(LEGACY_AND_HEADER, u32::max).next_multiple_of(64);
    STATE_BYTES.store(bytes as usize, Ordering::SeqCst);
}

fn read(clock: clockid_t, from: usize) -> Option<u64> {
    (answers::get()?.clock)(clock, from as u64)
}

fn given() -> u32 {
    if signals::any() { GIVEN_WITH_SIGNALS } else { GIVEN }
}

// specs: S12
extern "C" fn time(_: u32, _: usize, _: usize, prompt: &mut Prompt, from: usize) -> u32 {
    let Some(now) = read(libc::CLOCK_MONOTONIC, from) else { return NONE };
    prompt.words[0] = now;
    given()
}

// specs: S12
extern "C" fn answer(number: u32, a: usize, b: usize, prompt: &mut Prompt, from: usize) -> u32 {
    const SECOND: u64 = 1_000_000_000;
    let is_time_of_day = c_long::from(number) == libc::SYS_gettimeofday;
    // A zone may be asked for, too.
    let (clock, place) = match is_time_of_day {
        true => (libc::CLOCK_REALTIME, if b == 0 { a } else { 0 }),
        false => (a as clockid_t, b),
    };
    // Without a place, one of the two does nothing.
    if place == 0 {
        return NONE;
    }
    let Some(now) = read(clock, from) else { return NONE };
    let (seconds, rest) = (now / SECOND, now % SECOND);
    *prompt = Prompt { place, words: [seconds, if is_time_of_day { rest / 1000 } else { rest }] };
    given()
}

/// Sends the calling thread the signals that are due.
extern "C" fn deliver() {
    if let Some(answers) = answers::get() {
        (answers.deliver)();
    }
}

/// Defines a function that a detour calls: it asks one of the functions above, and does something
/// with the answer, which is at [rsp + 256]. r9d says whether there is one. The registers that the
/// program gets are in memory: rax is at [rbp - 96], rdx at [rbp - 32].
macro_rules! give {
    ($name:ident, $function:path, $unanswered:expr, $($give:literal,)+) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                "push rbp",
                ".cfi_def_cfa_offset 16",
                ".cfi_offset 6, -16",
                "mov rbp, rsp",
                ".cfi_def_cfa_register 6",
                "pushfq",
                "push rbx",
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                "push r12",
                "push rax",
                "cld",
                "sub rsp, 288",
                "and rsp, -16",
                "movaps [rsp], xmm0",
                "movaps [rsp + 16], xmm1",
                "movaps [rsp + 32], xmm2",
                "movaps [rsp + 48], xmm3",
                "movaps [rsp + 64], xmm4",
                "movaps [rsp + 80], xmm5",
                "movaps [rsp + 96], xmm6",
                "movaps [rsp + 112], xmm7",
                "movaps [rsp + 128], xmm8",
                "movaps [rsp + 144], xmm9",
                "movaps [rsp + 160], xmm10",
                "movaps [rsp + 176], xmm11",
                "movaps [rsp + 192], xmm12",
                "movaps [rsp + 208], xmm13",
                "movaps [rsp + 224], xmm14",
                "movaps [rsp + 240], xmm15",
                "mov rdx, rsi",
                "mov rsi, rdi",
                "mov edi, eax",
                "lea rcx, [rsp + 256]",
                "mov r8, qword ptr [rbp + 8]",
                "call {function}",
                "mov r9d, eax",
                "movaps xmm0, [rsp]",
                "movaps xmm1, [rsp + 16]",
                "movaps xmm2, [rsp + 32]",
                "movaps xmm3, [rsp + 48]",
                "movaps xmm4, [rsp + 64]",
                "movaps xmm5, [rsp + 80]",
                "movaps xmm6, [rsp + 96]",
                "movaps xmm7, [rsp + 112]",
                "movaps xmm8, [rsp + 128]",
                "movaps xmm9, [rsp + 144]",
                "movaps xmm10, [rsp + 160]",
                "movaps xmm11, [rsp + 176]",
                "movaps xmm12, [rsp + 192]",
                "movaps xmm13, [rsp + 208]",
                "movaps xmm14, [rsp + 224]",
                "movaps xmm15, [rsp + 240]",
                "cmp r9d, {with_signals}",
                "je 780f",
                "781:",
                "test r9d, r9d",
                "je 782f",
                $($give,)+
                "783:",
                // The flags: popfq costs as much as all the rest.
                "test byte ptr [rbp - 7], 4",
                "jne 784f",
                "mov ah, byte ptr [rbp - 8]",
                "mov al, byte ptr [rbp - 7]",
                "and al, 8",
                "add al, 0x78",
                "sahf",
                "785:",
                "lea rsp, [rbp - 96]",
                "pop rax",
                "pop r12",
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rdi",
                "pop rsi",
                "pop rdx",
                "pop rcx",
                "pop rbx",
                "lea rsp, [rsp + 8]",
                "pop rbp",
                ".cfi_remember_state",
                ".cfi_def_cfa 7, 8",
                "ret",
                ".cfi_restore_state",
                "782:",
                "add qword ptr [rbp + 8], {unanswered}",
                "jmp 783b",
                // The direction flag is set.
                "784:",
                "push qword ptr [rbp - 8]",
                "popfq",
                "jmp 785b",
                // The signals' sender may change all of the processor's state.
                "780:",
                "mov r12, rsp",
                enter_library!(),
                "sub rsp, qword ptr [rip + {bytes}]",
                "and rsp, -64",
                "xor eax, eax",
                "mov qword ptr [rsp + 512], rax",
                "mov qword ptr [rsp + 520], rax",
                "mov qword ptr [rsp + 528], rax",
                "mov qword ptr [rsp + 536], rax",
                "mov qword ptr [rsp + 544], rax",
                "mov qword ptr [rsp + 552], rax",
                "mov qword ptr [rsp + 560], rax",
                "mov qword ptr [rsp + 568], rax",
                "mov eax, {parts}",
                "xor edx, edx",
                "xsave64 [rsp]",
                "call {deliver}",
                "mov eax, {parts}",
                "xor edx, edx",
                "xrstor64 [rsp]",
                leave_library!(),
                "mov rsp, r12",
                "mov r9d, {given}",
                "jmp 781b",
                ".cfi_endproc",
                function = sym $function,
                deliver = sym deliver,
                switches = sym bases::SWITCHES,
                bytes = sym STATE_BYTES,
                parts = const PARTS,
                unanswered = const $unanswered,
                given = const GIVEN,
                with_signals = const GIVEN_WITH_SIGNALS,
            )
        }
    };
}

// The time in edx and eax.
give!(
    give_time,
    time,
    UNANSWERED,
    "mov eax, dword ptr [rsp + 264]",
    "mov edx, dword ptr [rsp + 268]",
    "mov qword ptr [rbp - 96], rax",
    "mov qword ptr [rbp - 32], rdx",
);

// The words at their place, and 0; or `-EFAULT`, if a write there raises SIGSEGV.
give!(
    give_answer,
    answer,
    UNANSWERED_CALL,
    "mov r10, qword ptr [rsp + 256]",
    "mov rcx, qword ptr [rsp + 264]",
    "mov r11, qword ptr [rsp + 272]",
    "mov qword ptr [rbp - 96], 0",
    ".hidden crane_prompt_write",
    ".globl crane_prompt_write",
    "crane_prompt_write:",
    "mov qword ptr [r10], rcx",
    "mov qword ptr [r10 + 8], r11",
    ".hidden crane_prompt_written",
    ".globl crane_prompt_written",
    "crane_prompt_written:",
    "jmp 783f",
    ".hidden crane_prompt_bad",
    ".globl crane_prompt_bad",
    "crane_prompt_bad:",
    "mov qword ptr [rbp - 96], -14",
);
