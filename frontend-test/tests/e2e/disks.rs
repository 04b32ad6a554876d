//! Disks that fail: how a replica handles a log that a crash left torn, a damaged log, and a full
//! disk.

use std::fs::{self, OpenOptions};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::binary::run_bounded;
use crane_test::e2e::group::{Group, kill};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::sick_disk::LoopDisk;
use crane_test::e2e::small_disk::SmallDisk;
use crane_test::e2e::wait::{ANSWER, START, eventually};

/// How many writes are acknowledged while disks hang.
const ACKNOWLEDGED: i64 = 300;
/// Fewer bytes than an acknowledged write takes in the log.
const RECORD_BYTES_MIN: u64 = 40;

#[test]
fn a_torn_log_is_cut_and_a_damaged_one_is_rebuilt_from_the_others() {
    let machine = Machine::take("log");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let mut count = 0;
    for _ in 0..50 {
        count = counts(&group, 1);
    }
    group.await_settled();
    group.kill(3);
    let first = segment(&group.data(3), 1);
    // A crash during a write leaves a log like this: the last record is not whole.
    OpenOptions::new().write(true).open(&first).unwrap().set_len(used_length(&first) - 3).unwrap();
    group.start_replica(3);
    group.await_serving();
    count = counts_on(&group, 3, count);
    group.await_settled();
    assert!(group.log(3).contains("torn bytes at the log's end"), "{}", group.log(3));
    assert!(!aside(&group.data(3), 1).exists(), "a torn log counted as a damaged one");

    // A byte in the middle is changed. The replica continues from the generation that it had.
    group.kill(3);
    let middle = used_length(&first) / 2;
    flip(&first, middle);
    let damaged = fs::read(&first).unwrap();
    let generation = generation(&group.data(3));
    group.start_replica(3);
    await_rebuilt(&group, 1, &["00000001.log at offset"]);
    assert_eq!(fs::read(segment(&aside(&group.data(3), 1), 1).as_path()).unwrap(), damaged);
    assert!(self::generation(&group.data(3)) > generation);
    count = counts_on(&group, 3, count);
    group.await_settled();

    // The whole log is gone. The damaged log that was set aside before stays.
    group.kill(3);
    fs::remove_dir_all(group.data(3).join("log")).unwrap();
    group.start_replica(3);
    await_rebuilt(&group, 1, &["00000001.log is missing", "nothing of it was left"]);
    count = counts_on(&group, 3, count);
    group.await_settled();

    // The last file is gone, and the rest of the log looks whole.
    group.kill(3);
    fs::remove_file(segment(&group.data(3), 2)).unwrap();
    group.start_replica(3);
    await_rebuilt(&group, 2, &["00000002.log is missing", "log.damaged-2"]);
    assert_eq!(fs::read(segment(&aside(&group.data(3), 1), 1).as_path()).unwrap(), damaged);

    // The replica votes again: the group serves without one of the others.
    group.kill(1);
    counts_on(&group, 3, count);
    group.start_replica(1);
    group.await_serving();
    group.await_settled();
}

#[test]
fn a_damaged_log_is_rebuilt_when_all_founders_have_left_the_group() {
    let machine = Machine::take("log-later");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let mut count = counts(&group, 1);
    let mut members = vec![1, 2, 3];
    for id in 4..=6 {
        let gone = members.remove(0);
        group.start_newcomer(id);
        let addresses = [gone, id].map(|id| group.peer_address(id).to_string());
        let order = ["replace", &addresses[0], &addresses[1]];
        group.member(&order).unwrap_or_else(|why| panic!("{order:?}: {why}"));
        assert!(group.await_exit(gone).success(), "{}", group.log(gone));
        members.push(id);
        group.now_has(&members);
        await_members(&group);
    }
    count = counts_on(&group, 6, count);
    group.await_settled();
    group.stop_replica(5);
    let first = segment(&group.data(5), 1);
    flip(&first, used_length(&first) / 2);
    group.start_replica(5);
    await_members(&group);
    group.await_settled();
    let told = group.log(5);
    for word in ["00000001.log at offset", "log.damaged-1; rebuilding from the others"] {
        assert!(told.lines().any(|line| line.contains(word)), "no {word} in {told}");
    }
    assert_votes(&group, 5);
    group.stop_replica(4);
    counts_on(&group, 5, count);
}

/// Waits until all members are in good health and accept connections. Here a member's number may
/// differ from that of its host, because newcomers get the numbers of members that have left.
fn await_members(group: &Group) {
    let members = group.ids().count();
    eventually("good health", START, || group.status()?.healthy(members));
    for host in group.ids() {
        eventually("a connection", START, || TcpStream::connect(group.address(host)));
    }
}

#[test]
fn damage_found_while_running_stops_a_replica_and_its_next_start_rebuilds_it() {
    let machine = Machine::take("log-running");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let marker = b"a value that is found again in the log";
    let mut connection = Connection::open(group.address(1), ANSWER).expect("a connection");
    let reply = connection.call(&[b"SET", b"marked", marker]).expect("an answer");
    assert!(matches!(reply, Reply::Simple(_)), "{reply:?}");
    drop(connection);
    let mut count = counts(&group, 1);
    group.await_settled();
    // A replica has its recent writes in memory. After a restart it reads them from the disk.
    group.stop_replica(3);
    group.start_replica(3);
    group.await_serving();
    let status = group.await_settled();
    let first = segment(&group.data(3), 1);
    let bytes = fs::read(&first).unwrap();
    let at = bytes.windows(marker.len()).position(|bytes| bytes == marker).expect("the value");
    flip(&first, at as u64);
    count = counts_on(&group, 3, count);
    // A server that has died is built again from the log.
    kill(status.replica(3).server_pid.expect("a server")).unwrap();
    assert_eq!(group.await_exit(3).code(), Some(1));
    let told = group.log(3);
    let words = ["error", "damaged", "00000001.log at offset", "start the replica again"];
    let named = told.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(named, "no line names {words:?}:\n{told}");
    count = counts_on(&group, 2, count);
    group.start_replica(3);
    await_rebuilt(&group, 1, &["00000001.log at offset"]);
    counts_on(&group, 3, count);
    group.await_settled();
}

#[test]
fn a_backup_whose_disk_is_full_stops_and_loses_nothing() {
    a_full_disk("full-backup", 3, &["log"]);
}

/// Replica 1 is most likely the primary, because its first election timeout is the shortest.
#[test]
fn a_primary_whose_disk_is_full_stops_and_loses_nothing() {
    a_full_disk("full-primary", 1, &["log"]);
}

/// The server's memory is on no disk: neither process of the replica is ended by a signal.
#[test]
fn a_replica_whose_whole_data_directory_is_on_a_full_disk_stops_and_loses_nothing() {
    a_full_disk("full-directory", 2, &[]);
}

/// Runs three replicas, of which `full` has a small disk at a place in its data directory, or for
/// the whole of it, and fills that disk.
fn a_full_disk(name: &str, full: u8, below: &[&str]) {
    let machine = Machine::take(name);
    let mut group = Group::prepare(&machine, program::redis(machine.folder()), 3, &[]);
    let place = below.iter().fold(group.data(full), |place, part| place.join(part));
    // The whole directory has the library as well.
    let size = if below.is_empty() { 14 } else { 6 };
    let Some(disk) = SmallDisk::mount(&place, size) else { return };
    group.start_all();
    let value = vec![b'x'; 100_000];
    let other = if full == 2 { 1 } else { 2 };
    let mut count = counts(&group, other);
    for number in 0..120_u32 {
        let mut connection = Connection::open(group.address(other), ANSWER).expect("a connection");
        let key = format!("key {number}");
        let reply = connection.call(&[b"SET", key.as_bytes(), &value]).expect("an answer");
        assert!(matches!(reply, Reply::Simple(_)), "{reply:?}");
        count = counts_on(&group, other, count);
    }
    let status = group.await_exit(full);
    assert_eq!(status.code(), Some(1), "a replica with a full disk stops");
    let told = group.log(full);
    let words = ["error", "00000001.log failed", "No space left", "make room"];
    let named = told.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(named, "no line names {words:?}:\n{told}");
    assert!(!told.contains("signal"), "a process is ended by a signal:\n{told}");
    count = counts_on(&group, other, count);

    // With more room, the replica continues from the log that it had.
    disk.resize(64);
    group.start_replica(full);
    group.await_serving();
    group.await_settled();
    assert!(!aside(&group.data(full), 1).exists(), "a full disk has damaged nothing");
    counts_on(&group, full, count);
    let mut connection = Connection::open(group.address(full), ANSWER).expect("a connection");
    let size = connection.call(&[b"DBSIZE"]).expect("an answer");
    assert!(matches!(size, Reply::Number(121)), "{size:?}");
    drop(connection);
    group.await_settled();
    drop(group);
}

/// With `--durability memory`, no disk need take what is acknowledged, and no daemon survive it.
#[test]
fn what_disks_that_hang_have_not_taken_survives_all_daemons() {
    let machine = Machine::take("journal");
    let options = ["--durability", "memory"];
    let mut group = Group::prepare(&machine, program::redis(machine.folder()), 3, &options);
    // The server's own files are on the same disks.
    group.program_mut().command.extend(["--appendonly", "no"].map(String::from));
    let mut disks = Vec::new();
    for id in group.ids() {
        let Some(disk) = LoopDisk::mount(&group.data(id), 160) else { return };
        disks.push(disk);
    }
    group.start_all();
    let mut connection = Connection::open(group.address(group.primary()), ANSWER).unwrap();
    let mut count = move || connection.call(&[b"INCR", b"count"]).expect("an answer");
    assert_eq!(count(), Reply::Number(1));
    let lengths = |group: &Group| -> Vec<u64> {
        group.ids().map(|id| used_length(&segment(&group.data(id), 1))).collect()
    };
    let frozen: Vec<_> = disks.iter().map(LoopDisk::freeze).collect();
    let before = lengths(&group);
    let mut last = Reply::Number(1);
    for _ in 0..ACKNOWLEDGED {
        last = count();
    }
    assert_eq!(last, Reply::Number(1 + ACKNOWLEDGED));
    // A process that waits for a disk ends when the disk lets it go.
    for id in group.ids() {
        kill(group.daemon(id).expect("it runs")).unwrap();
    }
    drop(frozen);
    for id in group.ids() {
        group.kill(id);
    }
    let entries = ACKNOWLEDGED as u64 * RECORD_BYTES_MIN;
    for (before, now) in before.iter().zip(lengths(&group)) {
        assert!(now < before + entries, "the control: {before} bytes before, {now} now");
    }
    group.start_all();
    let mut connection = Connection::open(group.address(2), ANSWER).unwrap();
    let counted = connection.call(&[b"INCR", b"count"]).expect("an answer");
    assert_eq!(counted, Reply::Number(2 + ACKNOWLEDGED));
    drop(connection);
    group.await_settled();
}

#[test]
fn a_witness_whose_log_was_cut_still_votes() {
    let machine = Machine::take("log-cut");
    let witness = machine.address(3).to_string();
    let program = program::redis(machine.folder());
    let mut group = Group::start(&machine, program, 3, &["--witness", &witness]);
    let mut count = 0;
    for _ in 0..100 {
        count = counts(&group, 1);
    }
    group.await_settled();
    group.stop_replica(3);
    let keys = group.known();
    let data = group.data(3).to_str().unwrap().to_owned();
    let folder = machine.folder().to_owned();
    let run = |words: &[&str]| {
        let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        if words[1] == "cut" {
            words.extend(keys.clone());
        }
        let output = run_bounded(&words, &folder);
        let told = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), told + &String::from_utf8(output.stderr).unwrap())
    };
    let slot_of = |line: &str| -> Option<u64> {
        line.split_once(" slot ")?.1.split_once(" under")?.0.parse().ok()
    };
    let (done, before) = run(&["log", "show", &data]);
    assert!(done, "{before}");
    let last = before.lines().filter_map(slot_of).next_back().unwrap();
    let (done, told) = run(&["log", "cut", &data, "--behind", "1000000"]);
    assert!(!done && told.contains("not known to be committed"), "{told}");
    assert_eq!(run(&["log", "show", &data]).1, before);
    let (done, told) = run(&["log", "cut", &data, "--behind", "50"]);
    assert!(done && told.contains("behind slot 50"), "{told}");
    let (done, after) = run(&["log", "show", &data]);
    assert!(done && after.lines().next().unwrap().contains("starts behind slot 50"), "{after}");
    // The log still has the entry that it starts behind.
    let slots: Vec<u64> = after.lines().filter_map(slot_of).collect();
    assert_eq!(slots, (50..=last).collect::<Vec<u64>>());
    let (done, told) = run(&["log", "verify", &data]);
    assert!(done && told.contains(" records are whole; 0 torn bytes"), "{told}");

    // The witness continues from there: the group needs its vote while a server is down.
    group.start_replica(3);
    group.await_serving();
    for _ in 0..2 {
        let primary = group.primary();
        group.kill(primary);
        let other = 3 - primary;
        count = counts_on(&group, other, count);
        group.start_replica(primary);
        group.await_serving();
        group.await_settled();
    }

    // A replica with a server needs its whole log.
    group.stop_replica(2);
    let whole = group.data(2).to_str().unwrap().to_owned();
    let (done, told) = run(&["log", "cut", &whole, "--behind", "50"]);
    assert!(!done && told.contains("only the log of a witness"), "{told}");
    group.start_replica(2);
    group.await_serving();

    // A damaged log cannot be cut. It is rebuilt from the others, as any other log is.
    group.kill(3);
    let first = segment(&group.data(3), 1);
    flip(&first, used_length(&first) - 10);
    for command in [&["log", "verify", &data][..], &["log", "cut", &data, "--behind", "60"]] {
        let (done, told) = run(command);
        assert!(!done && told.contains("damaged: ") && told.contains("00000001.log at"), "{told}");
    }
    group.start_replica(3);
    await_rebuilt(&group, 1, &["00000001.log at offset"]);
    counts_on(&group, 2, count);
    group.await_settled();
}

/// Waits until replica 3 is in good health, and asserts that it has reported the damage and that it
/// started without a vote.
#[track_caller]
fn await_rebuilt(group: &Group, set_aside: u32, words: &[&str]) {
    group.await_serving();
    let status = group.await_settled();
    let note = status.replica(3).last_error.to_string();
    let told = group.log(3);
    for word in words.iter().chain(&["rebuilding from the others"]) {
        assert!(note.contains(word), "the status has no {word}: {note}");
        assert!(told.lines().any(|line| line.contains(word)), "no {word} in {told}");
    }
    assert!(aside(&group.data(3), set_aside).exists());
    assert!(!aside(&group.data(3), set_aside + 1).exists());
    assert_votes(group, 3);
}

/// Asserts that the fresh log begins without a vote, and has one after the group's `Rejoin` entry.
#[track_caller]
fn assert_votes(group: &Group, id: u8) {
    let shown = Command::new(crane_linux()).args(["log", "show"]).arg(group.data(id)).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let records: Vec<&str> = shown.lines().collect();
    assert!(records[0].contains("voting Rejoining"), "{}", records[0]);
    let epoch = records[0].split_once("epoch: ").expect(&shown).1.trim_end_matches([' ', '}']);
    let at = |words: [&str; 2]| {
        records.iter().position(|line| words.iter().all(|word| line.contains(word))).expect(&shown)
    };
    let (named, votes) = (at([": Rejoin", epoch]), at(["voting Voter", epoch]));
    assert!(named < votes, "the replica votes before the group has agreed to it:\n{shown}");
}

/// Increments the service's counter through a replica, and returns the new count.
#[track_caller]
pub(crate) fn counts(group: &Group, id: u8) -> i64 {
    let mut connection = Connection::open(group.address(id), ANSWER).expect("a connection");
    match connection.call(&[b"INCR", b"served"]).expect("an answer") {
        Reply::Number(count) => count,
        other => panic!("{other:?}"),
    }
}

/// Does the same as [`counts`], and asserts that the count follows `before`.
#[track_caller]
pub(crate) fn counts_on(group: &Group, id: u8, before: i64) -> i64 {
    let count = counts(group, id);
    assert_eq!(count, before + 1, "something was lost or doubled");
    count
}

fn segment(data: &Path, number: u32) -> PathBuf {
    let log = if data.join("log").exists() { data.join("log") } else { data.to_owned() };
    log.join(format!("{number:08}.log"))
}

fn aside(data: &Path, number: u32) -> PathBuf {
    data.join(format!("log.damaged-{number}"))
}

fn generation(data: &Path) -> u64 {
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(data.join("meta")).unwrap()).unwrap();
    meta["generation"].as_u64().unwrap()
}

/// Returns the length up to the last byte that is not zero: a segment is longer than its records.
fn used_length(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    assert!(end > 100, "{} is empty", path.display());
    end as u64
}

/// Flips a bit of the byte at `at`, in place, because the file may be open.
fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}
