//! Code that the call graph must not have: the check of the graph must refuse it.

use core::hint::black_box;

#[cfg(feature = "with-recursion")]
#[inline(never)]
fn even(number: u64) -> bool {
    number == 0 || odd(black_box(number - 1))
}

#[cfg(feature = "with-recursion")]
#[inline(never)]
fn odd(number: u64) -> bool {
    // The negation after the call keeps the compiler from making it a jump.
    number != 0 && !black_box(even(black_box(number - 1)))
}

pub fn call() {
    #[cfg(feature = "with-recursion")]
    black_box(even(black_box(9)));
    #[cfg(feature = "with-pointer")]
    black_box::<fn() -> Option<u64>>(|| None)();
}
