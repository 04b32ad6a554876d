//! Files that the server has executed, with what was found in them: a server of many short programs
//! executes few files, and reading one takes longer than starting it.

use libc::{dev_t, ino_t, off_t};

/// The number of files that are remembered. The one that was found longest ago gives way.
const FILES: usize = 32;

/// The facts of a file that change when its contents do (stat(2)). The kernel sets the last two
/// itself, whatever a program does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileVersion {
    device: dev_t,
    number: ino_t,
    length: off_t,
    changed: (i64, i64),
}

impl FileVersion {
    /// Takes the facts.
    pub(crate) fn of(facts: &libc::stat) -> Self {
        Self {
            device: facts.st_dev,
            number: facts.st_ino,
            length: facts.st_size,
            changed: (facts.st_ctime, facts.st_ctime_nsec),
        }
    }
}

/// The files. They are a replica's own: what is remembered is a function of the contents, and only
/// the time that it takes depends on whether a file is known.
#[derive(Clone, Copy)]
pub(crate) struct KnownFiles {
    files: [Option<(FileVersion, u64)>; FILES],
    next: usize,
}

impl KnownFiles {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { files: [None; FILES], next: 0 }
    }

    /// Returns the hash of the contents of a file, which `read` finds if it is not known. A file
    /// that is not read to its end is asked for again, and so is one that has changed within the
    /// second before `now`: the kernel's clock for files moves in steps of milliseconds.
    pub(crate) fn hash(
        &mut self,
        version: FileVersion,
        now: i64,
        read: impl FnOnce() -> Option<u64>,
    ) -> Option<u64> {
        let known = self.files.iter().flatten().find(|(known, _)| *known == version);
        if let Some((_, hash)) = known {
            return Some(*hash);
        }
        let hash = read()?;
        if version.changed.0 >= now - 1 {
            return Some(hash);
        }
        self.files[self.next] = Some((version, hash));
        self.next = (self.next + 1) % FILES;
        Some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 100;

    fn version(number: ino_t, changed: i64) -> FileVersion {
        FileVersion { device: 1, number, length: 10, changed: (changed, 0) }
    }

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let mut files = KnownFiles::new();
        assert_eq!(files.hash(version(1, 1), NOW, || Some(7)), Some(7));
        assert_eq!(files.hash(version(1, 1), NOW, || unreachable!()), Some(7));
        assert_eq!(files.hash(version(1, 2), NOW, || Some(8)), Some(8));
        assert_eq!(files.hash(version(2, 1), NOW, || None), None);
        assert_eq!(files.hash(version(2, 1), NOW, || Some(9)), Some(9));
    }

    #[test]
    fn a_file_that_has_just_changed_is_read_again() {
        let mut files = KnownFiles::new();
        for hash in [1, 2] {
            assert_eq!(files.hash(version(1, NOW - 1), NOW, || Some(hash)), Some(hash));
        }
    }

    #[test]
    fn the_oldest_file_gives_way() {
        let mut files = KnownFiles::new();
        for number in 0..=FILES as ino_t {
            files.hash(version(number, 1), NOW, || Some(number));
        }
        assert_eq!(files.hash(version(0, 1), NOW, || Some(5)), Some(5));
        let last = version(FILES as ino_t, 1);
        assert_eq!(files.hash(last, NOW, || unreachable!()), Some(FILES as u64));
    }
}
