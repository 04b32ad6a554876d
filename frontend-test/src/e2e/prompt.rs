//! The cost of a call that is led around the trap: a clock that is read by a system call of the
//! program's own, beside libc's function, and beside the same calls natively.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::group::Group;
use super::healthy::connect;
use super::machine::Machine;
use super::native::Native;
use super::program;

/// The most cycles that such a call may take.
const BAR: f64 = 60.0;
/// The number of rounds, of which the quickest counts.
const ROUNDS: usize = 5;
/// So many steps at a time that the program does not wait for them.
const STEPS: [&str; 2] = ["--nclock", "1000000"];

/// Measures with this number of millions of calls, and returns what misses the bar.
///
/// # Panics
///
/// Panics if a server does not answer.
#[must_use]
pub fn measure(millions: u32) -> Vec<String> {
    let mut missed = Vec::new();
    for (name, flags) in [("dynamic", &[][..]), ("static", &["-static"][..])] {
        let machine = Machine::take("prompt");
        let program = program::compiled(machine.folder(), "clocks-often", flags);
        let native = Native::start(&machine, &program);
        let [native_call, native_libc] =
            ["call", "libc"].map(|kind| cost(native.address(), kind, millions));
        drop(native);
        let group = Group::start(&machine, program, 1, &STEPS);
        let [call, libc] = ["call", "libc"].map(|kind| cost(group.address(1), kind, millions));
        println!(
            "{name}: by a call of its own {call:.1} cycles (natively {native_call:.1}), by libc's \
             function {libc:.1} (natively {native_libc:.1})"
        );
        if call > BAR {
            missed.push(format!("{name}: {call:.1} cycles"));
        }
    }
    missed
}

/// Returns the cycles of one call: those of the processor's time stamp counter.
fn cost(address: SocketAddr, kind: &str, millions: u32) -> f64 {
    let mut stream = BufReader::new(connect(address).expect("a connection"));
    let mut ask = |calls: u64| -> Duration {
        let start = Instant::now();
        stream.get_mut().write_all(format!("{kind} {calls}\n").as_bytes()).expect("a write");
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        assert_eq!(line, "done\n");
        start.elapsed()
    };
    // The place is led around by then.
    ask(100_000);
    let calls = u64::from(millions) * 1_000_000;
    let quickest = (0..ROUNDS).map(|_| ask(calls)).min().expect("some rounds");
    quickest.as_secs_f64() * 1e6 * megahertz() / calls as f64
}

/// Returns the processor's frequency, in cycles per microsecond.
fn megahertz() -> f64 {
    let text = fs::read_to_string("/proc/cpuinfo").expect("the processors");
    let line = text.lines().find(|line| line.starts_with("cpu MHz")).expect("a frequency");
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}
