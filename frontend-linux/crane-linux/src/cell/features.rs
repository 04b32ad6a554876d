//! CRIU's cache of the kernel's features, `/run/criu.kdat`. Without it, each call of CRIU tries the
//! features out, by processes and files that take time and that the server would see.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::launch::die_with_parent;

/// CRIU looks at its own processes there, by their numbers.
const PROC: &str = "/proc";
/// The directory in which CRIU keeps the cache, if it is in memory.
const RUN: &str = "/run";
/// The cache.
const CACHE: &str = "/run/criu.kdat";
/// A cache that a CRIU that was killed has left.
const UNFINISHED: &str = "/run/criu.kdat.tmp";
/// A longer file is no cache.
const BYTES_MAX: usize = 1 << 16;

/// A cache.
pub(super) struct Features(Option<Vec<u8>>);

impl Features {
    /// Returns that nothing is known: CRIU tries again where it is used.
    pub(super) fn unknown() -> Self {
        Self(None)
    }

    /// Has CRIU try the features out, with places of its own for what it looks at and for the
    /// result. The mounts of the calling process must be private.
    pub(super) fn try_out(criu: &str) -> Self {
        let places = [("proc", PROC, c""), ("tmpfs", RUN, c"mode=700")];
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let made = places.map(|(kind, place, options)| mount(kind, place, kind, flags, options));
        let mut found = None;
        if made.iter().all(Result::is_ok) {
            let mut command = Command::new(criu);
            // Any feature: the cache is written before it is looked at.
            command.args(["check", "--feature", "pagemap_scan"]).current_dir("/");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // SAFETY: between fork and exec only a call that is safe there is made.
            unsafe { command.pre_exec(|| die_with_parent().map_err(io::Error::other)) };
            let _ = command.status();
            found = fs::read(CACHE).ok().filter(|bytes| bytes.len() <= BYTES_MAX);
        }
        for ((_, place, _), made) in places.iter().zip(made) {
            let _ = made.and_then(|()| unmount(*place, UnmountFlags::DETACH));
        }
        Self(found)
    }

    /// Lends the cache to the CRIU that `call` runs in the cell of the calling process, and leaves
    /// nothing of it behind.
    pub(super) fn lend<T>(&self, call: impl FnOnce() -> T) -> T {
        let about = fs::metadata(RUN);
        // The directory is the server's: a file or a link of this name is none of CRIU's.
        remove_left();
        if let Self(Some(bytes)) = self {
            // Without it, CRIU makes one.
            let made = File::options().write(true).create_new(true).open(CACHE);
            let _ = made.and_then(|mut file| file.write_all(bytes));
        }
        let outcome = call();
        remove_left();
        let times = about.and_then(|about| {
            Ok(FileTimes::new().set_accessed(about.accessed()?).set_modified(about.modified()?))
        });
        // A missing directory has no times.
        let _ = times.and_then(|times| File::open(RUN)?.set_times(times));
        outcome
    }
}

fn remove_left() {
    for left in [CACHE, UNFINISHED] {
        let _ = fs::remove_file(left);
    }
}
