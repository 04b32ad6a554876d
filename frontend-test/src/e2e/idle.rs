//! The cost of an idle group: entries, and the daemons' share of a core.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::group::Group;

/// The work of a replica without clients.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// The replica.
    pub id: u8,
    /// The number of committed entries per second.
    pub entries_per_second: f64,
    /// The number of bubbles among them.
    pub bubbles_per_second: f64,
    /// The daemon's share of a core, in percent.
    pub daemon_percent: f64,
    /// The server's share of a core, in percent.
    pub server_percent: f64,
}

/// Watches an idle group for `period`.
///
/// # Panics
///
/// Panics if a replica is down.
#[must_use]
pub fn watch(group: &Group, period: Duration) -> Vec<Idle> {
    let sample = || {
        let status = group.status().expect("a status");
        let at = Instant::now();
        let of = |id: u8| {
            let replica = status.replica(id);
            let time = |pid: Option<u32>| cpu_time(pid.expect("a process")).expect("its times");
            (
                replica.committed.expect("a slot"),
                replica.bubbles.expect("a count"),
                time(replica.daemon_pid),
                time(replica.server_pid),
            )
        };
        (at, group.ids().map(of).collect::<Vec<_>>())
    };
    let (start, before) = sample();
    sleep(period);
    let (end, after) = sample();
    let seconds = (end - start).as_secs_f64();
    group
        .ids()
        .zip(before.into_iter().zip(after))
        .map(|(id, (before, after))| Idle {
            id,
            entries_per_second: (after.0 - before.0) as f64 / seconds,
            bubbles_per_second: after.1.saturating_sub(before.1) as f64 / seconds,
            daemon_percent: (after.2 - before.2).as_secs_f64() / seconds * 100.0,
            server_percent: (after.3 - before.3).as_secs_f64() / seconds * 100.0,
        })
        .collect()
}

/// Returns the user and system time of a process with all its threads, from `/proc/PID/stat`.
pub(super) fn cpu_time(pid: u32) -> Option<Duration> {
    times(pid, 2)
}

/// Returns the same with the times of the children that the process has waited for.
pub(super) fn cpu_time_with_children(pid: u32) -> Option<Duration> {
    times(pid, 4)
}

/// Returns the same of a process and all that come from it, those included that have ended and were
/// waited for.
pub(super) fn cpu_time_of_all(pid: u32) -> Option<Duration> {
    let others = tree_of(pid).into_iter().skip(1).filter_map(cpu_time_with_children);
    Some(cpu_time_with_children(pid)? + others.sum::<Duration>())
}

/// Returns a process, and behind it all that come from it.
pub(super) fn tree_of(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(process) = all.get(next).copied() {
        all.extend(children_of(process));
        next += 1;
    }
    all
}

/// Returns the children of a process, by all of its threads.
pub(super) fn children_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| numbers(&list)).collect()
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Returns the sum of the first `count` of a process's times: user, system, and its children's.
fn times(pid: u32, count: usize) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; count from its end.
    let fields = text.rsplit_once(')')?.1.split_whitespace().skip(11).take(count);
    let jiffies: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    // USER_HZ is 100 on every architecture that Linux serves us on.
    (jiffies.len() == count).then(|| Duration::from_millis(jiffies.iter().sum::<u64>() * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_counted() {
        let pid = std::process::id();
        let before = cpu_time(pid).unwrap();
        let start = Instant::now();
        let mut sum = 0u64;
        while cpu_time(pid).unwrap() < before + Duration::from_millis(50) {
            assert!(start.elapsed() < Duration::from_secs(20), "no time passes ({sum})");
            sum = (0..100_000u64).fold(sum, |a, b| std::hint::black_box(a ^ b));
        }
    }
}
