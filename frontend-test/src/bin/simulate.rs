//! Runs simulated groups of nodes: `simulate --seeds 1000`, `simulate --seed 17`, or for a long
//! time `simulate --seeds 1000000 --once`.

use std::ops::AddAssign;
use std::process::ExitCode;

use crane_test::seeds::{OPTIONS, SeedRange};
use crane_test::simulation::faults::Happened;
use crane_test::simulation::processes::Lives;
use crane_test::simulation::runs::Runs;
use crane_test::simulation::scenario::{self, Outcome};

fn main() -> ExitCode {
    let range = match SeedRange::parse(std::env::args().skip(1)) {
        Ok(range) => range,
        Err(problem) => {
            eprintln!("simulate: {problem}\nusage: simulate [OPTION]…\n{OPTIONS}");
            return ExitCode::from(2);
        }
    };
    let run = |seed| scenario::run(seed).map_err(|failure| failure.message);
    let (all, failed): (NodesSum, usize) = range.run("ci/simulate", run);
    println!(
        "{} steps, {} of {} proposals committed, {} calls and {} bytes in a server of each group, \
         at most {} effects in a step, healing at most {} ms\n{:?}\n{:?}\n{:?}",
        all.steps,
        all.committed,
        all.proposed,
        all.calls,
        all.bytes,
        all.effects,
        all.healing / 1000,
        all.happened,
        all.runs,
        all.lives
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct NodesSum {
    steps: u64,
    proposed: usize,
    committed: usize,
    calls: u64,
    lives: Lives,
    bytes: u64,
    effects: usize,
    happened: Happened,
    runs: Runs,
    healing: u64,
}

impl From<Outcome> for NodesSum {
    fn from(outcome: Outcome) -> Self {
        let Outcome {
            steps,
            proposed,
            committed,
            calls,
            lives,
            bytes,
            effects,
            happened,
            runs,
            healing,
            ..
        } = outcome;
        Self { steps, proposed, committed, calls, lives, bytes, effects, happened, runs, healing }
    }
}

impl AddAssign for NodesSum {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.proposed += other.proposed;
        self.committed += other.committed;
        self.calls += other.calls;
        self.lives += other.lives;
        self.bytes += other.bytes;
        self.effects = self.effects.max(other.effects);
        self.happened += other.happened;
        self.runs += other.runs;
        self.healing = self.healing.max(other.healing);
    }
}
