//! The contents of the log as bytes, in the format of postcard
//! (<https://postcard.jamesmunns.com/wire-format>), without copies of the data that clients sent.

mod entry;
mod genesis;
mod op;

pub use entry::{EntryPayload, EntryReader, EntryWriter, Ops};
pub use genesis::{Address, Founder, Genesis, HostFigures, Schedule, ServiceAddresses};
pub use op::{Endpoint, Op, ProgramCrash, RestartReason};

/// The error of encoding and decoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// The bytes do not follow the format, or end early.
    Malformed,
    /// A number in the bytes is above its limit (see [`crate::limits`]).
    OutOfBounds,
    /// The space for the encoded form does not suffice.
    Full,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the bytes do not follow the format",
            Self::OutOfBounds => "a number is above its limit",
            Self::Full => "the space does not suffice",
        })
    }
}

impl core::error::Error for WireError {}

impl From<postcard::Error> for WireError {
    fn from(error: postcard::Error) -> Self {
        match error {
            postcard::Error::SerializeBufferFull => Self::Full,
            _ => Self::Malformed,
        }
    }
}
