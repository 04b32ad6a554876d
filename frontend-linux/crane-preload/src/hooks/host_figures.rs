//! sysconf, get_nprocs, get_phys_pages and the like, sysinfo, getloadavg: the figures of a host,
//! which are the group's.

use std::ffi::{c_int, c_long, c_ushort};
use std::mem::MaybeUninit;

use crane_shm::sys;
use libc::sysinfo as Facts;

use super::time::{SECOND, nanoseconds, read};
use crate::errno;
use crate::figures::{self, Memory, pages};

/// The number of threads of the host that the server sees.
const THREADS_OF_HOST: c_ushort = 100;

/// Returns a value of sysconf(3) that is the group's.
// specs: S13
fn agreed(name: c_int) -> Option<c_long> {
    match name {
        libc::_SC_NPROCESSORS_CONF | libc::_SC_NPROCESSORS_ONLN => {
            figures::processors().map(c_long::from)
        }
        libc::_SC_PHYS_PAGES => figures::memory().map(|memory| pages(memory.all)),
        libc::_SC_AVPHYS_PAGES => figures::memory().map(|memory| pages(memory.free)),
        _ => None,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sysconf(name: c_int) -> c_long {
    agreed(name).unwrap_or_else(|| {
        let real = real!(sysconf: fn(c_int) -> c_long);
        // SAFETY: the caller's own argument.
        unsafe { real(name) }
    })
}

/// A function that is a value of sysconf(3).
macro_rules! value {
    ($name:ident() -> $type:ty = $value:path) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name() -> $type {
            agreed($value).map_or_else(
                || {
                    let real = real!($name: fn() -> $type);
                    // SAFETY: no arguments.
                    unsafe { real() }
                },
                |value| value as $type,
            )
        }
    };
}

value!(get_nprocs() -> c_int = libc::_SC_NPROCESSORS_ONLN);
value!(get_nprocs_conf() -> c_int = libc::_SC_NPROCESSORS_CONF);
value!(get_phys_pages() -> c_long = libc::_SC_PHYS_PAGES);
value!(get_avphys_pages() -> c_long = libc::_SC_AVPHYS_PAGES);

/// Returns what a host says of itself that runs little else, `uptime` seconds after its start.
fn facts(uptime: u64, memory: Memory) -> Facts {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut facts: Facts = unsafe { MaybeUninit::zeroed().assume_init() };
    facts.uptime = uptime as c_long;
    facts.totalram = memory.all;
    facts.freeram = memory.free;
    facts.procs = THREADS_OF_HOST;
    facts.mem_unit = 1;
    facts
}

// specs: S13
#[unsafe(no_mangle)]
unsafe extern "C" fn sysinfo(to: *mut Facts) -> c_int {
    if let Some(now) = read(libc::CLOCK_MONOTONIC)
        && let Some(memory) = figures::memory()
    {
        if to.is_null() {
            return errno::answer_int(Err(libc::EFAULT));
        }
        // SAFETY: the caller's place.
        unsafe { to.write(facts(nanoseconds(&now) / SECOND, memory)) };
        return 0;
    }
    let arguments = [to.addr(), 0, 0, 0, 0, 0];
    // SAFETY: the caller's own argument.
    errno::answer_int(sys::checked(unsafe { sys::syscall(libc::SYS_sysinfo, arguments) }))
}

// specs: S13
#[unsafe(no_mangle)]
unsafe extern "C" fn getloadavg(to: *mut f64, count: c_int) -> c_int {
    if figures::processors().is_none() {
        let real = real!(getloadavg: fn(*mut f64, c_int) -> c_int);
        // SAFETY: the caller's own arguments.
        return unsafe { real(to, count) };
    }
    // A host has three averages.
    let count = count.clamp(0, 3);
    for number in 0..count as usize {
        // SAFETY: the caller's places.
        unsafe { to.add(number).write(0.0) };
    }
    count
}
