//! Errors of this host that no server may see, because the others' hosts have not made them: a disk
//! that fails, a full table of the kernel's, want of memory.
//!
//! The library ends the server before a call reports such an error to the program. The daemon goes
//! on voting, and builds the server again, each time that the error comes back after a longer
//! pause.

use crane_core::time::Duration;

use super::incarnations::JUDGE_AFTER;
use super::rooms::{Finding, FindingKind};
use super::{Driver, Host};

/// The number of times that the pause is doubled at most.
const DOUBLINGS: u32 = 6;

impl<H: Host> Driver<H> {
    /// Records that the server was ended because of an error of this host's. Returns the reason,
    /// and the pause before it is built again.
    pub(super) fn ended_by_host(&mut self, clock: u64, trouble: &str) -> (String, Duration) {
        self.server.last_fault.count(self.server.incarnation, clock);
        let times = self.server.last_fault.times;
        let factor = 1 << (times - 1).min(DOUBLINGS);
        let pause = Duration::from_micros(JUDGE_AFTER.as_micros() * factor);
        let text = format!(
            "the server was ended before an error of this host made it differ from the others: \
             {trouble}; it is built again in {} s; until then this replica votes and has no \
             clients",
            pause.as_micros() / 1_000_000
        );
        self.clear_finding(FindingKind::HostFault);
        self.find(FindingKind::HostFault, Finding { text: text.clone(), is_fault: true });
        (text, pause)
    }
}
