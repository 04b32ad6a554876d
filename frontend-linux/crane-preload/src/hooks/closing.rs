//! The end of a number that leads to a plain file or a folder, by a function of libc's.

use std::ffi::c_int;

use super::file_locks;
use crate::descriptors::lookup;
use crate::file_kind;
use crate::numbers::forget_plain;

/// Ends a number by `close`, whose own close neither waits nor ends a connection, if it leads to a
/// file of this kind. Returns `None`, and does nothing, if not.
pub(super) fn close_plain(
    descriptor: c_int,
    kind: libc::mode_t,
    close: impl FnOnce() -> c_int,
) -> Option<c_int> {
    if lookup(descriptor).is_some() || file_kind::of(descriptor) != Some(kind) {
        return None;
    }
    let result = close();
    forget_plain(descriptor);
    file_locks::freed();
    Some(result)
}
