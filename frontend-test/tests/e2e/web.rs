//! civetweb, an unmodified server with threads.

use std::thread::scope;
use std::time::Duration;

use crane_test::e2e::group::Group;
use crane_test::e2e::http::{Connection, fetch};
use crane_test::e2e::load::{Load, ab};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program::{self, LARGE_PAGE, PAGE};
use crane_test::e2e::wait::{ANSWER, SOON, START, eventually};

#[test]
fn one_replica_serves_pages() {
    let machine = Machine::take("web-one");
    let group = Group::start(&machine, program::civetweb(machine.folder(), 8), 1, &[]);
    assert_eq!(fetch(group.address(1), PAGE, ANSWER).unwrap().body, program::small_page());
    let large = fetch(group.address(1), LARGE_PAGE, ANSWER).unwrap();
    assert!(large.body == program::large_content(), "{} bytes differ", large.body.len());
    assert_eq!(fetch(group.address(1), "/nothing", ANSWER).unwrap().status, 404);
    group.await_settled();
}

#[test]
fn three_replicas_serve_the_same_pages_and_survive_the_primary() {
    let machine = Machine::take("web-three");
    let mut group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &[]);
    for address in group.all_addresses() {
        assert_eq!(fetch(address, PAGE, ANSWER).unwrap().body, program::small_page());
    }
    let primary = group.primary();
    let survivor = group.ids().find(|id| *id != primary).unwrap();
    let mut through_survivor = Connection::open(group.address(survivor), ANSWER).unwrap();
    let mut through_primary = Connection::open(group.address(primary), ANSWER).unwrap();
    assert_eq!(through_survivor.get(PAGE).unwrap().body, program::small_page());
    assert_eq!(through_primary.get(PAGE).unwrap().body, program::small_page());
    group.kill(primary);
    assert_eq!(through_survivor.get(PAGE).unwrap().body, program::small_page());
    assert!(through_primary.get(PAGE).is_err(), "the dead replica answered");
    assert_eq!(fetch(group.address(survivor), PAGE, ANSWER).unwrap().body, program::small_page());
    drop((through_survivor, through_primary));
    group.start_replica(primary);
    group.await_serving();
    let settled = group.await_settled();
    assert_ne!(settled.primary(), Ok(primary), "the killed replica is a backup now");
    let returned = group.address(primary);
    assert_eq!(fetch(returned, PAGE, ANSWER).unwrap().body, program::small_page());
    group.await_settled();
}

#[test]
fn ab_succeeds_through_one_replica_and_through_three_at_once() {
    let machine = Machine::take("web-ab");
    let group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &[]);
    for keepalive in [false, true] {
        let load = Load { requests: 2000, connections: 8, keepalive };
        ab(group.address(group.primary()), PAGE, load).unwrap();
        group.await_settled();
        scope(|threads| {
            for address in group.all_addresses() {
                let load = Load { requests: 700, connections: 3, keepalive };
                threads.spawn(move || ab(address, PAGE, load).unwrap());
            }
        });
        group.await_settled();
    }
}

#[test]
fn a_server_that_dies_without_its_daemon_is_built_again() {
    let machine = Machine::take("web-dies");
    let group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &[]);
    let primary = group.primary();
    // A backup's server dies first, then the primary's.
    let backup = group.ids().find(|id| *id != primary).unwrap();
    for id in [backup, primary] {
        let before = group.status().unwrap().replica(id).server_pid.expect("a server");
        crane_test::e2e::group::kill(before).unwrap();
        let other = group.ids().find(|other| *other != id).unwrap();
        eventually("an answer of another replica", SOON, || {
            let reply = fetch(group.address(other), PAGE, Duration::from_secs(5));
            reply.map(|reply| assert_eq!(reply.status, 200))
        });
        eventually("a new server", START, || {
            let status = group.status()?;
            status.healthy(3)?;
            match status.replica(id).server_pid {
                Some(pid) if pid != before => Ok(()),
                pid => Err(format!("server {pid:?} of replica {id}")),
            }
        });
        eventually("a page of the new server", START, || {
            fetch(group.address(id), PAGE, ANSWER).map(|reply| assert_eq!(reply.status, 200))
        });
        group.await_settled();
    }
}
