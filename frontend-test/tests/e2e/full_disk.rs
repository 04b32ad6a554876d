//! A full disk of a server's files.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::small_disk::SmallDisk;
use crane_test::e2e::wait::{ANSWER, START, eventually};

use crate::disks::{counts, counts_on};

/// The disk of a replica's server. Its log lies on another.
struct ServerDisk {
    disk: SmallDisk,
    _log: SmallDisk,
}

impl ServerDisk {
    /// Mounts a disk of this size for a replica that was never started.
    fn mount(group: &Group, id: u8, mebibytes: u32) -> Option<Self> {
        let data = group.data(id);
        let disk = SmallDisk::mount(&data, mebibytes)?;
        Some(Self { disk, _log: SmallDisk::mount(&data.join("log"), 256)? })
    }
}

/// Waits until `status` names the full disk of a replica's server, and returns the text.
fn await_named(group: &Group, id: u8) -> String {
    let place = group.upper(id);
    let remedy = format!("make room on the disk of the server's files at {}", place.display());
    let named = |text: &str| text.contains("full") && text.contains(&remedy);
    eventually("the full disk is a fault", START, || {
        let status = group.status()?;
        let fault = status.replica(id).faults.iter().find(|fault| named(fault)).cloned();
        fault.ok_or_else(|| format!("{:?}", status.replica(id).faults))
    })
}

/// Fills the disk of the primary's server on one of three hosts, while clients of another write.
#[test]
fn a_replica_whose_server_has_no_room_votes_on_and_is_built_again() {
    let Some((machine, hosts, _hub)) = Hosts::take("server-disk", 3) else { return };
    let (full, other, third) = (1, 2, 3);
    let program = program::redis_on_hosts(machine.folder());
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    let Some(disk) = ServerDisk::mount(&group, full, 24) else { return };
    group.start_all();
    let value = vec![b'x'; 100_000];
    let mut count = counts(&group, other);
    for number in 0..300_u32 {
        let mut connection = Connection::open(group.address(other), ANSWER).expect("a connection");
        let key = format!("key {number}");
        let reply = connection.call(&[b"SET", key.as_bytes(), &value]).expect("an answer");
        assert!(matches!(reply, Reply::Simple(_)), "{reply:?}");
    }
    let fault = await_named(&group, full);
    assert!(fault.contains("write of ") && fault.contains("appendonly"), "{fault}");
    count = counts_on(&group, other, count);

    // Without its vote no entry would be committed.
    group.kill(third);
    count = counts_on(&group, other, count);
    group.start_replica(third);
    eventually("the third replica's return", START, || {
        Connection::open(group.address(third), ANSWER).map(drop)
    });

    disk.disk.resize(256);
    group.await_serving();
    count = counts_on(&group, full, count);
    let status = group.await_settled();
    assert!(status.replica(full).faults.is_empty(), "{:?}", status.replica(full).faults);
    assert!(!group.log(full).contains("SIGBUS"), "{}", group.log(full));
    counts_on(&group, third, count);
    drop(group);
}

/// Fills a disk in the ways in which programs write files. Each file is larger than the disk is at
/// first.
#[test]
fn no_way_to_write_a_file_shows_the_program_a_full_disk() {
    const MEBIBYTES: u32 = 24;
    let machine = Machine::take("ways-to-fill");
    let mut program = program::compiled(machine.folder(), "fills", &[]);
    program.command.push(MEBIBYTES.to_string());
    let mut group = Group::prepare(&machine, program, 3, &[]);
    let Some(disk) = ServerDisk::mount(&group, 3, MEBIBYTES / 2) else { return };
    group.start_all();
    for way in ["write", "writev", "pwrite", "stream", "reserve", "child", "device", "mapping"] {
        let answer = asked(&group, 1, way);
        assert_eq!(answer, format!("filled by {way}"));
        if way != "device" {
            let fault = await_named(&group, 3);
            if way != "mapping" {
                assert!(fault.contains("filled finds no room"), "{way}: {fault}");
            }
            disk.disk.resize(4 * MEBIBYTES);
        }
        group.await_serving();
        assert_eq!(asked(&group, 3, "nothing"), "filled by nothing");
        group.await_settled();
        disk.disk.resize(MEBIBYTES / 2);
    }
    drop(group);
}

fn asked(group: &Group, id: u8, way: &str) -> String {
    let mut stream = TcpStream::connect(group.address(id)).expect("a connection");
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    writeln!(stream, "{way}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer");
    answer.trim_end().to_owned()
}
