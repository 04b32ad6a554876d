//! System calls, made directly.
//!
//! The preload library exports `read`, `open`, `mmap`'s neighbours and even `syscall` itself; a
//! call through libc from inside it would come back to its own hooks. What it and this crate ask of
//! the kernel for themselves goes through rustix: its `linux_raw` backend calls no libc function,
//! leaves errno alone, and allocates nothing for the calls that are used.
//!
//! Two kinds of calls are made here instead. Those that pass on a program's own arguments: rustix
//! wants open descriptors and valid pointers, where the kernel is to answer EBADF or EFAULT. And
//! those that rustix lacks or has only in its unstable `runtime`: seccomp, tgkill, signal masks,
//! robust lists, exit_group.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("crane runs on x86_64 Linux");

/// Makes a system call and gives what the kernel returns: a value, or an error number below zero.
///
/// # Safety
/// As unsafe as the call itself: pointers among the arguments must be valid for what the kernel
/// does with them (see the call's manual page).
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

/// A value, or the kernel's error number.
///
/// # Errors
/// The error number, positive.
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

/// Writes bytes to a descriptor, once; what does not fit is not tried again.
///
/// # Errors
/// The error number.
pub fn write(descriptor: i32, bytes: &[u8]) -> Result<usize, i32> {
    let arguments = [descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: the kernel reads `bytes.len()` bytes from a live slice.
    checked(unsafe { syscall(libc::SYS_write, arguments) })
}

/// Reads bytes from a descriptor, once.
///
/// # Errors
/// The error number.
pub fn read(descriptor: i32, space: &mut [u8]) -> Result<usize, i32> {
    let arguments = [descriptor as usize, space.as_mut_ptr() as usize, space.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most `space.len()` bytes to a live, exclusive slice.
    checked(unsafe { syscall(libc::SYS_read, arguments) })
}

/// Closes a descriptor.
///
/// # Errors
/// The error number.
pub fn close(descriptor: i32) -> Result<(), i32> {
    // SAFETY: close touches no memory of ours.
    checked(unsafe { syscall(libc::SYS_close, [descriptor as usize, 0, 0, 0, 0, 0]) }).map(|_| ())
}
