//! Three nodes as tasks of an embassy executor, with channels between them:
//! `cargo run -p crane-core --example embassy`.
//!
//! The channels are generic over `RawMutex`. On this host it is a critical section; between tasks
//! of one executor, `NoopRawMutex` would be enough. Time is a task that counts milliseconds, so
//! that the example runs as fast as possible and equally each time.

mod driving;

use std::future::poll_fn;
use std::task::Poll;

use crane_core::id::NodeId;
use crane_core::paxos::Input;
use crane_core::time::Instant;
use driving::{Envelope, Member, NODES, id};
use embassy_executor::{Executor, Spawner};
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, RawMutex};
use embassy_sync::channel::Channel;

/// The number of values that the group must agree on.
const VALUES: usize = 5;

/// The events that a node's task waits for.
enum Event {
    Message(Envelope),
    Time(Instant),
}

type Inbox<M> = Channel<M, Event, 64>;
type Report<M> = Channel<M, (NodeId, Vec<u64>), 4>;

static INBOXES: [Inbox<CriticalSectionRawMutex>; NODES as usize] =
    [const { Channel::new() }; NODES as usize];
static REPORTS: Report<CriticalSectionRawMutex> = Channel::new();

/// Drives one node, for ever. The primary proposes the next value when the one before is committed.
async fn drive<M: RawMutex>(number: u8, inboxes: &[Inbox<M>], reports: &Report<M>) -> ! {
    let mut now = Instant::from_micros(1);
    let mut member = Member::new(number, now);
    let mut reported = false;
    loop {
        let mut sent = match inboxes[usize::from(number) - 1].receive().await {
            Event::Message(envelope) => member.receive(now, &envelope),
            Event::Time(at) => {
                now = at;
                member.step(now, Input::Wake)
            }
        };
        let values = member.values();
        let is_decided = member.node.last() == member.node.committed();
        if member.is_primary() && is_decided && values.len() < VALUES {
            // A refusal is no fault: the node proposes again at its next event.
            sent.extend(member.propose(now, values.len() as u64 + 1).unwrap_or_default());
        }
        for envelope in sent {
            // A full inbox loses the message, as a network may. The sender repeats it.
            let _ = inboxes[envelope.to.index()].try_send(Event::Message(envelope));
        }
        if values.len() == VALUES && !reported {
            reported = true;
            reports.send((member.node.me(), values)).await;
        }
    }
}

#[embassy_executor::task(pool_size = NODES as usize)]
async fn node(number: u8) {
    drive(number, &INBOXES, &REPORTS).await;
}

#[embassy_executor::task]
async fn clock() {
    for millisecond in 1..100_000 {
        // Messages are delivered first, because a full inbox would lose them.
        while !INBOXES.iter().all(Channel::is_empty) {
            yield_now().await;
        }
        for inbox in &INBOXES {
            inbox.send(Event::Time(Instant::from_micros(millisecond * 1000))).await;
        }
    }
    panic!("the group did not agree in time");
}

/// Lets the other tasks run once.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Ends the program when all nodes have the same values.
#[embassy_executor::task]
async fn judge() {
    for _ in 0..NODES {
        let (node, values) = REPORTS.receive().await;
        println!("node {} has {values:?}", node.number());
        assert_eq!(values, (1..=VALUES as u64).collect::<Vec<_>>());
    }
    std::process::exit(0);
}

fn spawn(spawner: Spawner) {
    for number in 1..=NODES {
        debug_assert_eq!(id(number).number(), number);
        spawner.spawn(node(number).expect("a task for each node"));
    }
    spawner.spawn(clock().expect("the only clock"));
    spawner.spawn(judge().expect("the only judge"));
}

fn main() {
    let executor: &'static mut Executor = Box::leak(Box::new(Executor::new()));
    executor.run(spawn);
}
