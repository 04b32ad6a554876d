//! The file system that the server sees: an overlay of the host's, with the kernel's own file
//! systems made new, so that nothing in them tells of the host.
//!
//! /run and /dev/shm are in memory, as programs expect them, and empty at the begin of each
//! incarnation. Their sizes are the group's: a host's memory, by which the kernel measures them
//! otherwise, would decide when a call finds no room, and `statvfs` would show it. The
//! specification of checkpoints says why they are not on the disk.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, unmount};
use rustix::process::pivot_root;

use super::masks;
use super::upper::{self, c_path};
use super::{RUN_IN_CELL, Spec};
use crate::base::mountinfo::{self, Mount};

/// Mounts below these are not the host's files: they are made new, or are not there.
const NOT_FILES: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// The sizes of the file systems in memory but /dev/shm.
pub(super) const DEV_OPTIONS: &str = "mode=755,size=1m,nr_inodes=1024";
pub(super) const RUN_OPTIONS: &str = "mode=755,size=64m,nr_inodes=16384";
pub(super) const SYS_OPTIONS: &str = "mode=555,size=1m,nr_inodes=16";
/// Devices that every server has, with their numbers.
pub(super) const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Builds the server's file system and makes it the root. Called by pid 1 of the new namespaces,
/// whose mounts are private already. `fill` puts files into the directories in memory, by the
/// host's programs: those of the cell are the server's to change.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn enter(
    spec: &Spec,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let root = spec.data.join("root");
    overlay_all(spec, &root)?;
    mount("tmpfs", &root.join("dev"), "tmpfs", MountFlags::NOSUID, DEV_OPTIONS)?;
    make_devices(&root.join("dev"), spec.shared_memory)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", &root.join("run"), "tmpfs", flags, RUN_OPTIONS)?;
    let run = root.join(RUN_IN_CELL.trim_start_matches('/'));
    let failed = |error: io::Error| format!("{}: {error}", run.display());
    fs::create_dir(&run).map_err(failed)?;
    // A copy, not the file of the data directory: the file system of a mapped file decides about
    // addresses (ext4 aligns a large mapping), and the hosts' file systems may differ.
    let (library, copy) = (spec.data.join("run/preload.so"), run.join("preload.so"));
    fs::copy(&library, &copy).map_err(|error| format!("{}: {error}", library.display()))?;
    // Each user of the cell runs the library, whatever mask the daemon's caller has.
    for path in [&run, &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    if root.join("sys").is_dir() {
        mount("tmpfs", &root.join("sys"), "tmpfs", MountFlags::RDONLY, SYS_OPTIONS)?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &root.join("proc"), "proc", flags, "")?;
    masks::seal_proc(&root)?;
    masks::cover_secrets(&root, &spec.directory)?;
    fill(&root)?;
    turn_root(&root)
}

fn overlay_all(spec: &Spec, root: &Path) -> Result<(), String> {
    for (number, place) in file_mounts(spec)?.iter().enumerate() {
        let (upper, work) = layers(&spec.data, number);
        fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
        upper::make_for(place, &upper)?;
        for hidden in &spec.hidden {
            upper::hide(&upper, place, hidden)?;
        }
        if number == 0 {
            upper::empty_temporary(&upper, &spec.directory)?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            escaped(place),
            escaped(&upper),
            escaped(&work)
        );
        let target = root.join(place.strip_prefix("/").unwrap_or(place));
        // A device node on the host's disk is as good as that disk.
        mount("overlay", &target, "overlay", MountFlags::NODEV, &options)?;
    }
    Ok(())
}

/// The first mount's layers are `upper` and `work`; the others' lie beside them.
fn layers(data: &Path, number: usize) -> (PathBuf, PathBuf) {
    match number {
        0 => (data.join("upper"), data.join("work")),
        _ => (
            data.join(format!("mounts/upper-{number}")),
            data.join(format!("mounts/work-{number}")),
        ),
    }
}

/// Returns the root, the mounts in which the server's directory or program lie, and those below its
/// directory: an overlay shows of its lower layer only the one file system.
fn file_mounts(spec: &Spec) -> Result<Vec<PathBuf>, String> {
    let needed = [&*spec.directory, &*spec.program];
    Ok(choose_mounts(&mountinfo::mounts()?, needed, &spec.directory, &spec.hidden))
}

fn choose_mounts(
    mounts: &[Mount],
    needed: [&Path; 2],
    directory: &Path,
    hidden: &[PathBuf],
) -> Vec<PathBuf> {
    let root = Path::new("/");
    let mut chosen = vec![root.to_path_buf()];
    for mount in mounts {
        let place = &mount.place;
        let files = mount.has_files() && !NOT_FILES.iter().any(|other| place.starts_with(other));
        // The base of a server that starts in the root has no files, so none are added there.
        let below = directory != root
            && place.starts_with(directory)
            && !hidden.iter().any(|hidden| place.starts_with(hidden));
        let around = needed.iter().any(|path| path.starts_with(place));
        if (around || below) && files && !chosen.contains(place) {
            chosen.push(place.clone());
        }
    }
    chosen.sort();
    chosen
}

/// Overlay's options end at commas, and its list of layers at colons.
fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

fn make_devices(dev: &Path, shared_memory: u32) -> Result<(), String> {
    let failed = |path: &Path| format!("{}: {}", path.display(), io::Error::last_os_error());
    for (name, major, minor) in DEVICES {
        let place = dev.join(name);
        let path = c_path(&place)?;
        // SAFETY: the path is a live string with its zero byte.
        let made = unsafe {
            libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor))
        };
        if made != 0 {
            return Err(failed(&place));
        }
        // SAFETY: as above; the process's mask of modes may have taken bits away.
        if unsafe { libc::chmod(path.as_ptr(), 0o666) } != 0 {
            return Err(failed(&place));
        }
    }
    make_around_devices(dev, shared_memory)
}

/// Makes what is in /dev beside the devices: names of the standard streams, shared memory, and
/// terminals of the cell's own.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn make_around_devices(dev: &Path, shared_memory: u32) -> Result<(), String> {
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        let place = dev.join(name);
        std::os::unix::fs::symlink(target, &place)
            .map_err(|error| format!("{}: {error}", place.display()))?;
    }
    let (shm, pts) = (dev.join("shm"), dev.join("pts"));
    for place in [&shm, &pts] {
        fs::create_dir(place).map_err(|error| format!("{}: {error}", place.display()))?;
    }
    let options = format!("mode=1777,size={shared_memory}m,nr_inodes=65536");
    mount("tmpfs", &shm, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, &options)?;
    // Their numbers begin at 0.
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount("devpts", &pts, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options)
}

fn mount(
    source: &str,
    target: &Path,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), String> {
    let data = CString::new(options).expect("no zero bytes");
    rustix::mount::mount(source, target, kind, flags, data.as_c_str())
        .map_err(|error| format!("mount {kind} at {}: {error}", target.display()))
}

/// Makes `root` the root and detaches the old one (pivot_root(2), "pivot_root(".", ".")").
fn turn_root(root: &Path) -> Result<(), String> {
    std::env::set_current_dir(root).map_err(|error| format!("{}: {error}", root.display()))?;
    pivot_root(".", ".")
        .and_then(|()| unmount(".", UnmountFlags::DETACH))
        .map_err(|error| format!("pivot_root: {error}"))?;
    std::env::set_current_dir("/").map_err(|error| format!("/: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mounts_that_hold_what_is_needed_are_chosen() {
        let mountinfo = "\
22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /dev rw - devtmpfs none rw
24 22 0:6 / /srv rw shared:5 - xfs /dev/vdb rw
25 24 0:7 / /srv/my\\040data rw - xfs /dev/vdc rw
26 22 0:8 / /home rw - ext4 /dev/vdd rw
27 22 0:9 / /srv/auto rw - autofs none rw
28 24 0:8 / /srv/uploads rw - ext4 /dev/vde rw
29 24 0:8 / /srv/.crane/1/root rw - overlay none rw
";
        let mounts = mountinfo::parse(mountinfo);
        let chosen = |directory: &str| {
            let needed = [Path::new(directory), Path::new("/usr/bin/civetweb")];
            choose_mounts(&mounts, needed, Path::new(directory), &["/srv/.crane".into()])
        };
        assert_eq!(chosen("/srv/my data/www"), ["/", "/srv", "/srv/my data"].map(PathBuf::from));
        let below = ["/", "/srv", "/srv/my data", "/srv/uploads"];
        assert_eq!(chosen("/srv"), below.map(PathBuf::from));
        assert_eq!(chosen("/"), [PathBuf::from("/")]);
    }

    #[test]
    fn what_ends_an_option_is_escaped() {
        assert_eq!(escaped(Path::new("/a:b,c\\d")), "/a\\:b\\,c\\\\d");
    }
}
