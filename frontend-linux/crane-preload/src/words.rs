//! Arrays of C strings and paths, without an allocator, because the turn is held.

use std::ffi::{CStr, c_char, c_int};

use crane_shm::sys;

/// The length of the longest path.
const PATH_BYTES: usize = libc::PATH_MAX as usize;

/// An array of strings that ends with a null pointer.
pub(crate) type Words = *const *const c_char;

/// Memory for arrays of pointers, which comes from the kernel because the turn is held.
pub(crate) struct Pointers {
    start: *mut *const c_char,
    room: usize,
    length: usize,
}

impl Pointers {
    pub(crate) fn new(room: usize) -> Result<Self, c_int> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        let arguments = [0, room * size_of::<Words>(), protection, flags, usize::MAX, 0];
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = sys::checked(unsafe { sys::syscall(libc::SYS_mmap, arguments) })?;
        Ok(Self { start: start as *mut *const c_char, room, length: 0 })
    }

    pub(crate) fn push(&mut self, word: *const c_char) {
        assert!(self.length < self.room, "the room was counted");
        // SAFETY: inside the mapping (asserted).
        unsafe { self.start.add(self.length).write(word) };
        self.length += 1;
    }

    /// Returns the array, which ends with a null pointer.
    pub(crate) fn end(&mut self) -> Words {
        self.push(std::ptr::null());
        self.start
    }
}

impl Drop for Pointers {
    fn drop(&mut self) {
        let arguments = [self.start as usize, self.room * size_of::<Words>(), 0, 0, 0, 0];
        // SAFETY: the mapping is this value's own, and nothing leads into it any more.
        unsafe { sys::syscall(libc::SYS_munmap, arguments) };
    }
}

/// Returns the words of an array that ends with a null pointer.
///
/// # Safety
/// The pointer leads to such an array, or is null, which the kernel takes for an empty array.
pub(crate) unsafe fn words(array: Words) -> impl Iterator<Item = *const c_char> {
    let mut place = array;
    std::iter::from_fn(move || {
        if place.is_null() {
            return None;
        }
        // SAFETY: not behind the null pointer that ends the array.
        let word = unsafe { *place };
        // SAFETY: as above.
        place = unsafe { place.add(1) };
        if word.is_null() { None } else { Some(word) }
    })
}

/// A path in a space of its own.
pub(crate) struct PathSpace {
    bytes: [u8; PATH_BYTES],
    length: usize,
}

impl PathSpace {
    pub(crate) fn join(directory: &[u8], name: &[u8]) -> Option<Self> {
        let parts =
            if directory.is_empty() { [&b""[..], b"", name] } else { [directory, b"/", name] };
        let length = parts.iter().map(|part| part.len()).sum();
        (length < PATH_BYTES).then_some(())?;
        let mut space = Self { bytes: [0; PATH_BYTES], length };
        let mut at = 0;
        for part in parts {
            space.bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Some(space)
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes[..=self.length]).expect("a zero byte ends it")
    }
}
