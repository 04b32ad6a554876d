//! Checkpoints of this replica's server: orders to take one, and a server's start from one.

use crane_core::id::{Incarnation, NodeId, Slot};
use crane_core::mutants::{Mutant, broken};
use crane_core::time::{Duration, Instant};
use crane_core::wire::Schedule;
use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::checkpoint::every::CheckpointEvery;
use crate::checkpoint::store::{Checkpoint, CheckpointKind, Manifest};
use crate::event::Event;

use super::hold::{TRY_AGAIN, held_elsewhere};
use super::members::{Unmoved, later, never};
use super::rooms::{CheckpointState, Due};
use super::{Driver, Host, Taken, TakingPhase};

/// The time after a checkpoint was taken for another replica, or not, before the next one.
const TAKE_AGAIN: Duration = Duration::from_millis(10_000);
/// How soon to look again whether one is needed.
const LOOK_FOR_LACKING: Duration = Duration::from_millis(500);

/// The log begins behind a slot, or the program with an upgrade, and no checkpoint leads there.
pub(super) struct Lacking;

impl<H: Host> Driver<H> {
    /// Begins to take a checkpoint of the running server.
    pub(super) fn order_checkpoint(&mut self) -> Result<Value, Unmoved> {
        if self.meta.group.is_none() {
            return Err(never("there is no group yet"));
        }
        if self.server.view().is_none() {
            return Err(never("this replica runs no server at the moment"));
        }
        let schedule = self.script.genesis.as_ref().map(|(_, genesis)| genesis.schedule);
        if schedule == Some(Schedule::Parallel) {
            return Err(never(
                "under --schedule parallel, threads run between their calls, and cannot be held",
            ));
        }
        if self.is_primary() && !self.has_the_only_server() {
            return Err(never(
                "it is the primary, and its clients would wait: take the checkpoint on a backup, \
                 or move the role first (crane-linux primary move)",
            ));
        }
        if self.checkpoint.state.is_busy() {
            return Err(never("a checkpoint is being taken already"));
        }
        if self.checkpoint.keeps_files {
            return Err(later("the files behind the last restart are being kept"));
        }
        if self.is_held() {
            return Err(later("the server proves its last checkpoint at the moment"));
        }
        if let Some(node) = self.lent_to() {
            return Err(later(held_elsewhere(node)));
        }
        self.checkpoint.state = CheckpointState::Preparing;
        self.host.prepare_checkpoint();
        Ok(json!({}))
    }

    /// Asks the other servers whether this one may be held, once most of its files are copied. That
    /// takes as long as it takes, and no permission is lent for it.
    pub(super) fn on_checkpoint_prepared(&mut self, run: u64, outcome: Result<(), String>) {
        let obstacle = match outcome {
            Err(why) => Some(why),
            Ok(()) if run != self.server.runs => Some("its server was stopped meanwhile".into()),
            Ok(()) if self.is_primary() && !self.has_the_only_server() => {
                Some("it has become the primary".into())
            }
            Ok(()) if self.is_held() => Some("the server proves its last checkpoint".into()),
            Ok(()) => None,
        };
        if let Some(why) = obstacle {
            self.host.drop_prepared_checkpoint();
            return self.on_checkpoint_failed(why);
        }
        self.checkpoint.state = CheckpointState::Taking(TakingPhase::Asked);
        self.wish_to_hold(false);
    }

    /// Handles a phase of the checkpoint that is being taken.
    pub(super) fn on_checkpoint_phase(&mut self, run: u64, phase: TakingPhase) {
        if run != self.server.runs || !matches!(self.checkpoint.state, CheckpointState::Taking(_)) {
            return;
        }
        self.checkpoint.state = CheckpointState::Taking(phase);
        if phase == TakingPhase::Written {
            // Another server may be held while this one's checkpoint is made durable.
            self.give_permissions_back();
        }
    }

    /// Takes a checkpoint if one is due by `--checkpoint-every`. Returns when to look again.
    ///
    /// The replicas' first ones are spread over the interval, so that they do not hold their
    /// servers at the same time.
    pub(super) fn watch_checkpoints(&mut self) -> Option<Instant> {
        let every = self.settings.args.checkpoint_every?;
        let admitted = self.server.view()?.admitted;
        let written = self.log.written_bytes();
        let (now, me, servers) = (self.now(), self.me(), self.servers());
        let before = servers.iter().take_while(|node| *node != me).count() as u64;
        let (share, of) = (before + 1, servers.len().max(1) as u64);
        let next = |part: u64, of: u64| match every {
            CheckpointEvery::Time(time) => {
                let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                Due::At(now + Duration::from_micros(micros / of * part))
            }
            CheckpointEvery::Entries(count) => Due::Behind(admitted + count * part / of),
            CheckpointEvery::Log(bytes) => Due::Written(written + bytes / of * part),
        };
        let due = *self.checkpoint.due.get_or_insert_with(|| next(share, of));
        let is_due = match due {
            Due::At(at) => now >= at,
            Due::Behind(slot) => admitted >= slot,
            Due::Written(bytes) => written >= bytes,
        };
        if is_due {
            self.checkpoint.due = Some(next(1, 1));
            let newest = self.checkpoint.newest();
            if newest.is_none_or(|newest| newest.manifest.slot.0 < admitted) {
                // A primary takes none; its turn comes again. So does that of a replica beside
                // which another server is held, but earlier.
                if self.order_checkpoint().is_err_and(|why| why.is_worth_repeating()) {
                    self.checkpoint.due = Some(Due::At(now + TRY_AGAIN));
                }
            }
        }
        match self.checkpoint.due {
            Some(Due::At(at)) => Some(at),
            _ => None,
        }
    }

    /// Takes a checkpoint if a linked replica needs one, and none is proved that would do. Returns
    /// when to look again.
    // specs: C8
    pub(super) fn watch_lacking(&mut self) -> Option<Instant> {
        let admitted = Slot(self.server.view()?.admitted);
        let linked = || self.others().iter().filter(|node| self.is_linked(*node));
        // One that needs a checkpoint is not helped by its own.
        let proved_without = |node: NodeId| {
            let others = linked().filter(move |other| *other != node);
            let proved = others.map(|other| self.checkpoint.peers[other.index()].proved);
            proved.fold(self.checkpoint.proved(), Slot::max)
        };
        let needs = |node: NodeId| self.checkpoint.peers[node.index()].needed;
        let lacking = linked().filter(|node| proved_without(*node) < needs(*node));
        let needed = lacking.map(needs).max()?;
        if admitted < needed || self.checkpoint.needed > Slot::NONE {
            return None;
        }
        let would_do = |it: &Checkpoint| it.manifest.slot >= needed && !self.is_over(it);
        let is_under_way = self.checkpoint.next_to_prove().is_some_and(would_do);
        if is_under_way || broken(Mutant::LackingUnheard) {
            return None;
        }
        let now = self.now();
        if now >= self.checkpoint.take_after && !self.checkpoint.state.is_busy() {
            let next = match self.order_checkpoint() {
                Ok(_) => TAKE_AGAIN,
                Err(why) => {
                    debug!("no checkpoint is taken for another replica: {}", why.why());
                    LOOK_FOR_LACKING
                }
            };
            self.checkpoint.take_after = now + next;
        }
        Some(self.checkpoint.take_after.max(now + LOOK_FOR_LACKING))
    }

    /// Returns whether no other server of the group runs, because all other replicas that should
    /// have one say that they need a checkpoint first.
    // specs: C8
    pub(super) fn has_the_only_server(&self) -> bool {
        let lacks = |node: NodeId| {
            self.is_linked(node) && self.checkpoint.peers[node.index()].needed > Slot::NONE
        };
        self.servers().without(self.me()).iter().all(lacks)
    }

    /// Sets images aside that are not proved, behind slots before the front of the log: they lead
    /// nowhere any more.
    pub(super) fn drop_cut_images(&mut self, front: Slot) {
        let leads_nowhere =
            |it: &mut Checkpoint| it.has_image() && !it.is_proved() && it.manifest.slot < front;
        for cut in self.checkpoint.usable.extract_if(.., leads_nowhere).collect::<Vec<_>>() {
            self.host.set_checkpoint_aside(&cut.place, "cut");
        }
    }

    /// Returns whether nothing can be compared any more with a server that is made from a
    /// checkpoint: its incarnation is over, whose clocks are not compared with those of the next
    /// one, or the entries behind it are deleted.
    pub(super) fn is_over(&self, checkpoint: &Checkpoint) -> bool {
        let Manifest { slot, incarnation, .. } = checkpoint.manifest;
        let end = self.script.end_of(incarnation);
        end.is_some_and(|end| self.script.observed >= end.slot) || slot < self.log.front()
    }

    /// Handles the outcome of an order to take one of the server's run with this number.
    pub(super) fn on_checkpoint_taken(&mut self, run: u64, outcome: Result<Taken, String>) {
        if self.is_held() {
            self.give_permissions_back();
        }
        let outcome = outcome.and_then(|taken| {
            let Checkpoint { place, manifest } = &taken.checkpoint;
            // The verdict on the server has come meanwhile.
            let is_wrong = self.checkpoint.limit.is_some_and(|limit| manifest.slot > limit);
            if run == self.server.runs && !is_wrong {
                return Ok(taken);
            }
            self.host.set_checkpoint_aside(place, "late");
            Err("its server was stopped meanwhile".to_string())
        });
        match outcome {
            Ok(taken) => {
                let Taken { ref checkpoint, held_ms, .. } = taken;
                let (slot, place) = (checkpoint.manifest.slot.0, checkpoint.place.display());
                self.checkpoint.add(checkpoint.clone());
                self.record_event(Event::Checkpoint { slot, held_ms, place: place.to_string() });
                self.checkpoint.state = CheckpointState::Taken(taken);
            }
            Err(why) => self.on_checkpoint_failed(why),
        }
    }

    fn on_checkpoint_failed(&mut self, why: String) {
        let text = format!("no checkpoint was taken: {why}");
        warn!("{text}");
        self.last_error = Some(text);
        self.checkpoint.state = CheckpointState::Failed(why);
    }

    /// Returns the checkpoint from which the server starts next, or that it starts without one.
    ///
    /// # Errors
    /// Returns that it can start in neither way, because the log begins behind a later slot, or
    /// another program before an upgrade.
    pub(super) fn checkpoint_for_start(&mut self) -> Result<Option<Checkpoint>, Lacking> {
        // An image of the server that is built again to decide would say the same again, also when
        // the first start has failed.
        let trial = self.divergence.trial.map(|trial| self.divergence.agreed_below(trial.slot));
        let limit = self.checkpoint.limit.take().into_iter().chain(trial).min();
        let front = self.log.front();
        // A server of an earlier incarnation would run the program before an upgrade.
        let since = self.meta.program_since();
        let fits = |it: &&Checkpoint| {
            let Manifest { slot, incarnation, kind, .. } = it.manifest;
            // A crash came before the upgrade was complete, which kept them: it is made again.
            let are_ahead = matches!(
                kind, CheckpointKind::Files { program_since, .. } if program_since > since
            );
            slot >= front
                && incarnation >= since
                && !are_ahead
                && limit.is_none_or(|limit| slot <= limit)
        };
        let in_place = self.checkpoint.proving.as_ref().filter(|proving| proving.in_place);
        let proves =
            |it: &&Checkpoint| in_place.is_some_and(|proving| proving.checkpoint.place == it.place);
        let fitting = || self.checkpoint.usable.iter().filter(fits);
        let found = fitting().find(proves).or_else(|| fitting().next()).cloned();
        if found.is_none() && (front > Slot::NONE || since > Incarnation::FIRST) {
            self.checkpoint.limit = limit;
            return Err(Lacking);
        }
        self.checkpoint.started_from.clone_from(&found);
        Ok(found)
    }

    /// Prevents the checkpoint from which the present run has started from being used again.
    /// Returns its slot, if the run has started from one.
    pub(super) fn refuse_checkpoint(&mut self, why: &'static str) -> Option<Slot> {
        let from = self.checkpoint.started_from.take()?;
        self.checkpoint.remove(&from.place);
        self.checkpoint.proving.take_if(|proving| proving.in_place);
        self.host.set_checkpoint_aside(&from.place, why);
        Some(from.manifest.slot)
    }

    /// Prevents checkpoints from being used that were taken when this server may have been wrong:
    /// behind the last slot at which it agreed with the others.
    // specs: C2
    pub(super) fn refuse_checkpoints_behind(&mut self, agreed: Slot) {
        self.checkpoint.limit = Some(agreed);
        let is_wrong = |it: &mut Checkpoint| it.manifest.slot > agreed;
        for wrong in self.checkpoint.usable.extract_if(.., is_wrong).collect::<Vec<_>>() {
            self.host.set_checkpoint_aside(&wrong.place, "wrong");
        }
    }

    /// Returns the state of checkpoints, for `status`.
    pub(super) fn show_checkpoint(&self) -> Value {
        let state = &self.checkpoint;
        let slot_of = |checkpoint: Option<&Checkpoint>| checkpoint.map(|it| it.manifest.slot);
        let mut shown = match &state.state {
            CheckpointState::Never => json!({}),
            CheckpointState::Preparing => json!({ "phase": "copying" }),
            CheckpointState::Taking(TakingPhase::Asked) => json!({ "phase": "asking" }),
            CheckpointState::Taking(TakingPhase::Held) => json!({ "phase": "held" }),
            CheckpointState::Taking(TakingPhase::Written) => json!({ "phase": "writing" }),
            CheckpointState::Taken(Taken { checkpoint, held_ms, held_bytes }) => json!({
                "phase": "taken",
                "slot": checkpoint.manifest.slot,
                "held_ms": held_ms,
                "held_bytes": held_bytes,
                "place": checkpoint.place,
            }),
            CheckpointState::Failed(why) => json!({ "phase": "failed", "error": why }),
        };
        shown["started_from"] = json!(state.start_slot());
        shown["newest"] = json!(slot_of(state.newest()));
        shown["proved"] = json!(slot_of(state.newest_proved()));
        shown["proving"] = json!(state.proving.as_ref().map(|it| it.checkpoint.manifest.slot));
        shown["needed"] = json!((state.needed > Slot::NONE).then_some(state.needed));
        shown["arriving"] = json!(state.transfer.map(|it| {
            let percent = (it.got * 100).checked_div(it.of).unwrap_or(0);
            json!({ "from": it.from.number(), "percent": percent, "bytes": it.of })
        }));
        shown["unproved_because"] = json!(state.unproved_because);
        shown
    }
}
