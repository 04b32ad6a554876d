//! The rooms: state that one thought owns, without the driver that carries values between them.

mod clients;
mod owed;
mod preference;
mod proposer;
mod script;
mod server;
mod stalls;

pub(super) use clients::{Clients, OP_BYTES_MAX, OpenConn};
pub(super) use owed::Owed;
pub(super) use preference::Preference;
pub(super) use proposer::Proposer;
pub(super) use script::Script;
pub(super) use server::{Server, ServerRun};
pub(super) use stalls::{Stalls, Wait};
