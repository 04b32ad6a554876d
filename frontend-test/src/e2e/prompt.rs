//! The cost of calls that come often, beside the same calls natively: a clock that is read by a
//! system call of the program's own, which is led around the trap, and by libc's function; a lock
//! that one thread takes, and one that eight do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::group::Group;
use super::healthy::connect;
use super::machine::Machine;
use super::native::Native;
use super::program;

/// The kinds of calls.
const KINDS: [&str; 4] = ["call", "libc", "lock", "many"];
/// The most cycles that a call of the program's own may take.
const CALL_MOST: f64 = 60.0;
/// The most cycles that taking and leaving a lock may take more than natively.
const LOCK_MORE: f64 = 45.0;
/// The most that eight threads at one lock may take, of what they take natively.
const MANY_MOST: f64 = 1.6;
/// The number of rounds, of which the quickest counts.
const ROUNDS: usize = 5;
/// So many steps at a time that the program does not wait for them.
const STEPS: [&str; 2] = ["--nclock", "1000000"];

/// Measures with this number of millions of calls, and returns the bars that are missed.
///
/// # Panics
///
/// Panics if a server does not answer.
#[must_use]
pub fn measure(millions: u32) -> Vec<String> {
    let mut missed = Vec::new();
    for (name, flags) in [("dynamic", &[][..]), ("static", &["-static"][..])] {
        let machine = Machine::take("prompt");
        let program = program::compiled(machine.folder(), "calls-often", flags);
        let native = Native::start(&machine, &program);
        let natively = KINDS.map(|kind| cost(native.address(), kind, millions));
        // Both would have the same port.
        drop(native);
        let group = Group::start(&machine, program, 1, &STEPS);
        let ours = KINDS.map(|kind| cost(group.address(1), kind, millions));
        for ((kind, ours), native) in KINDS.iter().zip(ours).zip(natively) {
            println!("{name}, {kind}: {ours:.1} cycles, natively {native:.1}");
        }
        let [call, lock, many] = [0, 2, 3].map(|at| (natively[at], ours[at]));
        if call.1 > CALL_MOST {
            missed.push(format!("{name}: a call of its own takes {:.1} cycles", call.1));
        }
        if lock.1 > lock.0 + LOCK_MORE {
            missed.push(format!("{name}: a lock takes {:.1} cycles more", lock.1 - lock.0));
        }
        if many.1 > many.0 * MANY_MOST {
            missed.push(format!("{name}: eight threads take {:.2} times as long", many.1 / many.0));
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
