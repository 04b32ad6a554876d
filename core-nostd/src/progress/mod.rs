//! Progress keeps the role: a replica's watch over its own disk and server, and the decision
//! whether a primary that makes no progress transfers its role, and to which member
//! (`specs/progress.md`).
//!
//! The driver reports what happens here: syncs that become due and return, the position of the
//! server, the processor time that it uses, and the reports of other members. [`Vigil::look`]
//! answers what follows from that at a time.

mod pulse;
mod vigil;
mod vitals;

pub use vigil::Vigil;
pub use vitals::{Ailment, Findings, GroupSight, ScriptPosition, Vitals};

use crate::time::Duration;

/// How long a disk or a server may stand still before its replica is sick. A sick primary transfers
/// its role at once, if no primary has lost it lately.
pub const STANDSTILL: Duration = Duration::from_millis(500);
/// The longest time for which a primary may be sick although another member is better.
const STANDSTILL_MAX: Duration = Duration::from_millis(8000);
/// The time for which a loss of the role counts.
const LOSS_COUNTS: Duration = Duration::from_millis(60_000);
/// How long a replica that was sick must be well before it is no longer on trial, and how long a
/// slow sync is remembered.
const TRIAL: Duration = Duration::from_millis(5000);
/// The longest sync during a trial: a quarter of [`STANDSTILL`].
const TRIAL_SYNC: Duration = Duration::from_millis(125);
/// The longest sync of a member that may take over: half of [`STANDSTILL`].
const QUICK_SYNC: Duration = Duration::from_millis(250);
/// The time between two probe writes of a replica on trial.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// The time after which a transfer that has led to nothing is tried again, with another member if
/// there is one. Longer than an election.
const TRANSFER_AGAIN: Duration = Duration::from_millis(400);
/// The time between two measurements of the processor time of a server that does not move.
const MEASURE_EVERY: Duration = Duration::from_millis(125);
/// The time between two reports of a position that moves.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// The time between two reports of a replica in which nothing changes.
const REPORT_AGAIN: Duration = Duration::from_millis(200);
/// The age up to which a report counts.
const REPORT_COUNTS: Duration = Duration::from_millis(500);
/// The time without a look after which this replica itself stood still: its daemon was stopped, or
/// its host. It then knows nothing of the time before.
const SLEPT: Duration = Duration::from_millis(400);
/// How long a slow sync counts for the time that elections get.
const SYNC_COUNTS: Duration = Duration::from_millis(20_000);
/// The number of losses that are remembered: more do not make [`Vigil::limit`] longer.
const LOSSES_MAX: usize = 4;

#[cfg(test)]
mod tests;
