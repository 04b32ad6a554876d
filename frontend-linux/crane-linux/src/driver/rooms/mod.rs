//! The rooms: state with one owner each, apart from the driver that carries values between them.

mod checkpoint;
mod claims;
mod clients;
mod clocks;
mod divergence;
mod fence;
mod health;
mod owed;
mod preference;
mod proposer;
mod script;
mod server;
mod stalls;
mod watch;

pub(super) use checkpoint::{
    CheckpointState, Checkpoints, Due, Proving, ReplicaProgress, Transfer, Wish,
};
pub(super) use claims::Claims;
pub(super) use clients::{Clients, OP_BYTES_MAX, OpenConn};
pub(super) use clocks::ClockDates;
pub(super) use divergence::{Divergence, Trial};
pub(super) use fence::Fence;
pub(super) use health::Health;
pub(super) use owed::{Debts, Owed};
pub(super) use preference::Preference;
pub(super) use proposer::Proposer;
pub(super) use script::{CRASHES_MAX, Restart, Script, Sum};
pub(super) use server::{Server, ServerRun};
pub(super) use stalls::{Stalls, Wait};
pub(super) use watch::{Finding, FindingKind, Watch};
