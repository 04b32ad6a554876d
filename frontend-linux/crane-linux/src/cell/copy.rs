//! The cell of a daemon that is not root: a user namespace in which it has rights over the other
//! namespaces alone. The server runs on a copy of its working directory.
//!
//! An overlay of the root needs more rights (the mounts below it are locked), so the host's files
//! are seen as they are, but read-only; the copy, /tmp, /var/tmp, /run and /dev/shm are the
//! server's. Data directories and keys are covered. The host's processes, their sockets and their
//! shared memory are out of sight, although they may be of the same user.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};

use super::upper::c_path;
use super::{Spec, masks};

/// The server's own directories in memory, with their modes.
const IN_MEMORY: [(&str, &str); 4] = [
    ("/tmp", "mode=1777"),
    ("/var/tmp", "mode=1777"),
    ("/run", "mode=755,size=64m,nr_inodes=16384"),
    ("/dev/shm", "mode=1777"),
];
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

const AT_RECURSIVE: u32 = 0x8000;
/// `MOUNT_ATTR_RDONLY`.
const RDONLY: u64 = 1;

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_space: u64,
}

/// The processes in the cell's /proc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum VisibleProcesses {
    /// Those of the cell.
    Own,
    /// Those of the host: the kernel gives no other /proc to a user of a container.
    Hosts,
}

/// Covers what is not the server's. Called by pid 1 of the new namespaces, whose mounts are private
/// already.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn enter(spec: &Spec, copy: &Path) -> Result<VisibleProcesses, String> {
    // They are covered, and shown again.
    let library = spec.data.join("run/preload.so");
    let shown = [(copy, OFlags::DIRECTORY), (&library, OFlags::empty())];
    let mut kept = Vec::new();
    for (path, flags) in shown {
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty());
        kept.push((path, opened.map_err(|error| describe(path, error))?));
    }
    // The working directory as it is on the host stays in sight, if it is in one of these.
    let covered = IN_MEMORY.iter().filter(|(place, _)| {
        let around = |path: &Path| path.starts_with(place);
        !around(&spec.directory) && !around(&spec.program) && Path::new(place).is_dir()
    });
    set_attributes(Path::new("/"), AT_RECURSIVE, RDONLY, 0)?;
    for (place, options) in covered {
        let options = match *place {
            "/dev/shm" => format!("{options},size={}m", spec.shared_memory),
            _ => (*options).to_string(),
        };
        mount_memory(Path::new(place), &options)?;
    }
    let proc = mount("proc", "/proc", "proc", FLAGS | MountFlags::NOEXEC, c"");
    if proc.is_ok() {
        masks::seal_proc(Path::new("/"))?;
    }
    for hidden in spec.hidden.iter().filter(|path| path.exists()) {
        match hidden.is_dir() {
            true => mount_memory(hidden, "mode=755,size=64k")?,
            false => mount_bind("/dev/null", hidden).map_err(|error| describe(hidden, error))?,
        }
    }
    kept.into_iter().try_for_each(|(path, kept)| show(path, &kept))?;
    Ok(if proc.is_ok() { VisibleProcesses::Own } else { VisibleProcesses::Hosts })
}

fn mount_memory(place: &Path, options: &str) -> Result<(), String> {
    let options = std::ffi::CString::new(options).expect("no zero bytes");
    mount("tmpfs", place, "tmpfs", FLAGS, options.as_c_str())
        .map_err(|error| describe(place, error))
}

/// Shows a file or a directory again at its path, which is covered.
fn show(path: &Path, kept: &OwnedFd) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let source = PathBuf::from(format!("/proc/self/fd/{}", kept.as_raw_fd()));
    let is_directory = fs::metadata(&source).map_err(failed)?.is_dir();
    if !path.exists() {
        let around = path.parent().unwrap_or(path);
        fs::create_dir_all(around).map_err(failed)?;
        match is_directory {
            true => fs::create_dir(path).map_err(failed)?,
            false => drop(fs::File::create(path).map_err(failed)?),
        }
    }
    mount_bind_recursive(&source, path).map_err(|error| describe(path, error))?;
    set_attributes(path, 0, 0, RDONLY)
}

/// Sets and clears attributes of a mount (mount_setattr(2)).
fn set_attributes(place: &Path, flags: u32, set: u64, clear: u64) -> Result<(), String> {
    let path = c_path(place)?;
    let wanted = MountAttributes { set, clear, propagation: 0, user_space: 0 };
    let size = size_of::<MountAttributes>();
    // SAFETY: the path is a live string with its zero byte, and the kernel reads a live structure
    // of this size.
    let outcome = unsafe {
        let call = libc::SYS_mount_setattr;
        libc::syscall(call, libc::AT_FDCWD, path.as_ptr(), flags, &raw const wanted, size)
    };
    let error = std::io::Error::last_os_error();
    if outcome == 0 { Ok(()) } else { Err(format!("{}: {error}", place.display())) }
}

fn describe(path: &Path, error: Errno) -> String {
    format!("{} cannot be covered in the cell: {error}", path.display())
}
