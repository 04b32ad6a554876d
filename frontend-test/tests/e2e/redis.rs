//! Redis, a server with epoll, one serving thread and an append-only file.

use std::thread::scope;

use crane_test::e2e::group::Group;
use crane_test::e2e::load::{Load, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};

const AOF: &str = "appendonlydir/appendonly.aof.1.incr.aof";

#[test]
fn redis_benchmark_succeeds_through_one_replica_and_through_three_at_once() {
    let machine = Machine::take("redis-benchmark");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let load = Load { requests: 20_000, connections: 20, keepalive: true };
    redis_benchmark(group.address(group.primary()), "set,get", load).unwrap();
    group.await_settled();
    scope(|threads| {
        for address in group.all_addresses() {
            let load = Load { requests: 7000, connections: 7, keepalive: true };
            threads.spawn(move || redis_benchmark(address, "set,get", load).unwrap());
        }
    });
    group.await_settled();
}

#[test]
fn append_only_files_are_equal_after_a_killed_replica_returns() {
    let machine = Machine::take("redis-aof");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let count = 300;
    write(&group, 1..=count);
    let primary = group.primary();
    group.kill(primary);
    write(&group, count + 1..=2 * count);
    group.start_replica(primary);
    group.await_serving();
    write(&group, 2 * count + 1..=3 * count);
    for address in group.all_addresses() {
        let mut connection = Connection::open(address, ANSWER).unwrap();
        assert_eq!(connection.call(&[b"LLEN", b"writes"]).unwrap(), Reply::Number(3 * count));
    }
    group.await_settled();
    // The server answers first and then writes the file, before it waits again.
    let file = eventually("equal files", START, || {
        let files: Vec<Vec<u8>> =
            group.ids().map(|id| group.file(id, AOF).unwrap_or_default()).collect();
        let same = !files[0].is_empty() && files.iter().all(|file| *file == files[0]);
        let lengths: Vec<usize> = files.iter().map(Vec::len).collect();
        if same { Ok(files[0].clone()) } else { Err(format!("lengths {lengths:?}")) }
    });
    let last = format!("value {}", 3 * count);
    let text = String::from_utf8_lossy(&file);
    assert_eq!(text.matches(&last).count(), 1, "the last write is in the file once");
}

/// Appends values through a replica that is up, and checks each answer.
fn write(group: &Group, numbers: std::ops::RangeInclusive<i64>) {
    let status = group.status().unwrap();
    let up = status.replicas.iter().filter(|r| r.role != "down").map(|r| r.id).next_back();
    let mut connection = Connection::open(group.address(up.expect("a replica")), ANSWER).unwrap();
    for number in numbers {
        let value = format!("value {number}");
        let reply = connection.call(&[b"RPUSH", b"writes", value.as_bytes()]).unwrap();
        assert_eq!(reply, Reply::Number(number));
    }
}
