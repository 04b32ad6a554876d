//! The loop: waits for something to happen, hands it to the handler whose business it is, and makes
//! a round.

use crane_core::paxos::{Input, WriteNumber};
use crane_core::time::Instant;

use crate::cell::Report;
use crate::clock::Alarm;
use crate::net::link::Arrival;
use crate::proxy::ClientEvent;

use super::agreement::InputPayloads;
use super::{Driver, Stop};

/// Events that are handled before a round, so that they are batched.
const EVENTS_PER_ROUND: usize = 64;
/// Passes of a round before the runtime may do something else.
const PASSES_PER_ROUND: usize = 32;

/// What the driver waits for.
enum Happened {
    Alarm,
    Woken,
    Written(Result<WriteNumber, String>),
    Arrived(Arrival),
    Client(ClientEvent),
    Cell(u64, Report),
}

impl Driver {
    /// Runs until the replica has to stop, or `interrupted` is done.
    ///
    /// # Errors
    /// What the system refused.
    pub async fn run(
        mut self,
        interrupted: impl Future<Output = ()>,
    ) -> std::io::Result<Option<Stop>> {
        let mut alarm = Alarm::new()?;
        tokio::pin!(interrupted);
        self.start_behind_front();
        self.paxos(Input::Wake, InputPayloads::NONE);
        loop {
            self.round();
            if let Some(stop) = self.stop.take() {
                self.leave();
                self.storage.finish();
                return Ok(Some(stop));
            }
            if self.server.is_wanted() {
                self.start_server().await;
                continue;
            }
            alarm.set(self.clock.now(), self.next_alarm())?;
            let mut next = tokio::select! {
                () = &mut interrupted => {
                    self.leave();
                    self.storage.finish();
                    return Ok(None);
                }
                happened = self.wait(&mut alarm) => Some(happened?),
            };
            for _ in 0..EVENTS_PER_ROUND {
                let Some(happened) = next else { break };
                self.handle(happened);
                next = self.waiting();
            }
            if let Some(happened) = next {
                self.handle(happened);
            }
        }
    }

    async fn wait(&self, alarm: &mut Alarm) -> std::io::Result<Happened> {
        let stored = async {
            match &self.progress {
                Some(progress) => progress.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = alarm.wait() => outcome.map(|()| Happened::Alarm),
            outcome = self.server.woken() => outcome.map(|()| Happened::Woken),
            outcome = stored => Ok(Happened::Written(outcome)),
            arrival = self.peers.arrivals.receive() => Ok(Happened::Arrived(arrival)),
            event = self.client_events.receive(), if self.clients.has_room() => {
                Ok(Happened::Client(event))
            }
            (run, report) = self.cell_reports.receive() => Ok(Happened::Cell(run, report)),
        }
    }

    /// Something that has happened already, if anything.
    fn waiting(&self) -> Option<Happened> {
        if let Some(outcome) = self.progress.as_ref().and_then(|progress| progress.try_take()) {
            return Some(Happened::Written(outcome));
        }
        if let Ok(arrival) = self.peers.arrivals.try_receive() {
            return Some(Happened::Arrived(arrival));
        }
        if self.clients.has_room()
            && let Ok(act) = self.client_events.try_receive()
        {
            return Some(Happened::Client(act));
        }
        None
    }

    fn handle(&mut self, happened: Happened) {
        match happened {
            Happened::Alarm => self.on_alarm(),
            Happened::Woken => self.server.listen_to_wakes(),
            Happened::Written(Ok(up_to)) => self.on_durable(up_to),
            Happened::Written(Err(why)) => self.fail(why),
            Happened::Arrived(arrival) => self.on_arrival(arrival),
            Happened::Client(act) => self.on_client_event(act),
            Happened::Cell(run, report) => self.on_cell_report(run, report),
        }
    }

    /// Something may be due. What is not, takes no harm.
    fn on_alarm(&mut self) {
        self.paxos(Input::Wake, InputPayloads::NONE);
        let now = self.clock.now();
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

    /// Carries everything as far as it goes.
    fn round(&mut self) {
        for pass in 0.. {
            let mut more = self.observe();
            more |= self.feed();
            more |= self.take_output();
            more |= self.forward_ops();
            more |= self.propose();
            more |= self.write();
            if !more || self.stop.is_some() {
                break;
            }
            if pass == PASSES_PER_ROUND {
                self.look_again_at(self.clock.now());
                break;
            }
        }
        for link in self.links.iter().flatten() {
            link.flush();
        }
        if let Some(at) = self.watch_stalls() {
            self.look_again_at(at);
        }
    }

    fn next_alarm(&self) -> Instant {
        let others = [
            self.look_again,
            self.clients.deadline(),
            self.proposer.deadline(),
            self.server.deadline(),
        ];
        others.into_iter().flatten().fold(self.node.deadline(), Instant::min)
    }

    /// The last thing that is done: others learn at once what this replica knows.
    fn leave(&mut self) {
        self.hint_committed();
        let _ = self.write();
        for link in self.links.iter().flatten() {
            link.flush();
        }
    }
}
