//! Histories of a replicated Redis under faults, which must be linearizable.
//!
//! * [`history`]: the requests of clients, with their times and answers;
//! * [`clients`]: the clients that make a history, some at each host;
//! * [`faults`]: the faults of the replicas meanwhile;
//! * [`model`]: the model of a key, and the check, by porcupine;
//! * [`run`]: a history with all of these, with a control.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::group::Group;
use super::hosts::Hosts;
use super::machine::Machine;
use super::program;

pub mod clients;
pub mod faults;
pub mod history;
pub mod model;

/// The result of a history and its check.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The number of requests that were answered.
    pub answered: usize,
    /// The number of requests of unknown fate.
    pub unknown: usize,
    /// The faults, in their order.
    pub faults: Vec<String>,
    /// The time that the check took.
    pub check: Duration,
    /// The time that the check of the history with one planted stale read took.
    pub control: Duration,
}

/// Makes a history of at least `count` answered requests on three hosts, with every kind of fault,
/// and checks it. Then plants a stale read, which the check must find. If hosts cannot be made, the
/// replicas are on the loopback, and none is cut off.
///
/// # Errors
///
/// Returns the verdict, if it is not the expected one.
///
/// # Panics
///
/// Panics if a replica does not return, or hashes differ at the end.
pub fn run(seed: u64, count: usize) -> Result<Outcome, String> {
    let machine = Machine::take("linear");
    let program = program::redis_on_hosts(machine.folder());
    let (history, faults) = if Hosts::possible().is_ok() {
        let hosts = Arc::new(Hosts::make(3));
        let _hub = hosts.visit_hub();
        let mut group = Group::start_on(&machine, &hosts, program);
        clients::make(&mut group, Some(&hosts), seed, count)
    } else {
        let mut group = Group::start(&machine, program, 3, &[]);
        clients::make(&mut group, None, seed, count)
    };
    let start = Instant::now();
    model::check(&history)?;
    let check = start.elapsed();
    let stale = history.with_stale_read(seed).ok_or("no read to plant a stale one in")?;
    let start = Instant::now();
    if model::check(&stale).is_ok() {
        return Err("a planted stale read was not found".to_owned());
    }
    let (answered, unknown) = history.counts();
    Ok(Outcome { answered, unknown, faults, check, control: start.elapsed() })
}

/// Checks the bars: each of `histories` has 10 000 operations or more, is linearizable, and its
/// control is found. Returns the failures.
#[must_use]
pub fn measure(histories: u64) -> Vec<String> {
    let mut missed = Vec::new();
    let mut operations = 0;
    for seed in 1..=histories {
        match run(seed, OPERATIONS) {
            Ok(outcome) => {
                operations += outcome.answered + outcome.unknown;
                println!(
                    "history {seed}: {} answered, {} unknown; {}; linearizable ({:.0?}), planted \
                     stale read found ({:.0?})",
                    outcome.answered,
                    outcome.unknown,
                    outcome.faults.join(", "),
                    outcome.check,
                    outcome.control
                );
            }
            Err(why) => missed.push(format!("history {seed}: {why}")),
        }
    }
    println!("{histories} histories, {operations} operations");
    missed
}

/// The number of answered requests of a full history.
pub const OPERATIONS: usize = 10_000;
