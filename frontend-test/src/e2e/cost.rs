//! The processor time of a replicated service beside that of three plain copies, and beside an
//! earlier build of the command: all in one run.
//!
//! Two builds are compared while both serve: they get short loads in turns. What else the machine
//! does, and how fast its processors are, changes from minute to minute by more than what is to be
//! measured.
//!
//! A copy that is not replicated has to serve every request itself, as every replica's server
//! does. So three replicas are compared with three times the processor time of one plain server
//! under the same load.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::scope;
use std::time::{Duration, Instant};

use super::binary::crane_linux;
use super::group::Group;
use super::healthy::scan;
use super::idle::cpu_time_of_all;
use super::load::{self, Load};
use super::machine::Machine;
use super::native::Native;
use super::program::{self, PAGE, Program};
use super::trees::{self, Script};

/// The largest share of the processor time of three plain copies that three replicas may use.
pub const SHARE_MAX: f64 = 0.75;

/// The kind of request that [`SHARE_MAX`] is for.
pub const SHARED: &str = "civetweb, kept, c=8";

/// A request that a script in Perl answers, and the largest share for it.
pub const CGI: &str = "cgi in perl, c=4";
/// As said there.
pub const CGI_MAX: f64 = 1.5;

/// A page of nginx with one worker, and with four.
pub const ONE_WORKER: &str = "nginx, 1 worker, c=8";
/// As said there.
pub const FOUR_WORKERS: &str = "nginx, 4 workers, c=8";
/// The largest processor time with four, in that with one.
pub const WORKERS_MAX: f64 = 1.08;

/// The largest processor time for a request beside that of an earlier build, as the geometric mean
/// of the rounds' ratios.
pub const BESIDE_BASELINE_MAX: f64 = 1.03;

/// The largest processor time for a request of replicas that know each other by keys, beside that
/// of replicas without keys.
pub const BESIDE_KEYLESS_MAX: f64 = 1.2;

/// A way to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The program runs natively. Its processor time counts three times.
    Plain,
    /// The program runs as three replicas.
    Group(Replicas),
}

/// How three replicas run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    command: PathBuf,
    durability: &'static str,
    has_keys: bool,
    is_former: bool,
}

/// Two contenders to compare, by their places, and the largest ratio.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The one.
    pub at: usize,
    /// The other, which is the measure.
    pub beside: usize,
    /// The largest processor time of the one, in those of the other.
    pub most: f64,
}

/// The thing that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// A page of civetweb.
    Page,
    /// That redis keeps a value.
    Set,
    /// That clamd scans some bytes.
    Scan,
    /// That a script answers for civetweb.
    Script(Script),
    /// A page of nginx, with as many workers.
    WorkersPage(u32),
}

impl Asked {
    fn program(self, folder: &Path) -> Program {
        match self {
            Self::Page => program::civetweb(folder, 8),
            Self::Set => program::redis(folder),
            Self::Scan => program::clamd(folder),
            Self::Script(script) => {
                let program = trees::civetweb(folder, script).expect("the language");
                // All answers are of one length.
                fs::write(program.base.join("count"), "1000000").expect("the count");
                program
            }
            Self::WorkersPage(workers) => trees::nginx_with_page(folder, workers).expect("nginx"),
        }
    }

    /// Asks for it, and returns the number of requests per second.
    fn ask(self, address: SocketAddr, load: Load) -> f64 {
        match self {
            Self::Page => load::ab(address, PAGE, load).expect("no failed request").rate,
            Self::Set => {
                let figures = load::redis_benchmark(address, "set", load);
                figures.expect("no failed request")[0].rate
            }
            Self::Scan => scan_all(address, load),
            Self::Script(_) | Self::WorkersPage(_) => {
                load::ab(address, "/", load).expect("no failed request").rate
            }
        }
    }
}

/// Has clamd scan, and returns the number of scans per second.
fn scan_all(address: SocketAddr, load: Load) -> f64 {
    let start = Instant::now();
    let each = load.requests / load.connections;
    scope(|scope| {
        for _ in 0..load.connections {
            scope.spawn(|| (0..each).for_each(|_| scan(address).expect("no failed scan")));
        }
    });
    f64::from(each * load.connections) / start.elapsed().as_secs_f64()
}

/// A kind of request.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    asked: Asked,
    load: Load,
}

impl Contender {
    /// Returns whether two contenders serve at the same time, and are compared.
    fn runs_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Group(one), Self::Group(two)) => one.durability == two.durability,
            _ => false,
        }
    }
}

/// The figures of one contender for one kind of request, one for each round.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The processor time of all servers and daemons for a request, in microseconds.
    cpu: Vec<f64>,
    /// The number of requests per second.
    rate: Vec<f64>,
}

/// The samples of all contenders for one kind of request.
#[derive(Clone, Debug)]
pub struct Line {
    /// The server, the request, and the number of connections.
    pub name: &'static str,
    /// The samples, in the order of [`contenders`].
    pub samples: Vec<Samples>,
}

impl Line {
    /// Returns the median processor time of contender `at` for a request, in microseconds.
    #[must_use]
    pub fn processor(&self, at: usize) -> f64 {
        median(&self.samples[at].cpu)
    }

    /// Returns the median processor time of contender `at` for a request, as a share of the first
    /// contender's.
    #[must_use]
    pub fn share(&self, at: usize) -> f64 {
        median(&self.samples[at].cpu) / median(&self.samples[0].cpu)
    }

    /// Returns the geometric mean of the rounds' ratios of processor time, contender `at` beside
    /// contender `baseline`, and its standard error. Two that took turns were disturbed alike.
    #[must_use]
    pub fn beside(&self, at: usize, baseline: usize) -> (f64, f64) {
        let pairs = self.samples[at].cpu.iter().zip(&self.samples[baseline].cpu);
        let logs: Vec<f64> = pairs.map(|(cpu, before)| (cpu / before).ln()).collect();
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let error = (squares / (count - 1.0).max(1.0) / count).sqrt();
        (mean.exp(), mean.exp() * error)
    }
}

/// Returns three plain copies, this build in memory, which [`SHARE_MAX`] is for, and on disk, both
/// with and without keys, and `baseline` the same if there is one.
#[must_use]
pub fn contenders(baseline: Option<&Path>) -> Vec<(String, Contender)> {
    let here = Some(crane_linux());
    let of_former = baseline.is_some_and(knows_keys);
    let commands = [
        ("group", here, true),
        ("group without keys", here, false),
        ("group before", baseline, of_former),
    ];
    let groups = ["memory", "fsync"].into_iter().flat_map(|durability| {
        commands.into_iter().filter_map(move |(name, command, has_keys)| {
            let (command, is_former) = (command?.to_owned(), name == "group before");
            let replicas = Replicas { command, durability, has_keys, is_former };
            Some((format!("{name}, {durability}"), Contender::Group(replicas)))
        })
    });
    std::iter::once(("three plain copies".to_owned(), Contender::Plain)).chain(groups).collect()
}

/// Lets each contender serve each kind of request whose name contains `only`, `rounds` times.
/// Builds of the same durability run side by side, and get the requests in turns.
///
/// # Panics
///
/// Panics if a request fails or a replica is down.
pub fn run(
    contenders: &[(String, Contender)],
    rounds: usize,
    only: &str,
    mut said: impl FnMut(String),
) -> Vec<Line> {
    let web = |requests, connections, keepalive| Load { requests, connections, keepalive };
    let redis = |connections| Load { requests: 20_000, connections, keepalive: true };
    let mut kinds = vec![
        Kind { name: SHARED, asked: Asked::Page, load: web(4000, 8, true) },
        Kind { name: "civetweb, kept, c=1", asked: Asked::Page, load: web(2000, 1, true) },
        Kind { name: "civetweb, c=8", asked: Asked::Page, load: web(4000, 8, false) },
        Kind { name: "redis set, c=8", asked: Asked::Set, load: redis(8) },
        Kind { name: "redis set, c=50", asked: Asked::Set, load: redis(50) },
        Kind { name: "clamd scan, c=8", asked: Asked::Scan, load: web(2000, 8, false) },
        Kind { name: CGI, asked: Asked::Script(Script::Perl), load: web(200, 4, false) },
        Kind { name: "cgi in sh, c=4", asked: Asked::Script(Script::Sh), load: web(200, 4, false) },
        Kind { name: ONE_WORKER, asked: Asked::WorkersPage(1), load: web(40_000, 8, true) },
        Kind { name: FOUR_WORKERS, asked: Asked::WorkersPage(4), load: web(40_000, 8, true) },
    ];
    kinds.retain(|kind| kind.name.contains(only));
    let none = vec![Samples::default(); contenders.len()];
    let mut lines: Vec<Line> =
        kinds.iter().map(|kind| Line { name: kind.name, samples: none.clone() }).collect();
    let mut all: Vec<Asked> = kinds.iter().map(|kind| kind.asked).collect();
    all.dedup();
    for asked in all {
        for together in contenders.chunk_by(|one, other| one.1.runs_beside(&other.1)) {
            let first = contenders.iter().position(|one| one.0 == together[0].0).expect("one");
            let machine = Machine::take("cost");
            let places: Vec<Machine> = together.iter().map(|_| machine.share("cost")).collect();
            let start = |((_, contender), place): (&(String, Contender), &Machine)| {
                Server::start(place, asked.program(place.folder()), contender)
            };
            let servers: Vec<Server> = together.iter().zip(&places).map(start).collect();
            for (kind, line) in kinds.iter().zip(&mut lines).filter(|(k, _)| k.asked == asked) {
                for round in 1..=rounds {
                    let mut order: Vec<usize> = (0..servers.len()).collect();
                    // Neither is always behind the other.
                    order.rotate_left(round % servers.len());
                    for at in order {
                        let (cpu, rate) = servers[at].serve(*kind);
                        let (text, who) = (kind.name, &together[at].0);
                        said(format!("round {round}: {text}: {who}: {cpu:.1} us, {rate:.0}/s"));
                        line.samples[first + at].cpu.push(cpu);
                        line.samples[first + at].rate.push(rate);
                    }
                }
            }
        }
    }
    lines
}

/// Returns the lines as text: processor time for a request, its share of three plain copies, and
/// the rate.
#[must_use]
pub fn table(contenders: &[(String, Contender)], lines: &[Line]) -> String {
    let mut text = format!(
        "{:<20} {:<22} {:>14} {:>6} {:>8}\n",
        "request", "who", "processor us", "share", "req/s"
    );
    for line in lines {
        for (at, (name, _)) in contenders.iter().enumerate() {
            let Samples { cpu, rate } = &line.samples[at];
            text.push_str(&format!(
                "{:<20} {name:<22} {:>14.1} {:>6.3} {:>8.0}\n",
                line.name,
                median(cpu),
                line.share(at),
                median(rate)
            ));
        }
        for Pair { at, beside, .. } in pairs(contenders) {
            let (ratio, error) = line.beside(at, beside);
            let who = format!("{} beside {}", contenders[at].0, contenders[beside].0);
            text.push_str(&format!("{:<20} {who:<45} {ratio:.3} ± {error:.3}\n", line.name));
        }
    }
    text
}

/// Returns this build with keys and without; and the one of the two that has keys if the earlier
/// build has, with the earlier build.
#[must_use]
pub fn pairs(contenders: &[(String, Contender)]) -> Vec<Pair> {
    let groups = || {
        contenders.iter().enumerate().filter_map(|(at, (_, contender))| match contender {
            Contender::Plain => None,
            Contender::Group(replicas) => Some((at, replicas)),
        })
    };
    let mut found = Vec::new();
    for (beside, measure) in groups() {
        let (wanted, most) = match (measure.is_former, measure.has_keys) {
            (true, has_keys) => (has_keys, BESIDE_BASELINE_MAX),
            (false, false) => (true, BESIDE_KEYLESS_MAX),
            (false, true) => continue,
        };
        let this = groups().find(|(_, one)| {
            !one.is_former && one.durability == measure.durability && one.has_keys == wanted
        });
        found.extend(this.map(|(at, _)| Pair { at, beside, most }));
    }
    found
}

/// A contender that serves.
enum Server {
    Plain(Native),
    Group(Box<Group>),
}

impl Server {
    fn start(machine: &Machine, program: Program, contender: &Contender) -> Self {
        match contender {
            Contender::Plain => Self::Plain(Native::start(machine, &program)),
            Contender::Group(replicas) => {
                let mut options = vec!["--durability", replicas.durability];
                if !replicas.has_keys && !replicas.is_former {
                    options.push("--insecure-peers");
                }
                let mut group = Group::prepare(machine, program, 3, &options);
                group.run_command(&replicas.command);
                if !replicas.has_keys {
                    group.set_keys(None);
                }
                group.start_all();
                Self::Group(Box::new(group))
            }
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Plain(native) => native.address(),
            Self::Group(group) => group.address(group.primary()),
        }
    }

    /// Returns the processor time of all processes until now.
    fn cpu(&self) -> Duration {
        let of = |pid| cpu_time_of_all(pid).expect("a process's times");
        match self {
            Self::Plain(native) => of(native.pid()) * 3,
            Self::Group(group) => {
                let status = group.status().expect("a status");
                // A server comes from its daemon.
                let daemons = status.replicas.iter().map(|each| each.daemon_pid);
                daemons.map(|pid| of(pid.expect("a replica that runs"))).sum()
            }
        }
    }

    /// Returns processor time in microseconds for a request, and requests per second.
    fn serve(&self, kind: Kind) -> (f64, f64) {
        let ask = |load| kind.asked.ask(self.address(), load);
        ask(Load { requests: kind.load.requests / 20, ..kind.load });
        let before = self.cpu();
        let rate = ask(kind.load);
        if let Self::Group(group) = self {
            group.await_settled();
        }
        let cpu = (self.cpu() - before).as_secs_f64() * 1e6;
        (cpu / f64::from(kind.load.requests), rate)
    }
}

/// Returns whether the replicas of a build know each other by keys.
fn knows_keys(command: &Path) -> bool {
    let help = Command::new(command).arg("--help").output().expect("a build of crane-linux");
    String::from_utf8_lossy(&help.stdout).contains("--keys ")
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
