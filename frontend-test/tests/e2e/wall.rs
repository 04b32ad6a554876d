//! The wall of the cell: calls that the preload library does not see reach no host, and signals of
//! a terminal do not reach the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::Group;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::machine::{Machine, skip};
use crane_test::e2e::nobody::command_of_nobody;
use crane_test::e2e::program;
use crane_test::e2e::wait::{SOON, START, eventually};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// Sends the server a line, and returns its answer.
pub(crate) fn ask(address: SocketAddr, line: &str) -> std::io::Result<String> {
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
fn a_raw_bind_is_unreachable_and_a_raw_connect_has_no_route() {
    let Some((machine, hosts, _hub)) = Hosts::take("wall", 3) else { return };
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let mut group = Group::prepare_on(&machine, &hosts, program, 3);
    // A floor would answer the calls.
    group.options_mut().push(NO_FLOOR.to_string());
    group.start_all();
    let served = group.address(1);
    let at_server = |line: &str| {
        let line = line.to_string();
        eventually("an answer", START, || group.at_host(1, || ask(served, &line)))
    };
    assert_eq!(at_server("hello"), "hello");

    // All three replicas make the same raw calls, each in its own cell.
    let port = served.port() + 1;
    assert_eq!(at_server(&format!("raw listen {port}")), "0");
    for id in hosts.ids() {
        for host in [IpAddr::from(hosts.address(id)), IpAddr::from([127, 0, 0, 1])] {
            let refused = hosts.at(id, || {
                TcpStream::connect_timeout(&(host, port).into(), SOON).map_err(|error| error.kind())
            });
            assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused), "host {id}, {host}");
        }
        let raw = format!("raw connect {} {}", hosts.address(id), served.port());
        assert_eq!(at_server(&raw), libc_errno(Errno::NETUNREACH), "host {id}");
    }
    nothing_leaves(&hosts, port + 1, at_server);
    // The loopback device works, and leads to the cell alone.
    assert_eq!(at_server(&format!("raw connect 127.0.0.1 {port}")), "0");
    group.await_settled();
}

/// Asserts that no host receives the bytes that a server sends by raw calls.
fn nothing_leaves(hosts: &Hosts, port: u16, at_server: impl Fn(&str) -> String) {
    let ears: Vec<(UdpSocket, TcpListener)> = hosts
        .ids()
        .map(|id| {
            hosts.at(id, || {
                let at = (hosts.address(id), port);
                (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap())
            })
        })
        .collect();
    for id in hosts.ids() {
        for raw in ["send", "connect"] {
            let raw = format!("raw {raw} {} {port}", hosts.address(id));
            assert_eq!(at_server(&raw), libc_errno(Errno::NETUNREACH), "{raw}");
        }
    }
    let mut space = [0; 16];
    for (datagrams, connections) in &ears {
        datagrams.set_nonblocking(true).unwrap();
        connections.set_nonblocking(true).unwrap();
        let heard = datagrams.recv(&mut space).map_err(|error| error.kind());
        assert_eq!(heard, Err(ErrorKind::WouldBlock));
        let heard = connections.accept().map_err(|error| error.kind());
        assert_eq!(heard.err(), Some(ErrorKind::WouldBlock));
    }
    // The hosts do receive bytes from a process outside of the cell.
    let (from, to) = (hosts.address(1), hosts.address(2));
    let sent = hosts.at(1, || {
        TcpStream::connect_timeout(&(to, port).into(), SOON).unwrap();
        UdpSocket::bind((from, 0)).and_then(|socket| socket.send_to(b"out", (to, port)))
    });
    assert_eq!(sent.unwrap(), 3);
    let (datagrams, connections) = &ears[1];
    eventually("a datagram", SOON, || datagrams.recv(&mut space));
    eventually("a connection", SOON, || connections.accept());
}

fn libc_errno(error: Errno) -> String {
    error.raw_os_error().to_string()
}

/// Sends Ctrl-C, which reaches every process of the terminal's foreground group at once.
#[test]
fn a_terminal_signal_reaches_the_daemon_and_not_the_server() {
    let machine = Machine::take("terminal");
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let group = Group::prepare(&machine, program, 1, &[]);
    let mut child = Command::new(crane_linux())
        .args(group.arguments(1))
        .current_dir(&group.program().base)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let foreground = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let address = group.address(1);
    let session = eventually("an answer", START, || ask(address, "raw session"));
    let server = eventually("a server", START, || {
        group.status()?.replica(1).server_pid.ok_or_else(|| "no server".to_string())
    });
    let numbers: Vec<&str> = session.split(' ').collect();
    assert!(
        numbers.iter().all(|number| *number == numbers[0]),
        "the server does not lead its session: {session}"
    );

    let groups = |process: u32| -> Vec<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_whitespace().skip(2).take(2).map(|word| word.parse().unwrap()).collect()
    };
    let (daemons, servers) = (groups(child.id()), groups(server));
    assert_eq!(daemons[0], foreground.as_raw_nonzero().get());
    assert!(servers.iter().all(|id| !daemons.contains(id)), "{daemons:?}, {servers:?}");
    // Launcher and init are outside of the group too: their ends would end the server.
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(process) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        let member = stat.rsplit_once(')').is_some_and(|(_, rest)| {
            rest.split_whitespace().nth(2) == Some(&foreground.as_raw_nonzero().to_string())
        });
        assert!(!member || process == child.id(), "process {process} is in the foreground: {stat}");
    }

    kill_process_group(foreground, Signal::INT).unwrap();
    let ended = eventually("the daemon's end", START, || {
        child.try_wait().unwrap().ok_or_else(|| "the daemon still runs".to_string())
    });
    assert_eq!(ended.code(), Some(0));
    eventually("the server's end", SOON, || {
        match std::fs::exists(format!("/proc/{server}")).unwrap() {
            true => Err("the server still runs"),
            false => Ok(()),
        }
    });
}

/// The server sees the group's limits and not the caller's. A host whose hard limits are too low is
/// refused.
#[test]
fn limits_are_the_groups_and_a_host_with_lower_ones_is_refused() {
    let machine = Machine::take("limits");
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let group = Group::prepare(&machine, program, 1, &[]);
    let started = |limit: &str| {
        let mut command = Command::new("setpriv");
        // The daemon lacks the capability to raise a hard limit, like a service in a container.
        command.args(["--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"]);
        command.args(["sh", "-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]);
        command.arg(crane_linux()).args(group.arguments(1));
        command.current_dir(&group.program().base).stdin(Stdio::null());
        command
    };
    let output = started("-n 1000").stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("hard limit of open files is 1000"), "{text}");
    assert!(text.contains("LimitNOFILE=16389"), "{text}");

    // The server sees neither of the caller's soft limits, one below and one above the group's.
    let mut child = started("-S -n 256; ulimit -S -s unlimited").spawn().unwrap();
    let limits = eventually("a server", START, || {
        let server =
            group.status()?.replica(1).server_pid.ok_or_else(|| "no server".to_string())?;
        std::fs::read_to_string(format!("/proc/{server}/limits")).map_err(|error| error.to_string())
    });
    let row = |name: &str| -> Vec<String> {
        let line = limits.lines().find(|line| line.starts_with(name)).expect(name);
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect()
    };
    // The hard limit has room for the library's own.
    assert_eq!(row("Max open files"), ["16384", "16389"]);
    assert_eq!(row("Max stack size"), ["8388608", "8388608"]);
    assert_eq!(row("Max core file size"), ["0", "0"]);
    let daemon = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(daemon, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Makes a raw call for each row of specs/CLOSED.md.
#[test]
fn calls_of_the_closed_list_are_refused_with_their_errors() {
    let machine = Machine::take("closed");
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let group = Group::start(&machine, program, 1, &[]);
    let refused = |line: &str, expected: Errno| {
        let answer = ask(group.address(1), line).unwrap();
        assert_eq!(answer, libc_errno(expected), "{line}");
    };
    let mut rows = 0;
    for row in include_str!("../../../specs/CLOSED.md").lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(Ok(number)) = cells.get(1).map(|cell| cell.parse::<u32>()) else { continue };
        let expected = match cells[3] {
            "`ENOSYS`" => Errno::NOSYS,
            "`EPERM`" => Errno::PERM,
            other => panic!("{other}: {row}"),
        };
        refused(&format!("raw call {number} 0 0"), expected);
        // The number of the same call in the x32 table is refused too.
        refused(&format!("raw call {} 0 0", number | 0x4000_0000), Errno::NOSYS);
        rows += 1;
    }
    assert!(rows > 30, "{rows} rows");
    // futex_waitv, which this kernel has, and a number that no kernel has.
    refused("raw call 449 0 0", Errno::NOSYS);
    refused("raw call 1000 0 0", Errno::NOSYS);
    // The number 20 is getpid in the table of 32-bit programs.
    refused("raw i386 20", Errno::NOSYS);
    // The arguments of socket(): AF_PACKET, raw AF_INET, raw AF_INET6, AF_XDP and AF_VSOCK.
    for (family, kind, expected) in [
        (17, 2, Errno::PERM),
        (2, 3, Errno::PERM),
        (10, 3, Errno::PERM),
        (44, 3, Errno::AFNOSUPPORT),
        (40, 1, Errno::AFNOSUPPORT),
    ] {
        refused(&format!("raw call 41 {family} {kind}"), expected);
    }
    let server = group.status().unwrap().replica(1).server_pid.expect("a server");
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().nth(1).expect(name).to_string()
    };
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("Seccomp:"), "2");
    if rustix::process::geteuid().is_root() {
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(value(set), "00000000a00405fb", "{set}");
        }
    }
}

/// Runs as Debian's `nobody`, who may make a user namespace with a network, but no mount namespace.
#[test]
fn a_raw_bind_of_an_unprivileged_server_is_unreachable() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let machine = Machine::take("nobody");
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let group = Group::prepare(&machine, program, 1, &[]);
    let mut child = command_of_nobody(&group, 1).spawn().unwrap();
    let address = group.address(1);
    let port = address.port() + 1;
    let listens = eventually("an answer", START, || ask(address, &format!("raw listen {port}")));
    assert_eq!(listens, "0");
    let status = group.status().unwrap();
    let last_error = status.replica(1).last_error.to_string();
    let reached = TcpStream::connect((IpAddr::from([127, 0, 0, 1]), port));
    // Without user namespaces the server shares the host's network, and crane reports that.
    assert_eq!(reached.is_ok(), last_error.contains("shares this host's network"), "{last_error}");
    assert_eq!(ask(address, "raw call 425 0 0").unwrap(), libc_errno(Errno::NOSYS));
    let daemon = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(daemon, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
