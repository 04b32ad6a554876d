//! MariaDB as packaged, on three hosts.
//!
//! The outputs of its replicas differ today, because the salt of each greeting comes from the
//! processor's time stamp counter (specs/LIMITS.md). So these tests compare calls and tables, not
//! the bytes for clients.

use std::net::SocketAddr;
use std::process::Command;
use std::thread::scope;

use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::program;
use crane_test::e2e::wait::{SOON, START, eventually};

const CLIENTS: usize = 4;
const ROWS: usize = 25;

#[test]
fn tables_are_equal_in_spite_of_a_kill_and_shutdown_ends_the_group() {
    let Some((machine, hosts, _hub)) = Hosts::take("mariadb", 3) else { return };
    let mut group = Group::start_on(&machine, &hosts, program::mariadb(machine.folder()));
    let first = group.address(1);
    ask(first, "create database d; create table d.t (id int primary key, name varchar(40))")
        .unwrap();
    insert(&group, 0);
    let before = rows(first).unwrap();
    assert_eq!(before.lines().count(), CLIENTS * ROWS);

    let primary = group.primary();
    let survivor = group.ids().find(|id| *id != primary).expect("a backup");
    group.kill(primary);
    let read = eventually("the rows at a survivor", SOON, || rows(group.address(survivor)));
    assert_eq!(read, before, "a row is lost or doubled");
    ask(group.address(survivor), "insert into d.t values (1000000, 'between')").unwrap();
    group.start_replica(primary);
    let expected = rows(group.address(survivor)).unwrap();
    eventually("the rows at the replica that returned", START, || {
        let read = rows(group.address(primary))?;
        if read == expected { Ok(()) } else { Err(format!("{} rows", read.lines().count())) }
    });

    insert(&group, 1);
    let expected = rows(first).unwrap();
    assert_eq!(expected.lines().count(), 2 * CLIENTS * ROWS + 1);
    for id in group.ids() {
        assert_eq!(rows(group.address(id)).unwrap(), expected, "replica {id}");
    }
    eventually("equal calls at one slot", SOON, || {
        let status = group.status()?;
        let mut servers = status.servers();
        let one = servers.next().ok_or("no server")?;
        let equal = servers.all(|other| {
            other.hash_slot == one.hash_slot && other.schedule_hash == one.schedule_hash
        });
        if equal && one.hash_slot.is_some() { Ok(()) } else { Err(status.brief()) }
    });

    // On a shutdown the server sends itself a signal, for which one of its threads waits (sigwait).
    let _ = ask(first, "shutdown");
    for id in group.ids() {
        let status = group.await_exit(id);
        assert!(status.success(), "replica {id}: {status}");
    }
}

/// Inserts [`ROWS`] rows by each of [`CLIENTS`] clients, spread over the replicas.
fn insert(group: &Group, round: usize) {
    let addresses = group.all_addresses();
    scope(|threads| {
        for client in 0..CLIENTS {
            let address = addresses[client % addresses.len()];
            threads.spawn(move || {
                let first = (round * CLIENTS + client) * ROWS;
                let inserts: Vec<String> = (first..first + ROWS)
                    .map(|id| format!("insert into d.t values ({id}, 'row {id} of {client}')"))
                    .collect();
                ask(address, &inserts.join("; ")).expect("the rows are inserted");
            });
        }
    });
}

fn rows(address: SocketAddr) -> Result<String, String> {
    ask(address, "select * from d.t order by id")
}

/// Runs statements by the client `mariadb`, and returns its output.
fn ask(address: SocketAddr, statements: &str) -> Result<String, String> {
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--user=app", "--skip-column-names", "--batch"])
        .args(["--protocol=tcp", "--connect-timeout=10"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .args(["--execute", statements])
        .output()
        .map_err(|error| format!("mariadb: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{statements}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
