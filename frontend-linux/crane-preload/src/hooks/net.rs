//! prctl, where it touches the net's setting, or a filter that would blind the net.

use std::ffi::{c_int, c_ulong};

use crate::errno;
use crate::net;

// The arguments behind the option are variadic in C; on x86-64 they come in registers as fixed ones
// do, and those not given are garbage that no option reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int {
    let arguments = [option as usize, a as usize, b as usize, c as usize, d as usize, 0];
    // SAFETY: the caller's own arguments.
    errno::answer_int(crane_shm::sys::checked(unsafe { net::pass(libc::SYS_prctl, arguments) }))
}
