//! The addresses at which a server listens, and who reaches it there.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, SOON, START, eventually};

/// Debian's configuration of Redis: `bind 127.0.0.1 -::1`.
#[test]
fn a_server_at_127_0_0_1_is_reached_from_its_own_host_alone() {
    if let Err(why) = Hosts::possible() {
        println!("not tried, no network namespaces here: {why}");
        return;
    }
    let machine = Machine::take("loopback");
    let hosts = Arc::new(Hosts::make(3));
    let _hub = hosts.visit_hub();
    let mut program = program::redis(machine.folder());
    program.command.extend(["--bind", "127.0.0.1", "-::1"].map(String::from));
    let port = program.port;
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    hosts.ids().for_each(|id| group.start_replica(id));
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for id in hosts.ids() {
        let what = format!("a connection at host {id}");
        eventually(&what, START, || hosts.at(id, || TcpStream::connect(own)));
    }

    let call = |id, words: &[&[u8]]| {
        hosts.at(id, || Connection::open(own, ANSWER).unwrap().call(words).unwrap())
    };
    assert_eq!(call(1, &[b"SET", b"key", b"value"]), Reply::Simple("OK".into()));
    for id in hosts.ids() {
        assert_eq!(call(id, &[b"GET", b"key"]), Reply::Bulk(Some(b"value".to_vec())), "host {id}");
    }

    let refused = |to| {
        let address = SocketAddr::from((hosts.address(to), port));
        TcpStream::connect_timeout(&address, SOON).map_err(|error| error.kind()).err()
    };
    for to in hosts.ids() {
        assert_eq!(refused(to), Some(ErrorKind::ConnectionRefused), "from the switch to {to}");
        for from in hosts.ids() {
            let outcome = hosts.at(from, || refused(to));
            assert_eq!(outcome, Some(ErrorKind::ConnectionRefused), "from {from} to {to}");
        }
    }
    group.await_settled();
}
