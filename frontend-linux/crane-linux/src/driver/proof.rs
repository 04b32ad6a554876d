//! The proof of a checkpoint: a second server is made from it, in a cell of its own without a way
//! to clients, and consumes the log from there on. If it then has the mark that this replica's
//! server and a majority had at a later slot, the checkpoint is proved.
//!
//! Where this host has no room for a second server, the replica's own one proves it in place: it is
//! ended, made from the checkpoint, and compared before it is given anything new.
//!
//! A checkpoint that is not proved is used by its own replica alone, which compares its server
//! afterwards in any case. No log is cut behind it, and no other replica gets it.

use crane_core::execution::Mark;
use crane_core::id::{NodeId, Slot};
use crane_core::time::{Duration, Instant};
use crane_shm::RingError;
use tracing::{debug, info};

use crate::checkpoint::store::{Checkpoint, Manifest, Prefix, Proof};
use crate::event::Event;
use crate::log::Lookup;
use crate::report::ServerReport;

use super::rooms::{Finding, FindingKind, Proving};
use super::{Driver, FetchFor, Host, LOOK_AGAIN, ProofChange};

/// The number of calls behind a checkpoint that a server must have made before it is compared:
/// fewer say little about what an image may lack.
const CALLS_MIN: u64 = 1000;
/// The time after which a proof is given up.
const PROVE_WITHIN: Duration = Duration::from_millis(120_000);
/// The time after which a proof in place is given up, within the longest permission.
const IN_PLACE_WITHIN: Duration = Duration::from_millis(60_000);
/// The time after a proof that could not be made, before the next one.
const PROVE_AGAIN: Duration = Duration::from_millis(10_000);
/// The number of slots that one round feeds.
const SLOTS_PER_ROUND: usize = 256;
/// How soon to look again at the server that proves a checkpoint.
const LOOK_AT_PROOF: Duration = Duration::from_millis(10);

impl<H: Host> Driver<H> {
    /// Begins a proof if one is possible, and carries on the one that has begun. Returns when to
    /// call this function again.
    pub(super) fn watch_proof(&mut self) -> Option<Instant> {
        if self.checkpoint.proving.is_none() {
            self.begin_proof();
        }
        let proving = self.checkpoint.proving.as_ref()?;
        if self.now() >= proving.until {
            let slot = proving.checkpoint.manifest.slot;
            return self.give_proof_up(format!(
                "the checkpoint behind slot {slot} was not proved within {} s",
                PROVE_WITHIN.as_micros() / 1_000_000
            ));
        }
        let (until, target) = (proving.until, proving.target.slot);
        if proving.in_place {
            return self.judge_proof_in_place().or(Some(until));
        }
        if proving.fed.is_none() {
            return Some(until);
        }
        if let Some(mark) = self.host.proof_mark(target) {
            self.judge_proof(mark);
            return Some(self.now());
        }
        let more = self.feed_proof();
        Some(self.now() + if more { LOOK_AGAIN } else { LOOK_AT_PROOF })
    }

    /// Begins to prove the next checkpoint, once the server has done enough behind it for a
    /// comparison that says something.
    // specs: C3
    fn begin_proof(&mut self) {
        let Some(target) = self.checkpoint.agreed else { return };
        let busy = self.server.stopped_for.is_some() || self.divergence.halted.is_some();
        // A proof is on its way into the manifest.
        let is_kept = self.checkpoint.keeping.is_some();
        if is_kept || busy || self.now() < self.checkpoint.prove_after {
            return;
        }
        let unproved = self.checkpoint.usable.iter().filter(|it| !it.is_proved());
        let own = self.checkpoint.started_from.as_ref().map(|from| &from.place);
        // This replica's own server has proved it already.
        let made = unproved.clone().find(|it| own == Some(&it.place) && self.is_shown(it, target));
        if let Some(made) = made.cloned() {
            return self.keep_proof(made, target);
        }
        let next = self.checkpoint.next_to_prove().filter(|it| self.is_shown(it, target));
        if let Some(next) = next.cloned() {
            self.prove(next, target, None);
        }
    }

    /// Returns whether the mark of a server that was made from a checkpoint says something of it.
    fn is_shown(&self, checkpoint: &Checkpoint, target: Mark) -> bool {
        let Manifest { slot, incarnation, mark: before, .. } = checkpoint.manifest;
        let has_replied = target.output != self.compared(before).output;
        // The clocks of two incarnations are not compared.
        let end = self.script.end_of(incarnation);
        let is_over = end.is_some_and(|end| target.slot >= end.slot);
        !is_over
            && slot >= self.log.front()
            && target.slot > slot
            && target.clock >= before.clock + CALLS_MIN
            && (has_replied || self.divergence.output_differs)
    }

    fn prove(&mut self, checkpoint: Checkpoint, target: Mark, before: Option<Mark>) {
        debug!("proving the checkpoint behind slot {}", checkpoint.manifest.slot);
        self.checkpoint.proofs += 1;
        let number = self.checkpoint.proofs;
        self.host.start_proof(number, &checkpoint);
        let (until, in_place) = (self.now() + PROVE_WITHIN, false);
        let fed = None;
        self.checkpoint.proving =
            Some(Proving { number, checkpoint, target, fed, until, in_place, before });
    }

    /// Feeds the server up to the slot at which it is compared. Returns whether there was anything
    /// to feed.
    fn feed_proof(&mut self) -> bool {
        let Some(Proving { fed: Some(mut fed), target: Mark { slot: last, .. }, .. }) =
            self.checkpoint.proving
        else {
            return false;
        };
        let mut count = 0;
        while fed < last && count < SLOTS_PER_ROUND {
            let slot = fed.next();
            let payload = match self.log.read(slot) {
                Lookup::Found(_, payload) => payload,
                Lookup::Absent => break,
                Lookup::OnDisk => {
                    self.fetch(FetchFor::Proving, slot);
                    break;
                }
            };
            match self.host.feed_proof(slot, payload.as_deref().unwrap_or_default()) {
                Ok(()) => {}
                Err(RingError::Full) => break,
                Err(error) => {
                    let why = format!("slot {slot} cannot be given to the server: {error}");
                    self.give_proof_up(why);
                    return false;
                }
            }
            fed = slot;
            count += 1;
        }
        if let Some(proving) = &mut self.checkpoint.proving {
            proving.fed = Some(fed);
        }
        count > 0
    }

    /// Handles a change of the server of a proof. That of one that was given up says nothing about
    /// the present one.
    pub(super) fn on_proof_change(&mut self, number: u64, change: ProofChange) {
        let proving = self.checkpoint.proving.as_mut();
        let Some(proving) = proving.filter(|proving| proving.number == number) else { return };
        let slot = proving.checkpoint.manifest.slot;
        match change {
            ProofChange::Ready => proving.fed = Some(slot),
            ProofChange::NoRoom(why) if !proving.in_place => {
                proving.fed = None;
                self.host.stop_proof();
                self.prove_in_place(&why);
            }
            ProofChange::NoRoom(_) => {}
            ProofChange::Ended(why) => {
                let checkpoint = proving.checkpoint.clone();
                self.checkpoint.proving = None;
                self.host.stop_proof();
                let why = format!("a server that was to be made from it has failed: {why}");
                self.disprove(&checkpoint, "failed", &why);
            }
        }
    }

    /// Lets this replica's own server prove the checkpoint, if the others serve meanwhile. Its
    /// clients wait, and are sent no byte twice.
    fn prove_in_place(&mut self, why: &str) {
        let in_step = |node: NodeId| {
            self.is_linked(node)
                && self.reports[node.index()] == ServerReport::Alive { in_step: true }
        };
        let others = self.servers().without(self.me());
        let Some(proving) = &self.checkpoint.proving else { return };
        let slot = proving.checkpoint.manifest.slot;
        let reason = match () {
            () if self.is_primary() => "this replica is the primary",
            () if self.checkpoint.state.is_busy() => "a checkpoint is being taken",
            () if others.is_empty() || !others.iter().all(in_step) => "not all others are in step",
            () => {
                info!("proving the checkpoint behind slot {slot} in place: {why}");
                let until = self.now() + IN_PLACE_WITHIN;
                if let Some(proving) = &mut self.checkpoint.proving {
                    (proving.in_place, proving.until) = (true, until);
                }
                return self.wish_to_hold(true);
            }
        };
        self.give_proof_up(format!(
            "the checkpoint behind slot {slot} is not proved yet: {why}; and not in place, because \
             {reason}"
        ));
    }

    /// Compares this replica's own server, which was made from the checkpoint, with the others.
    /// Returns when to call this function again.
    // specs: C3
    fn judge_proof_in_place(&mut self) -> Option<Instant> {
        let Proving { checkpoint, target, .. } = self.checkpoint.proving.clone()?;
        let admitted = self.server.view().map_or(0, |view| view.admitted);
        if self.proof_limit().is_none() || admitted < target.slot.0 {
            return Some(self.now() + LOOK_AT_PROOF);
        }
        let found = self.host.mark(target.slot).map(|mark| self.compared(mark))?;
        self.end_proof_in_place();
        if found == target {
            self.keep_proof(checkpoint, target);
            return None;
        }
        let why = format!(
            "this server, which was made from it, differs from the others at slot {}: CRIU has not \
             restored all of it, or the program uses something that crane does not order",
            target.slot
        );
        self.checkpoint.started_from = None;
        self.disprove(&checkpoint, "wrong", &why);
        self.begin_generation();
        self.server.stopped_for = Some(why);
        self.host.stop_server();
        None
    }

    /// Ends a proof in place, whatever it came to.
    pub(super) fn end_proof_in_place(&mut self) {
        self.checkpoint.hold.wish.take_if(|wish| wish.proves);
        if self.checkpoint.proving.take_if(|proving| proving.in_place).is_some() {
            self.give_permissions_back();
        }
    }

    /// Returns the last slot that the server may be given while it proves a checkpoint in place.
    pub(super) fn proof_limit(&self) -> Option<Slot> {
        let made = self.checkpoint.started_from.as_ref().map(|from| &from.place);
        let proving = self.checkpoint.proving.as_ref().filter(|proving| proving.in_place)?;
        let runs = self.server.run.is_some() && !self.server.proves_next;
        (runs && made == Some(&proving.checkpoint.place)).then_some(proving.target.slot)
    }

    /// Compares the server with the others.
    // specs: C3
    fn judge_proof(&mut self, found: Mark) {
        self.host.stop_proof();
        let found = self.compared(found);
        let Some(Proving { checkpoint, target, before, .. }) = self.checkpoint.proving.take()
        else {
            return;
        };
        // Another server from the same image shows whose fault a difference is.
        let cause = match before {
            None if found == target => None,
            None => return self.prove(checkpoint, target, Some(found)),
            Some(before) if before == found => Some(
                "each server that is made from it does the same: CRIU has not restored all of \
                     it, or the program uses something, as time that passes, that replay changes",
            ),
            Some(_) => Some(
                "another one that was made from it did something else: the program uses something \
                 that crane does not order",
            ),
        };
        if let Some(cause) = cause {
            let at = target.slot;
            let why = format!(
                "a server that was made from it differs from the others at slot {at}; {cause}"
            );
            return self.disprove(&checkpoint, "wrong", &why);
        }
        self.keep_proof(checkpoint, target);
    }

    fn keep_proof(&mut self, checkpoint: Checkpoint, target: Mark) {
        let slot = checkpoint.manifest.slot;
        let Some(sum) = self.script.sum_at(slot) else { return };
        let Some(genesis) = self.log.genesis().zip(self.log.genesis_payload()) else { return };
        let prefix = Prefix {
            snapshot: sum.snapshot,
            connected: sum.connected,
            retired: sum.retired,
            incarnation: sum.incarnation,
            upgrades: self.meta.upgrades.iter().filter(|it| it.slot <= slot).cloned().collect(),
            timestamp: self.timestamps.highest(),
            genesis: (genesis.0, genesis.1.to_vec()),
        };
        self.record_event(Event::CheckpointProved {
            slot: slot.0,
            at: target.slot.0,
            calls: target.clock - checkpoint.manifest.clock,
        });
        self.clear_finding(FindingKind::Unproved);
        self.checkpoint.keeping = Some(checkpoint.place.clone());
        self.host.keep_proof(&checkpoint, Proof { mark: target, prefix });
    }

    /// Handles the result of keeping a proof.
    pub(super) fn on_proof_kept(&mut self, kept: Result<Checkpoint, String>) {
        self.checkpoint.keeping = None;
        match kept {
            Ok(proved) => {
                // It may have been set aside meanwhile.
                let known = self.checkpoint.usable.iter_mut().find(|it| it.place == proved.place);
                if let Some(known) = known {
                    *known = proved;
                }
            }
            Err(why) => {
                self.checkpoint.prove_after = self.now() + PROVE_AGAIN;
                self.warn_operator(format!("the proof of a checkpoint is not kept: {why}"));
            }
        }
    }

    /// Sets a checkpoint aside.
    fn disprove(&mut self, checkpoint: &Checkpoint, ending: &'static str, why: &str) {
        self.checkpoint.remove(&checkpoint.place);
        self.host.set_checkpoint_aside(&checkpoint.place, ending);
        let text = format!(
            "the checkpoint behind slot {} is not used: {why} (it is kept beside the others, and \
             its name ends in .{ending})",
            checkpoint.manifest.slot
        );
        self.find(FindingKind::Unproved, Finding { text, is_fault: true });
    }

    /// Ends a proof that came to no result. A later one may.
    fn give_proof_up(&mut self, why: String) -> Option<Instant> {
        info!("{why}");
        self.host.stop_proof();
        self.end_proof_in_place();
        self.checkpoint.proving = None;
        self.checkpoint.prove_after = self.now() + PROVE_AGAIN;
        self.checkpoint.unproved_because = Some(why);
        Some(self.checkpoint.prove_after)
    }

    /// Returns the slots below which no entry is needed for a proof.
    pub(super) fn needed_for_proof(&self) -> Option<Slot> {
        self.checkpoint.proving.as_ref().and_then(|proving| proving.fed)
    }
}
