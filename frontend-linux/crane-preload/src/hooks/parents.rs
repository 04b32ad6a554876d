//! prctl: the signal at the end of the parent, and what touches the net's setting or a filter that
//! would blind the net.

use std::ffi::{c_int, c_ulong};

use crane_shm::sys;

use crate::errno;
use crate::fork;
use crate::net;
use crate::parents;
use crate::turn::enter;

// The arguments behind the option are variadic in C; on x86-64 they come in registers as fixed ones
// do, and those not given are garbage that no option reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int {
    let arguments = [option as usize, a as usize, b as usize, c as usize, d as usize, 0];
    if let Some(result) = of_parent(option, arguments[1]) {
        return errno::answer_int(result);
    }
    // SAFETY: the caller's own arguments.
    errno::answer_int(sys::checked(unsafe { net::pass(libc::SYS_prctl, arguments) }))
}

/// Answers about the signal at the end of the parent, or returns `None` if the real call is due.
pub(super) fn of_parent(option: c_int, argument: usize) -> Option<Result<usize, c_int>> {
    if !net::is_of_parent(option) || !fork::take_part() {
        return None;
    }
    let mut held = enter()?;
    let me = usize::from(held.me.0);
    let wished = &mut held.world().threads[me].at_parents_end;
    let result = match option {
        libc::PR_SET_PDEATHSIG => match parents::is_wish(argument) {
            Some(signal) => {
                *wished = signal;
                Ok(0)
            }
            None => Err(libc::EINVAL),
        },
        _ if argument != 0 && net::write(argument, wished) => Ok(0),
        _ => Err(libc::EFAULT),
    };
    held.leave();
    Some(result)
}
