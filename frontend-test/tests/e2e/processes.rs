//! Servers of several processes, and what one of three hosts does to them.

use crane_test::e2e::host_events;
use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::kin;

/// The runs in each way, and in the one with five hundred processes for each.
const RUNS: usize = 20;
const RUNS_OF_MANY: usize = 3;

#[test]
fn what_one_host_does_to_its_server_reaches_no_client_of_the_others() {
    let Some((machine, hosts, _hub)) = Hosts::take("host-events", 3) else { return };
    host_events::run(&machine, &hosts, 1, "", |line| println!("{line}"));
}

#[test]
fn processes_that_race_in_any_way_are_equal_on_disturbed_hosts() {
    let Some((machine, hosts, _hub)) = Hosts::take("kin", 3) else { return };
    let told = |way: &str, stops: u64| println!("{way}: {stops} stops");
    let ways = kin::WAYS.map(|way| (way, if way == "many" { RUNS_OF_MANY } else { RUNS }));
    kin::compare(&machine, &hosts, &ways, told);
}

#[test]
fn processes_that_race_differ_natively() {
    for way in kin::WAYS {
        assert_eq!(kin::differs_natively(way), Ok(true), "{way}");
    }
}
