//! Kills of the primary under load, and the cost of an idle group: short forms of `ci/measure
//! kills` and `ci/measure idle`.

use std::time::Duration;

use crane_test::e2e::group::Group;
use crane_test::e2e::idle;
use crane_test::e2e::kills;
use crane_test::e2e::load::{Load, ab, redis_benchmark};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program::{self, PAGE};

/// The number of kills. `ci/measure kills` does 20 and compares the times with their bars.
const ROUNDS: usize = 4;
/// The time for which an idle group is watched. `ci/measure idle` watches it for 30 s.
const WATCH: Duration = Duration::from_secs(8);

#[test]
fn acknowledged_writes_survive_kills_of_the_primary() {
    let machine = Machine::take("kills");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let outcome = kills::run(&mut group, ROUNDS, |line| println!("{line}"));
    println!("{} (the full form, 20 kills: ci/measure kills)", outcome.summary());
    assert_eq!(outcome.survivors, ROUNDS, "connections through survivors that answered");
}

#[test]
fn an_idle_group_writes_few_entries_and_uses_little_cpu() {
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
            // The server's timers cause these entries; a busy poll would cause 10 000 a second.
            assert!(idle.entries_per_second < 200.0, "{idle:?}");
            // The bar of 1 % needs a quiet machine: ci/measure idle checks it.
            assert!(idle.daemon_percent < 5.0, "{idle:?}");
        }
        group.await_settled();
    }
}
