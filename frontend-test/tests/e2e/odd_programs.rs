//! Odd programs as services: each prints the same as natively, except the known ones.

use crane_test::e2e::odd_programs::run;
use crane_test::e2e::programs::{self, Odd};

/// One in this number of programs runs on the floor here; `ci/measure odd-programs` runs all.
const ONE_IN: usize = 4;

#[test]
fn odd_programs_print_what_they_print_natively() {
    assert_equal(&programs::odd(), &[]);
}

#[test]
fn odd_programs_print_the_same_on_the_floor() {
    let some: Vec<_> = programs::odd().into_iter().step_by(ONE_IN).collect();
    assert_equal(&some, &["--floor"]);
}

fn assert_equal(odd: &[Odd], options: &[&str]) {
    let against = run(odd, options, |name, fares| println!("{name}: {fares}"));
    assert!(against.is_empty(), "{}", against.join("\n"));
}
