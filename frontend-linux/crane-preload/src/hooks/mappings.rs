//! mmap, munmap, mremap, shmdt: what lies at an address may be another object afterwards, which
//! matters to locks in it (see `memory`). The calls are the kernel's.

use std::ffi::{c_int, c_void};

use crane_shm::sys;
use libc::off_t;

use crate::errno;
use crate::host_faults;
use crate::memory;

/// Makes a call that changes the mappings.
///
/// # Safety
/// As unsafe as the call.
unsafe fn change(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, c_int> {
    // SAFETY: the caller's duty.
    let result = sys::checked(unsafe { sys::syscall(number, arguments) });
    memory::forget();
    result
}

/// Makes such a call that returns an address.
///
/// # Safety
/// As unsafe as the call.
unsafe fn place(number: libc::c_long, arguments: [usize; 6]) -> *mut c_void {
    // SAFETY: the caller's duty.
    match unsafe { change(number, arguments) } {
        Ok(address) => std::ptr::with_exposed_provenance_mut(address),
        Err(error) => {
            host_faults::mapping(number, arguments, error);
            errno::set(error);
            libc::MAP_FAILED
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: off_t,
) -> *mut c_void {
    let arguments = [
        address.addr(),
        length,
        protection as usize,
        flags as usize,
        descriptor as usize,
        offset as usize,
    ];
    // SAFETY: the caller's own arguments.
    unsafe { place(libc::SYS_mmap, arguments) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the caller's own arguments; the symbol is this library's own.
    unsafe { mmap(address, length, protection, flags, descriptor, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(address: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    errno::answer_int(unsafe { change(libc::SYS_munmap, [address.addr(), length, 0, 0, 0, 0]) })
}

// The new address is a variadic argument in C; on x86-64 it comes in the same register as a fixed
// one, and is garbage, which the kernel ignores, when the flags do not ask for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    address: *mut c_void,
    length: usize,
    new_length: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    let arguments = [address.addr(), length, new_length, flags as usize, new_address.addr(), 0];
    // SAFETY: the caller's own arguments.
    unsafe { place(libc::SYS_mremap, arguments) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn shmdt(address: *const c_void) -> c_int {
    // SAFETY: the caller's own argument.
    errno::answer_int(unsafe { change(libc::SYS_shmdt, [address.addr(), 0, 0, 0, 0, 0]) })
}
