//! Repeated kills of the primary under load: no write may be lost, and the time without service is
//! measured.

use std::net::SocketAddr;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::counting::Writers;
use super::group::Group;
use super::resp::{Connection, Reply};
use super::wait::{ANSWER, SOON, START, eventually};

/// The result of a run of kills.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The times from each kill to the first good answer on a new connection through a survivor.
    pub failovers: Vec<Duration>,
    /// The number of connections opened through a survivor before the kill that answered after it.
    pub survivors: usize,
    /// The times from each killed replica's start until it served again, in step.
    pub returns: Vec<Duration>,
    /// The number of acknowledged writes, each of which was found once.
    pub acknowledged: usize,
    /// The number of writes whose answer never came.
    pub unknown: usize,
}

impl Outcome {
    /// Returns the median time.
    #[must_use]
    pub fn median(&self) -> Duration {
        median(&self.failovers)
    }

    /// Returns the longest time.
    #[must_use]
    pub fn worst(&self) -> Duration {
        self.failovers.iter().copied().max().unwrap_or_default()
    }

    /// Returns a line with all figures.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} kills: fail-over median {} ms, worst {} ms; {} of {} connections through \
             survivors answered; return median {} ms; {} writes acknowledged, none lost or \
             doubled; {} without an answer",
            self.failovers.len(),
            self.median().as_millis(),
            self.worst().as_millis(),
            self.survivors,
            self.failovers.len(),
            median(&self.returns).as_millis(),
            self.acknowledged,
            self.unknown
        )
    }
}

/// The number of clients that write while the primary is killed, and their pause between two
/// writes. Each kill must meet writes in flight, and the log must stay short, because a returning
/// replica replays it from slot 1.
const WRITERS: usize = 6;
const PAUSE: Duration = Duration::from_millis(10);

/// Kills the primary of a Redis group `rounds` times; each time the replica returns before the next
/// kill. `said` is called with each event.
///
/// # Panics
///
/// Panics if a write is lost or doubled, a replica does not return, or hashes differ at the end.
pub fn run(group: &mut Group, rounds: usize, mut said: impl FnMut(String)) -> Outcome {
    let mut outcome = Outcome::default();
    let writers = Writers::default();
    let memories: Vec<_> = scope(|threads| {
        // A panic below must end the writers too, or the scope would wait for them for ever.
        let _stop = StopAtEnd(&writers);
        let handles: Vec<_> = (0..WRITERS)
            .map(|name| writers.spawn(threads, name, group.all_addresses(), PAUSE))
            .collect();
        for round in 1..=rounds {
            one_round(group, &writers, &mut outcome);
            said(format!(
                "kill {round}: answered after {} ms, returned after {} ms, {} acknowledged",
                outcome.failovers[round - 1].as_millis(),
                outcome.returns[round - 1].as_millis(),
                writers.acknowledged()
            ));
        }
        writers.stop();
        handles.into_iter().map(|handle| handle.join().expect("a writer")).collect()
    });
    group.await_settled();
    for memory in &memories {
        for id in group.ids() {
            memory
                .verify(group.address(id))
                .unwrap_or_else(|error| panic!("replica {id}: {error}"));
        }
        let (acknowledged, unknown) = memory.counts();
        outcome.acknowledged += acknowledged;
        outcome.unknown += unknown;
    }
    group.await_settled();
    outcome
}

fn one_round(group: &mut Group, writers: &Writers, outcome: &mut Outcome) {
    let before = writers.acknowledged();
    eventually("writes before the kill", SOON, || {
        if writers.acknowledged() >= before + 50 { Ok(()) } else { Err("too few") }
    });
    let primary = group.primary();
    let survivors: Vec<SocketAddr> =
        group.ids().filter(|id| *id != primary).map(|id| group.address(id)).collect();
    let mut old = Connection::open(survivors[0], ANSWER).expect("a survivor");
    ping(&mut old).expect("an answer before the kill");
    let moment = group.kill(primary);
    outcome.failovers.push(first_answer(&survivors, moment));
    // The connection's own time-out is the bound.
    outcome.survivors += usize::from(ping(&mut old).is_ok());
    drop(old);
    let start = Instant::now();
    group.start_replica(primary);
    let count = survivors.len() + 1;
    eventually("the return of the killed replica", START, || {
        let status = group.status()?;
        status.healthy(count)?;
        // The replica must be in step again: it serves, and is less than a second of writes behind.
        let admitted = status.replica(primary).admitted.unwrap_or(0);
        if admitted + 100 < status.committed() {
            return Err(status.brief());
        }
        let mut connection = Connection::open(group.address(primary), ANSWER)
            .map_err(|error| format!("replica {primary}: {error}"))?;
        ping(&mut connection).map_err(|error| format!("replica {primary}: {error}"))
    });
    outcome.returns.push(start.elapsed());
}

/// Tries the survivors in turn, on new connections, until one answers.
fn first_answer(survivors: &[SocketAddr], since: Instant) -> Duration {
    let mut next = 0;
    eventually("an answer after the kill", START, || {
        next += 1;
        let address = survivors[next % survivors.len()];
        Connection::open(address, ANSWER).and_then(|mut connection| ping(&mut connection))
    });
    since.elapsed()
}

/// The request is a write, so that its answer needs agreement and not only a running process.
fn ping(connection: &mut Connection) -> std::io::Result<()> {
    match connection.call(&[b"INCR", b"pings"])? {
        Reply::Number(_) => Ok(()),
        other => Err(super::http::invalid(format!("INCR answered {other:?}"))),
    }
}

/// Returns the median time.
pub(super) fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Stops the writers when it is dropped.
pub(super) struct StopAtEnd<'a>(pub(super) &'a Writers);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
        // The pause lets a writer end a write that it has begun.
        sleep(PAUSE);
    }
}
