//! The unit tests of the library's tables, built into a program without the library's hooks, which
//! would be in front of the test program itself.

#![allow(dead_code, reason = "the hooks that use the rest of the tables are not here")]

use std::fs;
use std::path::Path;

#[path = "../src/capacities.rs"]
mod capacities;
#[path = "../src/descriptors.rs"]
mod descriptors;
#[path = "../src/execution.rs"]
mod execution;
#[path = "../src/figures.rs"]
mod figures;
#[path = "../src/host_texts.rs"]
mod host_texts;
#[path = "../src/net/judge.rs"]
mod judge;
#[path = "../src/known_files.rs"]
mod known_files;
#[path = "../src/net/maker.rs"]
mod maker;
#[path = "../src/net/moved.rs"]
mod moved;
#[path = "../src/numbers.rs"]
mod numbers;
#[path = "../src/objects.rs"]
mod objects;
#[path = "../src/processes.rs"]
mod processes;
#[path = "../src/processors.rs"]
mod processors;
#[path = "../src/unix.rs"]
mod unix;
#[path = "../src/watch.rs"]
mod watch;

#[path = "../src/signals"]
mod signals {
    mod kept;
    mod masks;
    mod posted;
    mod records;
    mod stack;

    pub(crate) use records::{sent_by, sent_by_self};
}

/// The library's own test target is off, so a file's tests run if it is named here.
#[test]
fn each_file_with_tests_is_named_here() {
    fn search(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                search(&path, found);
            } else if fs::read_to_string(&path).expect("a source").contains("#[cfg(test)]") {
                let name = path.file_stem().expect("a name").to_string_lossy();
                found.push(format!("mod {name};"));
            }
        }
    }
    let mut found = Vec::new();
    search(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 5, "{found:?}");
    let named = include_str!("structures.rs");
    found.retain(|name| !named.lines().any(|line| line.trim() == name));
    assert_eq!(found, Vec::<String>::new(), "their tests never run");
}

/// The library finds its tables in memory of zeros.
#[test]
fn empty_tables_are_zeros() {
    struct Table<T>(T);
    // SAFETY: one thread reads it.
    unsafe impl<T> Sync for Table<T> {}
    fn is_zeros<T>(table: &'static Table<T>) -> bool {
        let start = std::ptr::from_ref(table).cast::<u8>();
        // SAFETY: bytes of a static value. A value that is not all zeros has some that are no
        // padding.
        (0..size_of::<T>()).all(|at| unsafe { start.add(at).read_volatile() } == 0)
    }
    static CONNECTIONS: Table<execution::Connections> = Table(execution::Connections::new());
    static DESCRIPTORS: Table<descriptors::Descriptors> = Table(descriptors::Descriptors::new());
    static WATCHES: Table<watch::Watches> = Table(watch::Watches::new());
    assert!(is_zeros(&CONNECTIONS) && is_zeros(&DESCRIPTORS) && is_zeros(&WATCHES));
}
