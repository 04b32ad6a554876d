//! The place in the program that makes a call: the first return address outside of this library.
//!
//! This library is built with frame pointers (see build.rs of crane-linux), so its own frames can
//! be walked in a few loads. The frames of the program are not examined, because it may be built in
//! any way.

use core::arch::asm;
use std::ops::Range;
use std::ptr;

/// The number of this library's frames that may lie on each other.
const FRAMES_MAX: usize = 16;
/// The longest distance between two successive frames of this library.
const FRAME_BYTES_MAX: usize = 256 * 1024;

// By the linker, in every object: where it begins, and where its code ends.
unsafe extern "C" {
    static __ehdr_start: u8;
    static etext: u8;
}

/// Returns the address range of this library's own code.
#[inline(always)]
pub(crate) fn own_text() -> Range<usize> {
    (&raw const __ehdr_start).addr()..(&raw const etext).addr()
}

/// Returns the return address of the program's call into this library, or 0 if it is not found.
#[inline(always)]
pub(crate) fn address() -> u64 {
    let own = own_text();
    let [mut below, mut frame] = stack_and_frame();
    for _ in 0..FRAMES_MAX {
        let Some([next, back]) = frame_above(below, frame) else { return 0 };
        if !own.contains(&back) {
            return back as u64;
        }
        (below, frame) = (frame + 16, next);
    }
    0
}

/// Does the same in a hook that the program called itself.
#[inline(always)]
pub(crate) fn address_of_hook() -> u64 {
    let [below, frame] = stack_and_frame();
    frame_above(below, frame).map_or(0, |[_, back]| back as u64)
}

/// Returns the stack pointer and the frame pointer.
#[inline(always)]
fn stack_and_frame() -> [usize; 2] {
    let (stack, frame): (usize, usize);
    // SAFETY: reads two registers.
    unsafe {
        asm!(
            "mov {}, rsp",
            "mov {}, rbp",
            out(reg) stack,
            out(reg) frame,
            options(nomem, nostack, preserves_flags),
        );
    }
    [stack, frame]
}

/// Returns the two words of a frame of this library that begins above `below`: the caller's frame
/// pointer, and the return address (System V ABI).
#[inline(always)]
fn frame_above(below: usize, frame: usize) -> Option<[usize; 2]> {
    // Without frame pointers the register may hold anything.
    if frame < below || frame - below > FRAME_BYTES_MAX || !frame.is_multiple_of(8) {
        return None;
    }
    // SAFETY: `frame` lies in this thread's stack, near to what is in use. It is the frame of a
    // function of this library: the present one's, or the one that a frame of this library points
    // to because it returns into this library.
    Some(unsafe { *ptr::with_exposed_provenance::<[usize; 2]>(frame) })
}
