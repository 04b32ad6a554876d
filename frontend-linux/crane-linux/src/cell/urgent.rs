//! Priority for the work that a held server waits for.
//!
//! On a busy host, a dump loses most of its time in queues for a processor: its threads wake each
//! other many times. The lowest real-time priority (sched(7)) takes it past all threads without
//! one. A processor is left to the daemon, whose peers must hear from it.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{gettid, sched_getaffinity};

/// The lowest real-time priority.
const LOWEST: libc::c_int = 1;

/// The priority of a thread, which ends when this is dropped. Processes that it starts meanwhile
/// keep the priority.
#[must_use]
pub(crate) struct Urgent {
    /// The settings before, if they were changed.
    before: Option<Scheduling>,
    /// The thread that ends the priority after a time.
    watch: Option<(Sender<()>, JoinHandle<()>)>,
}

/// How the kernel schedules a thread.
#[derive(Clone, Copy)]
struct Scheduling {
    policy: libc::c_int,
    priority: libc::c_int,
}

impl Urgent {
    /// Gives the calling thread priority, where the system permits it and this host has another
    /// processor.
    pub(crate) fn begin() -> Self {
        Self { before: if processors() > 1 { raise() } else { None }, watch: None }
    }

    /// Gives the calling thread priority beside another one that has it. Where the two have all
    /// processors of this host, it ends after `time`.
    pub(crate) fn begin_beside(time: Duration) -> Self {
        let mut urgent = Self::begin();
        if let Some(before) = urgent.before.filter(|_| processors() < 3) {
            let (stop, stopped) = mpsc::channel();
            let thread = gettid().as_raw_pid();
            let watch = std::thread::spawn(move || {
                if stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                    set(thread, before);
                }
            });
            urgent.watch = Some((stop, watch));
        }
        urgent
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if let Some((stop, watch)) = self.watch.take() {
            // It has ended if the time is over.
            let _ = stop.send(());
            let _ = watch.join();
        }
        if let Some(before) = self.before {
            // A thread may always lower its priority.
            set(0, before);
        }
    }
}

fn raise() -> Option<Scheduling> {
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel writes to a live structure; 0 is the calling thread.
    let policy = unsafe {
        libc::sched_getparam(0, &raw mut parameters);
        libc::sched_getscheduler(0)
    };
    let urgent = Scheduling { policy: libc::SCHED_RR, priority: LOWEST };
    let before = Scheduling { policy, priority: parameters.sched_priority };
    (policy >= 0 && set(0, urgent)).then_some(before)
}

/// Returns the number of processors that this process may run on.
fn processors() -> u32 {
    sched_getaffinity(None).map_or(1, |processors| processors.count())
}

fn set(thread: libc::pid_t, settings: Scheduling) -> bool {
    let parameters = libc::sched_param { sched_priority: settings.priority };
    // SAFETY: the kernel reads a live structure.
    unsafe { libc::sched_setscheduler(thread, settings.policy, &raw const parameters) == 0 }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: the call touches no memory.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn a_thread_has_priority_for_a_time() {
        let before = policy();
        let urgent = Urgent::begin();
        let expected = if urgent.before.is_some() { libc::SCHED_RR } else { before };
        assert_eq!(policy(), expected);
        drop(urgent);
        assert_eq!(policy(), before);
    }

    #[test]
    fn all_processors_are_taken_for_a_short_time_alone() {
        let before = policy();
        let urgent = Urgent::begin_beside(Duration::from_millis(1));
        let since = Instant::now();
        while urgent.watch.is_some() && policy() != before {
            assert!(since.elapsed() < Duration::from_secs(60));
        }
        drop(urgent);
        assert_eq!(policy(), before);
        drop(Urgent::begin_beside(Duration::from_secs(3600)));
        assert_eq!(policy(), before);
    }
}
