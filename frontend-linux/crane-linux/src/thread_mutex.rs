//! The lock under embassy-sync's primitives where two threads meet. (Tasks of one thread use
//! [`embassy_sync::blocking_mutex::raw::NoopRawMutex`].)

use std::sync::{Mutex, PoisonError};

use embassy_sync::blocking_mutex::raw::RawMutex;

/// The standard library's mutex, which is a futex on Linux.
#[derive(Debug, Default)]
pub(crate) struct ThreadMutex(Mutex<()>);

// SAFETY: `lock` excludes every other thread for as long as `f` runs, and `f` does not lock again:
// embassy-sync never does so inside of its closures.
unsafe impl RawMutex for ThreadMutex {
    const INIT: Self = Self(Mutex::new(()));

    fn lock<R>(&self, f: impl FnOnce() -> R) -> R {
        let _held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f()
    }
}
