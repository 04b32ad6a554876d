//! Some of the services that `ci/measure services` lets live through everything, with few requests.

use crane_test::e2e::hosts::Hosts;
use crane_test::e2e::services::{SERVICES, run};

const REQUESTS: u64 = 160;

fn live(names: &[&str]) {
    if !Hosts::are_possible() {
        return;
    }
    for name in names {
        let service = SERVICES.iter().find(|service| service.name == *name).expect("a service");
        let outcome = run(service, REQUESTS).unwrap_or_else(|why| panic!("{name}: {why}"));
        println!("{name}: {outcome:?}");
    }
}

#[test]
fn databases_live_through_an_image_a_kill_and_a_restore() {
    live(&["mariadb, a pool of threads", "redis"]);
}

#[test]
fn trees_of_processes_live_through_an_image_a_kill_and_a_restore() {
    live(&["a family of processes", "a family in the background"]);
    live(&["apache, prefork, cgi", "apache, event, cgi", "postgresql"]);
}

#[test]
fn servers_with_workers_scripts_and_a_process_for_each_client_do_so_too() {
    live(&["nginx, four workers", "nginx and php-fpm", "vsftpd", "redis that saves"]);
    live(&["civetweb, cgi in sh", "lighttpd, cgi in perl", "lighttpd, cgi in php"]);
}
