//! The watch over the running server: it must make progress, and no other process may serve beside
//! it.
//!
//! A server that blocks in a call which crane does not order keeps the turn, and all of its threads
//! wait for ever. Nothing inside the server can detect this. The daemon therefore checks from
//! outside whether the clock stands still although a thread has the turn or an op waits to be
//! admitted.

use crane_core::time::{Duration, Instant};
use crane_shm::ServerState;
use tracing::{info, warn};

use crate::event::Event;

use super::rooms::{Finding, FindingKind};
use super::{Activity, Driver, Host, Inspection, SeenCell, ServerView, Unannounced};

/// The time after which a server whose clock does not move is inspected.
const INSPECT_AFTER: Duration = Duration::from_millis(1000);
/// The time between two inspections of the cell.
const LOOK_AT_CELL: Duration = Duration::from_millis(1500);
/// The time after which a computing thread is inspected again, because it becomes a fault at some
/// point.
const INSPECT_AGAIN: Duration = Duration::from_millis(1000);
/// The time after which a stuck thread is inspected again. Only its place in the program may
/// change.
const INSPECT_STUCK_AGAIN: Duration = Duration::from_millis(30_000);

impl<H: Host> Driver<H> {
    /// Checks whether the server makes progress. Returns when to call this function again.
    pub(super) fn watch_server(&mut self) -> Option<Instant> {
        let now = self.now();
        let view = self.server.view().copied();
        let fed = self.server.run.as_ref().map_or(0, |run| run.fed.0);
        let should_move = |view: &ServerView| {
            matches!(view.state, ServerState::Running | ServerState::Starting)
                || view.admitted < fed
        };
        let Some(view) = view.filter(should_move) else {
            self.progress(now, 0);
            return None;
        };
        if view.clock != self.watch.clock {
            self.progress(now, view.clock);
        }
        let due = self.watch.inspect_at?;
        if now < due {
            return Some(due);
        }
        self.watch.inspect_at = None;
        self.host.inspect_server();
        None
    }

    /// Records that the clock has moved, or need not move.
    fn progress(&mut self, now: Instant, clock: u64) {
        self.watch.clock = clock;
        self.watch.since = now;
        self.watch.inspect_at = Some(now + INSPECT_AFTER);
        self.clear_finding(FindingKind::NoProgress);
    }

    /// Takes the result of an inspection, which is `None` if the server was gone.
    pub(super) fn on_inspected(&mut self, inspection: Option<Inspection>) {
        let now = self.now();
        if self.watch.inspect_at.is_some() {
            // The clock has moved meanwhile.
            return;
        }
        self.watch.inspect_at = Some(now + INSPECT_AGAIN);
        if let Some(inspection) = inspection {
            let limit = self.settings.args.compute_limit;
            let limit = Duration::from_micros(limit.as_micros() as u64);
            let still = now.since(self.watch.since);
            let is_fault = inspection.activity != Activity::Computes || still >= limit;
            if is_fault {
                self.watch.inspect_at = Some(now + INSPECT_STUCK_AGAIN);
            }
            let text = describe(&inspection, self.watch.clock, is_fault);
            self.find(FindingKind::NoProgress, Finding { text, is_fault });
        }
    }

    /// Inspects the cell of a running server now and then. Returns when to call this function
    /// again.
    pub(super) fn watch_cell(&mut self) -> Option<Instant> {
        self.server.run?;
        let due = self.watch.look_at_cell?;
        if self.now() < due {
            return Some(due);
        }
        self.watch.look_at_cell = None;
        self.host.inspect_cell();
        self.host.measure_disk();
        None
    }

    /// Takes the result of an inspection of the cell.
    pub(super) fn on_cell_seen(&mut self, SeenCell { listeners: found, full }: &SeenCell) {
        self.watch.look_at_cell = Some(self.now() + LOOK_AT_CELL);
        for name in full {
            let text = format!(
                "the server's /{name} is full, and its calls there fail, as on all replicas: \
                 configure it to use less, or give the group more /dev/shm by --shared-memory"
            );
            self.find(FindingKind::MemoryFull(name), Finding { text, is_fault: true });
        }
        let gone = self.watch.findings.keys().copied().filter(|kind| match kind {
            FindingKind::Unannounced(port) => found.iter().all(|found| found.port != *port),
            FindingKind::MemoryFull(name) => !full.contains(name),
            _ => false,
        });
        for kind in gone.collect::<Vec<_>>() {
            self.clear_finding(kind);
        }
        for Unannounced { port, owner } in found {
            let owner = owner.as_deref().unwrap_or("a process");
            let text = format!(
                "{owner}, which the server has started, listens at port {port} by itself: it is \
                 not replicated, and no client reaches it; let the program that is given after -- \
                 serve by itself, in the foreground, without starting another one"
            );
            if !self.server.has_listened {
                // The process serves instead of the program, and is not replicated.
                return self.fail(text);
            }
            self.find(FindingKind::Unannounced(*port), Finding { text, is_fault: true });
        }
    }

    /// Records a finding, and reports it unless it is known already.
    pub(super) fn find(&mut self, kind: FindingKind, finding: Finding) {
        let known = self.watch.findings.get(&kind);
        if known.is_some_and(|known| known.is_fault == finding.is_fault) {
            return;
        }
        let text = finding.text.clone();
        if finding.is_fault {
            self.events.counters.faults += 1;
            self.record_silently(Event::Fault { text: text.clone() });
            self.warn_operator(text);
        } else {
            self.events.counters.notes += 1;
            info!("{text}");
            self.record_silently(Event::Note { text });
        }
        self.watch.findings.insert(kind, finding);
    }

    /// Drops all findings, because the server is gone.
    pub(super) fn clear_findings(&mut self) {
        use FindingKind::{Bypassed, NoProgress, Reported, Unannounced, Unreached};
        let of_run = |kind: &FindingKind| {
            matches!(kind, NoProgress | Reported(_) | Unannounced(_) | Bypassed(..) | Unreached(_))
        };
        let gone = self.watch.findings.keys().copied().filter(of_run);
        for kind in gone.collect::<Vec<_>>() {
            self.clear_finding(kind);
        }
        self.watch.look_at_cell = Some(self.now());
    }

    /// Drops a finding that is over, and reports that.
    pub(super) fn clear_finding(&mut self, kind: FindingKind) {
        if let Some(finding) = self.watch.findings.remove(&kind) {
            warn!("over: {}", finding.text);
            self.record_silently(Event::FaultOver { text: finding.text });
        }
    }
}

/// Describes a server without progress, for an operator.
fn describe(inspection: &Inspection, clock: u64, is_fault: bool) -> String {
    let Inspection { thread, name, activity, place } = inspection;
    let place = place.as_ref().map_or(String::new(), |place| format!(" at {place}"));
    let since = match clock {
        0 => "the server's program has made no call that crane sees since its start".to_string(),
        _ => format!("the server makes no progress since clock {clock}"),
    };
    match activity {
        Activity::Computes if is_fault => format!(
            "{since}: thread {thread} ({name}) computes without a call{place}, and the others wait \
             for it; if that is its normal work, give a longer --patience-compute"
        ),
        Activity::Computes => format!("{since}: thread {thread} ({name}) computes{place}"),
        Activity::InCall(call) => format!(
            "{since}: thread {thread} ({name}) is in {call}{place}, a call that crane does not \
             order, and the others wait for it; {}",
            remedy(call)
        ),
    }
}

/// Returns the remedy for a call that crane does not order.
pub(super) fn remedy(call: &str) -> &'static str {
    match call {
        "futex" => {
            "its locks are not libc's: leave --floor=never out on all hosts (Linux 5.11 or later), \
             or let it use one thread"
        }
        "io_getevents" | "io_pgetevents" | "io_uring_enter" => {
            "turn the kernel's asynchronous I/O off (MariaDB: --innodb-use-native-aio=0)"
        }
        "rt_sigtimedwait" | "rt_sigsuspend" | "pause" => {
            "it waits for a signal: configure it not to, or run it without that thread"
        }
        "wait4" | "waitid" => "it waits for a child process: let it serve by threads",
        "connect" | "accept" | "accept4" | "recvfrom" | "recvmsg" | "sendto" | "sendmsg" => {
            "it uses a socket of the kernel, which leads nowhere from its cell: let it listen at a \
             TCP port, and run what it connects to beside it"
        }
        "read" | "readv" | "poll" | "ppoll" | "select" | "pselect6" | "epoll_wait"
        | "epoll_pwait" | "epoll_pwait2" => {
            "it waits for something that no client sends, such as a pipe, a terminal or a device"
        }
        _ => "specs/LIMITS.md lists what does not work, and what to do instead",
    }
}
