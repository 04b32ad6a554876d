//! Fuzz bodies: the properties of every decoder, and of every machine that takes bytes from
//! outside, for arbitrary bytes.
//!
//! A *body* is a plain function of bytes that panics when a property does not hold. The same bodies
//! run under proptest in `cargo test` (`tests/bodies.rs`: bounded, no special toolchain) and under
//! libFuzzer (`targets`, a workspace of its own that needs a nightly toolchain; `ci/fuzz` runs it).
//! Both begin from [`Target::seeds`], which are valid encodings, so that changed bytes get past the
//! first check.
//!
//! | file | bytes |
//! |---|---|
//! | `wire` | messages of paxos, ops, entries, genesis |
//! | `peers` | frames on a stream, hello, payloads, forwarded ops, reports, questions |
//! | `disk` | segments of the log, a whole log, `meta` and `base` |
//! | `keys` | the key files of hosts |
//! | `checkpoint` | the index of a checkpoint that another replica sends |
//! | `frozen` | calls that another replica has frozen, and its messages about them |
//! | `ring` | shared memory as the server's process leaves it |
//! | `command_line` | addresses, times, variables |
//! | `node` | inputs of a node of paxos: any message, from any peer |
//! | `execution` | the script, for admission and the gate |
//! | `forward` | committed ops, for the entry rule at the entry replica |
//! | `scratch` | a directory for bodies that need files |
//! | `forge` | bytes with right lengths and checksums around wrong contents |

mod checkpoint;
mod command_line;
mod disk;
mod execution;
mod forge;
mod forward;
mod frozen;
mod keys;
mod node;
mod peers;
mod ring;
mod scratch;
mod wire;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The target's name, as a Rust identifier; the fuzz target of that name runs its body.
    pub name: &'static str,
    /// The body, which panics when a property does not hold.
    pub body: fn(&[u8]),
    /// Returns the inputs to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "message", body: wire::message, seeds: wire::message_seeds },
    Target { name: "entry", body: wire::entry, seeds: wire::entry_seeds },
    Target { name: "genesis", body: wire::genesis, seeds: wire::genesis_seeds },
    Target { name: "frames", body: peers::frames, seeds: peers::frame_seeds },
    Target { name: "hello", body: peers::hello, seeds: peers::hello_seeds },
    Target { name: "peer_message", body: peers::peer_message, seeds: peers::peer_message_seeds },
    Target { name: "handed_ops", body: peers::handed_ops, seeds: peers::handed_ops_seeds },
    Target { name: "report", body: peers::report, seeds: peers::report_seeds },
    Target { name: "question", body: peers::question, seeds: peers::question_seeds },
    Target { name: "segment", body: disk::segment, seeds: disk::segment_seeds },
    Target { name: "log", body: disk::log, seeds: disk::log_seeds },
    Target { name: "data_directory", body: disk::data_directory, seeds: disk::directory_seeds },
    Target { name: "key_file", body: keys::file, seeds: keys::seeds },
    Target { name: "index", body: checkpoint::index, seeds: checkpoint::index_seeds },
    Target { name: "frozen_file", body: frozen::file, seeds: frozen::file_seeds },
    Target { name: "calls_message", body: frozen::message, seeds: frozen::message_seeds },
    Target { name: "ring", body: ring::ring, seeds: ring::seeds },
    Target { name: "command_line", body: command_line::run, seeds: command_line::seeds },
    Target { name: "node", body: node::run, seeds: node::seeds },
    Target { name: "execution", body: execution::run, seeds: execution::seeds },
    Target { name: "forward", body: forward::run, seeds: forward::seeds },
];

/// Runs the body of the target with this name.
///
/// # Panics
///
/// Panics if no target has this name, or if a property does not hold.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no target is named {name}"));
    (target.body)(bytes);
}
