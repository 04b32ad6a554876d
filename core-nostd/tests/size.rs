//! The pinned sizes of the machines: a change that makes one larger gives its reason here. A
//! machine takes no memory beyond its own size, because none allocates.

use std::mem::size_of;

use crane_core::bubble::Bubbles;
use crane_core::execution::Execution;
use crane_core::execution::conn_table::ConnTable;
use crane_core::forward::Forwarder;
use crane_core::paxos::{EFFECTS_MAX, Effect, Effects, MESSAGE_BYTES_MAX, Message, Node};
use crane_core::timestamp::Timestamps;

/// Returns the parts of a size that grows with a capacity: the bytes for one unit, and the rest.
fn parts(large: usize, small: usize, more: usize, of_small: usize) -> (usize, usize) {
    let one = (large - small) / more;
    assert_eq!(one * more, large - small, "a size grows evenly with its capacity");
    (one, small - one * of_small)
}

#[test]
fn a_nodes_size_grows_with_its_window() {
    let sizes = parts(size_of::<Node<1024>>(), size_of::<Node<64>>(), 1024 - 64, 64);
    // 224 of the rest are what a node recalls of the seven nodes, and 112 the check of its storage.
    assert_eq!(sizes, (48, 1712), "bytes for a slot, and for the rest");
}

#[test]
fn the_effects_of_a_step_are_bounded() {
    assert_eq!((EFFECTS_MAX, size_of::<Message>(), size_of::<Effect>()), (60, 56, 64));
    assert!(size_of::<Effects>() <= 60 * 64 + 8);
    assert_eq!(MESSAGE_BYTES_MAX, 128);
}

#[test]
fn a_forwarders_size_grows_with_its_ops() {
    let sizes =
        parts(size_of::<Forwarder<1024, 64>>(), size_of::<Forwarder<64, 64>>(), 1024 - 64, 64);
    assert_eq!(sizes, (40, 56), "bytes for an op, and for the rest");
    assert_eq!(
        size_of::<Forwarder<64, 64>>(),
        size_of::<Forwarder<64, { 1 << 30 }>>(),
        "the driver has the bytes of the ops"
    );
}

#[test]
fn an_executions_size_grows_with_threads_connections_and_listeners() {
    type Small = Execution<64, 64, 64>;
    let threads = parts(size_of::<Execution<1024, 64, 64>>(), size_of::<Small>(), 960, 64);
    let connections = parts(size_of::<Execution<64, 1024, 64>>(), size_of::<Small>(), 960, 64);
    let listeners = parts(size_of::<Execution<64, 64, 1024>>(), size_of::<Small>(), 960, 64);
    let sizes = (threads.0, connections.0, listeners.0);
    // The lists through their places have 32 bits for a neighbour: more than 65 534 connections.
    assert_eq!(sizes, (40, 132, 36), "bytes for a thread, a connection, a listener");
    let rest = size_of::<Small>() - 64 * (sizes.0 + sizes.1 + sizes.2);
    assert_eq!(rest, 2336, "bytes for the rest");
}

#[test]
fn bubbles_and_timestamps_are_small() {
    // A half of the timestamps is the correction of their rate.
    assert_eq!((size_of::<Bubbles>(), size_of::<Timestamps>()), (40, 48));
}

/// As many as the Linux frontend has place for.
const CONNECTIONS: usize = 1 << 16;

/// With the capacities that the Linux frontend gives them, and the table of connections aside.
#[test]
fn at_the_usual_capacities_a_replica_takes_less_than_a_megabyte() {
    let sizes = [
        size_of::<Node<256>>(),
        size_of::<Forwarder<4096, { 1 << 20 }>>(),
        size_of::<Execution<1024, CONNECTIONS, 64, &mut ConnTable<CONNECTIONS>>>(),
    ];
    assert_eq!(sizes, [14_000, 163_896, 45_592]);
}

/// It touches what the connections take that there are at a time.
#[test]
fn the_usual_table_of_connections_has_nine_megabytes() {
    assert_eq!(size_of::<ConnTable<CONNECTIONS>>(), 8_650_768);
}
