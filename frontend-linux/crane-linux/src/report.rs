//! What became of a server, as replicas tell each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ending::Exited(status) => write!(f, "exited with status {status}"),
            Ending::Killed(signal) => match name_of_signal(signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
        }
    }
}

/// The sender's server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ServerReport {
    /// It runs, or will.
    Alive {
        /// Whether it has come about as far as the log.
        in_step: bool,
    },
    /// It has ended.
    Ended {
        /// The logical clock at its end.
        clock: u64,
        /// The last slot that it had consumed.
        admitted: u64,
        /// How.
        ending: Ending,
    },
}

impl ServerReport {
    /// Whether two servers ended at the same point of the script.
    pub fn same_end(&self, other: &ServerReport) -> bool {
        match (self, other) {
            (
                ServerReport::Ended { clock, ending, .. },
                ServerReport::Ended { clock: other_clock, ending: other_ending, .. },
            ) => clock == other_clock && ending == other_ending,
            _ => false,
        }
    }
}

fn name_of_signal(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_at_one_clock_are_the_same() {
        let at = |clock, signal| ServerReport::Ended {
            clock,
            admitted: clock,
            ending: Ending::Killed(signal),
        };
        assert!(at(5, 6).same_end(&at(5, 6)));
        assert!(!at(5, 6).same_end(&at(6, 6)));
        assert!(!at(5, 6).same_end(&at(5, 9)));
        let alive = ServerReport::Alive { in_step: true };
        assert!(!alive.same_end(&alive));
        assert_eq!(Ending::Killed(6).to_string(), "was killed by signal 6 (SIGABRT)");
    }
}
