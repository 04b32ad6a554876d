//! Servers that stick, whose fault crane must name, and launchers, whose server crane must
//! replicate or refuse with a reason.

use crane_test::e2e::alarm::{launch, stick};
use crane_test::e2e::programs::{self, Expect};

/// One in this number of stuck programs runs here; `ci/measure alarm` runs all.
const ONE_IN: usize = 8;

#[test]
fn servers_that_stick_are_reported_and_controls_are_not() {
    let all = programs::stuck();
    for expect in [Expect::InKernel, Expect::Computes, Expect::None] {
        let kind: Vec<_> = all.iter().filter(|stuck| stuck.expect == expect).collect();
        assert!(!kind.is_empty());
        for stuck in kind.into_iter().step_by(ONE_IN) {
            let reported = stick(stuck).unwrap_or_else(|why| panic!("{why}"));
            println!("{reported:?}");
        }
    }
}

#[test]
fn servers_behind_launchers_are_replicated_or_end_with_a_reason() {
    for launcher in programs::launchers() {
        let outcome = launch(&launcher).unwrap_or_else(|why| panic!("{why}"));
        println!("{outcome}");
    }
}
