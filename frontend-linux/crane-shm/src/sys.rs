//! System calls, made directly.
//!
//! The preload library exports `read`, `open`, functions around `mmap` and even `syscall` itself,
//! so a call through libc from inside the library would reach its own hooks. The library and this
//! crate make their own system calls through rustix, whose `linux_raw` backend calls no libc
//! function, leaves errno unchanged, and allocates nothing for the calls that are used.
//!
//! This module makes two other kinds of calls. The first are those that pass on a program's own
//! arguments: rustix requires open descriptors and valid pointers, but the kernel must be able to
//! answer EBADF or EFAULT. The second are those that rustix lacks or has only in its unstable
//! `runtime`: seccomp, tgkill, signal masks, robust lists and exit_group.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("crane runs on x86_64 Linux");

/// Makes a system call, and returns the kernel's result: a value, or an error number below zero.
///
/// # Safety
/// This function is as unsafe as the call itself: pointers among the arguments must be valid for
/// the kernel's use of them (see the call's manual page).
#[inline]
pub unsafe fn syscall(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the x86-64 kernel ABI: it changes rax, rcx and r11, and memory as the call says,
    // which the caller vouches for.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Converts the kernel's result to a value or an error number.
///
/// # Errors
/// Returns the error number, which is positive.
#[inline]
pub fn checked(result: isize) -> Result<usize, i32> {
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
}

/// Returns the calling thread's number.
pub fn tid() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Returns the calling process's number.
pub fn pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Writes bytes to a descriptor once, and returns how many were written; the rest is not tried
/// again.
///
/// # Errors
/// Returns the error number.
pub fn write(descriptor: i32, bytes: &[u8]) -> Result<usize, i32> {
    let arguments = [descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: the kernel reads `bytes.len()` bytes from a live slice.
    checked(unsafe { syscall(libc::SYS_write, arguments) })
}

/// Reads bytes from a descriptor once, and returns how many were read.
///
/// # Errors
/// Returns the error number.
pub fn read(descriptor: i32, space: &mut [u8]) -> Result<usize, i32> {
    let arguments = [descriptor as usize, space.as_mut_ptr() as usize, space.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most `space.len()` bytes to a live, exclusive slice.
    checked(unsafe { syscall(libc::SYS_read, arguments) })
}

/// Closes a descriptor.
///
/// # Errors
/// Returns the error number.
pub fn close(descriptor: i32) -> Result<(), i32> {
    // SAFETY: close touches no memory of ours.
    checked(unsafe { syscall(libc::SYS_close, [descriptor as usize, 0, 0, 0, 0, 0]) }).map(|_| ())
}
