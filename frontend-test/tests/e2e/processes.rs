//! Servers of several processes, and what one of three hosts does to them.

use crane_test::e2e::host_events;
use crane_test::e2e::hosts::Hosts;

#[test]
fn what_one_host_does_to_its_server_reaches_no_client_of_the_others() {
    let Some((machine, hosts, _hub)) = Hosts::take("host-events", 3) else { return };
    host_events::run(&machine, &hosts, 1, "", |line| println!("{line}"));
}
