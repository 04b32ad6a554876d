//! Single calls: each does what POSIX promises under the preload library, equally on all replicas.

use std::thread::scope;

use crane_test::e2e::calls::{PROBES, probe};
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;

#[test]
fn every_call_does_what_posix_promises_on_every_replica() {
    let machine = Machine::take("calls");
    let program = program::compiled(machine.folder(), "calls", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    let mut failures = Vec::new();
    for name in PROBES {
        for address in group.all_addresses() {
            match probe(address, name) {
                Ok(answer) => print!("{answer}"),
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    group.await_settled();
    let answer = probe(group.address(1), "ring").unwrap();
    assert!(answer.contains("ENOSYS"), "{answer}");
    // The IPv6 listener is served too, and so are all probes at once.
    scope(|threads| {
        for id in group.ids() {
            for step in [0, 1] {
                let mut address = group.address(id);
                address.set_port(address.port() + step);
                for name in PROBES {
                    threads.spawn(move || probe(address, name).unwrap());
                }
            }
        }
    });
    group.await_settled();
}
