//! open and fopen of files in /proc and /sys that tell figures of a host: a file in memory takes
//! the place of the kernel's, with the text that the server is to see at that moment.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::{self, Write};

use crane_shm::sys;
use libc::FILE;

use super::random;
use super::time::{UPTIME, monotonic};
use super::usage::CLOCK_STEP;
use crate::figures;
use crate::host_texts::{HostFile, SeenHost};
use crate::membership::takes_part;

/// The longest text of the kernel's that is built on.
const REAL_BYTES: usize = 4096;
/// The flags with which open does not open a file for reading alone.
const OTHER: c_int = libc::O_ACCMODE | libc::O_PATH | libc::O_DIRECTORY | libc::O_TRUNC;

/// Text on its way to a file, without an allocator.
struct FileText {
    file: c_int,
    bytes: [u8; 1024],
    length: usize,
}

impl FileText {
    fn flush(&mut self) -> fmt::Result {
        let mut rest = &self.bytes[..self.length];
        while !rest.is_empty() {
            match sys::write(self.file, rest) {
                Ok(written) => rest = &rest[written..],
                Err(_) => return Err(fmt::Error),
            }
        }
        self.length = 0;
        Ok(())
    }
}

impl Write for FileText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.length == self.bytes.len() {
                self.flush()?;
            }
            self.bytes[self.length] = byte;
            self.length += 1;
        }
        Ok(())
    }
}

/// Returns the file that an opening is about, if the server sees another text than the kernel's.
fn named(path: *const c_char, flags: c_int) -> Option<HostFile> {
    if path.is_null() || flags & OTHER != 0 {
        return None;
    }
    // SAFETY: the hook's caller gave a path.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    if !path.starts_with(b"/proc/") && !path.starts_with(b"/sys/") || !takes_part() {
        return None;
    }
    HostFile::named(path, sys::pid())
}

/// Gives an open file the text that the server is to see, if it is such a file. Returns the
/// descriptor.
// specs: S13
pub(super) fn with_text(
    descriptor: usize,
    path: *const c_char,
    flags: c_int,
) -> Result<usize, c_int> {
    let (Some(file), Some(processors), Some(memory)) =
        (named(path, flags), figures::processors(), figures::memory())
    else {
        return Ok(descriptor);
    };
    let steps = monotonic() / CLOCK_STEP;
    let host = SeenHost { processors, memory, steps, used: steps - UPTIME / CLOCK_STEP };
    let mut random = [0; 16];
    if file == HostFile::Uuid {
        random::fill(&mut random);
    }
    let replaced =
        replace(descriptor as c_int, flags, |real, text| host.write(file, real, random, text));
    replaced.map(|()| descriptor).inspect_err(|_| {
        // Nothing can be done about a close that fails.
        let _ = sys::close(descriptor as c_int);
    })
}

/// Puts a file in memory in the place of an open one, for reading alone.
fn replace(
    descriptor: c_int,
    flags: c_int,
    write: impl FnOnce(&str, &mut FileText) -> fmt::Result,
) -> Result<(), c_int> {
    let mut real = [0; REAL_BYTES];
    let mut length = 0;
    while length < real.len() {
        match sys::read(descriptor, &mut real[length..])? {
            0 => break,
            read => length += read,
        }
    }
    // The name of a process may be cut in the middle of a character.
    let real = match str::from_utf8(&real[..length]) {
        Ok(real) => real,
        Err(error) => str::from_utf8(&real[..error.valid_up_to()]).unwrap_or_default(),
    };
    let arguments = [c"host".as_ptr().addr(), libc::MFD_CLOEXEC as usize, 0, 0, 0, 0];
    // SAFETY: a name of ours.
    let made = sys::checked(unsafe { sys::syscall(libc::SYS_memfd_create, arguments) })? as c_int;
    let mut text = FileText { file: made, bytes: [0; 1024], length: 0 };
    let written = write(real, &mut text).and_then(|()| text.flush());
    let result = written.map_err(|_| libc::EIO).and_then(|()| read_only(made)).and_then(|from| {
        let cloexec = flags & libc::O_CLOEXEC;
        let arguments = [from as usize, descriptor as usize, cloexec as usize, 0, 0, 0];
        // SAFETY: dup3 touches no memory; nobody else knows the descriptor yet.
        let put = sys::checked(unsafe { sys::syscall(libc::SYS_dup3, arguments) });
        let _ = sys::close(from);
        put.map(|_| ())
    });
    let _ = sys::close(made);
    result
}

/// Opens a file in memory once more, for reading, from its beginning.
fn read_only(file: c_int) -> Result<c_int, c_int> {
    let mut path = [0_u8; 32];
    let mut space = &mut path[..31];
    // The number is short, and the rest of the array is zero.
    let _ = std::io::Write::write_fmt(&mut space, format_args!("/proc/self/fd/{file}"));
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr().addr(), flags, 0, 0, 0];
    // SAFETY: a path of ours that ends with a zero byte.
    sys::checked(unsafe { sys::syscall(libc::SYS_openat, arguments) }).map(|it| it as c_int)
}

/// Opens a stream of such a file, or returns `None` if the path is another's or the stream is to
/// write.
pub(super) fn stream(path: *const c_char, mode: *const c_char) -> Option<*mut FILE> {
    // SAFETY: the hook's caller gave a mode.
    let wanted = unsafe { mode.as_ref().map(|_| CStr::from_ptr(mode)) }?.to_bytes();
    if wanted.first() != Some(&b'r') || wanted.contains(&b'+') {
        return None;
    }
    let flags = if wanted.contains(&b'e') { libc::O_CLOEXEC } else { 0 };
    named(path, flags)?;
    // SAFETY: the caller's path; libc's names are this library's own.
    let descriptor = unsafe { libc::open(path, flags) };
    if descriptor < 0 {
        return Some(std::ptr::null_mut());
    }
    // SAFETY: a descriptor that nobody else has, and the caller's mode.
    Some(unsafe { libc::fdopen(descriptor, mode) })
}
