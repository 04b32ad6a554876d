//! The primary killed under load, and an idle group: short forms of `ci/measure kills` and `idle`.

use std::time::Duration;

use crane_test::e2e::group::Group;
use crane_test::e2e::idle;
use crane_test::e2e::kills;
use crane_test::e2e::load::{Load, ab, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program::{self, PAGE};

/// `ci/measure kills` does 20 and holds the times against their bars.
const ROUNDS: usize = 4;
/// `ci/measure idle` watches for 30 s.
const WATCH: Duration = Duration::from_secs(8);

#[test]
fn acknowledged_writes_survive_kills_of_the_primary() {
    let machine = Machine::take("kills");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let outcome = kills::run(&mut group, ROUNDS, |line| println!("{line}"));
    println!("{} (the full form, 20 kills: ci/measure kills)", outcome.summary());
    assert_eq!(outcome.survivors, ROUNDS, "connections through survivors");
}

#[test]
fn an_idle_group_is_idle() {
    for web in [true, false] {
        let machine = Machine::take("idle");
        let folder = machine.folder();
        let program = if web { program::civetweb(folder, 8) } else { program::redis(folder) };
        let group = Group::start(&machine, program, 3, &[]);
        let load = Load { requests: 1000, connections: 8, keepalive: true };
        if web {
            ab(group.address(1), PAGE, load).unwrap();
        } else {
            redis_benchmark(group.address(1), "set", load).unwrap();
        }
        group.await_settled();
        for idle in idle::watch(&group, WATCH) {
            println!("{}: {idle:.2?} (30 s: ci/measure idle)", group.program().name);
            // Timers of the server, and far from the 10 000 a second of an empty poll.
            assert!(idle.entries_per_second < 200.0, "{idle:?}");
            // The bar of 1 % is held where the machine is quiet: ci/measure idle.
            assert!(idle.daemon_percent < 5.0, "{idle:?}");
        }
        group.await_settled();
    }
}
