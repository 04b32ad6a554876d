//! The program's mappings, as the kernel lists them (proc(5), `/proc/self/maps`). It is read
//! without libc, by a thread that may hold the turn.

use std::ops::Range;

use crane_shm::sys;

/// The longest line that is read: the kernel's own, with a path.
const LINE_MAX: usize = 4096 + 128;

/// Returns the mapping around an address, if that is text of a file, which nothing writes to.
pub(super) fn text_around(address: usize) -> Option<Range<usize>> {
    let path = c"/proc/self/maps".as_ptr().addr();
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let arguments = [libc::AT_FDCWD as usize, path, flags as usize, 0, 0, 0];
    // SAFETY: a string of ours.
    let file = sys::checked(unsafe { sys::syscall(libc::SYS_openat, arguments) }).ok()?;
    let found = search(file, address);
    // SAFETY: the descriptor of ours.
    unsafe { sys::syscall(libc::SYS_close, [file, 0, 0, 0, 0, 0]) };
    found
}

fn search(file: usize, address: usize) -> Option<Range<usize>> {
    let mut space = [0; LINE_MAX];
    let mut filled = 0;
    loop {
        let (start, room) = (space[filled..].as_mut_ptr().addr(), space.len() - filled);
        // SAFETY: the rest of a space of ours.
        let got = unsafe { sys::syscall(libc::SYS_read, [file, start, room, 0, 0, 0]) };
        let got = sys::checked(got).ok().filter(|got| *got > 0)?;
        filled += got;
        let mut begin = 0;
        while let Some(length) = space[begin..filled].iter().position(|byte| *byte == b'\n') {
            let line = &space[begin..begin + length];
            if let Some(text) = text_of(line).filter(|(range, _)| range.contains(&address)) {
                return text.1.then_some(text.0);
            }
            begin += length + 1;
        }
        space.copy_within(begin..filled, 0);
        filled -= begin;
        if filled == space.len() {
            return None;
        }
    }
}

/// Returns a line's range, and whether it is private text of a file.
fn text_of(line: &[u8]) -> Option<(Range<usize>, bool)> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |word| usize::from_str_radix(word, 16).ok();
    let range = number(start)?..number(end)?;
    let rights = words.next()?;
    let path = words.nth(3).unwrap_or_default();
    Some((range, rights == "r-xp" && path.starts_with('/')))
}
