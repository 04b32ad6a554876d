//! The cost of replication, side by side in one run: native, one replica, three replicas.

use std::net::SocketAddr;

use super::group::Group;
use super::load::{self, Figures, Load};
use super::machine::Machine;
use super::native::Native;
use super::program::{self, PAGE, Program};

/// The way in which a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The program runs natively.
    Native,
    /// The program is a service of this number of replicas.
    Replicas(u8),
}

/// The settings that are compared.
pub const SETTINGS: [Setting; 3] = [Setting::Native, Setting::Replicas(1), Setting::Replicas(3)];

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// The server and the request.
    pub request: &'static str,
    /// The number of connections at the same time.
    pub connections: u32,
    /// The figures, in the order of [`SETTINGS`].
    pub figures: [Figures; 3],
}

impl Line {
    /// Returns the share of the native rate that three replicas keep.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.figures[2].rate / self.figures[0].rate
    }
}

/// Measures civetweb and Redis with `requests` requests for each figure. `said` is called with each
/// setting.
///
/// # Panics
///
/// Panics if a request fails or the replicas' hashes differ afterwards.
pub fn run(requests: u32, mut said: impl FnMut(String)) -> Vec<Line> {
    let mut lines = Vec::new();
    for web in [true, false] {
        let columns: Vec<Vec<(&str, u32, Figures)>> = SETTINGS
            .iter()
            .map(|setting| {
                let machine = Machine::take("bench");
                let program = if web {
                    program::civetweb(machine.folder(), 8)
                } else {
                    program::redis(machine.folder())
                };
                said(format!("{} {setting:?}", program.name));
                measure(&machine, program, *setting, requests, web)
            })
            .collect();
        for (row, &(request, connections, native)) in columns[0].iter().enumerate() {
            let figures = [native, columns[1][row].2, columns[2][row].2];
            lines.push(Line { request, connections, figures });
        }
    }
    lines
}

/// Returns the table as text, including ratios.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:<24} {:>5}  {:>20}  {:>20} {:>6}  {:>20} {:>6}\n",
        "request", "conn.", "native req/s (p50)", "1 replica", "ratio", "3 replicas", "ratio"
    );
    for line in lines {
        let cell = |f: Figures| format!("{:.0} ({:.3} ms)", f.rate, f.p50_ms);
        let [native, one, three] = line.figures;
        text.push_str(&format!(
            "{:<24} {:>5}  {:>20}  {:>20} {:>6.3}  {:>20} {:>6.3}\n",
            line.request,
            line.connections,
            cell(native),
            cell(one),
            one.rate / native.rate,
            cell(three),
            line.ratio()
        ));
    }
    text
}

fn measure(
    machine: &Machine,
    program: Program,
    setting: Setting,
    requests: u32,
    web: bool,
) -> Vec<(&'static str, u32, Figures)> {
    let load =
        |address| if web { web_load(address, requests) } else { redis_load(address, requests) };
    match setting {
        Setting::Native => load(Native::start(machine, &program).address()),
        Setting::Replicas(count) => {
            let group = Group::start(machine, program, count, &[]);
            let figures = load(group.address(group.primary()));
            group.await_settled();
            figures
        }
    }
}

fn web_load(address: SocketAddr, requests: u32) -> Vec<(&'static str, u32, Figures)> {
    let mut lines = Vec::new();
    for (request, keepalive) in [("civetweb 1 KiB", false), ("civetweb 1 KiB keepalive", true)] {
        for connections in [1, 8] {
            let load = Load { requests, connections, keepalive };
            let figures = load::ab(address, PAGE, load).expect("no failed request");
            lines.push((request, connections, figures));
        }
    }
    lines
}

fn redis_load(address: SocketAddr, requests: u32) -> Vec<(&'static str, u32, Figures)> {
    let mut lines = Vec::new();
    for connections in [1, 8] {
        let load = Load { requests: requests * 2, connections, keepalive: true };
        let figures = load::redis_benchmark(address, "set,get", load).expect("no failed request");
        lines.push(("redis set", connections, figures[0]));
        lines.push(("redis get", connections, figures[1]));
    }
    lines
}
