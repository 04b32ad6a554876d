//! The wall of the cell: what the preload library does not see reaches no host, and what happens at
//! a terminal does not reach the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::machine::{Machine, free_port};
use crane_test::e2e::program;
use crane_test::e2e::wait::{SOON, START, eventually};

/// Asks the server one line.
fn ask(address: SocketAddr, line: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut space = [0; 512];
    let length = stream.read(&mut space)?;
    if length == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&space[..length]).trim_end().to_string())
}

#[test]
fn a_raw_bind_is_not_reachable_and_a_raw_connect_has_no_route() {
    if let Err(why) = Hosts::possible() {
        println!("not tried, no network namespaces here: {why}");
        return;
    }
    let machine = Machine::take("wall");
    let hosts = Arc::new(Hosts::make(3));
    let _hub = hosts.visit_hub();
    let group =
        Group::start_on(&machine, &hosts, program::compiled(machine.folder(), "outsider", &[]));
    let served = group.address(1);
    let at_server = |line: &str| {
        let line = line.to_string();
        eventually("an answer", START, || group.at_host(1, || ask(served, &line)))
    };
    assert_eq!(at_server("hello"), "hello");

    // All three replicas do the same raw calls, each in its own cell.
    let port = free_port();
    assert_eq!(at_server(&format!("raw listen {port}")), "0");
    for id in hosts.ids() {
        for host in [IpAddr::from(hosts.address(id)), IpAddr::from([127, 0, 0, 1])] {
            let refused = hosts.at(id, || {
                TcpStream::connect_timeout(&(host, port).into(), SOON).map_err(|error| error.kind())
            });
            assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused), "host {id}, {host}");
        }
        let raw = format!("raw connect {} {}", hosts.address(id), served.port());
        assert_eq!(at_server(&raw), libc_errno(rustix::io::Errno::NETUNREACH), "host {id}");
    }
    // The loopback device works, and leads to the cell alone.
    assert_eq!(at_server(&format!("raw connect 127.0.0.1 {port}")), "0");
    group.await_settled();
}

fn libc_errno(error: rustix::io::Errno) -> String {
    error.raw_os_error().to_string()
}
