//! Directories of the bodies that need files.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory of this thread, in memory if the machine has `/dev/shm`; removed when dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// Makes the directory of this name.
    pub(crate) fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let (process, thread) = (std::process::id(), std::thread::current().id());
        let path = place.join(format!("crane-fuzz-{name}-{process}-{thread:?}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory can be made");
        Self(path)
    }

    /// Returns the files in it.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let items = fs::read_dir(&self.0).expect("the scratch directory");
        let paths = items.map(|item| item.expect("a readable item").path());
        let mut files: Vec<_> =
            paths.map(|path| (path.clone(), fs::read(&path).expect("a file"))).collect();
        files.sort();
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
