//! Checkpoints on their way to a replica that has a part of them already.

use std::fs;

use crane_test::e2e::binary::run_bounded;
use crane_test::e2e::checkpoints::{are_possible, await_start_from, checkpoint};
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::Connection;
use crane_test::e2e::wait::{ANSWER, START, eventually};
use crane_test::e2e::wiped::fill;

/// The size of the server, in MiB.
const SIZE: u64 = 24;

/// Takes a checkpoint of a backup, and lets clients ask until it is proved. Returns its slot.
fn prove(group: &Group, id: u8, through: u8) -> u64 {
    let mut connection = Connection::open(group.address(through), ANSWER).expect("a connection");
    let (_, slot) = checkpoint(group, id).unwrap();
    eventually("the proof", START, || {
        for _ in 0..500 {
            connection.call(&[b"INCR", b"count"]).expect("an answer");
        }
        let proved = group.status()?.replica(id).checkpoint["proved"].clone();
        if proved == slot { Ok(()) } else { Err(format!("proved: {proved}")) }
    });
    slot
}

/// Returns the bytes of each checkpoint that has arrived at a replica, and those that were sent for
/// it.
fn arrivals(group: &Group, id: u8) -> Vec<(u64, u64)> {
    let text = group.log(id);
    let number = |text: &str| text.rsplit(' ').next().and_then(|word| word.parse().ok());
    let numbers = text.lines().filter_map(|line| {
        let (before, behind) = line.split_once(" bytes of files, for which ")?;
        Some((number(before)?, behind.split(' ').next()?.parse().ok()?))
    });
    numbers.collect()
}

#[test]
fn a_replica_that_was_away_receives_only_what_it_lacks_and_a_wiped_one_everything() {
    let machine = Machine::take("transfer");
    if !are_possible(machine.folder()) {
        return;
    }
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let primary = group.primary();
    let backups: Vec<u8> = group.ids().filter(|id| *id != primary).collect();
    let [stays, away] = backups[..] else { panic!("{backups:?}") };
    fill(group.address(primary), SIZE as usize);
    // It leads to no entry behind the cut, but has most of the blocks.
    checkpoint(&group, away).unwrap();
    group.kill(away);
    let one = prove(&group, stays, primary);
    let data = group.data(stays).display().to_string();
    let words = ["primary", "move", "--to", &stays.to_string(), "--data-dir", &data];
    let moved = run_bounded(&words.map(String::from), &group.program().base);
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    let other = prove(&group, primary, stays);
    let mut connection = Connection::open(group.address(stays), ANSWER).expect("a connection");
    eventually("a cut of the log", START, || {
        connection.call(&[b"INCR", b"count"]).expect("an answer");
        let front = group.status()?.replica(stays).log["behind"].as_u64();
        if front >= Some(one.min(other)) { Ok(()) } else { Err(format!("behind {front:?}")) }
    });
    group.start_replica(away);
    await_start_from(&group, away, |from| from >= one);
    group.kill(away);
    fs::remove_dir_all(group.data(away)).unwrap();
    let before = arrivals(&group, away);
    group.start_replica(away);
    await_start_from(&group, away, |from| from >= one);
    let after = arrivals(&group, away);
    println!("bytes of files, and bytes sent: {before:?}, then {after:?}");
    let [(bytes, sent)] = before[..] else { panic!("{before:?}") };
    assert!(bytes > SIZE << 20, "{bytes}");
    assert!(sent * 10 < bytes, "{sent} of {bytes}");
    let (bytes, sent) = *after.last().expect("another one");
    assert!(sent * 10 > bytes * 8 && sent > SIZE << 20, "{sent} of {bytes}");
    drop(connection);
    group.await_settled();
}
