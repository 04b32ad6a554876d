//! pthread_once: virtual, because the routine may wait in this library's queue, and a second thread
//! that waited for it inside libc would keep the turn.

use std::ffi::{c_int, c_void};

use crane_core::execution::turn::NEVER;

use super::cancel::guarded;
use super::lock::ALL;
use crate::execution::On;
use crate::turn::{Call, begin, enter};

type InitRoutine = unsafe extern "C" fn();

/// glibc's own numbers (PTHREAD_ONCE_INIT is 0), which libc reads as well.
const NEW: c_int = 0;
const RUNNING: c_int = 1;
const DONE: c_int = 2;

/// Records that the thread has ended in the routine (pthread_exit, cancellation), which counts as
/// not called.
unsafe extern "C" fn undo(control: *mut c_void) {
    let control = control.cast::<c_int>();
    if let Some(mut held) = enter() {
        // SAFETY: the control word of a call under way.
        unsafe { control.write_volatile(NEW) };
        held.world().run.turn.wake(On::Address(control.addr()).key(), ALL);
        held.leave();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_once(control: *mut c_int, routine: InitRoutine) -> c_int {
    // SAFETY: the caller's control word.
    if unsafe { control.read_volatile() } == DONE {
        return 0;
    }
    let Some(mut held) = begin(Call::Once, 0) else {
        let real = real!(pthread_once: fn(*mut c_int, InitRoutine) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(control, routine) };
    };
    let on = On::Address(control.addr());
    // SAFETY: the caller's control word; changed under the turn only.
    while unsafe { control.read_volatile() } == RUNNING {
        held.wait(on, NEVER);
    }
    // SAFETY: as above.
    if unsafe { control.read_volatile() } == NEW {
        // SAFETY: as above.
        unsafe { control.write_volatile(RUNNING) };
        held.leave();
        // SAFETY: the caller's routine; the control word outlives it.
        unsafe { guarded(undo, control.cast(), || routine()) };
        held = enter().expect("a thread that made a call before takes part");
        // SAFETY: as above.
        unsafe { control.write_volatile(DONE) };
        held.world().run.turn.wake(on.key(), ALL);
    }
    held.end();
    0
}
