//! Words for people: to the `log` crate, to `defmt`, or nowhere, as the features say.
//!
//! They may differ between replicas and decide nothing. Anything that a driver must act on is an
//! effect.

/// One line at a level of `log` and `defmt`: `say!(info, "slot {}", slot.0)`. Values are plain
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

/// A value that is shown as `Debug` shows it.
#[cfg(any(feature = "log", feature = "defmt"))]
macro_rules! shown {
    ($value:expr) => {
        ::defmt_or_log::Debug2Format(&$value)
    };
}

/// A value that is shown as `Debug` shows it.
#[cfg(not(any(feature = "log", feature = "defmt")))]
macro_rules! shown {
    ($value:expr) => {
        $value
    };
}
