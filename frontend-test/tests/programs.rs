//! The programs in `programs/stuck` and `programs/odd` as references: natively they do what their
//! first lines say, and do the same in every run.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, socket};
use rustix::process::{Pid, Signal, kill_process_group};

use crane_test::e2e::programs::{self, Expect, Running, Stuck, compiled, echoes};

/// A time longer than any program takes natively, even on a loaded machine.
const BOUND: Duration = Duration::from_secs(20);
/// The number of programs that run at the same time.
const AT_ONCE: usize = 4;

#[test]
fn every_program_compiles() {
    for stuck in programs::stuck() {
        assert!(compiled("stuck", &stuck.name).is_file());
    }
    for odd in programs::odd() {
        assert!(compiled("odd", &odd.name).is_file());
    }
    assert!(compiled("launchers", "busybox").is_file());
}

#[test]
fn the_lists_have_as_many_programs_as_promised() {
    let stuck = programs::stuck();
    let faults = stuck.iter().filter(|one| one.expect != Expect::None).count();
    assert!(faults >= 30, "only {faults} ways to stick");
    assert!(stuck.iter().any(|one| one.expect == Expect::None), "the list has no control");
    assert!(programs::odd().len() >= 200);
    assert!(programs::launchers().len() >= 10);
    let kinds: BTreeSet<_> = programs::odd().into_iter().map(|odd| odd.kind).collect();
    assert_eq!(kinds.len(), programs::odd().len(), "two odd programs are of one kind");
}

#[test]
fn odd_programs_repeat_their_transcript_also_with_a_separate_peer() {
    each(programs::odd(), |odd| {
        let first = Running::start("odd", &odd.name, port(), &[]).end_within(BOUND);
        if first.status != Some(0) || first.transcript.is_empty() {
            return Err(format!("{}: {first:?}", odd.name));
        }
        let second = Running::start("odd", &odd.name, port(), &[]).end_within(BOUND);
        if second != first {
            return Err(format!("{}: {first:?}then {second:?}", odd.name));
        }
        if !odd.has_peer {
            return Ok(());
        }
        let at = port();
        let server = Running::start("odd", &odd.name, at, &["server"]);
        let peer = Running::start("odd", &odd.name, at, &["peer"]);
        let apart = server.end_within(BOUND);
        let peer = peer.end_within(BOUND);
        if apart != first || peer.status != Some(0) || !peer.transcript.is_empty() {
            return Err(format!("{}: {first:?}apart {apart:?}peer {peer:?}", odd.name));
        }
        Ok(())
    });
}

#[test]
fn stuck_programs_echo_and_then_stick_in_the_call_that_they_name() {
    let numbers = numbers_of_calls();
    each(programs::stuck(), |stuck| {
        let server = Running::start("stuck", &stuck.name, port(), &[]);
        let stream = server.connect(BOUND);
        if !echoes(&stream, "hello\n") {
            return Err(format!("{}: no echo", stuck.name));
        }
        let limit = match stuck.expect {
            Expect::Bypass => BOUND,
            _ => Duration::from_millis(300),
        };
        stream.set_read_timeout(Some(limit)).expect("a limit");
        let answered = echoes(&stream, "stick\n");
        match stuck.expect {
            Expect::Bypass if !answered => Err(format!("{}: does not answer", stuck.name)),
            Expect::InKernel | Expect::Computes if answered => {
                Err(format!("{}: answers", stuck.name))
            }
            Expect::InKernel => sticks_in(&server, stuck, &numbers),
            Expect::Computes => computes(&server, stuck),
            Expect::Bypass | Expect::None => Ok(()),
        }
    });
}

#[test]
fn launchers_start_the_server_natively() {
    let server = compiled("stuck", "control-idle").display().to_string();
    for launcher in programs::launchers() {
        let at = port();
        let command = launcher.command(&[server.clone(), at.to_string()]);
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a launcher");
        let since = Instant::now();
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", at)) {
                Ok(stream) => break Some(stream),
                Err(_) if since.elapsed() < BOUND => sleep(Duration::from_millis(10)),
                Err(_) => break None,
            }
        };
        let answers = stream.is_some_and(|stream| {
            stream.set_read_timeout(Some(BOUND)).is_ok() && echoes(&stream, "launched\n")
        });
        // The signal goes to the whole group, because the child of `timeout` must not outlive it.
        let group = Pid::from_child(&child);
        kill_process_group(group, Signal::KILL).expect("its end");
        child.wait().expect("its status");
        assert!(answers, "{}: the server does not answer", launcher.name);
    }
}

/// Checks that a thread of the program is soon in the call that the program names.
fn sticks_in(server: &Running, stuck: &Stuck, numbers: &[(String, String)]) -> Result<(), String> {
    let call = stuck.call.as_deref().ok_or_else(|| format!("{}: names no call", stuck.name))?;
    let since = Instant::now();
    loop {
        let number = server.stuck_in().unwrap_or_default();
        let found = numbers.iter().find(|(_, of)| *of == number).map(|(name, _)| name.as_str());
        if found == Some(call) {
            return Ok(());
        }
        if since.elapsed() > BOUND {
            return Err(format!("{}: in {found:?} ({number}), not in {call}", stuck.name));
        }
        sleep(Duration::from_millis(20));
    }
}

/// Checks that a thread of the program runs, by several looks: one may meet it in a call.
fn computes(server: &Running, stuck: &Stuck) -> Result<(), String> {
    let seen: Vec<_> = (0..20)
        .map(|_| {
            sleep(Duration::from_millis(5));
            server.stuck_in().unwrap_or_default()
        })
        .collect();
    if seen.iter().any(|at| at == "running") {
        Ok(())
    } else {
        Err(format!("{}: does not compute: {seen:?}", stuck.name))
    }
}

/// Returns the names and numbers of system calls, by the kernel's header.
fn numbers_of_calls() -> Vec<(String, String)> {
    let header = ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .expect("the kernel's header asm/unistd_64.h (linux-libc-dev)");
    let read = |line: &str| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.trim().to_owned()))
    };
    header.lines().filter_map(read).collect()
}

/// Returns a port that is free at any address and that no other program of these tests has had. The
/// port is tried by a bind without a listener: a child that has not yet executed its program would
/// inherit a listener, which would take the program's first connection.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10000 + u16::try_from(std::process::id() % 20).expect("below 20") * 1000;
    loop {
        let at = base + NEXT.fetch_add(1, Ordering::Relaxed);
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        set_socket_reuseaddr(&socket, true).expect("an address that can be used again");
        if bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, at)).is_ok() {
            return at;
        }
    }
}

/// Runs a check on each program, [`AT_ONCE`] at a time, and fails with all that failed.
fn each<T: Sync>(of: Vec<T>, check: impl Fn(&T) -> Result<(), String> + Sync) {
    assert!(!of.is_empty());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some(one) = of.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = check(one) {
                        failed.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), of.len(), failed.join("\n"));
}
