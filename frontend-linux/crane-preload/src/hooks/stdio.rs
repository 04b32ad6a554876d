//! Streams of stdio on the library's own descriptors: fopen of a random device, fdopen, fileno,
//! dprintf.
//!
//! stdio reads and writes by internal calls of libc, which no hook sees. Such a stream therefore
//! consists of callbacks (fopencookie(3)) that call this library's read and write.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::FILE;

use super::files::is_random;
use super::{host_files, room};
use crate::descriptors::lookup;
use crate::errno;
use crate::file_kind;
use crate::membership::takes_part;

/// The callbacks of fopencookie. A missing callback behaves as for an endless sink or an empty
/// source.
#[repr(C)]
struct Callbacks {
    read: Option<unsafe extern "C" fn(*mut c_void, *mut c_char, usize) -> isize>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> isize>,
    seek: Option<unsafe extern "C" fn(*mut c_void, *mut i64, c_int) -> c_int>,
    close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
}

unsafe extern "C" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, callbacks: Callbacks) -> *mut FILE;
}

/// The streams, each with its descriptor, for fileno.
static STREAMS: [AtomicPtr<FILE>; 1024] = [const { AtomicPtr::new(ptr::null_mut()) }; 1024];

unsafe extern "C" fn read_random(_: *mut c_void, start: *mut c_char, length: usize) -> isize {
    // SAFETY: stdio's own buffer; the symbol is this library's own.
    unsafe { libc::getrandom(start.cast(), length, 0) }
}

// The cookie of the others is the descriptor itself, never followed. libc's names are this
// library's own.

unsafe extern "C" fn read_from(cookie: *mut c_void, start: *mut c_char, length: usize) -> isize {
    // SAFETY: stdio's own buffer.
    unsafe { libc::read(cookie.addr() as c_int, start.cast(), length) }
}

unsafe extern "C" fn write_to(cookie: *mut c_void, start: *const c_char, length: usize) -> isize {
    // SAFETY: stdio's own buffer. A failed write is 0 for fopencookie.
    unsafe { libc::write(cookie.addr() as c_int, start.cast(), length) }.max(0)
}

unsafe extern "C" fn close_both(cookie: *mut c_void) -> c_int {
    if let Some(stream) = STREAMS.get(cookie.addr()) {
        stream.store(ptr::null_mut(), Ordering::Relaxed);
    }
    // SAFETY: a plain number.
    unsafe { libc::close(cookie.addr() as c_int) }
}

/// Makes a stream of agreed random bytes.
fn random_stream(path: *const c_char) -> Option<*mut FILE> {
    if !takes_part() || path.is_null() || !is_random(path) {
        return None;
    }
    let callbacks = Callbacks { read: Some(read_random), write: None, seek: None, close: None };
    // SAFETY: the callback ignores its cookie.
    Some(unsafe { fopencookie(ptr::null_mut(), c"r".as_ptr(), callbacks) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    let special = random_stream(path).or_else(|| host_files::stream(path, mode));
    special.unwrap_or_else(|| {
        // Only what is no plain file may wait.
        let kind = file_kind::at(libc::AT_FDCWD as usize, path.addr(), 0);
        let real = match kind {
            None | Some(libc::S_IFREG) => {
                real!(fopen: fn(*const c_char, *const c_char) -> *mut FILE)
            }
            Some(_) => real_watched!(fopen: fn(*const c_char, *const c_char) -> *mut FILE),
        };
        // SAFETY: the caller's own arguments.
        let stream = unsafe { real(path, mode) };
        if stream.is_null() {
            room::check_path("fopen", path, errno::current());
        }
        stream
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: the caller's own arguments.
    unsafe { fopen(path, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdopen(descriptor: c_int, mode: *const c_char) -> *mut FILE {
    if !takes_part() || lookup(descriptor).is_none() {
        let real = real_watched!(fdopen: fn(c_int, *const c_char) -> *mut FILE);
        // SAFETY: the caller's own arguments.
        return unsafe { real(descriptor, mode) };
    }
    let callbacks = Callbacks {
        read: Some(read_from),
        write: Some(write_to),
        seek: None,
        close: Some(close_both),
    };
    // SAFETY: the caller's mode; the cookie is a number.
    let stream = unsafe { fopencookie(descriptor as usize as *mut c_void, mode, callbacks) };
    if let Some(place) = STREAMS.get(descriptor as usize) {
        place.store(stream, Ordering::Relaxed);
    }
    stream
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fileno(stream: *mut FILE) -> c_int {
    let before = errno::current();
    let real = real_watched!(fileno: fn(*mut FILE) -> c_int);
    // SAFETY: the caller's own argument.
    let descriptor = unsafe { real(stream) };
    // Streams of callbacks have no number in libc. Only for them is the search worth its time.
    if descriptor < 0
        && let Some(descriptor) =
            STREAMS.iter().position(|place| place.load(Ordering::Relaxed) == stream)
    {
        errno::set(before);
        return descriptor as c_int;
    }
    descriptor
}

/// Writes a whole text to a followed descriptor, as libc's own function does. Returns `None` if
/// libc's own is due.
///
/// # Safety
/// The format's arguments are in the list.
unsafe fn print(descriptor: c_int, format: *const c_char, list: *mut c_void) -> Option<c_int> {
    unsafe extern "C" {
        fn vasprintf(text: *mut *mut c_char, format: *const c_char, list: *mut c_void) -> c_int;
    }
    lookup(descriptor).filter(|_| takes_part())?;
    let mut text = ptr::null_mut();
    // SAFETY: the caller's duty; outside of the turn, libc may allocate.
    let length = unsafe { vasprintf(&raw mut text, format, list) };
    if length < 0 {
        return Some(-1);
    }
    let (mut done, whole) = (0, length as usize);
    let mut result = length;
    while done < whole {
        // SAFETY: the rest of the text; the symbol is this library's own.
        match unsafe { libc::write(descriptor, text.add(done).cast(), whole - done) } {
            written @ 1.. => done += written as usize,
            _ => {
                result = -1;
                break;
            }
        }
    }
    let error = errno::current();
    // SAFETY: vasprintf made it.
    unsafe { libc::free(text.cast()) };
    errno::set(error);
    Some(result)
}

// A list of arguments is passed as a pointer when it is itself an argument.
#[unsafe(no_mangle)]
unsafe extern "C" fn vdprintf(
    descriptor: c_int,
    format: *const c_char,
    list: *mut c_void,
) -> c_int {
    // SAFETY: the caller's own arguments.
    let printed = unsafe { print(descriptor, format, list) };
    printed.unwrap_or_else(|| {
        let real = real_watched!(vdprintf: fn(c_int, *const c_char, *mut c_void) -> c_int);
        // SAFETY: the caller's own arguments.
        unsafe { real(descriptor, format, list) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __vdprintf_chk(
    descriptor: c_int,
    flag: c_int,
    format: *const c_char,
    list: *mut c_void,
) -> c_int {
    // SAFETY: the caller's own arguments.
    let printed = unsafe { print(descriptor, format, list) };
    printed.unwrap_or_else(|| {
        let real =
            real_watched!(__vdprintf_chk: fn(c_int, c_int, *const c_char, *mut c_void) -> c_int);
        // SAFETY: the caller's own arguments.
        unsafe { real(descriptor, flag, format, list) }
    })
}

/// A variadic function that makes a list (System V ABI for x86-64, 3.5.7) of the arguments after
/// the first ones, whose registers take `$named` bytes, and calls `$list` with the list as the
/// argument in `$register`.
macro_rules! variadic {
    ($name:ident, $named:literal, $register:literal, $list:ident) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() -> c_int {
            std::arch::naked_asm!(
                "sub rsp, 0xd8",
                "mov [rsp + 0x20], rdi",
                "mov [rsp + 0x28], rsi",
                "mov [rsp + 0x30], rdx",
                "mov [rsp + 0x38], rcx",
                "mov [rsp + 0x40], r8",
                "mov [rsp + 0x48], r9",
                "test al, al",
                "je 2f",
                "movaps [rsp + 0x50], xmm0",
                "movaps [rsp + 0x60], xmm1",
                "movaps [rsp + 0x70], xmm2",
                "movaps [rsp + 0x80], xmm3",
                "movaps [rsp + 0x90], xmm4",
                "movaps [rsp + 0xa0], xmm5",
                "movaps [rsp + 0xb0], xmm6",
                "movaps [rsp + 0xc0], xmm7",
                "2:",
                concat!("mov dword ptr [rsp], ", $named),
                "mov dword ptr [rsp + 4], 48",
                "lea rax, [rsp + 0xe0]",
                "mov [rsp + 8], rax",
                "lea rax, [rsp + 0x20]",
                "mov [rsp + 16], rax",
                concat!("mov ", $register, ", rsp"),
                "call {list}",
                "add rsp, 0xd8",
                "ret",
                list = sym $list,
            )
        }
    };
}

variadic!(dprintf, "16", "rdx", vdprintf);
variadic!(__dprintf_chk, "24", "rcx", __vdprintf_chk);
