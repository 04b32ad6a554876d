//! Tests of admission: what ops do, and what is noticed when the tables are broken.

use super::*;

type Small = Sockets<4, 2>;

fn id(generation: u64, number: u64) -> ConnId {
    let entry = NodeId::new(2).unwrap();
    ConnId { entry, generation: Generation(generation), number }
}

fn end(port: u16) -> Endpoint {
    Endpoint::from_ipv4([127, 0, 0, 2], port)
}

fn connect(sockets: &mut Small, id: ConnId) -> Admitted<'static> {
    sockets.admit(&Op::Connect { conn: id, local: end(80), peer: end(4000) })
}

fn listening() -> (Small, ListenerIndex) {
    let mut sockets = Small::new();
    let listener = sockets.listen(end(80), false, 3).unwrap();
    (sockets, listener)
}

#[test]
fn connections_are_accepted_in_the_order_of_the_script() {
    let (mut sockets, listener) = listening();
    for number in 1..=3 {
        assert_eq!(connect(&mut sockets, id(1, number)), Admitted::Acceptable(listener));
    }
    assert_eq!(connect(&mut sockets, id(1, 4)), Admitted::Refused(id(1, 4)));
    for number in 1..=3 {
        let conn = sockets.accept(listener).unwrap();
        assert_eq!(sockets.conn(conn).id, id(1, number));
    }
    assert_eq!(sockets.accept(listener), None);
}

#[test]
fn a_connect_that_comes_twice_or_after_a_lost_one_is_dropped() {
    let (mut sockets, listener) = listening();
    assert_eq!(connect(&mut sockets, id(1, 2)), Admitted::Nothing);
    assert_eq!(connect(&mut sockets, id(1, 1)), Admitted::Acceptable(listener));
    assert_eq!(connect(&mut sockets, id(1, 1)), Admitted::Nothing);
    let conn = sockets.accept(listener).unwrap();
    sockets.close(conn);
    assert_eq!(connect(&mut sockets, id(1, 1)), Admitted::Nothing);
    assert_eq!(connect(&mut sockets, id(1, 2)), Admitted::Acceptable(listener));
    assert_eq!(sockets.open(), 1);
}

#[test]
fn bytes_are_admitted_once_and_in_order() {
    let (mut sockets, listener) = listening();
    connect(&mut sockets, id(1, 1));
    let conn = sockets.accept(listener).unwrap();
    let mut send =
        |offset, bytes: &'static [u8]| sockets.admit(&Op::Send { conn: id(1, 1), offset, bytes });
    assert_eq!(send(0, b"abcd"), Admitted::Data { conn, at: 0, bytes: b"abcd" });
    assert_eq!(send(0, b"abcd"), Admitted::Nothing);
    assert_eq!(send(6, b"gh"), Admitted::Nothing);
    assert_eq!(send(2, b"cdef"), Admitted::Data { conn, at: 4, bytes: b"ef" });
    let early = Op::Shut { conn: id(1, 1), total: 9 };
    assert_eq!(sockets.admit(&early), Admitted::Nothing);
    let shut = Op::Shut { conn: id(1, 1), total: 6 };
    assert_eq!(sockets.admit(&shut), Admitted::Ended(conn));
    assert_eq!(sockets.conn(conn).readable(), 6);
}

#[test]
fn a_retired_generation_is_reset_and_heard_no_more() {
    let (mut sockets, listener) = listening();
    let node = NodeId::new(2).unwrap();
    connect(&mut sockets, id(1, 1));
    connect(&mut sockets, id(1, 2));
    let first = sockets.accept(listener).unwrap();
    let retire = Op::Retire { node, generation: Generation(1) };
    assert_eq!(sockets.admit(&retire), Admitted::Retired(node));
    assert_eq!(sockets.retired(node), Some(first));
    assert!(sockets.retired(node).is_some());
    assert_eq!(sockets.retired(node), None);
    for conn in [id(1, 1), id(1, 2)] {
        assert_eq!(sockets.admit(&Op::Shut { conn, total: 0 }), Admitted::Nothing);
        assert_eq!(sockets.admit(&Op::Reset { conn }), Admitted::Nothing);
    }
    assert_eq!(connect(&mut sockets, id(1, 3)), Admitted::Nothing);
    assert_eq!(connect(&mut sockets, id(2, 1)), Admitted::Acceptable(listener));
    assert_eq!(sockets.admit(&retire), Admitted::Nothing);
}

#[test]
fn closing_a_listener_closes_what_waits_there() {
    let (mut sockets, listener) = listening();
    connect(&mut sockets, id(1, 1));
    let mut closed = 0;
    sockets.unlisten(listener, |_| closed += 1);
    assert_eq!((closed, sockets.open()), (1, 0));
    assert_eq!(connect(&mut sockets, id(1, 2)), Admitted::Refused(id(1, 2)));
}

/// A listener in whose backlog are two connections.
fn waiting() -> (Small, ListenerIndex) {
    let (mut sockets, listener) = listening();
    for number in 1..=2 {
        assert_eq!(connect(&mut sockets, id(1, number)), Admitted::Acceptable(listener));
    }
    (sockets, listener)
}

#[test]
#[should_panic(expected = "a backlog is miscounted")]
fn a_miscounted_backlog_is_noticed() {
    let (mut sockets, listener) = waiting();
    sockets.listeners[usize::from(listener.0)].as_mut().unwrap().waiting = 1;
    sockets.invariants();
}

#[test]
#[should_panic(expected = "a connection waits in no backlog")]
fn a_connection_that_falls_out_of_a_backlog_is_noticed() {
    let (mut sockets, listener) = waiting();
    let listener = sockets.listeners[usize::from(listener.0)].as_mut().unwrap();
    (listener.queue, listener.waiting) = (IndexList::EMPTY, 0);
    sockets.invariants();
}

#[test]
#[should_panic(expected = "a connection is not found by its name")]
fn a_connection_without_its_name_is_noticed() {
    let (mut sockets, _) = waiting();
    sockets.by_id.swap_remove(&id(1, 2));
    sockets.invariants();
}

#[test]
#[should_panic(expected = "a window is overrun")]
fn bytes_beyond_a_window_are_noticed() {
    let (mut sockets, listener) = waiting();
    let conn = sockets.accept(listener).unwrap();
    sockets.conn_mut(conn).drained = 1;
    sockets.invariants();
}

#[test]
#[should_panic(expected = "a free place is missed")]
fn a_free_place_below_the_search_is_noticed() {
    let (mut sockets, _) = waiting();
    sockets.free = 3;
    sockets.invariants();
}
