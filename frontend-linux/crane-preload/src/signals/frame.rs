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

use super::action::{ProgramHandler, end_by};
use super::ends::unwinds_by_context;
use super::masks::{self, bit, block_all, mask_of, set_mask};
use super::stack::{self, Room};
use super::within;
use crate::bases::{self, SWITCHES, SignalFunction};
use crate::net::{self, Lent, Permit, recall};

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
    /// The settings that are restored when the handler has returned.
    after: After,
}

/// The settings that this library restores when a handler of the program's has returned.
#[derive(Clone, Copy)]
#[repr(C)]
struct After {
    /// The address of this library's function to which handlers return: the mark of a frame that
    /// it has made.
    mark: usize,
    /// This library's base, if the handler interrupted this library, or 0.
    base: usize,
    lent: Lent,
    permit: Permit,
}

impl After {
    /// Prepares a handler, whose calls are watched, also where it interrupts an answer.
    fn begin(signal: c_int, base: usize) -> Self {
        // The kernel ends a process that reads while the signal is blocked.
        let permit = if signal == libc::SIGSEGV { Permit::take() } else { Permit::none() };
        Self { mark: handler_end(), base, lent: recall(), permit }
    }

    fn restore(self) {
        self.lent.give_back();
        self.permit.give_back();
    }
}

// The kernel's context ends with a mask of 8 bytes, in the place of libc's longer one.
const _: () = assert!(offset_of!(ucontext_t, uc_sigmask) == MASK_WORD * 8);

/// Runs a handler of the program's. Returns whether it begins when the library's handler ends,
/// which was interrupted with this `base`.
///
/// # Safety
/// The kernel's record and frame of a signal, and the program's own function.
pub(crate) unsafe fn run(
    handler: ProgramHandler,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
    base: usize,
) -> bool {
    // SAFETY: the caller's duty.
    if unsafe { lead(handler, info, context, base) } {
        return true;
    }
    // SAFETY: as above; the program installed this function as a handler; one that takes the number
    // alone ignores the other two, which are in registers.
    unsafe {
        let signal = (*info).si_signo;
        let after = After::begin(signal, 0);
        let function = std::mem::transmute::<usize, SignalFunction>(handler.address);
        let this = if handler.flags & libc::SA_NODEFER == 0 { bit(signal) } else { 0 };
        set_mask(*mask_of(&mut *context) | handler.mask | this);
        bases::call_handler(function, signal, info, context);
        block_all();
        after.restore();
    }
    false
}

/// Leads the thread to a handler of the program's as soon as the library's own handler, which was
/// interrupted with this `base`, has ended. Returns `false` if the library's handler does not run
/// on the thread's own stack.
///
/// # Safety
/// The kernel's record and frame of a signal, and the program's own function.
// specs: S10
unsafe fn lead(
    handler: ProgramHandler,
    info: *const siginfo_t,
    context: *mut ucontext_t,
    base: usize,
) -> bool {
    // SAFETY: the caller's duty.
    let own = unsafe { &mut *context };
    let mut at = own.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    if !stack::is_own(context.addr()) {
        return false;
    }
    let mut rest = None;
    if stack::is_own(at) {
        let Some((program, below)) = within::interrupt(at) else { return false };
        (at, rest) = (program, Some(below));
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
        end_by(libc::SIGSEGV);
        *mask_of(own) &= !masks::OWN;
        return true;
    }
    let is_library = bases::are_two() && base == bases::library();
    let after = After::begin(signal, if is_library { base } else { 0 });
    let frame = ptr::with_exposed_provenance_mut::<Frame>(start);
    // SAFETY: the program's stack below its top, or its alternate stack, of which it uses nothing.
    // Where there is no memory, the fault ends the process, as natively.
    let place = unsafe {
        let state = ptr::with_exposed_provenance_mut::<u8>(state);
        state.copy_from_nonoverlapping(own.uc_mcontext.fpregs.cast(), state_bytes);
        let place = &mut *frame;
        place.end = match handler.restorer {
            0 => handler_end(),
            restorer => restorer,
        };
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
    if let Some(rest) = rest {
        own.uc_stack = rest;
    }
    true
}

/// Has a context begin a handler.
fn begin(
    context: &mut ucontext_t,
    handler: ProgramHandler,
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

fn handler_end() -> usize {
    (&raw const crane_handler_end).addr()
}

/// Does what the handler's end does, for a function of the program's that ends a handler whose
/// context is at this place. Returns the base to set, or 0, or `None` if the frame is none of the
/// library's.
pub(crate) fn end(context: usize) -> Option<usize> {
    let frame = context.wrapping_sub(offset_of!(Frame, context));
    let mark = net::read::<usize>(frame.wrapping_add(offset_of!(Frame, after.mark)));
    // SAFETY: a frame of this library's, which its mark says.
    (mark == Some(handler_end())).then(|| unsafe { finish(context as *mut u64) })
}

/// Restores what the handler's end restores beside the kernel's context. Returns the base to set,
/// or 0.
unsafe extern "C" fn finish(context: *mut u64) -> usize {
    // SAFETY: a frame of this library's, whose handler has returned.
    let frame = unsafe { &mut *context.byte_sub(offset_of!(Frame, context)).cast::<Frame>() };
    frame.context[MASK_WORD] &= !masks::OWN;
    frame.after.restore();
    match frame.after.base {
        0 if bases::are_two() => bases::program(),
        base => base,
    }
}

unsafe extern "C" {
    static crane_handler_end: u8;
}

// The kernel must not trap its call, which is made by this library's text.
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
    ".popsection",
    number = const libc::SYS_rt_sigreturn,
    finish = sym finish,
    switches = sym SWITCHES,
);
