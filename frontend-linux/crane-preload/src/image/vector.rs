//! The stack that a program begins with (System V ABI, section 3.4.1): the number of arguments, the
//! arguments, the environment, and the kernel's auxiliary vector (getauxval(3)).

use std::ffi::{CStr, c_char};

use super::layout::MappedProgram;

/// The bytes below the kernel's vector in which the program's has to fit.
pub(super) const ROOM: usize = 4 << 20;

/// The kernel's vector.
pub(super) struct Vector {
    start: *mut usize,
    /// The auxiliary vector: pairs of numbers, and their count with the last, which is zero.
    auxiliary: *const [usize; 2],
    pairs: usize,
}

impl Vector {
    /// Returns the kernel's vector.
    ///
    /// # Safety
    /// It is there, and complete.
    pub(super) unsafe fn at(start: *mut usize) -> Self {
        // SAFETY: the caller's duty: each part ends with a zero.
        unsafe {
            let mut place = start.add(2 + *start);
            while *place != 0 {
                place = place.add(1);
            }
            let auxiliary: *const [usize; 2] = place.add(1).cast();
            let mut pairs = 1;
            while (*auxiliary.add(pairs - 1))[0] != 0 {
                pairs += 1;
            }
            Self { start, auxiliary, pairs }
        }
    }

    pub(super) fn count(&self) -> usize {
        // SAFETY: the first word.
        unsafe { *self.start }
    }

    pub(super) fn arguments(&self) -> *mut *mut c_char {
        // SAFETY: behind the first word.
        unsafe { self.start.add(1).cast() }
    }

    pub(super) fn environment(&self) -> *mut *mut c_char {
        // SAFETY: behind the arguments and their end.
        unsafe { self.start.add(2 + self.count()).cast() }
    }

    fn auxiliary(&self) -> &[[usize; 2]] {
        // SAFETY: as many pairs.
        unsafe { std::slice::from_raw_parts(self.auxiliary, self.pairs) }
    }

    /// Returns the path of the file that the kernel executes.
    pub(super) fn executed(&self) -> Option<&'static CStr> {
        let path = self.auxiliary().iter().find(|pair| pair[0] == libc::AT_EXECFN as usize)?[1];
        // SAFETY: the kernel's string, which stays.
        Some(unsafe { CStr::from_ptr(path as *const c_char) })
    }

    /// Writes the vector of a program below the kernel's, and returns where it begins. The
    /// environment is as it is now.
    ///
    /// # Errors
    /// Returns that it does not fit.
    ///
    /// # Safety
    /// There is [`ROOM`] below the kernel's vector that nothing uses.
    pub(super) unsafe fn write(
        &self,
        program: &'static CStr,
        image: &MappedProgram,
    ) -> Result<usize, String> {
        let mut words = Vec::with_capacity(1024);
        words.push(self.count());
        let mut place = self.arguments().cast::<usize>();
        // The arguments and the environment, each with its zero.
        for _ in 0..2 {
            loop {
                // SAFETY: a word of the list, which ends with a zero.
                let word = unsafe { *place };
                words.push(word);
                // SAFETY: as above.
                place = unsafe { place.add(1) };
                if word == 0 {
                    break;
                }
            }
        }
        for [kind, value] in self.auxiliary() {
            let value = match *kind as u64 {
                libc::AT_PHDR => image.headers,
                libc::AT_PHNUM => image.header_count,
                libc::AT_ENTRY => image.entry,
                libc::AT_BASE => 0,
                libc::AT_EXECFN => program.as_ptr().addr(),
                // The kernel's own library would answer what is agreed otherwise.
                libc::AT_SYSINFO_EHDR => continue,
                _ => *value,
            };
            words.extend([*kind, value]);
        }
        let bytes = size_of_val(&words[..]);
        if bytes > ROOM / 2 {
            return Err("the program has too many arguments and variables".to_string());
        }
        let start = (self.start.addr() - bytes) & !15;
        // SAFETY: the caller's duty.
        unsafe { (start as *mut usize).copy_from_nonoverlapping(words.as_ptr(), words.len()) };
        Ok(start)
    }
}
