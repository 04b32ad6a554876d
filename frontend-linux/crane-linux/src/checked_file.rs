//! The common form of files that are written as a whole and read as a whole:
//!
//! ```text
//! magic  version u32  length u32  crc of all but this u32   body
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes before the body.
pub(crate) const HEADER_BYTES: usize = 20;
/// The place of the checksum, which does not cover itself.
const CRC_AT: usize = 16;

/// The reason why bytes are not a file of the expected form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckError {
    /// The bytes are those of another kind of file.
    Foreign,
    /// The header, the length or the checksum is wrong.
    Damaged,
    /// The file has another version.
    Version(u32),
    /// The body does not decode.
    Body,
}

/// Returns the bytes of a file.
pub(crate) fn encode(magic: &[u8; 8], version: u32, body: &impl Serialize) -> Vec<u8> {
    let body = postcard::to_allocvec(body).expect("plain data");
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&body);
    seal(&mut bytes);
    bytes
}

/// Reads the bytes of a file.
///
/// # Errors
/// Returns the fault in the bytes, and never panics.
pub(crate) fn decode<T: DeserializeOwned>(
    magic: &[u8; 8],
    version: u32,
    bytes: &[u8],
) -> Result<T, CheckError> {
    let word = |at: usize| {
        bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")))
    };
    if !bytes.starts_with(magic) {
        return Err(CheckError::Foreign);
    }
    let whole = word(12).is_some_and(|length| bytes.len() == HEADER_BYTES + length as usize)
        && word(CRC_AT) == Some(checksum(bytes));
    match word(8) {
        _ if !whole => Err(CheckError::Damaged),
        Some(found) if found != version => Err(CheckError::Version(found)),
        _ => postcard::from_bytes(&bytes[HEADER_BYTES..]).map_err(|_| CheckError::Body),
    }
}

/// Writes the checksum of the other bytes.
pub(crate) fn seal(bytes: &mut [u8]) {
    let crc = checksum(bytes).to_le_bytes();
    bytes[CRC_AT..HEADER_BYTES].copy_from_slice(&crc);
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC_AT]);
    hasher.update(&bytes[HEADER_BYTES..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_name() {
        let bytes = encode(b"CRANETST", 3, &(7_u32, "text"));
        let read = |bytes: &[u8], version| decode::<(u32, String)>(b"CRANETST", version, bytes);
        assert_eq!(read(&bytes, 3), Ok((7, "text".into())));
        assert_eq!(read(&bytes, 4), Err(CheckError::Version(3)));
        assert_eq!(decode::<u32>(b"CRANEOTH", 3, &bytes), Err(CheckError::Foreign));
        assert_eq!(decode::<Vec<String>>(b"CRANETST", 3, &bytes), Err(CheckError::Body));
        for place in 8..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert_eq!(read(&other, 3), Err(CheckError::Damaged), "{place}");
            assert!(read(&bytes[..place], 3).is_err(), "{place}");
        }
    }
}
