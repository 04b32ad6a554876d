//! Histories of a replicated Redis under faults, and whether they are linearizable.
//!
//! * [`history`]: what clients asked, when, and what they were told;
//! * [`clients`]: the clients that make a history, some at each host;
//! * [`faults`]: what happens to the replicas meanwhile;
//! * [`model`]: what a key may do, and the check, by porcupine;
//! * [`run`]: all of it together, with a control.

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
    /// The number of requests of which no client knows whether they happened.
    pub unknown: usize,
    /// The faults, in their order.
    pub faults: Vec<String>,
    /// How long the check took.
    pub check: Duration,
    /// How long the check of the history with one planted stale read took.
    pub control: Duration,
}

/// Makes one history of at least `count` answered requests on three hosts, with every kind of fault
/// in it, checks it, plants a stale read, and checks that this is found. Without hosts of their own
/// the replicas are on the loopback, and nothing is cut off.
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

/// The bars: every one of `histories` is linearizable, has 10 000 operations or more, and its
/// control is found. Gives those that are not.
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
