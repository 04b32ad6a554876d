//! libc's own functions behind ours.
//!
//! They are looked up at the first use, by `dlsym(RTLD_NEXT)`. Only names that exist are asked for:
//! the failure path of `dlsym` allocates, an allocator may lock, and a lock would look up again.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Names of which libc has an old version, too.
const OLD_TWINS: [&CStr; 4] = [
    c"pthread_cond_wait",
    c"pthread_cond_timedwait",
    c"pthread_cond_signal",
    c"pthread_cond_broadcast",
];

/// A function of libc, found when it is needed.
pub struct Real {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Real {
    /// The function of this name.
    pub const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Its address.
    pub fn address(&self) -> *mut c_void {
        let found = self.found.load(Ordering::Relaxed);
        if !found.is_null() {
            return found;
        }
        // Condition variables of before 2003 have the same name; the plain lookup may find those.
        let versioned = OLD_TWINS.contains(&self.name);
        // SAFETY: names end with a zero byte; the linker's own functions take no lock of ours.
        let found = unsafe {
            if versioned {
                libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), c"GLIBC_2.3.2".as_ptr())
            } else {
                crate::hooks::lookup::next(self.name)
            }
        };
        assert!(!found.is_null(), "libc lacks {:?}", self.name);
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

/// The real function of a name, as a function pointer: `real!(pthread_join: fn(a, b) -> c)`.
macro_rules! real {
    ($name:ident : fn($($argument:ty),* $(,)?) -> $result:ty) => {{
        static REAL: $crate::real::Real = {
            const NAME: &str = concat!(stringify!($name), "\0");
            match std::ffi::CStr::from_bytes_with_nul(NAME.as_bytes()) {
                Ok(name) => $crate::real::Real::new(name),
                Err(_) => panic!("a name without zero bytes"),
            }
        };
        // SAFETY: the name's documented prototype is the one given.
        unsafe {
            std::mem::transmute::<
                *mut std::ffi::c_void,
                unsafe extern "C" fn($($argument),*) -> $result,
            >(REAL.address())
        }
    }};
}
