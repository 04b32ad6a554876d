//! Tests of directories that are made from an index.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use rustix::fs::XattrFlags;

use super::*;
use crate::checkpoint::digest::digest_of;

const PAGE: usize = 4096;

/// An empty directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crane-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns pages, each with one number in it.
fn pages(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let page = |number: u32| number.to_le_bytes().repeat(PAGE / 4);
    numbers.into_iter().flat_map(page).collect()
}

/// Makes a directory with one of each kind of thing.
fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("image/deep")).unwrap();
    fs::write(directory.join("image/pages"), pages(0..100)).unwrap();
    fs::write(directory.join("image/deep/text"), "text").unwrap();
    fs::write(directory.join("empty"), "").unwrap();
    File::create(directory.join("holes")).unwrap().set_len(9_000_001).unwrap();
    fs::hard_link(directory.join("image/pages"), directory.join("image/same")).unwrap();
    symlink("deep/text", directory.join("image/link")).unwrap();
    drop(UnixListener::bind(directory.join("image/socket")).unwrap());
    let (kind, mode) = (FileType::Fifo, Mode::from_raw_mode(0o640));
    rustix::fs::mknodat(CWD, directory.join("pipe"), kind, mode, 0).unwrap();
    let text = directory.join("image/deep/text");
    rustix::fs::lsetxattr(&text, c"user.test", b"value", XattrFlags::empty()).unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(directory.join("image/deep"), Permissions::from_mode(0o750)).unwrap();
}

/// Puts the missing blocks, as they are in another directory, up to a number of them.
fn put_from(assembly: &mut Assembly, directory: &Path, count: usize) {
    let blocks: Vec<Vec<u8>> = assembly.index.files().fold(Vec::new(), |mut blocks, file| {
        let bytes = fs::read(file.entry.place_in(directory)).unwrap();
        blocks.extend(bytes.chunks(assembly.index.block_bytes as usize).map(<[u8]>::to_vec));
        blocks
    });
    for number in assembly.missing().into_iter().take(count) {
        let block = &blocks[number as usize];
        assert_eq!(assembly.bytes_of(number), block.len() as u64);
        assert!(assembly.put(block).unwrap(), "block {number} was missing");
        assert!(!assembly.put(block).unwrap(), "it is there now");
    }
}

#[test]
fn a_directory_is_made_from_nothing_and_an_attempt_that_ended_is_continued() {
    let scratch = Scratch::new("assembly");
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    fill(&from);
    let encoded = Index::of(&from).unwrap().encode().unwrap();
    let begin = || Assembly::begin(Index::decode(&encoded).unwrap(), &to).unwrap();
    let mut assembly = begin();
    // One page of the hundred has zeros, as all those of the holes; the text is a block.
    assert_eq!(assembly.missing().len(), 99 + 1);
    put_from(&mut assembly, &from, 60);
    assert!(assembly.finish().is_err_and(|why| why.contains("40 blocks")));
    let mut assembly = begin();
    assert_eq!(assembly.missing().len(), 40);
    put_from(&mut assembly, &from, 40);
    assembly.finish().unwrap();
    assert_eq!(digest_of(&to, &[]), digest_of(&from, &[]));
    assert!(fs::metadata(to.join("holes")).unwrap().blocks() < 1000, "the holes stay");
    // A crash came before the directory had its name.
    let assembly = begin();
    assert!(assembly.missing().is_empty());
    assembly.finish().unwrap();
    assert_eq!(digest_of(&to, &[]), digest_of(&from, &[]));
}

#[test]
fn what_is_here_already_is_not_missing() {
    let scratch = Scratch::new("assembly-sources");
    let (from, to, old) = (scratch.join("from"), scratch.join("to"), scratch.join("old"));
    fill(&old);
    fill(&from);
    // A new page moves all others, and one has changed.
    let changed = (0..100).map(|number| if number == 50 { 1050 } else { number });
    fs::write(from.join("image/pages"), pages([1000].into_iter().chain(changed))).unwrap();
    let mut assembly = Assembly::begin(Index::of(&from).unwrap(), &to).unwrap();
    assembly.use_directory(&scratch.join("not there")).unwrap();
    // One page has zeros; the text is a block.
    assert_eq!(assembly.missing().len(), 101);
    assembly.use_directory(&old).unwrap();
    assert_eq!(assembly.missing(), {
        let first =
            assembly.index.files().find(|it| it.entry.path == b"image/pages").unwrap().first;
        [first, first + 51]
    });
    put_from(&mut assembly, &from, 2);
    assembly.finish().unwrap();
    assert_eq!(digest_of(&to, &[]), digest_of(&from, &[]));
}

#[test]
fn what_equals_the_base_is_not_missing() {
    let scratch = Scratch::new("assembly-base");
    let (from, to, base) = (scratch.join("from"), scratch.join("to"), scratch.join("base"));
    fs::create_dir_all(from.join("upper/srv")).unwrap();
    fs::create_dir_all(base.join("srv")).unwrap();
    fs::write(base.join("srv/table"), pages(0..50)).unwrap();
    fs::write(base.join("srv/other"), pages(50..60)).unwrap();
    fs::write(from.join("upper/srv/table"), pages((1..50).chain([55]))).unwrap();
    let mut assembly = Assembly::begin(Index::of(&from).unwrap(), &to).unwrap();
    assembly.use_base("copy/", &base).unwrap();
    assert_eq!(assembly.missing().len(), 50);
    assembly.use_base("upper/", &base).unwrap();
    assert_eq!(assembly.missing().len(), 1, "only files of the same name are read");
}

/// A name, and what it does to an index.
type Change<'a> = (&'a str, &'a dyn Fn(&mut Index));

#[test]
fn indexes_that_lead_elsewhere_are_refused() {
    let scratch = Scratch::new("assembly-index");
    fill(&scratch.join("from"));
    let index = Index::of(&scratch.join("from")).unwrap();
    let at = |path: &[u8]| index.entries.iter().position(|it| it.path == path).unwrap();
    let link = at(b"image/link");
    let changes: [Change<'_>; 14] = [
        ("above", &|it| it.entries[link].path = b"../link".to_vec()),
        ("inner", &|it| it.entries[link].path = b"image/../link".to_vec()),
        ("absolute", &|it| it.entries[link].path = b"/link".to_vec()),
        ("nothing", &|it| it.entries[link].path = Vec::new()),
        ("zero byte", &|it| it.entries[link].path = b"image/a\0b".to_vec()),
        ("slash", &|it| it.entries[link].path = b"image/link/".to_vec()),
        ("through a link", &|it| {
            let mut below = it.entries[link].clone();
            below.path = b"image/link/x".to_vec();
            it.entries.push(below);
        }),
        ("twice", &|it| it.entries.push(it.entries[link].clone())),
        ("no directory", &|it| drop(it.entries.remove(at(b"image")))),
        ("later name", &|it| it.entries[at(b"image/same")].kind = TreeKind::SameAs(u32::MAX)),
        ("name of a link", &|it| {
            it.entries[at(b"image/same")].kind = TreeKind::SameAs(link as u32);
        }),
        ("kind", &|it| it.entries[at(b"pipe")].kind = TreeKind::Directory),
        ("attribute", &|it| {
            it.entries[at(b"empty")].attributes.push((b"security.selinux".to_vec(), vec![1]));
        }),
        ("blocks", &|it| it.digests.truncate(3)),
    ];
    Index::decode(&index.encode().unwrap()).unwrap();
    for (name, change) in changes {
        let mut changed = index.clone();
        change(&mut changed);
        assert!(Index::decode(&changed.encode().unwrap()).is_err(), "{name}");
    }
    for block_bytes in [0, 1, 4095, 12288, 1 << 20] {
        let changed = Index { block_bytes, ..index.clone() };
        assert!(Index::decode(&changed.encode().unwrap()).is_err(), "{block_bytes}");
    }
    let mut bytes = index.encode().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(Index::decode(&bytes).is_err());
}

#[test]
fn a_place_that_is_something_else_is_not_written_to() {
    let scratch = Scratch::new("assembly-place");
    let (from, to, outside) = (scratch.join("from"), scratch.join("to"), scratch.join("outside"));
    fill(&from);
    fs::write(&outside, "outside").unwrap();
    fs::create_dir(&to).unwrap();
    symlink(&outside, to.join("empty")).unwrap();
    assert!(Assembly::begin(Index::of(&from).unwrap(), &to).is_err());
    assert_eq!(fs::read(&outside).unwrap(), b"outside");
}
