//! Runs simulated groups of whole daemons, with the options of `simulate`.

use std::ops::AddAssign;
use std::process::ExitCode;

use crane_linux::simulation::{self, DaemonsOutcome, FaultCounts};
use crane_test::seeds::{OPTIONS, SeedRange};

/// The number of seeds in which each fault must happen.
const SEEDS_OF_ALL_FAULTS: u64 = 100;

fn main() -> ExitCode {
    let range = match SeedRange::parse(std::env::args().skip(1)) {
        Ok(range) => range,
        Err(problem) => {
            eprintln!("simulate: {problem}\nusage: ci/simulate --daemons [OPTION]…\n{OPTIONS}");
            return ExitCode::from(2);
        }
    };
    let run = |seed| simulation::run(seed).map_err(|failure| failure.message);
    let (all, failed): (DaemonsSum, usize) = range.run("ci/simulate --daemons", run);
    println!(
        "{} events, {} of {} requests answered, healing at most {} ms",
        all.steps, all.answered, all.sent, all.healing
    );
    let happened: Vec<String> =
        all.happened.by_name().map(|(name, count)| format!("{name} {count}")).collect();
    println!("{}", happened.join(", "));
    let mut holds = failed == 0;
    if range.count >= SEEDS_OF_ALL_FAULTS {
        for (name, _) in all.happened.by_name().filter(|(_, count)| *count == 0) {
            println!("{name} never happened: no check of these runs concerns it");
            holds = false;
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct DaemonsSum {
    steps: u64,
    answered: u64,
    sent: u64,
    healing: u64,
    happened: FaultCounts,
}

impl From<DaemonsOutcome> for DaemonsSum {
    fn from(outcome: DaemonsOutcome) -> Self {
        let DaemonsOutcome { steps, answered, sent, healing, happened, .. } = outcome;
        Self { steps, answered, sent, healing, happened }
    }
}

impl AddAssign for DaemonsSum {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.answered += other.answered;
        self.sent += other.sent;
        self.healing = self.healing.max(other.healing);
        self.happened += other.happened;
    }
}
