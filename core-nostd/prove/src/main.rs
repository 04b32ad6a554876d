//! Proves that the core needs neither std, nor libc, nor an allocator: three nodes in memory elect
//! a primary, commit 1000 entries, lose the primary, and continue. Each node has an execution that
//! admits the committed entries; in the end all executions agree.
#![no_std]
#![no_main]

#[cfg(feature = "with-alloc")]
extern crate alloc;

mod bare;
mod group;
#[cfg(any(feature = "with-recursion", feature = "with-pointer"))]
mod planted;
mod rest;

use group::Group;

const ENTRIES: u64 = 1000;

extern "C" fn main() -> ! {
    #[cfg(feature = "with-alloc")]
    core::hint::black_box(alloc::vec::Vec::<u8>::with_capacity(7));

    #[cfg(any(feature = "with-recursion", feature = "with-pointer"))]
    planted::call();

    rest::serve_one_connection();
    rest::change_nothing();
    let mut group = Group::new();
    let first = group.lead_until_committed(ENTRIES);
    group.stop(first);
    let second = group.lead_until_committed(2 * ENTRIES);
    assert!(first != second, "the stopped node is primary");
    group.start(first);
    group.settle(2 * ENTRIES);
    group.compare();
    bare::say("three nodes, 1000 entries, one lost, 1000 more, one returned: all agree\n");
    bare::exit(0)
}
