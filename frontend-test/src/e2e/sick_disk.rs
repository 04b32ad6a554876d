//! Disks that hang or are slow: a file system that is frozen, and an fdatasync that waits, of one
//! daemon alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::group::Group;
use super::machine::skip;
use super::programs;

/// A file system in a file, at a place of its own. It is let go and unmounted when dropped.
pub struct LoopDisk {
    place: PathBuf,
}

impl LoopDisk {
    /// Mounts an empty file system at `place`, whose bytes are in a file beside it. That needs root
    /// and a loop device. Returns `None`, and prints the reason, if it is not permitted here.
    ///
    /// # Panics
    ///
    /// Panics as [`skip`] does.
    #[must_use]
    pub fn mount(place: &Path, mebibytes: u32) -> Option<Self> {
        let image = place.with_extension("ext4");
        let (image, place) = (image.to_str().expect("text"), place.to_str().expect("text"));
        fs::create_dir_all(place).expect("the place of a disk");
        run(&["truncate", "-s", &format!("{mebibytes}M"), image])
            .and_then(|()| run(&["mkfs.ext4", "-q", "-F", image]))
            .and_then(|()| run(&["mount", "-o", "loop", image, place]))
            .inspect_err(|why| skip(&format!("cannot mount a loop device: {why}")))
            .ok()?;
        Some(Self { place: place.into() })
    }

    /// Lets everything that is written to the file system wait, from now on.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be frozen.
    pub fn freeze(&self) -> FrozenDisk<'_> {
        run(&["fsfreeze", "-f", self.place.to_str().expect("text")]).expect("a frozen disk");
        FrozenDisk(self)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = run(&["umount", "-l", self.place.to_str().expect("text")]);
    }
}

/// A frozen file system, which is let go when this is dropped.
#[must_use]
pub struct FrozenDisk<'a>(&'a LoopDisk);

impl Drop for FrozenDisk<'_> {
    fn drop(&mut self) {
        let _ = run(&["fsfreeze", "-u", self.0.place.to_str().expect("text")]);
    }
}

/// Lets the daemons of a group obey [`order`], from their next start on.
pub fn obey_orders(group: &mut Group) {
    let library = programs::compiled("preloads", "slow_sync");
    group.set_environment("LD_PRELOAD", library.to_str().expect("text"));
}

/// Orders what the syncs of a replica's log do: `hang`, or a number of milliseconds that each takes
/// longer, after `shared ` if the syncs of all replicas wait for each other. Empty: nothing.
///
/// # Panics
///
/// Panics if the order cannot be written.
pub fn order(group: &Group, id: u8, text: &str) {
    let place = group.data(id).with_extension("sync");
    let new = group.data(id).with_extension("order");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &place)).expect("an order");
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{}: {told}", words.join(" "))) }
}
