//! Odd programs as services: each prints the same as natively, except the known ones.

use crane_test::e2e::odd_programs::run;
use crane_test::e2e::programs::{self, Odd};

/// One in this number of programs runs on the floor here, with those about all calls;
/// `ci/measure odd-programs` runs all.
const ONE_IN: usize = 4;
/// The same for programs that are linked statically.
const ONE_STATIC_IN: usize = 6;

#[test]
fn odd_programs_print_what_they_print_natively() {
    assert_equal(&programs::odd(), &[]);
}

#[test]
fn odd_programs_print_the_same_on_the_floor() {
    let is_about_calls = |odd: &Odd| odd.name.starts_with("calls-");
    let some = programs::odd().into_iter().enumerate();
    let some = some.filter(|(place, odd)| place.is_multiple_of(ONE_IN) || is_about_calls(odd));
    let some: Vec<_> = some.map(|(_, odd)| odd).collect();
    assert_equal(&some, &["--floor"]);
}

#[test]
fn odd_programs_that_are_linked_statically_print_the_same_on_the_floor() {
    let is_about_calls = |odd: &Odd| odd.name.starts_with("calls-");
    let is_chosen =
        |place: usize, odd: &Odd| place % ONE_STATIC_IN == ONE_STATIC_IN - 1 || is_about_calls(odd);
    let some = programs::statically_linked_odd().into_iter().enumerate();
    let some = some.filter(|(place, odd)| is_chosen(*place, odd)).map(|(_, odd)| odd);
    assert_equal(&some.collect::<Vec<_>>(), &["--floor"]);
}

fn assert_equal(odd: &[Odd], options: &[&str]) {
    let against = run(odd, options, |name, fares| println!("{name}: {fares}"));
    assert!(against.is_empty(), "{}", against.join("\n"));
}
