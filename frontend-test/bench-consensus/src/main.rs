//! Measures a library: three nodes in memory on one thread agree on entries of 64 bytes until all
//! have applied them, without serialisation: `bench-consensus crane|omnipaxos|raft OUTSTANDING
//! ENTRIES`.
//!
//! A value is on the heap, as a client's request would be. It counts as applied on a node when the
//! node has read it from its committed entries; the sum of all values is checked. The storages are
//! those of the libraries in memory, which keep everything.
//!
//! Prints the values per second of processor time. `ci/bench consensus` counts the instructions of
//! a long run less those of a short one, by callgrind, whose counts repeat.

mod crane;
mod omni;
mod raft_rs;

/// The length of an entry.
pub const ENTRY_BYTES: usize = 64;

/// A node's machine, which reads each applied value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Applies a value.
    pub fn add(&mut self, value: &[u8]) {
        let (number, _) = value.split_first_chunk().expect("a value has 64 bytes");
        self.0 += u64::from_le_bytes(*number);
    }
}

/// The content of a value. Each library keeps it on the heap in its own way, as it would a client's
/// request.
pub fn value(number: u64) -> [u8; ENTRY_BYTES] {
    let mut value = [0; ENTRY_BYTES];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// All nodes, the primary first, so that its messages are answered within one round.
pub fn from_primary(primary: usize) -> impl Iterator<Item = usize> {
    (0..3).map(move |step| (primary + step) % 3)
}

/// A group of three nodes of one library.
pub trait Group {
    /// Returns the number of values that every node has applied.
    fn applied(&self) -> u64;
    /// Returns the machine's result on each node.
    fn sums(&self) -> [Sum; 3];
    /// Proposes values at the primary.
    fn propose(&mut self, numbers: std::ops::Range<u64>);
    /// Delivers the messages in flight once to each node.
    fn pass(&mut self);
}

fn run(group: &mut impl Group, outstanding: u64, entries: u64) {
    let start = group.applied();
    let mut proposed = 0;
    let mut idle = 0;
    while group.applied() - start < entries {
        let applied = group.applied() - start;
        let end = (applied + outstanding).min(entries);
        if end > proposed {
            group.propose(proposed..end);
            proposed = end;
        }
        group.pass();
        idle = if group.applied() - start == applied { idle + 1 } else { 0 };
        assert!(idle < 10_000, "no progress");
    }
    let all = Sum((0..entries).sum());
    assert_eq!(group.sums(), [all; 3], "every node has applied every value once");
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
