//! The pure part of crane: state machines that agree on a server's inputs and that decide, equally
//! on every replica, at which logical time the server sees them.
//!
//! No allocator, no I/O, no clock, no randomness, no `unsafe`: inputs and time go in, effects come
//! out, and a *driver* (the Linux daemon, the preload library, a simulation, firmware) carries
//! them.
//!
//! The rooms, in the order in which a client's byte passes through them:
//!
//! | room | thought |
//! |---|---|
//! | [`wire`] | what an op, an entry and a genesis entry look like as bytes |
//! | [`forward`] | which of its clients' ops an entry replica hands to the primary, until when |
//! | [`timestamp`] | at which time the primary says that an entry was made |
//! | [`paxos`] | which entry stands in which slot (agreement, in the daemon) |
//! | [`bubble`] | when the primary asks for clock steps without an op |
//! | [`execution`] | when an op is admitted and whose turn it is (in the server's process) |
//!
//! [`id`] names things, [`time`] measures, [`limits`] bounds, [`index_list`] links.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::missing_docs_in_private_items)]

#[macro_use]
mod fmt;

pub mod bubble;
// Its private items are documented one by one; this line goes with the last of them.
#[allow(clippy::missing_docs_in_private_items)]
pub mod execution;
pub mod forward;
pub mod id;
pub mod index_list;
pub mod limits;
#[doc(hidden)]
pub mod mutants;
pub mod paxos;
pub mod time;
pub mod timestamp;
pub mod wire;
