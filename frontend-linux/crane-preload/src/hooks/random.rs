//! getrandom, getentropy, arc4random*: bytes of ChaCha20 from the seed in the genesis entry.

use std::ffi::{c_int, c_uint, c_void};

use crane_shm::sys;
use rand_chacha::rand_core::RngCore;

use crate::errno;
use crate::turn::{Call, begin};

/// The number of bytes that getentropy(3) allows at a time.
const ENTROPY_MAX: usize = 256;

/// The flags that getrandom(2) knows, and those that exclude each other.
const FLAGS: c_uint = libc::GRND_NONBLOCK | SOURCES;
const SOURCES: c_uint = libc::GRND_RANDOM | libc::GRND_INSECURE;

/// Fills a space with agreed random bytes, or returns `false` if the real call is due.
pub(super) fn fill(space: &mut [u8]) -> bool {
    let Some(mut held) = begin(Call::Random, space.len() as u32) else { return false };
    held.world().random.fill_bytes(space);
    held.end();
    true
}

/// Returns the caller's memory.
fn space<'a>(start: *mut c_void, length: usize) -> &'a mut [u8] {
    if length == 0 {
        return &mut [];
    }
    // SAFETY: the hook's caller gives a place of this length, which nobody else uses during the
    // call.
    unsafe { std::slice::from_raw_parts_mut(start.cast(), length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(start: *mut c_void, length: usize, flags: c_uint) -> isize {
    // The kernel refuses flags that do not exist or that exclude each other.
    let valid = flags & !FLAGS == 0 && flags & SOURCES != SOURCES;
    if valid && fill(space(start, length)) {
        return length as isize;
    }
    let arguments = [start.addr(), length, flags as usize, 0, 0, 0];
    // SAFETY: the caller's own arguments.
    errno::answer(sys::checked(unsafe { sys::syscall(libc::SYS_getrandom, arguments) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(start: *mut c_void, length: usize) -> c_int {
    if length > ENTROPY_MAX {
        return errno::answer_int(Err(libc::EIO));
    }
    // SAFETY: the caller's own arguments.
    if unsafe { getrandom(start, length, 0) } == length as isize { 0 } else { -1 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn arc4random_buf(start: *mut c_void, length: usize) {
    if !fill(space(start, length)) {
        let real = real!(arc4random_buf: fn(*mut c_void, usize) -> ());
        // SAFETY: the caller's own arguments.
        unsafe { real(start, length) }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn arc4random() -> u32 {
    let mut bytes = [0; 4];
    // SAFETY: four bytes of ours.
    unsafe { arc4random_buf(bytes.as_mut_ptr().cast(), bytes.len()) };
    u32::from_ne_bytes(bytes)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn arc4random_uniform(bound: u32) -> u32 {
    if bound < 2 {
        return 0;
    }
    // Values below 2^32 mod bound would make small results more likely.
    let unfair = bound.wrapping_neg() % bound;
    loop {
        // SAFETY: no arguments.
        let value = unsafe { arc4random() };
        if value >= unfair {
            return value % bound;
        }
    }
}
