//! The host that a server sees: hosts of different processors give their servers the same figures.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::{Machine, skip};
use crane_test::e2e::native::Native;
use crane_test::e2e::program::{self, Program};
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::ANSWER;

/// The number of answers of each replica.
const REQUESTS: usize = 20;

/// Returns the answers to some lines.
fn asked(address: SocketAddr) -> Vec<String> {
    let stream = TcpStream::connect_timeout(&address, ANSWER).expect("a connection");
    stream.set_read_timeout(Some(ANSWER)).expect("a limit");
    let mut reader = BufReader::new(&stream);
    let answer = |_| {
        (&stream).write_all(b"figures\n").expect("a request");
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        line
    };
    (0..REQUESTS).map(answer).collect()
}

/// Returns the part of an answer that is the same each time: what is before the time that the host
/// has been up.
fn constant(answer: &str) -> &str {
    answer.split(" up ").next().expect("a part")
}

/// Returns the program with a command in front of it.
fn behind(program: &Program, words: &[&str]) -> Program {
    let mut program = program.clone();
    program.command.splice(0..0, words.iter().map(|&word| word.to_owned()));
    program
}

/// Writes a command that runs a replica on the first processor alone.
fn on_one_processor(machine: &Machine) -> PathBuf {
    let path = machine.folder().join("on-one-processor");
    let text = format!("#!/bin/sh\nexec taskset -c 0 {} \"$@\"\n", crane_linux().display());
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script to execute");
    path
}

/// Starts three replicas of which the first may use one processor only.
fn mixed(machine: &Machine, program: Program, options: &[&str]) -> Group {
    let mut group = Group::prepare(machine, program, 3, options);
    group.run_command(&on_one_processor(machine));
    group.start_replica(1);
    group.run_command(crane_linux());
    group.start_all();
    group
}

/// Asks all replicas. Returns the part of the answers that never changes.
///
/// # Panics
///
/// Panics if the replicas differ, or a call was not covered.
fn asked_everywhere(group: &Group) -> String {
    let answers: Vec<String> = group.all_addresses().into_iter().flat_map(asked).collect();
    let first = constant(&answers[0]).to_owned();
    for answer in &answers {
        assert_eq!(constant(answer), first);
    }
    group.await_settled();
    for replica in group.status().expect("a status").servers() {
        assert_eq!(replica.uncovered_calls, 0, "replica {}: {:?}", replica.id, replica.notes);
        assert!(replica.notes.is_empty(), "replica {}: {:?}", replica.id, replica.notes);
    }
    first
}

#[test]
fn hosts_of_different_processors_give_their_servers_the_same() {
    let machine = Machine::take("figures");
    let program = program::compiled(machine.folder(), "figures", &[]);
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return skip("this machine has one processor");
    }
    // The control: natively, the same program answers differently on such hosts.
    let native = Native::start(&machine, &program);
    let all = asked(native.address());
    drop(native);
    let native = Native::start(&machine, &behind(&program, &["taskset", "-c", "0"]));
    let one = asked(native.address());
    drop(native);
    assert_ne!(constant(&all[0]), constant(&one[0]));
    for options in [&[NO_FLOOR][..], &["--strict"]] {
        let group = mixed(&machine, program.clone(), options);
        let seen = asked_everywhere(&group);
        println!("{options:?}: {seen}");
        drop(group);
        fs::remove_dir_all(machine.folder().join("data")).expect("data of the last group");
    }
}

#[test]
fn a_server_sees_the_processors_and_memory_that_options_name() {
    let machine = Machine::take("figures-named");
    let program = program::compiled(machine.folder(), "figures", &[]);
    // More processors than this machine has, of which a launcher takes some.
    let behind = behind(&program, &["taskset", "-c", "300,301"]);
    let group = mixed(&machine, behind, &["--processors", "400", "--memory", "3072"]);
    let seen = asked_everywhere(&group);
    assert_eq!(seen, format!("processors 400 own 2 at 300 sum 4 memory {}", 3072_u64 << 20));
}

#[test]
fn redis_says_the_same_of_itself_on_all_replicas() {
    let machine = Machine::take("figures-redis");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    for _ in 0..3 {
        for id in group.ids() {
            let mut connection = Connection::open(group.address(id), ANSWER).expect("a connection");
            let Reply::Bulk(Some(told)) = connection.call(&[b"INFO"]).expect("an answer") else {
                panic!("no text")
            };
            let told = String::from_utf8_lossy(&told);
            assert!(told.contains("used_memory_rss:16777216"), "{told}");
        }
    }
    group.await_settled();
}
