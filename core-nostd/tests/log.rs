//! The feature `log`, with which the core writes to the program's logger.

use std::sync::Mutex;

use crane_core::id::NodeId;
use crane_core::paxos::{Config, DurableState, Effect, Effects, Input, Members, Node};
use crane_core::time::Instant;

struct Collect(Mutex<Vec<String>>);

impl log::Log for Collect {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

static LINES: Collect = Collect(Mutex::new(Vec::new()));

#[test]
fn a_change_of_role_is_logged() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let me = NodeId::new(1).unwrap();
    let mut now = Instant::from_micros(1);
    let config = Config::new(me, Members::first(1), 7);
    let mut node: Node<8> = Node::restore(config, now, DurableState::BLANK, []);
    for _ in 0..20 {
        now = now.max(node.deadline());
        let mut input = Some(Input::Wake);
        while let Some(next) = input {
            let mut out = Effects::new();
            node.step(now, next, &mut out);
            let written = out.iter().filter_map(|effect| match effect {
                Effect::Write { number, .. } => Some(*number),
                _ => None,
            });
            input = written.max().map(|up_to| Input::Durable { up_to });
        }
    }
    let lines = LINES.0.lock().unwrap();
    assert!(lines.iter().any(|line| line.starts_with("node 1: Primary")), "{lines:?}");
}
