//! Log lines for people: they go to the `log` crate, to `defmt`, or nowhere, as the features say.
//!
//! Log lines may differ between replicas, and nothing depends on them. Anything that a driver must
//! act on is an effect.

/// Logs one line at a level of `log` and `defmt`: `say!(info, "slot {}", slot.0)`. Values are plain
/// numbers, or wrapped by `shown!`.
macro_rules! say {
    ($level:ident, $text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(any(feature = "log", feature = "defmt"))]
        ::defmt_or_log::$level!($text $(, $value)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        {
            $(let _ = &$value;)*
        }
    }};
}

/// Wraps a value so that it is shown by its `Debug` implementation.
#[cfg(any(feature = "log", feature = "defmt"))]
macro_rules! shown {
    ($value:expr) => {
        ::defmt_or_log::Debug2Format(&$value)
    };
}

/// Wraps a value so that it is shown by its `Debug` implementation.
#[cfg(not(any(feature = "log", feature = "defmt")))]
macro_rules! shown {
    ($value:expr) => {
        $value
    };
}
