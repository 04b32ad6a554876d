//! Three nodes in memory agree on values, lose their primary, and continue: `cargo run -p
//! crane-core --example three_nodes`.

mod driving;

use std::collections::VecDeque;

use crane_core::paxos::Input;
use crane_core::time::{Duration, Instant};
use driving::{Envelope, Member, NODES, id};

struct Group {
    now: Instant,
    /// The members, each `None` once it was stopped.
    members: Vec<Option<Member>>,
    network: VecDeque<Envelope>,
}

impl Group {
    fn new() -> Self {
        let now = Instant::from_micros(1);
        let members = (1..=NODES).map(|number| Some(Member::new(number, now))).collect();
        Self { now, members, network: VecDeque::new() }
    }

    /// Delivers all messages in flight, or lets time pass to the next deadline if no message is.
    fn pass(&mut self) {
        while let Some(envelope) = self.network.pop_front() {
            if let Some(member) = &mut self.members[envelope.to.index()] {
                self.network.extend(member.receive(self.now, &envelope));
            }
        }
        let deadlines = self.members.iter().flatten().map(|member| member.node.deadline());
        self.now = deadlines.min().expect("a node runs").max(self.now) + Duration::from_micros(1);
        for member in self.members.iter_mut().flatten() {
            self.network.extend(member.step(self.now, Input::Wake));
        }
    }

    /// Waits for a primary, and returns its index.
    fn await_primary(&mut self) -> usize {
        for _ in 0..10_000 {
            let is_primary = |at: &Option<Member>| at.as_ref().is_some_and(Member::is_primary);
            if let Some(primary) = self.members.iter().position(is_primary) {
                return primary;
            }
            self.pass();
        }
        panic!("no node became primary");
    }

    fn propose(&mut self, value: u64) {
        let primary = self.await_primary();
        let member = self.members[primary].as_mut().expect("a primary runs");
        self.network.extend(member.propose(self.now, value).expect("a primary has room"));
        self.pass();
    }

    fn stop(&mut self, index: usize) {
        self.members[index] = None;
        let node = id(index as u8 + 1);
        for member in self.members.iter_mut().flatten() {
            self.network.extend(member.step(self.now, Input::LinkDown { node }));
        }
    }
}

fn main() {
    let mut group = Group::new();
    let first = group.await_primary();
    println!("node {} is primary", first + 1);
    (1..=3).for_each(|value| group.propose(value));
    group.stop(first);
    let second = group.await_primary();
    println!("node {} is stopped; node {} is primary", first + 1, second + 1);
    (4..=5).for_each(|value| group.propose(value));
    for _ in 0..10 {
        group.pass();
    }
    for member in group.members.iter().flatten() {
        println!("node {} has {:?}", member.node.me().number(), member.values());
        assert_eq!(member.values(), [1, 2, 3, 4, 5]);
    }
    assert!(first != second, "a stopped node leads");
}
