//! The base: what all replicas must have alike before the first entry, as named parts with digests.
//!
//! Program, the libraries that it maps, arguments, environment, and the files below the working
//! directory. BaseParts have names so that a replica which differs can be told in what.

mod digests;
pub(crate) mod elf;
mod files;
pub(crate) mod mountinfo;

use std::env::current_exe;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use digests::Digests;
use elf::Program;

use crate::options::{OPEN_FILES, SHARED_MEMORY};
use crate::server_user::ServerUser;

/// A file in a directory that tells crane's own directories from the service's files.
pub(crate) const MARKER: &str = ".crane-data";
/// The directory that crane makes where it is started, unless it is told another.
pub(crate) const DEFAULT_DIRECTORY: &str = ".crane";

/// The dynamic loader of this machine.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Variables that the server gets from the caller's environment.
const VARIABLES: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "USER"];
/// Extensions of files that servers write.
const WRITTEN: [&str; 10] =
    ["log", "pid", "lock", "sock", "aof", "rdb", "err", "out", "tmp", "journal"];
/// Directories of such files.
const WRITTEN_DIRECTORIES: [&str; 3] = ["log", "logs", "run"];
const ONE_SIDE_ONLY: &str = " (on one side only)";
/// Differences that a message names.
const NAMED_MAX: usize = 5;

/// One thing that must be alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BasePart {
    /// Such as `argument 2` or `file www/index.html`.
    pub name: String,
    /// The first half of its SHA-256.
    pub digest: [u8; 16],
}

/// All parts, sorted by name. Unsorted parts are refused when they are read: two bases that differ
/// would seem alike from one side.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BaseParts")]
pub struct Base {
    /// Sorted by name, without doubles.
    pub parts: Vec<BasePart>,
}

/// A base as it is read.
#[derive(Deserialize)]
struct BaseParts {
    parts: Vec<BasePart>,
}

impl TryFrom<BaseParts> for Base {
    type Error = &'static str;

    fn try_from(BaseParts { parts }: BaseParts) -> Result<Self, Self::Error> {
        if parts.is_sorted_by(|one, other| one.name < other.name) {
            Ok(Self { parts })
        } else {
            Err("the parts are not in the order of their names")
        }
    }
}

impl Base {
    /// Looks at the program, its surroundings and the files below the directory, without those
    /// that are `ours`. Digests of files are remembered in `data`, so that the next start reads
    /// only what has changed.
    ///
    /// # Errors
    /// Names what could not be read.
    pub(crate) fn of(
        program: &Program,
        arguments: &[String],
        environment: &[(String, String)],
        (directory, ours): (&Path, &[PathBuf]),
        data: &Path,
    ) -> Result<Self, String> {
        mountinfo::check_below(directory, &mountinfo::mounts()?)?;
        let mut digests = Digests::load(data);
        let mut digest_of_file = |path: &Path| {
            let about = fs::metadata(path).map_err(|error| describe(path, &error))?;
            digests.of(path, &about)
        };
        let mut parts = vec![part("program", &digest_of_file(&program.path)?)];
        if program.binary != program.path {
            parts.push(part("interpreter", &digest_of_file(&program.binary)?));
        }
        for library in libraries(program)? {
            let name = library.file_name().unwrap_or(library.as_os_str()).to_string_lossy();
            parts.push(part(&format!("library {name}"), &digest_of_file(&library)?));
        }
        for (index, argument) in arguments.iter().enumerate() {
            parts.push(part(&format!("argument {}", index + 1), argument.as_bytes()));
        }
        for (name, value) in environment {
            parts.push(part(&format!("variable {name}"), value.as_bytes()));
        }
        parts.push(part("working directory's path", directory.as_os_str().as_encoded_bytes()));
        parts.extend(files::parts(directory, ours, &mut digests)?);
        digests.store();
        parts.sort();
        parts.dedup_by(|one, other| one.name == other.name);
        Ok(Self { parts })
    }

    /// Makes the addresses that the server may bind a part, if any are given.
    pub(crate) fn add_service_addresses(&mut self, service: &[IpAddr]) {
        if service.is_empty() {
            return;
        }
        let text: Vec<String> = service.iter().map(IpAddr::to_string).collect();
        self.parts.push(part("--service-address", text.join(",").as_bytes()));
        self.parts.sort();
    }

    /// Makes the server's limit of open files a part, unless it is the usual one.
    pub(crate) fn add_open_files(&mut self, limit: u32) {
        if limit != OPEN_FILES {
            self.parts.push(part("--open-files", limit.to_string().as_bytes()));
            self.parts.sort();
        }
    }

    /// Makes it a part that calls without libc's functions are not answered, and so move no clock.
    // specs: S12
    pub(crate) fn add_floor(&mut self, floor: bool) {
        if !floor {
            self.parts.push(part("--floor=never", b""));
            self.parts.sort();
        }
    }

    /// Makes the size of the server's /dev/shm a part, unless it is the usual one.
    pub(crate) fn add_shared_memory(&mut self, mebibytes: u32) {
        if mebibytes != SHARED_MEMORY {
            self.parts.push(part("--shared-memory", mebibytes.to_string().as_bytes()));
            self.parts.sort();
        }
    }

    /// Makes the server's user a part, and the numbers that this host has for its names.
    pub(crate) fn add_user(&mut self, user: Option<&ServerUser>) {
        let parts = user.into_iter().flat_map(ServerUser::parts);
        self.parts.extend(parts.map(|(name, value)| part(&name, value.as_bytes())));
        self.parts.sort();
    }

    /// Returns the digest of all parts, which the genesis entry carries.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in &self.parts {
            hash.update((part.name.len() as u64).to_le_bytes());
            hash.update(part.name.as_bytes());
            hash.update(part.digest);
        }
        hash.finalize().into()
    }

    /// Returns the names of the parts that differ, as a text; `None` if none does.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let lacks = |there: &Self, part: &BasePart| {
            there.parts.binary_search_by(|candidate| candidate.name.cmp(&part.name)).is_err()
        };
        let mut names: Vec<String> = Vec::new();
        for part in &self.parts {
            let found = other.parts.binary_search_by(|candidate| candidate.name.cmp(&part.name));
            match found {
                Ok(place) if other.parts[place].digest != part.digest => {
                    names.push(part.name.clone());
                }
                Ok(_) => {}
                Err(_) => names.push(format!("{}{ONE_SIDE_ONLY}", part.name)),
            }
        }
        let only_there = other.parts.iter().filter(|part| lacks(self, part));
        names.extend(only_there.map(|part| format!("{}{ONE_SIDE_ONLY}", part.name)));
        if names.is_empty() {
            return None;
        }
        let more = names.len().saturating_sub(NAMED_MAX);
        names.truncate(NAMED_MAX);
        let mut text = names.join(", ");
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
        if let Some(name) = names.iter().find(|name| looks_written(name)) {
            text.push_str(&format!(
                " ({name} looks like what a server writes: if it ran here outside of crane, remove \
                 what it left)"
            ));
        }
        Some(text)
    }
}

/// Returns the environment that the server gets: a fixed list from the caller's, or its user's own,
/// and what was asked for.
pub(crate) fn environment(
    user: Option<&ServerUser>,
    extra: &[(String, String)],
) -> Vec<(String, String)> {
    let mut chosen: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| VARIABLES.contains(&name.as_str()) || name.starts_with("LC_"))
        .collect();
    if let Some(user) = user {
        user.put_in(&mut chosen);
    }
    for (name, value) in extra {
        chosen.retain(|(known, _)| known != name);
        chosen.push((name.clone(), value.clone()));
    }
    chosen.sort();
    chosen
}

/// Returns whether a part is a file of a kind that servers write while they run.
///
/// In a cell nothing of it reaches the host. But a server that ran in the same directory without
/// one has left it there, on one host and not on others.
fn looks_written(part: &str) -> bool {
    let part = part.trim_end_matches(ONE_SIDE_ONLY);
    let file = part.strip_prefix("file ").or_else(|| part.strip_prefix("time of change of "));
    let Some(path) = file.map(Path::new) else { return false };
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    WRITTEN.contains(&&*extension)
        || path.parent().is_some_and(|around| {
            around.iter().any(|name| WRITTEN_DIRECTORIES.iter().any(|known| name == *known))
        })
}

/// Returns whether a directory holds crane's data and not the service's.
pub(crate) fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == DEFAULT_DIRECTORY) || path.join(MARKER).exists()
}

fn part(name: &str, content: &[u8]) -> BasePart {
    let whole: [u8; 32] = Sha256::digest(content).into();
    let mut digest = [0; 16];
    digest.copy_from_slice(&whole[..16]);
    BasePart { name: name.to_string(), digest }
}

/// Returns the libraries that the program's loader maps. The loader itself lists them, and runs
/// nothing of the program.
fn libraries(program: &Program) -> Result<Vec<PathBuf>, String> {
    // The library starts a program that is linked statically, with the libraries of this command.
    let (loader, binary) = match &program.loader {
        Some(loader) => (loader.clone(), program.binary.clone()),
        None => (PathBuf::from(LOADER), current_exe().map_err(|error| error.to_string())?),
    };
    let output = Command::new(&loader)
        .arg("--list")
        .arg(&binary)
        .env_remove("LD_PRELOAD")
        .output()
        .map_err(|error| format!("{}: {error}", loader.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        return Err(format!("{} lacks a library: {}", binary.display(), line.trim()));
    }
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect();
    found.push(loader);
    found.sort();
    found.dedup();
    Ok(found)
}

fn describe(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("crane-base-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("www")).unwrap();
        fs::write(path.join("www/index.html"), "hello").unwrap();
        path
    }

    fn base(directory: &Path, arguments: &[&str]) -> Base {
        let arguments: Vec<String> = arguments.iter().map(|text| text.to_string()).collect();
        let environment = [("TZ".to_string(), "UTC".to_string())];
        let program = elf::find("/bin/sh", false).unwrap();
        Base::of(&program, &arguments, &environment, (directory, &[]), Path::new("/nowhere"))
            .unwrap()
    }

    #[test]
    fn what_is_read_unsorted_or_double_is_no_base() {
        let part = |name: &str| BasePart { name: name.into(), digest: [1; 16] };
        let read = |names: &[&str]| {
            let parts = names.iter().map(|name| part(name)).collect();
            let bytes = postcard::to_allocvec(&Base { parts }).unwrap();
            postcard::from_bytes::<Base>(&bytes).is_ok()
        };
        assert!(read(&["a", "b"]) && read(&[]));
        assert!(!read(&["b", "a"]) && !read(&["a", "a"]));
    }

    #[test]
    fn what_differs_is_named() {
        let directory = scratch("named");
        let one = base(&directory, &["-x", "1"]);
        assert_eq!(one.difference(&base(&directory, &["-x", "1"])), None);
        assert_eq!(one.difference(&base(&directory, &["-x", "2"])).unwrap(), "argument 2");
        fs::write(directory.join("www/index.html"), "hellO").unwrap();
        let changed = base(&directory, &["-x", "1"]);
        assert!(one.difference(&changed).unwrap().starts_with("file www/index.html"));
        assert_ne!(one.digest(), changed.digest());
        let file = fs::File::options().write(true).open(directory.join("www/index.html")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let older = base(&directory, &["-x", "1"]);
        let text = changed.difference(&older).unwrap();
        assert_eq!(text, "time of change of www/index.html");
        let changed = older;
        let fewer = base(&directory, &["-x"]);
        assert_eq!(changed.difference(&fewer).unwrap(), "argument 2 (on one side only)");
        assert!(one.parts.iter().any(|part| part.name == "library libc.so.6"));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn another_limit_of_open_files_is_named() {
        let of = |limit| {
            let mut base = Base::default();
            base.add_open_files(limit);
            base
        };
        assert_eq!(of(OPEN_FILES), Base::default());
        assert_eq!(of(20_000).difference(&of(20_000)), None);
        assert_eq!(of(20_000).difference(&of(20_001)).unwrap(), "--open-files");
        assert!(of(OPEN_FILES).difference(&of(20_000)).unwrap().starts_with("--open-files"));
    }

    #[test]
    fn a_floor_on_one_side_is_named() {
        let of = |floor| {
            let mut base = Base::default();
            base.add_floor(floor);
            base
        };
        assert_eq!(of(true), Base::default());
        assert_eq!(of(false).difference(&of(false)), None);
        assert!(of(true).difference(&of(false)).unwrap().starts_with("--floor"));
    }

    #[test]
    fn another_size_of_shared_memory_is_named() {
        let of = |mebibytes| {
            let mut base = Base::default();
            base.add_shared_memory(mebibytes);
            base
        };
        assert_eq!(of(SHARED_MEMORY), Base::default());
        assert_eq!(of(64).difference(&of(65)).unwrap(), "--shared-memory");
    }

    #[test]
    fn another_user_is_named_and_so_is_another_number_of_it() {
        let of = |name: &str, user, groups: &[u32]| {
            let (name, groups) = (name.to_string(), groups.to_vec());
            let mut base = Base::default();
            base.add_user(Some(&ServerUser { name, user, group: 7, groups, home: "/".into() }));
            base
        };
        let one = of("redis", 100, &[7]);
        assert_eq!(one.difference(&one), None);
        assert_eq!(one.difference(&of("redis", 101, &[7])).unwrap(), "number of user redis");
        let groups = "numbers of all groups of user redis";
        assert_eq!(one.difference(&of("redis", 100, &[7, 8])).unwrap(), groups);
        assert!(one.difference(&of("other", 100, &[7])).unwrap().starts_with("--user"));
        assert!(one.difference(&Base::default()).unwrap().starts_with("--user (on one side only)"));
    }

    #[test]
    fn other_service_addresses_are_named() {
        let of = |addresses: &[&str]| {
            let mut base = Base::default();
            let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            base.add_service_addresses(&addresses);
            base
        };
        let one = of(&["10.0.0.1"]);
        assert_eq!(one.difference(&of(&["10.0.0.1"])), None);
        assert_eq!(one.difference(&of(&["10.0.0.2"])).unwrap(), "--service-address");
        let text = one.difference(&of(&[])).unwrap();
        assert_eq!(text, "--service-address (on one side only)");
    }

    #[test]
    fn own_directories_are_no_part_of_it() {
        let directory = scratch("own");
        let before = base(&directory, &[]);
        fs::create_dir_all(directory.join(".crane/x")).unwrap();
        fs::write(directory.join(".crane/x/file"), "1").unwrap();
        fs::create_dir_all(directory.join("data")).unwrap();
        fs::write(directory.join("data").join(MARKER), "").unwrap();
        fs::write(directory.join("data/file"), "1").unwrap();
        assert_eq!(before.difference(&base(&directory, &[])), None);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn many_files_are_named_by_their_directory() {
        let directory = scratch("many");
        for number in 0..=files::FILE_PARTS_MAX {
            fs::write(directory.join(format!("www/{number}")), "x").unwrap();
        }
        let one = base(&directory, &[]);
        fs::write(directory.join("www/7"), "y").unwrap();
        let other = base(&directory, &[]);
        assert_eq!(one.difference(&other).unwrap(), "files directly in www");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_log_that_a_server_left_is_named_with_its_remedy() {
        let directory = scratch("left");
        let before = base(&directory, &[]);
        fs::write(directory.join("server.log"), "started").unwrap();
        let text = before.difference(&base(&directory, &[])).unwrap();
        assert!(text.contains("file server.log (on one side only)"), "{text}");
        assert!(text.contains("looks like what a server writes"), "{text}");
        assert!(looks_written("file logs/today") && looks_written("time of change of a.pid"));
        assert!(!looks_written("file www/index.html") && !looks_written("library log"));
        fs::remove_dir_all(directory).unwrap();
    }
}
