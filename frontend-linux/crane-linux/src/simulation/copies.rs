//! Runs in which an old copy of a data directory is put back while the other two replicas write.

use std::cell::Cell;
use std::rc::Rc;

use crane_core::paxos::{Role, VotingStatus};

use crate::net::query::Query;

use super::clients::Manners;
use super::ending::DaemonsOutcome;
use super::faults::FaultKind;
use super::files::DataFiles;
use super::group::{MILLISECOND, SECOND, SimEvent, SimGroup};

/// How long a replica whose storage went back may take until it knows, and until it votes again.
const KNOWS_WITHIN: u64 = 30 * SECOND;
const VOTES_WITHIN: u64 = 60 * SECOND;
/// How often the group is looked at.
const LOOK_EVERY: u64 = 20 * MILLISECOND;
/// The faults between the copy and its return: daemons that recall what the storage lacks do not
/// end, which would be a second fault.
const MEANWHILE: [FaultKind; 6] = [
    FaultKind::Suspended,
    FaultKind::DiskSlow,
    FaultKind::LinkClosed,
    FaultKind::LinkReplaced,
    FaultKind::CutBothWays,
    FaultKind::CutOneWay,
];

/// Puts old copies of data directories back.
pub(super) fn run(number: u64, steps: Rc<Cell<u64>>) -> DaemonsOutcome {
    let mut group = SimGroup::begun(number, 2..6, Manners::Any, steps);
    for _ in 0..2 {
        group.put_copy_back();
    }
    group.finish()
}

impl SimGroup {
    fn put_copy_back(&mut self) {
        let Some((at, copy)) = self.copy_storage() else { return };
        let runs = [0, 1, 2].map(|place: usize| self.replicas[place].run);
        let seen = self.happened.of(FaultKind::Stopped);
        let until = self.now + self.random.range(100, 6000) * MILLISECOND;
        while self.now < until {
            self.strike_one_of(&MEANWHILE, 500);
            let next = self.random.range(100, 2000) * MILLISECOND;
            self.run_until((self.now + next).min(until));
        }
        let others = || (0..3).filter(move |place| *place != at);
        if others().any(|place| self.replicas[place].run != runs[place]) {
            // One of them has ended by itself.
            assert!(self.happened.of(FaultKind::Stopped) > seen, "an unknown end");
            return;
        }
        if self.replicas[at].daemon.is_some() {
            let kind = *self.random.pick(&[FaultKind::Killed, FaultKind::PowerLost]);
            self.end(at, kind);
        }
        self.replicas[at].files.put_back(copy);
        self.happened.copies_back += 1;
        // The others go on without it for a while.
        let off = self.random.range(0, 3000) * MILLISECOND;
        self.schedule(self.now + off, SimEvent::Start { at });
        self.must_become(at, "learns of its storage", KNOWS_WITHIN, |votes, status| {
            votes || matches!(status, VotingStatus::Rejoining { .. })
        });
        self.happened.noticed += u32::from(self.has_lost_storage(at));
        self.must_become(at, "votes again", VOTES_WITHIN, |votes, _| votes);
    }

    /// Copies the storage of a replica that does not lead, as a snapshot of its host would.
    fn copy_storage(&mut self) -> Option<(usize, DataFiles)> {
        let primary = self.needs_primary();
        let at = (primary + self.random.range(1, 3) as usize) % 3;
        let replica = &self.replicas[at];
        let votes = replica.daemon.as_ref().is_some_and(|daemon| daemon.node().votes());
        (matches!(replica.role(), Some(Role::Backup { .. })) && votes)
            .then(|| (at, replica.files.copy()))
    }

    fn must_become(
        &mut self,
        at: usize,
        what: &str,
        within: u64,
        is: impl Fn(bool, VotingStatus) -> bool,
    ) {
        let start = self.now;
        loop {
            self.run_for(LOOK_EVERY);
            let daemon = self.replicas[at].daemon.as_ref();
            if daemon.is_some_and(|daemon| {
                let node = daemon.node();
                is(node.votes(), node.voting())
            }) {
                return;
            }
            assert!(self.now - start < within, "nobody {what}: {}", self.describe());
        }
    }

    /// Returns whether a replica says that its storage went back.
    fn has_lost_storage(&mut self, at: usize) -> bool {
        let Some(status) = self.query(at, &Query::Status { hash_slot: 0 }) else { return false };
        let events = status["replica"]["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| event.to_string().contains("storage_lost"))
    }
}
