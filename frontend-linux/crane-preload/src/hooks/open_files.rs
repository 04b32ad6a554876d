//! getrlimit, setrlimit and prlimit, for the limit of open files. The program sees and sets its own
//! hard limit, which is kept here: the kernel's stays above it, because the library needs numbers
//! beyond the program's again behind a hold point. The limit of address space leaves room for the
//! library's own.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

use crane_shm::sys;
use libc::{__rlimit_resource_t as Resource, pid_t, rlimit};

use crate::errno;
use crate::inherited;
use crate::service;
use crate::world;

/// The program's hard limit, or [`UNSET`].
static HARD: AtomicU64 = AtomicU64::new(UNSET);
/// The program has not set it: it is the group's limit.
const UNSET: u64 = u64::MAX;
/// The program's soft limit, or [`UNSET`] until somebody asks.
static SOFT: AtomicU64 = AtomicU64::new(UNSET);

/// Returns the program's soft limit.
pub(crate) fn soft() -> u64 {
    match SOFT.load(Ordering::Relaxed) {
        UNSET => {
            let mut kernels = rlimit { rlim_cur: 0, rlim_max: 0 };
            // The question alone cannot fail.
            let _ = ask_kernel(None, &mut kernels);
            SOFT.store(kernels.rlim_cur, Ordering::Relaxed);
            kernels.rlim_cur
        }
        soft => soft,
    }
}

/// Returns the program's hard limit.
pub(crate) fn hard() -> u64 {
    match HARD.load(Ordering::Relaxed) {
        UNSET => inherited::first_number(),
        hard => hard,
    }
}

/// Sets the program's hard limit, as the program before had it.
pub(crate) fn set_hard(hard: u64) {
    HARD.store(hard, Ordering::Relaxed);
}

/// Returns whether the limit is that of this process's open files.
fn is_ours(process: pid_t, resource: Resource) -> bool {
    resource == libc::RLIMIT_NOFILE
        && world::region().is_some()
        && (process == 0 || process == sys::pid() as pid_t)
}

/// As prlimit(2) for the open files of this process.
///
/// # Safety
/// Both are null or lead to a limit.
unsafe fn exchange(new: *const rlimit, old: *mut rlimit) -> Result<usize, c_int> {
    let before = hard();
    // SAFETY: the caller's duty.
    let wanted = unsafe { new.as_ref() };
    let mut kernels = rlimit { rlim_cur: 0, rlim_max: 0 };
    ask_kernel(None, &mut kernels)?;
    if let Some(wanted) = wanted {
        if wanted.rlim_cur > wanted.rlim_max {
            return Err(libc::EINVAL);
        }
        // The cell keeps no capability to raise it.
        if wanted.rlim_max > before {
            return Err(libc::EPERM);
        }
        let set = rlimit { rlim_cur: wanted.rlim_cur, rlim_max: kernels.rlim_max };
        ask_kernel(Some(&set), &mut kernels)?;
        set_hard(wanted.rlim_max);
        SOFT.store(wanted.rlim_cur, Ordering::Relaxed);
    }
    if !old.is_null() {
        // SAFETY: the caller's duty.
        unsafe { old.write(rlimit { rlim_cur: kernels.rlim_cur, rlim_max: before }) };
    }
    Ok(0)
}

/// Exchanges the kernel's limit.
fn ask_kernel(new: Option<&rlimit>, old: &mut rlimit) -> Result<usize, c_int> {
    let new = new.map_or(0, |new| std::ptr::from_ref(new).addr());
    let old = std::ptr::from_mut(old).addr();
    let arguments = [0, libc::RLIMIT_NOFILE as usize, new, old, 0, 0];
    // SAFETY: limits of ours.
    sys::checked(unsafe { sys::syscall(libc::SYS_prlimit64, arguments) })
}

/// As prlimit(2), for any process and limit.
///
/// # Safety
/// The caller's own pointers.
unsafe fn limit(process: pid_t, resource: Resource, new: *const rlimit, old: *mut rlimit) -> c_int {
    if is_ours(process, resource) {
        // SAFETY: the caller's duty.
        return errno::answer_int(unsafe { exchange(new, old) });
    }
    let is_of_memory = resource == libc::RLIMIT_AS && world::region().is_some();
    // SAFETY: the caller's duty.
    let wanted = unsafe { new.as_ref() }.filter(|_| is_of_memory).map(|wanted| rlimit {
        rlim_cur: with_own(wanted.rlim_cur),
        rlim_max: with_own(wanted.rlim_max),
    });
    let new = wanted.as_ref().map_or(new, std::ptr::from_ref);
    let arguments = [process as usize, resource as usize, new.addr(), old.addr(), 0, 0];
    // SAFETY: the caller's duty, or a limit of ours.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_prlimit64, arguments) });
    // SAFETY: the caller's place, which the kernel has written to.
    if let Some(old) = unsafe { old.as_mut() }.filter(|_| is_of_memory && result.is_ok()) {
        *old = rlimit { rlim_cur: without_own(old.rlim_cur), rlim_max: without_own(old.rlim_max) };
    }
    errno::answer_int(result)
}

/// The address space of the library's own: the memory that processes share, the region, and room
/// for stacks.
const OWN: u64 = service::BYTES as u64 + (256 << 20);

/// Returns the kernel's limit of address space for one of the program's.
const fn with_own(limit: u64) -> u64 {
    if limit == libc::RLIM_INFINITY { limit } else { limit.saturating_add(OWN) }
}

/// Returns the program's limit of address space for one of the kernel's.
const fn without_own(limit: u64) -> u64 {
    if limit == libc::RLIM_INFINITY { limit } else { limit.saturating_sub(OWN) }
}

/// A pointer that leads nowhere is the kernel's to refuse.
///
/// # Safety
/// As for [`limit`].
unsafe fn limit_at(resource: Resource, new: *const rlimit, old: *mut rlimit) -> c_int {
    if new.is_null() && old.is_null() {
        return errno::answer_int(Err(libc::EFAULT));
    }
    // SAFETY: the caller's duty.
    unsafe { limit(0, resource, new, old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrlimit(resource: Resource, old: *mut rlimit) -> c_int {
    // SAFETY: the caller's own pointer.
    unsafe { limit_at(resource, std::ptr::null(), old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrlimit64(resource: Resource, old: *mut rlimit) -> c_int {
    // SAFETY: as above; both are one structure here.
    unsafe { limit_at(resource, std::ptr::null(), old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setrlimit(resource: Resource, new: *const rlimit) -> c_int {
    // SAFETY: the caller's own pointer.
    unsafe { limit_at(resource, new, std::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setrlimit64(resource: Resource, new: *const rlimit) -> c_int {
    // SAFETY: as above.
    unsafe { limit_at(resource, new, std::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn prlimit(
    process: pid_t,
    resource: Resource,
    new: *const rlimit,
    old: *mut rlimit,
) -> c_int {
    // SAFETY: the caller's own pointers.
    unsafe { limit(process, resource, new, old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn prlimit64(
    process: pid_t,
    resource: Resource,
    new: *const rlimit,
    old: *mut rlimit,
) -> c_int {
    // SAFETY: the caller's own pointers.
    unsafe { limit(process, resource, new, old) }
}
