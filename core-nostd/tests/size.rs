//! What a node takes, pinned: who makes it larger says so here.

use std::mem::size_of;

use crane_core::paxos::{EFFECTS_MAX, Effect, Effects, MESSAGE_BYTES_MAX, Message, Node};

#[test]
fn a_node_takes_what_its_window_takes() {
    let slot = (size_of::<Node<1024>>() - size_of::<Node<64>>()) / (1024 - 64);
    let rest = size_of::<Node<64>>() - 64 * slot;
    assert_eq!((slot, rest), (SLOT_BYTES, REST_BYTES), "bytes for a slot, and for the rest");
}

#[test]
fn a_step_has_so_many_effects_at_most() {
    assert_eq!((EFFECTS_MAX, size_of::<Message>(), size_of::<Effect>()), (60, 96, 104));
    assert!(size_of::<Effects>() <= 60 * 104 + 8);
    assert_eq!(MESSAGE_BYTES_MAX, 128);
}

const SLOT_BYTES: usize = 48;
const REST_BYTES: usize = 1752;
