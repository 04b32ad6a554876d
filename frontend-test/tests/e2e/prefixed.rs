//! Length-prefixed messages from 1 B to 1 MiB, which the server reads by `MSG_WAITALL`, in any
//! order over one connection.

use std::thread::scope;

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::{prefixed, program};

/// The number of conversations with each replica.
const SEEDS: u64 = 4;

#[test]
fn messages_of_any_size_in_any_order_arrive_whole() {
    let machine = Machine::take("prefixed");
    let program = program::compiled(machine.folder(), "prefixed", &[]);
    let group = Group::start(&machine, program, 3, &[]);
    for seed in 0..SEEDS {
        // All replicas are asked at once, each with a seed of its own.
        scope(|threads| {
            for (replica, address) in group.all_addresses().into_iter().enumerate() {
                let seed = seed * 3 + replica as u64;
                threads.spawn(move || {
                    prefixed::converse(address, seed)
                        .unwrap_or_else(|error| panic!("{address}, seed {seed}: {error}"));
                });
            }
        });
        let status = group.await_settled();
        println!("seeds from {}: hashes equal: {}", seed * 3, status.brief());
    }
}
