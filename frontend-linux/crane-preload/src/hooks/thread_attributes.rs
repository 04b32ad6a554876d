//! The processors in the attributes of a thread. libc would give them to the kernel for the new
//! thread, which this host may refuse.

use std::ffi::c_int;

use libc::pthread_attr_t;

use crate::figures;
use crate::processors::ProcessorSet;

/// The number of bytes of the masks: eight times as many processors as a server may see, so that
/// none that the program names is cut off.
const ATTRIBUTE_BYTES: usize = 1024;

/// The processors that the attributes of a thread ask for, in the place of its creator's.
pub(super) struct AttributeMask {
    attributes: *mut pthread_attr_t,
    mask: [u8; ATTRIBUTE_BYTES],
}

unsafe extern "C" {
    fn pthread_attr_getaffinity_np(
        attributes: *const pthread_attr_t,
        length: usize,
        to: *mut u8,
    ) -> c_int;
    fn pthread_attr_setaffinity_np(
        attributes: *mut pthread_attr_t,
        length: usize,
        from: *const u8,
    ) -> c_int;
}

impl AttributeMask {
    /// Reads the mask, or returns `None` if the attributes have none.
    ///
    /// # Safety
    /// The attributes are null, or initialised.
    pub(super) unsafe fn read(attributes: *const pthread_attr_t) -> Option<Self> {
        let mut mask = [0; ATTRIBUTE_BYTES];
        if attributes.is_null() {
            return None;
        }
        // SAFETY: the caller's attributes; a place of ours. libc only copies.
        let error =
            unsafe { pthread_attr_getaffinity_np(attributes, ATTRIBUTE_BYTES, mask.as_mut_ptr()) };
        // Without a mask, libc says that all processors are meant.
        let has_mask = error == 0 && mask != [u8::MAX; ATTRIBUTE_BYTES];
        has_mask.then_some(Self { attributes: attributes.cast_mut(), mask })
    }

    /// Returns the processors that the server sees.
    pub(super) fn wish(&self) -> ProcessorSet {
        let count = figures::processors().unwrap_or(1);
        ProcessorSet::from_bytes(&self.mask).and(ProcessorSet::first(count))
    }

    /// Lets libc's next thread of these attributes run anywhere, because this host may have none of
    /// its processors. libc allocates in this call.
    pub(super) fn lift(&self) {
        self.put(&[u8::MAX; ATTRIBUTE_BYTES]);
    }

    /// Gives the attributes back what they had.
    pub(super) fn put_back(&self) {
        self.put(&self.mask);
    }

    fn put(&self, mask: &[u8; ATTRIBUTE_BYTES]) {
        // SAFETY: attributes that have a mask lie in memory that libc has written. The thread that
        // makes another one has the turn, and no other that makes one reads them meanwhile.
        unsafe { pthread_attr_setaffinity_np(self.attributes, ATTRIBUTE_BYTES, mask.as_ptr()) };
    }
}
