//! Runs simulated groups: `simulate --seeds 1000`, `simulate --seed 17`, or for a long time
//! `simulate --seeds 1000000 --once`.

use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crane_test::simulation::faults::Happened;
use crane_test::simulation::runs::Runs;
use crane_test::simulation::scenario::{self, Failure, Outcome};

const USAGE: &str = "\
usage: simulate [--seeds COUNT] [--from SEED] [--once] | simulate --seed SEED
  --seeds COUNT  the number of seeds (1000)
  --from SEED    the first seed (0)
  --once         one run of each seed; else two runs, whose events must be equal
  --seed SEED    this seed alone";

/// The time between two reports of a long run's progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match Wanted::parse(std::env::args().skip(1)) {
        Ok(wanted) => wanted.run(),
        Err(problem) => {
            eprintln!("simulate: {problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Wanted {
    from: u64,
    count: u64,
    once: bool,
}

impl Wanted {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Self { from: 0, count: 1000, once: false };
        while let Some(option) = args.next() {
            if option == "--once" {
                wanted.once = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{option} needs a number"))?;
            let number = value.parse().map_err(|_| format!("{value} is not a number"))?;
            match option.as_str() {
                "--seeds" => wanted.count = number,
                "--from" => wanted.from = number,
                "--seed" => (wanted.from, wanted.count) = (number, 1),
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(wanted)
    }

    fn run(&self) -> ExitCode {
        let start = Instant::now();
        let next = AtomicU64::new(self.from);
        let end = self.from + self.count;
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
        let (failed, done) = (AtomicU64::new(0), AtomicBool::new(false));
        panic::set_hook(Box::new(|_| {}));
        let parts: Vec<Part> = std::thread::scope(|scope| {
            let work = || {
                let mut part = Part::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return part;
                    }
                    let result = if self.once { scenario::run(seed) } else { twice(seed) };
                    if let Err(failure) = &result {
                        failed.fetch_add(1, Ordering::Relaxed);
                        eprintln!("seed {seed}: {}", failure.message);
                    }
                    part.add(seed, result.map_err(|failure| failure.message));
                }
            };
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let progress = scope.spawn(|| {
                let mut told = start;
                while !done.load(Ordering::Relaxed) {
                    std::thread::park_timeout(PROGRESS_EVERY);
                    if told.elapsed() >= PROGRESS_EVERY {
                        told = Instant::now();
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
        let mut all = Part::default();
        for part in parts {
            all.join(part);
        }
        all.failed.sort();
        for (seed, message) in all.failed.iter().take(10) {
            println!("seed {seed}: {message}");
            println!("  replay: ci/simulate --seed {seed}");
        }
        println!(
            "{} seeds from {}, each {}: {} failed; {} steps, {} of {} proposals committed, {} \
             calls and {} bytes in a server of each group, at most {} effects in a step, healing \
             at most {} ms; {:.1} s\n{:?}\n{:?}",
            self.count,
            self.from,
            if self.once { "once" } else { "twice" },
            all.failed.len(),
            all.steps,
            all.committed,
            all.proposed,
            all.calls,
            all.bytes,
            all.effects,
            all.healing / 1000,
            start.elapsed().as_secs_f64(),
            all.happened,
            all.runs
        );
        if all.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[derive(Default)]
struct Part {
    failed: Vec<(u64, String)>,
    steps: u64,
    proposed: usize,
    committed: usize,
    calls: u64,
    bytes: u64,
    effects: usize,
    happened: Happened,
    runs: Runs,
    healing: u64,
}

impl Part {
    fn add(&mut self, seed: u64, result: Result<Outcome, String>) {
        match result {
            Ok(outcome) => {
                self.steps += outcome.steps;
                self.proposed += outcome.proposed;
                self.committed += outcome.committed;
                self.calls += outcome.calls;
                self.bytes += outcome.bytes;
                self.effects = self.effects.max(outcome.effects);
                self.happened += outcome.happened;
                self.runs += outcome.runs;
                self.healing = self.healing.max(outcome.healing);
            }
            Err(message) => self.failed.push((seed, message)),
        }
    }

    fn join(&mut self, other: Self) {
        self.failed.extend(other.failed);
        self.steps += other.steps;
        self.proposed += other.proposed;
        self.committed += other.committed;
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.effects = self.effects.max(other.effects);
        self.happened += other.happened;
        self.runs += other.runs;
        self.healing = self.healing.max(other.healing);
    }
}

/// Runs a seed twice, and checks that both runs have the same events.
fn twice(seed: u64) -> Result<Outcome, Failure> {
    let (first, second) = (scenario::run(seed)?, scenario::run(seed)?);
    if first == second {
        Ok(first)
    } else {
        Err(Failure { message: "two runs of the seed differ".into(), steps: second.steps })
    }
}
