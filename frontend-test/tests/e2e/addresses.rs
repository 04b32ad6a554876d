//! The addresses at which a server listens, and the clients that reach it there.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::{Hosts, Visit};
use crane_test::e2e::machine::{Machine, free_port};
use crane_test::e2e::program::{self, Program};
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, SOON, START, eventually};

/// Runs Redis with Debian's configuration: `bind 127.0.0.1 -::1`.
#[test]
fn a_server_at_127_0_0_1_is_reached_only_from_its_own_host() {
    let Some((machine, hosts, _hub)) = Hosts::take("loopback", 3) else { return };
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

/// Sends a line, and returns the line that comes back.
fn asked(stream: impl Into<OwnedFd>, line: &str) -> io::Result<String> {
    let mut stream = File::from(stream.into());
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

fn ask(address: &str, port: u16, line: &str) -> io::Result<String> {
    let address = SocketAddr::new(address.parse().expect("an address"), port);
    let stream = TcpStream::connect_timeout(&address, SOON)?;
    stream.set_read_timeout(Some(ANSWER))?;
    asked(stream, line)
}

/// Takes three hosts as [`Hosts::take`] does. Each has a second IPv4 address and an IPv6 address,
/// which are reached from the switch too.
fn hosts_with_addresses(name: &str) -> Option<(Machine, Arc<Hosts>, Visit)> {
    let (machine, hosts, hub) = Hosts::take(name, 3)?;
    for id in hosts.ids().chain([0]) {
        let last = if id == 0 { 100 } else { id };
        hosts.give(id, &format!("192.168.79.{last}/24"));
        hosts.give(id, &format!("fd79::{last}/64"));
    }
    Some((machine, hosts, hub))
}

#[test]
fn a_server_at_all_addresses_is_reached_only_at_those_of_listen() {
    let Some((machine, hosts, _hub)) = hosts_with_addresses("listen") else { return };
    let mut program = program::redis_on_hosts(machine.folder());
    program.command.extend(["--bind", "*", "-::*"].map(String::from));
    let port = program.port;
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    for id in hosts.ids() {
        group.set_options(id, &["--listen", &format!("192.168.79.{id},fd79::{id}")]);
        group.start_replica(id);
    }
    let at = |text: String| SocketAddr::new(text.parse().expect("an address"), port);
    let mut number = 0;
    for id in hosts.ids() {
        for address in [format!("192.168.79.{id}"), format!("fd79::{id}")].map(at) {
            let mut connection =
                eventually("a connection", START, || Connection::open(address, ANSWER));
            number += 1;
            let reply = connection.call(&[b"INCR", b"number"]).unwrap();
            assert_eq!(reply, Reply::Number(number), "{address}");
        }
        let own = SocketAddr::from((hosts.address(id), port));
        let error = TcpStream::connect_timeout(&own, SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{own} is not in --listen");
    }
    group.await_settled();
}

/// Listens as Apache does with `Listen 10.0.0.1:80` and `Listen [::]:8080`.
#[test]
fn a_service_address_is_served_on_hosts_that_do_not_have_it() {
    let Some((machine, hosts, _hub)) = hosts_with_addresses("service") else { return };
    let (port, all) = (8080, 8081);
    let places = ["10.79.0.1/8080", "10.79.0.50/8080", "::/8081"];
    let program = program::at_places(machine.folder(), &places);
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    for id in hosts.ids() {
        let listen = format!("10.79.0.{id},fd79::{id}");
        let service = ["--service-address", "10.79.0.1,10.79.0.50"];
        group.set_options(id, &[&service[..], &["--listen", &listen]].concat());
        group.start_replica(id);
    }
    let at_service = "listener 10.79.0.1/8080 local 10.79.0.1/8080 peer a client user 0";
    let check = |ids: &[u8]| {
        for id in ids {
            let own = format!("10.79.0.{id}");
            let answer = eventually("an answer", START, || ask(&own, port, "names\n"));
            assert_eq!(answer, at_service, "host {id}");
            let answer = ask(&own, all, "names\n").unwrap();
            let local = format!("local ::ffff:{own}/8081 ");
            assert!(answer.starts_with("listener ::/8081") && answer.contains(&local), "{answer}");
            let answer = ask(&format!("fd79::{id}"), all, "names\n").unwrap();
            assert!(answer.contains(&format!("local fd79::{id}/8081 ")), "{answer}");
            let answer = ask(&own, all, "interfaces\n").unwrap();
            assert!(answer.contains("lo=10.79.0.1/0 lo=10.79.0.50/0"), "{answer}");
        }
    };
    check(&[1, 2, 3]);
    group.await_settled();

    // An address that comes to a host later is served there.
    hosts.give(2, "10.79.0.50/24");
    let answer = ask("10.79.0.50", port, "names\n").unwrap();
    assert!(answer.starts_with("listener 10.79.0.50/8080 local 10.79.0.50/8080 "), "{answer}");
    let told = group.log(3);
    assert!(told.contains("10.79.0.50:8080, which this host has not"), "{told}");

    let primary = group.primary();
    let others: Vec<u8> = hosts.ids().filter(|id| *id != primary).collect();
    group.kill(primary);
    check(&others);
    group.start_replica(primary);
    check(&[1, 2, 3]);
    group.await_settled();
}

#[test]
fn differing_service_addresses_are_refused_and_missing_ones_are_reported_with_a_remedy() {
    let machine = Machine::take("service-refused");
    let program = program::at_places(machine.folder(), &["0.0.0.0/8080", "10.79.0.77/8080"]);
    let options = ["--service-address", "10.79.0.1"];
    let mut group = Group::prepare(&machine, Program { port: 8080, ..program }, 3, &[]);
    group.ids().for_each(|id| group.set_options(id, &options));
    group.start_all();
    let status = group.status().unwrap();
    for replica in status.servers() {
        let error = replica.last_error.to_string();
        assert!(error.contains("10.79.0.77") && error.contains("--service-address"), "{error}");
    }
    group.stop_replica(3);
    for other in [&["--service-address", "10.79.0.2"][..], &[]] {
        group.set_options(3, other);
        let output = group.refused(3);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("--service-address"), "{text}");
    }
    group.set_options(3, &["--service-address", "10.79.0.1", "--listen", "192.0.2.9"]);
    let text = String::from_utf8_lossy(&group.refused(3).stderr).into_owned();
    assert!(text.contains("--listen 192.0.2.9 is not an address of this host"), "{text}");
}

/// Connects to a Unix socket of the server through a replica.
fn visit(group: &Group, id: u8, path: &str) -> UnixStream {
    let place = group.data(id).join("sockets").join(path.trim_start_matches('/'));
    let stream = eventually("a connection", START, || UnixStream::connect(&place));
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    stream
}

#[test]
fn redis_is_reached_by_its_unix_socket_at_each_replica() {
    const PATH: &str = "/tmp/redis.sock";
    let Some((machine, hosts, _hub)) = Hosts::take("redis-unix", 3) else { return };
    let mut program = program::redis_on_hosts(machine.folder());
    program.command.extend(["--unixsocket", PATH, "--unixsocketperm", "700"].map(String::from));
    let mut group = Group::start_on(&machine, &hosts, program);
    let mut number = 0;
    let mut count = |stream: &UnixStream| {
        number += 1;
        let answer = asked(stream.try_clone().unwrap(), "INCR number\r\n").unwrap();
        assert_eq!(answer, format!(":{number}"));
    };
    for id in hosts.ids() {
        count(&visit(&group, id, PATH));
        let place = group.data(id).join("sockets/tmp/redis.sock");
        let mode = || fs::metadata(&place).map(|about| about.permissions().mode() & 0o777);
        let as_wanted = || match mode() {
            Ok(0o700) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually("the mode that redis gives its socket", START, as_wanted);
    }
    let primary = group.primary();
    let backup = hosts.ids().find(|id| *id != primary).expect("a backup");
    let (kept, lost) = (visit(&group, backup, PATH), visit(&group, primary, PATH));
    count(&kept);
    count(&lost);
    group.kill(primary);
    assert_eq!(
        asked(lost, "PING\r\n").unwrap_or_default(),
        "",
        "the connection ended with its replica"
    );
    count(&kept);
    count(&visit(&group, backup, PATH));
    drop(kept);
    group.start_replica(primary);
    group.await_serving();
    count(&visit(&group, primary, PATH));
    group.await_settled();
}

/// Talks like a client of clamd: a command ends with a zero byte, its answer with another, and then
/// the connection ends.
#[test]
fn unix_sockets_keep_their_names_and_may_be_bound_again() {
    const RELATIVE: &str = "a-relative-name-that-makes-the-public-path-long.ctl";
    let machine = Machine::take("unix");
    let port = free_port();
    let places = ["/tmp/clamd.ctl", RELATIVE, &format!("0.0.0.0/{port}")];
    let program = Program { port, ..program::at_places(machine.folder(), &places) };
    let base = program.base.clone();
    let group = Group::start(&machine, program, 3, &[]);
    let ping = |mut stream: UnixStream| {
        stream.write_all(b"zPING\0").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"PONG\0");
    };
    let named = "listener unix:/tmp/clamd.ctl/17 local unix:/tmp/clamd.ctl/17 peer unix:/2 user 0";
    let old = visit(&group, 1, "/tmp/clamd.ctl");
    for id in group.ids() {
        ping(visit(&group, id, "/tmp/clamd.ctl"));
        let stream = visit(&group, id, "/tmp/clamd.ctl");
        assert_eq!(asked(stream, "names\n").unwrap(), named, "replica {id}");

        // This socket's public path is longer than a client may pass.
        let long = group.data(id).join("sockets").join(base.strip_prefix("/").unwrap());
        let link = machine.folder().join(format!("link-{id}"));
        symlink(long.join(RELATIVE), &link).unwrap();
        let stream = eventually("a connection", START, || UnixStream::connect(&link));
        let answer = asked(stream, "names\n").unwrap();
        let name = format!("unix:{RELATIVE}/{}", RELATIVE.len() + 3);
        assert!(answer.starts_with(&format!("listener {name} local {name} ")), "{answer}");
        assert!(group.log(id).contains("let it connect by a symbolic link"), "{}", group.log(id));
    }
    assert_eq!(asked(old.try_clone().unwrap(), "again\n").unwrap(), "again");
    for id in group.ids() {
        let refused = || match group.log(id).contains("Address already in use") {
            true => Ok(()),
            false => Err("a second bind of the path is not refused"),
        };
        eventually("EADDRINUSE", START, refused);
        eventually("an answer from the new socket", START, || {
            let place = group.data(id).join("sockets/tmp/clamd.ctl");
            asked(UnixStream::connect(place)?, "names\n").map(|answer| assert_eq!(answer, named))
        });
    }
    assert_eq!(asked(old, "names\n").unwrap(), named, "a connection does not outlive its listener");
    group.await_settled();
}
