//! The kernel's own library, the vDSO (vdso(7)), which answers for clocks without a system call.
//!
//! No hook sees its functions when a program finds them by itself, through the auxiliary vector,
//! and neither does the kernel. Each of them is therefore replaced, in this process, by the system
//! call of the same name, which the net sees.

use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use crane_shm::sys;
use object::NativeEndian;
use object::elf::{FileHeader64, SHT_DYNSYM};
use object::read::elf::{FileHeader, Sym, SymbolTable};

/// The functions that answer for the kernel, and the calls of the same names.
const FUNCTIONS: [(&str, libc::c_long); 5] = [
    ("__vdso_clock_gettime", libc::SYS_clock_gettime),
    ("__vdso_clock_getres", libc::SYS_clock_getres),
    ("__vdso_gettimeofday", libc::SYS_gettimeofday),
    ("__vdso_time", libc::SYS_time),
    ("__vdso_getcpu", libc::SYS_getcpu),
];

/// The function that draws random bytes from a state that it keeps in the process. Its callers use
/// the call of the same name where it does not work.
const RANDOM: &str = "__vdso_getrandom";

/// The length of the code that takes a function's place.
const CODE_BYTES: usize = 8;
/// The kernel's library is not longer.
const IMAGE_BYTES_MAX: usize = 256 << 10;

type Header = FileHeader64<NativeEndian>;
const ORDER: NativeEndian = NativeEndian;

/// Whether its functions were replaced.
static IS_REPLACED: AtomicBool = AtomicBool::new(false);

/// Returns the code that makes a call: `mov eax, number`, `syscall`, `ret`.
fn call(number: libc::c_long) -> [u8; CODE_BYTES] {
    let [a, b, c, d] = (number as u32).to_le_bytes();
    [0xb8, a, b, c, d, 0x0f, 0x05, 0xc3]
}

/// Returns the code that fails: `mov rax, -ENOSYS`, `ret`.
fn fail() -> [u8; CODE_BYTES] {
    let [a, b, c, d] = (-libc::ENOSYS).to_le_bytes();
    [0x48, 0xc7, 0xc0, a, b, c, d, 0xc3]
}

/// Replaces the functions. Returns the reason if that is not possible. A kernel without this
/// library answers by system calls only.
// specs: S12
pub(super) fn replace() -> Result<(), &'static str> {
    // SAFETY: reads a vector that the kernel made for the process.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    if start == 0 {
        return Ok(());
    }
    let length = length_at(start).ok_or("the kernel's vDSO has no form that is known")?;
    // SAFETY: the kernel maps the library as a whole, up to its table of sections; it is read here
    // by a thread that is alone, or holds the turn.
    let image = unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(start), length) };
    let places = Replacements::find(image)?;
    let pages = length.next_multiple_of(PAGE);
    // Other threads may run in it. The kernel refuses a part of it.
    protect(start, pages, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)
        .map_err(|_| "the kernel's vDSO cannot be written to")?;
    for (offset, number) in places.0.into_iter().flatten() {
        let code = number.map_or_else(fail, call);
        // SAFETY: within the library, which may be written to, and no longer than the function.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), (start + offset) as *mut u8, code.len()) };
    }
    IS_REPLACED.store(true, Ordering::SeqCst);
    protect(start, pages, libc::PROT_READ | libc::PROT_EXEC)
        .map_err(|_| "the kernel's vDSO stays writable")?;
    Ok(())
}

/// Replaces them again, behind an image of the process, where the library is the kernel's new one.
pub(super) fn replace_again() {
    if IS_REPLACED.load(Ordering::SeqCst) {
        // It was possible before.
        let _ = replace();
    }
}

const PAGE: usize = 4096;

fn protect(start: usize, length: usize, protection: i32) -> Result<usize, i32> {
    let arguments = [start, length, protection as usize, 0, 0, 0];
    // SAFETY: only the kernel's library lies there, and it stays executable.
    sys::checked(unsafe { sys::syscall(libc::SYS_mprotect, arguments) })
}

/// Returns the length of an ELF image up to the end of its table of sections, which is its last
/// part.
fn length_at(start: usize) -> Option<usize> {
    // SAFETY: the kernel's library begins with such a header, on a page of its own.
    let header = unsafe { &*ptr::with_exposed_provenance::<Header>(start) };
    let sections =
        usize::from(header.e_shnum.get(ORDER)) * usize::from(header.e_shentsize.get(ORDER));
    let length = usize::try_from(header.e_shoff.get(ORDER)).ok()?.checked_add(sections)?;
    (size_of::<Header>()..=IMAGE_BYTES_MAX).contains(&length).then_some(length)
}

/// Returns an image's symbols. This allocates nothing, unlike the readers of whole files: behind an
/// image of the process, only this server's allocator would be called.
fn symbols(image: &[u8]) -> Option<SymbolTable<'_, Header>> {
    let header = Header::parse(image).ok()?;
    header.sections(ORDER, image).ok()?.symbols(ORDER, image, SHT_DYNSYM).ok()
}

/// Offsets of functions, and the number of the call that takes each one's place, if it is one.
struct Replacements([Option<(usize, Option<libc::c_long>)>; 8]);

impl Replacements {
    fn find(image: &[u8]) -> Result<Self, &'static str> {
        let mut places = [None; 8];
        let mut free = places.iter_mut();
        let symbols = symbols(image).ok_or("the kernel's vDSO has no table of symbols")?;
        for symbol in symbols.iter() {
            let name = symbols.symbol_name(ORDER, symbol).ok();
            let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) else { continue };
            let known = FUNCTIONS.iter().find(|(function, _)| *function == name);
            let number = match known {
                Some((_, number)) => Some(*number),
                None if name == RANDOM => None,
                None => continue,
            };
            let offset = symbol.st_value(ORDER) as usize;
            let fits = symbol.st_size(ORDER) as usize >= CODE_BYTES
                && offset.checked_add(CODE_BYTES).is_some_and(|end| end <= image.len());
            let place = free.next().filter(|_| fits);
            *place.ok_or("a function of the kernel's vDSO has no room")? = Some((offset, number));
        }
        Ok(Self(places))
    }
}
