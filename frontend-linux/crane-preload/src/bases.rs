//! The two bases of a thread, where the program has a C library of its own, or none.
//!
//! A program that is linked statically keeps its thread's data at its own base (the register FS),
//! and so do this library and its libc. Each thread then has both: the program's base is set while
//! the program's code runs, and this library's while its own does. The place of the two is found by
//! the register GS, which no C library uses on x86-64.
//!
//! A program that is linked dynamically shares libc with this library, and its threads have one
//! base, until it makes a thread with a base of its own (clone(2), `CLONE_SETTLS`). On a floor all
//! threads are prepared for that.

use std::arch::{asm, global_asm, naked_asm};
use std::ffi::c_int;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU8, Ordering};

use libc::{siginfo_t, ucontext_t};

/// Whether threads have two bases. The functions below read it as a byte.
pub(crate) static SWITCHES: AtomicU8 = AtomicU8::new(0);

/// `HWCAP2_FSGSBASE` (asm/hwcap2.h): programs may set the registers themselves.
const MAY_SET: u64 = 1 << 1;

/// Options of arch_prctl(2).
const SET_FS: usize = 0x1002;
const GET_FS: usize = 0x1003;
const SET_GS: usize = 0x1001;
const GET_GS: usize = 0x1004;

/// The end of a program's addresses (`TASK_SIZE_MAX`).
pub(crate) const USER_END: usize = (1 << 47) - 4096;

// The thread's two bases: this library's, then the program's.
global_asm!(
    ".pushsection .tbss.crane_bases,\"awT\",@nobits",
    ".hidden crane_bases",
    ".globl crane_bases",
    ".type crane_bases, @object",
    ".size crane_bases, 16",
    ".balign 8",
    "crane_bases:",
    ".zero 16",
    ".popsection",
);

/// Returns whether threads of this process have two bases.
#[inline]
pub(crate) fn are_two() -> bool {
    SWITCHES.load(Ordering::Relaxed) != 0
}

/// Returns whether programs may set the bases of their threads on this host.
pub(crate) fn may_be_set() -> bool {
    // SAFETY: reads a vector that the kernel made for the process.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & MAY_SET != 0 }
}

/// Gives the calling thread, which has this library's base, a second one.
///
/// # Errors
/// Returns the reason if this host cannot.
pub(crate) fn begin(program: usize) -> Result<(), &'static str> {
    if !may_be_set() {
        return Err(
            "this kernel (before 5.9) or processor lets no program set the base of its threads, \
             without which no statically linked program can be interposed",
        );
    }
    prepare();
    set_program(program);
    SWITCHES.store(1, Ordering::SeqCst);
    Ok(())
}

/// Prepares the calling thread, which has this library's base, for a program whose threads have two
/// at some time: both are this one. Call it only where bases [may be set](may_be_set).
pub(crate) fn prepare() {
    // SAFETY: the place is the thread's own, and lives as long as it. GS is nobody's.
    unsafe {
        asm!(
            "mov {place}, qword ptr [rip + crane_bases@GOTTPOFF]",
            "add {place}, qword ptr fs:[0]",
            "rdfsbase {base}",
            "mov qword ptr [{place}], {base}",
            "mov qword ptr [{place} + 8], {base}",
            "wrgsbase {place}",
            place = out(reg) _,
            base = out(reg) _,
            options(nostack),
        );
    }
}

/// Returns the program's base of the calling thread.
pub(crate) fn program() -> usize {
    let base;
    // SAFETY: GS leads to the thread's two bases.
    unsafe { asm!("mov {}, qword ptr gs:[8]", out(reg) base, options(nostack, readonly)) };
    base
}

/// Returns this library's base of the calling thread.
pub(crate) fn library() -> usize {
    let base;
    // SAFETY: as above.
    unsafe { asm!("mov {}, qword ptr gs:[0]", out(reg) base, options(nostack, readonly)) };
    base
}

/// Returns the base that the calling thread has.
#[inline(always)]
pub(crate) fn current() -> usize {
    let base;
    // SAFETY: the base leads to its own value (System V ABI, thread-local storage).
    unsafe {
        asm!(
            "mov {}, qword ptr fs:[0]",
            out(reg) base,
            options(nostack, readonly, preserves_flags),
        );
    }
    base
}

/// Returns this library's base of the calling thread, which has it or the program's.
#[inline(always)]
pub(crate) fn library_or_current() -> usize {
    if are_two() { library() } else { current() }
}

/// Sets the program's base of the calling thread, which has this library's now.
pub(crate) fn set_program(base: usize) {
    // SAFETY: as above.
    unsafe { asm!("mov qword ptr gs:[8], {}", in(reg) base, options(nostack)) };
}

/// Answers arch_prctl(2) for the program's bases, or returns `None` if the kernel must answer.
/// `put` writes to the program's place, and returns whether there is one.
pub(crate) fn arch_prctl(
    option: usize,
    value: usize,
    put: impl FnOnce(usize) -> bool,
) -> Option<isize> {
    match option {
        SET_FS if value >= USER_END => Some(-(libc::EPERM as isize)),
        SET_FS => {
            set_program(value);
            Some(0)
        }
        GET_FS if put(program()) => Some(0),
        GET_FS => Some(-(libc::EFAULT as isize)),
        // It is this library's.
        SET_GS | GET_GS => Some(-(libc::EPERM as isize)),
        _ => None,
    }
}

/// Sets this library's base, and keeps in rbx the one that was set before. Changes rax.
macro_rules! enter_library {
    () => {
        "cmp byte ptr [rip + {switches}], 0
        je 771f
        rdfsbase rbx
        mov rax, qword ptr gs:[0]
        cmp rax, rbx
        je 771f
        mov qword ptr gs:[8], rbx
        wrfsbase rax
        771:"
    };
}

/// Sets the base again that was set before [`enter_library`]: this library's, or the program's,
/// which may be another now. Changes rcx, and rbx.
macro_rules! leave_library {
    () => {
        "cmp byte ptr [rip + {switches}], 0
        je 772f
        cmp rbx, qword ptr gs:[0]
        cmove rcx, rbx
        cmovne rcx, qword ptr gs:[8]
        wrfsbase rcx
        772:"
    };
}
pub(crate) use {enter_library, leave_library};

/// The place of the interrupted instruction's address in a context.
pub(crate) const INTERRUPTED: usize =
    offset_of!(ucontext_t, uc_mcontext.gregs) + libc::REG_RIP as usize * 8;

/// A function for signals, as the kernel calls it.
pub(crate) type SignalFunction = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut ucontext_t);

/// Defines a function that the kernel calls for a signal: it runs one of this library's with this
/// library's base, and with the base before as the last argument. If that returns `true`, the
/// signal's frame leads to code of the program's.
///
/// Its frame looks as if the program had called it at the place that was interrupted, and it can be
/// unwound.
macro_rules! for_signals {
    ($name:ident, $symbol:literal, $function:path) => {
        unsafe extern "C" {
            #[link_name = $symbol]
            fn $name();
        }
        ::std::arch::global_asm!(
            concat!(".pushsection .text.", $symbol, ",\"ax\",@progbits"),
            concat!(".hidden ", $symbol),
            concat!(".globl ", $symbol),
            concat!(".type ", $symbol, ", @function"),
            ".balign 16",
            concat!($symbol, ":"),
            ".cfi_startproc",
            "push rbx",
            ".cfi_def_cfa_offset 16",
            ".cfi_offset 3, -16",
            "push qword ptr [rdx + {interrupted}]",
            ".cfi_def_cfa_offset 24",
            "push rbp",
            ".cfi_def_cfa_offset 32",
            ".cfi_offset 6, -32",
            "mov rbp, rsp",
            ".cfi_def_cfa_register 6",
            $crate::bases::enter_library!(),
            "mov rcx, rbx",
            "call {function}",
            "test al, al",
            "je 774f",
            "xor ebx, ebx",
            "774:",
            $crate::bases::leave_library!(),
            "pop rbp",
            ".cfi_def_cfa 7, 24",
            "pop rbx",
            "pop rbx",
            ".cfi_def_cfa_offset 8",
            "ret",
            ".cfi_endproc",
            concat!(".size ", $symbol, ", . - ", $symbol),
            ".popsection",
            interrupted = const $crate::bases::INTERRUPTED,
            switches = sym $crate::bases::SWITCHES,
            function = sym $function,
        );
    };
}
pub(crate) use for_signals;

/// Calls the program's handler of a signal with the program's base.
///
/// # Safety
/// The program's own function, with the kernel's record and frame of this signal.
pub(crate) unsafe fn call_handler(
    handler: SignalFunction,
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
) {
    if are_two() {
        // SAFETY: the caller's duty.
        unsafe { call_with_program(handler, signal, info, context) }
    } else {
        // SAFETY: the caller's duty.
        unsafe { handler(signal, info, context) }
    }
}

#[unsafe(naked)]
unsafe extern "C" fn call_with_program(
    _handler: SignalFunction,
    _signal: c_int,
    _info: *mut siginfo_t,
    _context: *mut ucontext_t,
) {
    naked_asm!(
        "push rbx",
        "rdfsbase rbx",
        "mov rax, rdi",
        "mov edi, esi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov rcx, qword ptr gs:[8]",
        "wrfsbase rcx",
        "call rax",
        "wrfsbase rbx",
        "pop rbx",
        "ret",
    )
}
