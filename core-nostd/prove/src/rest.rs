//! The parts of the core that the group does not need, so that the program has the whole core:
//! forwarding of ops, bubbles, timestamps, waiting threads, connections, changes of members.

use crane_core::bubble::{Ask, Bubbles, Sight};
use crane_core::clocks::Clocks;
use crane_core::execution::Execution;
use crane_core::execution::admission::Admitted;
use crane_core::execution::processes::{Children, Existence, FoundChild, ProcessId, ProcessTable};
use crane_core::execution::socket::Bound;
use crane_core::execution::turn::{NEVER, WaitKey};
use crane_core::forward::Forwarder;
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::paxos::{Config, DurableState, Effects, Members, Node, NodeSet};
use crane_core::time::{Duration, Instant};
use crane_core::timestamp::Timestamps;
use crane_core::wire::{Endpoint, EntryPayload, EntryWriter, Genesis, HostFigures, Op, Schedule};

/// Passes one connection through all machines: a client connects, sends and ends.
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
        assert!(forward.keep(op).is_ok(), "an op was refused");
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
    assert!(!forward.wake(now), "an op is late at once");
    let mut timestamps = Timestamps::new(0, 1_000);
    timestamps.saw(1, 2_000);
    timestamps.became_primary();
    let sight = Clocks::new().look((me, 3_000), NodeSet::first(1), 2, 2_000);
    timestamps.steer(2, &sight);
    let mut bubbles = Bubbles::new(Duration::from_micros(100), 1000);
    let grant = bubbles.op();
    let bytes = writer.finish(timestamps.timestamp(3), grant);
    let entry = EntryPayload::decode(bytes).expect("an encoded entry can be decoded");
    for op in entry.ops() {
        forward.committed(now, &op);
    }
    assert!(forward.is_empty(), "an op was not committed");
    execute(&entry);
    wait_for_child();
    let sight = Sight { stalled: true, outstanding: false, alone: true };
    assert!(matches!(bubbles.look(now, sight), Ask::Now { .. }), "no bubble is asked for");
}

fn execute(entry: &EntryPayload<'_>) {
    let mut server = Execution::<4, 4, 2>::new(10, 0);
    let listener = server.sockets.listen(Bound::plain(Endpoint::from_ipv4([0; 4], 80)), 8);
    let listener = listener.expect("room for a listener");
    let [one, other] = [(); 2].map(|()| server.turn.reserve().expect("room for a thread"));
    server.turn.start(one);
    server.turn.start(other);
    let waits = WaitKey(1);
    assert!(server.pass() == Some(one), "the first thread does not run");
    server.turn.wait(waits, server.gate.agreed() + 500);
    assert!(server.pass() == Some(other), "the second thread does not run");
    let mut bytes_came = 0;
    server.admit(
        Slot(2),
        entry.timestamp,
        entry.ops(),
        entry.grant,
        |at, admitted| match admitted {
            Admitted::Acceptable(_) => _ = at.turn.wake(waits, 1),
            Admitted::Data { bytes, .. } => bytes_came += bytes.len(),
            Admitted::Retired(node) => while at.sockets.retired(node, None).is_some() {},
            _ => {}
        },
    );
    assert!(bytes_came == 7, "the bytes were not admitted");
    assert!(server.call(other, 1, 0), "the entry grants no call");
    let conn = server.sockets.accept(listener).expect("a connection that waits");
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
    assert!(server.turn.waiter(waits, None).is_none(), "a thread still waits");
    server.turn.wait(waits, NEVER);
    assert!(server.turn.first_deadline() == NEVER, "a thread waits for a time");
    server.gate.drop_grant();
    server.pass();
    server.turn.end();
}

/// Has a process fork another one, and wait for it.
fn wait_for_child() {
    let mut processes = ProcessTable::<u32, 4>::new(2);
    let child = processes.make(ProcessId::FIRST).expect("room for a process");
    processes.set_number(child, 3);
    *processes.frontend(child) = 7;
    processes.end(child, 1, 2, |_| false);
    let found = processes.child(ProcessId::FIRST, Children::Group(2), |_| 2);
    assert!(found == FoundChild::Ended(child), "a child that has ended is not found");
    assert!(processes.get(child).status() == 1, "a child has ended in another way");
    processes.forget(child);
    processes.invariants();
    assert!(processes.existence(3, true) == Existence::Gone, "a process is there for ever");
}

/// Asks a node that is not primary for the work of a primary, which it must refuse.
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
    assert!(refused, "a node that is not primary accepts a primary's work");
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
        figures: HostFigures { processors: 6, memory: 7 },
    };
    let mut space = [0; 256];
    let length = genesis.encode(&mut space).expect("the space suffices");
    assert!(Genesis::decode(&space[..length]).is_err(), "a genesis without members was decoded");
}
