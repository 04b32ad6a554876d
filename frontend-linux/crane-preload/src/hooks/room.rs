//! Calls that need room on the disk of the server's files.
//!
//! How much room a disk has is not agreed upon, so a call that fails for want of it fails on one
//! replica only. It never returns to the program: the server ends instead, and its daemon builds it
//! again when there is room. A write of which a disk takes only the first part is continued, and
//! either completes or finds that the disk is full.
//!
//! The file systems of the cell that are in memory have sizes of the group's, and are full on all
//! replicas at the same call: the program sees that.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Write;
use std::mem::MaybeUninit;

use crane_shm::{EndReason, sys};
use libc::{FILE, gid_t, iovec, mode_t, off_t, size_t, timespec, uid_t};

use super::closing::close_plain;
use crate::descriptors::lookup;
use crate::errno;
use crate::file_kind;
use crate::host_faults;
use crate::trouble::Text;

/// The daemon's directory in a cell, which lies in memory.
const RUN_IN_CELL: &[u8] = b"/run/crane";
/// The exit status of a process whose disk is full: `EX_IOERR` of sysexits(3).
const NO_ROOM: u8 = 74;

/// Returns whether a call failed because the disk or the user's part of it is full.
fn is_full(error: c_int) -> bool {
    error == libc::ENOSPC || error == libc::EDQUOT
}

/// Ends the server, because a call found no room for the file of this name.
#[cold]
fn end_server(call: &str, file: &[u8]) {
    let told = format_args!(" finds no room");
    host_faults::end_server_for(EndReason::DiskFull, NO_ROOM, call, file, told);
}

/// Ends the server if `error` says that a call found no room for the file at a path, or that its
/// disk fails.
pub(super) fn check_path(call: &str, path: *const c_char, error: c_int) {
    if (is_full(error) || error == libc::EIO) && !path.is_null() {
        // SAFETY: the kernel has read the path, which the hook's caller gave.
        let path = unsafe { CStr::from_ptr(path) }.to_bytes();
        let around = match path.iter().rposition(|byte| *byte == b'/') {
            None => &b"."[..],
            Some(0) => b"/",
            Some(at) => &path[..at],
        };
        let about = statfs_at(around);
        if is_full(error) && !is_agreed(about) {
            end_server(call, path);
        }
        host_faults::disk(call, path, is_disk(about), error);
    }
}

/// Ends the server if `error` says that a call found no room for an open file, or that its disk
/// fails. A device (/dev/full) answers the same on all replicas.
pub(super) fn check_open(call: &str, descriptor: c_int, error: c_int) {
    if (is_full(error) || error == libc::EIO) && is_file(descriptor) {
        let mut space = [0; 256];
        let about = statfs_of(descriptor);
        if is_full(error) && !is_agreed(about) {
            end_server(call, name_of(descriptor, &mut space));
        }
        host_faults::disk(call, name_of(descriptor, &mut space), is_disk(about), error);
    }
}

/// Returns whether a file system is neither in memory nor the kernel's own, which answer alike
/// everywhere.
fn is_disk(about: Option<libc::statfs>) -> bool {
    const OWN: [libc::c_long; 4] =
        [libc::TMPFS_MAGIC, libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC, libc::CGROUP2_SUPER_MAGIC];
    about.is_some_and(|about| !OWN.contains(&about.f_type))
}

/// Returns whether the size of a file system is the group's: it is in memory, and in a cell.
/// Without one, the memory is the host's.
#[cold]
fn is_agreed(about: Option<libc::statfs>) -> bool {
    let in_memory = |about: libc::statfs| about.f_type == libc::TMPFS_MAGIC;
    about.is_some_and(in_memory) && statfs_at(RUN_IN_CELL).is_some_and(in_memory)
}

fn statfs_of(descriptor: c_int) -> Option<libc::statfs> {
    statfs(libc::SYS_fstatfs, descriptor as usize)
}

fn statfs_at(path: &[u8]) -> Option<libc::statfs> {
    let mut text = [0; libc::PATH_MAX as usize];
    text.get_mut(..path.len())?.copy_from_slice(path);
    let last = *text.last()?;
    (last == 0).then(|| statfs(libc::SYS_statfs, text.as_ptr().addr()))?
}

/// Asks about the file system of a file, by its descriptor or the address of its path.
fn statfs(number: libc::c_long, file: usize) -> Option<libc::statfs> {
    let mut about = MaybeUninit::<libc::statfs>::zeroed();
    let arguments = [file, about.as_mut_ptr().addr(), 0, 0, 0, 0];
    // SAFETY: the kernel reads a path that ends with a zero byte, if any, and writes the record.
    sys::checked(unsafe { sys::syscall(number, arguments) }).ok()?;
    // SAFETY: all bit patterns are records, and it was zeroed.
    Some(unsafe { about.assume_init() })
}

fn is_file(descriptor: c_int) -> bool {
    lookup(descriptor).is_none() && file_kind::of(descriptor) == Some(libc::S_IFREG)
}

/// Returns the name of an open file, cut where the space ends.
fn name_of(descriptor: c_int, space: &mut [u8]) -> &[u8] {
    let mut link = Text::new();
    let _ = write!(link, "/proc/self/fd/{descriptor}\0");
    let (path, to) = (link.as_str().as_ptr().addr(), space.as_mut_ptr().addr());
    let arguments = [path, to, space.len(), 0, 0, 0];
    // SAFETY: the kernel reads a path that ends with a zero byte, and writes into the space.
    let length = sys::checked(unsafe { sys::syscall(libc::SYS_readlink, arguments) });
    &space[..length.unwrap_or(0)]
}

/// Completes a write whose result came from the kernel. `at` is the place in the file, or `None`
/// for its position.
#[inline]
pub(super) fn complete(
    call: &str,
    descriptor: c_int,
    pieces: &[iovec],
    at: Option<off_t>,
    result: Result<usize, c_int>,
) -> Result<usize, c_int> {
    let wanted: usize = pieces.iter().map(|piece| piece.iov_len).sum();
    match result {
        Ok(count) if count < wanted => write_rest(call, descriptor, pieces, at, count),
        Err(error) => {
            check_open(call, descriptor, error);
            result
        }
        _ => result,
    }
}

/// Writes what is left of a write to a file, unless the limit of its length (`RLIMIT_FSIZE`) is
/// what ended it. Returns the bytes written in all.
#[cold]
fn write_rest(
    call: &str,
    descriptor: c_int,
    pieces: &[iovec],
    at: Option<off_t>,
    mut written: usize,
) -> Result<usize, c_int> {
    if !is_file(descriptor) || has_length_limit() {
        return Ok(written);
    }
    let mut skipped = 0;
    for piece in pieces {
        let end = skipped + piece.iov_len;
        while written < end {
            let start = piece.iov_base.addr() + (written - skipped);
            let to = at.map_or(0, |at| at as usize + written);
            let number = at.map_or(libc::SYS_write, |_| libc::SYS_pwrite64);
            let arguments = [descriptor as usize, start, end - written, to, 0, 0];
            // SAFETY: the rest of the caller's own bytes.
            match sys::checked(unsafe { sys::syscall(number, arguments) }) {
                Ok(0) => return Ok(written),
                Ok(count) => written += count,
                Err(error) => {
                    check_open(call, descriptor, error);
                    return Ok(written);
                }
            }
        }
        skipped = end;
    }
    Ok(written)
}

fn has_length_limit() -> bool {
    host_faults::limit(libc::RLIMIT_FSIZE as c_int) != libc::RLIM_INFINITY
}

/// Defines hooks for libc's functions of the same names, which pass each call on, and look for the
/// error of a full disk when it fails. The path or descriptor comes first or is named.
macro_rules! watched {
    ($check:ident: $($name:ident($($argument:ident: $type:ty),*) of $file:ident;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            let real = real_watched!($name: fn($($type),*) -> c_int);
            // SAFETY: the caller's own arguments.
            let result = unsafe { real($($argument),*) };
            if result == -1 {
                $check(stringify!($name), $file, errno::current());
            }
            result
        }
    )*};
}

type Path = *const c_char;

watched! { check_path:
    creat(path: Path, mode: mode_t) of path;
    creat64(path: Path, mode: mode_t) of path;
    mkdir(path: Path, mode: mode_t) of path;
    mkdirat(directory: c_int, path: Path, mode: mode_t) of path;
    mkfifo(path: Path, mode: mode_t) of path;
    rename(from: Path, to: Path) of to;
    renameat(from_directory: c_int, from: Path, directory: c_int, to: Path) of to;
    renameat2(from_directory: c_int, from: Path, directory: c_int, to: Path, flags: u32) of to;
    link(from: Path, to: Path) of to;
    linkat(from_directory: c_int, from: Path, directory: c_int, to: Path, flags: c_int) of to;
    symlink(target: Path, path: Path) of path;
    symlinkat(target: Path, directory: c_int, path: Path) of path;
    unlink(path: Path) of path;
    unlinkat(directory: c_int, path: Path, flags: c_int) of path;
    rmdir(path: Path) of path;
    remove(path: Path) of path;
    chmod(path: Path, mode: mode_t) of path;
    fchmodat(directory: c_int, path: Path, mode: mode_t, flags: c_int) of path;
    chown(path: Path, user: uid_t, group: gid_t) of path;
    lchown(path: Path, user: uid_t, group: gid_t) of path;
    fchownat(directory: c_int, path: Path, user: uid_t, group: gid_t, flags: c_int) of path;
    utimensat(directory: c_int, path: Path, times: *const timespec, flags: c_int) of path;
    truncate(path: Path, length: off_t) of path;
    truncate64(path: Path, length: off_t) of path;
    mkstemp(path: *mut c_char) of path;
    mkstemp64(path: *mut c_char) of path;
    mkostemp(path: *mut c_char, flags: c_int) of path;
    mkostemp64(path: *mut c_char, flags: c_int) of path;
}

watched! { check_open:
    ftruncate(descriptor: c_int, length: off_t) of descriptor;
    ftruncate64(descriptor: c_int, length: off_t) of descriptor;
    fallocate(descriptor: c_int, mode: c_int, at: off_t, length: off_t) of descriptor;
    fallocate64(descriptor: c_int, mode: c_int, at: off_t, length: off_t) of descriptor;
}

/// Defines hooks for functions that return the error instead of setting errno.
macro_rules! returning {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(descriptor: c_int, at: off_t, length: off_t) -> c_int {
            let real = real_watched!($name: fn(c_int, off_t, off_t) -> c_int);
            // SAFETY: the caller's own arguments.
            let error = unsafe { real(descriptor, at, length) };
            check_open(stringify!($name), descriptor, error);
            error
        }
    )*};
}

returning! { posix_fallocate posix_fallocate64 }

/// Defines hooks for writes at a place in a file.
macro_rules! placed {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            descriptor: c_int,
            start: *const c_void,
            length: size_t,
            at: off_t,
        ) -> isize {
            let real = real!($name: fn(c_int, *const c_void, size_t, off_t) -> isize);
            // SAFETY: the caller's own arguments.
            let result = from_libc(unsafe { real(descriptor, start, length, at) });
            let pieces = [iovec { iov_base: start.cast_mut(), iov_len: length }];
            errno::answer(complete(stringify!($name), descriptor, &pieces, Some(at), result))
        }
    )*};
}

placed! { pwrite pwrite64 }

/// Defines hooks for writes of vectors at a place in a file.
macro_rules! placed_vectors {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            descriptor: c_int,
            start: *const iovec,
            count: c_int,
            at: off_t,
        ) -> isize {
            let real = real!($name: fn(c_int, *const iovec, c_int, off_t) -> isize);
            // SAFETY: the caller's own arguments.
            let result = from_libc(unsafe { real(descriptor, start, count, at) });
            let pieces = match result {
                // SAFETY: the kernel has read the caller's own vector.
                Ok(1..) => unsafe { std::slice::from_raw_parts(start, count as usize) },
                _ => &[],
            };
            errno::answer(complete(stringify!($name), descriptor, pieces, Some(at), result))
        }
    )*};
}

placed_vectors! { pwritev pwritev64 }

fn from_libc(result: isize) -> Result<usize, c_int> {
    usize::try_from(result).map_err(|_| errno::current())
}

/// Ends the server if a call on a stream found no room.
#[cold]
fn check_stream(call: &str, stream: *mut FILE) {
    let error = errno::current();
    if is_full(error) {
        // SAFETY: the hook's caller gave an open stream. The symbol is this library's own.
        check_open(call, unsafe { libc::fileno(stream) }, error);
        errno::set(error);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fwrite(
    start: *const c_void,
    size: size_t,
    count: size_t,
    stream: *mut FILE,
) -> size_t {
    let real = real_watched!(fwrite: fn(*const c_void, size_t, size_t, *mut FILE) -> size_t);
    // SAFETY: the caller's own arguments.
    let written = unsafe { real(start, size, count, stream) };
    if written < count && size > 0 {
        check_stream("fwrite", stream);
    }
    written
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fputs(text: *const c_char, stream: *mut FILE) -> c_int {
    let real = real_watched!(fputs: fn(*const c_char, *mut FILE) -> c_int);
    // SAFETY: the caller's own arguments.
    let result = unsafe { real(text, stream) };
    if result == libc::EOF {
        check_stream("fputs", stream);
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fflush(stream: *mut FILE) -> c_int {
    let real = real_watched!(fflush: fn(*mut FILE) -> c_int);
    // SAFETY: the caller's own argument.
    let result = unsafe { real(stream) };
    // Without a stream, libc does not say which one failed.
    if result == libc::EOF && !stream.is_null() {
        check_stream("fflush", stream);
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fclose(stream: *mut FILE) -> c_int {
    unsafe extern "C" {
        fn __fpending(stream: *mut FILE) -> size_t;
    }
    let real = real_watched!(fclose: fn(*mut FILE) -> c_int);
    // The rest is written while the stream still leads to its file.
    // SAFETY: the caller's own stream, which is open.
    if !stream.is_null() && unsafe { __fpending(stream) > 0 && fflush(stream) == libc::EOF } {
        let error = errno::current();
        // SAFETY: as above.
        unsafe { real(stream) };
        errno::set(error);
        return libc::EOF;
    }
    let before = errno::current();
    // SAFETY: as above.
    let descriptor = if stream.is_null() { -1 } else { unsafe { libc::fileno(stream) } };
    errno::set(before);
    let plain = real!(fclose: fn(*mut FILE) -> c_int);
    // SAFETY: as above.
    close_plain(descriptor, libc::S_IFREG, || unsafe { plain(stream) })
        // SAFETY: the caller's own argument.
        .unwrap_or_else(|| unsafe { real(stream) })
}
