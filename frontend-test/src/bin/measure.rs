//! `crane-measure`: the long runs of the end-to-end tests in full, compared with their bars.
//!
//! `ci/measure` and `ci/bench e2e` build this program and run it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crane_test::e2e::alarm::OnFloor;
use crane_test::e2e::cost::Pair;
use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::load::{Load, ab, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::odd::{KINDS, Service, store_large, storm};
use crane_test::e2e::odd_programs::{self, Fares};
use crane_test::e2e::program::{self, PAGE};
use crane_test::e2e::programs::{self, Expect};
use crane_test::e2e::{
    alarm, bench, checkpoint_faults, checkpoints, clocks, cost, divergence, endless, failover,
    flood, healthy, host_events, idle, kills, kin, languages, linear, old_copy, probes, prompt,
    replay, runtimes, services, sick, siege, sizes, starts, steady, traps, wiped,
};

const USAGE: &str = "\
usage: crane-measure kills [ROUNDS]    kill the primary under load, 20 times
       crane-measure odd [TIMES]       odd clients, 200 of each kind
       crane-measure odd-programs      all odd programs print the same as natively
       crane-measure idle [SECONDS]    an idle group, 30 s
       crane-measure failover [KILLS]  kill, freeze, cut off the primary on three hosts, 50 kills
       crane-measure sick [ROUNDS]     disk or server of the primary hang on three hosts, 20 of
                                       each; slow disks and a long query move no role;
                                       ONLY=TEXT for those whose name contains it
       crane-measure siege [SECONDS]   strangers attack with a fifth of a processor, 60 s
       crane-measure steady [SECONDS]  full load changes no primary, 600 s
       crane-measure alarm             all stuck programs are reported, controls are not
       crane-measure divergence [ROUNDS]  a server goes wrong under full load on three hosts,
                                       100 times, and 20 times each with a third opinion
       crane-measure sizes [REQUESTS]  five and seven replicas beside three, 5000
       crane-measure linear [HISTORIES]  histories with faults are linearizable, 20
       crane-measure runtimes [CONNECTIONS]  node, the JVM, Rust's standard library and Go's
                                       static programs on three hosts, 10000 connections
                                       in a row
       crane-measure services [REQUESTS]  databases, caches and runtimes on three hosts: requests
                                       of eight clients, a proved checkpoint, a killed
                                       primary, a server from the checkpoint, 5000;
                                       ONLY=TEXT for those whose name contains it
       crane-measure host-events [ROUNDS]  a host ends a process, or fails at a call of its server,
                                       20 times each: the others serve on;
                                       ONLY=TEXT for those whose name contains it
       crane-measure kin [RUNS]        servers whose processes race in twelve ways are equal on
                                       three hosts while single processes are stopped, 300 runs
                                       each; native runs differ; ONLY=TEXT for ways that contain it
       crane-measure languages [RUNS]  racy servers in eight languages are equal on three
                                       disturbed replicas, 300 runs each
       crane-measure probes [ROUNDS]   sources of nondeterminism on three hosts, each in
                                       several ways, 20 rounds (ci/probes)
       crane-measure traps [REQUESTS]  calls that the net below the hooks catches, by request and
                                       place, 4000
       crane-measure prompt [MILLIONS] clocks read by a call of the program's own and by libc's
                                       function, locks of one thread and of eight, beside the
                                       same natively, 10 million times
       crane-measure healthy [MINUTES] civetweb, redis, memcached, clamd and node under load raise
                                       no fault, 60 minutes
       crane-measure starts [TIMES]    groups start on a busy machine, 3000 times
       crane-measure checkpoints [ROUNDS]  hold, dump, kill and restore under load, 50 rounds with
                                       each of five servers, and with redis and
                                       100 MiB in it
       crane-measure checkpoint-faults [FAULTS]  faults at random moments of checkpoints, 200
       crane-measure wiped [MIB]       a replica returns from a peer's checkpoint, with civetweb,
                                       and with redis and 100 MiB in it
       crane-measure endless [MILLIONS]  small writes with a checkpoint after each 256 MiB of log,
                                       10 million
       crane-measure old-copy [ROUNDS]  old copies of a data directory are put back, or started
                                       behind the same name, 100 times
       crane-measure flood [MIB]       clients' bytes beside a disk that hangs: logs and memory,
                                       1024 MiB
       crane-measure clocks [SECONDS]  one clock is off: the server's time and lives of keys, 60 s
       crane-measure replay [TIMES]    replay beside recording, once
       crane-measure e2e [REQUESTS]    cost beside native, 5000 requests for each figure
       crane-measure cost [ROUNDS]     processor time beside three plain copies, and beside the
                                       command BASELINE (a path, by the environment), 5 rounds;
                                       ONLY=TEXT for the requests whose name contains it";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (name, amount) = match &words[..] {
        [name, order @ ..] if name == siege::ATTACK => {
            println!("{}", siege::obey(order));
            return ExitCode::SUCCESS;
        }
        [name] => (name.as_str(), None),
        [name, amount] => match amount.parse::<u32>() {
            Ok(amount) if amount > 0 => (name.as_str(), Some(amount)),
            _ => return usage(),
        },
        _ => return usage(),
    };
    let missed = match name {
        "kills" => measure_kills(amount.unwrap_or(20) as usize),
        "odd" => measure_odd(amount.unwrap_or(200) as usize),
        "odd-programs" => measure_odd_programs(),
        "idle" => measure_idle(Duration::from_secs(amount.unwrap_or(30).into())),
        "failover" => failover::measure(amount.unwrap_or(50) as usize),
        "divergence" => divergence::measure(amount.unwrap_or(100) as usize),
        "linear" => linear::measure(amount.unwrap_or(20).into()),
        "sick" => sick::measure(amount.unwrap_or(20) as usize),
        "siege" => siege::measure(Duration::from_secs(amount.unwrap_or(60).into())),
        "steady" => steady::measure(Duration::from_secs(amount.unwrap_or(600).into())),
        "sizes" => {
            print!("{}", sizes::table(&sizes::run(amount.unwrap_or(5000))));
            Vec::new()
        }
        "alarm" => measure_alarm(),
        "host-events" => measure_host_events(amount.unwrap_or(20)),
        "kin" => measure_kin(amount.unwrap_or(300) as usize),
        "services" => measure_services(amount.unwrap_or(5000).into()),
        "runtimes" => measure_runtimes(amount.unwrap_or(10_000).into()),
        "languages" => languages::measure(amount.unwrap_or(300) as usize),
        "probes" => probes::measure(amount.unwrap_or(20) as usize),
        "traps" => traps::measure(amount.unwrap_or(4000)),
        "healthy" => {
            let period = Duration::from_secs(60 * u64::from(amount.unwrap_or(60)));
            healthy::run(period, |line| println!("{line}"))
        }
        "starts" => measure_starts(amount.unwrap_or(3000) as usize),
        "checkpoints" => measure_checkpoints(amount.unwrap_or(50) as usize),
        "checkpoint-faults" => measure_checkpoint_faults(amount.unwrap_or(200) as usize),
        "wiped" => {
            wiped::run(true, 0, |line| println!("{line}"));
            wiped::run(false, amount.unwrap_or(100) as usize, |line| println!("{line}"));
            Vec::new()
        }
        "endless" => endless::measure(u64::from(amount.unwrap_or(10)) * 1_000_000),
        "old-copy" => {
            old_copy::run(amount.unwrap_or(100) as usize, |line| println!("{line}"));
            Vec::new()
        }
        "flood" => flood::measure(amount.unwrap_or(1024)),
        "clocks" => clocks::measure(Duration::from_secs(amount.unwrap_or(60).into())),
        "prompt" => prompt::measure(amount.unwrap_or(10)),
        "replay" => replay::measure(amount.unwrap_or(1) as usize),
        "cost" => measure_processor_time(amount.unwrap_or(20) as usize),
        "e2e" => measure_cost(amount.unwrap_or(5000)),
        _ => return usage(),
    };
    for bar in &missed {
        println!("MISSED: {bar}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn measure_alarm() -> Vec<String> {
    let mut missed = Vec::new();
    for stuck in programs::stuck() {
        match alarm::stick(&stuck) {
            Ok(reported) => {
                println!("{}: {:.1?} {:?}", reported.name, reported.after, reported.texts);
                if reported.after.is_some_and(|after| after > alarm::REPORTED_WITHIN) {
                    missed.push(format!("{}: reported after {:.1?}", stuck.name, reported.after));
                }
            }
            Err(why) => missed.push(why),
        }
    }
    missed.extend(measure_floor());
    missed
}

/// The programs that wait in one call each, on the floor: of 30, 26 must work.
fn measure_floor() -> Vec<String> {
    let all = programs::stuck();
    let waiting: Vec<_> = all.iter().filter(|one| one.expect == Expect::InKernel).collect();
    let (mut works, mut missed) = (0, Vec::new());
    for stuck in &waiting {
        match alarm::stick_on_floor(stuck) {
            Ok(OnFloor::Works) => works += 1,
            Ok(OnFloor::Named(text)) => println!("{}: {text}", stuck.name),
            Err(why) => missed.push(why),
        }
    }
    println!("{works} of {} work on the floor", waiting.len());
    if works * 30 < waiting.len() * 26 {
        missed.push(format!("only {works} of {} work on the floor", waiting.len()));
    }
    missed
}

fn measure_checkpoints(rounds: usize) -> Vec<String> {
    let mut missed = Vec::new();
    let small = checkpoints::NAMES.map(|name| (name, name.to_string(), false));
    let large = ("redis", format!("redis with {} MiB", checkpoints::LARGE_MIB), true);
    for (name, title, large) in small.into_iter().chain([large]) {
        let outcome = checkpoints::rounds(name, rounds, large);
        println!("{title}: {}", outcome.summary());
        missed.extend(outcome.missed().iter().map(|what| format!("{title}: {what}")));
    }
    missed
}

fn measure_starts(times: usize) -> Vec<String> {
    let outcome = starts::run(times);
    let good = times - outcome.failures.len();
    println!(
        "{good} of {times} starts; to an answer at every replica: mean {:.0?}, longest {:.0?}",
        outcome.total / u32::try_from(good.max(1)).unwrap_or(u32::MAX),
        outcome.longest
    );
    outcome.failures
}

fn measure_kills(rounds: usize) -> Vec<String> {
    let machine = Machine::take("kills");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let outcome = kills::run(&mut group, rounds, |line| println!("{line}"));
    println!("{}", outcome.summary());
    let mut missed = Vec::new();
    if outcome.median() > Duration::from_millis(500) {
        missed.push(format!("median fail-over {:?} is above 500 ms", outcome.median()));
    }
    if outcome.worst() > Duration::from_secs(2) {
        missed.push(format!("worst fail-over {:?} is above 2 s", outcome.worst()));
    }
    if outcome.survivors != rounds {
        missed.push(format!("{} of {rounds} connections answered", outcome.survivors));
    }
    missed
}

fn measure_odd(times: usize) -> Vec<String> {
    let (small, large) = (program::small_page(), program::large_content());
    let mut missed = Vec::new();
    for web in [true, false] {
        let machine = Machine::take("odd");
        let folder = machine.folder();
        let program = if web { program::civetweb(folder, 50) } else { program::redis(folder) };
        let name = program.name;
        let group = Group::start(&machine, program, 3, &[]);
        let service = if web {
            Service::Web(&small, &large)
        } else {
            store_large(group.address(1), &large).expect("the large value is stored");
            Service::Redis(&large)
        };
        for kind in KINDS {
            let start = std::time::Instant::now();
            match storm(kind, service, &group.all_addresses(), times) {
                Ok(()) => println!("{name}: {kind}: {times} of {times}, {:.1?}", start.elapsed()),
                Err(why) => missed.push(format!("{name}: {why}")),
            }
            let status = group.await_settled();
            println!("  hashes equal, no connection open: {}", status.brief());
        }
    }
    missed
}

fn measure_odd_programs() -> Vec<String> {
    let runs = [
        (programs::odd(), true),
        (programs::odd(), false),
        (programs::statically_linked_odd(), true),
    ];
    let mut missed = Vec::new();
    for (odd, has_floor) in runs {
        let equal = AtomicUsize::new(0);
        missed.extend(odd_programs::run(&odd, has_floor, |name, fares| {
            if *fares == Fares::Equal {
                equal.fetch_add(1, Ordering::Relaxed);
            } else {
                println!("{name}: {fares}");
            }
        }));
        let room = odd[0].room;
        let floor = if has_floor { "" } else { " without a floor" };
        println!("{room}: {} of {} as natively{floor}", equal.into_inner(), odd.len());
    }
    missed
}

fn measure_idle(period: Duration) -> Vec<String> {
    let mut missed = Vec::new();
    for web in [true, false] {
        let machine = Machine::take("idle");
        let folder = machine.folder();
        let program = if web { program::civetweb(folder, 8) } else { program::redis(folder) };
        let name = program.name;
        let group = Group::start(&machine, program, 3, &[]);
        if web {
            let load = Load { requests: 2000, connections: 8, keepalive: false };
            ab(group.address(1), PAGE, load).expect("no failed request");
        } else {
            let load = Load { requests: 20_000, connections: 20, keepalive: true };
            redis_benchmark(group.address(1), "set,get", load).expect("no failed request");
        }
        group.await_settled();
        for idle in idle::watch(&group, period) {
            println!(
                "{name}: replica {}: {:.1} entries/s, {:.1} bubbles/s, daemon {:.2} % of a core, \
                 server {:.2} %",
                idle.id,
                idle.entries_per_second,
                idle.bubbles_per_second,
                idle.daemon_percent,
                idle.server_percent
            );
            if idle.daemon_percent >= 1.0 {
                missed.push(format!("{name}: daemon {} at {:.2} %", idle.id, idle.daemon_percent));
            }
        }
        group.await_settled();
    }
    missed
}

fn measure_checkpoint_faults(faults: usize) -> Vec<String> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut number = 0;
    let outcomes = checkpoint_faults::run(faults, seed, |outcome| {
        number += 1;
        let struck = if outcome.struck { "" } else { " (nothing to strike)" };
        let healed = outcome.refusal.as_deref().unwrap_or("healthy by itself");
        println!("{number}: {}{struck}: {healed}", outcome.what);
    });
    let struck = outcomes.iter().filter(|outcome| outcome.struck).count();
    let refused = outcomes.iter().filter(|outcome| outcome.refusal.is_some()).count();
    println!("{} faults, {struck} struck; {refused} needed a person", outcomes.len());
    let missed = refused * 20 > outcomes.len();
    missed.then(|| format!("{refused} of {} needed a person", outcomes.len())).into_iter().collect()
}

fn measure_cost(requests: u32) -> Vec<String> {
    let lines = bench::run(requests, |setting| println!("measuring {setting}"));
    print!("{}", bench::table(&lines));
    lines
        .iter()
        .filter(|line| line.request == "civetweb 1 KiB" && line.connections == 8)
        .filter(|line| line.ratio() < 0.15)
        .map(|line| format!("{} at 8 connections: {:.3} of native", line.request, line.ratio()))
        .collect()
}

fn measure_processor_time(rounds: usize) -> Vec<String> {
    let baseline = std::env::var_os("BASELINE");
    let contenders = cost::contenders(baseline.as_deref().map(Path::new));
    let only = std::env::var("ONLY").unwrap_or_default();
    let lines = cost::run(&contenders, rounds, &only, |line| println!("{line}"));
    print!("{}", cost::table(&contenders, &lines));
    let first = lines.iter().find(|line| line.name == cost::SHARED);
    let shared = first.filter(|first| first.share(1) > cost::SHARE_MAX);
    let mut missed: Vec<String> = shared
        .map(|first| format!("{}: {:.3} of three plain copies", first.name, first.share(1)))
        .into_iter()
        .collect();
    let named = |name: &str| lines.iter().find(|line| line.name == name);
    if let Some(cgi) = named(cost::CGI).filter(|cgi| cgi.share(1) > cost::CGI_MAX) {
        missed.push(format!("{}: {:.3} of three plain copies", cgi.name, cgi.share(1)));
    }
    if let (Some(one), Some(four)) = (named(cost::ONE_WORKER), named(cost::FOUR_WORKERS)) {
        let (ratio, plain) =
            (four.processor(1) / one.processor(1), four.processor(0) / one.processor(0));
        println!("nginx, four workers beside one: {ratio:.3}; plain copies: {plain:.3}");
        if ratio > cost::WORKERS_MAX {
            missed.push(format!("nginx, four workers: {ratio:.3} of one"));
        }
    }
    for line in &lines {
        for Pair { at, beside, most } in cost::pairs(&contenders) {
            let (ratio, error) = line.beside(at, beside);
            if ratio > most {
                let (one, other) = (&contenders[at].0, &contenders[beside].0);
                let kind = line.name;
                missed.push(format!("{kind}, {one}: {ratio:.3} ± {error:.3} of {other}"));
            }
        }
    }
    missed
}

fn measure_runtimes(connections: u64) -> Vec<String> {
    let mut missed = Vec::new();
    for runtime in runtimes::RUNTIMES {
        match runtimes::run(runtime, connections) {
            Ok(outcome) => println!("{runtime:?}: {outcome:?}, hashes equal"),
            Err(why) => missed.push(format!("{runtime:?}: skipped: {why}")),
        }
    }
    missed
}

fn measure_host_events(rounds: u32) -> Vec<String> {
    let Some((machine, hosts, _hub)) = Hosts::take("host-events", 3) else {
        return vec!["no hosts can be made here".into()];
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    host_events::run(&machine, &hosts, rounds, &only, |line| println!("{line}"));
    Vec::new()
}

fn measure_kin(runs: usize) -> Vec<String> {
    let Some((machine, hosts, _hub)) = Hosts::take("kin", 3) else {
        return vec!["no hosts can be made here".into()];
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    let ways: Vec<_> = kin::WAYS.into_iter().filter(|way| way.contains(&only)).collect();
    let all: Vec<_> = ways.iter().map(|way| (*way, runs)).collect();
    kin::compare(&machine, &hosts, &all, |way, stops| {
        println!("{way}: {runs} runs, {stops} stops of single processes, hashes equal");
    });
    drop(machine);
    let differs = |way: &&str| !kin::differs_natively(way).unwrap_or(false);
    let alike = ways.into_iter().filter(differs);
    alike.map(|way| format!("{way}: the control: native runs are alike")).collect()
}

fn measure_services(requests: u64) -> Vec<String> {
    let mut missed = Vec::new();
    let only = std::env::var("ONLY").unwrap_or_default();
    for service in services::SERVICES.iter().filter(|it| it.name.contains(&only)) {
        match services::run(service, requests) {
            Ok(outcome) => println!("{}: {outcome:?}, hashes equal", service.name),
            Err(why) => missed.push(format!("{}: skipped: {why}", service.name)),
        }
    }
    missed
}
