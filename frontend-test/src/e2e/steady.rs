//! Full load for a long time: a primary that is in good health stays primary.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::group::Group;
use super::load::{Load, redis_benchmark};
use super::machine::Machine;
use super::program;
use super::wait::{SOON, within};

/// The observations while the load ran.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The primary and its ballot, at the start and wherever they changed.
    pub primaries: Vec<String>,
    /// The number of answered requests.
    pub requests: u64,
    /// The duration of the load.
    pub period: Duration,
    /// The share of the machine's processors that was in use, of 1.
    pub busy: f64,
}

/// Runs one load after the other through each of the three replicas, for `period`.
///
/// # Panics
///
/// Panics if a request fails, or hashes differ at the end.
#[must_use]
pub fn run(period: Duration) -> Outcome {
    let machine = Machine::take("steady");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let (stop, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    let mut outcome = Outcome { primaries: vec![primary(&group)], requests: 0, period, busy: 0.0 };
    let idle = idle_ticks();
    scope(|threads| {
        let mut loads = Vec::new();
        for address in group.all_addresses() {
            let (stop, requests) = (&stop, &requests);
            loads.push(threads.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let load = Load { requests: 5000, connections: 8, keepalive: true };
                    redis_benchmark(address, "set,get", load).expect("no failed request");
                    requests.fetch_add(10_000, Ordering::Relaxed);
                }
            }));
        }
        while start.elapsed() < period && loads.iter().all(|load| !load.is_finished()) {
            sleep(Duration::from_millis(500));
            let now = primary(&group);
            if outcome.primaries.last() != Some(&now) {
                outcome.primaries.push(now);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (before, after) = (idle, idle_ticks());
    outcome.busy = 1.0 - (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64;
    outcome.requests = requests.load(Ordering::Relaxed);
    outcome.period = start.elapsed();
    group.await_settled();
    outcome
}

/// Checks the bar, which is no change of primary at all. Returns the failures.
#[must_use]
pub fn measure(period: Duration) -> Vec<String> {
    let outcome = run(period);
    println!(
        "full load for {:.0?}: {} requests, processors {:.0} % busy; primaries: {}",
        outcome.period,
        outcome.requests,
        outcome.busy * 100.0,
        outcome.primaries.join(", then ")
    );
    let mut missed = Vec::new();
    if outcome.primaries.len() != 1 {
        missed.push(format!("{} changes of primary", outcome.primaries.len() - 1));
    }
    if outcome.busy < 0.9 {
        missed.push(format!("no full load: {:.0} %", outcome.busy * 100.0));
    }
    missed
}

/// Returns the primary and its ballot. A lasting moment without a primary, or with two, counts as a
/// change as well, and is described.
fn primary(group: &Group) -> String {
    let seen = within(SOON, || {
        let status = group.status()?;
        let id = status.primary()?;
        Ok::<_, String>(format!("{id} under {}", status.replica(id).ballot))
    });
    seen.unwrap_or_else(|why| why)
}

/// Returns the ticks in which all processors together were idle, and all ticks.
fn idle_ticks() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let line = text.lines().next().expect("a line");
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait …: waiting for the disk is not work for a processor.
    (ticks[3] + ticks[4], ticks.iter().take(8).sum())
}
