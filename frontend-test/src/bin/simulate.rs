//! Runs simulated groups: `simulate --seeds 1000`, `simulate --seed 17`.

use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crane_test::simulation::scenario::{self, Outcome};

const USAGE: &str = "usage: simulate [--seeds COUNT] [--from SEED] | simulate --seed SEED";

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
}

impl Wanted {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Wanted { from: 0, count: 1000 };
        while let Some(option) = args.next() {
            let value = args.next().ok_or(format!("{option} wants a number"))?;
            let number = value.parse().map_err(|_| format!("{value} is not a number"))?;
            match option.as_str() {
                "--seeds" => wanted.count = number,
                "--from" => wanted.from = number,
                "--seed" => wanted = Wanted { from: number, count: 1 },
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
        panic::set_hook(Box::new(|_| {}));
        let parts: Vec<Part> = std::thread::scope(|scope| {
            let work = || {
                let mut part = Part::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return part;
                    }
                    part.add(seed, twice(seed));
                }
            };
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
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
            "{} seeds from {}: {} failed; {} steps, {} of {} proposals committed, {} calls and \
             {} bytes in a server of each group, healing at most {} ms; {:.1} s",
            self.count,
            self.from,
            all.failed.len(),
            all.steps,
            all.committed,
            all.proposed,
            all.calls,
            all.bytes,
            all.healing / 1000,
            start.elapsed().as_secs_f64()
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
                self.healing = self.healing.max(outcome.healing);
            }
            Err(message) => self.failed.push((seed, message)),
        }
    }

    fn join(&mut self, other: Part) {
        self.failed.extend(other.failed);
        self.steps += other.steps;
        self.proposed += other.proposed;
        self.committed += other.committed;
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.healing = self.healing.max(other.healing);
    }
}

/// Runs a seed two times: the same must happen.
fn twice(seed: u64) -> Result<Outcome, String> {
    let [first, second] = [0; 2].map(|_| scenario::run(seed).map_err(|failure| failure.message));
    let (first, second) = (first?, second?);
    if first == second { Ok(first) } else { Err("two runs of the seed differ".into()) }
}
