//! Three nodes in memory on one thread agree on entries of 64 bytes until all have applied them; nothing
//! is serialised. One run of one library: `bench-consensus crane|omnipaxos|raft OUTSTANDING ENTRIES`.
//!
//! Prints the entries per second of processor time. `ci/bench consensus` counts instructions: those of a
//! long run less those of a short one, by callgrind, which repeat.

mod crane;
mod omni;
mod raft_rs;

/// What is agreed on.
pub const ENTRY_BYTES: usize = 64;

/// Three nodes of one library.
pub trait Group {
    /// How many entries every node has applied.
    fn applied(&self) -> u64;
    /// Proposes entries at the primary.
    fn propose(&mut self, entries: u64);
    /// Delivers what is on the way, once round.
    fn pass(&mut self);
}

fn run(group: &mut impl Group, outstanding: u64, entries: u64) {
    let start = group.applied();
    let mut proposed = 0;
    let mut idle = 0;
    while group.applied() - start < entries {
        let applied = group.applied() - start;
        let room = (applied + outstanding).min(entries) - proposed;
        if room > 0 {
            group.propose(room);
            proposed += room;
        }
        group.pass();
        idle = if group.applied() - start == applied { idle + 1 } else { 0 };
        assert!(idle < 10_000, "no progress");
    }
}

fn processor_seconds() -> f64 {
    // SAFETY: an all-zero value is valid, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn measure(mut group: impl Group, outstanding: u64, entries: u64) {
    let before = processor_seconds();
    run(&mut group, outstanding, entries);
    println!("{:.0}", entries as f64 / (processor_seconds() - before).max(1e-9));
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let numbers: Vec<u64> = arguments.iter().skip(2).filter_map(|word| word.parse().ok()).collect();
    match (arguments.get(1).map(String::as_str), numbers.as_slice()) {
        (Some("crane"), [outstanding, entries]) => {
            measure(crane::Three::new(), *outstanding, *entries);
        }
        (Some("omnipaxos"), [outstanding, entries]) => {
            measure(omni::Three::new(), *outstanding, *entries);
        }
        (Some("raft"), [outstanding, entries]) => {
            measure(raft_rs::Three::new(*outstanding >= 64), *outstanding, *entries);
        }
        _ => {
            eprintln!("usage: bench-consensus crane|omnipaxos|raft OUTSTANDING ENTRIES");
            std::process::exit(2);
        }
    }
}
