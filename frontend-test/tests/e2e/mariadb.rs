//! MariaDB as packaged, on three hosts, at 127.0.0.1 as Debian configures it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::thread::scope;

use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::load::mariadb as run;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::wait::{SOON, START, eventually};

const CLIENTS: usize = 4;
const ROWS: usize = 25;

#[test]
fn tables_are_equal_in_spite_of_a_kill_and_shutdown_ends_the_group() {
    let Some((machine, hosts, _hub)) = Hosts::take("mariadb", 3) else { return };
    let (mut group, clients) = start(&machine, &hosts, &[]);
    for id in group.ids() {
        let outside = TcpStream::connect_timeout(&group.address(id), SOON);
        let refused = outside.map_err(|error| error.kind()).err();
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "from the switch to host {id}");
    }
    clients
        .ask(1, "create database d; create table d.t (id int primary key, name varchar(40))")
        .unwrap();
    clients.insert(0);
    let before = clients.rows(1).unwrap();
    assert_eq!(before.lines().count(), CLIENTS * ROWS);

    let primary = group.primary();
    let survivor = group.ids().find(|id| *id != primary).expect("a backup");
    group.kill(primary);
    let read = eventually("the rows at a survivor", SOON, || clients.rows(survivor));
    assert_eq!(read, before, "a row is lost or doubled");
    clients.ask(survivor, "insert into d.t (id, name) values (1000000, 'between')").unwrap();
    group.start_replica(primary);
    let expected = clients.rows(survivor).unwrap();
    eventually("the rows at the replica that returned", START, || {
        let read = clients.rows(primary)?;
        if read == expected { Ok(()) } else { Err(format!("{} rows", read.lines().count())) }
    });

    clients.insert(1);
    let expected = clients.rows(1).unwrap();
    assert_eq!(expected.lines().count(), 2 * CLIENTS * ROWS + 1);
    for id in group.ids() {
        assert_eq!(clients.rows(id).unwrap(), expected, "replica {id}");
    }
    group.await_settled();

    // On a shutdown the server sends itself a signal, for which one of its threads waits (sigwait).
    let _ = clients.ask(1, "shutdown");
    for id in group.ids() {
        let status = group.await_exit(id);
        assert!(status.success(), "replica {id}: {status}");
    }
}

#[test]
fn on_the_floor_all_bytes_for_clients_are_equal() {
    let Some((machine, hosts, _hub)) = Hosts::take("mariadb-floor", 3) else { return };
    let (mut group, clients) = start(&machine, &hosts, &["--strict"]);
    let all = "select now(6), rand(), uuid(), connection_id(), @@hostname, @@server_uid";
    let told = [1, 2, 3].map(|id| clients.ask(id, all).unwrap());
    assert!(told[0] != told[1] && told[1] != told[2], "{told:?}");
    let columns = "id int primary key, name varchar(40), made timestamp(6) default now(6), \
                   number double default rand(), word varchar(40) default uuid()";
    clients.ask(2, &format!("create database d; create table d.t ({columns})")).unwrap();
    clients.insert(0);
    group.await_settled();

    let primary = group.primary();
    let survivor = group.ids().find(|id| *id != primary).expect("a backup");
    group.kill(primary);
    let before = eventually("the rows at a survivor", SOON, || clients.rows(survivor));
    group.start_replica(primary);
    eventually("an answer of the replica that returned", START, || {
        clients.ask(primary, "select 1")
    });
    clients.insert(1);
    let rows = [1, 2, 3].map(|id| clients.rows(id).unwrap());
    assert!(rows[0].starts_with(&before) && rows[0] == rows[1] && rows[1] == rows[2]);
    clients.ask(survivor, "show status; show engine innodb status").unwrap();
    group.await_settled();
}

/// Starts a group at all hosts, and waits until each answers.
fn start<'a>(machine: &Machine, hosts: &'a Arc<Hosts>, options: &[&str]) -> (Group, Clients<'a>) {
    let mut program = program::mariadb(machine.folder());
    program.command.push("--bind-address=127.0.0.1".into());
    let clients = Clients { hosts, port: program.port };
    let mut group = Group::prepare_on(machine, hosts, program, 3);
    group.options_mut().extend(options.iter().map(ToString::to_string));
    for id in group.ids() {
        group.start_replica(id);
    }
    for id in group.ids() {
        eventually("an answer at each host", START, || clients.ask(id, "select 1"));
    }
    (group, clients)
}

/// Clients at the hosts of the replicas.
struct Clients<'a> {
    hosts: &'a Hosts,
    port: u16,
}

impl Clients<'_> {
    /// Inserts [`ROWS`] rows by each of [`CLIENTS`] clients, spread over the hosts.
    fn insert(&self, round: usize) {
        let hosts: Vec<u8> = self.hosts.ids().collect();
        scope(|threads| {
            for client in 0..CLIENTS {
                let host = hosts[client % hosts.len()];
                threads.spawn(move || {
                    let first = (round * CLIENTS + client) * ROWS;
                    let inserts: Vec<String> = (first..first + ROWS)
                        .map(|id| {
                            let values = format!("({id}, 'row {id} of {client}')");
                            format!("insert into d.t (id, name) values {values}")
                        })
                        .collect();
                    self.ask(host, &inserts.join("; ")).expect("inserted rows");
                });
            }
        });
    }

    fn rows(&self, host: u8) -> Result<String, String> {
        self.ask(host, "select * from d.t order by id")
    }

    /// Runs statements at a host by its loopback address.
    fn ask(&self, host: u8, statements: &str) -> Result<String, String> {
        self.hosts.at(host, || run((Ipv4Addr::LOCALHOST, self.port).into(), statements))
    }
}
