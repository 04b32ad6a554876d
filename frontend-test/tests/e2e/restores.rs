//! Checkpoints of running servers, and servers that return from them.

use std::fs;

use crane_test::e2e::binary::run_bounded;
use crane_test::e2e::checkpoint_faults;
use crane_test::e2e::checkpoints::{
    are_possible, await_start_from, checkpoint, rounds, started_from,
};
use crane_test::e2e::group::{Group, kill};
use crane_test::e2e::http;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};
use crane_test::e2e::wiped;

/// The keys that a server has before its first checkpoint.
const KEYS: u32 = 200;
/// Rounds, each of which dumps what the round before has restored.
const ROUNDS: u32 = 3;

fn a_backup(group: &Group) -> (u8, u8) {
    let primary = group.primary();
    (primary, group.ids().find(|id| *id != primary).expect("a backup"))
}

/// Verifies the checkpoints of a replica. Returns the exit status and the output.
fn verified(group: &Group, id: u8) -> (Option<i32>, String) {
    let data = group.data(id).display().to_string();
    let output = run_bounded(&["checkpoint".into(), "verify".into(), data], &group.program().base);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn number(connection: &mut Connection, words: &[&[u8]]) -> i64 {
    match connection.call(words) {
        Ok(Reply::Number(number)) => number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_killed_replica_of_redis_returns_from_its_checkpoint_and_can_lead() {
    let machine = Machine::take("restore");
    if !are_possible(machine.folder()) {
        return;
    }
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let (primary, backup) = a_backup(&group);
    let third = group.ids().find(|id| *id != primary && *id != backup).expect("three");
    let mut kept: Vec<_> = (0..8)
        .map(|number| {
            let through = if number % 2 == 0 { primary } else { third };
            Connection::open(group.address(through), ANSWER).unwrap()
        })
        .collect();
    for key in 0..KEYS {
        let reply = kept[0].call(&[b"SET", format!("key {key}").as_bytes(), &[b'x'; 1000]]);
        assert_eq!(reply.unwrap(), Reply::Simple("OK".into()));
    }
    let mut count = 0;
    for round in 1..=ROUNDS {
        let (_, slot) = checkpoint(&group, backup).unwrap();
        for connection in &mut kept {
            count += 1;
            assert_eq!(number(connection, &[b"INCR", b"count"]), count, "round {round}");
        }
        group.kill(backup);
        for connection in &mut kept {
            count += 1;
            assert_eq!(number(connection, &[b"INCR", b"count"]), count, "round {round}");
        }
        group.start_replica(backup);
        await_start_from(&group, backup, |from| from == slot);
        let mut fresh = eventually("the returned replica's clients", START, || {
            Connection::open(group.address(backup), ANSWER)
        });
        count += 1;
        assert_eq!(number(&mut fresh, &[b"INCR", b"count"]), count);
        assert_eq!(number(&mut fresh, &[b"DBSIZE"]), i64::from(KEYS) + 1);
    }
    // A server that dies alone is made from the newest image as well.
    let (_, slot) = checkpoint(&group, backup).unwrap();
    let server = group.status().unwrap().replica(backup).server_pid.expect("a server");
    kill(server).unwrap();
    eventually("the server is in step", START, || {
        let status = group.status()?;
        status.healthy(3)?;
        let other = status.replica(backup).server_pid != Some(server);
        match started_from(&status, backup) {
            Some(from) if from == slot && other => Ok(()),
            from => Err(format!("started from {from:?}, {}", status.brief())),
        }
    });
    // The server that was made from an image leads, and is lost as primary.
    let data = group.data(backup).display().to_string();
    let words = ["primary", "move", "--to", &backup.to_string(), "--data-dir", &data];
    let moved = run_bounded(&words.map(String::from), &group.program().base);
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    assert_eq!(group.primary(), backup);
    for connection in &mut kept {
        count += 1;
        assert_eq!(number(connection, &[b"INCR", b"count"]), count);
    }
    group.kill(backup);
    for connection in &mut kept {
        count += 1;
        assert_eq!(number(connection, &[b"INCR", b"count"]), count, "a connection was lost");
    }
    group.start_replica(backup);
    drop(kept);
    let status = group.await_settled();
    assert!(started_from(&status, backup).is_some());
}

#[test]
fn a_damaged_image_is_not_used_and_its_replica_replays() {
    let machine = Machine::take("bad-image");
    if !are_possible(machine.folder()) {
        return;
    }
    let mut group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &[]);
    let (primary, backup) = a_backup(&group);
    let refused = checkpoint(&group, primary).unwrap_err();
    assert!(refused.contains("it is the primary"), "{refused}");
    assert_eq!(http::fetch(group.address(backup), program::PAGE, ANSWER).unwrap().status, 200);
    for damaged in ["image/inventory.img", "manifest"] {
        let (place, _) = checkpoint(&group, backup).unwrap();
        group.kill(backup);
        let file = place.join(damaged);
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(verified(&group, backup).0, Some(0));
        fs::write(&file, bytes).unwrap();
        let (status, text) = verified(&group, backup);
        assert!(status == Some(1) && text.contains("damaged"), "{text}");
        group.start_replica(backup);
        assert_eq!(http::fetch(group.address(primary), program::PAGE, ANSWER).unwrap().status, 200);
        let status = group.await_settled();
        assert_eq!(started_from(&status, backup), None, "{damaged}");
    }
    assert!(group.log(backup).contains("the server is built by replay instead"));
}

/// Runs the short form: `ci/measure checkpoints` makes 50 rounds with each server, and with two
/// more.
#[test]
fn servers_of_each_kind_continue_from_images_of_images() {
    let machine = Machine::take("possible");
    if !are_possible(machine.folder()) {
        return;
    }
    drop(machine);
    for name in ["civetweb", "redis", "objects"] {
        let outcome = rounds(name, 3, false);
        println!("{name}: {outcome:?} (in full: ci/measure checkpoints)");
        assert!(outcome.failures.is_empty() && outcome.requests > 0, "{name}: {outcome:?}");
    }
}

#[test]
fn a_wiped_replica_returns_from_a_peers_checkpoint_and_can_lead() {
    let machine = Machine::take("possible");
    if !are_possible(machine.folder()) {
        return;
    }
    drop(machine);
    wiped::run(true, 0, |line| println!("{line}"));
    wiped::run(false, 5, |line| println!("{line}"));
}

#[test]
fn a_checkpoint_goes_by_a_file_to_a_replica_that_has_lost_everything() {
    let machine = Machine::take("export");
    if !are_possible(machine.folder()) {
        return;
    }
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let (primary, backup) = a_backup(&group);
    let mut connection = Connection::open(group.address(primary), ANSWER).unwrap();
    let (place, slot) = checkpoint(&group, backup).unwrap();
    let base = group.program().base.clone();
    let command = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let output = run_bounded(&words, &base);
        let [out, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        (output.status.success(), format!("{out}{error}"))
    };
    let data = group.data(backup).display().to_string();
    let file = machine.folder().join("exported").display().to_string();
    let (done, text) = command(&["checkpoint", "export", &data, &file]);
    assert!(!done && text.contains("proved"), "an unproved one goes nowhere: {text}");
    let mut count = 0;
    eventually("the proof", START, || {
        for _ in 0..500 {
            count += 1;
            assert_eq!(number(&mut connection, &[b"INCR", b"count"]), count);
        }
        let proved = group.status()?.replica(backup).checkpoint["proved"].clone();
        if proved == slot { Ok(()) } else { Err(format!("{proved}")) }
    });
    let (done, text) = command(&["checkpoint", "export", &data, &file]);
    assert!(done, "{text}");
    let (done, text) = command(&["checkpoint", "export", &data, &file]);
    assert!(!done && text.contains("is there already"), "{text}");
    let (done, text) = command(&["checkpoint", "prune", &data]);
    assert!(!done && text.contains("in use"), "{text}");
    group.kill(backup);
    let (done, text) = command(&["checkpoint", "prune", &data, "--keep", "0"]);
    assert!(done && text.contains("0 removed"), "the proved one stays: {text}");
    assert!(place.is_dir());
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let broken = machine.folder().join("broken").display().to_string();
    fs::write(&broken, bytes).unwrap();
    assert!(!command(&["checkpoint", "import", &data, &broken]).0);
    let (done, text) = command(&["checkpoint", "import", &data, &file]);
    assert!(done && text.contains(&format!("behind slot {slot}")), "{text}");
    group.start_replica(backup);
    await_start_from(&group, backup, |from| from == slot);
    assert_eq!(group.status().unwrap().replica(backup).log["behind"], slot);
    drop(connection);
    group.await_settled();
}

/// Runs the short form: `ci/measure checkpoint-faults` lets 200 strike.
#[test]
fn faults_on_the_ways_of_checkpoints_lose_nothing_and_heal() {
    let machine = Machine::take("possible");
    if !are_possible(machine.folder()) {
        return;
    }
    drop(machine);
    let outcomes = checkpoint_faults::run(12, 3, |outcome| println!("{outcome:?}"));
    let refused: Vec<_> = outcomes.iter().filter(|outcome| outcome.refusal.is_some()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let struck = outcomes.iter().filter(|outcome| outcome.struck).count();
    assert!(struck * 3 > outcomes.len(), "{struck} of {} struck", outcomes.len());
}

#[test]
fn backups_take_checkpoints_by_themselves_while_clients_ask() {
    let machine = Machine::take("every");
    if !are_possible(machine.folder()) {
        return;
    }
    let options = ["--checkpoint-every", "200-entries"];
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &options);
    let (primary, _) = a_backup(&group);
    let mut connection = Connection::open(group.address(primary), ANSWER).unwrap();
    let mut count = 0;
    eventually("a checkpoint at each backup", START, || {
        for _ in 0..50 {
            count += 1;
            assert_eq!(number(&mut connection, &[b"INCR", b"count"]), count);
        }
        let status = group.status()?;
        let phase = |id| status.replica(id).checkpoint["phase"].clone();
        let taken = group.ids().filter(|id| phase(*id) == "taken").count();
        if taken == 2 { Ok(()) } else { Err(format!("{taken} have one")) }
    });
    drop(connection);
    group.await_settled();
}
