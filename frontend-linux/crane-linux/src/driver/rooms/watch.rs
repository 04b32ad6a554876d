//! Findings about the running server: what is wrong with it, as far as it can be seen from outside.

use std::collections::BTreeMap;

use crane_core::time::Instant;

/// A kind of finding. At most one of each stands at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::driver) enum FindingKind {
    /// The logical clock does not move although it should.
    NoProgress,
    /// The library in the server reports a fault; by a hash of its text.
    Reported(u64),
    /// The servers of replicas ended at different points.
    EndsDiffer,
    /// A server differs from more than half.
    Diverged,
    /// Servers differ, and none has more than half with it.
    Split,
    /// The program does something else each time it runs, and the group goes on.
    Undetermined,
    /// The group has agreed to stop serving.
    Halted,
    /// A process of the cell listens at a port that was never announced.
    Unannounced(u16),
}

/// A thing that an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::driver) struct Finding {
    /// The thing, and the remedy.
    pub(in crate::driver) text: String,
    /// It keeps the service from working; `status` fails while it stands.
    pub(in crate::driver) is_fault: bool,
}

/// The watch over the running server.
#[derive(Debug)]
pub(in crate::driver) struct Watch {
    /// The clock when it was looked at last.
    pub(in crate::driver) clock: u64,
    /// Since when the clock has been that, while it should have moved.
    pub(in crate::driver) since: Instant,
    /// When the server is inspected next; `None` while an inspection is on its way.
    pub(in crate::driver) inspect_at: Option<Instant>,
    /// When the cell is looked at next; `None` while a look is on its way.
    pub(in crate::driver) look_at_cell: Option<Instant>,
    /// The findings that stand.
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
    /// The texts of the findings that are faults, or of those that are not.
    pub(in crate::driver) fn texts(&self, faults: bool) -> Vec<&str> {
        let findings = self.findings.values().filter(|finding| finding.is_fault == faults);
        findings.map(|finding| &*finding.text).collect()
    }
}
