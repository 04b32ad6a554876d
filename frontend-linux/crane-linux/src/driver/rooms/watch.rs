//! Findings about the running server: its faults, as far as they are visible from outside.

use std::collections::BTreeMap;

use crane_core::id::NodeId;
use crane_core::time::Instant;

use super::super::host::ServerListener;

/// A kind of finding. At most one finding of each kind exists at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::driver) enum FindingKind {
    /// The logical clock does not move although it should.
    NoProgress,
    /// The library in the server reports a fault, which the hash of its text identifies.
    Reported(u64),
    /// The servers of replicas ended at different points.
    EndsDiffer,
    /// A server differs from more than half of the servers.
    Diverged,
    /// Servers differ, and none agrees with more than half of them.
    Split,
    /// The program behaves differently each time it runs, and the group continues.
    Undetermined,
    /// The group has agreed to stop serving.
    Halted,
    /// A checkpoint could not be proved.
    Unproved,
    /// The replica needs a checkpoint of another one, and has not received it.
    Lacking,
    /// The log could not be cut.
    Uncut,
    /// The disk of the server's files is full.
    DiskFull,
    /// This host has failed in a way that the server must not see.
    HostFault,
    /// The server's files in this directory, which are in memory, have no room.
    MemoryFull(&'static str),
    /// The program makes a call that no hook sees, with its number and its place.
    Bypassed(u32, u64),
    /// A process of the cell listens at a port that the server never announced.
    Unannounced(u16),
    /// The server listens where no client reaches it.
    Unreached(ServerListener),
    /// The disk or the server of this replica stands still.
    Standstill,
    /// This primary stands still, and no other member is better.
    NobodyBetter,
    /// A member refuses this replica.
    Refused,
    /// The clock of a member's host is off.
    ClockOff(NodeId),
    /// The clocks of too few members are known.
    ClocksUnknown,
    /// No more than half of the clocks agree.
    ClocksDisagree,
}

/// A fact about the server that an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::driver) struct Finding {
    /// The fact, with the remedy.
    pub(in crate::driver) text: String,
    /// Whether the finding is a fault, which keeps the service from working. `status` fails until
    /// the fault is over.
    pub(in crate::driver) is_fault: bool,
}

/// The watch over the running server.
#[derive(Debug)]
pub(in crate::driver) struct Watch {
    /// The clock at the last check.
    pub(in crate::driver) clock: u64,
    /// The time since which the clock has had this value although it should have moved.
    pub(in crate::driver) since: Instant,
    /// The time of the server's next inspection; `None` while an inspection is on its way.
    pub(in crate::driver) inspect_at: Option<Instant>,
    /// The time of the cell's next inspection; `None` while an inspection is on its way.
    pub(in crate::driver) look_at_cell: Option<Instant>,
    /// The findings that are not over.
    pub(in crate::driver) findings: BTreeMap<FindingKind, Finding>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            clock: 0,
            since: Instant::START,
            inspect_at: None,
            look_at_cell: Some(Instant::START),
            findings: BTreeMap::new(),
        }
    }
}

impl Watch {
    /// Returns the texts of the findings that are faults, or of those that are notes.
    pub(in crate::driver) fn texts(&self, faults: bool) -> Vec<&str> {
        let findings = self.findings.values().filter(|finding| finding.is_fault == faults);
        findings.map(|finding| &*finding.text).collect()
    }
}
