//! A statically linked program: this library is the program that the kernel starts, maps the real
//! one beside itself, and jumps to its first instruction.
//!
//! | room | thought |
//! |---|---|
//! | [`layout`] | the parts of a program's file that are mapped |
//! | [`vector`] | the stack that a program begins with |
//! | [`own`] | its name and its file |

mod layout;
pub(crate) mod own;
mod vector;

use std::arch::{asm, naked_asm};
use std::ffi::CStr;

use crate::bases;
use crate::kept::PROGRAM;
use crate::start;
use layout::Layout;
use vector::Vector;

/// The dynamic linker that makes this library a program.
#[used]
#[unsafe(link_section = ".interp")]
static LINKER: [u8; 28] = *b"/lib64/ld-linux-x86-64.so.2\0";

/// The first instruction of this library as a program (see build.rs): the dynamic linker jumps
/// here with the kernel's vector on the stack. The frames below it begin lower, so that the real
/// program's vector has room between.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn crane_program_entry() -> ! {
    naked_asm!(
        "mov rdi, rsp",
        "xor ebp, ebp",
        "sub rsp, {room}",
        "and rsp, -16",
        "call {begin}",
        "ud2",
        room = const vector::ROOM,
        begin = sym begin,
    )
}

unsafe extern "C" fn begin(stack: *mut usize) -> ! {
    // SAFETY: the kernel's vector.
    match unsafe { prepare(stack) } {
        Ok((entry, stack)) => {
            // SAFETY: the program's first instruction, and the stack that it begins with
            // (System V ABI): rdx has no function to be called at the end.
            unsafe {
                asm!(
                    "mov rcx, qword ptr gs:[8]",
                    "wrfsbase rcx",
                    "mov rsp, rsi",
                    "xor edx, edx",
                    "xor ebp, ebp",
                    "jmp rdi",
                    in("rsi") stack,
                    in("rdi") entry,
                    options(noreturn),
                )
            }
        }
        Err(why) => start::refuse(&why),
    }
}

/// Takes part in the run, and maps the program. Returns its first instruction and its stack.
///
/// # Safety
/// `stack` leads to the kernel's vector, with room below it.
unsafe fn prepare(stack: *mut usize) -> Result<(usize, usize), String> {
    // SAFETY: the caller's duty.
    let vector = unsafe { Vector::at(stack) };
    let library = vector.executed().ok_or("the kernel does not say where this library is")?;
    start::begin_as_program(vector.environment(), library);
    let program = start::take_variable(vector.environment(), PROGRAM);
    let program: &'static CStr = program.ok_or("it was given no program")?;
    let image = Layout::read(program)?.map()?;
    own::set(program);
    bases::begin(0)?;
    // SAFETY: the caller's duty.
    Ok((image.entry, unsafe { vector.write(program, &image) }?))
}
