//! Dispatch: the handler of each input, and the round of passes after it.

use crane_core::id::NodeId;
use crane_core::paxos::Input;
use crane_core::time::Instant;
use crane_shm::RingRecord;

use crate::log::Synced;
use crate::report::CheckpointMessage;

use super::agreement::InputPayloads;
use super::rooms::ReplicaProgress;
use super::{Driver, DriverInput, Host, LOOK_AGAIN, Moment, ServerView};

/// The number of passes of a round, after which the host may give other inputs.
const PASSES_PER_ROUND: usize = 32;

impl<H: Host> Driver<H> {
    /// Begins: takes the contents of the log as seen, and starts agreement. It must be called
    /// before everything else.
    pub(crate) fn begin(&mut self, moment: Moment) {
        self.moment = moment;
        self.adopt_addresses();
        self.dial_all();
        self.start_behind_front();
        self.paxos(Input::Wake, InputPayloads::NONE);
    }

    /// Handles an input. Its consequences are carried out in the next round.
    pub(crate) fn handle(&mut self, moment: Moment, input: DriverInput) {
        self.moment = moment;
        match input {
            DriverInput::Wake => self.on_wake(),
            DriverInput::LinkUp(hello) => {
                self.on_link_up(&hello);
                if let Some(node) = NodeId::new(hello.node) {
                    self.greet_about_checkpoints(node);
                    self.ask_for_clock(node);
                }
            }
            DriverInput::LinkDown(node) => {
                self.on_link_down(node);
                self.judge_end();
            }
            DriverInput::Message(from, received) => {
                self.inform_former_member(from);
                if self.hears(from, &received.message) {
                    self.on_message(from, &received);
                }
            }
            DriverInput::Ops(from, _)
            | DriverInput::Report(from, _)
            | DriverInput::Calls(from, _)
            | DriverInput::Mark(from, _)
            | DriverInput::Vitals(from, _)
            | DriverInput::Fenced(from, _)
            | DriverInput::Clock(from, _)
                if !self.speaks(from) => {}
            DriverInput::Ops(from, ops) => self.on_ops(from, ops),
            DriverInput::Fenced(from, newest) => self.on_fenced(from, newest),
            DriverInput::Clock(from, message) => self.on_clock(from, message),
            DriverInput::CheckpointPrepared(run, outcome) => {
                self.on_checkpoint_prepared(run, outcome);
            }
            DriverInput::CheckpointPhase(run, phase) => self.on_checkpoint_phase(run, phase),
            DriverInput::Roster(from, roster) => self.on_roster(from, &roster),
            DriverInput::Refused(by, why) => self.on_refused(&by, &why),
            DriverInput::CheckpointTaken(run, outcome) => self.on_checkpoint_taken(run, outcome),
            DriverInput::Checkpoint(from, message) => self.on_checkpoint_message(from, message),
            DriverInput::Arriving(arriving) => self.on_arriving(arriving),
            DriverInput::LogCut(front) => self.on_log_cut(front),
            DriverInput::FilesKept(run, kept) => self.on_files_kept(run, kept),
            DriverInput::Proof(number, change) => self.on_proof_change(number, change),
            DriverInput::ProofKept(kept) => self.on_proof_kept(kept),
            DriverInput::Report(from, report) => self.on_server_report(from, report),
            DriverInput::Calls(from, calls) => self.on_calls(from, calls),
            DriverInput::Mark(from, message) => self.on_mark(from, message),
            DriverInput::Kept(Synced { up_to, .. }) => {
                self.paxos(Input::Durable { up_to }, InputPayloads::NONE);
            }
            DriverInput::Durable(synced) => self.on_durable(synced),
            DriverInput::Vitals(from, vitals) => self.on_vitals(from, vitals),
            DriverInput::ProcessorTime(run, micros) => self.on_processor_time(run, micros),
            DriverInput::Fetched(fetcher, records) => self.on_fetched(fetcher, records),
            DriverInput::FetchMissing(fetcher, last, why) => {
                self.on_fetch_missing(fetcher, last, why);
            }
            DriverInput::FrozenKept(kept) => self.on_frozen_kept(kept),
            DriverInput::MetaKept(generation) => self.on_meta_kept(generation),
            DriverInput::Client(key, what) => self.on_client_input(key, what),
            DriverInput::Server(run, change) => self.on_server_change(run, change),
            DriverInput::Inspected(run, inspection) if run == self.server.runs => {
                self.on_inspected(inspection);
            }
            DriverInput::CellSeen(run, found) if run == self.server.runs => {
                self.on_cell_seen(&found);
            }
            DriverInput::DiskMeasured(room) => {
                if self.on_disk_measured(room) {
                    self.build_again();
                }
            }
            DriverInput::Bypassed(run, bypassed) if run == self.server.runs => {
                self.on_bypassed(&bypassed);
            }
            DriverInput::Inspected(..) | DriverInput::CellSeen(..) | DriverInput::Bypassed(..) => {}
            DriverInput::ProgramSeen(words, seen) => self.seen_program = Some((words, seen)),
            DriverInput::Upgraded(outcome) => self.on_upgraded(outcome.map(|upgraded| *upgraded)),
            DriverInput::Failed(why) => self.fail(why),
        }
    }

    fn on_checkpoint_message(&mut self, from: NodeId, message: CheckpointMessage) {
        match message {
            CheckpointMessage::Progress { proved, observed, needed } => {
                self.on_progress(from, ReplicaProgress { proved, observed, needed });
            }
            CheckpointMessage::HoldWanted { number } => self.on_hold_wanted(from, number),
            CheckpointMessage::HoldGranted { number } => self.on_hold_answer(from, number, true),
            CheckpointMessage::HoldRefused { number } => self.on_hold_answer(from, number, false),
            CheckpointMessage::HoldOver => self.on_hold_over(from),
            CheckpointMessage::Needed { front } => self.on_needed(from, front),
        }
    }

    /// Handles one record of the running server's output.
    pub(crate) fn handle_output(&mut self, moment: Moment, record: &RingRecord<'_>) {
        self.moment = moment;
        self.on_output(record);
    }

    /// Carries all work one step further. Returns whether more may be possible at once: the caller
    /// looks at the server again, and calls again.
    pub(crate) fn pass(&mut self, moment: Moment, view: Option<ServerView>) -> bool {
        self.moment = moment;
        self.look_at_server(view);
        let mut more = self.pay_owed();
        more |= self.observe();
        more |= self.feed();
        more |= self.forward_ops();
        more |= self.propose_restart();
        more |= self.propose();
        self.write();
        self.start_wanted_server();
        self.read_ahead();
        self.forget_fetched();
        more && self.stop.is_none()
    }

    /// Ends a round of passes: a round that was broken off continues soon.
    pub(crate) fn end_round(&mut self, moment: Moment, broken_off: bool) {
        self.moment = moment;
        if self.end_paying() || broken_off {
            self.look_again_at(self.now());
        }
        let watched = [
            self.watch_progress(),
            self.watch_stalls(),
            self.watch_server(),
            self.watch_cell(),
            self.watch_marks(),
            self.watch_checkpoints(),
            self.watch_lacking(),
            self.watch_hold(),
            self.watch_proof(),
            self.watch_log(),
            self.watch_transfer(),
            self.watch_clocks(),
        ];
        // One that waits for something else must not keep the links from running.
        let soonest = self.now() + LOOK_AGAIN;
        for at in watched.into_iter().flatten() {
            self.look_again_at(at.max(soonest));
        }
    }

    /// Returns how many passes a round has at most.
    pub(crate) const fn passes_per_round() -> usize {
        PASSES_PER_ROUND
    }

    /// Does the work that is due. The call is harmless if nothing is due.
    fn on_wake(&mut self) {
        self.paxos(Input::Wake, InputPayloads::NONE);
        let now = self.now();
        if self.look_again.is_some_and(|at| at <= now) {
            self.look_again = None;
        }
        if self.clients.wake(now) {
            self.events.counters.handed_over_again += 1;
            self.warn_operator(
                "no op of this replica's clients was committed for a while: sent again".into(),
            );
        }
        self.reconsider_end(now);
        if let Some(at) = self.prefer() {
            self.look_again_at(at);
        }
    }

    /// Returns when [`DriverInput::Wake`] is due at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        let others = [
            self.look_again,
            self.clients.deadline(),
            self.proposer.deadline(),
            self.server.deadline(),
        ];
        others.into_iter().flatten().fold(self.node.deadline(), Instant::min)
    }

    /// Returns whether another action of a client can be taken.
    pub(crate) fn has_room_for_clients(&self) -> bool {
        self.next_generation.is_none() && self.clients.has_room()
    }

    /// Prepares the end of the replica: writes the commit index as a hint.
    pub(crate) fn leave(&mut self) {
        self.hint_committed();
        self.write();
    }
}
