//! The parts of the core that the group does not need, so that all of it is in the program:
//! forwarding ops, bubbles, timestamps, threads that wait, connections, changes of members.

use crane_core::bubble::{Ask, Bubbles, Sight};
use crane_core::execution::Execution;
use crane_core::execution::admission::Admitted;
use crane_core::execution::turn::{NEVER, WaitKey};
use crane_core::forward::Forwarder;
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::paxos::{Config, DurableState, Effects, Members, Node};
use crane_core::time::{Duration, Instant};
use crane_core::timestamp::Timestamps;
use crane_core::execution::socket::Bound;
use crane_core::wire::{Endpoint, EntryPayload, EntryWriter, Genesis, Op, Schedule};

/// Lets one connection come, be read and go, by way of all machines.
pub fn serve_one_connection() {
    let me = NodeId::new(1).expect("a small number");
    let conn = ConnId { entry: me, generation: Generation(1), number: 1 };
    let end = Endpoint::from_ipv4([127, 0, 0, 1], 80);
    let ops = [
        Op::Connect { conn, local: end, peer: end },
        Op::Send { conn, offset: 0, bytes: b"request" },
        Op::Shut { conn, total: 7 },
        Op::Drained { conn, total: 5 },
        Op::Retire { node: me, generation: Generation(1) },
    ];
    let now = Instant::from_micros(5);
    let mut forward = Forwarder::<8, 64>::new(me, Generation(1));
    for op in &ops[..3] {
        assert!(forward.keep(op).is_ok(), "there is room");
    }
    forward.start_over(now);
    let mut space = [0; 512];
    let mut writer = EntryWriter::new(&mut space).expect("the space suffices");
    let mut one = [0; 128];
    for op in &ops {
        let length = op.encode(&mut one).expect("an op is short");
        writer.push_encoded(&one[..length], 1).expect("the space suffices");
    }
    while forward.next_op(now).is_some() {}
    assert!(!forward.wake(now), "nothing is late yet");
    let mut timestamps = Timestamps::new(0, 1_000);
    timestamps.saw(1, 2_000);
    timestamps.consult_host(2, 3_000);
    let mut bubbles = Bubbles::new(Duration::from_micros(100), 1000);
    let grant = bubbles.op();
    let bytes = writer.finish(timestamps.timestamp(3), grant);
    let entry = EntryPayload::decode(bytes).expect("what was encoded can be decoded");
    for op in entry.ops() {
        forward.committed(now, &op);
    }
    assert!(forward.is_empty(), "all were committed");
    execute(&entry);
    let sight = Sight { stalled: true, outstanding: false, alone: true };
    assert!(matches!(bubbles.look(now, sight), Ask::Now { .. }), "a bubble is asked for");
}

fn execute(entry: &EntryPayload<'_>) {
    let mut server = Execution::<4, 4, 2>::new(10, 0);
    let listener = server.sockets.listen(Bound::plain(Endpoint::from_ipv4([0; 4], 80)), 8);
    let listener = listener.expect("there is room");
    let [one, other] = [(); 2].map(|()| server.turn.reserve().expect("there is room"));
    server.turn.start(one);
    server.turn.start(other);
    let waits = WaitKey(1);
    assert!(server.turn.pass() == Some(one), "the first one runs");
    server.turn.wait(waits, server.gate.agreed() + 500);
    assert!(server.turn.pass() == Some(other), "the second one runs");
    let mut bytes_came = 0;
    server.admit(
        Slot(2),
        entry.timestamp,
        entry.ops(),
        entry.grant,
        |at, admitted| match admitted {
            Admitted::Acceptable(_) => _ = at.turn.wake(waits, 1),
            Admitted::Data { bytes, .. } => bytes_came += bytes.len(),
            Admitted::Retired(node) => while at.sockets.retired(node).is_some() {},
            _ => {}
        },
    );
    assert!(bytes_came == 7, "the bytes were admitted");
    assert!(server.call(other, 1, 0), "the entry grants calls");
    let conn = server.sockets.accept(listener).expect("a connection has come");
    let at = server.sockets.conn_mut(conn);
    at.consume(at.readable());
    if at.write_ready() && !at.read_ready() {
        at.produce(at.room().min(5));
    }
    server.output.put_bytes(b"reply");
    server.sockets.close(conn);
    server.sockets.unlisten(listener, |_| {});
    if server.turn.spend() {
        server.turn.yield_turn();
    }
    assert!(server.turn.waiter(waits, None).is_none(), "nobody waits any longer");
    server.turn.wait(waits, NEVER);
    assert!(server.turn.first_deadline() == NEVER, "nobody waits for a time");
    server.gate.drop_grant();
    server.turn.pass();
    server.turn.end();
}

/// A member of nothing is asked for what only a primary does.
pub fn change_nothing() {
    let me = NodeId::new(1).expect("a small number");
    let other = NodeId::new(2).expect("a small number");
    let mut node = Node::<8>::restore(
        Config::new(me, Members::first(3), 9),
        Instant::START,
        DurableState::BLANK,
        [],
    );
    let mut out = Effects::new();
    node.set_in_step(false);
    let refused = node.transfer_leadership(Instant::START, other, &mut out).is_err()
        && node.change_members(Instant::START, Members::first(2), &mut out).is_err();
    assert!(refused, "it is not the primary");
    let genesis = Genesis {
        group: 1,
        members: Default::default(),
        base: [1; 32],
        seed: [2; 32],
        timestamp: 3,
        quantum: 4,
        nclock: 5,
        schedule: Schedule::Serial,
        service: Default::default(),
    };
    let mut space = [0; 256];
    let length = genesis.encode(&mut space).expect("the space suffices");
    assert!(Genesis::decode(&space[..length]).is_err(), "a group has members");
}
