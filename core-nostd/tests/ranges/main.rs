//! Slot ranges: entries that are proposed, sent, accepted and fetched together.

mod accepting;
mod completing;
mod member;
mod proposing;
