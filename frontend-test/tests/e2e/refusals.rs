//! Bad input: crane refuses it with one line that names the fault, and the group keeps serving.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::binary::run_bounded;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program::{self, Program};
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::ANSWER;

/// Asserts that the command failed and that one line of its errors has all `words`.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "accepted, expected {words:?}:\n{text}");
    assert!(!text.contains("panicked"), "{text}");
    let named = text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(named, "no line names {words:?}:\n{text}");
}

/// Returns a group of one that is not started, for a command line with one fault.
fn spoilt(machine: &Machine, program: Program) -> Group {
    Group::prepare(machine, program, 1, &[])
}

#[test]
fn a_command_line_that_cannot_work_is_refused() {
    let machine = Machine::take("refused");
    let group = spoilt(&machine, program::compiled(machine.folder(), "mortal", &[]));
    let base = &group.program().base;
    let run = |change: &dyn Fn(&mut Vec<String>)| {
        let mut line = group.arguments(1);
        change(&mut line);
        run_bounded(&line, base)
    };
    let replace = |from: String, to: &'static str| {
        move |line: &mut Vec<String>| {
            let word = line.iter_mut().find(|word| **word == from).expect("a word of the line");
            *word = to.to_owned();
        }
    };
    let address = group.address(1).ip().to_string();
    // No peer has an address of this host.
    let output = run(&|line| {
        line[1] = "127.1.2.3,127.1.2.4".into();
    });
    assert_refused(&output, &[&address]);
    let output = run(&replace(group.peers(), "no-such-host.invalid"));
    assert_refused(&output, &["no-such-host.invalid"]);
    let output = run(&replace(group.peers(), "127.0.0.1:notaport"));
    assert_refused(&output, &["notaport"]);
    let output = run(&replace("./mortal".into(), "./no-such-program"));
    assert_refused(&output, &["no-such-program"]);
    let output = run_bounded(&["--local".into(), "9".into(), "--".into(), "./mortal".into()], base);
    assert_refused(&output, &["9"]);
    let output = run_bounded(&["--local".into(), "1".into()], base);
    assert_refused(&output, &[]);
}

#[test]
fn a_program_that_cannot_be_interposed_is_refused() {
    let machine = Machine::take("interpose");
    let fixed = program::compiled(machine.folder(), "mortal", &["-static"]);
    let fixed = Group::prepare(&machine, fixed, 1, &[NO_FLOOR]);
    assert_refused(&fixed.refused(1), &["mortal", "static", "leave --floor=never out"]);
    let group = spoilt(&machine, program::compiled(machine.folder(), "mortal", &[]));
    let file = group.program().base.join("mortal");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    assert_refused(&group.refused(1), &["mortal", "setuid"]);
}

#[test]
fn a_program_that_ends_at_once_is_reported_with_its_status() {
    let machine = Machine::take("ends");
    let mut program = program::compiled(machine.folder(), "mortal", &[]);
    program.command = vec!["/bin/false".into()];
    assert_refused(&spoilt(&machine, program).refused(1), &["false", "status 1"]);
}

#[test]
fn a_port_in_use_is_named() {
    let machine = Machine::take("port");
    let group = spoilt(&machine, program::compiled(machine.folder(), "mortal", &[]));
    for address in [group.peer_address(1), group.address(1)] {
        let _taken = TcpListener::bind(address).unwrap();
        assert_refused(&group.refused(1), &[&address.to_string(), "in use"]);
        let _ = fs::remove_dir_all(group.data(1));
    }
}

#[test]
fn a_replica_with_another_base_is_refused_by_the_name_of_the_difference() {
    let machine = Machine::take("base");
    let program = program::redis(machine.folder());
    let base = program.base.clone();
    let settings = base.join("settings");
    fs::write(&settings, "one").unwrap();
    let before = fs::metadata(&settings).unwrap().modified().unwrap();
    let mut group = Group::start(&machine, program, 3, &[]);
    group.stop_replica(3);

    group.program_mut().command.extend(["--maxclients".into(), "100".into()]);
    assert_refused(&group.refused(3), &["argument"]);
    let length = group.program().command.len();
    group.program_mut().command.truncate(length - 2);

    fs::write(&settings, "two").unwrap();
    assert_refused(&group.refused(3), &["file settings"]);
    fs::write(&settings, "one").unwrap();
    // The time of a file's change is part of the base too, because servers send it to clients.
    File::options().write(true).open(&settings).unwrap().set_modified(before).unwrap();

    group.program_mut().command[0] = "/usr/bin/redis-cli".into();
    assert_refused(&group.refused(3), &["redis-cli", ": program"]);
    group.program_mut().command[0] = "/usr/bin/redis-server".into();

    serves(&group, 1);
    group.start_replica(3);
    group.await_serving();
    group.await_settled();
}

#[test]
fn the_data_of_another_group_is_refused() {
    let machine = Machine::take("other-group");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    group.stop();
    let first = machine.folder().join("first-group");
    fs::rename(machine.folder().join("data"), &first).unwrap();
    group.start_all();
    serves(&group, 1);
    group.stop_replica(3);
    let own = machine.folder().join("own");
    fs::rename(group.data(3), &own).unwrap();
    fs::rename(first.join("3"), group.data(3)).unwrap();
    assert_refused(&group.refused(3), &["group"]);
    serves(&group, 2);
    fs::remove_dir_all(group.data(3)).unwrap();
    fs::rename(&own, group.data(3)).unwrap();
    group.start_replica(3);
    group.await_serving();
    serves(&group, 3);
    group.await_settled();
}

#[test]
fn the_data_of_a_newer_version_is_refused() {
    let machine = Machine::take("newer");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    group.stop_replica(3);
    let meta = group.data(3).join("meta");
    let before = fs::read_to_string(&meta).unwrap();
    let newer = before.replacen("\"version\": 4", "\"version\": 5", 1);
    assert_ne!(newer, before, "no version in {before}");
    fs::write(&meta, newer).unwrap();
    assert_refused(&group.refused(3), &["version 5"]);
    serves(&group, 1);
    fs::write(&meta, before).unwrap();
    group.start_replica(3);
    group.await_serving();
    serves(&group, 3);
    group.await_settled();
}

#[test]
fn the_damaged_log_of_a_group_of_one_is_refused() {
    let machine = Machine::take("log-of-one");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 1, &[]);
    for _ in 0..50 {
        serves(&group, 1);
    }
    group.kill(1);
    let first = segments(&group.data(1)).remove(0);
    let middle = used_length(&first) / 2;
    flip(&first, middle);
    let name = first.file_name().unwrap().to_str().unwrap().to_owned();
    assert_refused(&group.refused(1), &[&name, "damaged", "at offset", "from a copy"]);
    assert_eq!(set_aside(&group.data(1)), 0, "a log that cannot be rebuilt stays in its place");
    flip(&first, middle);
    group.start_replica(1);
    group.await_serving();
    serves(&group, 1);
}

#[test]
fn garbage_on_the_peer_port_and_the_control_socket_changes_nothing() {
    let machine = Machine::take("garbage");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let before = group.status().unwrap();
    let garbage: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for id in group.ids() {
        for length in [1, 3, 4, 16, 1000, garbage.len()] {
            send(group.peer_address(id), &garbage[..length]);
            send(group.peer_address(id), &vec![0xff; length]);
            send(group.peer_address(id), &vec![0; length]);
            let socket = group.data(id).join("run/control.sock");
            let mut control = UnixStream::connect(&socket).expect("the control socket");
            let _ = control.write_all(&garbage[..length]);
        }
        serves(&group, id);
    }
    let after = group.await_settled();
    assert_eq!(after.primary(), before.primary(), "an election");
    assert_eq!(after.replica(1).ballot, before.replica(1).ballot, "an election");
    for id in group.ids() {
        assert_eq!(after.replica(id).daemon_pid, before.replica(id).daemon_pid);
        assert_eq!(after.replica(id).server_pid, before.replica(id).server_pid);
    }
}

#[test]
fn silent_connections_to_the_peer_port_keep_no_replica_out() {
    let machine = Machine::take("strangers");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    serves(&group, 1);
    let mut strangers = Vec::new();
    for id in [1, 2] {
        for number in 0..200 {
            let mut stream = TcpStream::connect(group.peer_address(id)).expect("the peer port");
            // Some strangers begin a frame and never complete it.
            let _ = stream.write_all(&[1, 0, 0, 0][..number % 4]);
            strangers.push(stream);
        }
    }
    group.status().expect("a status in spite of the strangers");
    group.kill(3);
    group.start_replica(3);
    group.await_serving();
    serves(&group, 3);
    drop(strangers);
    group.await_settled();
}

fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the peer port");
    // The replica may close the connection at any byte.
    let _ = stream.write_all(bytes);
}

/// Asserts that the service counts through a replica.
#[track_caller]
fn serves(group: &Group, id: u8) {
    let mut connection = Connection::open(group.address(id), ANSWER).expect("a connection");
    let reply = connection.call(&[b"INCR", b"served"]).expect("an answer");
    assert!(matches!(reply, Reply::Number(_)), "{reply:?}");
}

/// Returns the files of a log, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Returns the length up to the last byte that is not zero: a segment may be longer than its
/// records.
fn used_length(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    assert!(end > 16, "{} is empty", path.display());
    end as u64
}

/// Returns how many damaged logs were set aside in a data directory.
fn set_aside(data: &Path) -> usize {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("log.damaged-")).count()
}

fn flip(path: &Path, at: u64) {
    let mut file: File = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
}
