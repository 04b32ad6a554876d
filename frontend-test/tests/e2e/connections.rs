//! Many connections at a time, and their price.

use std::net::TcpStream;
use std::time::Instant;

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resources::{allow_descriptors, resident_kib};
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};

/// The number of files that the server may have open, above the usual 16 384.
const OPEN_FILES: &str = "17500";
/// The number of connections. Redis keeps some descriptors for itself.
const MANY: usize = 17_000;
/// Kibibytes that the server and the daemon may take for one idle connection. Natively, Redis takes
/// five.
const SERVER_KIB: u64 = 12;
const DAEMON_KIB: u64 = 8;

#[test]
fn thousands_of_idle_connections_are_kept_and_the_last_one_is_served() {
    let possible = allow_descriptors() as usize;
    let count = MANY.min(possible.saturating_sub(500));
    let machine = Machine::take("connections");
    let mut program = program::redis(machine.folder());
    program.command.extend(["--maxclients", "17200", "--timeout", "0"].map(String::from));
    let group = Group::start(&machine, program, 3, &["--open-files", OPEN_FILES]);
    let address = group.address(group.ids().last().unwrap());
    let memory = || {
        let status = group.status().unwrap();
        let of = |id| {
            let replica = status.replica(id);
            let kib = |process: Option<u32>| resident_kib(process.unwrap()).unwrap();
            [kib(replica.server_pid), kib(replica.daemon_pid)]
        };
        group.ids().map(of).collect::<Vec<_>>()
    };
    let open = |connections: &mut Vec<TcpStream>, count: usize| {
        while connections.len() < count {
            connections.push(TcpStream::connect(address).unwrap());
        }
        eventually("the connections at all servers", START, || {
            let status = group.status()?;
            let have: Vec<_> = status.servers().map(|replica| replica.connections).collect();
            let all = have.iter().all(|have| have.is_some_and(|have| have >= count as u64));
            if all { Ok(()) } else { Err(format!("{have:?} of {count}")) }
        });
    };
    let mut connections = Vec::new();
    open(&mut connections, 10);
    let few = memory();
    let since = Instant::now();
    open(&mut connections, count);
    let took = since.elapsed();
    let since = Instant::now();
    let mut last = Connection::open(address, ANSWER).unwrap();
    assert_eq!(last.call(&[b"SET", b"key", b"value"]).unwrap(), Reply::Simple("OK".into()));
    let many = memory();
    println!(
        "{count} connections in {took:?}, then one request in {:?}; KiB of server and daemon with \
         10: {few:?}, with all: {many:?}",
        since.elapsed()
    );
    for (few, many) in few.iter().zip(&many) {
        let [server, daemon] = [0, 1].map(|part| many[part].saturating_sub(few[part]));
        assert!(server <= SERVER_KIB * count as u64, "a server takes {server} KiB more");
        assert!(daemon <= DAEMON_KIB * count as u64, "a daemon takes {daemon} KiB more");
    }
    let status = group.status().unwrap();
    for replica in status.servers() {
        assert_eq!((replica.refused_connections, &replica.faults[..]), (Some(0), &[][..]));
    }
    drop((connections, last));
    group.await_settled();
}
