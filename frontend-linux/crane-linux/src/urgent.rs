//! Priority for the work that others wait for: the daemon's own, and a dump of a held server.
//!
//! On a busy host, both lose most of their time in queues for a processor: an answer to a client
//! takes half a dozen threads that wake each other, and each of them may find a processor in use
//! for milliseconds. Real-time priorities (sched(7)) take them past all threads without one, as in
//! other software whose peers must hear from it in time (corosync(8)). The daemon's first thread
//! has the higher one, and dumps the lower one. The log's thread has none: records that come while
//! it waits are written at once with the others, which costs less than the wait.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::getpriority_process;
use rustix::thread::{gettid, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// The lowest real-time priority, for dumps.
const LOWEST: libc::c_int = 1;
/// The priority of the daemon's first thread, also while a dump is taken.
const PRECEDENCE: Scheduling = Scheduling {
    // The server, and helpers of all kinds, do not inherit it.
    policy: libc::SCHED_RR | libc::SCHED_RESET_ON_FORK,
    priority: LOWEST + 1,
};
/// No priority. The mark stays: a thread that may have a priority may not always remove the mark.
const NONE: Scheduling =
    Scheduling { policy: libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, priority: 0 };
/// The interval at which the daemon's use of a processor is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A daemon that used more of an interval than this, in percent, goes without priority: where its
/// own work keeps the processors busy, it answers many clients in one pass, and each one by itself
/// if it runs at once whenever something comes. That takes twice the processor time.
const BUSY_PERCENT: u32 = 30;
/// How long it goes without priority. With it, the same clients may keep it busy that do not
/// without it, so that its use then does not tell.
const WITHOUT: Duration = Duration::from_secs(10);

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// The priority of the daemon's first thread, which it has as long as the daemon uses little of a
/// processor. Threads and processes that it starts do not inherit it.
#[derive(Default)]
pub(crate) struct Precedence {
    /// For how long the thread goes without it.
    without: Duration,
}

impl Precedence {
    /// Decides by this process's use of processors, for as long as this is polled. Returns only
    /// with the reason why the thread has no priority, and what helps.
    pub(crate) async fn keep(mut self) -> String {
        let mut before = (Instant::now(), used_time());
        loop {
            let now = (Instant::now(), used_time());
            let wanted = self.decide(now.0 - before.0, now.1.saturating_sub(before.1));
            if let Err(why) = apply(wanted) {
                return why;
            }
            before = now;
            sleep(LOOK).await;
        }
    }

    /// Decides by what was used of an interval whether the thread is to have it.
    fn decide(&mut self, interval: Duration, used: Duration) -> bool {
        self.without = match used * 100 > interval * BUSY_PERCENT {
            true => WITHOUT,
            false => self.without.saturating_sub(interval),
        };
        self.without.is_zero()
    }
}

/// Gives the calling thread precedence, or takes it.
///
/// # Errors
///
/// If the system permits none, or if somebody else has decided how the thread is scheduled. It has
/// no precedence then.
fn apply(wanted: bool) -> Result<(), String> {
    let scheduling = current().ok_or_else(|| io::Error::last_os_error().to_string())?;
    let has = scheduling == PRECEDENCE;
    let decided = decided(scheduling);
    let change = match wanted && decided.is_none() {
        true => (!has).then_some(PRECEDENCE),
        false => has.then_some(NONE),
    };
    if change.is_some_and(|change| !set(0, change)) {
        let error = io::Error::last_os_error();
        return Err(format!("{error}; permit it by CAP_SYS_NICE or `ulimit -r 2`"));
    }
    decided.map_or(Ok(()), |decided| Err(format!("it has been given {decided}, which it keeps")))
}

/// Returns what somebody else has decided of the calling thread's scheduling: nice(1), chrt(1) or
/// a manager of services.
fn decided(scheduling: Scheduling) -> Option<String> {
    let nice = nice();
    let policy = scheduling.policy & !libc::SCHED_RESET_ON_FORK;
    match nice != 0 {
        true => Some(format!("the nice value {nice}")),
        false if scheduling == PRECEDENCE || policy == libc::SCHED_OTHER => None,
        false => Some(format!("the scheduling policy {policy}")),
    }
}

/// Returns the calling thread's nice value, which it has also while it has a priority.
pub(crate) fn nice() -> i32 {
    getpriority_process(None).unwrap_or(0)
}

/// Returns the processor time that this process has used.
fn used_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn raise() -> Option<Scheduling> {
    let urgent = Scheduling { policy: libc::SCHED_RR, priority: LOWEST };
    current().filter(|before| decided(*before).is_none() && set(0, urgent))
}

/// Returns how the calling thread is scheduled.
fn current() -> Option<Scheduling> {
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel writes to a live structure; 0 is the calling thread.
    let policy = unsafe {
        libc::sched_getparam(0, &raw mut parameters);
        libc::sched_getscheduler(0)
    };
    (policy >= 0).then_some(Scheduling { policy, priority: parameters.sched_priority })
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
    use rustix::process::setpriority_process;
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::*;

    #[test]
    fn a_thread_has_priority_for_a_time() {
        let before = current();
        let urgent = Urgent::begin();
        let raised = Some(Scheduling { policy: libc::SCHED_RR, priority: LOWEST });
        assert_eq!(current(), if urgent.before.is_some() { raised } else { before });
        drop(urgent);
        assert_eq!(current(), before);
    }

    /// Runs something in a thread of its own, whose settings end with it.
    fn aside<T: Send>(work: impl Fn() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().expect("no panic"))
    }

    #[test]
    fn what_a_thread_with_precedence_starts_has_none() {
        aside(|| {
            let before = current();
            let is_permitted = apply(true).is_ok();
            assert_eq!(current(), if is_permitted { Some(PRECEDENCE) } else { before });
            assert_eq!(aside(current), before);
        });
    }

    #[test]
    fn precedence_ends_without_privilege() {
        aside(|| {
            let _ = apply(true);
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::SYS_NICE);
            set_capabilities(None, sets).unwrap();
            assert_eq!(apply(false), Ok(()));
            assert_ne!(current(), Some(PRECEDENCE));
        });
    }

    #[test]
    fn a_thread_keeps_what_somebody_has_decided() {
        aside(|| {
            let _ = apply(true);
            setpriority_process(None, 5).unwrap();
            assert!(apply(true).unwrap_err().contains("the nice value 5"));
            assert!(current().is_some_and(|now| now.priority == 0), "{:?}", current());
            assert_eq!(nice(), 5);
            let urgent = Urgent::begin();
            assert_eq!(urgent.before, None);
        });
        aside(|| {
            assert!(set(0, Scheduling { policy: libc::SCHED_BATCH, priority: 0 }));
            assert!(apply(true).unwrap_err().contains("policy 3"));
            assert_eq!(current().map(|now| now.policy), Some(libc::SCHED_BATCH));
        });
    }

    #[test]
    fn precedence_is_of_a_daemon_that_uses_little() {
        let mut precedence = Precedence::default();
        assert!(precedence.decide(LOOK, LOOK / 10));
        assert!(!precedence.decide(LOOK, LOOK / 2));
        assert!(!precedence.decide(WITHOUT / 2, LOOK / 10));
        assert!(!precedence.decide(LOOK, LOOK / 2), "the time does not begin again");
        assert!(!precedence.decide(WITHOUT / 2, LOOK / 10));
        assert!(precedence.decide(WITHOUT / 2, LOOK / 10));
    }

    #[test]
    fn all_processors_are_taken_for_a_short_time_alone() {
        let before = current();
        let urgent = Urgent::begin_beside(Duration::from_millis(1));
        let since = Instant::now();
        while urgent.watch.is_some() && current() != before {
            assert!(since.elapsed() < Duration::from_secs(60));
        }
        drop(urgent);
        assert_eq!(current(), before);
        drop(Urgent::begin_beside(Duration::from_secs(3600)));
        assert_eq!(current(), before);
    }
}
