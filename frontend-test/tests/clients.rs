//! The clients of the end-to-end tests against servers that run without crane: a failure here is
//! the client's fault, and must be known before a replicated server is blamed.

use std::time::Duration;

use crane_test::e2e::load::{self, Load};
use crane_test::e2e::machine::Machine;
use crane_test::e2e::native::Native;
use crane_test::e2e::odd::{self, KINDS, Service};
use crane_test::e2e::program::{self, PAGE};
use crane_test::e2e::resp;
use crane_test::e2e::wait::ANSWER;
use crane_test::e2e::{counting, http};

#[test]
fn odd_clients_are_served_by_native_civetweb() {
    let machine = Machine::take("clients");
    let native = Native::start(&machine, &program::civetweb(machine.folder(), 50));
    let (small, large) = (program::small_page(), program::large_content());
    for kind in KINDS {
        odd::storm(kind, Service::Web(&small, &large), &[native.address()], 40).unwrap();
    }
}

#[test]
fn odd_clients_are_served_by_native_redis() {
    let machine = Machine::take("clients");
    let native = Native::start(&machine, &program::redis(machine.folder()));
    let large = program::large_content();
    odd::store_large(native.address(), &large).unwrap();
    for kind in KINDS {
        odd::storm(kind, Service::Redis(&large), &[native.address()], 40).unwrap();
    }
}

#[test]
fn load_tools_measure_native_servers() {
    let machine = Machine::take("clients");
    let web = Native::start(&machine, &program::civetweb(machine.folder(), 8));
    for keepalive in [false, true] {
        let load = Load { requests: 500, connections: 8, keepalive };
        assert!(load::ab(web.address(), PAGE, load).unwrap().rate > 10.0);
        // A load of a missing page must fail instead of counting as fast.
        assert!(load::ab(web.address(), "/nothing", load).is_err());
    }
    let redis = Native::start(&machine, &program::redis(machine.folder()));
    let load = Load { requests: 1000, connections: 8, keepalive: true };
    let figures = load::redis_benchmark(redis.address(), "set,get", load).unwrap();
    assert!(figures.iter().all(|figures| figures.rate > 10.0));
}

#[test]
fn writers_know_the_writes_that_native_redis_acknowledged() {
    let machine = Machine::take("clients");
    let redis = Native::start(&machine, &program::redis(machine.folder()));
    let writers = counting::Writers::default();
    let memories: Vec<_> = std::thread::scope(|threads| {
        let addresses = vec![redis.address()];
        let pause = Duration::from_millis(1);
        let handles: Vec<_> =
            (0..3).map(|name| writers.spawn(threads, name, addresses.clone(), pause)).collect();
        std::thread::sleep(Duration::from_millis(300));
        writers.stop();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for memory in &memories {
        assert!(memory.counts().0 > 10);
        memory.verify(redis.address()).unwrap();
    }
    // After a loss of one item, the same check must fail.
    let mut connection = resp::Connection::open(redis.address(), ANSWER).unwrap();
    connection.call(&[b"LPOP", b"list-0"]).unwrap();
    assert!(memories[0].verify(redis.address()).is_err());
}

#[test]
fn native_python_counts_posts() {
    let machine = Machine::take("clients");
    let python = Native::start(&machine, &program::python(machine.folder()));
    let mut connection = http::Connection::open(python.address(), ANSWER).unwrap();
    for count in 1..=3 {
        let reply = connection.post("/", &format!("post {count}")).unwrap();
        assert_eq!(reply.body, format!("{count} {count}").into_bytes());
    }
    assert_eq!(http::fetch(python.address(), "/", ANSWER).unwrap().body, b"3 3");
}

#[test]
fn the_racy_program_answers_and_its_threads_interleave() {
    let machine = Machine::take("clients");
    let racy = Native::start(&machine, &program::compiled(machine.folder(), "racy", &[]));
    let alone = crane_test::e2e::racy::ask(racy.address(), 1, 20).unwrap();
    assert!(alone.iter().all(|answers| answers.iter().all(|a| a.contains(" moved 2999 to "))));
    // The machine decides whether two threads meet; a busy one needs more rounds.
    let meet = || {
        let mixed = crane_test::e2e::racy::ask(racy.address(), 8, 50).unwrap();
        mixed.iter().flatten().any(|answer| !answer.contains(" moved 2999 to "))
    };
    assert!(
        (0..20).any(|_| meet()),
        "the threads of eight clients never met: the program is no control"
    );
}

#[test]
fn every_call_does_natively_what_the_probes_expect() {
    let machine = Machine::take("clients");
    let calls = Native::start(&machine, &program::compiled(machine.folder(), "calls", &[]));
    for name in crane_test::e2e::calls::PROBES {
        crane_test::e2e::calls::probe(calls.address(), name).unwrap();
    }
}
