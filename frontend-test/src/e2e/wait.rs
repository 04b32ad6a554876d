//! Bounded waits: nothing in the harness waits for ever, and each wait has a name.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time in which a replica must start, replay and serve, on a busy machine with two cores.
pub const START: Duration = Duration::from_secs(60);
/// The time in which a group must do an act of milliseconds, such as to elect, answer or settle.
pub const SOON: Duration = Duration::from_secs(30);
/// The time in which a request must be answered, which includes a fail-over.
pub const ANSWER: Duration = Duration::from_secs(20);

/// Calls `probe` repeatedly until it returns a value.
///
/// # Panics
///
/// Panics after `bound`, with `what` and the last reason that the probe gave.
pub fn eventually<T, E: Display>(
    what: &str,
    bound: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    match within(bound, &mut probe) {
        Ok(value) => value,
        Err(reason) => panic!("{what}: not within {bound:?}; last: {reason}"),
    }
}

/// Does the same as [`eventually`], but returns the last reason instead of panicking.
///
/// # Errors
///
/// Returns the probe's last reason, once `bound` has passed.
pub fn within<T, E>(bound: Duration, mut probe: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(reason) if start.elapsed() >= bound => return Err(reason),
            Err(_) => sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Raises a flag when dropped, also by a panic, so that threads which look at it end.
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
