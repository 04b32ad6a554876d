//! The cell of a daemon that is not root: a user namespace in which it has rights over the other
//! namespaces alone. The server runs on a copy of its working directory.
//!
//! An overlay of the root needs more rights (the mounts below it are locked), so the host's files
//! are seen as they are, but read-only. What is the server's own lies in the data directory (the
//! copy, /tmp and /var/tmp) or in memory (/run and /dev/shm). The host's devices and terminals,
//! processes, data directories and secrets are out of sight, although they may be of the same user.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};

use super::mounts::{DEV_OPTIONS, DEVICES, RUN_OPTIONS, SYS_OPTIONS, make_around_devices};
use super::upper::{c_path, describe};
use super::{Spec, masks};

/// The server's directories for files that need not last, with their places in the data directory.
const TEMPORARY: [(&str, &str); 2] = [("/tmp", "mounts/tmp"), ("/var/tmp", "mounts/var-tmp")];
/// The host's directories that are not in sight.
const COVERED: [&str; 5] = ["/tmp", "/var/tmp", "/run", "/dev", "/sys"];
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

const AT_RECURSIVE: u32 = 0x8000;
// The kernel's `MOUNT_ATTR_RDONLY`, `MOUNT_ATTR_NOSUID` and `MOUNT_ATTR_NODEV`.
const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;

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

/// Whether the server may write to something that it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Showing {
    ReadOnly,
    Writable,
}

/// Returns whether this kernel makes mounts read-only with all below them, as Linux does from 5.12.
pub(super) fn is_possible() -> bool {
    let wanted = MountAttributes { set: 0, clear: 0, propagation: 0, user_space: 0 };
    // The kernel refuses a structure of no size, if it has the call.
    let tried = set_attributes_sized(c"/", 0, &wanted, 0);
    tried.err().and_then(|error| error.raw_os_error()) == Some(libc::EINVAL)
}

/// Covers what is not the server's. Called by pid 1 of the new namespaces, whose mounts are private
/// already.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn enter(spec: &Spec, copy: &Path) -> Result<VisibleProcesses, String> {
    // They are shown again in directories that are covered.
    let temporary = TEMPORARY.map(|(place, name)| (Path::new(place), spec.data.join(name)));
    for (_, own) in &temporary {
        make_for_all(own)?;
    }
    let kept_temporary = opened(temporary.iter().map(|(place, own)| (*place, own.as_path())))?;
    let devices = DEVICES.map(|(name, _, _)| Path::new("/dev").join(name));
    let devices =
        opened(devices.iter().filter(|path| path.exists()).map(|path| (&**path, &**path)))?;
    let base = [&*spec.directory, &*spec.program];
    let base = base.into_iter().filter(|path| COVERED.iter().any(|place| path.starts_with(place)));
    let base = opened(base.map(|path| (path, path)))?;
    let copy = opened([(copy, copy)].into_iter())?;
    let library = spec.data.join("run/preload.so");
    let library = opened([(&*library, &*library)].into_iter())?;

    set_attributes(Path::new("/"), AT_RECURSIVE, RDONLY, 0)?;
    let proc = mount("proc", "/proc", "proc", FLAGS | MountFlags::NOEXEC, c"");
    if proc.is_ok() {
        masks::seal_proc(Path::new("/"))?;
    }
    for (place, options) in [("/run", RUN_OPTIONS), ("/sys", SYS_OPTIONS), ("/dev", DEV_OPTIONS)] {
        if Path::new(place).is_dir() {
            mount_memory(Path::new(place), options)?;
        }
    }
    show_all(&devices, Showing::ReadOnly)?;
    make_around_devices(Path::new("/dev"), spec.shared_memory)?;
    show_all(&kept_temporary, Showing::Writable)?;
    show_all(&base, Showing::ReadOnly)?;
    masks::cover_secrets(Path::new("/"), &spec.directory)?;
    for hidden in spec.hidden.iter().filter(|path| path.exists()) {
        match hidden.is_dir() {
            true => mount_memory(hidden, "mode=755,size=64k")?,
            false => mount_bind("/dev/null", hidden).map_err(|error| uncovered(hidden, error))?,
        }
    }
    show_all(&copy, Showing::Writable)?;
    show_all(&library, Showing::ReadOnly)?;
    Ok(if proc.is_ok() { VisibleProcesses::Own } else { VisibleProcesses::Hosts })
}

/// Makes a directory like /tmp, unless it is there.
fn make_for_all(directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory)
        .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o1777)))
        .map_err(|error| describe(directory, &error))
}

/// Opens files and directories, each with the place in which it is to be shown.
fn opened<'a>(
    shown: impl Iterator<Item = (&'a Path, &'a Path)>,
) -> Result<Vec<(PathBuf, OwnedFd)>, String> {
    let open = |(place, path): (&Path, &Path)| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty());
        file.map(|file| (place.to_path_buf(), file)).map_err(|error| describe(path, &error.into()))
    };
    shown.map(open).collect()
}

fn mount_memory(place: &Path, options: &str) -> Result<(), String> {
    let options = CString::new(options).expect("no zero bytes");
    mount("tmpfs", place, "tmpfs", FLAGS, options.as_c_str())
        .map_err(|error| uncovered(place, error))
}

fn show_all(kept: &[(PathBuf, OwnedFd)], showing: Showing) -> Result<(), String> {
    kept.iter().try_for_each(|(place, kept)| show(place, kept, showing))
}

/// Shows a file or a directory at a place that may be covered.
fn show(place: &Path, kept: &OwnedFd, showing: Showing) -> Result<(), String> {
    let failed = |error: std::io::Error| describe(place, &error);
    let source = PathBuf::from(format!("/proc/self/fd/{}", kept.as_raw_fd()));
    if !place.exists() {
        fs::create_dir_all(place.parent().unwrap_or(place)).map_err(failed)?;
        match fs::metadata(&source).map_err(failed)?.is_dir() {
            true => fs::create_dir(place).map_err(failed)?,
            false => drop(fs::File::create(place).map_err(failed)?),
        }
    }
    mount_bind_recursive(&source, place).map_err(|error| failed(error.into()))?;
    match showing {
        Showing::ReadOnly => Ok(()),
        Showing::Writable => set_attributes(place, 0, NOSUID | NODEV, RDONLY),
    }
}

/// Sets and clears attributes of a mount (mount_setattr(2)).
fn set_attributes(place: &Path, flags: u32, set: u64, clear: u64) -> Result<(), String> {
    let wanted = MountAttributes { set, clear, propagation: 0, user_space: 0 };
    set_attributes_sized(&c_path(place)?, flags, &wanted, size_of::<MountAttributes>())
        .map_err(|error| describe(place, &error))
}

/// # Panics
/// Panics if the size is more than that of the structure.
fn set_attributes_sized(
    path: &std::ffi::CStr,
    flags: u32,
    wanted: &MountAttributes,
    size: usize,
) -> std::io::Result<()> {
    assert!(size <= size_of::<MountAttributes>());
    // SAFETY: the path is a live string with its zero byte, and the kernel reads at most the size
    // of a live structure.
    let outcome = unsafe {
        let call = libc::SYS_mount_setattr;
        libc::syscall(call, libc::AT_FDCWD, path.as_ptr(), flags, &raw const *wanted, size)
    };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn uncovered(path: &Path, error: Errno) -> String {
    format!("{} cannot be covered in the cell: {error}", path.display())
}
