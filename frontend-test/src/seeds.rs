//! Runs of many seeds on all processors, for the simulations' commands.

use std::ops::AddAssign;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// The options of a simulation's command.
pub const OPTIONS: &str = "\
  --seeds COUNT  the number of seeds (1000)
  --from SEED    the first seed (0)
  --once         one run of each seed; else two runs, whose events must be equal
  --seed SEED    this seed alone";

/// The time between two reports of a long run's progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// How many failed seeds are listed.
const LISTED: usize = 10;

/// The seeds to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeedRange {
    /// The first seed.
    pub from: u64,
    /// The number of seeds.
    pub count: u64,
    /// Whether each seed runs once; else twice, and both runs must be equal.
    pub once: bool,
}

impl SeedRange {
    /// Parses a command line without the command's name.
    ///
    /// # Errors
    /// Returns what is wrong.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut range = Self { from: 0, count: 1000, once: false };
        while let Some(option) = args.next() {
            if option == "--once" {
                range.once = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{option} needs a number"))?;
            let number = value.parse().map_err(|_| format!("{value} is not a number"))?;
            match option.as_str() {
                "--seeds" => range.count = number,
                "--from" => range.from = number,
                "--seed" => (range.from, range.count) = (number, 1),
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(range)
    }

    /// Runs the seeds, lists those that failed with the command that repeats them, `replay`, and
    /// returns the sum of the outcomes and the number of failures. A panic in a run must be caught
    /// there.
    pub fn run<Outcome: PartialEq, Sum: Default + AddAssign + From<Outcome> + Send>(
        &self,
        replay: &str,
        run: impl Fn(u64) -> Result<Outcome, String> + Sync,
    ) -> (Sum, usize) {
        let start = Instant::now();
        let next = AtomicU64::new(self.from);
        let end = self.from + self.count;
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
        let (failed, done) = (AtomicU64::new(0), AtomicBool::new(false));
        // Of one seed, the place of a panic and its backtrace are wanted.
        if self.count > 1 {
            panic::set_hook(Box::new(|_| {}));
        }
        let once = |seed| if self.once { run(seed) } else { twice(seed, &run) };
        let parts: Vec<(Sum, Vec<(u64, String)>)> = std::thread::scope(|scope| {
            let work = || {
                let (mut sum, mut failures) = (Sum::default(), Vec::new());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return (sum, failures);
                    }
                    match once(seed) {
                        Ok(outcome) => sum += outcome.into(),
                        Err(message) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            eprintln!("seed {seed}: {message}");
                            failures.push((seed, message));
                        }
                    }
                }
            };
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let progress = scope.spawn(|| {
                let mut reported = start;
                while !done.load(Ordering::Relaxed) {
                    std::thread::park_timeout(PROGRESS_EVERY);
                    if reported.elapsed() >= PROGRESS_EVERY {
                        reported = Instant::now();
                        let count = next.load(Ordering::Relaxed).min(end) - self.from;
                        let failed = failed.load(Ordering::Relaxed);
                        let seconds = start.elapsed().as_secs();
                        eprintln!("{count} of {} seeds, {failed} failed; {seconds} s", self.count);
                    }
                }
            });
            let join = |thread: ScopedJoinHandle<'_, _>| thread.join().expect("panics are caught");
            let parts = threads.into_iter().map(join).collect();
            done.store(true, Ordering::Relaxed);
            progress.thread().unpark();
            parts
        });
        let (mut all, mut failures) = (Sum::default(), Vec::new());
        for (sum, failed) in parts {
            all += sum;
            failures.extend(failed);
        }
        failures.sort();
        for (seed, message) in failures.iter().take(LISTED) {
            println!("seed {seed}: {message}");
            println!("  replay: {replay} --seed {seed}");
        }
        println!(
            "{} seeds from {}, each {}: {} failed; {:.1} s",
            self.count,
            self.from,
            if self.once { "once" } else { "twice" },
            failures.len(),
            start.elapsed().as_secs_f64(),
        );
        (all, failures.len())
    }
}

/// Runs a seed twice, and checks that both runs have the same events.
fn twice<Outcome: PartialEq>(
    seed: u64,
    run: impl Fn(u64) -> Result<Outcome, String>,
) -> Result<Outcome, String> {
    let (first, second) = (run(seed)?, run(seed)?);
    if first == second { Ok(first) } else { Err("two runs of the seed differ".into()) }
}
