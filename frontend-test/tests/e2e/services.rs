//! Some of the services that `ci/measure services` lets live through everything, with few requests.

use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::services::{SERVICES, run};

const REQUESTS: u64 = 160;

#[test]
fn databases_live_through_an_image_a_kill_and_a_restore() {
    if !Hosts::are_possible() {
        return;
    }
    for name in ["mariadb, a pool of threads", "redis"] {
        let service = SERVICES.iter().find(|service| service.name == name).expect("a service");
        let outcome = run(service, REQUESTS).unwrap_or_else(|why| panic!("{why}"));
        println!("{name}: {outcome:?}");
    }
}
