//! Incarnations of the server: it ends at one slot on all replicas, and starts again behind it on
//! the files that it has left.
//!
//! A restart is an op of the log, which an operator orders, or which the primary proposes when the
//! program has crashed at one point on a quorum. A server that reaches the op ends there. A server
//! that has crashed at the point that the op names ended there already. In both cases the next
//! incarnation begins behind the op, without the connections of the one before.

use crane_core::id::{Incarnation, Slot};
use crane_core::limits::{COMMAND_BYTES_MAX, NODES_MAX};
use crane_core::paxos::ChangeError;
use crane_core::time::Duration;
use crane_core::wire::{Op, ProgramCrash, RestartReason, Schedule};
use serde_json::{Value, json};
use tracing::info;

use crate::checkpoint::left_files::FilesOrder;
use crate::checkpoint::store::Checkpoint;
use crate::event::Event;
use crate::meta::LastRestart;
use crate::program::{UpgradeOrder, Upgraded};
use crate::report::ServerReport;
use crate::server_program::{ServerProgram, Upgrade};
use crate::signal_name::SignalName;

use super::members::{Unmoved, never};
use super::rooms::{CRASHES_MAX, Finding, FindingKind, Restart};
use super::{Driver, Host};

/// The number of slots that a server may lag behind before its replica lets others be primary.
pub(super) const IN_STEP_WITHIN: u64 = 2000;

/// How long a replica whose server has died waits for reports that the other servers have died too.
pub(super) const JUDGE_AFTER: Duration = Duration::from_millis(1000);

const NUMBERS_USED: &str = "the group's server was restarted as often as it can be";

impl<H: Host> Driver<H> {
    /// Proposes to restart the server, because an operator wants it.
    pub(super) fn order_restart(&mut self) -> Result<Value, Unmoved> {
        self.order(RestartReason::Ordered)
    }

    /// Proposes to restart the server with a program that this replica has looked at.
    pub(super) fn order_upgrade(
        &mut self,
        words: &[String],
        base: [u8; 32],
    ) -> Result<Value, Unmoved> {
        let seen = self.seen_program.as_ref().filter(|(seen, _)| seen == words);
        match seen {
            Some((_, Ok(found))) if found.digest() == base => {}
            _ => return Err(never("the primary has not found this program, or it has changed")),
        }
        let command = ServerProgram::joined(words);
        if command.len() > COMMAND_BYTES_MAX {
            return Err(never(format!(
                "the command has more than {COMMAND_BYTES_MAX} bytes; put its arguments into a \
                 file, or into a script that executes it"
            )));
        }
        self.order(RestartReason::Upgraded { base, command: &command })
    }

    /// Proposes to send the server's program a signal.
    // specs: S14
    pub(super) fn order_signal(&mut self, number: u8) -> Result<Value, Unmoved> {
        self.must_lead()?;
        if let Some(why) = &self.divergence.halted {
            return Err(never(why.clone()));
        }
        if SignalName::that_may_be_sent(number).is_none() {
            return Err(never(format!("{} cannot be sent", SignalName::of(number))));
        }
        self.must_have_read_all()?;
        let (slot, incarnation) = (self.node.last().next(), self.script.sum.incarnation);
        match self.propose_op(Op::Signal { incarnation, number }) {
            true => Ok(json!({ "slot": slot.0 })),
            false => Err(ChangeError::Busy.into()),
        }
    }

    fn order(&mut self, reason: RestartReason<'_>) -> Result<Value, Unmoved> {
        self.must_lead()?;
        if self.is_parallel() {
            return Err(never(
                "under --schedule parallel, threads run between their calls, and the servers would \
                 not end at one point",
            ));
        }
        if let Some(why) = &self.divergence.halted {
            return Err(never(why.clone()));
        }
        self.must_have_read_all()?;
        let next = self.script.sum.incarnation.next().ok_or_else(|| never(NUMBERS_USED))?;
        let is_pending = self.proposer.restarting >= Some(next);
        // An order to restart is carried out by any restart, and one to upgrade by its own.
        if (!is_pending || reason != RestartReason::Ordered)
            && (is_pending || !self.propose_next(next, reason))
        {
            return Err(ChangeError::Busy.into());
        }
        Ok(json!({ "incarnation": next }))
    }

    fn propose_next(&mut self, incarnation: Incarnation, reason: RestartReason<'_>) -> bool {
        let proposed = self.propose_op(Op::Restart { incarnation, reason });
        if proposed {
            self.proposer.restarting = Some(incarnation);
        }
        proposed
    }

    /// Proposes to restart the server if the program has crashed at one point on a quorum. Returns
    /// whether it did.
    // specs: I3
    pub(super) fn propose_restart(&mut self) -> bool {
        if !self.is_primary() || self.is_parallel() || self.divergence.halted.is_some() {
            return false;
        }
        let Some(crash) = self.quorum_crash() else { return false };
        if self.script.observed < self.committed {
            return false;
        }
        let next = self.script.sum.incarnation.next();
        if self.script.restart_after(crash).is_some() || self.proposer.restarting >= next {
            return false;
        }
        next.is_some_and(|next| self.propose_next(next, RestartReason::Crashed(crash)))
    }

    /// Returns the crash of the program that a quorum of servers reports.
    fn quorum_crash(&self) -> Option<ProgramCrash> {
        let servers = self.servers();
        let crashes = || servers.iter().filter_map(|node| self.reports[node.index()].crash());
        let quorum = servers.len() / 2 + 1;
        crashes().find(|crash| crashes().filter(|other| other == crash).count() >= quorum)
    }

    /// Stops this replica if a quorum of servers reports the crash with which the program has
    /// crashed too often. The log holds a restart behind it, so replicas that are started again
    /// continue there: they report no such crash.
    // specs: I5
    pub(super) fn stop_after_crashes(&mut self) {
        self.server.stops_at = None;
        if let Some(crash) = self.script.last_crash()
            && self.quorum_crash() == Some(crash)
        {
            return self.fail(format!(
                "the program has crashed {CRASHES_MAX} times within a minute, the last time at \
                 clock {} of incarnation {} on a quorum of servers: clients' requests may be the \
                 cause; start the replicas again to continue behind it, on the files that the \
                 program has left",
                crash.clock, crash.incarnation
            ));
        }
        if let Some(restart) = self.restart_of_end() {
            self.begin_incarnation(restart);
        }
    }

    pub(super) fn is_parallel(&self) -> bool {
        let schedule = self.script.genesis.as_ref().map(|(_, genesis)| genesis.schedule);
        schedule == Some(Schedule::Parallel)
    }

    /// Takes a committed restart, which counts if its incarnation is new.
    // specs: I1
    pub(super) fn on_committed_restart(&mut self, restart: Restart, reason: &RestartReason<'_>) {
        let Restart { slot, incarnation, .. } = restart;
        if incarnation <= self.script.sum.incarnation {
            return;
        }
        self.script.sum.incarnation = incarnation;
        self.script.restarts.push(restart);
        if let RestartReason::Upgraded { base, command } = *reason {
            let program = ServerProgram::of(command, base);
            self.script.upgrades.push(Upgrade { slot, incarnation, program });
        }
        // The connections before have ended.
        self.script.sum.connected = [None; NODES_MAX];
        if self.meta.restart.is_none_or(|last| last.slot < slot) {
            self.meta.restart = Some(LastRestart { slot, incarnation });
            self.host.keep_meta(&self.meta);
            let why = match reason {
                RestartReason::Ordered => "it was ordered".to_string(),
                RestartReason::Upgraded { command, .. } => {
                    format!("it is upgraded to {}", command.replace('\0', " "))
                }
                RestartReason::Crashed(crash) => {
                    format!("the program crashed at clock {} on a quorum of servers", crash.clock)
                }
            };
            self.record_event(Event::Restart { incarnation: incarnation.0, slot: slot.0, why });
        }
        if self.script.last_crash().is_some() {
            // The others learn of the restart meanwhile.
            self.server.stops_at = Some(self.now() + JUDGE_AFTER);
        } else if let Some(restart) = self.restart_of_end() {
            self.begin_incarnation(restart);
        }
    }

    /// Returns the restart that follows the end of this replica's server, if it has ended where a
    /// restart says.
    pub(super) fn restart_of_end(&self) -> Option<Restart> {
        if self.is_witness() {
            return None;
        }
        self.script.restart_after(self.reports[self.me().index()].end()?)
    }

    /// Handles the end of a server that has admitted a restart.
    // specs: I3
    pub(super) fn on_restarted(&mut self, slot: Slot) {
        let restart = self.script.restarts.iter().find(|restart| restart.slot == slot).copied();
        let Some(restart) = restart else {
            return self.fail(format!(
                "the server has ended for a restart in slot {slot}, which \
                                      holds none"
            ));
        };
        let Some(crash) = restart.crash else {
            return self.begin_incarnation(restart);
        };
        let here = format!(
            "this server did not crash where the servers of a quorum did, at clock {} of \
             incarnation {}",
            crash.clock, crash.incarnation
        );
        if self.server.missed_crash.replace(slot) == Some(slot) {
            return self.fail(format!(
                "{here}, also when it was built again: this host is not like the others"
            ));
        }
        let text = format!("{here}: it is built again");
        self.find(FindingKind::EndsDiffer, Finding { text, is_fault: true });
        self.events.counters.divergences += 1;
        self.refuse_checkpoints_behind(self.divergence.agreed_below(slot));
        self.server.files_are_wrong = true;
        self.begin_incarnation(restart);
    }

    /// Begins the incarnation behind a restart.
    // specs: I2, I4
    pub(super) fn begin_incarnation(&mut self, restart: Restart) {
        info!("the server's next incarnation is {}", restart.incarnation);
        self.server.continues = Some(restart);
        self.server.awaits_restart = false;
        self.server.rebuild_at = None;
        self.close_listeners();
        self.begin_generation();
        self.divergence.begin_incarnation();
        let in_step = restart.slot.0 + IN_STEP_WITHIN >= self.committed.0;
        self.node.set_in_step(in_step);
        self.reports[self.me().index()] = ServerReport::Alive { in_step };
        self.send_report_to_all();
        self.server.want();
    }

    /// Begins to look at a program that is to take the place of the present one.
    pub(super) fn order_look(&mut self, words: Vec<String>) -> Result<Value, Unmoved> {
        if self.is_witness() {
            return Err(never("it runs no server"));
        }
        self.seen_program = None;
        self.host.look_at_program(&words);
        Ok(json!({}))
    }

    /// Returns what this replica has found of the last program that it was to look at.
    pub(super) fn show_seen_program(&self) -> Value {
        match &self.seen_program {
            None => json!({}),
            Some((words, Ok(base))) => json!({ "command": words, "base": base }),
            Some((words, Err(why))) => json!({ "command": words, "failed": why }),
        }
    }

    /// Returns the upgrade without which the next run cannot start.
    pub(super) fn due_upgrade(&self) -> Option<UpgradeOrder> {
        let restart = self.server.continues.filter(|_| !self.server.files_are_wrong)?;
        let mut upgrades = self.script.upgrades.iter().rev();
        let upgrade = upgrades.find(|upgrade| upgrade.incarnation <= restart.incarnation)?;
        (upgrade.incarnation > self.meta.program_since()).then(|| {
            let files = self.files_behind(restart, upgrade.incarnation);
            UpgradeOrder { upgrade: upgrade.clone(), files }
        })
    }

    /// Returns the order to keep the files behind a restart, for a program that runs since an
    /// incarnation.
    fn files_behind(&self, restart: Restart, program_since: Incarnation) -> FilesOrder {
        let Restart { slot, incarnation, timestamp, .. } = restart;
        let group = self.meta.group.clone().unwrap_or_default();
        FilesOrder { group, slot, incarnation, timestamp, program_since }
    }

    /// Begins a run on the files that the last one has left. Returns the order to keep them, unless
    /// they are kept, or the group waits for the server after a crash.
    // specs: I7
    pub(super) fn begin_on_files(&mut self, restart: Restart) -> Option<FilesOrder> {
        let is_kept = |it: &&Checkpoint| it.manifest.slot == restart.slot && !it.has_image();
        self.checkpoint.started_from = self.checkpoint.usable.iter().find(is_kept).cloned();
        // A replay passes by those of the past.
        let is_last = restart.incarnation == self.script.sum.incarnation;
        let is_wanted =
            self.checkpoint.started_from.is_none() && restart.crash.is_none() && is_last;
        self.checkpoint.keeps_files = is_wanted;
        is_wanted.then(|| self.files_behind(restart, self.meta.program_since()))
    }

    /// Handles the outcome of an order to keep the files that a run has begun with.
    pub(super) fn on_files_kept(&mut self, run: u64, kept: Result<Checkpoint, String>) {
        self.checkpoint.keeps_files = false;
        let checkpoint = match kept {
            Ok(checkpoint) => checkpoint,
            Err(why) => {
                return self.warn_operator(format!(
                    "the files behind the restart are no checkpoint: {why}"
                ));
            }
        };
        let slot = checkpoint.manifest.slot;
        // The verdict on the server has come meanwhile.
        let is_wrong = self.checkpoint.limit.is_some_and(|limit| slot > limit);
        if run != self.server.runs || is_wrong {
            return self.host.set_checkpoint_aside(&checkpoint.place, "late");
        }
        info!("the files behind slot {slot} are a checkpoint, in {}", checkpoint.place.display());
        self.checkpoint.add(checkpoint.clone());
        self.checkpoint.started_from = Some(checkpoint);
    }

    /// Handles the end of an upgrade of this replica: its files are kept, and the program is the
    /// one that all replicas run.
    // specs: I6
    pub(super) fn on_upgraded(&mut self, outcome: Result<Upgraded, String>) {
        let Upgraded { upgrade, base, checkpoint } = match outcome {
            Ok(upgraded) => upgraded,
            Err(why) => {
                return self.fail(format!(
                    "the server's program cannot be upgraded here: {why}; mend it, and start this \
                     replica again with the command before"
                ));
            }
        };
        self.settings.args.program.clone_from(&upgrade.program.words);
        self.settings.program = upgrade.program.words.first().cloned();
        self.checkpoint.add(checkpoint);
        self.hello.program_since = upgrade.incarnation;
        self.hello.base.clone_from(&base);
        self.host.set_hello(&self.hello);
        self.meta.upgrades.push(upgrade);
        self.host.keep_meta(&self.meta);
        self.settings.base = base;
        self.server.want();
    }

    /// Returns the incarnation that `status` shows.
    pub(super) fn shown_incarnation(&self) -> Incarnation {
        if self.is_witness() { self.script.sum.incarnation } else { self.server.incarnation }
    }
}
