//! pthread_kill: a signal to a thread that waits in the turn ends its wait, in the turn.

use std::ffi::c_int;

use crane_core::execution::turn::Woken;
use libc::pthread_t;

use super::threads::find;
use crate::signals::{self, Disposition};
use crate::turn::{Call, begin};

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_kill(handle: pthread_t, signal: c_int) -> c_int {
    let real = || {
        let real = real!(pthread_kill: fn(pthread_t, c_int) -> c_int);
        // SAFETY: the caller's own arguments.
        unsafe { real(handle, signal) }
    };
    let Some(mut held) = begin(Call::Signal, signal as u32) else { return real() };
    let me = held.me;
    let world = held.world();
    let target = find(world, handle).filter(|target| *target != me);
    let handled = signals::bit(signal) != 0 && signals::disposition(signal) != Disposition::Kernel;
    match target {
        Some(target) if handled && world.threads[target.0 as usize].hears => {
            let thread = &mut world.threads[target.0 as usize];
            thread.signals |= signals::bit(signal);
            if world.run.turn.is_waiting(target) {
                thread.signalled = true;
                world.run.turn.wake_thread(target, Woken::Called);
            }
            held.end();
            0
        }
        _ => {
            // A handler of this thread runs within the call, and its calls take part.
            held.leave();
            real()
        }
    }
}
