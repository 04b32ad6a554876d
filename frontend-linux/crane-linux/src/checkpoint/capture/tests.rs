use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, XattrFlags, fallocate, lsetxattr};

use super::*;

/// More than a step of the kernel's clock for files, so that copies can be certain.
const SETTLED: Duration = Duration::from_millis(40);

/// A directory on a disk, where files have times of change that count.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp-capture");
        let place = root.join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("files")).unwrap();
        fs::create_dir_all(place.join("checkpoint")).unwrap();
        Self(fs::canonicalize(place).unwrap())
    }

    fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    fn capture(&self, settled: Duration) -> Capture {
        let except = Some(PathBuf::from("not/this"));
        let source = Source { from: self.files(), to: "image/upper".into(), except };
        let mut capture = Capture::begin(&self.0.join("checkpoint"), vec![source]).unwrap();
        capture.pool.settled = settled;
        capture
    }

    /// Completes the copy, makes one by cp, and compares the two.
    fn compare(&self, mut capture: Capture) {
        let limit = Instant::now() + Duration::from_secs(60);
        capture.copy_held(limit).unwrap();
        let lists = capture.list(limit).unwrap();
        let full = self.0.join("full");
        let copied =
            Command::new("cp").args(["-a", "-T"]).arg(self.files()).arg(&full).status().unwrap();
        assert!(copied.success());
        let checkpoint = self.0.join("checkpoint");
        capture.build(&lists, &checkpoint).unwrap();
        assert_eq!(described(&checkpoint.join("image/upper")), described(&full));
        assert!(!checkpoint.join(POOL).exists());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a line about each thing in a directory, with its contents.
fn described(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let listed = listing::list(root, |_| false, true).unwrap();
    let first_name = |inode| {
        let same =
            listed.iter().find(|it| it.about.is_file() && listing::inode_of(&it.about) == inode);
        same.map(|it| it.path.clone())
    };
    for it in &listed {
        let about = &it.about;
        let content = about.is_file().then(|| fs::read(root.join(&it.path)).unwrap());
        let digest = content.map(|bytes| (bytes.len(), crc32fast::hash(&bytes)));
        let first = about.is_file().then(|| first_name(listing::inode_of(about)));
        let times = (about.mtime(), about.mtime_nsec());
        let owner = (about.mode(), about.uid(), about.gid(), about.rdev());
        let (path, target, attributes) = (&it.path, &it.target, &it.attributes);
        lines.push(format!(
            "{path:?} {owner:?} {times:?} {digest:?} {first:?} {target:?} {attributes:?}"
        ));
    }
    lines.sort();
    lines
}

/// A mapping of a file's first page, for writing.
struct Mapped(*mut u8);

// SAFETY: the memory is a shared mapping of a file, to which any thread may store.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    fn new(file: &File) -> Self {
        use std::os::fd::AsRawFd;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, kind, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Self(at.cast())
    }

    fn store(&self, at: usize, byte: u8) {
        assert!(at < 4096);
        // SAFETY: within the mapping, whose file has at least a page.
        unsafe { self.0.add(at).write_volatile(byte) };
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}

/// Random numbers (Knuth's linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Changes something below a directory.
fn change(root: &Path, random: &mut Random, mapped: &[Mapped]) -> std::io::Result<()> {
    let name = |random: &mut Random| {
        let directory = ["", "a", "b", "a/c"][random.below(4) as usize];
        root.join(directory).join(format!("file-{}", random.below(6)))
    };
    let (one, other) = (name(random), name(random));
    let byte = random.below(256) as u8;
    match random.below(16) {
        0..=2 => {
            let mut file = File::options().append(true).create(true).open(&one)?;
            file.write_all(&vec![byte; random.below(300_000) as usize])
        }
        3..=4 => {
            let file = File::options().write(true).open(&one)?;
            let size = file.metadata()?.len().max(1);
            file.write_all_at(&[byte; 100], random.below(size))
        }
        5 => File::options().write(true).open(&one)?.set_len(random.below(400_000)),
        6 => fs::rename(&one, &other),
        7 => fs::hard_link(&one, &other),
        8 => fs::remove_file(&one),
        9 => {
            let file = File::options().write(true).open(&one)?;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&file, flags, 4096 * random.below(20), 4096 * (1 + random.below(20)))?;
            Ok(())
        }
        10 => fs::set_permissions(&one, fs::Permissions::from_mode(0o600 + (byte as u32 % 8))),
        11 => {
            lsetxattr(&one, "trusted.test", &[byte], XattrFlags::empty())?;
            Ok(())
        }
        12 => {
            let _ = fs::remove_file(&one);
            symlink(format!("target-{byte}"), &one)
        }
        13 => {
            // A whole file in the place of another, as servers write them.
            let new = one.with_extension("new");
            fs::write(&new, vec![byte; random.below(200_000) as usize])?;
            fs::rename(&new, &one)
        }
        14 => {
            let directory = root.join("moving");
            match byte % 3 {
                0 => fs::create_dir(&directory),
                1 => fs::write(directory.join("in it"), [byte]),
                _ => fs::remove_dir_all(&directory),
            }
        }
        _ => {
            let mapped = &mapped[random.below(mapped.len() as u64) as usize];
            mapped.store(random.below(4096) as usize, byte);
            Ok(())
        }
    }
}

#[test]
fn a_copy_under_a_writer_is_equal_to_a_full_copy() {
    for seed in 1..=12 {
        let folder = Folder::new(&format!("writer-{seed}"));
        let root = folder.files();
        for directory in ["a/c", "b", "not/this/one"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("not/this/file"), "left out by nobody but this test").unwrap();
        fs::remove_dir_all(root.join("not/this")).unwrap();
        let mapped: Vec<Mapped> = (0..3)
            .map(|number| {
                let path = root.join(format!("mapped-{number}"));
                fs::write(&path, [0; 8192]).unwrap();
                Mapped::new(&File::options().read(true).write(true).open(&path).unwrap())
            })
            .collect();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            let whiteout = root.join("whiteout");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &whiteout,
                rustix::fs::FileType::CharacterDevice,
                rustix::fs::Mode::empty(),
                0,
            )
            .unwrap();
        }
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let mut capture = folder.capture(SETTLED);
        let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
        scope(|threads| {
            threads.spawn(|| {
                let mut random = Random(seed);
                for number in 1_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if change(&root, &mut random, &mapped).is_ok() {
                        changes.fetch_add(1, Ordering::Relaxed);
                    }
                    if number % 200 == 0 {
                        // Long enough for copies that are certain.
                        sleep(SETTLED * 2);
                    }
                }
            });
            while changes.load(Ordering::Relaxed) < 500 {
                capture.look(Look::Running, None).unwrap();
                sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
        });
        folder.compare(capture);
    }
}

#[test]
fn a_store_through_a_mapping_that_was_dirty_before_the_copy_is_found() {
    let folder = Folder::new("mapped");
    let path = folder.files().join("mapped");
    fs::write(&path, [0; 4096]).unwrap();
    let mapped = Mapped::new(&File::options().read(true).write(true).open(&path).unwrap());
    // Stores to a page that is dirty change no time, unless it is written back in this moment.
    let stores_are_silent = || {
        mapped.store(0, 1);
        let before = fs::metadata(&path).unwrap();
        sleep(Duration::from_millis(20));
        mapped.store(1, 1);
        let after = fs::metadata(&path).unwrap();
        (before.ctime(), before.ctime_nsec()) == (after.ctime(), after.ctime_nsec())
    };
    assert!((0..100).any(|_| stores_are_silent()));
    sleep(SETTLED * 2);
    let mut capture = folder.capture(SETTLED);
    capture.copy_running().unwrap();
    mapped.store(2, 1);
    folder.compare(capture);
}

#[test]
fn a_change_in_the_same_clock_step_as_the_copy_is_found() {
    let folder = Folder::new("clock");
    let path = folder.files().join("file");
    let mut file = File::create(&path).unwrap();
    for round in 0..200_u32 {
        file.write_all(&round.to_le_bytes()).unwrap();
        let mut capture = folder.capture(pool_settled());
        capture.copy_running().unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&(round + 1).to_le_bytes()).unwrap();
        folder.compare(capture);
        fs::remove_dir_all(folder.0.join("full")).unwrap();
        fs::remove_dir_all(folder.0.join("checkpoint/image")).unwrap();
    }
}

/// The usual time.
fn pool_settled() -> Duration {
    Pool::new(PathBuf::new()).settled
}

#[test]
fn files_that_did_not_change_are_not_read_again() {
    let folder = Folder::new("certain");
    let path = folder.files().join("file");
    fs::write(&path, "text").unwrap();
    sleep(SETTLED * 2);
    let mut capture = folder.capture(SETTLED);
    capture.copy_running().unwrap();
    // A copy that is looked at again is put right. That is so where times are not trusted.
    let is_certain = pool::keeps_times(&File::open(&path).unwrap());
    let copy = capture.pool.place_of(listing::inode_of(&fs::metadata(&path).unwrap()));
    fs::write(&copy, "mark").unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    capture.copy_held(limit).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), if is_certain { b"mark" } else { b"text" });
    // Without trust in the times, it is.
    capture.pool.doubt();
    capture.copy_held(limit).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), b"text");
}

#[test]
fn a_directory_that_is_left_out_is_not_copied_and_a_missing_one_is_no_error() {
    let folder = Folder::new("except");
    fs::create_dir_all(folder.files().join("not/this")).unwrap();
    fs::write(folder.files().join("not/that"), "text").unwrap();
    let mut capture = folder.capture(SETTLED);
    capture.sources.push(Source { from: "/no/directory".into(), to: "none".into(), except: None });
    let limit = Instant::now() + Duration::from_secs(60);
    let lists = capture.list(limit).unwrap();
    let checkpoint = folder.0.join("checkpoint");
    capture.build(&lists, &checkpoint).unwrap();
    assert!(checkpoint.join("image/upper/not/that").exists());
    assert!(!checkpoint.join("image/upper/not/this").exists() && !checkpoint.join("none").exists());
}

#[test]
fn a_copy_that_takes_too_long_ends() {
    let folder = Folder::new("late");
    fs::write(folder.files().join("file"), "text").unwrap();
    let mut capture = folder.capture(SETTLED);
    let error = capture.copy_held(Instant::now()).unwrap_err();
    assert!(error.contains("too long"), "{error}");
}
