//! Bytes with right lengths and checksums around wrong contents. Other changed inputs would not get
//! past the first check.
//!
//! The input is cut into pieces: one byte has the length of the next piece, and one its treatment.

/// A piece of the input.
pub(crate) struct Piece<'a> {
    /// The treatment of the piece, whose meaning the caller decides.
    pub(crate) how: u8,
    /// The bytes of the piece.
    pub(crate) bytes: &'a [u8],
}

/// Returns the pieces of an input. The last one may be short.
pub(crate) fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let [length, how, rest @ ..] = bytes else { return None };
        let (piece, left) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = left;
        Some(Piece { how: *how, bytes: piece })
    })
}

/// Returns an input with these pieces.
pub(crate) fn input<'a>(pieces: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let mut input = Vec::new();
    for (how, bytes) in pieces {
        let length = u8::try_from(bytes.len()).expect("a piece has at most 255 bytes");
        input.extend_from_slice(&[length, how]);
        input.extend_from_slice(bytes);
    }
    input
}

/// The bytes of a checked file before its body.
pub(crate) const CHECKED_HEADER_BYTES: usize = 20;

/// Returns a file that is read as a whole, with this body and the right length and checksum.
pub(crate) fn checked_file(magic: &[u8; 8], version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes);
    hasher.update(body);
    bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}
