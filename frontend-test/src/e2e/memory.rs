//! A fault in the memory of one server, like a flipped bit of the hardware: a value that a Redis
//! server stores is changed without its knowledge. The product has no hook for this.
//!
//! A string of Redis follows a header: its length, the room for it, and a byte with the width of
//! these two (`sds.h`). Copies of the bytes in buffers have no header, and stay as they are.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// A change of one stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A bit of the value's first byte is flipped.
    Byte,
    /// The value's length is halved.
    Length,
}

/// The number of bytes that are read at a time.
const CHUNK: usize = 1 << 20;
/// The length of the longest header.
const HEADER: usize = 9;

/// Changes a value in the memory of a Redis server. `start` are its first bytes, which no other
/// value has; `length` is its length, of at least 64 bytes. Returns how many strings were changed.
///
/// # Errors
///
/// Returns the errors of the kernel, and an error if the server stores no such value.
pub fn change_value(process: u32, start: &[u8], length: u32, change: Change) -> io::Result<usize> {
    let memory = File::options().read(true).write(true).open(format!("/proc/{process}/mem"))?;
    let mut changed = 0;
    for (from, to) in writable(process)? {
        for place in find(&memory, from, to, start) {
            changed += usize::from(change_string(&memory, place, length, change)?);
        }
    }
    if changed == 0 {
        return Err(io::Error::other(format!("process {process} stores no such value")));
    }
    Ok(changed)
}

/// Returns the private writable mappings of a process.
fn writable(process: u32) -> io::Result<Vec<(u64, u64)>> {
    let text = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let range = |line: &str| {
        let mut fields = line.split_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let private = fields.next()?.starts_with("rw-p");
        let number = |text| u64::from_str_radix(text, 16).ok();
        private.then_some((number(from)?, number(to)?))
    };
    Ok(text.lines().filter_map(range).collect())
}

/// Returns the places of the bytes in a range. Memory that cannot be read is skipped, because the
/// running server may have unmapped it.
fn find(memory: &File, from: u64, to: u64, bytes: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    let mut space = vec![0; CHUNK + bytes.len()];
    let untouched = vec![0; space.len()];
    let mut at = from;
    while at < to {
        let wanted = space.len().min((to - at) as usize);
        let length = memory.read_at(&mut space[..wanted], at).unwrap_or(0);
        // Most of a server's memory was never written to: 4 GiB wait for what clients send.
        if space[..length] == untouched[..length] {
            at += CHUNK as u64;
            continue;
        }
        let starts = space[..length].windows(bytes.len()).enumerate();
        let places = starts.filter(|(offset, window)| *offset < CHUNK && *window == bytes);
        found.extend(places.map(|(offset, _)| at + offset as u64));
        at += CHUNK as u64;
    }
    found
}

/// Changes the bytes at a place, or the length before them, if they are a string of this length.
fn change_string(memory: &File, place: u64, length: u32, change: Change) -> io::Result<bool> {
    let mut header = [0; HEADER];
    // Bytes at the start of a mapping have no header, and a server that has been found out is gone.
    if memory.read_exact_at(&mut header, place - HEADER as u64).is_err() {
        return Ok(false);
    }
    // The width of length and room decides the place and the size of the length.
    let width = match header[HEADER - 1] & 7 {
        1 => 1,
        2 => 2,
        3 => 4,
        _ => return Ok(false),
    };
    let at = HEADER - 1 - 2 * width;
    let mut found = [0; 4];
    found[..width].copy_from_slice(&header[at..at + width]);
    if u32::from_le_bytes(found) != length {
        return Ok(false);
    }
    match change {
        Change::Byte => {
            let mut first = [0];
            memory.read_exact_at(&mut first, place)?;
            memory.write_all_at(&[first[0] ^ 1], place)?;
        }
        Change::Length => {
            let half = (length / 2).to_le_bytes();
            memory.write_all_at(&half[..width], place - (2 * width + 1) as u64)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a string with its header, in the memory of this process.
    fn string(header: &[u8], content: &[u8]) -> Vec<u8> {
        [&[0xee; HEADER][..], header, content].concat()
    }

    /// Changes a string in a part of this process's memory. Returns whether the part has one.
    fn change_in(part: &[u8], start: &[u8], change: Change) -> bool {
        let file = File::options().read(true).write(true).open("/proc/self/mem").unwrap();
        let from = part.as_ptr().addr() as u64;
        let places = find(&file, from, from + part.len() as u64, start);
        assert_eq!(places.len(), 1);
        change_string(&file, places[0], 100, change).unwrap()
    }

    #[test]
    fn only_a_string_with_its_header_is_changed() {
        let content: Vec<u8> = (0..100).collect();
        let start = &content[..40];
        for header in [&[100, 110, 1][..], &[100, 0, 110, 0, 2], &[100, 0, 0, 0, 110, 0, 0, 0, 3]] {
            let stored = string(header, &content);
            let place = stored.len() - 100;
            assert!(change_in(&stored, start, Change::Length));
            assert_eq!(std::hint::black_box(&stored)[HEADER], 50, "the changed length");
            assert!(
                !change_in(&stored, start, Change::Byte),
                "a string of another length was changed"
            );
            let stored = string(header, &content);
            assert!(change_in(&stored, start, Change::Byte));
            assert_eq!(std::hint::black_box(&stored)[place], 1);
        }
        assert!(
            !change_in(&string(b"$100\r\n", &content), start, Change::Byte),
            "a copy without a header was changed"
        );
    }
}
