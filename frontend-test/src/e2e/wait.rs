//! Bounded waits: nothing in the harness waits for ever, and each wait has a name.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a replica may take to start, replay and serve, on a busy machine with two cores.
pub const START: Duration = Duration::from_secs(60);
/// How long a group may take to do what usually takes milliseconds: elect, answer, settle.
pub const SOON: Duration = Duration::from_secs(30);
/// How long one request may take before its client calls it a hang. A fail-over fits in.
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
