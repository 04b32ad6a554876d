//! The watch over the clocks: a primary corrects agreed time by them, and each replica names those
//! that are off.

use crane_core::limits::NODES_MAX;
use crane_core::paxos::NodeSet;
use crane_core::time::{Duration, Instant};

use crate::report::ClockMessage;

use super::rooms::{Finding, FindingKind};
use super::{Driver, Host};

/// How often a replica asks the others for their clocks. A measurement counts for ten times as
/// long.
const ASK_EVERY: Duration = Duration::from_millis(1000);
/// How often a primary corrects the rate of agreed time.
const STEER_EVERY: Duration = Duration::from_millis(200);
/// How long clocks may be unknown before that is reported.
const UNKNOWN_FOR: Duration = Duration::from_millis(10_000);

impl<H: Host> Driver<H> {
    /// Asks for clocks and corrects agreed time when that is due. Returns when to do so again.
    // specs: T3
    pub(super) fn watch_clocks(&mut self) -> Option<Instant> {
        let now = self.now();
        if now >= self.clock_dates.ask_at {
            self.clock_dates.ask_at = now + ASK_EVERY;
            for node in self.others().intersection(self.linked).iter() {
                self.send_clock(node, ClockMessage::Ask { at: self.moment.since_start });
            }
            self.report_clocks();
        }
        if !self.is_primary() {
            return Some(self.clock_dates.ask_at);
        }
        if now >= self.clock_dates.steer_at {
            self.clock_dates.steer_at = now + STEER_EVERY;
            let sight = self.clock_sight();
            self.timestamps.steer(self.moment.since_start, &sight);
        }
        Some(self.clock_dates.ask_at.min(self.clock_dates.steer_at))
    }

    /// Names the members whose clocks are off, and says whether a correction is possible.
    // specs: T6
    fn report_clocks(&mut self) {
        let (sight, now) = (self.clock_sight(), self.now());
        let all = self.node.members().all();
        for node in NodeSet::first(NODES_MAX).iter() {
            let kind = FindingKind::ClockOff(node);
            match sight.off(node).filter(|_| all.contains(node)) {
                Some(ahead) => {
                    let name = self.roster().get(node).map(|place| place.address.clone());
                    let text = format!(
                        "the clock of replica {node} ({}) is {} the median of the members' clocks; \
                         set it there (NTP)",
                        name.unwrap_or_default(),
                        seconds(ahead),
                    );
                    self.find(kind, Finding { text, is_fault: false });
                }
                None => self.clear_finding(kind),
            }
        }
        let is_known = sight.median.is_some() || self.script.genesis.is_none();
        let unknown_since =
            if is_known { None } else { Some(self.clock_dates.unknown_since.unwrap_or(now)) };
        self.clock_dates.unknown_since = unknown_since;
        match unknown_since {
            Some(since) if now >= since + UNKNOWN_FOR => {
                let text = "the clocks of fewer than half of the members are known: agreed time \
                            runs by the primary's clock alone, uncorrected"
                    .to_string();
                self.find(FindingKind::ClocksUnknown, Finding { text, is_fault: false });
            }
            Some(_) => {}
            None => self.clear_finding(FindingKind::ClocksUnknown),
        }
        if sight.median.is_some() && !sight.is_agreed {
            let text = "no more than half of the members' clocks are within a second of each \
                        other: agreed time follows their median, which may be wrong; set the \
                        clocks of the hosts (NTP)"
                .to_string();
            self.find(FindingKind::ClocksDisagree, Finding { text, is_fault: false });
        } else {
            self.clear_finding(FindingKind::ClocksDisagree);
        }
    }
}

/// Describes a deviation in words.
fn seconds(ahead: i64) -> String {
    let by = ahead.unsigned_abs() as f64 / 1e9;
    format!("{by:.1} s {}", if ahead > 0 { "ahead of" } else { "behind" })
}
