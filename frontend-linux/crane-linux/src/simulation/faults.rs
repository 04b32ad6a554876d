//! The faults that happen to a group.

use std::io;

use crate::report::Ending;

use super::group::{MILLISECOND, SECOND, SimEvent, SimGroup};
use super::queue::Nanos;

macro_rules! fault_kinds {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum FaultKind {
            $($(#[doc = $what])+ $name,)+
        }

        const KINDS: &[FaultKind] = &[$(FaultKind::$name,)+];
    };
}

fault_kinds! {
    /// A daemon is killed; its system writes what it was given.
    Killed,
    /// A host loses its power.
    PowerLost,
    /// A replica loses its data directory.
    DataLost,
    /// The copy of a data directory that was lost is put back, when the replica has rejoined.
    OldCopy,
    /// A daemon stops by itself, and is started again.
    Stopped,
    /// A daemon's host stands still.
    Suspended,
    /// A disk hangs.
    DiskHangs,
    /// A disk is slow.
    DiskSlow,
    /// A disk is full.
    DiskFull,
    /// A server hangs.
    ServerHangs,
    /// A server dies.
    ServerDies,
    /// A server does something else than the others.
    ServerDiverges,
    /// A link is closed.
    LinkClosed,
    /// A link is made although its ends have one.
    LinkReplaced,
    /// Two replicas do not hear each other.
    CutBothWays,
    /// A replica does not hear another one.
    CutOneWay,
}

/// How often each fault happened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FaultCounts {
    counts: [u32; KINDS.len()],
    /// The number of frames that arrived by a link that had been replaced or was gone.
    pub late_frames: u32,
    /// The number of frames that were dropped because too many bytes waited.
    pub dropped_frames: u32,
    /// The number of checkpoints that were taken.
    pub checkpoints: u32,
    /// The number of checkpoints that were proved.
    pub proofs: u32,
    /// The number of cuts of a log.
    pub cuts: u32,
    /// The number of checkpoints that came from another replica.
    pub arrivals: u32,
    /// The number of servers that started from a checkpoint.
    pub restores: u32,
    /// The number of old copies of data directories that were put back.
    pub copies_back: u32,
    /// The number of those after which the replica said so.
    pub noticed: u32,
    /// The number of times that a client stopped reading for a while.
    pub stalls: u32,
    /// The number of restarts of the server by order.
    pub restarts: u32,
    /// The number of those with another program.
    pub upgrades: u32,
    /// The number of requests of which the program crashes.
    pub crashes: u32,
    /// The number of members that were removed.
    pub removed: u32,
    /// The number of members that were added.
    pub added: u32,
    /// The number of those that are witnesses.
    pub witnesses: u32,
}

impl FaultCounts {
    pub(super) fn count(&mut self, kind: FaultKind) {
        self.counts[kind as usize] += 1;
    }

    /// Returns how often a fault happened.
    pub(super) fn of(&self, kind: FaultKind) -> u32 {
        self.counts[kind as usize]
    }

    /// Returns the names of the kinds, with how often each happened.
    pub fn by_name(&self) -> impl Iterator<Item = (String, u32)> {
        let others = [
            ("late frames", self.late_frames),
            ("dropped frames", self.dropped_frames),
            ("checkpoints", self.checkpoints),
            ("proofs", self.proofs),
            ("cuts of a log", self.cuts),
            ("checkpoints of others", self.arrivals),
            ("servers from checkpoints", self.restores),
            ("copies put back", self.copies_back),
            ("copies noticed", self.noticed),
            ("stalled clients", self.stalls),
            ("restarts of the server", self.restarts),
            ("fatal requests", self.crashes),
            ("upgrades", self.upgrades),
            ("members removed", self.removed),
            ("members added", self.added),
            ("witnesses", self.witnesses),
        ];
        let kinds = KINDS.iter().map(|kind| (format!("{kind:?}"), self.counts[*kind as usize]));
        kinds.chain(others.map(|(name, count)| (name.to_string(), count)))
    }
}

impl std::ops::AddAssign for FaultCounts {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.late_frames += other.late_frames;
        self.dropped_frames += other.dropped_frames;
        self.checkpoints += other.checkpoints;
        self.proofs += other.proofs;
        self.cuts += other.cuts;
        self.arrivals += other.arrivals;
        self.restores += other.restores;
        self.copies_back += other.copies_back;
        self.noticed += other.noticed;
        self.stalls += other.stalls;
        self.restarts += other.restarts;
        self.crashes += other.crashes;
        self.upgrades += other.upgrades;
        self.removed += other.removed;
        self.added += other.added;
        self.witnesses += other.witnesses;
    }
}

impl SimGroup {
    /// Lets a fault of any kind happen to any replica.
    pub(super) fn strike(&mut self) {
        let kind = *self.random.pick(KINDS);
        let at = self.random.range(0, 3) as usize;
        let lasts = *self.random.pick(&[100, 400, 1000, 3000, 8000]) * MILLISECOND;
        let lasts = self.random.range(lasts / 2, lasts);
        self.strike_at(kind, at, lasts);
    }

    /// Lets one of these faults happen to any replica for a while, in so many of a thousand calls.
    pub(super) fn strike_one_of(&mut self, kinds: &[FaultKind], permille: u64) {
        if self.random.permille(permille) {
            let (kind, at) = (*self.random.pick(kinds), self.random.range(0, 3) as usize);
            let lasts = self.random.range(50, 1500) * MILLISECOND;
            self.strike_at(kind, at, lasts);
        }
    }

    /// Lets a fault happen to a replica, for this long if it lasts.
    pub(super) fn strike_at(&mut self, kind: FaultKind, at: usize, lasts: Nanos) {
        let other = (at + 1 + self.random.range(0, 2) as usize) % 3;
        let ails = &mut self.replicas[at].ails;
        let heals = SimEvent::Heal { at, kind };
        match kind {
            FaultKind::Killed | FaultKind::PowerLost | FaultKind::Stopped => {
                // No daemon stops unless it must.
                let kind = if kind == FaultKind::Stopped { FaultKind::Killed } else { kind };
                if self.replicas[at].daemon.is_some() {
                    self.end(at, kind);
                    self.schedule(self.now + lasts, SimEvent::Start { at });
                }
                return;
            }
            FaultKind::DataLost => {
                // Of one storage alone, and not before the group exists, which needs all members.
                let mut others = (0..3).filter(|other| *other != at);
                let serve = others.all(|other| self.replicas[other].is_open());
                if serve && self.happened.of(kind) == 0 && self.replicas[at].votes() {
                    self.end(at, kind);
                    self.schedule(self.now + lasts, SimEvent::Start { at });
                }
                return;
            }
            FaultKind::OldCopy => {
                let copied = (0..3).find(|place| self.replicas[*place].copy.is_some());
                let all_vote = self.replicas.iter().all(|replica| replica.votes());
                if let Some(at) = copied.filter(|_| all_vote) {
                    self.end(at, kind);
                    self.schedule(self.now + lasts, SimEvent::Start { at });
                }
                return;
            }
            FaultKind::Suspended => {
                // Its end stays as it is: events that were put off keep their order.
                if self.replicas[at].suspended > self.now {
                    return;
                }
                self.replicas[at].suspended = self.now + lasts.min(2 * SECOND);
            }
            FaultKind::DiskHangs => ails.disk_hangs = true,
            FaultKind::DiskSlow => {
                let takes = *self.random.pick(&[150, 300, 700, 2000]) * MILLISECOND;
                ails.disk_slow = Some(takes);
            }
            FaultKind::DiskFull => {
                ails.disk_fails = true;
                self.replicas[at].files.set_fault(Some(io::ErrorKind::StorageFull));
            }
            FaultKind::ServerHangs => ails.server_hangs = true,
            FaultKind::ServerDies => {
                if self.replicas[at].host().is_none_or(|host| host.server.is_none()) {
                    return;
                }
                // By another signal, the program might have crashed by itself.
                self.end_server(at, Ending::Killed(libc::SIGKILL));
            }
            FaultKind::ServerDiverges => {
                // Of two such servers nobody knows which one is right.
                let is_first = self.happened.of(kind) == 0;
                let server = self.replicas[at].host().and_then(|host| host.server.as_mut());
                let Some(server) = server.filter(|_| is_first) else { return };
                server.is_wrong = true;
            }
            FaultKind::LinkClosed => self.close_links(at, other),
            FaultKind::LinkReplaced => {
                let runs = |place: usize| self.replicas[place].daemon.is_some();
                if !(runs(at) && runs(other) && self.network.can_link(at, other)) {
                    return;
                }
                self.make_link(at, other);
            }
            FaultKind::CutBothWays => {
                self.cut(at, other);
                self.cut(other, at);
            }
            FaultKind::CutOneWay => self.cut(at, other),
        }
        self.happened.count(kind);
        match kind {
            FaultKind::CutBothWays | FaultKind::CutOneWay => {
                self.schedule(self.now + lasts, SimEvent::Mend);
            }
            _ => self.schedule(self.now + lasts, heals),
        }
    }

    /// Ends a fault that lasts.
    pub(super) fn heal(&mut self, at: usize, kind: FaultKind) {
        let ails = &mut self.replicas[at].ails;
        match kind {
            FaultKind::DiskHangs => {
                ails.disk_hangs = false;
                if self.replicas[at].files.is_syncing() {
                    self.plan_sync(at);
                }
            }
            FaultKind::DiskSlow => ails.disk_slow = None,
            FaultKind::DiskFull => {
                ails.disk_fails = false;
                self.replicas[at].files.set_fault(None);
            }
            FaultKind::ServerHangs => {
                ails.server_hangs = false;
                self.plan_server(at);
            }
            _ => {}
        }
    }

    /// Ends all faults, but for daemons that stand still, which do so for two seconds at most.
    pub(super) fn heal_all(&mut self) {
        self.mend_network();
        for at in 0..3 {
            for kind in KINDS {
                self.heal(at, *kind);
            }
            self.schedule(self.now, SimEvent::Start { at });
        }
    }
}
