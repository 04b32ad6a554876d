//! What POSIX and Linux promise in the corners of calls, natively and under the preload library.

use std::panic::catch_unwind;
use std::process::Command;
use std::time::Duration;

use crate::driver::{Driver, corners};
use crane_core::wire::Schedule;

/// The probes of `programs/corners.c`.
const PROBES: [&str; 17] = [
    "mutexes",
    "robust",
    "rwlocks",
    "semaphores",
    "conditions",
    "threads",
    "exited",
    "cancellation",
    "onces",
    "barriers",
    "times",
    "chances",
    "pipes",
    "duplicates",
    "polls",
    "epolls",
    "listeners",
];

#[test]
fn the_probes_hold_natively() {
    for name in PROBES {
        let output = Command::new(corners()).arg(name).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed == format!("{name} ok\n"), "{name}: {printed}");
    }
}

#[test]
fn the_probes_hold_under_the_library() {
    let failures: Vec<String> = PROBES
        .iter()
        .flat_map(|name| [1, 100].map(|quantum| (*name, quantum)))
        .filter_map(|(name, quantum)| {
            let outcome = catch_unwind(|| run(name, quantum));
            match outcome {
                Ok((Some(0), printed)) if printed == format!("{name} ok\n") => None,
                Ok(other) => Some(format!("{name}, quantum {quantum}: {other:?}")),
                Err(_) => Some(format!("{name}, quantum {quantum}: does not end")),
            }
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs one probe to its end: its exit code, and what it printed.
fn run(name: &str, quantum: u32) -> (Option<i32>, String) {
    let mut driver = Driver::start_program(corners(), &[name], quantum, Schedule::Serial, false);
    // A probe that waits for what never comes is noticed at once; one that goes round and round is not.
    driver.patience = Duration::from_secs(20);
    let end = driver.end();
    (end.code, end.printed)
}
