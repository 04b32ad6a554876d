//! A disk of a few MiB, which fills soon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::machine::skip;

/// A file system of a few MiB, unmounted when dropped.
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts an empty disk at a place, which needs root. Returns `None`, and prints the reason, if
    /// that is not permitted here.
    ///
    /// # Panics
    ///
    /// Panics if the place cannot be made, and as [`skip`] does.
    #[must_use]
    pub fn mount(place: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(place).unwrap();
        let size = format!("size={mebibytes}m");
        run(&["mount", "-t", "tmpfs", "-o", &size, "crane-test"], place)
            .inspect_err(|why| skip(&format!("cannot mount a small disk: {why}")))
            .ok()?;
        Some(Self { place: place.to_owned() })
    }

    /// Changes the size of the disk.
    ///
    /// # Panics
    ///
    /// Panics if it is in use beyond that size.
    pub fn resize(&self, mebibytes: u32) {
        run(&["mount", "-o", &format!("remount,size={mebibytes}m")], &self.place).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run(&["umount", "-l"], &self.place);
    }
}

fn run(words: &[&str], place: &Path) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).arg(place).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(told) }
}
