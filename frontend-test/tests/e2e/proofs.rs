//! Proofs of checkpoints: a second server that is made from each one must do as the others do.

use std::io::{BufRead, BufReader, Write};
use std::thread::sleep;
use std::time::Duration;

use crane_test::e2e::checkpoints::{are_possible, checkpoint};
use crane_test::e2e::group::Group;
use crane_test::e2e::healthy::connect;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::wait::{START, eventually};
use serde_json::Value;

/// More lines than a proof needs: each is several calls.
const LINES: u32 = 1500;

/// Lets a server that counts lines, and maybe pauses, serve beyond a checkpoint. Returns the group,
/// the backup that has taken it, and its slot.
fn served(machine: &Machine, leaks: bool) -> (Group, u8, u64) {
    let mut program = program::compiled(machine.folder(), "idle", &[]);
    if !leaks {
        program.command.push("control".to_string());
    }
    let group = Group::start(machine, program, 3, &[]);
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let mut stream = BufReader::new(connect(group.address(primary)).expect("a connection"));
    let mut ask = || {
        stream.get_mut().write_all(b"next\n").expect("a write");
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        let numbers = line.split_whitespace().map(|word| word.parse().expect("a number"));
        numbers.collect::<Vec<u32>>()
    };
    ask();
    let (_, slot) = checkpoint(&group, backup).unwrap();
    sleep(Duration::from_millis(700));
    let mut last = Vec::new();
    for _ in 0..LINES {
        last = ask();
    }
    assert_eq!(last, [LINES + 1, u32::from(leaks)], "the leak shows, and only the leak");
    drop(stream);
    (group, backup, slot)
}

fn proved(group: &Group, id: u8) -> Value {
    group.status().expect("a status").replica(id).checkpoint["proved"].clone()
}

#[test]
fn a_checkpoint_is_proved_while_its_replica_serves() {
    let machine = Machine::take("proof");
    if !are_possible(machine.folder()) {
        return;
    }
    let (group, backup, slot) = served(&machine, false);
    eventually("the proof", START, || match proved(&group, backup) {
        proved if proved == slot => Ok(()),
        other => Err(format!("proved: {other}")),
    });
    group.await_settled();
    assert_eq!(group.log(backup).matches(" is proved: a server").count(), 1);
    assert!(!group.data(backup).join("proof").exists(), "the second server's files are removed");
}

#[test]
fn a_leak_that_replicas_share_is_found_by_the_proof() {
    let machine = Machine::take("disproof");
    if !are_possible(machine.folder()) {
        return;
    }
    let (group, backup, slot) = served(&machine, true);
    let text = eventually("the verdict", START, || {
        let replica = group.status()?.replica(backup).clone();
        let unused = format!("the checkpoint behind slot {slot} is not used: ");
        let fault = replica.faults.iter().find(|fault| fault.contains(&unused)).cloned();
        fault.ok_or_else(|| format!("faults: {:?}", replica.faults))
    });
    assert!(text.contains("differs from the others at slot"), "{text}");
    assert_eq!(proved(&group, backup), Value::Null);
    let aside = group.data(backup).join(format!("checkpoints/slot-{slot}.wrong"));
    assert!(aside.is_dir(), "it is kept for inspection");
}
