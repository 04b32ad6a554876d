//! pthread_cancel, pthread_testcancel.
//!
//! A thread that waits in this library's queue is not at a cancellation point of libc, so a
//! cancellation would never reach it. The library therefore records a cancellation and ends the
//! wait, and the thread itself passes the cancellation to libc at one of this library's
//! cancellation points, in its own turn. libc alone knows whether a thread has cancellation
//! enabled.

use std::ffi::{c_int, c_void};

use crane_core::execution::turn::Woken;
use libc::pthread_t;

use super::threads::find;
use crate::turn::{Call, begin};

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cancel(handle: pthread_t) -> c_int {
    let real = || {
        let real = real!(pthread_cancel: fn(pthread_t) -> c_int);
        // SAFETY: the caller's own argument.
        unsafe { real(handle) }
    };
    let Some(mut held) = begin(Call::Cancel, 0) else { return real() };
    let world = held.world();
    let Some(thread) = find(world, handle) else {
        held.end();
        return real();
    };
    let target = &mut world.threads[thread.0 as usize];
    if !target.ended {
        target.cancelled = true;
        if target.interruptible && world.run.turn.is_waiting(thread) {
            target.interrupted = true;
            world.run.turn.wake_thread(thread, Woken::Expired);
        }
    }
    held.end();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_testcancel() {
    match begin(Call::TestCancel, 0) {
        Some(held) => held.end(),
        None => {
            let real = real!(pthread_testcancel: fn() -> ());
            // SAFETY: no arguments.
            unsafe { real() }
        }
    }
}

/// libc's `struct _pthread_cleanup_buffer`.
#[repr(C)]
pub(crate) struct Cleanup {
    places: [*mut c_void; 4],
}

unsafe extern "C" {
    fn _pthread_cleanup_push(
        buffer: *mut Cleanup,
        routine: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
    );
    fn _pthread_cleanup_pop(buffer: *mut Cleanup, execute: c_int);
}

/// Runs `body`. If the thread ends in `body` (pthread_exit, cancellation), runs `undo` with its
/// argument.
///
/// # Safety
/// `undo` fits `argument`.
pub(crate) unsafe fn guarded(
    undo: unsafe extern "C" fn(*mut c_void),
    argument: *mut c_void,
    body: impl FnOnce(),
) {
    let mut buffer = Cleanup { places: [std::ptr::null_mut(); 4] };
    // SAFETY: the buffer stays in this frame until it is popped.
    unsafe { _pthread_cleanup_push(&raw mut buffer, undo, argument) };
    body();
    // SAFETY: as above.
    unsafe { _pthread_cleanup_pop(&raw mut buffer, 0) };
}
