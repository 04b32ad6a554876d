//! Checkpoints of running servers, and servers that return from them.

use std::fs;
use std::path::PathBuf;

use crane_test::e2e::group::{Group, run_bounded};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::status::Status;
use crane_test::e2e::wait::{ANSWER, START, eventually};
use crane_test::e2e::{http, machine};

/// The keys that a server has before its first checkpoint.
const KEYS: u32 = 200;
/// Rounds, each of which dumps what the round before has restored.
const ROUNDS: u32 = 3;

/// Takes a checkpoint of a replica's server, and returns its directory.
fn checkpoint(group: &Group, id: u8) -> Result<PathBuf, String> {
    let data = group.data(id).display().to_string();
    let output = run_bounded(&["checkpoint".into(), "now".into(), data], &group.program().base);
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let place = out.split(" is in ").nth(1).and_then(|rest| rest.split(';').next());
    match (output.status.success(), place) {
        (true, Some(place)) => Ok(PathBuf::from(place)),
        _ => Err(format!("{out}{error}")),
    }
}

fn started_from(status: &Status, id: u8) -> Option<u64> {
    status.replica(id).checkpoint["started_from"].as_u64()
}

fn a_backup(group: &Group) -> (u8, u8) {
    let primary = group.primary();
    (primary, group.ids().find(|id| *id != primary).expect("a backup"))
}

/// Whether CRIU works here.
fn criu_works(group: &Group) -> bool {
    let output = run_bounded(&["checkpoint".into(), "probe".into()], &group.program().base);
    if !output.status.success() {
        machine::skip(&String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
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
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    if !criu_works(&group) {
        return;
    }
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
        let place = checkpoint(&group, backup).unwrap();
        let slot: u64 = place
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_start_matches("slot-")
            .parse()
            .unwrap();
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
        eventually("the replica is in step", START, || {
            let status = group.status()?;
            status.healthy(3)?;
            match started_from(&status, backup) {
                Some(from) if from == slot => Ok(()),
                other => Err(format!("started from {other:?}, {}", status.brief())),
            }
        });
        let mut fresh = eventually("the returned replica's clients", START, || {
            Connection::open(group.address(backup), ANSWER)
        });
        count += 1;
        assert_eq!(number(&mut fresh, &[b"INCR", b"count"]), count);
        assert_eq!(number(&mut fresh, &[b"DBSIZE"]), i64::from(KEYS) + 1);
    }
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
    let mut group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &[]);
    if !criu_works(&group) {
        return;
    }
    let (primary, backup) = a_backup(&group);
    let refused = checkpoint(&group, primary).unwrap_err();
    assert!(refused.contains("it is the primary"), "{refused}");
    assert_eq!(http::fetch(group.address(backup), program::PAGE, ANSWER).unwrap().status, 200);
    for damaged in ["image/inventory.img", "manifest"] {
        let place = checkpoint(&group, backup).unwrap();
        group.kill(backup);
        let file = place.join(damaged);
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&file, bytes).unwrap();
        group.start_replica(backup);
        assert_eq!(http::fetch(group.address(primary), program::PAGE, ANSWER).unwrap().status, 200);
        let status = group.await_settled();
        assert_eq!(started_from(&status, backup), None, "{damaged}");
    }
    assert!(group.log(backup).contains("the server is built by replay instead"));
}
