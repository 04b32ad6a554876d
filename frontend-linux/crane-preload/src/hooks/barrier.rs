//! pthread_barrier_*: wholly virtual, in the 32 bytes of the program's object.
//!
//! A child process, which takes no part, meets the server's threads at the same object, and waits
//! for it in the kernel.

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crane_core::execution::turn::{NEVER, Woken};
use crane_shm::parking::{self, Scope};
use libc::{pthread_barrier_t as Barrier, pthread_barrierattr_t as Attributes};

use super::lock::ALL;
use super::shared::{self, Shareable, next_question};
use crate::turn::{Call, Held, begin};
use crate::world::PROCESS;

#[repr(C)]
struct Ours {
    /// The number of threads that meet.
    count: c_uint,
    /// Whether processes share the barrier.
    shared: c_uint,
    /// The number of arrivals so far.
    arrivals: AtomicU64,
    /// The number of meetings so far, for which threads outside of the turn sleep.
    meetings: AtomicU32,
    /// The number of threads outside of the turn that use the barrier.
    outside: AtomicU32,
}

const _: () = assert!(size_of::<Ours>() <= size_of::<Barrier>());
const _: () = assert!(align_of::<Ours>() <= align_of::<Barrier>());

impl Shareable for Barrier {
    unsafe fn is_shared(object: *mut Self, _: bool) -> bool {
        // SAFETY: a barrier of ours, which stays as it was made.
        unsafe { (*object.cast::<Ours>()).shared != 0 }
    }
}

impl Ours {
    /// Counts the caller's arrival. Returns its number.
    fn arrive(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns whether an arrival is the last one of its meeting.
    fn is_last(&self, arrival: u64) -> bool {
        (arrival + 1).is_multiple_of(self.count.into())
    }

    /// Returns whether the meeting of an arrival has taken place.
    fn has_met(&self, arrival: u64) -> bool {
        let meeting = |arrivals: u64| arrivals / u64::from(self.count);
        meeting(self.arrivals.load(Ordering::SeqCst)) > meeting(arrival)
    }

    /// Wakes the threads outside of the turn after a meeting.
    fn wake_outside(&self) {
        self.meetings.fetch_add(1, Ordering::SeqCst);
        parking::wake(&self.meetings, ALL, Scope::Shared);
    }

    /// Returns the result of pthread_barrier_wait(3) for an arrival.
    fn result(&self, arrival: u64) -> c_int {
        if self.is_last(arrival) { libc::PTHREAD_BARRIER_SERIAL_THREAD } else { 0 }
    }
}

/// Returns whether barriers of this process are ours: that of the server and of its children.
fn are_ours() -> bool {
    PROCESS.load(Ordering::Relaxed) != 0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_init(
    barrier: *mut Barrier,
    attributes: *const Attributes,
    count: c_uint,
) -> c_int {
    if !are_ours() {
        let real =
            real!(pthread_barrier_init: fn(*mut Barrier, *const Attributes, c_uint) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(barrier, attributes, count) };
    }
    // The kernel's `INT_MAX` is libc's limit, too.
    if count == 0 || c_int::try_from(count).is_err() {
        return libc::EINVAL;
    }
    // SAFETY: the caller's attributes, if it gave some: they are an int, the word for sharing.
    let shared = unsafe { attributes.cast::<c_uint>().as_ref() }.copied().unwrap_or(0);
    let ours = Ours {
        count,
        shared,
        arrivals: AtomicU64::new(0),
        meetings: AtomicU32::new(0),
        outside: AtomicU32::new(0),
    };
    // SAFETY: the caller's memory for a barrier, which is large enough (asserted above).
    unsafe { barrier.cast::<Ours>().write(ours) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_destroy(barrier: *mut Barrier) -> c_int {
    if are_ours() {
        // SAFETY: a barrier that `pthread_barrier_init` made.
        let ours = unsafe { &*barrier.cast::<Ours>() };
        // The caller may free the memory next. Those that have met leave within instructions.
        while ours.outside.load(Ordering::SeqCst) != 0 {
            rustix::thread::sched_yield();
        }
        return 0;
    }
    let real = real!(pthread_barrier_destroy: fn(*mut Barrier) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(barrier) }
}

fn wait_in_turn(mut held: Held, barrier: *mut Barrier) -> c_int {
    let on = shared::on(barrier);
    // SAFETY: a barrier that `pthread_barrier_init` made. POSIX forbids destroying it while threads
    // wait.
    let ours = unsafe { &*barrier.cast::<Ours>() };
    let arrival = ours.arrive();
    if ours.is_last(arrival) {
        held.world().run.turn.wake(on.key(), ALL);
        ours.wake_outside();
    }
    while !ours.has_met(arrival) {
        let next = next_question(&mut held, barrier, NEVER);
        if held.wait(on, next) == Woken::Expired {
            shared::note(held.world());
        }
    }
    let result = ours.result(arrival);
    held.end();
    result
}

/// Waits in a child process.
fn wait_outside(ours: &Ours) -> c_int {
    ours.outside.fetch_add(1, Ordering::SeqCst);
    let arrival = ours.arrive();
    if ours.is_last(arrival) {
        ours.wake_outside();
    }
    loop {
        let meetings = ours.meetings.load(Ordering::SeqCst);
        if ours.has_met(arrival) {
            break;
        }
        parking::sleep(&ours.meetings, meetings, Scope::Shared);
    }
    let result = ours.result(arrival);
    ours.outside.fetch_sub(1, Ordering::SeqCst);
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_wait(barrier: *mut Barrier) -> c_int {
    if let Some(held) = begin(Call::Barrier, 0) {
        return wait_in_turn(held, barrier);
    }
    if are_ours() {
        // SAFETY: as in `wait_in_turn`.
        return wait_outside(unsafe { &*barrier.cast::<Ours>() });
    }
    let real = real!(pthread_barrier_wait: fn(*mut Barrier) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(barrier) }
}
