//! The requests of clients, which are numbers, each once; and how long the answers are.

/// The length of a request in bytes.
pub(super) const REQUEST_BYTES: usize = 8;
/// The length of the shortest answer in bytes: the request, then its position in the list.
const ANSWER_BYTES: usize = 16;
/// Each request whose number is a multiple of this has a long answer.
const LONG_EVERY: u64 = 20;
/// The length of a long answer in bytes. A few of them fill the window of a connection.
const LONG_BYTES: usize = 48 << 10;
/// The first of the requests of which the program crashes.
const FIRST_FATAL: u64 = 1 << 63;

/// Returns the length of the answer to a request in bytes.
pub(super) const fn answer_bytes(request: u64) -> usize {
    if request.is_multiple_of(LONG_EVERY) { LONG_BYTES } else { ANSWER_BYTES }
}

/// Returns the request with this number of which the program crashes.
pub(super) const fn fatal(number: u64) -> u64 {
    FIRST_FATAL + number
}

/// Returns whether the program crashes of a request.
pub(super) const fn is_fatal(request: u64) -> bool {
    request >= FIRST_FATAL
}

/// Returns the requests that bytes consist of.
pub(super) fn requests_in(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(REQUEST_BYTES).map(|request| {
        u64::from_le_bytes(request.try_into().expect("requests are sent as a whole"))
    })
}
