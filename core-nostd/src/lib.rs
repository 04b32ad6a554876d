#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::missing_docs_in_private_items)]

#[macro_use]
mod fmt;

pub mod bubble;
pub mod clocks;
pub mod divergence;
pub mod execution;
pub mod forward;
pub mod id;
pub mod index_list;
pub mod intake;
pub mod limits;
#[doc(hidden)]
pub mod mutants;
pub mod paxos;
pub mod progress;
pub mod slab;
pub mod time;
pub mod timestamp;
pub mod wire;
