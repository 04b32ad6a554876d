//! sigaltstack: the alternate stack of the program's handlers, of which the kernel does not know.

use std::ffi::c_int;
use std::ptr;

use crane_shm::sys;
use libc::stack_t;

use crate::errno;
use crate::net;
use crate::signals::{stack, within};

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int {
    let arguments = [new.addr(), old.addr(), 0, 0, 0, 0];
    if !stack::is_own_known() {
        // SAFETY: the caller's own arguments.
        let result = unsafe { sys::syscall(libc::SYS_sigaltstack, arguments) };
        return errno::answer_int(sys::checked(result));
    }
    let place = within::place(ptr::from_ref(&new).addr());
    errno::answer_int(sys::checked(net::exchange_stack(arguments, place)))
}
