//! Odd clients against replicated servers, spread over the replicas.

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::odd::{KINDS, Service, store_large, storm};
use crane_test::e2e::program;

/// The number of clients of each kind. `ci/measure odd` runs 200 of each.
const TIMES: usize = 40;

#[test]
fn odd_clients_of_civetweb_are_served_and_leave_no_connection() {
    let machine = Machine::take("odd-web");
    let group = Group::start(&machine, program::civetweb(machine.folder(), 50), 3, &[]);
    let (small, large) = (program::small_page(), program::large_content());
    for kind in KINDS {
        storm(kind, Service::Web(&small, &large), &group.all_addresses(), TIMES).unwrap();
        // Hashes are equal and no connection is left.
        group.await_settled();
        println!("{kind}: {TIMES} times (the full form, 200 times: ci/measure odd)");
    }
}

#[test]
fn odd_clients_of_redis_are_served_and_leave_no_connection() {
    let machine = Machine::take("odd-redis");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let large = program::large_content();
    store_large(group.address(1), &large).unwrap();
    for kind in KINDS {
        storm(kind, Service::Redis(&large), &group.all_addresses(), TIMES).unwrap();
        group.await_settled();
        println!("{kind}: {TIMES} times (the full form, 200 times: ci/measure odd)");
    }
}
