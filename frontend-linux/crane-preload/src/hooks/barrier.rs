//! pthread_barrier_*: wholly virtual, in the 32 bytes of the program's object.

use std::ffi::{c_int, c_uint};

use crane_core::execution::turn::NEVER;
use libc::{pthread_barrier_t as Barrier, pthread_barrierattr_t as Attributes};

use super::lock::ALL;
use crate::execution::On;
use crate::membership::takes_part;
use crate::turn::{Call, begin};

#[repr(C)]
struct Ours {
    /// The number of threads that meet.
    count: c_uint,
    /// The number of threads that have arrived.
    arrived: c_uint,
    /// The number of meetings so far.
    meetings: c_uint,
}

const _: () = assert!(size_of::<Ours>() <= size_of::<Barrier>());

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_init(
    barrier: *mut Barrier,
    attributes: *const Attributes,
    count: c_uint,
) -> c_int {
    if !takes_part() {
        let real =
            real!(pthread_barrier_init: fn(*mut Barrier, *const Attributes, c_uint) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(barrier, attributes, count) };
    }
    if count == 0 {
        return libc::EINVAL;
    }
    // SAFETY: the caller's memory for a barrier, which is large enough (asserted above).
    unsafe { barrier.cast::<Ours>().write(Ours { count, arrived: 0, meetings: 0 }) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_destroy(barrier: *mut Barrier) -> c_int {
    if takes_part() {
        return 0;
    }
    let real = real!(pthread_barrier_destroy: fn(*mut Barrier) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(barrier) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_wait(barrier: *mut Barrier) -> c_int {
    let Some(mut held) = begin(Call::Barrier, 0) else {
        let real = real!(pthread_barrier_wait: fn(*mut Barrier) -> c_int);
        // SAFETY: the caller's own argument.
        return unsafe { real(barrier) };
    };
    let on = On::Address(barrier.addr());
    let ours = barrier.cast::<Ours>();
    // SAFETY: a barrier that `pthread_barrier_init` made; touched under the turn only.
    let (last, meeting) = unsafe {
        (*ours).arrived += 1;
        ((*ours).arrived == (*ours).count, (*ours).meetings)
    };
    if last {
        // SAFETY: as above.
        unsafe {
            (*ours).arrived = 0;
            (*ours).meetings = meeting.wrapping_add(1);
        }
        held.world().run.turn.wake(on.key(), ALL);
    } else {
        // SAFETY: as above; POSIX forbids destroying it while threads wait.
        while unsafe { (&raw const (*ours).meetings).read_volatile() } == meeting {
            held.wait(on, NEVER);
        }
    }
    held.end();
    if last { libc::PTHREAD_BARRIER_SERIAL_THREAD } else { 0 }
}
