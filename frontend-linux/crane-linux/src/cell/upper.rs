//! The upper layer of a run: a fresh one, with nothing in it but what hides crane's own directory,
//! or the one that the run before has left.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Directories that the server finds empty unless it starts inside of them: their files on the host
/// configure no server.
const EMPTIED: [&str; 2] = ["tmp", "var/tmp"];

/// Makes `upper`, `work` and `root` in the data directory anew. What was in them is lost.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(crate) fn make(data: &Path) -> Result<(), String> {
    remove(&data.join("mounts"))?;
    for name in ["upper", "work", "root"] {
        let path = data.join(name);
        remove(&path)?;
        fs::create_dir_all(&path).map_err(|error| describe(&path, &error))?;
    }
    let upper = data.join("upper");
    copy_attributes(Path::new("/"), &upper)
}

/// Makes the directories anew that overlayfs needs beside its upper layers, which stay.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(crate) fn make_around_files(data: &Path) -> Result<(), String> {
    let mut fresh = vec![data.join("work"), data.join("root")];
    if let Ok(items) = fs::read_dir(data.join("mounts")) {
        let names = items.flatten().map(|item| item.path());
        fresh.extend(names.filter(|path| {
            path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"work-"))
        }));
    }
    for path in fresh {
        remove(&path)?;
        fs::create_dir_all(&path).map_err(|error| describe(&path, &error))?;
    }
    Ok(())
}

/// Makes the upper layer of a mount, unless it is there.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(crate) fn make_for(mount: &Path, upper: &Path) -> Result<(), String> {
    if fs::symlink_metadata(upper).is_ok() {
        return Ok(());
    }
    fs::create_dir_all(upper).map_err(|error| describe(upper, &error))?;
    copy_attributes(mount, upper)
}

/// Hides `hidden`, a path below `mount`, in the layer `upper` of that mount: by a whiteout, a
/// character device 0:0, see the kernel's `Documentation/filesystems/overlayfs.rst`.
///
/// # Errors
/// Returns what the system refused.
pub(crate) fn hide(upper: &Path, mount: &Path, hidden: &Path) -> Result<(), String> {
    let Ok(below) = hidden.strip_prefix(mount) else { return Ok(()) };
    if below.as_os_str().is_empty() || !hidden.exists() {
        return Ok(());
    }
    let place = upper.join(below);
    let parent = below.parent().unwrap_or_else(|| Path::new(""));
    if is_replaced(upper, parent) {
        return Ok(());
    }
    make_parents(upper, mount, parent)?;
    let path = c_path(&place)?;
    // SAFETY: the path is a live string with its zero byte.
    let outcome = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR, libc::makedev(0, 0)) };
    if outcome != 0 {
        let error = io::Error::last_os_error();
        // The layer of a checkpoint hides it already.
        let is_hidden = error.kind() == io::ErrorKind::AlreadyExists;
        return if is_hidden { Ok(()) } else { Err(describe(&place, &error)) };
    }
    // Making it has changed the time of the directory around it.
    copy_attributes(&mount.join(parent), &upper.join(parent))
}

/// Empties /tmp and its like in the layer of the root, unless `directory` lies in them.
///
/// # Errors
/// Returns what the system refused.
pub(crate) fn empty_temporary(upper: &Path, directory: &Path) -> Result<(), String> {
    for name in EMPTIED {
        let there = Path::new("/").join(name);
        if directory.starts_with(&there) || !there.is_dir() {
            continue;
        }
        let below = Path::new(name);
        if is_replaced(upper, below) {
            continue;
        }
        make_parents(upper, Path::new("/"), below)?;
        let place = upper.join(below);
        let path = c_path(&place)?;
        // SAFETY: path, name and value are live; the value has one byte.
        let outcome = unsafe {
            libc::setxattr(
                path.as_ptr(),
                c"trusted.overlay.opaque".as_ptr(),
                c"y".as_ptr().cast(),
                1,
                0,
            )
        };
        if outcome != 0 {
            return Err(describe(&place, &io::Error::last_os_error()));
        }
        // Its times must not depend on what others do in the host's directory.
        set_times(&place, 0, 0)?;
    }
    Ok(())
}

/// Returns whether the server has put something else than a directory in the place of one of these,
/// in a layer that was kept. It hides what the host has there; and a link leads out of the layer,
/// where nothing is the server's to change.
fn is_replaced(upper: &Path, below: &Path) -> bool {
    let mut place = upper.to_path_buf();
    below.components().any(|component| {
        place.push(component);
        fs::symlink_metadata(&place).is_ok_and(|about| !about.is_dir())
    })
}

fn make_parents(upper: &Path, mount: &Path, below: &Path) -> Result<(), String> {
    let mut made = PathBuf::new();
    for part in below.components() {
        let around = made.clone();
        made.push(part);
        let place = upper.join(&made);
        if !place.exists() {
            fs::create_dir(&place).map_err(|error| describe(&place, &error))?;
            copy_attributes(&mount.join(&made), &place)?;
            copy_attributes(&mount.join(&around), &upper.join(&around))?;
        }
    }
    Ok(())
}

/// Copies owner, mode and times: a directory in the upper layer hides the one below it.
fn copy_attributes(from: &Path, to: &Path) -> Result<(), String> {
    let about = fs::metadata(from).map_err(|error| describe(from, &error))?;
    let failed = |error: io::Error| describe(to, &error);
    std::os::unix::fs::chown(to, Some(about.uid()), Some(about.gid())).map_err(failed)?;
    let mode = fs::Permissions::from_mode(about.mode() & 0o7777);
    fs::set_permissions(to, mode).map_err(failed)?;
    set_times(to, about.mtime(), about.mtime_nsec())
}

fn set_times(path: &Path, seconds: i64, nanoseconds: i64) -> Result<(), String> {
    let name = c_path(path)?;
    let time = libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = [time, time];
    // SAFETY: name and times are live.
    match unsafe { libc::utimensat(libc::AT_FDCWD, name.as_ptr(), times.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(describe(path, &io::Error::last_os_error())),
    }
}

/// Removes a tree. A missing tree is no error.
pub(crate) fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(describe(path, &error)),
        _ => Ok(()),
    }
}

/// Removes a file. A missing file is no error.
pub(crate) fn remove_file(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(describe(path, &error)),
        _ => Ok(()),
    }
}

/// Copies a tree of directories, files and links, without `hidden` and the directories of crane's
/// own.
///
/// # Errors
/// Returns what the system refused, with its place.
pub(crate) fn copy_tree(from: &Path, to: &Path, hidden: &[PathBuf]) -> Result<(), String> {
    let failed = |error: io::Error| describe(from, &error);
    fs::create_dir_all(to).map_err(|error| describe(to, &error))?;
    for item in fs::read_dir(from).map_err(failed)? {
        let item = item.map_err(failed)?;
        let (source, target) = (item.path(), to.join(item.file_name()));
        let kind = item.file_type().map_err(failed)?;
        if hidden.contains(&source) {
            continue;
        }
        if kind.is_dir() {
            if !crate::base::is_ours(&source) {
                copy_tree(&source, &target, hidden)?;
            }
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(failed)?;
            std::os::unix::fs::symlink(link, &target).map_err(|error| describe(&target, &error))?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(|error| describe(&source, &error))?;
            let about = item.metadata().map_err(failed)?;
            set_times(&target, about.mtime(), about.mtime_nsec())?;
        }
    }
    let about = fs::metadata(from).map_err(failed)?;
    set_times(to, about.mtime(), about.mtime_nsec())
}

/// Returns a path as the kernel takes it.
pub(crate) fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| format!("{} has a zero byte", path.display()))
}

/// Returns a text for an error of the system at a place.
pub(crate) fn describe(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_a_kept_layer_changes_nothing_outside_of_it() {
        let root = std::env::temp_dir().join(format!("crane-upper-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (upper, outside, below) = (root.join("upper"), root.join("outside"), root.join("srv"));
        for path in [upper.join("var"), outside.clone(), below.join("data")] {
            fs::create_dir_all(path).unwrap();
        }
        set_times(&outside, 1_000, 5).unwrap();
        let links = [upper.join("tmp"), upper.join("var/tmp"), upper.join("linked")];
        for link in &links {
            std::os::unix::fs::symlink(&outside, link).unwrap();
        }
        // As if the server had put a link in the place of the directory around the hidden one.
        assert!(is_replaced(&upper, Path::new("linked/in/it")));
        assert!(!is_replaced(&upper, Path::new("var/lib")));
        empty_temporary(&upper, Path::new("/srv")).unwrap();
        let around = root.join("around");
        fs::create_dir_all(around.join("linked/hidden")).unwrap();
        hide(&upper, &around, &around.join("linked/hidden")).unwrap();
        assert_eq!(fs::metadata(&outside).unwrap().mtime(), 1_000);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        remove(&root).unwrap();
    }

    #[test]
    fn a_copy_has_files_links_and_times_and_nothing_of_ours() {
        let root = std::env::temp_dir().join(format!("crane-copy-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let from = root.join("from");
        fs::create_dir_all(from.join("a/.crane/x")).unwrap();
        fs::write(from.join("a/file"), "text").unwrap();
        std::os::unix::fs::symlink("file", from.join("a/link")).unwrap();
        set_times(&from.join("a/file"), 1_000, 5).unwrap();
        fs::write(from.join("a/events"), "text").unwrap();
        let to = root.join("to");
        copy_tree(&from, &to, &[from.join("a/events")]).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/link")).unwrap(), "text");
        assert_eq!(fs::metadata(to.join("a/file")).unwrap().mtime(), 1_000);
        assert!(!to.join("a/.crane").exists() && !to.join("a/events").exists());
        remove(&root).unwrap();
        remove(&root).unwrap();
    }
}
