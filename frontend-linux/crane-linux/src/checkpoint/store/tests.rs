//! Tests of checkpoints on the disk.

use std::os::unix::fs::{PermissionsExt, symlink};

use crane_core::paxos::Members;

use super::*;

fn manifest(slot: u64) -> Manifest {
    let processes = Box::new(Processes { server: 2, last: 9, pipes: [3, 4], consumed: [5, 6] });
    let (library, digest) = ([7; 16], [0; 32]);
    let (slot, group) = (Slot(slot), "ab".to_string());
    let mark = Mark { slot, clock: 4, schedule: 2, output: 3 };
    Manifest {
        library,
        origin: Box::default(),
        group,
        kind: CheckpointKind::Image,
        slot,
        incarnation: Incarnation(2),
        clock: 5,
        mark,
        proof: None,
        processes,
        digest,
    }
}

fn newest(data: &Path, group: &str, library: [u8; 16]) -> Option<Checkpoint> {
    usable(data, group, Some(library)).into_iter().next()
}

fn proof(slot: u64) -> Proof {
    let mark = Mark { slot: Slot(slot + 9), clock: 4, schedule: 2, output: 3 };
    let snapshot = SnapshotMeta::genesis(Members::first(3));
    let prefix = Prefix {
        snapshot: SnapshotMeta { slot: Slot(slot), ..snapshot },
        connected: [None; NODES_MAX],
        retired: [Generation(0); NODES_MAX],
        incarnation: Incarnation(2),
        upgrades: Vec::new(),
        timestamp: 5,
        genesis: (Slot(1), vec![1, 2, 3]),
    };
    Proof { mark, prefix }
}

#[test]
fn the_newest_files_alone_are_kept_and_need_no_library() {
    let data = std::env::temp_dir().join(format!("crane-files-{}", std::process::id()));
    let _ = fs::remove_dir_all(&data);
    let make = |slot, kind| {
        let manifest = Manifest { kind, ..manifest(slot) };
        Unfinished::make(&data, slot).unwrap().finish(manifest).unwrap()
    };
    let program_since = Incarnation::FIRST;
    make(2, CheckpointKind::Files { timestamp: 3, program_since });
    make(3, CheckpointKind::Files { timestamp: 5, program_since });
    for slot in 4..8 {
        make(slot, CheckpointKind::Image);
    }
    let slots = |library| -> Vec<u64> {
        let usable = usable(&data, "ab", library);
        usable.iter().map(|it| it.manifest.slot.0).collect()
    };
    assert_eq!(slots(Some([7; 16])), [7, 6, 4, 3]);
    assert_eq!((slots(Some([8; 16])), slots(None)), (vec![3], vec![3]));
    fs::remove_dir_all(&data).unwrap();
}

#[test]
fn the_newest_that_is_proved_is_kept_beside_the_newest_ones() {
    let data = std::env::temp_dir().join(format!("crane-proved-{}", std::process::id()));
    let _ = fs::remove_dir_all(&data);
    let make = |slot| Unfinished::make(&data, slot).unwrap().finish(manifest(slot)).unwrap();
    let proved = make(3).prove(proof(3)).unwrap();
    assert_eq!(proved.check(), Ok(()), "a proof changes no file of the image");
    for slot in 4..9 {
        make(slot);
    }
    let all = usable(&data, "ab", Some([7; 16]));
    let slots: Vec<u64> = all.iter().map(|it| it.manifest.slot.0).collect();
    assert_eq!(slots, [8, 7, 4, 3]);
    assert_eq!(all[3], proved);
    make(9).prove(proof(9)).unwrap();
    make(10);
    let slots = usable(&data, "ab", Some([7; 16]));
    assert_eq!(slots.iter().map(|it| it.manifest.slot.0).collect::<Vec<_>>(), [10, 9]);
    fs::remove_dir_all(&data).unwrap();
}

/// A change of something in a checkpoint that a server can see.
type Damage = (&'static str, fn(&Path));

#[test]
fn each_change_that_a_server_can_see_is_found() {
    let data = std::env::temp_dir().join(format!("crane-damage-{}", std::process::id()));
    let _ = fs::remove_dir_all(&data);
    let damages: [Damage; 10] = [
        ("contents", |file| fs::write(file, [13; 100]).unwrap()),
        ("length", |file| fs::write(file, [12; 99]).unwrap()),
        ("mode", |file| {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("time", |file| {
            let file = fs::File::open(file).unwrap();
            let before = file.metadata().unwrap().modified().unwrap();
            file.set_modified(before + Duration::from_nanos(1)).unwrap();
        }),
        ("attribute", |file| set_attribute(file, b"two")),
        ("link", |file| {
            fs::remove_file(file.with_file_name("link")).unwrap();
            symlink("other", file.with_file_name("link")).unwrap();
        }),
        ("new file", |file| fs::write(file.with_file_name("new"), "").unwrap()),
        ("lost file", |file| fs::remove_file(file).unwrap()),
        ("lost name", |file| {
            let name = file.with_file_name("name");
            fs::remove_file(&name).unwrap();
            // A copy has the contents, the mode, the attributes and the times of the file.
            let mut copy = std::process::Command::new("cp");
            assert!(copy.arg("-a").arg(file).arg(name).status().unwrap().success());
        }),
        ("kind", |file| {
            fs::remove_file(file.with_file_name("empty")).unwrap();
            fs::create_dir(file.with_file_name("empty")).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let unfinished = Unfinished::make(&data, 3).unwrap();
        let image = image_of(unfinished.place());
        let file = image.join("pages");
        fs::write(&file, [12; 100]).unwrap();
        fs::write(image.join("empty"), "").unwrap();
        fs::hard_link(&file, image.join("name")).unwrap();
        symlink("pages", image.join("link")).unwrap();
        set_attribute(&file, b"one");
        let checkpoint = unfinished.finish(manifest(3)).unwrap();
        assert_eq!(checkpoint.check(), Ok(()), "{name}");
        let image = image_of(&checkpoint.place);
        let file = image.join("pages");
        // The times alone would show most of them.
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let (before, around) = (time(&file), time(&image));
        damage(&file);
        if name != "time" && file.exists() {
            fs::File::open(&file).unwrap().set_modified(before).unwrap();
        }
        fs::File::open(&image).unwrap().set_modified(around).unwrap();
        assert!(checkpoint.check().is_err(), "{name}");
    }
    fs::remove_dir_all(&data).unwrap();
}

fn set_attribute(file: &Path, value: &[u8]) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(file, c"user.test", value, flags).unwrap();
}

#[test]
fn only_whole_checkpoints_of_this_group_and_library_are_found() {
    let data = std::env::temp_dir().join(format!("crane-store-{}", std::process::id()));
    let _ = fs::remove_dir_all(&data);
    let make = |slot| {
        let unfinished = Unfinished::make(&data, slot).unwrap();
        fs::write(image_of(unfinished.place()).join("pages"), [slot as u8; 100]).unwrap();
        symlink("pages", image_of(unfinished.place()).join("link")).unwrap();
        unfinished
    };
    drop(make(3));
    assert_eq!(fs::read_dir(data.join(DIRECTORY)).unwrap().count(), 0);
    make(7).finish(manifest(7)).unwrap();
    let newer = make(12).finish(manifest(12)).unwrap();
    assert_eq!(newest(&data, "ab", [7; 16]), Some(newer.clone()));
    assert_eq!(newest(&data, "other", [7; 16]), None);
    assert_eq!(newest(&data, "ab", [8; 16]), None);
    assert_eq!(newer.check(), Ok(()));
    for slot in 8..10 {
        make(slot).finish(manifest(slot)).unwrap();
        fs::create_dir_all(data.join(DIRECTORY).join(format!("slot-{slot}.wrong"))).unwrap();
    }
    // A crash has left one of them, and another is being written.
    fs::create_dir_all(data.join(DIRECTORY).join("slot-2.unfinished/image")).unwrap();
    let written_meanwhile = make(4);
    prune(&data.join(DIRECTORY));
    assert!(written_meanwhile.place().join("image/pages").exists());
    drop(written_meanwhile);
    let names = fs::read_dir(data.join(DIRECTORY)).unwrap().flatten();
    let mut names: Vec<_> = names.map(|item| item.file_name()).collect();
    names.sort();
    assert_eq!(names, ["slot-12", "slot-7", "slot-9", "slot-9.wrong"]);
    let mut bytes = fs::read(newer.place.join(MANIFEST)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(newer.place.join(MANIFEST), bytes).unwrap();
    assert_eq!(newest(&data, "ab", [7; 16]).unwrap().manifest.slot, Slot(9));
    for slot in [9, 7] {
        set_aside(&data.join(DIRECTORY).join(name_of(slot)), "failed").unwrap();
    }
    assert_eq!(newest(&data, "ab", [7; 16]), None);
    fs::remove_dir_all(&data).unwrap();
}
