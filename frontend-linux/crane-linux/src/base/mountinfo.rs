//! The kernel's list of mounts (proc(5), mountinfo).

use std::fs;
use std::path::{Path, PathBuf};

/// Kinds of mounts that hold no files of the base.
const NOT_FILE_SYSTEMS: [&str; 14] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "mqueue",
    "hugetlbfs",
    "autofs",
    "binfmt_misc",
    "nsfs",
];

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mount {
    /// The directory or file on which it is mounted.
    pub(crate) place: PathBuf,
    /// The kind of its file system.
    pub(crate) kind: String,
}

impl Mount {
    /// Returns whether it holds files, and not a view of the kernel.
    pub(crate) fn has_files(&self) -> bool {
        !NOT_FILE_SYSTEMS.contains(&self.kind.as_str())
    }
}

/// Returns the mounts that this process sees.
///
/// # Errors
/// Names what could not be read.
pub(crate) fn mounts() -> Result<Vec<Mount>, String> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(|error| super::describe(path, &error))?;
    Ok(parse(&text))
}

/// Returns the mounts of a listing.
pub(crate) fn parse(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let place = unescaped(words.nth(4)?);
        let kind = words.skip_while(|word| *word != "-").nth(1)?.to_string();
        Some(Mount { place, kind })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Refuses mounts below the working directory that the server could not be shown.
///
/// # Errors
/// The mount and the remedy.
pub(super) fn check_below(directory: &Path, mounts: &[Mount]) -> Result<(), String> {
    if directory == Path::new("/") {
        return Ok(());
    }
    for Mount { place, kind } in mounts {
        if !place.starts_with(directory) || place == directory {
            continue;
        }
        let mount = Mount { place: place.clone(), kind: kind.clone() };
        let why = if !mount.has_files() {
            format!("a file system of kind {kind} is mounted there, which shows the host")
        } else if !place.is_dir() {
            "a single file is mounted there".to_string()
        } else {
            continue;
        };
        return Err(format!(
            "{} lies below the working directory, and cannot be given to the server: {why}; \
             unmount it, replace it by a copy, or start the server in another directory",
            place.display()
        ));
    }
    Ok(())
}

/// Octal escapes, as the kernel writes them.
fn unescaped(word: &str) -> PathBuf {
    let mut text = word.to_string();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, character);
    }
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_to_the_server_is_refused_by_name() {
        let mounts = parse(
            "\
22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /proc rw - proc none rw
24 22 0:6 / /usr/bin/env rw shared:5 - ext4 /dev/vdb rw
25 22 0:6 / /usr/lib rw shared:5 - ext4 /dev/vdb rw
",
        );
        let check = |directory: &str| check_below(Path::new(directory), &mounts);
        check("/").unwrap();
        check("/proc").unwrap();
        check("/usr/lib").unwrap();
        let refusal = check("/usr").unwrap_err();
        assert!(refusal.starts_with("/usr/bin/env lies below"), "{refusal}");
        assert!(refusal.contains("a single file is mounted"), "{refusal}");
        let jail = parse("23 22 0:5 / /srv/jail\\040one/proc rw - proc none rw\n");
        let refusal = check_below(Path::new("/srv/jail one"), &jail).unwrap_err();
        assert!(refusal.contains("of kind proc"), "{refusal}");
    }
}
