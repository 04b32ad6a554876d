//! The parts of a cell's files that its server, although it may be root, must not write or read:
//! switches of the kernel in /proc, and secrets of the host.
//!
//! The kernel lets root write `/proc/sys/kernel/core_pattern` or `/proc/sysrq-trigger` without any
//! capability, because the files are root's. So what lies in /proc beside the processes is mounted
//! read-only, and what only root may read there is empty, as in containers.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use crate::neighbours;

/// Files in /proc that everyone may read, and that show other containers, or keys and timers of
/// the whole host.
const SHOWN: [&str; 4] = ["keys", "latency_stats", "sched_debug", "timer_list"];
/// Files of the host that are no server's to read: hashes of passwords.
const SECRET_FILES: [&str; 6] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/krb5.keytab",
];
/// Where the host's own private keys lie; their names end in `_key`.
const HOST_KEYS: &str = "/etc/ssh";
/// Directories of people's private keys.
const PRIVATE: [&str; 2] = [".ssh", ".gnupg"];
const READ_ONLY: MountFlags =
    MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Makes what lies in the cell's /proc beside its processes read-only, and empties what is not for
/// all to read.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn seal_proc(root: &Path) -> Result<(), String> {
    let proc = root.join("proc");
    let failed = |error: io::Error| format!("{}: {error}", proc.display());
    for item in fs::read_dir(&proc).map_err(failed)? {
        let item = item.map_err(failed)?;
        let name = item.file_name().to_string_lossy().into_owned();
        let Ok(about) = fs::symlink_metadata(item.path()) else { continue };
        if about.is_symlink() || name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        let mode = about.permissions().mode();
        if about.is_file() && (is_for_root(mode) || SHOWN.contains(&name.as_str())) {
            cover_file(root, &item.path())?;
        } else if about.is_dir() || mode & 0o222 != 0 {
            let described = |error: Errno| format!("{}: {error}", item.path().display());
            mount_bind(item.path(), item.path()).map_err(described)?;
            mount_remount(item.path(), MountFlags::BIND | READ_ONLY, c"").map_err(described)?;
        }
    }
    Ok(())
}

/// Returns whether only root may read a file, and may not write it.
fn is_for_root(mode: u32) -> bool {
    mode & 0o400 != 0 && mode & 0o226 == 0
}

/// Covers the data directories of this host in the cell, and its secrets, except for those that lie
/// in the working directory, which is the base's.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(super) fn cover_secrets(root: &Path, base: &Path) -> Result<(), String> {
    let secrets = secrets().into_iter().filter(|secret| !secret.starts_with(base));
    // The server's own directory is visible to it, wherever it lies.
    for secret in secrets.chain(neighbours::all()).filter(|secret| !base.starts_with(secret)) {
        let Some(place) = find(root, &secret)? else { continue };
        let about = rustix::fs::fstat(&place).map_err(|error| describe(&secret, error))?;
        let target = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory => {
                let options = c"mode=500,size=4k,nr_inodes=1";
                mount("tmpfs", &target, "tmpfs", READ_ONLY, options)
                    .map_err(|error| describe(&secret, error))?;
            }
            FileType::RegularFile => cover_file(root, &target)?,
            _ => {}
        }
    }
    Ok(())
}

/// Puts the empty device in the place of a file.
fn cover_file(root: &Path, place: &Path) -> Result<(), String> {
    let empty = root.join("dev/null");
    mount_bind(&empty, place).map_err(|error| describe(place, error))
}

/// Finds what lies at a path of the cell; `None` if it is not there, or if the server has put a
/// link in its way, behind which it has only its own files.
fn find(root: &Path, path: &Path) -> Result<Option<OwnedFd>, String> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let opened = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(|root| openat2(&root, path, flags, Mode::empty(), resolve));
    match opened {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        // The server of an ordinary user reaches no more than its daemon does.
        Err(Errno::ACCESS) if !rustix::process::geteuid().is_root() => Ok(None),
        Err(error) => Err(describe(path, error)),
    }
}

/// Returns the places of this host's secrets.
fn secrets() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = SECRET_FILES.map(PathBuf::from).into();
    let keys = items_of(Path::new(HOST_KEYS));
    places.extend(keys.filter(|path| path.to_string_lossy().ends_with("_key")));
    let homes = items_of(Path::new("/home")).chain([PathBuf::from("/root")]);
    places.extend(homes.flat_map(|home| PRIVATE.map(|name| home.join(name))));
    places
}

fn items_of(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|item| item.path())
}

fn describe(path: &Path, error: Errno) -> String {
    format!("{} cannot be covered in the cell: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_root_reads_is_covered_and_what_it_writes_is_not() {
        // kcore and kmsg; sysrq-trigger, meminfo, mtrr.
        assert!(is_for_root(0o400));
        for mode in [0o200, 0o444, 0o644, 0o600] {
            assert!(!is_for_root(mode), "{mode:o}");
        }
    }

    #[test]
    fn a_link_of_the_servers_leads_to_no_file_that_is_covered() {
        let root = std::env::temp_dir().join(format!("crane-masks-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/shadow"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("other")).unwrap();
        assert!(find(&root, Path::new("/etc/shadow")).unwrap().is_some());
        for path in ["/etc/gshadow", "/other/shadow", "/etc/shadow/x"] {
            assert!(find(&root, Path::new(path)).unwrap().is_none(), "{path}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
