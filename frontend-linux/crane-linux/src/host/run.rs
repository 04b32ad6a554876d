//! The loop: waits for events, gives them to the driver, and makes a round of passes.

use std::future::pending;

use crane_shm::region::TROUBLE_BYTES;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cell::Report;
use crate::clock::{Alarm, Clock};
use crate::driver::{
    ClientInput, Driver, DriverInput, Moment, ProgramEnd, Restored, ServerChange, Settings, Stop,
};
use crate::log::Synced;
use crate::log::storage::WriteProgress;
use crate::net::frame::FrameKind;
use crate::net::link::Arrival;
use crate::net::query::Query;
use crate::proxy::{ClientAction, ClientEvent};
use crate::report::Ending;

use super::proof::PROOF_RUN;
use super::{HostOutcome, HostParts, LinuxHost};

/// How many events the loop handles before a round, so that their effects are batched.
const EVENTS_PER_ROUND: usize = 64;
/// How many records of the server's output a pass takes before other work continues.
const RECORDS_PER_PASS: usize = 1024;

/// An event that the loop waits for.
enum Happened {
    Alarm,
    Woken,
    ProofWoken,
    Written(Result<Synced, String>),
    Arrived(Arrival),
    Client(ClientEvent),
    HostOutcome(HostOutcome),
}

/// A replica on this host.
struct Replica {
    driver: Driver<LinuxHost>,
    clock: Clock,
    progress: WriteProgress,
    outcomes: UnboundedReceiver<HostOutcome>,
}

/// Runs a replica until it must stop or `interrupted` is ready.
///
/// # Errors
/// Returns the system's error.
pub(crate) async fn run(
    settings: Settings,
    restored: Restored,
    parts: HostParts,
    interrupted: impl Future<Output = ()>,
) -> std::io::Result<Option<Stop>> {
    let mut alarm = Alarm::new()?;
    let (clock, progress) = (parts.clock, parts.progress.clone());
    let (sender, outcomes) = unbounded_channel();
    let host = LinuxHost::new(settings.me, parts, sender);
    let driver = Driver::new(settings, restored, host, clock.moment());
    let mut replica = Replica { driver, clock, progress, outcomes };
    tokio::pin!(interrupted);
    replica.driver.begin(clock.moment());
    loop {
        replica.round();
        if let Some(stop) = replica.driver.stop().cloned() {
            replica.leave();
            return Ok(Some(stop));
        }
        alarm.set(clock.moment().instant(), replica.driver.deadline())?;
        let mut next = tokio::select! {
            () = &mut interrupted => {
                replica.leave();
                return Ok(None);
            }
            happened = replica.wait(&mut alarm) => Some(happened?),
        };
        // A burst takes microseconds: one moment serves all of it.
        let moment = clock.moment();
        for _ in 0..EVENTS_PER_ROUND {
            let Some(happened) = next else { break };
            replica.handle(happened, moment);
            next = replica.waiting();
        }
        if let Some(happened) = next {
            replica.handle(happened, moment);
        }
    }
}

impl Replica {
    async fn wait(&mut self, alarm: &mut Alarm) -> std::io::Result<Happened> {
        let has_room = self.driver.has_room_for_clients();
        let host = &*self.driver.host();
        let woken = async {
            match &host.server {
                Some(server) => server.woken().await,
                None => pending().await,
            }
        };
        let proof_woken = async {
            match &host.proof.server {
                Some(server) => server.woken().await,
                None => pending().await,
            }
        };
        tokio::select! {
            outcome = alarm.wait() => outcome.map(|()| Happened::Alarm),
            outcome = woken => outcome.map(|()| Happened::Woken),
            outcome = proof_woken => outcome.map(|()| Happened::ProofWoken),
            outcome = self.progress.wait() => Ok(Happened::Written(outcome)),
            arrival = host.peers.arrivals.receive() => Ok(Happened::Arrived(arrival)),
            event = host.client_events.receive(), if has_room => Ok(Happened::Client(event)),
            Some(outcome) = self.outcomes.recv() => Ok(Happened::HostOutcome(outcome)),
        }
    }

    /// Returns an event that has happened already, if there is one.
    fn waiting(&mut self) -> Option<Happened> {
        if let Some(outcome) = self.progress.try_take() {
            return Some(Happened::Written(outcome));
        }
        let has_room = self.driver.has_room_for_clients();
        let host = self.driver.host();
        if let Ok(arrival) = host.peers.arrivals.try_receive() {
            return Some(Happened::Arrived(arrival));
        }
        if has_room && let Ok(event) = host.client_events.try_receive() {
            return Some(Happened::Client(event));
        }
        None
    }

    fn handle(&mut self, happened: Happened, moment: Moment) {
        let input = match happened {
            Happened::Alarm => DriverInput::Wake,
            Happened::Woken => {
                if let Some(server) = &mut self.driver.host().server {
                    server.listen_to_wakes();
                }
                return;
            }
            Happened::ProofWoken => {
                self.driver.host().proof.drop_output();
                return;
            }
            Happened::Written(Ok(synced)) => self.driver.host().on_written(synced),
            Happened::Written(Err(why)) => DriverInput::Failed(why),
            Happened::Arrived(arrival) => match self.arrived(arrival, moment) {
                Some(input) => input,
                None => return,
            },
            Happened::Client(event) => self.client_acted(event),
            Happened::HostOutcome(outcome) => match self.came_out(outcome, moment) {
                Some(input) => input,
                None => return,
            },
        };
        self.driver.handle(moment, input);
    }

    /// Turns an arrival into an input. Ignores arrivals on a link that another link has replaced.
    fn arrived(&mut self, arrival: Arrival, moment: Moment) -> Option<DriverInput> {
        let host = self.driver.host();
        Some(match arrival {
            Arrival::Up(link, hello) => {
                if !self.driver.takes_link(&hello) {
                    link.drop_silently();
                    return None;
                }
                if let Some(newest) = self.driver.superseded_by(&hello) {
                    let body = postcard::to_allocvec(&newest).expect("plain data");
                    link.put(FrameKind::Fence, &[&body]);
                    link.flush();
                    return None;
                }
                self.driver.host().take_link(link);
                DriverInput::LinkUp(hello)
            }
            Arrival::Down(link) if host.forget_link(&link) => DriverInput::LinkDown(link.node),
            Arrival::Paxos(link, received) if host.is_current(&link) => {
                DriverInput::Message(link.node, received)
            }
            Arrival::Ops(link, ops) if host.is_current(&link) => DriverInput::Ops(link.node, ops),
            Arrival::Server(link, report) if host.is_current(&link) => {
                DriverInput::Report(link.node, report)
            }
            Arrival::Vitals(link, vitals) if host.is_current(&link) => {
                DriverInput::Vitals(link.node, vitals)
            }
            Arrival::Asked(query, answer) => {
                let hash_slot = match query {
                    Query::Status { hash_slot } => hash_slot,
                    _ => 0,
                };
                let facts = host.facts(hash_slot);
                answer.signal(self.driver.answer(moment, query, &facts));
                return None;
            }
            Arrival::Calls(link, calls) if host.is_current(&link) => {
                DriverInput::Calls(link.node, calls)
            }
            Arrival::Mark(link, message) if host.is_current(&link) => {
                DriverInput::Mark(link.node, message)
            }
            Arrival::Fence(link, newest) if host.is_current(&link) => {
                DriverInput::Fenced(link.node, newest)
            }
            Arrival::Clock(link, message) if host.is_current(&link) => {
                DriverInput::Clock(link.node, message)
            }
            Arrival::Roster(link, roster) if host.is_current(&link) => {
                DriverInput::Roster(link.node, roster)
            }
            Arrival::Checkpoint(link, message) if host.is_current(&link) => {
                DriverInput::Checkpoint(link.node, message)
            }
            Arrival::Transfer(link, message) if host.is_current(&link) => {
                let group = self.driver.group();
                self.driver.host().transfer.on_message(&link, &group, message);
                return None;
            }
            Arrival::Refused(by, why) => DriverInput::Refused(by, why),
            Arrival::Down(_)
            | Arrival::Calls(..)
            | Arrival::Vitals(..)
            | Arrival::Fence(..)
            | Arrival::Clock(..)
            | Arrival::Mark(..)
            | Arrival::Roster(..)
            | Arrival::Checkpoint(..)
            | Arrival::Transfer(..)
            | Arrival::Paxos(..)
            | Arrival::Ops(..)
            | Arrival::Server(..) => {
                return None;
            }
        })
    }

    fn client_acted(&mut self, event: ClientEvent) -> DriverInput {
        let host = self.driver.host();
        let ClientEvent { conn, what } = event;
        let key = conn.key.get();
        match what {
            ClientAction::Connected => {
                let input = ClientInput::Connected { local: conn.local, peer: conn.peer };
                DriverInput::Client(host.take_conn(&conn), input)
            }
            ClientAction::Sent(bytes) => DriverInput::Client(key, ClientInput::Sent(bytes)),
            ClientAction::Shut => DriverInput::Client(key, ClientInput::Shut),
            ClientAction::Gone => DriverInput::Client(key, ClientInput::Gone),
            ClientAction::Drained(total) => DriverInput::Client(key, ClientInput::Drained(total)),
            ClientAction::Over => {
                host.forget_conn(key);
                DriverInput::Client(key, ClientInput::Over)
            }
        }
    }

    fn came_out(&mut self, outcome: HostOutcome, moment: Moment) -> Option<DriverInput> {
        match outcome {
            HostOutcome::Input(input) => Some(input),
            HostOutcome::Upgraded(spec, upgraded) => {
                self.driver.host().use_program(*spec, upgraded.base.clone());
                Some(DriverInput::Upgraded(Ok(upgraded)))
            }
            HostOutcome::Prepared(number, outcome) => {
                let outcome = outcome.map(|prepared| self.driver.host().taking.keep(prepared));
                Some(DriverInput::CheckpointPrepared(number, outcome))
            }
            HostOutcome::Started(number, process) if number & PROOF_RUN != 0 => {
                self.driver.host().proof.take(process)
            }
            HostOutcome::Cell(number, report) if number & PROOF_RUN != 0 => {
                self.driver.host().proof.report(number, report)
            }
            HostOutcome::Started(number, process) => {
                self.driver.host().server = Some(process);
                Some(DriverInput::Server(number, ServerChange::Ready))
            }
            HostOutcome::Cell(number, report) => {
                let change = match report {
                    Report::Overlay => ServerChange::Overlay,
                    Report::Copy(why) => ServerChange::Copy(why),
                    Report::Started => {
                        self.driver.host().welcome_server(number);
                        ServerChange::Started
                    }
                    Report::Failed(why) => ServerChange::Failed(why),
                    Report::Exited(status) => self.ended(number, Ending::Exited(status), moment)?,
                    Report::Killed(signal) => self.ended(number, Ending::Killed(signal), moment)?,
                };
                Some(DriverInput::Server(number, change))
            }
        }
    }

    /// Takes the last output of a run that has ended, and drops the run.
    fn ended(&mut self, number: u64, ending: Ending, moment: Moment) -> Option<ServerChange> {
        self.driver.host().server.as_ref().filter(|server| server.number == number)?;
        while self.take_output(moment) {}
        let server = self.driver.host().server.take()?;
        let region = server.region;
        region.set_exited();
        let cell = server.into_cell();
        self.driver.host().remains.keep(cell, region);
        let mut space = [0; TROUBLE_BYTES];
        Some(ServerChange::Ended(ProgramEnd {
            ending,
            clock: region.clock(),
            admitted: region.admitted(),
            trouble: String::from_utf8_lossy(region.trouble(&mut space)).into_owned(),
            end_reason: region.end_reason(),
        }))
    }

    /// Ends a run whose program the library has refused, in any of its processes.
    fn look_for_refusal(&mut self) {
        let Some(server) = &self.driver.host().server else { return };
        let number = server.number;
        if server.region.end_reason().is_none() {
            return;
        }
        let moment = self.clock.moment();
        if let Some(change) = self.ended(number, Ending::Killed(libc::SIGKILL), moment) {
            self.driver.handle(moment, DriverInput::Server(number, change));
        }
    }

    /// Makes passes until none makes progress, up to a bound.
    fn round(&mut self) {
        self.look_for_refusal();
        self.driver.host().name_bypasses();
        let (mut more, mut moment) = (true, self.clock.moment());
        for _ in 0..Driver::<LinuxHost>::passes_per_round() {
            if !std::mem::take(&mut more) {
                break;
            }
            more |= self.take_output(moment);
            let view = self.driver.host().view();
            more |= self.driver.pass(moment, view);
            while let Some(input) = self.driver.host().at_once.pop_front() {
                self.driver.handle(moment, input);
                more = true;
            }
            if self.driver.stop().is_some() {
                break;
            }
            moment = self.clock.moment();
        }
        self.driver.host().flush_links();
        self.driver.end_round(moment, more);
    }

    /// Takes the server's output, and returns whether there was any.
    fn take_output(&mut self, moment: Moment) -> bool {
        let host = self.driver.host();
        let output = host.server.as_mut().and_then(|server| server.output.take());
        let Some(mut output) = output else { return false };
        let mut count = 0;
        while count < RECORDS_PER_PASS {
            match output.peek() {
                Ok(Some(record)) => {
                    self.driver.handle_output(moment, &record);
                    output.pop();
                    count += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    let why = format!("the server has corrupted the shared memory: {error}");
                    self.driver.handle(moment, DriverInput::Failed(why));
                    break;
                }
            }
        }
        let host = self.driver.host();
        host.flush_clients();
        if let Some(server) = &mut host.server {
            server.output = Some(output);
            if count > 0 {
                server.region.ring_output();
            }
        }
        count > 0
    }

    /// Closes the links in order, so that other replicas learn at once what this replica knows.
    fn leave(mut self) {
        self.driver.leave();
        self.driver.host().flush_links();
        self.driver.into_host().finish();
    }
}
