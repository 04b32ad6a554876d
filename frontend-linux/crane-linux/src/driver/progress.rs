//! Progress: a replica whose disk or server stands still says so, gives the primary's role away,
//! and sends its clients to other replicas. [`crane_core::progress`] decides.

use crane_core::id::{NodeId, Slot};
use crane_core::mutants::{Mutant, broken};
use crane_core::paxos::NodeSet;
use crane_core::progress::{Ailment, Findings, GroupSight, ScriptPosition, Vitals};
use crane_core::time::Instant;
use crane_shm::ServerState;
use tracing::{debug, warn};

use crate::event::Event;
use crate::net::frame::FrameKind;
use crate::report::ServerReport;

use super::rooms::{Finding, FindingKind};
use super::{Driver, Host};

impl<H: Host> Driver<H> {
    /// Takes another replica's report of its progress.
    pub(super) fn on_vitals(&mut self, from: NodeId, vitals: Vitals) {
        self.health.vigil.heard(self.now(), from, vitals);
    }

    /// Takes the processor time that the processes of a run have used.
    pub(super) fn on_processor_time(&mut self, run: u64, micros: u64) {
        if run == self.server.runs {
            self.health.vigil.used_processor(self.now(), micros);
        }
    }

    /// Looks whether this replica makes progress, and acts if it does not. Returns when to look
    /// again.
    pub(super) fn watch_progress(&mut self) -> Option<Instant> {
        let now = self.now();
        let (position, sight) = (self.expected_position(), self.sight_of_group());
        let has_work = self.server_has_work();
        self.health.vigil.saw_server(now, position, has_work);
        let found = self.health.vigil.look(now, &sight);
        self.health.found = found;
        self.node.set_disk_stands(found.disk_stands);
        self.node.set_sync_time(found.sync_time);
        if found.measure {
            self.host.measure_server();
        }
        if found.report {
            self.send_vitals();
        }
        if found.probe {
            // The commit index may be written at any time.
            self.log.append_committed(self.committed);
            self.write();
        }
        self.report_ailment(&found);
        self.refuse_clients(&found, &sight);
        if let (Some(to), Some((ailment, since))) = (found.transfer_to, found.ailment) {
            self.transfer_role_because(to, ailment, since);
        }
        self.health.vigil.deadline(now)
    }

    /// Returns the position of the server, if it should be where the others are.
    // specs: H1
    fn expected_position(&self) -> Option<ScriptPosition> {
        let view = self.server.view()?;
        let serves = self.clients.open || self.health.refuses;
        let position = ScriptPosition { admitted: Slot(view.admitted), clock: view.clock };
        // Without the disk no proof ends, and no clients are served for as long.
        let is_excused = self.is_held() && !self.health.found.disk_stands;
        (serves && !is_excused).then_some(position)
    }

    /// Returns whether the server has something to do.
    fn server_has_work(&self) -> bool {
        let fed = self.server.run.map_or(Slot::NONE, |run| run.fed);
        let works = matches!(self.server.view(), Some(view) if view.state == ServerState::Running);
        works || self.server.view().is_some_and(|view| view.admitted < fed.0)
    }

    fn sight_of_group(&self) -> GroupSight {
        let members = self.node.members();
        let alive = |node: &NodeId| {
            matches!(self.reports[node.index()], ServerReport::Alive { .. }) || *node == self.me()
        };
        let due = self.node.durable().next().min(self.node.last());
        let has_slot = |node: &NodeId| self.node.contact(*node).matched >= due;
        GroupSight {
            is_primary: self.is_primary(),
            knows_primary: self.node.primary().is_some(),
            voters: members.voters,
            quorum: members.quorum(),
            servers: self.servers().iter().filter(alive).collect::<NodeSet>(),
            linked: self.linked,
            ahead: members.voters.iter().filter(has_slot).collect(),
        }
    }

    fn send_vitals(&mut self) {
        let body = postcard::to_allocvec(&self.health.vigil.last_report()).expect("plain data");
        for node in self.others().iter() {
            self.host.send_frame(node, FrameKind::Vitals, &body);
        }
    }

    /// Reports to the operator what stands still, and when it does no more.
    fn report_ailment(&mut self, found: &Findings) {
        let ailment = found.ailment.map(|(ailment, _)| ailment);
        if ailment != self.health.reported {
            self.health.reported = ailment;
            self.clear_finding(FindingKind::Standstill);
            if let Some(ailment) = ailment {
                self.events.counters.standstills += 1;
                let text = describe(ailment).to_string();
                self.find(FindingKind::Standstill, Finding { text, is_fault: true });
            }
        }
        if found.nobody_is_better != self.health.alone_reported {
            self.health.alone_reported = found.nobody_is_better;
            self.clear_finding(FindingKind::NobodyBetter);
            if found.nobody_is_better {
                let text = "this primary makes no progress, and it keeps its role, because no \
                            other replica is known to do better: see status, and mend the disks \
                            or servers of a majority"
                    .to_string();
                self.find(FindingKind::NobodyBetter, Finding { text, is_fault: true });
            }
        }
    }

    /// Transfers the primary's role to a replica that makes progress.
    // specs: H3
    fn transfer_role_because(&mut self, to: NodeId, ailment: Ailment, since: Instant) {
        let after_ms = self.now().since(since).as_micros() / 1000;
        match self.hand_role_to(to) {
            Ok(()) => {
                self.events.counters.roles_given_up += 1;
                let event = Event::RoleGivenUp {
                    to: to.number(),
                    after_ms,
                    why: cause(ailment).to_string(),
                };
                warn!("{event}");
                self.record_silently(event);
            }
            Err(error) => debug!("the role stays: {error}"),
        }
    }

    /// Refuses clients while this replica is sick and another one can serve them, and resets those
    /// that wait for a server that does not move.
    // specs: H8, H9
    fn refuse_clients(&mut self, found: &Findings, sight: &GroupSight) {
        let (now, vigil) = (self.now(), &self.health.vigil);
        let others = sight.servers.intersection(sight.linked).without(self.me());
        let other_serves = others.iter().any(|node| vigil.is_free_of_ailment(now, node));
        let unwell = found.ailment.is_some() || self.health.refuses && found.on_trial;
        let refuses = unwell && other_serves && !broken(Mutant::SickTakesClients);
        if refuses != self.health.refuses {
            self.health.refuses = refuses;
            if refuses {
                self.close_to_clients();
            }
        }
        if refuses && found.hands_clients_on && !self.clients.conns.is_empty() {
            let count = self.clients.conns.len() as u64;
            self.events.counters.clients_handed_on += count;
            let event = Event::ClientsHandedOn { count };
            warn!("{event}");
            self.record_silently(event);
            self.health.vigil.hand_on(self.clients.generation());
            self.begin_generation();
        }
    }
}

/// Returns what stands still.
const fn cause(ailment: Ailment) -> &'static str {
    match ailment {
        Ailment::Disk => "its disk stands still",
        Ailment::Server => "its server stands still",
        Ailment::Reception => "it does not hear enough of the others",
    }
}

/// Describes an ailment for an operator, with the remedy.
const fn describe(ailment: Ailment) -> &'static str {
    match ailment {
        Ailment::Disk => {
            "the disk of this replica's log stands still: a write or a sync does not return; other \
             replicas serve meanwhile; look at the disk of the data directory (dmesg, iostat), or \
             stop this replica"
        }
        Ailment::Server => {
            "the server of this replica stands still, and the servers of the others have passed \
             it; other replicas serve meanwhile; let its processes continue (kill -CONT), or end \
             them: a server that has ended is built again"
        }
        Ailment::Reception => {
            "this replica does not hear enough of the others: entries of the log do not arrive, or \
             it finds no primary although others have one; other replicas serve meanwhile; look at \
             the network between the replicas, in both directions"
        }
    }
}
