//! The figures of a host that the server of a group sees.

use crane_core::limits::PROCESSORS_MAX;
use crane_core::wire::HostFigures;
use rustix::system::sysinfo;
use rustix::thread::sched_getaffinity;

use crate::options::ReplicaArgs;

/// The number of bytes in a MiB.
const MEBIBYTE: u64 = 1 << 20;

/// Returns the figures that a group gets which this replica creates: those of its options, or else
/// those of this host.
// specs: S13
pub(crate) fn of(args: &ReplicaArgs) -> HostFigures {
    let ours = of_host();
    HostFigures {
        processors: args.processors.unwrap_or(ours.processors),
        memory: args.memory.map_or(ours.memory, |mebibytes| u64::from(mebibytes) * MEBIBYTE),
    }
}

/// Returns the number of processors that this process may run on, and the memory of this host.
fn of_host() -> HostFigures {
    let processors = sched_getaffinity(None).map_or(1, |processors| processors.count());
    let facts = sysinfo();
    let memory = (facts.totalram as u64).saturating_mul(u64::from(facts.mem_unit));
    HostFigures { processors: processors.clamp(1, PROCESSORS_MAX), memory: memory.max(MEBIBYTE) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Cli;
    use clap::Parser;

    fn figures(options: &[&str]) -> HostFigures {
        let words = ["crane-linux"].iter().chain(options).chain(&["--", "server"]);
        of(&Cli::try_parse_from(words).unwrap().replica)
    }

    #[test]
    fn options_go_before_what_this_host_has() {
        let ours = figures(&[]);
        assert!(ours.processors >= 1 && ours.memory >= MEBIBYTE);
        let others = ours.processors + 1;
        let given = figures(&["--processors", &others.to_string(), "--memory", "4096"]);
        assert_eq!(given, HostFigures { processors: others, memory: 4 << 30 });
        assert_eq!(figures(&["--memory", "64"]).processors, ours.processors);
    }
}
