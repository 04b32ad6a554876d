//! Odd programs as services: each prints the same as natively, except the known ones.

use crane_test::e2e::odd_programs::run;
use crane_test::e2e::programs::{self, Odd};

/// One in this number of programs runs without a floor here, with those about all calls;
/// `ci/measure odd-programs` runs all.
const ONE_IN: usize = 4;
/// The same for programs that are linked statically.
const ONE_STATIC_IN: usize = 6;

#[test]
fn odd_programs_print_what_they_print_natively() {
    assert_equal(&programs::odd(), true);
}

#[test]
fn odd_programs_print_the_same_without_a_floor() {
    assert_equal(&some(programs::odd(), ONE_IN, 0), false);
}

#[test]
fn odd_programs_that_are_linked_statically_print_the_same() {
    let odd = programs::statically_linked_odd();
    assert_equal(&some(odd, ONE_STATIC_IN, ONE_STATIC_IN - 1), true);
}

/// Returns one in `of` programs, beginning with the one at `first`, all that are about calls, and
/// all that need a floor.
fn some(odd: Vec<Odd>, of: usize, first: usize) -> Vec<Odd> {
    let is_chosen = |(place, odd): &(usize, Odd)| {
        place % of == first || odd.name.starts_with("calls-") || odd.needs_floor
    };
    odd.into_iter().enumerate().filter(is_chosen).map(|(_, odd)| odd).collect()
}

fn assert_equal(odd: &[Odd], has_floor: bool) {
    let against = run(odd, has_floor, |name, fares| println!("{name}: {fares}"));
    assert!(against.is_empty(), "{}", against.join("\n"));
}
