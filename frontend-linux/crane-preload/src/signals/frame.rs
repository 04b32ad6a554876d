//! The frame of a handler of the program's.
//!
//! The library's own handlers run on a stack of its own (see [`stack`]). One that finds that a
//! handler of the program's is due builds the frame that the kernel would have built, where the
//! kernel would have, and lets its own end lead there. So no handler of the program's lies on top
//! of the library's code, and it may end in any way: by returning, by siglongjmp(3), with its
//! thread.
//!
//! A frame is the kernel's `struct rt_sigframe` and the state of the processor behind it
//! (arch/x86/include/asm/sigframe.h), with a few words of the library's between the two.

use std::arch::global_asm;
use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr;

use libc::{siginfo_t, ucontext_t};

use super::stack::{self, Room};
use super::{bit, masks};
use crate::bases::{self, SWITCHES};
use crate::net;

/// The words of the kernel's context, with which libc's begins.
const CONTEXT_WORDS: usize = 38;
/// The mask's place in it.
const MASK_WORD: usize = 37;

#[repr(C)]
struct Frame {
    /// The place to which the handler returns.
    end: usize,
    context: [u64; CONTEXT_WORDS],
    info: siginfo_t,
    /// What this library restores when the handler has returned.
    after: After,
}

/// What this library restores when a handler of the program's has returned.
#[derive(Clone, Copy)]
#[repr(C)]
struct After {
    /// This library's base, if the handler interrupted this library, or 0.
    base: usize,
    net: net::AfterHandler,
}

// The kernel's context ends with a mask of 8 bytes, in the place of libc's longer one.
const _: () = assert!(offset_of!(ucontext_t, uc_sigmask) == MASK_WORD * 8);

/// A handler of the program's for a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handler {
    pub address: usize,
    /// The flags with which the program installed it.
    pub flags: c_int,
    /// The signals that it blocks.
    pub mask: u64,
}

/// Leads the thread to a handler of the program's as soon as the library's own handler, which was
/// interrupted with this `base`, has ended. Returns `false` if the library's handler does not run
/// on the thread's own stack.
///
/// # Safety
/// The kernel's record and frame of a signal, and the program's own function.
// specs: S10
pub(crate) unsafe fn lead(
    handler: Handler,
    info: *const siginfo_t,
    context: *mut ucontext_t,
    base: usize,
) -> bool {
    // SAFETY: the caller's duty.
    let own = unsafe { &mut *context };
    let at = own.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    if !stack::is_own(context.addr()) || stack::is_own(at) {
        return false;
    }
    // SAFETY: as above.
    let signal = unsafe { (*info).si_signo };
    let Room { top, bottom } = stack::room(at, handler.flags & libc::SA_ONSTACK != 0);
    let state_bytes = state_bytes(own);
    let state = top.wrapping_sub(state_bytes) & !63;
    // The handler begins as a function that was called.
    let start = (state.wrapping_sub(size_of::<Frame>()) & !15).wrapping_sub(8);
    if start <= bottom || start > top {
        // As the kernel, which finds no room.
        net::end_by_fault(mask_of(own));
        return true;
    }
    let after = After {
        base: if bases::are_two() && base == bases::library() { base } else { 0 },
        net: net::begin_handler(signal, bottom != 0 && top - bottom < net::ROOM),
    };
    let frame = ptr::with_exposed_provenance_mut::<Frame>(start);
    // SAFETY: the program's stack below its top, or its alternate stack, of which it uses nothing.
    // Where there is no memory, the fault ends the process, as natively.
    let place = unsafe {
        let state = ptr::with_exposed_provenance_mut::<u8>(state);
        state.copy_from_nonoverlapping(own.uc_mcontext.fpregs.cast(), state_bytes);
        let place = &mut *frame;
        place.end = (&raw const crane_handler_end).addr();
        place.context = *ptr::from_ref(own).cast();
        place.info = *info;
        place.after = after;
        let context = &mut *(&raw mut place.context).cast::<ucontext_t>();
        context.uc_mcontext.fpregs = if state_bytes == 0 { ptr::null_mut() } else { state.cast() };
        *mask_of(context) &= !masks::OWN;
        place
    };
    let arguments =
        [signal as usize, (&raw const place.info).addr(), place.context.as_ptr().addr()];
    begin(own, handler, signal, start, arguments);
    true
}

/// Has a context begin a handler.
fn begin(
    context: &mut ucontext_t,
    handler: Handler,
    signal: c_int,
    start: usize,
    [first, second, third]: [usize; 3],
) {
    /// Flags that the kernel clears: direction, single step, resume.
    const CLEARED: i64 = 1 << 10 | 1 << 8 | 1 << 16;
    let registers = &mut context.uc_mcontext.gregs;
    for (register, value) in [
        (libc::REG_RIP, handler.address),
        (libc::REG_RSP, start),
        (libc::REG_RDI, first),
        (libc::REG_RSI, second),
        (libc::REG_RDX, third),
        (libc::REG_RAX, 0),
    ] {
        registers[register as usize] = value as i64;
    }
    registers[libc::REG_EFL as usize] &= !CLEARED;
    // Without a state, the kernel gives the initial one.
    context.uc_mcontext.fpregs = ptr::null_mut();
    let is_deferred = handler.flags & libc::SA_NODEFER == 0;
    let this = if is_deferred { bit(signal) } else { 0 };
    let mask = mask_of(context);
    *mask = (*mask | handler.mask) & !masks::OWN | this & !bit(libc::SIGSYS);
}

/// Returns the mask that the context's thread gets.
pub(crate) fn mask_of(context: &mut ucontext_t) -> &mut u64 {
    // SAFETY: the kernel's mask of 8 bytes is the beginning of libc's, which is longer.
    unsafe { &mut *(&raw mut context.uc_sigmask).cast::<u64>() }
}

/// Returns the size of the processor's state beside the general registers, to which a context
/// leads.
fn state_bytes(context: &ucontext_t) -> usize {
    /// The least: that of FXSAVE.
    const LEAST: usize = 512;
    /// The kernel's note in it (`struct _fpx_sw_bytes`): a mark, and the size.
    const NOTE: usize = 464;
    const MARK: u32 = 0x4650_5853;
    if context.uc_mcontext.fpregs.is_null() {
        return 0;
    }
    // SAFETY: the state that the kernel has saved.
    let [mark, size] = unsafe { *context.uc_mcontext.fpregs.byte_add(NOTE).cast::<[u32; 2]>() };
    if mark == MARK { size as usize } else { LEAST }
}

/// Restores what the handler's end restores beside the kernel's context. Returns the base to set,
/// or 0.
unsafe extern "C" fn finish(context: *mut u64) -> usize {
    // SAFETY: a frame of this library's, whose handler has returned.
    let frame = unsafe { &mut *context.byte_sub(offset_of!(Frame, context)).cast::<Frame>() };
    frame.context[MASK_WORD] &= !masks::OWN;
    frame.after.net.restore();
    match frame.after.base {
        0 if bases::are_two() => bases::program(),
        base => base,
    }
}

unsafe extern "C" {
    static crane_handler_end: u8;
    static crane_own_end: u8;
}

/// Returns the address of the end of the library's own handlers.
pub(crate) fn own_end() -> usize {
    (&raw const crane_own_end).addr()
}

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

// The kernel must not trap these calls, which are made by this library's text.
global_asm!(
    ".pushsection .text.crane_handler_end,\"ax\",@progbits",
    ".balign 16",
    unwinds_by_context!(),
    ".hidden crane_handler_end",
    ".globl crane_handler_end",
    ".type crane_handler_end, @function",
    "crane_handler_end:",
    "cmp byte ptr [rip + {switches}], 0",
    "je 775f",
    "mov rax, qword ptr gs:[0]",
    "wrfsbase rax",
    "775:",
    "mov rdi, rsp",
    "call {finish}",
    "test rax, rax",
    "je 776f",
    "wrfsbase rax",
    "776:",
    "mov eax, {number}",
    "syscall",
    "ud2",
    ".cfi_endproc",
    ".size crane_handler_end, . - crane_handler_end",
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
    finish = sym finish,
    switches = sym SWITCHES,
);
