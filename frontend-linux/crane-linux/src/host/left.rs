//! A held server without its daemon: it says that it is held, and then closes what it shares.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::fstat;

const PAUSE: Duration = Duration::from_micros(200);

/// Waits until a process has none of the two files open, at most for `limit`. It has them under its
/// highest numbers, and closes them last.
///
/// # Errors
/// Returns that it has, or the system's error.
pub(super) fn await_left(
    process: u32,
    shared: &[OwnedFd; 2],
    limit: Duration,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("the files of process {process}: {error}");
    let mut files = [(0, 0); 2];
    for (file, descriptor) in files.iter_mut().zip(shared) {
        let about = fstat(descriptor).map_err(|error| failed(error.into()))?;
        *file = (about.st_dev, about.st_ino);
    }
    let since = Instant::now();
    while has_open(process, files).map_err(failed)? {
        if since.elapsed() > limit {
            return Err("the held server has not left the memory that it shares".to_string());
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// Returns whether the files under the two highest numbers of a process are among these, each by
/// its device and inode.
fn has_open(process: u32, files: [(u64, u64); 2]) -> io::Result<bool> {
    let directory = format!("/proc/{process}/fd");
    let mut highest = [0_u32; 2];
    for item in fs::read_dir(&directory)? {
        let number = item?.file_name().to_string_lossy().parse().unwrap_or(0);
        if number > highest[0] {
            highest = [number, highest[0]];
        } else if number > highest[1] {
            highest[1] = number;
        }
    }
    // One that is closed meanwhile is not open.
    let opened = highest.map(|number| fs::metadata(format!("{directory}/{number}")).ok());
    Ok(opened.iter().flatten().any(|about| files.contains(&(about.dev(), about.ino()))))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::pipe::pipe;

    use super::*;

    #[test]
    fn a_file_under_a_high_number_is_awaited() {
        // Beyond those of all other tests.
        let high = |file: &OwnedFd| fcntl_dupfd_cloexec(file, 900).unwrap();
        let memory = memfd_create("left", MemfdFlags::CLOEXEC).unwrap();
        let shared = [memory, pipe().unwrap().1];
        let (me, short) = (std::process::id(), Duration::from_millis(20));
        for file in &shared {
            let opened = high(file);
            assert!(await_left(me, &shared, short).is_err());
            drop(opened);
            // Other files are none of the two. Two of them, because a low number of a file that is
            // waited for may be the next highest.
            let others = ["one", "other"]
                .map(|name| high(&memfd_create(name, MemfdFlags::CLOEXEC).unwrap()));
            let opened = high(file);
            let closing = std::thread::spawn(move || {
                sleep(short);
                drop(opened);
            });
            assert_eq!(await_left(me, &shared, Duration::from_secs(10)), Ok(()));
            closing.join().unwrap();
            drop(others);
        }
    }
}
