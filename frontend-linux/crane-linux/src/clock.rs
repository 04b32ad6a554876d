//! The host's clocks, and a timer that is finer than the runtime's (1 ms).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use crane_core::time::Instant;
use tokio::io::unix::AsyncFd;

use crate::driver::Moment;

/// A clock that starts with the daemon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock {
    /// Returns the present moment.
    pub(crate) fn moment(&self) -> Moment {
        let since_start = self.start.elapsed().as_nanos() as u64;
        Moment { since_start, unix: unix_nanoseconds() }
    }

    /// Returns the present moment as agreement counts it.
    pub(crate) fn now(&self) -> Instant {
        self.moment().instant()
    }
}

/// Returns the nanoseconds since the Unix epoch, by the host's clock.
pub(crate) fn unix_nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Wakes its waiter at a time that can be moved (timerfd_create(2)).
#[derive(Debug)]
pub(crate) struct Alarm {
    descriptor: AsyncFd<OwnedFd>,
    set: Option<Instant>,
}

impl Alarm {
    /// Returns an alarm that is not set.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: timerfd_create touches no memory.
        let descriptor = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: an `OwnedFd` keeps one descriptor open for as long as it lives.
        let descriptor = unsafe { AsyncFd::register(descriptor)? };
        Ok(Self { descriptor, set: None })
    }

    /// Rings at `at`, at once if that is past, and maybe earlier: an alarm that is set already is
    /// only moved to an earlier time. Deadlines mostly move away, and an early ring costs less than
    /// moving the alarm each time.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(crate) fn set(&mut self, now: Instant, at: Instant) -> io::Result<()> {
        if self.set.is_some_and(|set| set <= at) {
            return Ok(());
        }
        self.set = Some(at);
        let nanoseconds = (at.since(now).as_micros() * 1000).max(1);
        let value = libc::timespec {
            tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
            tv_nsec: (nanoseconds % 1_000_000_000) as libc::c_long,
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = libc::itimerspec { it_interval: never, it_value: value };
        let descriptor = self.descriptor.as_raw_fd();
        // SAFETY: the kernel reads a live structure; the old setting is not asked for.
        let outcome = unsafe {
            libc::timerfd_settime(descriptor, 0, &raw const setting, std::ptr::null_mut())
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until the alarm rings.
    ///
    /// # Errors
    /// Returns the runtime's error.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.descriptor.readable_mut().await?;
            let mut count = [0; 8];
            let read = guard.try_io(|inner| {
                let descriptor = inner.get_ref().as_raw_fd();
                // SAFETY: the kernel writes at most 8 bytes to a live array of 8.
                match unsafe { libc::read(descriptor, count.as_mut_ptr().cast(), count.len()) } {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                }
            });
            match read {
                Ok(outcome) => {
                    self.set = None;
                    return outcome;
                }
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_when_it_is_due_and_can_be_moved_nearer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = Clock::default();
            let mut alarm = Alarm::new().unwrap();
            let due = clock.now() + crane_core::time::Duration::from_millis(5);
            alarm.set(clock.now(), due).unwrap();
            alarm.wait().await.unwrap();
            assert!(clock.now() >= due);
            let later = clock.now() + crane_core::time::Duration::from_millis(60_000);
            alarm.set(clock.now(), later).unwrap();
            alarm.set(clock.now(), Instant::START).unwrap();
            alarm.wait().await.unwrap();
            let short = std::time::Duration::from_millis(20);
            assert!(tokio::time::timeout(short, alarm.wait()).await.is_err());
        });
    }
}
