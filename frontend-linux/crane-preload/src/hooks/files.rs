//! open, close, dup, fcntl, ioctl, and the fsync family.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::sync::atomic::Ordering;

use crane_shm::sys;
use libc::{mode_t, off_t};

use super::fifo::{self, Opening};
use super::parts::flags_of;
use super::transfer::{begin_at, dispose};
use super::{file_locks, host_files, notices, room};
use crate::capacities::DESCRIPTORS;
use crate::descriptors::{DescriptionKind, lookup};
use crate::errno;
use crate::file_kind;
use crate::inherited::{self, is_own};
use crate::membership::takes_part;
use crate::notes::uncovered;
use crate::numbers::forget_plain;
use crate::successor;
use crate::turn::{Call, begin};
use crate::world::{KEEP_FSYNC, World};

/// Devices whose bytes are agreed upon.
const RANDOM: [&CStr; 2] = [c"/dev/urandom", c"/dev/random"];

/// The flags that make each write wait for the disk. They are dropped because the log is the
/// durable state; see `KEEP_FSYNC`.
const SYNC: c_int = libc::O_SYNC | libc::O_DSYNC;

fn skips_sync() -> bool {
    !KEEP_FSYNC.load(Ordering::Relaxed)
}

/// Carries out all variants of open.
fn open_at(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let flags = if skips_sync() { flags & !SYNC } else { flags };
    let opening = Opening { directory, path, flags, mode };
    let result = fifo::open(opening).unwrap_or_else(|| opening.open(0));
    // The path is good if there is a file.
    let result = result.and_then(|descriptor| host_files::with_text(descriptor, path, flags));
    if let Err(error) = result {
        room::check_path("open", path, error);
    }
    if let Ok(descriptor) = result
        && is_random(path)
        && let Some(mut held) = begin(Call::Random, 0)
    {
        held.world().descriptors.open(descriptor as c_int, DescriptionKind::Random, false);
        held.end();
    }
    errno::answer_int(result)
}

/// Returns whether a path is that of a source of random bytes.
pub(super) fn is_random(path: *const c_char) -> bool {
    // SAFETY: the hook's caller gave a path.
    let path = unsafe { CStr::from_ptr(path) };
    RANDOM.contains(&path)
}

// The mode is a variadic argument in C; on x86-64 it comes in the same register as a fixed one, and
// is garbage, which the kernel ignores, when the flags do not ask for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    open_at(directory, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    open_at(directory, path, flags, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    open_at(libc::AT_FDCWD, path, flags, 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    if is_own(descriptor) {
        return errno::answer_int(Err(libc::EBADF));
    }
    if lookup(descriptor).is_some()
        && let Some(mut held) = begin(Call::Close, descriptor as u32)
    {
        detach(held.world(), descriptor);
        let result = sys::close(descriptor);
        held.end();
        return errno::answer_int(result.map(|()| 0));
    }
    forget_plain(descriptor);
    let result = sys::close(descriptor);
    file_locks::freed();
    errno::answer_int(result.map(|()| 0))
}

/// Closes all numbers of a range except the library's own. `flags` are those of close_range(2).
fn close_all(first: c_uint, last: c_uint, flags: c_uint) -> Result<usize, c_int> {
    let followed = last.min(DESCRIPTORS as c_uint - 1);
    for descriptor in (first..=followed).map(|number| number as c_int) {
        if lookup(descriptor).is_some()
            && let Some(mut held) = begin(Call::Close, descriptor as u32)
        {
            detach(held.world(), descriptor);
            // The kernel closes it below in any case.
            let _ = sys::close(descriptor);
            held.end();
        }
        forget_plain(descriptor);
    }
    let mut own = inherited::numbers();
    own.sort_unstable();
    let mut from = first;
    for own in own.into_iter().filter_map(|own| c_uint::try_from(own).ok()) {
        if (from..=last).contains(&own) {
            if own > from {
                close_in_kernel(from, own - 1, flags)?;
            }
            from = own + 1;
        }
    }
    if from <= last {
        close_in_kernel(from, last, flags)?;
    }
    file_locks::freed();
    Ok(0)
}

fn close_in_kernel(first: c_uint, last: c_uint, flags: c_uint) -> Result<usize, c_int> {
    let arguments = [first as usize, last as usize, flags as usize, 0, 0, 0];
    // SAFETY: close_range touches no memory.
    sys::checked(unsafe { sys::syscall(libc::SYS_close_range, arguments) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn closefrom(first: c_int) {
    // A kernel that cannot close a range (before Linux 5.9) leaves the program's files open.
    let _ = close_all(u32::try_from(first).unwrap_or(0), c_uint::MAX, 0);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    let flags = flags as c_uint;
    let result = match flags {
        // Only the calling thread's descriptors are closed with the second flag; with others the
        // call marks descriptors for the next exec, or is refused.
        0 | libc::CLOSE_RANGE_UNSHARE if first <= last => close_all(first, last, flags),
        _ => close_in_kernel(first, last, flags),
    };
    errno::answer_int(result)
}

/// Records that a number leads nowhere any more.
fn detach(world: &mut World, descriptor: c_int) {
    if let Some((place, true)) = world.descriptors.detach(descriptor) {
        dispose(world, place);
    }
}

/// Records that the numbers lead nowhere any more that the kernel has closed, for a program that
/// has taken another's place (`FD_CLOEXEC`), and that nothing is known about files.
pub(crate) fn forget_closed(world: &mut World) {
    /// Files rarely have higher numbers than all else.
    const MARKED: u32 = 1024;
    for descriptor in 0..world.descriptors.numbers().max(MARKED) as c_int {
        forget_plain(descriptor);
        if lookup(descriptor).is_some() && successor::is_closed(descriptor) {
            detach(world, descriptor);
        }
    }
}

/// Records that the kernel has made `copy` lead where `original` does.
fn share(original: c_int, copy: c_int) {
    if original != copy {
        forget_plain(copy);
    }
    // The kernel has closed the previous object of that number.
    file_locks::freed();
    let (from, to) = (lookup(original), lookup(copy));
    if original == copy || (from.is_none() && to.is_none()) {
        return;
    }
    let Some(mut held) = begin(Call::Duplicate, copy as u32) else { return };
    let world = held.world();
    detach(world, copy);
    if let Some(place) = lookup(original)
        && !world.descriptors.share(place, copy)
    {
        uncovered(world, "a duplicate beyond the descriptors that are followed");
    }
    held.end();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup(descriptor: c_int) -> c_int {
    if is_own(descriptor) {
        return errno::answer_int(Err(libc::EBADF));
    }
    // SAFETY: dup touches no memory.
    let result =
        sys::checked(unsafe { sys::syscall(libc::SYS_dup, [descriptor as usize, 0, 0, 0, 0, 0]) });
    if let Ok(copy) = result {
        share(descriptor, copy as c_int);
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup2(descriptor: c_int, copy: c_int) -> c_int {
    // The kernel refuses a copy beyond the limit.
    if is_own(descriptor) {
        return errno::answer_int(Err(libc::EBADF));
    }
    let arguments = [descriptor as usize, copy as usize, 0, 0, 0, 0];
    // SAFETY: dup2 touches no memory.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_dup2, arguments) });
    if result.is_ok() {
        share(descriptor, copy);
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup3(descriptor: c_int, copy: c_int, flags: c_int) -> c_int {
    if is_own(descriptor) {
        return errno::answer_int(Err(libc::EBADF));
    }
    let arguments = [descriptor as usize, copy as usize, flags as usize, 0, 0, 0];
    // SAFETY: dup3 touches no memory.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_dup3, arguments) });
    if result.is_ok() {
        share(descriptor, copy);
    }
    errno::answer_int(result)
}

// The third argument is variadic in C; see `open`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: usize) -> c_int {
    if is_own(descriptor) {
        return errno::answer_int(Err(libc::EBADF));
    }
    if let Some(result) = file_locks::control(descriptor, command, argument) {
        return errno::answer_int(result);
    }
    let given = match command {
        libc::F_SETFL => notices::without_async(descriptor, argument),
        _ => argument,
    };
    let arguments = [descriptor as usize, command as usize, given, 0, 0, 0];
    // SAFETY: the caller's own arguments.
    let mut result = sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, arguments) });
    if let Ok(value) = result {
        match command {
            libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => share(descriptor, value as c_int),
            libc::F_SETFL => {
                set_nonblocking(descriptor, argument as c_int & libc::O_NONBLOCK != 0);
            }
            libc::F_GETFL => result = Ok(notices::with_async(descriptor, value)),
            _ => notices::on_command(descriptor, command, argument),
        }
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl64(descriptor: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { fcntl(descriptor, command, argument) }
}

fn set_nonblocking(descriptor: c_int, on: bool) {
    if let Some((mut held, place)) = begin_at(descriptor, Call::Option) {
        held.world().descriptors.at(place).nonblocking = on;
        held.end();
    }
}

// The third argument is variadic in C; see `open`.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(descriptor: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if request == libc::FIONREAD
        && let Some(count) = readable(descriptor)
    {
        if let Ok(count) = count {
            // SAFETY: FIONREAD's argument is a place for an int.
            unsafe { argument.cast::<c_int>().write(count as c_int) };
        }
        return errno::answer_int(count.map(|_| 0));
    }
    if let Some(result) = notices::control(descriptor, request, argument.addr()) {
        return errno::answer_int(result);
    }
    let arguments = [descriptor as usize, request as usize, argument.addr(), 0, 0, 0];
    // SAFETY: the caller's own arguments.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_ioctl, arguments) });
    if result.is_ok() && request == libc::FIONBIO {
        // SAFETY: FIONBIO's argument is an int.
        set_nonblocking(descriptor, unsafe { argument.cast::<c_int>().read() } != 0);
    }
    errno::answer_int(result)
}

/// Returns how many bytes wait to be read at a client's connection.
fn readable(descriptor: c_int) -> Option<Result<usize, c_int>> {
    let (mut held, place) = begin_at(descriptor, Call::Option)?;
    let world = held.world();
    let count = match world.descriptors.at(place).kind() {
        DescriptionKind::Conn(conn) => Some(Ok(world.run.sockets.conn(conn).readable())),
        DescriptionKind::Listener(_) => Some(Err(libc::EINVAL)),
        DescriptionKind::Socket => Some(Ok(0)),
        _ => None,
    };
    held.end();
    count
}

/// Carries out a call of the fsync family. The call is skipped if there is something to write;
/// otherwise the kernel makes it and reports the error.
fn sync_call(number: i64, descriptor: c_int, writes: impl Fn(u32) -> bool) -> c_int {
    if skips_sync() && takes_part() && file_type(descriptor).is_some_and(writes) {
        return 0;
    }
    let arguments = [descriptor as usize, 0, 0, 0, 0, 0];
    // SAFETY: these calls touch none of the program's memory.
    let result = sys::checked(unsafe { sys::syscall(number, arguments) });
    if let Err(error) = result {
        room::check_open("fsync", descriptor, error);
    }
    errno::answer_int(result)
}

/// Returns the type (`S_IFMT`) of an open file, or `None` if the number leads nowhere or only to a
/// place in the file system (`O_PATH`), which counts as closed for most calls.
fn file_type(descriptor: c_int) -> Option<u32> {
    let flags = flags_of(descriptor)?;
    file_kind::of(descriptor).filter(|_| flags & libc::O_PATH == 0)
}

/// Returns whether sendfile(2) may read the file. The read itself refuses a number that leads
/// nowhere, or only to a place in the file system.
pub(super) fn is_readable_in_place(descriptor: c_int) -> bool {
    let kind = file_kind::of(descriptor);
    kind.is_some_and(|kind| [libc::S_IFREG, libc::S_IFBLK].contains(&kind))
        || file_type(descriptor).is_none()
}

/// Returns whether fsync(2) knows how to write a file of this type out.
fn is_on_disk(file_type: u32) -> bool {
    [libc::S_IFREG, libc::S_IFDIR, libc::S_IFBLK].contains(&file_type)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync_call(libc::SYS_fsync, descriptor, is_on_disk)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync_call(libc::SYS_fdatasync, descriptor, is_on_disk)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn syncfs(descriptor: c_int) -> c_int {
    sync_call(libc::SYS_syncfs, descriptor, |_| true)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sync() {
    if !(skips_sync() && takes_part()) {
        // SAFETY: sync touches no memory.
        unsafe { sys::syscall(libc::SYS_sync, [0; 6]) };
    }
}

// If there is nothing to write, the kernel still checks the arguments.
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(start: *mut c_void, length: usize, flags: c_int) -> c_int {
    let both = libc::MS_SYNC | libc::MS_ASYNC;
    let skipped = skips_sync() && takes_part() && flags & both == libc::MS_SYNC;
    let flags = if skipped { flags ^ both } else { flags };
    let arguments = [start.addr(), length, flags as usize, 0, 0, 0];
    // SAFETY: msync only reads the program's memory.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_msync, arguments) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(
    descriptor: c_int,
    start: off_t,
    length: off_t,
    flags: c_uint,
) -> c_int {
    // Without the flags that select an action, the kernel only checks the arguments.
    let doing = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let flags = if skips_sync() && takes_part() { flags & !doing } else { flags };
    let arguments = [descriptor as usize, start as usize, length as usize, flags as usize, 0, 0];
    // SAFETY: sync_file_range touches no memory.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_sync_file_range, arguments) }))
}
