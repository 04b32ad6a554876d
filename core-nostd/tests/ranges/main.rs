//! Runs of entries: what is proposed, sent, accepted and fetched together.

mod accepting;
mod completing;
mod member;
mod proposing;
