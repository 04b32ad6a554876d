//! Tests of admission: the effects of ops, and the detection of broken tables.

use super::*;
use crate::wire::RestartReason;

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
    let listener = sockets.listen(Bound::plain(end(80)), 3).unwrap();
    (sockets, listener)
}

#[test]
fn connections_are_accepted_in_the_order_of_the_script() {
    let (mut sockets, listener) = listening();
    for number in 1..=3 {
        assert_eq!(connect(&mut sockets, id(1, number)), Admitted::Acceptable(listener));
    }
    assert_eq!(
        connect(&mut sockets, id(1, 4)),
        Admitted::Refused(id(1, 4), ConnRefusal::BacklogFull)
    );
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
    assert_eq!(sockets.retired(node, None), Some(first));
    let second = sockets.retired(node, Some(first));
    assert!(second.is_some_and(|second| second != first));
    assert_eq!(sockets.retired(node, second), None);
    assert_eq!(sockets.retired(node, None), None, "each once");
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
    assert_eq!(
        connect(&mut sockets, id(1, 2)),
        Admitted::Refused(id(1, 2), ConnRefusal::NoListener)
    );
}

/// Returns a listener with two connections in its backlog.
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
    sockets.table.forget(&id(1, 2));
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
fn a_full_table_is_told_from_a_full_backlog() {
    let mut sockets = Small::new();
    let listener = sockets.listen(Bound::plain(end(80)), 4).unwrap();
    for number in 1..=4 {
        assert_eq!(connect(&mut sockets, id(1, number)), Admitted::Acceptable(listener));
    }
    let refused = Admitted::Refused(id(1, 5), ConnRefusal::TableFull);
    assert_eq!(connect(&mut sockets, id(1, 5)), refused);
    let first = sockets.accept(listener).unwrap();
    sockets.close(first);
    assert_eq!(connect(&mut sockets, id(1, 6)), Admitted::Acceptable(listener));
    assert_eq!((sockets.open(), sockets.acceptable(listener)), (4, 4));
}

const ANY_4: [u8; 16] = Endpoint::from_ipv4([0; 4], 0).address;
const LOOPBACK_6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn at(address: [u8; 16], port: u16) -> Bound {
    Bound::plain(Endpoint { address, port })
}

// specs: E9
#[test]
fn a_connection_comes_to_the_listener_with_the_nearest_address() {
    let mut sockets = Sockets::<16, 8>::new();
    let one = Endpoint::from_ipv4([127, 0, 0, 1], 80);
    let nine = Endpoint::from_ipv4([127, 0, 0, 9], 80);
    let dual = sockets.listen(at([0; 16], 81), 9).unwrap();
    let six = sockets.listen(at([0; 16], 80), 9).unwrap();
    let at_one = sockets.listen(Bound::plain(one), 9).unwrap();
    let mut number = 0;
    let mut comes_to = |sockets: &mut Sockets<16, 8>, local| {
        number += 1;
        sockets.admit(&Op::Connect { conn: id(1, number), local, peer: end(4000) })
    };
    let to = Admitted::Acceptable;
    let six_local = Endpoint { address: LOOPBACK_6, port: 80 };
    assert_eq!(comes_to(&mut sockets, one), to(at_one));
    assert_eq!(comes_to(&mut sockets, nine), to(six), "dual stack");
    assert_eq!(comes_to(&mut sockets, six_local), to(six));
    let four = sockets.listen(at(ANY_4, 80), 9).unwrap();
    assert_eq!(comes_to(&mut sockets, nine), to(four), "its own family is nearer");
    assert_eq!(comes_to(&mut sockets, Endpoint { port: 81, ..nine }), to(dual));
    let only = Bound { v6only: true, ..at([0; 16], 82) };
    sockets.listen(only, 9).unwrap();
    let refused = comes_to(&mut sockets, Endpoint { port: 82, ..nine });
    assert_eq!(refused, Admitted::Refused(id(1, 6), ConnRefusal::NoListener), "no IPv4");
    let elsewhere = sockets.listen(Bound::plain(Endpoint { port: 83, ..one }), 9);
    assert!(elsewhere.is_some());
    let refused = comes_to(&mut sockets, Endpoint { port: 83, ..nine });
    assert_eq!(refused, Admitted::Refused(id(1, 7), ConnRefusal::NoListener), "another address");
}

// specs: E9
#[test]
fn listeners_that_share_an_address_get_their_clients_by_port() {
    let mut sockets = Sockets::<16, 8>::new();
    let shared = Bound { shared: true, ..at(ANY_4, 80) };
    let two = [(); 2].map(|()| sockets.listen(shared, 9).unwrap());
    for number in 1..=4 {
        let (conn, peer) = (id(1, number), end(4000 + number as u16));
        let admitted = sockets.admit(&Op::Connect { conn, local: end(80), peer });
        assert_eq!(admitted, Admitted::Acceptable(two[number as usize % 2]));
    }
}

// specs: E9
#[test]
fn addresses_exclude_each_other_as_in_linux() {
    let one = Bound::plain(Endpoint::from_ipv4([127, 0, 0, 1], 80));
    let nine = Bound::plain(Endpoint::from_ipv4([127, 0, 0, 9], 80));
    let (four, dual) = (at(ANY_4, 80), at([0; 16], 80));
    let only = Bound { v6only: true, ..dual };
    let shared = Bound { shared: true, ..four };
    for (a, b, excludes) in [
        (one, one, true),
        (one, nine, false),
        (one, four, true),
        (one, dual, true),
        (one, only, false),
        (four, dual, true),
        (four, only, false),
        (dual, at(LOOPBACK_6, 80), true),
        (four, at(LOOPBACK_6, 80), false),
        (four, at(ANY_4, 81), false),
        (shared, shared, false),
        (shared, four, true),
    ] {
        assert_eq!((a.excludes(&b), b.excludes(&a)), (excludes, excludes), "{a:?} {b:?}");
    }
}

// specs: E9
#[test]
fn a_unix_listener_is_found_by_its_number_alone() {
    let mut sockets = Sockets::<8, 4>::new();
    let [one, two] = [1, 2].map(Endpoint::from_unix_listener);
    let listeners = [one, two].map(|at| sockets.listen(Bound::plain(at), 3).unwrap());
    let any = Endpoint { address: [0; 16], port: 80 };
    sockets.listen(Bound::plain(any), 3).unwrap();
    let peer = Endpoint::from_unix_client(0, 0);
    let connect = |number, local| Op::Connect { conn: id(1, number), local, peer };
    assert_eq!(sockets.admit(&connect(1, two)), Admitted::Acceptable(listeners[1]));
    assert_eq!(sockets.admit(&connect(2, one)), Admitted::Acceptable(listeners[0]));
    let three = Endpoint::from_unix_listener(3);
    let refused = Admitted::Refused(id(1, 3), ConnRefusal::NoListener);
    assert_eq!(sockets.admit(&connect(3, three)), refused);
}

#[test]
fn the_connections_of_an_incarnation_are_none_of_the_next() {
    let (first, second) = (Incarnation::FIRST, Incarnation(2));
    let older = Generation::before(second).0;
    let restart = Op::Restart { incarnation: second, reason: RestartReason::Ordered };
    let mut sockets = Small::new();
    let listener = sockets.listen(Bound::plain(end(80)), 3).unwrap();
    assert_eq!(connect(&mut sockets, id(older, 1)), Admitted::Acceptable(listener));
    assert_eq!(sockets.admit(&restart), Admitted::Restarted(second));

    let mut sockets = Small::with_table(ConnTable::new(), second);
    let listener = sockets.listen(Bound::plain(end(80)), 3).unwrap();
    // A primary may have proposed it twice.
    assert_eq!(sockets.admit(&restart), Admitted::Nothing);
    // So may an entry replica have forwarded this one, behind the restart.
    assert_eq!(connect(&mut sockets, id(older, 1)), Admitted::Nothing);
    assert_eq!(connect(&mut sockets, id(older + 1, 1)), Admitted::Acceptable(listener));
    assert_eq!((sockets.incarnation(), Sockets::<4, 2>::new().incarnation()), (second, first));
}

#[test]
fn a_signal_is_for_one_incarnation() {
    let second = Incarnation(2);
    let mut sockets = Sockets::<4, 2>::with_table(ConnTable::new(), second);
    for (incarnation, admitted) in [
        (Incarnation::FIRST, Admitted::Nothing),
        (second, Admitted::Signalled(10)),
        (Incarnation(3), Admitted::Nothing),
    ] {
        assert_eq!(sockets.admit(&Op::Signal { incarnation, number: 10 }), admitted);
    }
}
