//! Servers of several processes, some of which a host ends.

use std::fs;
use std::net::SocketAddr;

use crane_test::e2e::group::{Group, kill};
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::http::Connection;
use crane_test::e2e::program;
use crane_test::e2e::wait::{ANSWER, START, eventually};

/// The kills at one host.
const KILLS: usize = 3;
/// The requests at the other hosts meanwhile.
const REQUESTS: usize = 60;

/// Returns the children of a process that run.
fn children_of(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    let numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    // One that has ended has no program any more.
    numbers.filter(|number| fs::read_link(format!("/proc/{number}/exe")).is_ok()).collect()
}

/// Makes requests on one connection, each of which must be answered.
fn ask(address: SocketAddr) {
    let mut connection = Connection::open(address, ANSWER).expect("a connection");
    for _ in 0..REQUESTS {
        let reply = connection.get("/").expect("an answer");
        assert!(reply.body.iter().all(u8::is_ascii_digit), "{:?}", reply.body);
    }
}

#[test]
fn a_process_that_one_host_ends_takes_that_server_alone_with_it() {
    let Some((machine, hosts, _visit)) = Hosts::take("processes", 3) else { return };
    let program = program::compiled(machine.folder(), "family", &[]);
    let group = Group::start_on(&machine, &hosts, program);
    let primary = group.primary();
    let victim = group.ids().find(|id| *id != primary).expect("a backup");
    ask(group.address(victim));
    for kills in 1..=KILLS {
        let child = eventually("the server's children", START, || {
            let status = group.status()?;
            let server = status.replica(victim).server_pid.ok_or("no server")?;
            children_of(server).pop().ok_or_else(|| "no child".to_string())
        });
        kill(child).expect("a kill");
        for id in group.ids().filter(|id| *id != victim) {
            ask(group.address(id));
        }
        eventually("the reason", START, || {
            let log = group.log(victim);
            let reason = "was ended by signal 9 from outside of the schedule";
            let count = log.lines().filter(|line| line.contains(reason)).count();
            if count >= kills { Ok(()) } else { Err(log) }
        });
        group.await_healed();
        ask(group.address(victim));
    }
    group.await_settled();
}
