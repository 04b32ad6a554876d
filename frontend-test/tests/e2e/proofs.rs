//! Proofs of checkpoints: a second server that is made from each one must do as the others do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::Duration;

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::checkpoints::{are_possible, checkpoint, size_of};
use crane_test::e2e::group::Group;
use crane_test::e2e::healthy::connect;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::Connection;
use crane_test::e2e::small_disk::SmallDisk;
use crane_test::e2e::wait::{ANSWER, START, eventually};
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
    // A floor would close the leak.
    let group = Group::start(machine, program, 3, &[NO_FLOOR]);
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
    // A busy machine makes pauses of its own.
    assert_eq!((last[0], last[1] > 0), (LINES + 1, leaks), "the leak shows, and only the leak");
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
    await_no_files(&group, backup);
}

/// Waits until the files of the servers that have proved checkpoints are removed.
fn await_no_files(group: &Group, id: u8) {
    let place = group.data(id).join("proof");
    eventually("no files of a second server", START, || {
        match fs::read_dir(&place).map_or(0, Iterator::count) {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        }
    });
}

/// Returns the memory that a daemon has shared with servers, in KiB: what is in use of the files in
/// memory that it has mapped.
fn shared_memory(group: &Group, id: u8) -> u64 {
    let process = group.daemon(id).expect("a daemon");
    let maps = fs::read_dir(format!("/proc/{process}/map_files")).expect("its maps");
    let mut files = BTreeMap::new();
    for map in maps.flatten() {
        let is_memory =
            fs::read_link(map.path()).is_ok_and(|file| file.to_string_lossy().contains("memfd"));
        if is_memory && let Ok(about) = fs::metadata(map.path()) {
            files.insert(about.ino(), about.blocks() / 2);
        }
    }
    assert!(!files.is_empty(), "it shares memory with its server");
    files.values().sum()
}

#[test]
fn the_memory_of_servers_that_have_proved_checkpoints_is_given_back() {
    let machine = Machine::take("proof-memory");
    if !are_possible(machine.folder()) {
        return;
    }
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let mut connection = Connection::open(group.address(primary), ANSWER).expect("a connection");
    let mut prove = || {
        let (_, slot) = checkpoint(&group, backup).unwrap();
        eventually("the proof", START, || {
            for _ in 0..500 {
                connection.call(&[b"INCR", b"count"]).expect("an answer");
            }
            match proved(&group, backup) {
                proved if proved == slot => Ok(()),
                other => Err(format!("proved: {other}")),
            }
        });
        await_no_files(&group, backup);
        shared_memory(&group, backup)
    };
    let first = prove();
    let last = (0..5).map(|_| prove()).last().expect("five more");
    println!("{first} KiB behind the first proof, {last} KiB behind the sixth");
    assert!(last < first + (2 << 10), "{first} KiB, then {last} KiB");
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

/// The disk has no room for the files of a second server.
#[test]
fn without_room_a_proof_is_made_in_place_and_clients_lose_no_byte() {
    let machine = Machine::take("in-place");
    if !are_possible(machine.folder()) {
        return;
    }
    let mut program = program::compiled(machine.folder(), "idle", &[]);
    program.command.push("control".to_string());
    let mut group = Group::prepare(&machine, program, 3, &[]);
    let disks: Vec<_> =
        group.ids().map_while(|id| SmallDisk::mount(&group.data(id), 100)).collect();
    if disks.len() < 3 {
        return;
    }
    group.start_all();
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    let open = |id| BufReader::new(connect(group.address(id)).expect("a connection"));
    // The server serves one connection at a time: the backup's own client is the first.
    let mut stream = open(backup);
    let mut count = 0;
    let mut ask = |times: u32| {
        for _ in 0..times {
            count += 1;
            stream.get_mut().write_all(b"next\n").expect("a write");
            let mut line = String::new();
            stream.read_line(&mut line).expect("an answer");
            assert_eq!(line, format!("{count} 0\n"), "a byte was lost or doubled");
        }
    };
    ask(10);
    let server = group.status().expect("a status").replica(backup).server_pid;
    let (place, slot) = checkpoint(&group, backup).unwrap();
    let bytes = size_of(&place);
    // Room for one more copy of the files, and not for a reserve beside it.
    let data = group.data(backup);
    let free = rustix::fs::statvfs(&data).expect("its size");
    let fill = free.f_bavail * free.f_frsize - bytes - (bytes / 10);
    fs::write(data.join("filler"), vec![1; usize::try_from(fill).expect("it fits")]).unwrap();
    eventually("the proof", START, || {
        ask(300);
        match proved(&group, backup) {
            proved if proved == slot => Ok(()),
            other => Err(format!("proved: {other}; {}", group.log(backup))),
        }
    });
    ask(10);
    assert!(group.log(backup).contains(" in place: "), "{}", group.log(backup));
    let status = group.status().expect("a status");
    assert_ne!(status.replica(backup).server_pid, server, "it was made from its checkpoint");
    drop(stream);
    fs::remove_file(data.join("filler")).unwrap();
    group.await_settled();
    drop(group);
    drop(disks);
}

/// The log behind the checkpoint has the server take more memory than the running one has now.
#[test]
fn a_second_server_that_takes_too_much_memory_is_ended_and_the_proof_made_in_place() {
    let machine = Machine::take("proof-swells");
    if !are_possible(machine.folder()) {
        return;
    }
    let group = Group::start(&machine, program::compiled(machine.folder(), "swell", &[]), 3, &[]);
    let primary = group.primary();
    let backup = group.ids().find(|id| *id != primary).expect("a backup");
    // The server serves one connection at a time: the backup's own client is the first.
    let mut stream = BufReader::new(connect(group.address(backup)).expect("a connection"));
    let mut count = 0;
    let mut ask = |word: &str, times: u32| {
        for _ in 0..times {
            count += 1;
            stream.get_mut().write_all(format!("{word}\n").as_bytes()).expect("a write");
            let mut line = String::new();
            stream.read_line(&mut line).expect("an answer");
            assert_eq!(line, format!("{count} 0\n"), "a byte was lost or doubled");
        }
    };
    ask("next", 10);
    let server = group.status().expect("a status").replica(backup).server_pid;
    let (_, slot) = checkpoint(&group, backup).unwrap();
    ask("swell", 1);
    eventually("the proof", START, || {
        ask("next", 300);
        match proved(&group, backup) {
            proved if proved == slot => Ok(()),
            other => Err(format!("proved: {other}; {}", group.log(backup))),
        }
    });
    let log = group.log(backup);
    let has = log.split_once(" in place: a second server has ").map(|(_, rest)| rest.split(' '));
    let mebibytes = has.and_then(|mut words| words.next()?.parse().ok()).unwrap_or(0);
    assert!((40..400).contains(&mebibytes), "{mebibytes} MiB: {log}");
    let status = group.status().expect("a status");
    assert_ne!(status.replica(backup).server_pid, server, "it was made from its checkpoint");
    await_no_files(&group, backup);
    drop(stream);
    group.await_settled();
}
