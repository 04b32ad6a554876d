//! The driver's effects, and their outcomes.

use crane_core::id::Generation;
use crane_shm::region::EndReason;

use crate::base::Base;
use crate::driver::{DriverInput, ProgramEnd, RunNumber, RunStart, ServerChange, Stop};
use crate::program::{UpgradeOrder, Upgraded};
use crate::report::Ending;

use super::faults::FaultKind;
use super::group::{MICROSECOND, MILLISECOND, SECOND, SimEvent, SimGroup};
use super::host::HostEffect;
use super::server::SimServer;

/// How many calls a server makes at a time.
const CALLS: u64 = 500;
/// How long the storage of small files takes. (They are kept one after the other.)
const META_TAKES: u64 = 300 * MICROSECOND;

impl SimGroup {
    pub(super) fn carry_out(&mut self, at: usize, effect: HostEffect) {
        let run = self.replicas[at].run;
        let soon = |input| SimEvent::Input { at, run, input };
        match effect {
            HostEffect::Frame(to, kind, body) => self.send(at, to.index(), (kind, body)),
            HostEffect::CloseLink(node) => {
                let peer = node.index();
                // This end closes it, and needs no notice.
                if self.replicas[at].linked[peer].take().is_some() {
                    self.close_links(at, peer);
                }
            }
            HostEffect::Write(batch) => {
                if self.replicas[at].files.has_journal {
                    self.schedule(self.now, soon(DriverInput::Kept(batch.synced())));
                }
                match self.replicas[at].files.write(batch) {
                    Ok(false) => {}
                    Ok(true) => self.plan_sync(at),
                    Err(why) => self.schedule(self.now, soon(DriverInput::Failed(why))),
                }
            }
            HostEffect::Fetch(fetcher, fetch) => {
                let last = fetch.last().expect("a fetch has slots");
                let input = match self.replicas[at].files.fetch(&fetch) {
                    Ok(records) => DriverInput::Fetched(fetcher, records),
                    Err(why) => DriverInput::FetchMissing(fetcher, last, why),
                };
                self.schedule_in(MICROSECOND, 3 * MILLISECOND, soon(input));
            }
            HostEffect::CutLog(front) => {
                let cut = self.replicas[at].files.cut_log(&front);
                self.happened.cuts += u32::from(cut.is_ok());
                let input = DriverInput::LogCut(cut.map(|()| front));
                self.schedule_in(MICROSECOND, 3 * MILLISECOND, soon(input));
            }
            HostEffect::DeleteSegments(before) => self.replicas[at].files.delete_segments(before),
            HostEffect::KeepMeta(meta) => {
                self.schedule(self.now + META_TAKES, SimEvent::MetaKept { at, run, meta });
            }
            HostEffect::Answer(key, bytes) => self.send_answer(key, bytes),
            HostEffect::EndClient(key) => {
                self.schedule(self.now + 50 * MICROSECOND, SimEvent::EndClient { key });
            }
            HostEffect::StartServer(number, generation, from) => {
                if let RunStart::Files(Some(order)) = &from {
                    let kept = self.keep_files(at, order.clone());
                    let input = DriverInput::FilesKept(number.number, kept);
                    self.schedule_in(MILLISECOND, 30 * MILLISECOND, soon(input));
                }
                let event = SimEvent::ServerStarts { at, run, number, generation, from };
                self.schedule_in(5 * MILLISECOND, 100 * MILLISECOND, event);
            }
            HostEffect::Upgrade(order) => {
                let UpgradeOrder { upgrade, files } = *order;
                let kept = self.keep_files(at, files);
                let upgraded = kept.map(|checkpoint| {
                    Box::new(Upgraded { upgrade, base: Base::default(), checkpoint })
                });
                let input = DriverInput::Upgraded(upgraded);
                self.schedule_in(MILLISECOND, 30 * MILLISECOND, soon(input));
            }
            HostEffect::TakeCheckpoint(group) => self.take_checkpoint(at, group),
            HostEffect::StartProof(number, place) => self.start_proof(at, number, place),
            HostEffect::KeepProof(place, proof) => self.keep_proof(at, &place, proof),
            HostEffect::SetAside(place) => self.replicas[at].files.checkpoints.set_aside(&place),
            HostEffect::ReceiveCheckpoint(from, with_files) => {
                self.receive_checkpoint(at, from, with_files);
            }
            HostEffect::StopServer => self.end_server(at, Ending::Killed(libc::SIGKILL)),
            HostEffect::Ring => self.plan_server(at),
            HostEffect::Soon(input) => {
                self.schedule_in(20 * MICROSECOND, 500 * MICROSECOND, soon(input));
            }
        }
    }

    /// Schedules the return of a sync that has begun, unless the disk hangs.
    pub(super) fn plan_sync(&mut self, at: usize) {
        let replica = &self.replicas[at];
        if replica.ails.disk_hangs {
            return;
        }
        let run = replica.run;
        let (low, high) = match replica.ails.disk_slow {
            Some(takes) => (takes * 3 / 4, takes),
            None => self.sync_time,
        };
        self.schedule_in(low, high, SimEvent::Synced { at, run });
    }

    pub(super) fn on_synced(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        // A disk that hangs continues later.
        if replica.ails.disk_hangs || !replica.files.is_syncing() {
            return;
        }
        match replica.files.end_sync() {
            Ok((synced, again)) => {
                self.give(at, DriverInput::Durable(synced));
                if again {
                    self.plan_sync(at);
                }
            }
            Err(why) => self.give(at, DriverInput::Failed(why)),
        }
    }

    pub(super) fn on_server_starts(
        &mut self,
        at: usize,
        number: RunNumber,
        generation: Generation,
        from: &RunStart,
    ) {
        let id = self.replicas[at].id;
        let server = match from {
            RunStart::Base => Some(SimServer::new(number, id, generation)),
            RunStart::Files(_) => {
                let left = self.replicas[at].host().and_then(|host| host.left.as_ref());
                let mut server = left.expect("a server has ended").files();
                server.continue_as(number, id, generation);
                Some(server)
            }
            RunStart::Checkpoint(from) => self.restored(at, &from.place).map(|mut image| {
                image.continue_as(number, id, generation);
                image
            }),
        };
        let Some(server) = server else {
            let why = "the checkpoint is gone".to_string();
            return self.give(at, DriverInput::Server(number.number, ServerChange::Failed(why)));
        };
        let replica = &mut self.replicas[at];
        replica.held = None;
        let Some(host) = replica.host() else { return };
        host.server = Some(server);
        self.give(at, DriverInput::Server(number.number, ServerChange::Ready));
        self.give(at, DriverInput::Server(number.number, ServerChange::Started));
    }

    /// Schedules calls of a server, unless they are scheduled, or it hangs, or its daemon is down.
    pub(super) fn plan_server(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        let stands_still = replica.stands_still() || replica.daemon.is_none();
        if stands_still || std::mem::replace(&mut replica.server_due, true) {
            return;
        }
        let run = replica.run;
        self.schedule_in(2 * MICROSECOND, 100 * MICROSECOND, SimEvent::ServerRuns { at, run });
    }

    pub(super) fn on_server_runs(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        replica.server_due = false;
        if replica.stands_still() {
            return;
        }
        let Some(server) = replica.host().and_then(|host| host.server.as_mut()) else { return };
        let more = server.run_calls(CALLS);
        // Its end is known when its output has been taken.
        if let Some(ending) = server.ending().filter(|_| !server.has_output()) {
            return self.end_server(at, ending);
        }
        let more = more || server.ending().is_some();
        self.plan_round(at);
        if more {
            self.plan_server(at);
        }
    }

    /// Ends a running server.
    pub(super) fn end_server(&mut self, at: usize, ending: Ending) {
        let run = self.replicas[at].run;
        let Some(host) = self.replicas[at].host() else { return };
        let server = host.server.take();
        let (number, clock, admitted) = match &server {
            Some(server) => (server.run.number, server.clock(), server.admitted().0),
            None => (host.runs, 0, 0),
        };
        let is_restarted = server.as_ref().is_some_and(SimServer::is_restarted);
        let end_reason = is_restarted.then_some(EndReason::Restarted);
        let end = ProgramEnd { ending, clock, admitted, trouble: String::new(), end_reason };
        if server.is_some() {
            host.parted_at = server.as_ref().and_then(|server| server.parted_at).or(host.parted_at);
            host.left = server;
        }
        let input = DriverInput::Server(number, ServerChange::Ended(end));
        let event = SimEvent::Input { at, run, input };
        self.schedule_in(20 * MICROSECOND, MILLISECOND, event);
    }

    /// Ends a daemon that must stop. It is started again.
    pub(super) fn on_stop(&mut self, at: usize, stop: &Stop) {
        let unlucky = stop.why.contains("times at one clock");
        // Rule I5.
        let crashes = self.happened.crashes >= 3 && stop.why.contains("times within a minute");
        let removed = self.replicas[at].changes && stop.why.contains("has been removed");
        let expected =
            stop.again || unlucky || crashes || removed || self.replicas[at].files.has_failed();
        assert!(expected, "replica {} stops: {}", at + 1, stop.why);
        self.end(at, FaultKind::Stopped);
        if removed {
            return;
        }
        self.schedule_in(100 * MILLISECOND, SECOND, SimEvent::Start { at });
    }
}
