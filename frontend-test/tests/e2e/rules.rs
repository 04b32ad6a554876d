//! The logs of real replicas, checked against the rules of `specs/`.

use std::fs;
use std::process::Command;

use crane_core::id::NodeId;
use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::ANSWER;
use crane_test::specification::logs::{Line, parse, validate_logs};

/// Kills the primary three times. The second one loses its data as well.
#[test]
fn logs_of_real_replicas_keep_the_rules() {
    let machine = Machine::take("rules");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let mut before = Vec::new();
    for round in 1..=3_u8 {
        let id = group.primary();
        let kept = group.ids().find(|other| *other != id).unwrap();
        increase(&group, id, 50);
        group.kill(id);
        increase(&group, kept, 50);
        if round == 2 {
            before.push((node(id), written(&group, id)));
            fs::remove_dir_all(group.data(id)).unwrap();
        }
        group.start_replica(id);
        group.await_serving();
        increase(&group, id, 50);
    }
    group.await_settled();
    group.stop();
    let mut logs: Vec<_> = group.ids().map(|id| (node(id), written(&group, id))).collect();
    // The lost log counts too: its entries had been written.
    logs.extend(before);
    let lines: usize = logs.iter().map(|(_, lines)| lines.len()).sum();
    assert!(lines > 1000, "{lines} records only");
    assert_eq!(validate_logs(&logs), Ok(()));
    // The check can fail: it finds a changed entry in one of the logs.
    let committed = logs[0].1.iter_mut().rev().find_map(|line| match line {
        Line::Accept(_, _, _, content) if content.contains("send") => Some(content),
        _ => None,
    });
    committed.expect("an entry with bytes of a client").push('!');
    assert_eq!(validate_logs(&logs).map_err(|(rule, _)| rule), Err("P5"));
}

fn increase(group: &Group, id: u8, times: u32) {
    let mut connection = Connection::open(group.address(id), ANSWER).unwrap();
    for _ in 0..times {
        let reply = connection.call(&[b"INCR", b"count"]).unwrap();
        assert!(matches!(reply, Reply::Number(_)), "{reply:?}");
    }
}

fn node(id: u8) -> NodeId {
    NodeId::new(id).unwrap()
}

fn written(group: &Group, id: u8) -> Vec<Line> {
    let shown = Command::new(crane_linux()).args(["log", "show"]).arg(group.data(id)).output();
    let shown = shown.unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    parse(&String::from_utf8(shown.stdout).unwrap()).expect("every line is known")
}
