//! Groups of three, five and seven replicas, beside each other.

use super::group::Group;
use super::load::{Figures, Load, redis_benchmark};
use super::machine::Machine;
use super::program;

/// The numbers of replicas that are compared.
pub const SIZES: [u8; 3] = [3, 5, 7];

/// The figures for one size of group.
#[derive(Clone, Debug)]
pub struct Line {
    /// The number of replicas.
    pub count: u8,
    /// The number of connections at the same time.
    pub connections: u32,
    /// SET and GET through the primary.
    pub figures: [Figures; 2],
}

/// Measures Redis with `requests` requests for each figure.
///
/// # Panics
///
/// Panics if a request fails or the replicas' hashes differ afterwards.
#[must_use]
pub fn run(requests: u32) -> Vec<Line> {
    let mut lines = Vec::new();
    for count in SIZES {
        let machine = Machine::take("sizes");
        let group = Group::start(&machine, program::redis(machine.folder()), count, &[]);
        for connections in [1, 8, 64] {
            let load = Load { requests, connections, keepalive: true };
            let address = group.address(group.primary());
            let figures = redis_benchmark(address, "set,get", load).expect("no failed request");
            lines.push(Line { count, connections, figures: [figures[0], figures[1]] });
        }
        group.await_settled();
    }
    lines
}

/// Returns the figures as text, each beside that of three replicas.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:>8} {:>5}  {:>22} {:>8}  {:>22} {:>8}\n",
        "replicas", "conn.", "SET/s (p50)", "beside 3", "GET/s (p50)", "beside 3"
    );
    for line in lines {
        let three = lines
            .iter()
            .find(|other| other.count == SIZES[0] && other.connections == line.connections)
            .map_or(line, |found| found);
        let cell = |at: usize| {
            let (mine, theirs) = (line.figures[at], three.figures[at]);
            let figure = format!("{:.0} ({:.3} ms)", mine.rate, mine.p50_ms);
            format!("{figure:>22} {:>8.2}", mine.rate / theirs.rate)
        };
        let (count, connections) = (line.count, line.connections);
        text.push_str(&format!("{count:>8} {connections:>5}  {}  {}\n", cell(0), cell(1)));
    }
    text
}
