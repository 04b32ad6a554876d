//! Values from a program's start, which it keeps for a program that may take its place.

use std::ffi::CStr;

/// The length of the daemon's longest variable, with its name and its zero byte.
const VARIABLE_BYTES: usize = 4200;
/// The length of the longest genesis entry.
const GENESIS_BYTES: usize = 3584;

/// The names of the daemon's variables, with their `=`.
pub(crate) const REGION: &[u8] = b"CRANE_REGION=";
pub(crate) const WAKE: &[u8] = b"CRANE_WAKE=";
/// The memory that processes share, for a program that takes another's place.
pub(crate) const SERVICE: &[u8] = b"CRANE_SERVICE=";
pub(crate) const PRELOAD: &[u8] = b"LD_PRELOAD=";
/// A program that is linked statically, which this library starts.
pub(crate) const PROGRAM: &[u8] = b"CRANE_PROGRAM=";

/// The daemon's variables in the environment, as `NAME=VALUE`.
pub(crate) struct OwnVariables {
    /// `LD_PRELOAD`: this library.
    pub preload: Variable,
    /// The shared memory.
    pub region: Variable,
    /// The pipe by which the daemon is woken.
    pub wake: Variable,
    /// The memory that processes share.
    pub service: Variable,
}

impl OwnVariables {
    /// Keeps variables of these values, or returns `None` if one is too long.
    pub(crate) fn new(preload: &[u8], region: &[u8], wake: &[u8], service: &[u8]) -> Option<Self> {
        Some(Self {
            preload: Variable::new(PRELOAD, preload)?,
            region: Variable::new(REGION, region)?,
            wake: Variable::new(WAKE, wake)?,
            service: Variable::new(SERVICE, service)?,
        })
    }
}

impl OwnVariables {
    /// Returns the path of this library.
    pub(crate) fn library(&self) -> &CStr {
        let text = self.preload.as_c_str().to_bytes_with_nul();
        CStr::from_bytes_with_nul(&text[PRELOAD.len()..]).unwrap_or_default()
    }
}

/// A variable, as a copy, because a program may overwrite its environment.
pub(crate) struct Variable {
    bytes: [u8; VARIABLE_BYTES],
    length: usize,
}

impl Variable {
    /// Creates a variable of this name (with `=`) and value, or returns `None` if it is too long.
    pub(crate) fn new(name: &[u8], value: &[u8]) -> Option<Self> {
        let length = name.len() + value.len();
        let mut bytes = [0; VARIABLE_BYTES];
        (length < VARIABLE_BYTES).then_some(())?;
        bytes[..name.len()].copy_from_slice(name);
        bytes[name.len()..length].copy_from_slice(value);
        Some(Self { bytes, length })
    }

    /// Returns the name and the value.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Returns the name and the value as a C string.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.bytes[..=self.length]).expect("no zero byte inside")
    }
}

/// The genesis entry, for later programs.
pub(crate) struct KeptGenesis {
    bytes: [u8; GENESIS_BYTES],
    length: usize,
}

impl KeptGenesis {
    /// Keeps an encoded entry, or returns `None` if it is too long.
    pub(crate) fn new(encoded: &[u8]) -> Option<Self> {
        let mut bytes = [0; GENESIS_BYTES];
        bytes.get_mut(..encoded.len())?.copy_from_slice(encoded);
        Some(Self { bytes, length: encoded.len() })
    }

    /// Returns the encoded entry.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
