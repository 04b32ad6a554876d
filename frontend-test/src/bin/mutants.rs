//! Checks that a simulation finds the fault of each deliberately broken variant of the code: of the
//! core's nodes, of the traces of these, or of whole daemons; or a case made by hand. `ci/mutants`
//! builds this program with the variants, and runs it.

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
    use std::collections::BTreeMap;
    use std::process::ExitCode;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use crane_core::mutants::{self, Mutant};
    use crane_linux::simulation as daemons;
    use crane_test::cases;
    use crane_test::simulation::scenario as nodes;
    use crane_test::specification::validate;

    /// A simulation, and what is looked at.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Simulation {
        /// Groups of the core's nodes, with the checks that hold at every moment.
        Nodes,
        /// Whole daemons.
        Daemons,
        /// The traces of the nodes, event by event against the rules.
        Traces,
        /// Cases made by hand, each under a seed.
        Cases,
    }

    use Simulation::{Cases, Daemons, Nodes, Traces};

    /// The variants that another simulation than that of nodes shows, by what they lead to.
    const SHOWN_BY: &[(Mutant, Simulation)] = &[
        (Mutant::DueRestartsStandstill, Daemons),
        (Mutant::ProcessorUncounted, Daemons),
        (Mutant::NeverPassed, Daemons),
        (Mutant::NeverTransferred, Daemons),
        (Mutant::LossesUncounted, Daemons),
        (Mutant::NeverOnTrial, Daemons),
        (Mutant::TransferredToAnybody, Daemons),
        (Mutant::HungDiskElected, Daemons),
        (Mutant::SickTakesClients, Daemons),
        (Mutant::HandedOnUnretired, Daemons),
        (Mutant::SlowSyncsHurried, Daemons),
        (Mutant::DrainedIgnored, Daemons),
        (Mutant::RetireIgnored, Daemons),
        (Mutant::MajorityUncounted, Daemons),
        (Mutant::WrongServes, Daemons),
        (Mutant::LackingUnheard, Daemons),
        (Mutant::ServerlessLeads, Daemons),
        (Mutant::LateUncounted, Cases),
        (Mutant::VotesInherited, Cases),
        (Mutant::CallsLost, Daemons),
        (Mutant::GenerationKept, Daemons),
        (Mutant::FedUndecided, Daemons),
        (Mutant::NeverStepsDown, Daemons),
        (Mutant::EndedEpochKept, Cases),
        (Mutant::CandidatesWelcome, Traces),
        (Mutant::RejoinRepeated, Traces),
        (Mutant::RejoinUninformed, Traces),
        (Mutant::RemovedLeads, Traces),
        (Mutant::OwnTimeAdded, Traces),
        (Mutant::EpochsUncounted, Cases),
        (Mutant::OldAnswersCount, Traces),
        (Mutant::NeverOvertaken, Cases),
        (Mutant::RetiredAdmitted, Cases),
    ];

    /// A seed that failed: the message, and the number of steps before it.
    type FailedSeed = (u64, String, u64);

    /// The result of a search.
    struct Searched {
        found: Option<FailedSeed>,
        /// Whether any of the first seeds took other steps than with the unbroken code.
        differs: bool,
    }

    impl Simulation {
        const ALL: [Self; 4] = [Nodes, Daemons, Traces, Cases];

        /// Returns how many seeds the unbroken code must pass.
        fn unbroken_seeds(self) -> u64 {
            match self {
                Nodes => 500,
                Daemons => 256,
                Traces => 50,
                Cases => cases::ALL.len() as u64,
            }
        }

        /// Returns within how many seeds a variant must be found.
        fn seeds(self) -> u64 {
            match self {
                Nodes => 20_000,
                Daemons => 2000,
                Traces => 1000,
                Cases => cases::ALL.len() as u64,
            }
        }

        fn run(self, seed: u64) -> Result<u64, (String, u64)> {
            match self {
                Nodes => match nodes::run(seed) {
                    Ok(outcome) => Ok(outcome.hash),
                    Err(failure) => Err((failure.message, failure.steps)),
                },
                Daemons => match daemons::run(seed) {
                    Ok(outcome) => Ok(outcome.hash),
                    Err(failure) => Err((failure.message, failure.steps)),
                },
                Traces => match nodes::trace(seed) {
                    // The simulation of nodes compares the steps.
                    Ok((members, trace)) => {
                        validate(members, &trace).map(|()| 0).map_err(|broken| {
                            (format!("{}, {}", broken.rule, broken.what), broken.at as u64)
                        })
                    }
                    Err(failure) => Err((failure.message, failure.steps)),
                },
                Cases => match cases::ALL.get(seed as usize) {
                    Some((name, case)) => {
                        let failed = |_| (format!("{name}"), 0);
                        std::panic::catch_unwind(case).map(|()| 0).map_err(failed)
                    }
                    None => Ok(0),
                },
            }
        }
    }

    pub(super) fn main() -> ExitCode {
        let wanted = std::env::args().nth(1);
        std::panic::set_hook(Box::new(|_| {}));
        if let Some(wanted) = wanted {
            return examine(&wanted, std::env::args().nth(2).as_deref());
        }
        let mut failed = 0;
        for simulation in Simulation::ALL {
            let seeds = simulation.unbroken_seeds();
            match search(simulation, seeds).found {
                None => println!("unbroken, {simulation:?}: {seeds} seeds pass"),
                Some((seed, message, _)) => {
                    println!("unbroken, {simulation:?}: FAILED, seed {seed}: {message}");
                    failed += 1;
                }
            }
        }
        let mut by_rule: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (mutant, what, rule) in mutants::ALL {
            let found = look_for(*mutant, what, rule, shown_by(*mutant));
            failed += u32::from(found.is_none());
            by_rule.entry(rule).or_default().push(match found {
                Some(seeds) => format!("{mutant:?} ({:?}, {seeds})", shown_by(*mutant)),
                None => format!("{mutant:?} (FAILED)"),
            });
        }
        failed += u32::from(!report_coverage(&by_rule));
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Looks for one variant in each of the simulations, or in one of them, over many seeds from
    /// the first one.
    fn examine(wanted: &str, by: Option<&str>) -> ExitCode {
        let Some((mutant, what, rule)) =
            mutants::ALL.iter().find(|(mutant, ..)| format!("{mutant:?}") == wanted)
        else {
            eprintln!("mutants: no variant is called {wanted}");
            return ExitCode::from(2);
        };
        let is_meant = |simulation: &&Simulation| {
            by.is_none_or(|by| by.eq_ignore_ascii_case(&format!("{simulation:?}")))
        };
        let meant: Vec<_> = Simulation::ALL.iter().filter(is_meant).collect();
        if meant.is_empty() {
            let by = by.unwrap_or_default();
            eprintln!("mutants: no simulation is called {by}, but {:?} are", Simulation::ALL);
            return ExitCode::from(2);
        }
        let found = meant
            .iter()
            .filter(|simulation| look_for(*mutant, what, rule, ***simulation).is_some());
        if found.count() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Returns the simulation that shows a variant.
    fn shown_by(mutant: Mutant) -> Simulation {
        let shown = SHOWN_BY.iter().find(|(shown, _)| *shown == mutant);
        shown.map_or(Nodes, |(_, simulation)| *simulation)
    }

    /// Looks for a variant in a simulation. Returns the number of seeds after which it is found.
    fn look_for(mutant: Mutant, what: &str, rule: &str, simulation: Simulation) -> Option<u64> {
        mutants::choose(Some(mutant));
        let searched = search(simulation, simulation.seeds());
        mutants::choose(None);
        // The failure counts only if the seed passes with the unbroken code.
        if let Some((seed, message, steps)) =
            searched.found.filter(|(seed, ..)| simulation.run(*seed).is_ok())
        {
            let message = message.split([':', ';']).next().unwrap_or_default();
            println!(
                "{rule} {mutant:?} ({}): found, {simulation:?}, seed {seed}, {steps} steps: \
                 {message}",
                what.trim()
            );
            return Some(seed + 1);
        }
        let why = match searched.differs || [Traces, Cases].contains(&simulation) {
            true => "NOT FOUND",
            false => "NOT REACHED: it takes exactly the steps of the unbroken code",
        };
        println!("{rule} {mutant:?} ({}): {simulation:?}, {why}", what.trim());
        None
    }

    /// Returns the lowest seed that fails, so that every run of this program finds the same; and if
    /// there is none, whether a seed takes other steps than with the unbroken code.
    fn search(simulation: Simulation, seeds: u64) -> Searched {
        let (next, bound) = (AtomicU64::new(0), AtomicU64::new(seeds));
        let found: Mutex<Option<FailedSeed>> = Mutex::new(None);
        let hashes: Mutex<BTreeMap<u64, u64>> = Mutex::default();
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= bound.load(Ordering::Relaxed) {
                    return;
                }
                match simulation.run(seed) {
                    Ok(hash) => {
                        if seed < simulation.unbroken_seeds() {
                            hashes.lock().expect("no panic with the lock").insert(seed, hash);
                        }
                    }
                    Err((message, steps)) => {
                        bound.fetch_min(seed, Ordering::Relaxed);
                        let mut found = found.lock().expect("no panic with the lock");
                        if found.as_ref().is_none_or(|(first, ..)| seed < *first) {
                            *found = Some((seed, message, steps));
                        }
                    }
                }
            }
        };
        in_threads(workers, &work);
        let found = found.into_inner().expect("no panic with the lock");
        if found.is_some() {
            return Searched { found, differs: true };
        }
        mutants::choose(None);
        let differs = AtomicBool::new(false);
        let hashes: Vec<(u64, u64)> =
            hashes.into_inner().expect("no panic with the lock").into_iter().collect();
        let next = AtomicU64::new(0);
        let compare = || {
            while !differs.load(Ordering::Relaxed)
                && let Some((seed, hash)) =
                    hashes.get(next.fetch_add(1, Ordering::Relaxed) as usize)
            {
                if simulation.run(*seed).ok() != Some(*hash) {
                    differs.store(true, Ordering::Relaxed);
                }
            }
        };
        in_threads(workers, &compare);
        Searched { found: None, differs: differs.into_inner() }
    }

    fn in_threads(count: usize, work: &(impl Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(work);
            }
        });
    }

    /// Prints the mutants of each rule of `specs`, with the simulation that finds each and the
    /// number of seeds. Returns whether each mutant breaks a rule that exists.
    fn report_coverage(by_rule: &BTreeMap<&str, Vec<String>>) -> bool {
        let rules = rules();
        let (covered, open): (Vec<&String>, Vec<&String>) =
            rules.iter().partition(|rule| by_rule.contains_key(rule.as_str()));
        let count: usize = by_rule.values().map(Vec::len).sum();
        println!("{count} mutants, of {} rules of {}:", covered.len(), rules.len());
        for rule in &covered {
            println!("  {rule}: {}", by_rule[rule.as_str()].join(", "));
        }
        let open: Vec<&str> = open.iter().map(|rule| rule.as_str()).collect();
        println!("rules with tests alone (specs/code.md): {}", open.join(" "));
        let unknown = by_rule.keys().find(|rule| !rules.iter().any(|known| known == *rule));
        if let Some(rule) = unknown {
            println!("FAILED: no rule is called {rule}");
        }
        unknown.is_none()
    }

    /// Returns the names of all rules, which their files define in bold at the beginning of a line.
    fn rules() -> Vec<String> {
        let specs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
        let mut files: Vec<_> = std::fs::read_dir(specs)
            .expect("the rules are beside the tests")
            .map(|item| item.expect("a directory can be listed").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .collect();
        files.sort();
        let mut rules = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file).expect("a file of rules can be read");
            rules.extend(text.lines().filter_map(|line| {
                let (name, _) = line.strip_prefix("**")?.split_once("**")?;
                let number = name.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
                let is_rule = number.len() < name.len() && number.parse::<u32>().is_ok();
                is_rule.then(|| name.to_string())
            }));
        }
        rules
    }
}
