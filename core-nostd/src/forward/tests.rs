use super::*;
use crate::id::ConnId;
use crate::wire::Endpoint;

type Small = Forwarder<8, 64>;

fn me() -> NodeId {
    NodeId::new(2).unwrap()
}

fn conn(number: u64) -> ConnId {
    ConnId { entry: me(), generation: Generation(5), number }
}

fn connect(number: u64) -> Op<'static> {
    let end = Endpoint::from_ipv4([127, 0, 0, 1], 80);
    Op::Connect { conn: conn(number), local: end, peer: end }
}

fn send(number: u64, offset: u64) -> Op<'static> {
    Op::Send { conn: conn(number), offset, bytes: b"ab" }
}

fn forwarded(forward: &mut Small) -> usize {
    let mut count = 0;
    while forward.next_op(Instant::START).is_some() {
        count += 1;
    }
    count
}

#[test]
fn committed_ops_are_freed() {
    let mut forward = Small::new(me(), Generation(5));
    let ops = [connect(1), send(1, 0), send(1, 2), Op::Shut { conn: conn(1), total: 4 }];
    for op in &ops {
        forward.keep(op).unwrap();
    }
    assert_eq!(forwarded(&mut forward), 4);
    for (count, op) in ops.iter().enumerate() {
        assert_eq!(forward.first(), Ticket(count as u64));
        forward.committed(Instant::START, op);
        forward.committed(Instant::START, op);
    }
    assert!(forward.is_empty() && forward.deadline().is_none());
}

#[test]
fn a_new_primary_gets_all_uncommitted_ops_in_their_order() {
    let mut forward = Small::new(me(), Generation(5));
    for op in [connect(1), connect(2), send(2, 0), send(1, 0)] {
        forward.keep(&op).unwrap();
    }
    assert_eq!(forwarded(&mut forward), 4);
    forward.committed(Instant::START, &connect(1));
    forward.committed(Instant::START, &send(1, 0));
    forward.start_over(Instant::START);
    assert_eq!(forward.next_op(Instant::START), Some(Ticket(1)));
    assert_eq!(forward.next_op(Instant::START), Some(Ticket(2)));
    assert_eq!(forward.next_op(Instant::START), None);
}

#[test]
fn an_op_behind_a_lost_op_does_not_count() {
    let mut forward = Small::new(me(), Generation(5));
    for op in [connect(1), send(1, 0), send(1, 2), connect(2)] {
        forward.keep(&op).unwrap();
    }
    forward.committed(Instant::START, &connect(2));
    forward.committed(Instant::START, &send(1, 2));
    assert_eq!(forward.first(), Ticket(0));
    forward.start_over(Instant::START);
    assert_eq!(forwarded(&mut forward), 4);
    forward.committed(Instant::START, &connect(1));
    forward.committed(Instant::START, &send(1, 2));
    forward.start_over(Instant::START);
    assert_eq!(forwarded(&mut forward), 3);
}

#[test]
fn pending_ops_are_forwarded_again_after_a_pause() {
    let mut forward = Small::new(me(), Generation(5));
    forward.keep(&connect(1)).unwrap();
    assert_eq!(forward.deadline(), None);
    assert_eq!(forwarded(&mut forward), 1);
    let due = forward.deadline().unwrap();
    assert!(!forward.wake(Instant::START) && forward.wake(due));
    assert_eq!(forwarded(&mut forward), 1);
}

#[test]
fn the_pause_doubles_until_an_op_is_committed() {
    let mut forward = Small::new(me(), Generation(5));
    forward.keep(&connect(1)).unwrap();
    forward.keep(&connect(2)).unwrap();
    let mut now = Instant::START;
    let pause = |forward: &mut Small, now: &mut Instant| {
        while forward.next_op(*now).is_some() {}
        let due = forward.deadline().unwrap();
        let pause = due.since(*now);
        *now = due;
        assert!(forward.wake(due));
        pause.as_micros() / RESEND_AFTER.as_micros()
    };
    let pauses = [0; 6].map(|_| pause(&mut forward, &mut now));
    assert_eq!(pauses, [1, 2, 4, 8, 8, 8]);
    forward.committed(now, &connect(1));
    assert_eq!(pause(&mut forward, &mut now), 1);
    forward.start_over(now);
    assert_eq!(pause(&mut forward, &mut now), 1, "another primary has no share in it");
}

#[test]
fn a_range_ends_at_a_committed_op() {
    let mut forward = Small::new(me(), Generation(5));
    for op in [connect(1), connect(2), send(2, 0), send(1, 0), send(1, 2)] {
        forward.keep(&op).unwrap();
    }
    let next = |forward: &mut Small, fits: u64| {
        let range = forward.next_range(Instant::START, |ticket| ticket.0 + 1 < fits)?;
        Some((range.kept_from.0, range.since.0, range.first.0, range.count))
    };
    assert_eq!(next(&mut forward, 2), Some((0, 0, 0, 2)));
    assert_eq!(next(&mut forward, 9), Some((0, 2, 2, 3)));
    assert_eq!(next(&mut forward, 9), None);
    for op in [connect(1), connect(2), send(1, 0)] {
        forward.committed(Instant::START, &op);
    }
    forward.start_over(Instant::START);
    assert_eq!(next(&mut forward, 9), Some((2, 2, 2, 1)));
    assert_eq!(next(&mut forward, 9), Some((2, 3, 4, 1)));
    assert_eq!(next(&mut forward, 9), None);
}

#[test]
fn a_forwarder_is_full_by_number_or_by_bytes() {
    let mut forward = Small::new(me(), Generation(5));
    for number in 1..=8 {
        forward.keep(&connect(number)).unwrap();
    }
    assert_eq!(forward.keep(&connect(9)), Err(Full));
    let mut forward = Small::new(me(), Generation(5));
    let long = Op::Send { conn: conn(1), offset: 0, bytes: &[0; 64] };
    forward.keep(&long).unwrap();
    assert_eq!(forward.keep(&send(1, 64)), Err(Full));
    forward.committed(Instant::START, &long);
    forward.keep(&send(1, 64)).unwrap();
}

#[test]
fn ops_of_other_generations_and_replicas_free_nothing() {
    let mut forward = Small::new(me(), Generation(5));
    forward.keep(&connect(1)).unwrap();
    let older = ConnId { generation: Generation(4), ..conn(1) };
    let end = Endpoint::from_ipv4([127, 0, 0, 1], 80);
    forward.committed(Instant::START, &Op::Connect { conn: older, local: end, peer: end });
    forward.committed(Instant::START, &Op::Time);
    assert_eq!(forward.first(), Ticket(0));
    let own = Op::Retire { node: me(), generation: Generation(4) };
    forward.keep(&own).unwrap();
    forward.committed(Instant::START, &connect(1));
    forward.committed(Instant::START, &own);
    assert!(forward.is_empty());
}
