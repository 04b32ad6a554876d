//! libc's own functions, which the hooks replace.
//!
//! They are looked up at the first use, by `dlsym(RTLD_NEXT)`. Only names that exist are asked for:
//! the failure path of `dlsym` allocates, an allocator may lock, and a lock would look up again.

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The names of which libc has an old version as well.
const OLD_TWINS: [&CStr; 4] = [
    c"pthread_cond_wait",
    c"pthread_cond_timedwait",
    c"pthread_cond_signal",
    c"pthread_cond_broadcast",
];

/// A function of libc, found when it is needed.
pub(crate) struct Real {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Real {
    /// Creates the reference to the function of this name.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Returns the function's address.
    #[inline(always)]
    pub(crate) fn address(&self) -> *mut c_void {
        let found = self.found.load(Ordering::Relaxed);
        if found.is_null() { self.find() } else { found }
    }

    /// Looks the function up.
    #[cold]
    fn find(&self) -> *mut c_void {
        // Condition variables of before 2003 have the same name; the plain lookup may find those.
        let versioned = OLD_TWINS.contains(&self.name);
        // SAFETY: names end with a zero byte; the linker's own functions take no lock of ours.
        let found = unsafe {
            if versioned {
                libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), c"GLIBC_2.3.2".as_ptr())
            } else {
                next(self.name)
            }
        };
        assert!(!found.is_null(), "libc lacks {:?}", self.name);
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

/// Returns the real dlsym.
pub(crate) static DLSYM: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// The versions under which libc has had it: its own since 2.34, libdl's before.
const VERSIONS: [&CStr; 2] = [c"GLIBC_2.34", c"GLIBC_2.2.5"];

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// The real dlsym, as if called by this library.
fn next(name: &CStr) -> *mut c_void {
    find_dlsym();
    // SAFETY: `find_dlsym` has put dlsym's address there.
    let real = unsafe { std::mem::transmute::<*mut c_void, Dlsym>(DLSYM.load(Ordering::Relaxed)) };
    // SAFETY: the name ends with a zero byte.
    unsafe { real(libc::RTLD_NEXT, name.as_ptr()) }
}

/// Finds the real dlsym, once.
pub(crate) fn find_dlsym() {
    if DLSYM.load(Ordering::Relaxed).is_null() {
        let found = VERSIONS.into_iter().find_map(|version| {
            // SAFETY: both strings end with zero bytes; dlvsym is not hooked.
            let found =
                unsafe { libc::dlvsym(libc::RTLD_NEXT, c"dlsym".as_ptr(), version.as_ptr()) };
            (!found.is_null()).then_some(found)
        });
        DLSYM.store(found.expect("libc has dlsym"), Ordering::Relaxed);
    }
}

/// The real function of a name, as a function pointer: `real!(pthread_join: fn(a, b) -> c)`. The
/// net lets its calls pass: a hook stands for them.
macro_rules! real {
    ($name:ident : fn($($argument:ty),* $(,)?) -> $result:ty) => {
        real_during!(lend, $name: fn($($argument),*) -> $result)
    };
}

/// Does the same as `real!`, for a hook that only looks at the function's result. With a floor, the
/// calls of the function are those of the program.
macro_rules! real_watched {
    ($name:ident : fn($($argument:ty),* $(,)?) -> $result:ty) => {
        real_during!(keep_watch, $name: fn($($argument),*) -> $result)
    };
}

/// The real function of a name, while the net's setting is what one of its functions makes it.
macro_rules! real_during {
    ($setting:ident, $name:ident : fn($($argument:ty),* $(,)?) -> $result:ty) => {{
        static REAL: $crate::real::Real = {
            const NAME: &str = concat!(stringify!($name), "\0");
            match std::ffi::CStr::from_bytes_with_nul(NAME.as_bytes()) {
                Ok(name) => $crate::real::Real::new(name),
                Err(_) => panic!("a name without zero bytes"),
            }
        };
        during!($setting, REAL, $result, [a b c d e f], [$($argument),*], [])
    }};
}

/// A function that calls another one of these arguments' types under a setting of the net's.
macro_rules! during {
    ($setting:ident, $real:ident, $result:ty, [$name:ident $($names:ident)*],
     [$first:ty $(, $rest:ty)*], [$($done:tt)*]) => {
        during!($setting, $real, $result, [$($names)*], [$($rest),*], [$($done)* ($name: $first)])
    };
    ($setting:ident, $real:ident, $result:ty, $names:tt, [],
     [$(($name:ident : $argument:ty))*]) => {{
        unsafe extern "C" fn during($($name: $argument),*) -> $result {
            // SAFETY: the name's documented prototype is the one given.
            let real = unsafe {
                std::mem::transmute::<
                    *mut std::ffi::c_void,
                    unsafe extern "C" fn($($argument),*) -> $result,
                >($real.address())
            };
            let before = $crate::net::$setting();
            // SAFETY: the caller's duty.
            let result = unsafe { real($($name),*) };
            before.give_back();
            result
        }
        during as unsafe extern "C" fn($($argument),*) -> $result
    }};
}
