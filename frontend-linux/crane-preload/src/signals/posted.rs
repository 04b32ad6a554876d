//! The signals that wait for their thread's turn.
//!
//! Handlers in any thread and the holder of the turn post signals, and each thread takes its own.
//! The table therefore has no lock: a writer claims a place, fills it, and then makes it visible.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crane_core::execution::turn::ThreadId;
use libc::siginfo_t;

use super::masks;

/// The number of signals of all threads that can wait at the same time. A signal without a place
/// goes to the kernel's own queue, or is lost like a signal beyond `RLIMIT_SIGPENDING`.
const POSTED_MAX: usize = 256;

/// A place for a signal that waits for its thread's turn.
struct Posted {
    /// [`FREE`], [`DRAFT`] or [`READY`].
    state: AtomicU32,
    thread: AtomicU32,
    /// The order of posting.
    order: AtomicU64,
    /// The signal's record. The thread that made the place a draft writes it; it is read once the
    /// place is ready.
    info: UnsafeCell<siginfo_t>,
}

const FREE: u32 = 0;
const DRAFT: u32 = 1;
const READY: u32 = 2;

// SAFETY: `info` is written by whoever turned the place into a draft, and read only when it is
// ready, by the thread that the signal is for.
unsafe impl Sync for Posted {}

/// The table. Before the first signal, all its bytes are 0.
pub(crate) struct PostedSignals {
    places: [Posted; POSTED_MAX],
    /// The number of places that are not free.
    waiting: AtomicU32,
    /// The next number in the order of posting.
    order: AtomicU64,
    /// Whether a handler has posted a signal to a thread that may wait, so that the holder of the
    /// turn must check.
    news: AtomicBool,
}

/// The table of a process that shares none.
static OWN: PostedSignals = PostedSignals {
    places: [const {
        Posted {
            state: AtomicU32::new(FREE),
            thread: AtomicU32::new(0),
            order: AtomicU64::new(0),
            // SAFETY: all fields are integers, for which zero is a value.
            info: UnsafeCell::new(unsafe { std::mem::zeroed() }),
        }
    }; POSTED_MAX],
    waiting: AtomicU32::new(0),
    order: AtomicU64::new(0),
    news: AtomicBool::new(false),
};

static TABLE: AtomicPtr<PostedSignals> = AtomicPtr::new((&raw const OWN).cast_mut());

#[inline]
fn table() -> &'static PostedSignals {
    // SAFETY: static memory, or that of [`use_table`].
    unsafe { &*TABLE.load(Ordering::Relaxed) }
}

/// Has this process use this table, which it may share with others, from now on.
pub(crate) fn use_table(table: &'static PostedSignals) {
    TABLE.store(std::ptr::from_ref(table).cast_mut(), Ordering::SeqCst);
}

/// Posts a signal to a thread, or returns `false` if no place is free. Safe in a signal handler.
pub(crate) fn post(thread: ThreadId, info: &siginfo_t) -> bool {
    let number = u32::from(thread.0);
    // Standard signals do not queue (signal(7)).
    if info.si_signo < libc::SIGRTMIN() && find(thread, |_, other| other == info.si_signo).is_some()
    {
        return true;
    }
    let claimed = table().places.iter().find(|place| {
        let swapped =
            place.state.compare_exchange(FREE, DRAFT, Ordering::AcqRel, Ordering::Relaxed);
        swapped.is_ok()
    });
    let Some(place) = claimed else { return false };
    table().waiting.fetch_add(1, Ordering::SeqCst);
    place.thread.store(number, Ordering::Relaxed);
    place.order.store(table().order.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    // SAFETY: the place is this call's draft.
    unsafe { place.info.get().write(*info) };
    place.state.store(READY, Ordering::SeqCst);
    true
}

/// Returns whether signals of any thread wait.
#[inline]
pub(crate) fn any() -> bool {
    table().waiting.load(Ordering::Relaxed) != 0
}

/// Finds the first signal of a thread that `wanted` accepts, in the order in which the kernel
/// delivers them: the lowest number first, and equal numbers in the order of posting.
fn find(thread: ThreadId, wanted: impl Fn(u32, c_int) -> bool) -> Option<&'static Posted> {
    let ready = table().places.iter().filter(|place| {
        place.state.load(Ordering::Acquire) == READY
            && place.thread.load(Ordering::Relaxed) == u32::from(thread.0)
    });
    // SAFETY: a ready place is written by none until its thread, which is the caller or waits for
    // the turn that the caller has, takes it. A torn look of a signal handler's at a place that is
    // taken meanwhile reads a number of the same range.
    let signal = |place: &Posted| unsafe { (*place.info.get()).si_signo };
    ready
        .filter(|place| wanted(place.thread.load(Ordering::Relaxed), signal(place)))
        .min_by_key(|place| (signal(place), place.order.load(Ordering::Relaxed)))
}

/// Returns whether a signal waits for this thread.
pub(crate) fn waits(thread: ThreadId) -> bool {
    any() && find(thread, |_, _| true).is_some()
}

/// Returns the lowest thread number from `from` on for which a signal waits.
pub(crate) fn first_receiver_from(from: u32) -> Option<ThreadId> {
    let ready = table().places.iter().filter(|place| place.state.load(Ordering::Acquire) == READY);
    let threads = ready.map(|place| place.thread.load(Ordering::Relaxed));
    threads.filter(|thread| *thread >= from).min().map(|thread| ThreadId(thread as u16))
}

/// Takes the first signal that waits for this thread, which is the caller.
pub(crate) fn take(thread: ThreadId) -> Option<siginfo_t> {
    find(thread, |_, _| true).map(free)
}

/// Frees the place of a signal, and returns the signal.
fn free(place: &Posted) -> siginfo_t {
    // SAFETY: ready, and taken by its thread, or by the holder of the turn in its stead.
    let info = unsafe { place.info.get().read() };
    place.state.store(FREE, Ordering::Release);
    table().waiting.fetch_sub(1, Ordering::SeqCst);
    info
}

/// Takes the first signal of a mask that waits for a thread of the caller's process, which has not
/// the turn.
pub(crate) fn take_blocked(thread: ThreadId, mask: u64) -> Option<siginfo_t> {
    let place = find(thread, |_, signal| masks::bit(signal) & mask != 0)?;
    Some(free(place))
}

/// Forgets the signals of a thread that has ended.
pub(crate) fn forget(thread: ThreadId) {
    while any() && take(thread).is_some() {}
}

/// Returns whether a handler has posted signals since the last call.
#[inline]
pub(crate) fn take_news() -> bool {
    table().news.load(Ordering::Relaxed) && table().news.swap(false, Ordering::SeqCst)
}

/// Returns whether a handler has posted signals that the holder of the turn does not know of.
pub(crate) fn has_news() -> bool {
    table().news.load(Ordering::SeqCst)
}

/// Records that the holder of the turn must check for signals.
pub(crate) fn set_news() {
    table().news.store(true, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::signals::sent_by_self;

    /// All tests share one table.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn the_lowest_signal_comes_first_and_standard_ones_do_not_queue() {
        let _alone = ALONE.lock().unwrap();
        let (one, other) = (ThreadId(1000), ThreadId(1001));
        let info = |signal| sent_by_self(signal, libc::SI_USER);
        for signal in [libc::SIGUSR2, libc::SIGUSR1, libc::SIGUSR1] {
            assert!(post(one, &info(signal)));
        }
        let real_time = libc::SIGRTMIN() + 3;
        assert!(post(one, &info(real_time)) && post(one, &info(real_time)));
        assert!(post(other, &info(libc::SIGHUP)));
        let taken = std::iter::from_fn(|| take(one)).map(|info| info.si_signo);
        let expected = [libc::SIGUSR1, libc::SIGUSR2, real_time, real_time];
        assert_eq!(taken.collect::<Vec<_>>(), expected);
        assert!(waits(other) && !waits(one));
        forget(other);
        assert!(!waits(other));
    }

    #[test]
    fn a_full_table_says_so() {
        let _alone = ALONE.lock().unwrap();
        let thread = ThreadId(1002);
        let info = sent_by_self(libc::SIGRTMIN() + 4, libc::SI_QUEUE);
        let placed = (0..=POSTED_MAX).filter(|_| post(thread, &info)).count();
        assert_eq!(placed, POSTED_MAX);
        forget(thread);
    }
}
