//! Replicas that are sick but not dead: short forms of `ci/measure sick`.

use std::time::Duration;

use crane_test::e2e::sick::{Sickness, round};

/// The longest gap here, on a machine that is busy with other tests. `ci/measure sick` compares
/// with the bar.
const GAP_MAX: Duration = Duration::from_secs(3);

#[test]
fn a_primary_whose_disk_or_server_hangs_loses_its_role_and_its_clients() {
    use Sickness::{FrozenDisk, FrozenMemory, HungSync, StoppedServer};
    for fault in [FrozenDisk, FrozenMemory, HungSync, StoppedServer] {
        let Some(round) = round(fault) else { return };
        println!("{fault:?}: {round:?} (in full: ci/measure sick)");
        assert_eq!(round.changes, 1, "{fault:?}: changes of the primary");
        let part = if fault == StoppedServer { "the server" } else { "the disk" };
        let told = round.faults.iter().any(|told| told.contains(part));
        assert!(told, "{fault:?}: the fault did not happen, or is not told: {:?}", round.faults);
        let longest = round.at_the_sick.max(round.elsewhere);
        assert!(longest < GAP_MAX, "{fault:?}: a client waited for {longest:.0?}");
    }
}

#[test]
fn a_backup_that_does_not_hear_the_primary_hands_its_clients_on() {
    let Some(round) = round(Sickness::Muted) else { return };
    println!("{round:?} (in full: ci/measure sick)");
    let told = round.faults.iter().any(|told| told.contains("in both directions"));
    assert!(told, "the fault did not happen, or is not told: {:?}", round.faults);
    let longest = round.at_the_sick.max(round.elsewhere);
    assert!(longest < GAP_MAX, "a client waited for {longest:.0?}");
}
