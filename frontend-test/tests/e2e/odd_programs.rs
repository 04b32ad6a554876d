//! Odd programs as services: each prints the same as natively, except the known ones.

use crane_test::e2e::odd_programs::run;
use crane_test::e2e::programs;

#[test]
fn odd_programs_print_what_they_print_natively() {
    let against = run(&programs::odd(), |name, fares| println!("{name}: {fares}"));
    assert!(against.is_empty(), "{}", against.join("\n"));
}
