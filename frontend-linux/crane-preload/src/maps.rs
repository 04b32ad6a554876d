//! The program's mappings, as the kernel lists them (proc(5), `/proc/self/maps`). It is read
//! without libc, by a thread that may hold the turn.

use std::ops::Range;

use crane_shm::sys;

/// The longest line that is read: the kernel's own, with a path.
const LINE_MAX: usize = 4096 + 128;

/// Returns the mapping around an address, if that is text of a file, which nothing writes to.
pub(crate) fn text_around(address: usize) -> Option<Range<usize>> {
    around(address, |mapping| {
        (mapping.rights == "r-xp" && mapping.path.starts_with('/')).then_some(mapping.range)
    })
}

/// Returns what `look` finds out about the mapping around an address.
pub(crate) fn around<R>(address: usize, look: impl Fn(Mapped<'_>) -> Option<R>) -> Option<R> {
    let path = c"/proc/self/maps".as_ptr().addr();
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let arguments = [libc::AT_FDCWD as usize, path, flags as usize, 0, 0, 0];
    // SAFETY: a string of ours.
    let file = sys::checked(unsafe { sys::syscall(libc::SYS_openat, arguments) }).ok()?;
    let found = search(file, address, look);
    // SAFETY: the descriptor of ours.
    unsafe { sys::syscall(libc::SYS_close, [file, 0, 0, 0, 0, 0]) };
    found
}

fn search<R>(file: usize, address: usize, look: impl Fn(Mapped<'_>) -> Option<R>) -> Option<R> {
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
            if let Some(found) = mapped(line).filter(|mapped| mapped.range.contains(&address)) {
                return look(found);
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

/// A mapping, as a line has it.
pub(crate) struct Mapped<'a> {
    /// Its addresses.
    pub range: Range<usize>,
    /// The rights to it, and whether it is shared (`s`) or private (`p`).
    pub rights: &'a str,
    /// The place of its beginning in its file.
    pub offset: u64,
    /// The device and the number of its file, or 0.
    pub file: [u64; 2],
    /// The file's path, if it has one.
    pub path: &'a str,
}

/// Reads a line.
fn mapped(line: &[u8]) -> Option<Mapped<'_>> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |word| usize::from_str_radix(word, 16).ok();
    let range = number(start)?..number(end)?;
    let rights = words.next()?;
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let (major, minor) = words.next()?.split_once(':')?;
    let [major, minor] = [major, minor].map(|word| u64::from_str_radix(word, 16));
    let file = [major.ok()? << 32 | minor.ok()?, words.next()?.parse().ok()?];
    Some(Mapped { range, rights, offset, file, path: words.next().unwrap_or_default() })
}
