//! Checks that the simulation finds the fault of each deliberately broken variant of the core.
//! `ci/mutants` builds this program with the variants, and runs it.

#[cfg(not(crane_mutants))]
fn main() {
    eprintln!("mutants: this build has no broken variants; run ci/mutants");
    std::process::exit(2);
}

#[cfg(crane_mutants)]
fn main() -> std::process::ExitCode {
    broken::main()
}

#[cfg(crane_mutants)]
mod broken {
    use std::process::ExitCode;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crane_core::mutants::{self, Mutant};
    use crane_test::simulation::scenario::{self, Failure};

    const SEEDS_UNBROKEN: u64 = 500;
    const SEEDS_BROKEN: u64 = 20_000;

    pub fn main() -> ExitCode {
        let wanted = std::env::args().nth(1);
        std::panic::set_hook(Box::new(|_| {}));
        let mut failed = 0;
        if wanted.is_none() {
            match first_failure(SEEDS_UNBROKEN) {
                None => println!("unbroken: {SEEDS_UNBROKEN} seeds pass"),
                Some((seed, Failure { message, .. })) => {
                    println!("unbroken: FAILED, seed {seed}: {message}");
                    failed += 1;
                }
            }
        }
        for (mutant, what) in mutants::ALL {
            if wanted.as_ref().is_none_or(|wanted| *wanted == format!("{mutant:?}")) {
                failed += u32::from(!is_found(*mutant, what.trim()));
            }
        }
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn is_found(mutant: Mutant, what: &str) -> bool {
        mutants::choose(Some(mutant));
        let found = first_failure(SEEDS_BROKEN);
        mutants::choose(None);
        // The failure counts only if the seed passes with the unbroken core.
        let found = found.filter(|(seed, _)| scenario::run(*seed).is_ok());
        match &found {
            Some((seed, Failure { message, steps })) => {
                let message = message.split([':', ';']).next().unwrap_or_default();
                println!(
                    "{mutant:?} ({what}): found by simulation, seed {seed}, {steps} steps: \
                     {message}"
                );
            }
            None => println!("{mutant:?} ({what}): NOT FOUND in {SEEDS_BROKEN} seeds"),
        }
        found.is_some()
    }

    /// Returns the lowest seed that fails, so that every run of this program finds the same.
    fn first_failure(seeds: u64) -> Option<(u64, Failure)> {
        let (next, bound) = (AtomicU64::new(0), AtomicU64::new(seeds));
        let found: Mutex<Option<(u64, Failure)>> = Mutex::new(None);
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= bound.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(failure) = scenario::run(seed) {
                    bound.fetch_min(seed, Ordering::Relaxed);
                    let mut found = found.lock().expect("no panic with the lock");
                    if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                        *found = Some((seed, failure));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        found.into_inner().expect("no panic with the lock")
    }
}
