//! Servers that stick, whose fault crane must name, and launchers, whose server crane must
//! replicate or refuse with a reason.

use std::io::Write;
use std::net::TcpStream;

use crane_test::e2e::alarm::{launch, stick};
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::programs::{self, Expect};
use crane_test::e2e::resp::Connection;
use crane_test::e2e::wait::{ANSWER, SOON, eventually};

/// One in this number of stuck programs runs here; `ci/measure alarm` runs all.
const ONE_IN: usize = 8;

#[test]
fn servers_that_stick_are_reported_and_controls_are_not() {
    let all = programs::stuck();
    for expect in [Expect::InKernel, Expect::Computes, Expect::None] {
        let kind: Vec<_> = all.iter().filter(|stuck| stuck.expect == expect).collect();
        assert!(!kind.is_empty());
        for stuck in kind.into_iter().step_by(ONE_IN) {
            let reported = stick(stuck).unwrap_or_else(|why| panic!("{why}"));
            println!("{reported:?}");
        }
    }
}

/// A server that waits for input in one thread while the others have nothing to do is healthy: the
/// controls of the test above have such threads.
#[test]
fn threads_that_wait_for_each_other_are_a_fault() {
    for (line, named) in [("lock\n", "waits for a lock"), ("join\n", "waits for the end of thread")]
    {
        let machine = Machine::take("deadlock");
        let program = program::compiled(machine.folder(), "deadlock", &[]);
        let group = Group::start(&machine, program, 1, &[]);
        let mut stream = TcpStream::connect(group.address(1)).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        assert!(programs::echoes(&stream, "hello\n"));
        let faults = || group.status().map(|status| status.replica(1).faults.clone());
        assert_eq!(faults(), Ok(Vec::new()));
        stream.write_all(line.as_bytes()).unwrap();
        // The server's script goes on meanwhile: clients come, and nobody accepts them.
        let mut clients = Vec::new();
        let fault = eventually("a fault", SOON, || {
            clients.push(TcpStream::connect(group.address(1)).unwrap());
            faults()?.pop().ok_or_else(|| "none".to_owned())
        });
        assert!(fault.contains("its threads wait for each other"), "{fault}");
        assert!(fault.contains(named), "{fault}");
    }
}

/// Its threads look at counts in a loop until others have changed them, and the others wait for the
/// turn meanwhile.
#[test]
fn redis_with_threads_for_clients_is_named() {
    let machine = Machine::take("spins");
    let mut program = program::redis(machine.folder());
    program.command.extend(["--io-threads", "4"].map(String::from));
    let group = Group::start(&machine, program, 1, &["--patience-compute", "2s"]);
    let open = || Connection::open(group.address(1), ANSWER).expect("a connection");
    let mut clients: Vec<_> = (0..16).map(|_| open()).collect();
    let fault = eventually("a fault", SOON, || {
        for client in &mut clients {
            // It may be full.
            let _ = client.send(b"PING\r\n");
        }
        let faults = group.status()?.replica(1).faults.clone();
        faults.into_iter().next().ok_or_else(|| "none".to_owned())
    });
    assert!(fault.contains("computes without a call at handleClientsWith"), "{fault}");
}

#[test]
fn servers_behind_launchers_are_replicated() {
    for launcher in programs::launchers() {
        let outcome = launch(&launcher).unwrap_or_else(|why| panic!("{why}"));
        println!("{outcome}");
    }
}
