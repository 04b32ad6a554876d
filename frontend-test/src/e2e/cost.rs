//! The processor time of a replicated service beside that of three plain copies, and beside an
//! earlier build of the command: all in one run, in turns.
//!
//! A copy that is not replicated has to serve every request itself, as every replica's server
//! does. So three replicas are compared with three times the processor time of one plain server
//! under the same load.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::binary::crane_linux;
use super::group::Group;
use super::idle::cpu_time;
use super::load::{self, Load};
use super::machine::Machine;
use super::native::Native;
use super::program::{self, PAGE, Program};

/// The largest share of the processor time of three plain copies that three replicas may use.
pub const SHARE_MAX: f64 = 0.75;

/// The kind of request that [`SHARE_MAX`] is for.
pub const SHARED: &str = "civetweb, kept, c=8";

/// The largest processor time for a request beside that of an earlier build, which is the median
/// of the rounds' ratios.
pub const BESIDE_BASELINE_MAX: f64 = 1.03;

/// A way to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The program runs natively. Its processor time counts three times.
    Plain,
    /// The program runs as three replicas by this command, with this durability.
    Group(PathBuf, &'static str),
}

/// A kind of request.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    web: bool,
    load: Load,
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
    /// Returns the median processor time of contender `at` for a request, as a share of the first
    /// contender's.
    #[must_use]
    pub fn share(&self, at: usize) -> f64 {
        median(&self.samples[at].cpu) / median(&self.samples[0].cpu)
    }

    /// Returns the median of the rounds' ratios of processor time, contender `at` beside contender
    /// `baseline`. Two that took turns were disturbed alike.
    #[must_use]
    pub fn beside(&self, at: usize, baseline: usize) -> f64 {
        let pairs = self.samples[at].cpu.iter().zip(&self.samples[baseline].cpu);
        median(&pairs.map(|(cpu, before)| cpu / before).collect::<Vec<_>>())
    }
}

/// Returns three plain copies, this build in memory, which [`SHARE_MAX`] is for, and on disk, and
/// `baseline` the same if there is one.
#[must_use]
pub fn contenders(baseline: Option<&Path>) -> Vec<(String, Contender)> {
    let plain = ("three plain copies".to_owned(), Contender::Plain);
    let commands = [("group", Some(crane_linux())), ("group before", baseline)];
    let groups = ["memory", "fsync"].into_iter().flat_map(|durability| {
        commands.into_iter().filter_map(move |(name, command)| {
            let contender = Contender::Group(command?.to_owned(), durability);
            Some((format!("{name}, {durability}"), contender))
        })
    });
    std::iter::once(plain).chain(groups).collect()
}

/// Lets each contender serve each kind of request whose name contains `only`, `rounds` times, in
/// turns, so that other work of the machine affects all contenders.
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
    let web = |connections, keepalive| Load { requests: 10_000, connections, keepalive };
    let redis = |connections| Load { requests: 50_000, connections, keepalive: true };
    let mut kinds = vec![
        Kind { name: SHARED, web: true, load: web(8, true) },
        Kind { name: "civetweb, kept, c=1", web: true, load: web(1, true) },
        Kind { name: "civetweb, c=8", web: true, load: web(8, false) },
        Kind { name: "redis set, c=8", web: false, load: redis(8) },
        Kind { name: "redis set, c=50", web: false, load: redis(50) },
    ];
    kinds.retain(|kind| kind.name.contains(only));
    let none = vec![Samples::default(); contenders.len()];
    let mut lines: Vec<Line> =
        kinds.iter().map(|kind| Line { name: kind.name, samples: none.clone() }).collect();
    for round in 1..=rounds {
        for web in [true, false] {
            if kinds.iter().all(|kind| kind.web != web) {
                continue;
            }
            for (at, (name, contender)) in contenders.iter().enumerate() {
                let machine = Machine::take("cost");
                let program = if web {
                    program::civetweb(machine.folder(), 8)
                } else {
                    program::redis(machine.folder())
                };
                let server = Server::start(&machine, program, contender);
                for (kind, line) in kinds.iter().zip(&mut lines).filter(|(k, _)| k.web == web) {
                    let (cpu, rate) = server.serve(*kind);
                    said(format!("round {round}: {}: {name}: {cpu:.1} us, {rate:.0}/s", kind.name));
                    line.samples[at].cpu.push(cpu);
                    line.samples[at].rate.push(rate);
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
        for (at, before) in pairs(contenders) {
            let ratio = line.beside(at, before);
            text.push_str(&format!("{:<20} {:<22} {ratio:>14.3}\n", line.name, "beside before"));
        }
    }
    text
}

/// Returns each contender with its own earlier build.
#[must_use]
pub fn pairs(contenders: &[(String, Contender)]) -> Vec<(usize, usize)> {
    let same = |(at, contender): (usize, &(String, Contender))| {
        let Contender::Group(_, durability) = &contender.1 else { return None };
        let before = contenders.iter().enumerate().skip(at + 1).find(|(_, (_, other))| {
            matches!(other, Contender::Group(_, of_other) if of_other == durability)
        });
        before.map(|(before, _)| (at, before))
    };
    contenders.iter().enumerate().filter_map(same).collect()
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
            Contender::Group(command, durability) => {
                let options = ["--durability", durability];
                let mut group = Group::prepare(machine, program, 3, &options);
                group.run_command(command);
                if !knows_keys(command) {
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
        let of = |pid| cpu_time(pid).expect("a process's times");
        match self {
            Self::Plain(native) => of(native.pid()) * 3,
            Self::Group(group) => {
                let status = group.status().expect("a status");
                let pids =
                    status.replicas.iter().flat_map(|each| [each.daemon_pid, each.server_pid]);
                pids.map(|pid| of(pid.expect("a replica that runs"))).sum()
            }
        }
    }

    /// Returns processor time in microseconds for a request, and requests per second.
    fn serve(&self, kind: Kind) -> (f64, f64) {
        let ask = |load| {
            if kind.web {
                load::ab(self.address(), PAGE, load).expect("no failed request").rate
            } else {
                let figures = load::redis_benchmark(self.address(), "set", load);
                figures.expect("no failed request")[0].rate
            }
        };
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
