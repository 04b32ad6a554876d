//! The files that a server runs in its own place: which kind of program each is.

use std::ffi::{CStr, c_int};

use crane_core::execution::hash::RunningHash;
use crane_shm::sys;

use crate::known_files::FileVersion;
use crate::words::PathSpace;
use crate::world::World;

/// The number of `#!` lines that may lead to each other, as in the kernel (execve(2)).
const INTERPRETERS_MAX: u32 = 5;
/// The number of bytes of a file that determine its format: a `#!` line (execve(2)), or ELF's
/// headers.
const HEAD_BYTES: usize = 4096;

/// The kind of a file that is to run.
pub(super) enum ImageKind {
    /// The file is a program that loads this library.
    Loads,
    /// The file is linked statically, so no library is loaded into it.
    Static,
    /// The file is not a program for this machine.
    Foreign,
    /// The file has no format, so it is a shell's script (exec(3)).
    Script,
    /// The file cannot be run, and the kernel reports why.
    Unfit,
}

/// Examines a file that is to run, and follows `#!` lines to their interpreters. The contents of
/// the files go into the schedule hash.
pub(super) fn look_at(world: &mut World, path: &CStr, depth: u32) -> ImageKind {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let arguments = [path.as_ptr() as usize, flags as usize, 0, 0, 0, 0];
    // SAFETY: the path is a live string.
    let opened = sys::checked(unsafe { sys::syscall(libc::SYS_open, arguments) });
    let Ok(file) = opened else { return ImageKind::Unfit };
    let file = file as i32;
    let mut head = [0; HEAD_BYTES];
    let length = sys::read(file, &mut head).unwrap_or(0);
    digest(world, path, file, &head[..length]);
    // Nothing can be done about a close that fails.
    let _ = sys::close(file);
    let head = &head[..length];
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
        let interpreter = words.next().and_then(|word| PathSpace::join(b"", word));
        return match interpreter {
            Some(_) if depth == INTERPRETERS_MAX => ImageKind::Unfit,
            Some(interpreter) => look_at(world, interpreter.as_c_str(), depth + 1),
            None => ImageKind::Unfit,
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return if depth == 0 && is_text(head) { ImageKind::Script } else { ImageKind::Unfit };
    }
    match is_dynamic(head) {
        Some(true) => ImageKind::Loads,
        Some(false) => ImageKind::Static,
        None => ImageKind::Foreign,
    }
}

/// Returns whether a file is a script and not a damaged program. As for shells, a script has no
/// zero byte in its first line.
fn is_text(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    !line.contains(&0)
}

/// Returns whether an ELF file asks for a dynamic linker (elf(5)), or `None` if it is for another
/// machine.
fn is_dynamic(head: &[u8]) -> Option<bool> {
    const CLASS_64: u8 = 2;
    const X86_64: u16 = 62;
    const INTERPRETER: u32 = 3;
    let short = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?));
    if head.get(4) != Some(&CLASS_64) || short(18) != Some(X86_64) {
        return None;
    }
    let (table, size, count) = (long(32)? as usize, short(54)? as usize, short(56)? as usize);
    let mut entries = (0..count).filter_map(|number| {
        let entry = head.get(table.checked_add(size.checked_mul(number)?)?..)?;
        Some(u32::from_le_bytes(*entry.first_chunk()?))
    });
    Some(entries.any(|kind| kind == INTERPRETER))
}

/// Puts the path and the contents of the file into the schedule hash.
fn digest(world: &mut World, path: &CStr, file: i32, head: &[u8]) {
    world.run.schedule.put_bytes(path.to_bytes());
    let World { run, copy, known, .. } = world;
    let mut contents = RunningHash::new();
    contents.put_bytes(head);
    let mut read = || {
        loop {
            match sys::read(file, copy) {
                Ok(0) => return Some(contents.value()),
                Ok(length) => contents.put_bytes(&copy[..length]),
                Err(_) => return None,
            }
        }
    };
    let hash = match facts(libc::SYS_fstat, file as usize) {
        Ok(facts) => known.hash(FileVersion::of(&facts), kernels_second(), read),
        Err(_) => read(),
    };
    run.schedule.put(hash.unwrap_or_default());
}

/// Returns whether two paths lead to the same file.
pub(super) fn is_same_file(one: &CStr, other: &CStr) -> bool {
    let [one, other] = [one, other].map(facts_of);
    matches!((one, other), (Ok(one), Ok(other))
        if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn facts_of(path: &CStr) -> Result<libc::stat, c_int> {
    facts(libc::SYS_stat, path.as_ptr().addr())
}

/// Asks for the facts of a file, by its path (stat(2)) or its descriptor (fstat(2)).
fn facts(call: libc::c_long, file: usize) -> Result<libc::stat, c_int> {
    // SAFETY: a structure of plain numbers; all zero is a value of it.
    let mut facts: libc::stat = unsafe { std::mem::zeroed() };
    let arguments = [file, &raw mut facts as usize, 0, 0, 0, 0];
    // SAFETY: a live string, if any; the kernel writes to a live structure.
    sys::checked(unsafe { sys::syscall(call, arguments) }).map(|_| facts)
}

/// Returns the second on the kernel's clock, by which it dates changes of files.
fn kernels_second() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let place = (&raw mut now).addr();
    let arguments = [libc::CLOCK_REALTIME_COARSE as usize, place, 0, 0, 0, 0];
    // SAFETY: the kernel writes to a live structure.
    unsafe { sys::syscall(libc::SYS_clock_gettime, arguments) };
    now.tv_sec
}

/// Returns why the kernel would not run a file, or why the file cannot be examined first.
pub(super) fn unfit(path: &CStr) -> Option<c_int> {
    let facts = match facts_of(path) {
        Ok(facts) => facts,
        Err(error) => return Some(error),
    };
    if facts.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Some(libc::EACCES);
    }
    let mode = (libc::X_OK | libc::R_OK) as usize;
    let arguments = [path.as_ptr() as usize, mode, 0, 0, 0, 0];
    // SAFETY: a live string.
    sys::checked(unsafe { sys::syscall(libc::SYS_access, arguments) }).err()
}
