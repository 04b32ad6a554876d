//! The server's life: start, output, end, and rebuilding by replay.

use crane_core::id::{Generation, Incarnation, NodeId, Slot};
use crane_core::time::{Duration, Instant};
use crane_shm::{EndReason, ServerState};
use tracing::{error, info};

use crate::checkpoint::store::{Checkpoint, CheckpointKind, Manifest};
use crate::event::Event;
use crate::meta::LastRestart;
use crate::report::{Ending, ServerReport};

use super::checkpoint::Lacking;
use super::incarnations::{IN_STEP_WITHIN, JUDGE_AFTER};
use super::rooms::{Finding, FindingKind, Restart, ServerRun};
use super::{Driver, Host, ProgramEnd, RunNumber, RunStart, ServerChange, ServerView};

/// How long a replica stays for the servers of other replicas that have not reached the program's
/// end. They need its vote on the way there, and its report at the end.
const LEAVE_WITHIN: Duration = Duration::from_millis(3000);
/// The number of deaths at one clock, and only here, after which a server is expected to die there
/// again.
const SAME_END_MAX: u32 = 3;
/// How soon to look at the output of a server that continues to run.
const LOOK_AT_OUTPUT: Duration = Duration::from_millis(5);
const BEFORE_IT_LISTENED: &str = ", before it listened at a port";
const IN_BACKGROUND: &str = " (if it has put itself into the background, give it its option to \
                             stay in the foreground, as --foreground, -D or daemonize no)";
/// The possible reasons of SIGBUS.
const BY_SIGBUS: &str = ": a file that it had mapped was cut, or the disk of its files had no room";

impl<H: Host> Driver<H> {
    /// Starts the server in a fresh cell, if it may start and no generation is about to begin. Its
    /// script begins behind a restart or a checkpoint, or with slot 1.
    pub(super) fn start_wanted_server(&mut self) {
        if self.divergence.halted.is_some() || self.next_generation.is_some() {
            return;
        }
        if !std::mem::take(&mut self.server.wanted) {
            return;
        }
        if let Some(order) = self.due_upgrade() {
            return self.host.upgrade(order);
        }
        let limit = self.checkpoint.limit;
        let wrong = std::mem::take(&mut self.server.files_are_wrong);
        self.server.behind = self.server.continues.take().filter(|_| !wrong);
        let (incarnation, from) = match self.server.behind {
            Some(restart) => (restart.incarnation, RunStart::Files(self.begin_on_files(restart))),
            None => match self.checkpoint_for_start() {
                Ok(Some(from)) => {
                    self.server.behind = behind_files(&from);
                    (from.manifest.incarnation, RunStart::Checkpoint(from))
                }
                Ok(None) => (Incarnation::FIRST, RunStart::Base),
                Err(Lacking) => {
                    let upgraded = self.meta.upgrades.last().map(|upgrade| upgrade.slot);
                    return self
                        .need_checkpoint(self.log.front().max(upgraded.unwrap_or_default()));
                }
            },
        };
        if self.clients.generation() <= Generation::before(incarnation) {
            // A checkpoint of another replica is the first to say so.
            let slot = self.checkpoint.start_slot().unwrap_or_default();
            self.meta.restart = Some(LastRestart { slot, incarnation });
            self.checkpoint.limit = limit;
            self.begin_generation();
            return self.server.want();
        }
        self.server.incarnation = incarnation;
        self.server.starting = true;
        self.server.expect_taking(self.now());
        self.server.runs += 1;
        let run = RunNumber { number: self.server.runs, incarnation };
        self.host.start_server(run, self.clients.generation(), &from);
    }

    pub(super) fn on_server_change(&mut self, run: u64, change: ServerChange) {
        if run != self.server.runs {
            return;
        }
        match change {
            ServerChange::Ready => {
                self.server.starting = false;
                self.server.run = Some(ServerRun { fed: self.start_slot(), view: None });
                self.host.watch_state(self.is_primary());
                // The start was on its way when the group halted, or the verdict came.
                self.stop_halted();
                if self.server.stopped_for.is_some() {
                    self.host.stop_server();
                }
            }
            ServerChange::Overlay => self.server.cell = Some("overlay"),
            ServerChange::Copy(why) => {
                self.server.cell = Some("copy");
                self.warn_operator(format!(
                    "namespaces are not permitted here ({why}): the server runs on a private copy \
                     of its working directory, and sees other paths and process numbers than \
                     servers in namespaces do"
                ));
            }
            ServerChange::Started => self.record_event(Event::ServerStarted),
            ServerChange::Failed(why)
                if self.server.behind.is_some() && self.checkpoint.started_from.is_none() =>
            {
                self.server.starting = false;
                self.warn_operator(format!(
                    "the server cannot be started on its files: {why}; it is built by replay \
                     instead"
                ));
                self.host.stop_server();
                self.server.run = None;
                self.server.want();
            }
            ServerChange::Failed(why) => match self.refuse_checkpoint("failed") {
                None => self.fail(format!("the server cannot be started: {why}")),
                Some(slot) => {
                    self.warn_operator(format!(
                        "the checkpoint behind slot {slot} cannot be restored: {why}; the server \
                         is built by replay instead"
                    ));
                    self.host.stop_server();
                    self.server.run = None;
                    self.server.want();
                }
            },
            ServerChange::Ended(end) => self.on_server_end(&end),
        }
    }

    /// Takes a view of the running server, or `None` if no server runs.
    pub(super) fn look_at_server(&mut self, view: Option<ServerView>) {
        let Some(run) = &mut self.server.run else { return };
        // A server that has not begun its script has everything before it in its files.
        let behind = self.server.behind.map_or(0, |restart| restart.slot.0);
        let view = view.map(|view| ServerView { admitted: view.admitted.max(behind), ..view });
        run.view = view;
        let Some(view) = view else { return };
        if view.state == ServerState::Running && self.clients.has_clients() {
            // A server that computes for long rings the bell only once in several writes.
            self.look_again_at(self.now() + LOOK_AT_OUTPUT);
        }
        self.consider_clients(Slot(view.admitted));
        let in_step = view.admitted.saturating_add(IN_STEP_WITHIN) >= self.committed.0;
        // A server that is being stopped can be looked at until it has ended.
        let stays = self.server.stopped_for.is_none();
        self.node.set_in_step(in_step && stays && !self.health.found.on_trial);
        self.behind_since =
            if in_step { None } else { self.behind_since.or_else(|| Some(self.now())) };
        if self.reports[self.me().index()] == (ServerReport::Alive { in_step: !in_step }) {
            self.reports[self.me().index()] = ServerReport::Alive { in_step };
            self.send_report_to_all();
            if in_step {
                self.clear_finding(FindingKind::HostFault);
            }
        }
    }

    /// Handles the end of the server's program, all of whose output has been taken in.
    fn on_server_end(&mut self, end: &ProgramEnd) {
        let ProgramEnd { ending, clock, admitted, ref trouble, end_reason } = *end;
        if self.server.run.take().is_none() {
            return;
        }
        let stopped_for = self.server.stopped_for.take();
        if std::mem::take(&mut self.server.proves_next) && stopped_for.is_none() {
            self.clients.expect_listeners();
            return self.server.want();
        }
        self.end_proof_in_place();
        if end_reason == Some(EndReason::Unfit) && stopped_for.is_none() {
            return self.refuse_program(trouble);
        }
        self.server.takes_until = Instant::default();
        self.clear_findings();
        let listened = std::mem::take(&mut self.server.has_listened);
        let incarnation = self.server.incarnation;
        if stopped_for.is_none() && end_reason == Some(EndReason::Restarted) {
            return self.on_restarted(Slot(admitted));
        }
        let report = ServerReport::Ended { incarnation, clock, admitted, ending, listened };
        if stopped_for.is_none()
            && end_reason.is_none()
            && let Some(crash) = report.end()
            && let Some(restart) = self.script.restart_after(crash)
        {
            info!("the server's program {ending} at clock {clock}, as on the others");
            return self.begin_incarnation(restart);
        }
        let mut text = format!("the server's program {ending} at clock {clock}, slot {admitted}");
        self.server.ended_early = !listened;
        if self.server.ended_early {
            text.push_str(BEFORE_IT_LISTENED);
            if ending == Ending::Exited(0) {
                text.push_str(IN_BACKGROUND);
            }
        }
        if !trouble.is_empty() {
            text.push_str(&format!(": {trouble}"));
        }
        let mut pause = JUDGE_AFTER;
        match (stopped_for, end_reason) {
            (Some(why), _) => text = why,
            (None, Some(EndReason::DiskFull)) => text = self.ended_by_full_disk(clock, trouble),
            (None, Some(EndReason::HostFault)) => {
                (text, pause) = self.ended_by_host(clock, trouble);
            }
            (None, _) => {
                self.server.last_end.count(incarnation, clock);
                if self.server.last_end.times > 1 {
                    // The image may be the cause.
                    self.refuse_checkpoint("crashed");
                }
                if ending == Ending::Killed(libc::SIGBUS) {
                    text.push_str(BY_SIGBUS);
                    self.server.awaits_room = true;
                }
            }
        }
        error!("{text}");
        self.record_silently(Event::ServerEnded { text: text.clone() });
        self.last_error = Some(text);
        self.reports[self.me().index()] = report;
        self.send_report_to_all();
        self.server.rebuild_at = Some(self.now() + pause);
        self.close_listeners();
        self.resign();
        self.judge_end();
    }

    /// Stops the replica, because the program does what cannot be replicated, and would do so
    /// again.
    pub(super) fn refuse_program(&mut self, trouble: &str) {
        let text = format!("{} cannot run replicated: {trouble}", self.program());
        self.record_silently(Event::ServerEnded { text: text.clone() });
        self.fail(text);
    }

    pub(super) fn on_server_report(&mut self, from: NodeId, report: ServerReport) {
        if let ServerReport::Ended { clock, ending, .. } = report {
            info!("the server of replica {from} {ending} at clock {clock}");
        }
        if matches!(report, ServerReport::Alive { .. }) {
            self.divergence.stale = self.divergence.stale.without(from);
            self.divergence.marks.forget_late(from);
        }
        self.reports[from.index()] = report;
        self.judge_end();
    }

    /// Judges the end of a program: if it ends at one point on a quorum, the program itself ends
    /// there. A witness judges it by the others' reports.
    pub(super) fn judge_end(&mut self) {
        let servers = self.servers();
        let members = servers.len();
        let report = |node: NodeId| &self.reports[node.index()];
        let count =
            |end: &ServerReport| servers.iter().filter(|node| report(*node).same_end(end)).count();
        let mine = if self.is_witness() {
            let by_count = servers.iter().max_by_key(|node| count(report(*node)));
            by_count.map_or(ServerReport::Alive { in_step: false }, |node| *report(node))
        } else {
            *report(self.me())
        };
        let ServerReport::Ended { clock, ending, listened, .. } = mine else { return };
        // No program kills itself in this way, but hosts do.
        if ending == Ending::Killed(libc::SIGKILL) {
            return;
        }
        let same = count(&mine);
        let other = servers.iter().find(|node| {
            matches!(report(*node), ServerReport::Ended { .. }) && !report(*node).same_end(&mine)
        });
        if let Some(other) = other
            && !self.is_witness()
        {
            let text = format!(
                "the servers of replicas {} and {other} ended at different points: they had not \
                 done the same",
                self.me()
            );
            self.find(FindingKind::EndsDiffer, Finding { text, is_fault: true });
        }
        if same < members / 2 + 1 {
            let waited = std::mem::take(&mut self.server.awaits_restart);
            if (self.server.leave_at.take().is_some() || waited) && !self.is_witness() {
                self.server.rebuild_at = Some(self.now() + JUDGE_AFTER);
            }
            return;
        }
        self.server.rebuild_at = None;
        if mine.crash().is_some() && !self.is_parallel() {
            // The primary proposes a restart, and the next incarnation begins behind it.
            self.server.awaits_restart = true;
            return;
        }
        let now = self.now();
        let leave_at = *self.server.leave_at.get_or_insert(now + LEAVE_WITHIN);
        let runs_on = servers.iter().any(|node| {
            self.is_linked(node)
                && !matches!(self.reports[node.index()], ServerReport::Ended { .. })
        });
        if runs_on && now < leave_at {
            return;
        }
        // A server that has never listened has not done its work, whatever its exit status is.
        let early = !listened;
        let status = i32::from(early || ending != Ending::Exited(0));
        let mut early = if early { BEFORE_IT_LISTENED.to_string() } else { String::new() };
        if !early.is_empty() && ending == Ending::Exited(0) {
            early.push_str(IN_BACKGROUND);
        }
        let program = match self.is_witness() {
            true => "the servers' program".to_string(),
            false => self.program(),
        };
        self.end(
            status,
            format!(
                "{program} {ending} at clock {clock} on {same} of {members} replicas{early}: the \
                 program has ended by itself"
            ),
        );
    }

    /// Decides alone, because the time to hear of the other servers is over: only this server died.
    pub(super) fn reconsider_end(&mut self, now: Instant) {
        if self.server.leave_at.is_some_and(|at| now >= at) {
            return self.judge_end();
        }
        if self.server.stops_at.is_some_and(|at| now >= at) {
            return self.stop_after_crashes();
        }
        if self.server.rebuild_at.is_none_or(|at| now < at) {
            return;
        }
        self.server.rebuild_at = None;
        if self.divergence.halted.is_some() {
            return;
        }
        if self.server.last_end.times >= SAME_END_MAX {
            let program = self.program();
            return self.fail(format!(
                "{program} has died {SAME_END_MAX} times at one clock, and only here: this host is \
                 not like the others"
            ));
        }
        if self.server.awaits_room {
            return self.await_room();
        }
        self.build_again();
    }

    /// Starts the server again, from the newest checkpoint or from slot 1.
    pub(super) fn build_again(&mut self) {
        info!("the server is built again");
        self.begin_without_server();
        self.server.want();
    }

    /// Ends this replica's server, as if it could not be built again without a checkpoint of
    /// another replica.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn lose_server(&mut self) {
        self.host.stop_server();
        self.server.run = None;
        self.server.proves_next = false;
        self.end_proof_in_place();
        self.close_listeners();
        self.begin_without_server();
        self.need_checkpoint(Slot(1));
    }

    /// Begins a generation in which the server is not in step before it has been built.
    pub(super) fn begin_without_server(&mut self) {
        self.begin_generation();
        self.reports[self.me().index()] = ServerReport::Alive { in_step: false };
        self.send_report_to_all();
    }

    /// Returns the name of the server's program for messages: as it was given, not as links resolve
    /// it.
    fn program(&self) -> String {
        self.settings.program.clone().unwrap_or_else(|| "no program".into())
    }
}

/// Returns the restart at which a checkpoint of files alone was made.
fn behind_files(checkpoint: &Checkpoint) -> Option<Restart> {
    let Manifest { kind, slot, incarnation, .. } = checkpoint.manifest;
    match kind {
        CheckpointKind::Image => None,
        CheckpointKind::Files { timestamp, .. } => {
            Some(Restart { slot, incarnation, timestamp, crash: None })
        }
    }
}
