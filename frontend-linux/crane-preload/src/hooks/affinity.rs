//! sched_getaffinity, sched_setaffinity, their forms for threads, sched_getcpu, getcpu: processors
//! of which every replica's server sees as many.
//!
//! Reading and setting a thread's processors are calls, because another thread may set them. Where
//! the calling thread runs is none: allocators ask for it each time.

use std::ffi::{c_int, c_uint};
use std::slice;

use crane_core::execution::turn::ThreadId;
use crane_shm::sys;
use libc::{cpu_set_t, pid_t, pthread_t};

use super::threads;
use crate::errno;
use crate::figures;
use crate::membership;
use crate::processors::{self, ProcessorSet};
use crate::turn::{Call, begin};
use crate::world::World;

/// The words of a mask that hosts of 8192 processors fill.
const LARGE_MASK_WORDS: usize = 128;

/// The name of a thread in a call.
#[derive(Clone, Copy)]
enum Name {
    /// The kernel's number, where 0 means the calling thread.
    Tid(pid_t),
    /// libc's name.
    Handle(pthread_t),
}

/// Runs a function in a call about a thread, with the thread's number; threads of others, and those
/// of a child after fork, have none. Returns an error if no such thread exists.
fn in_call<T>(name: Name, act: impl FnOnce(Option<ThreadId>) -> T) -> Result<T, c_int> {
    let Some(mut held) = begin(Call::Affinity, 0) else {
        return find(None, name).map(act);
    };
    let result = find(Some(held.world()), name).map(act);
    held.end();
    result
}

fn find(world: Option<&World>, name: Name) -> Result<Option<ThreadId>, c_int> {
    match name {
        Name::Tid(0) => Ok(membership::number()),
        Name::Handle(handle) => Ok(world.and_then(|world| threads::find(world, handle))),
        Name::Tid(tid) => {
            let is_meant = |number: &usize| {
                world.is_some_and(|world| {
                    let thread = &world.threads[*number];
                    thread.handle != 0 && !thread.ended && thread.tid as pid_t == tid
                })
            };
            let threads = 0..world.map_or(0, |world| world.threads.len());
            match threads.into_iter().find(is_meant) {
                Some(number) => Ok(Some(ThreadId(number as u16))),
                None => exists(tid).map(|()| None),
            }
        }
    }
}

/// Returns an error if the kernel knows no thread of this number.
fn exists(tid: pid_t) -> Result<(), c_int> {
    let mut mask = [0_u64; LARGE_MASK_WORDS];
    let arguments = [tid as usize, size_of_val(&mask), mask.as_mut_ptr().addr(), 0, 0, 0];
    // SAFETY: a place of ours, of this length.
    match sys::checked(unsafe { sys::syscall(libc::SYS_sched_getaffinity, arguments) }) {
        // This host has more processors than the mask.
        Ok(_) | Err(libc::EINVAL) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the bytes of the kernel's masks, on a host with this number of processors.
fn mask_bytes(processors: u32) -> usize {
    processors.div_ceil(64) as usize * 8
}

/// As the system call sched_getaffinity(2): returns the number of bytes written.
///
/// # Safety
/// `to` is null or a place of `length` bytes.
// specs: S13
unsafe fn get(name: Name, length: usize, to: *mut u8) -> Result<usize, c_int> {
    let count = figures::processors().unwrap_or(1);
    if length.saturating_mul(8) < count as usize || !length.is_multiple_of(8) {
        return Err(libc::EINVAL);
    }
    let mask = in_call(name, processors::of)?.to_bytes();
    if to.is_null() {
        return Err(libc::EFAULT);
    }
    let written = length.min(mask_bytes(count));
    // SAFETY: the caller's place, of at least this length; a mask has more bytes than are written.
    unsafe { to.copy_from_nonoverlapping(mask.as_ptr(), written) };
    Ok(written)
}

/// As the system call sched_setaffinity(2).
///
/// # Safety
/// `from` is null or leads to `length` bytes.
// specs: S13
unsafe fn set(name: Name, length: usize, from: *const u8) -> Result<(), c_int> {
    let count = figures::processors().unwrap_or(1);
    let length = length.min(mask_bytes(count));
    let mask = match length {
        0 => &[],
        _ if from.is_null() => return Err(libc::EFAULT),
        // SAFETY: the caller's bytes, of at least this length.
        length => unsafe { slice::from_raw_parts(from, length) },
    };
    let wanted = ProcessorSet::from_bytes(mask).and(ProcessorSet::first(count));
    in_call(name, |thread| {
        if wanted.is_empty() {
            return Err(libc::EINVAL);
        }
        processors::set_wish(thread, wanted);
        Ok(())
    })?
}

/// Returns the longest mask that libc's functions give the kernel of this length.
fn at_most(length: usize) -> usize {
    length.min(c_int::MAX as usize)
}

/// Does the same as [`get`], and clears the rest of the mask, as libc's functions do.
///
/// # Safety
/// As for [`get`].
unsafe fn get_whole(name: Name, length: usize, to: *mut cpu_set_t) -> Result<usize, c_int> {
    let to = to.cast::<u8>();
    // SAFETY: the caller's duty.
    unsafe {
        let written = get(name, at_most(length), to)?;
        to.add(written).write_bytes(0, length - written);
    }
    Ok(0)
}

/// Does the same as the system call of this number; the real one if the program takes no part.
///
/// # Safety
/// As unsafe as the call.
pub(super) unsafe fn getaffinity_by_number(
    tid: pid_t,
    length: c_uint,
    to: *mut u8,
) -> Result<usize, c_int> {
    if figures::processors().is_none() {
        let arguments = [tid as usize, length as usize, to.addr(), 0, 0, 0];
        // SAFETY: the caller's duty.
        return sys::checked(unsafe { sys::syscall(libc::SYS_sched_getaffinity, arguments) });
    }
    // SAFETY: the caller's duty.
    unsafe { get(Name::Tid(tid), length as usize, to) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getaffinity(tid: pid_t, length: usize, to: *mut cpu_set_t) -> c_int {
    if figures::processors().is_none() {
        let real = real!(sched_getaffinity: fn(pid_t, usize, *mut cpu_set_t) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(tid, length, to) };
    }
    // SAFETY: the caller's place.
    errno::answer_int(unsafe { get_whole(Name::Tid(tid), length, to) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_setaffinity(tid: pid_t, length: usize, from: *const cpu_set_t) -> c_int {
    if figures::processors().is_none() {
        let real = real!(sched_setaffinity: fn(pid_t, usize, *const cpu_set_t) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(tid, length, from) };
    }
    // SAFETY: the caller's mask.
    errno::answer_int(unsafe { set(Name::Tid(tid), length, from.cast()) }.map(|()| 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_getaffinity_np(
    handle: pthread_t,
    length: usize,
    to: *mut cpu_set_t,
) -> c_int {
    if figures::processors().is_none() {
        let real = real!(pthread_getaffinity_np: fn(pthread_t, usize, *mut cpu_set_t) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(handle, length, to) };
    }
    // SAFETY: the caller's place.
    unsafe { get_whole(Name::Handle(handle), length, to) }.err().unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_setaffinity_np(
    handle: pthread_t,
    length: usize,
    from: *const cpu_set_t,
) -> c_int {
    if figures::processors().is_none() {
        let real = real!(pthread_setaffinity_np: fn(pthread_t, usize, *const cpu_set_t) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(handle, length, from) };
    }
    // SAFETY: the caller's mask.
    unsafe { set(Name::Handle(handle), length, from.cast()) }.err().unwrap_or(0)
}

/// Returns the processor on which the calling thread runs, as the server sees it: the first of its
/// own. Safe in a signal handler.
// specs: S13
fn current() -> c_uint {
    processors::of(membership::number()).lowest().unwrap_or(0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getcpu() -> c_int {
    if figures::processors().is_none() {
        let real = real!(sched_getcpu: fn() -> c_int);
        // SAFETY: no arguments.
        return unsafe { real() };
    }
    current() as c_int
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getcpu(processor: *mut c_uint, node: *mut c_uint) -> c_int {
    if figures::processors().is_none() {
        let arguments = [processor.addr(), node.addr(), 0, 0, 0, 0];
        // SAFETY: the caller's own arguments.
        let result = sys::checked(unsafe { sys::syscall(libc::SYS_getcpu, arguments) });
        return errno::answer_int(result);
    }
    for (place, number) in [(processor, current()), (node, 0)] {
        if !place.is_null() {
            // SAFETY: the caller's place.
            unsafe { place.write(number) };
        }
    }
    0
}
