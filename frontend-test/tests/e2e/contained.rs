//! The daemon's own work in a cell, with all rights: it follows no link of the server's, and
//! executes none of its programs.

use std::fs::{self, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use crane_test::e2e::checkpoints::{are_possible, checkpoint, return_from};
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::{Machine, skip};
use crane_test::e2e::program;
use crane_test::e2e::wait::{START, eventually};

use crate::incarnations::restart;
use crate::wall::ask;

/// Has each server make calls, all of which must work. Returns the result of the last.
fn make(group: &Group, calls: &str) -> String {
    let answer = ask(group.address(group.primary()), calls).unwrap();
    answer.strip_prefix("0 ").unwrap_or_else(|| panic!("{calls}: {answer}")).to_string()
}

/// Has each server write a file, which is executable.
fn write(group: &Group, path: &str, text: &str) {
    let bytes: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    // O_WRONLY, O_CREAT and O_TRUNC.
    let file = make(group, &format!("2 s:{path} 577 0755"));
    make(group, &format!("1 {file} x:{bytes} {}; 3 {file}", text.len()));
}

/// A server puts a link to a directory of the host in the place of its /tmp, before a restart on
/// its files.
#[test]
fn a_link_of_the_servers_is_not_followed_by_a_restart() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root has a layer of its own");
    }
    let machine = Machine::take("links");
    let victim = machine.folder().join("victim");
    fs::create_dir_all(&victim).unwrap();
    let program = program::compiled(machine.folder(), "escapes", &[]);
    let group = Group::start(&machine, program, 1, &[]);
    let about = || fs::metadata(&victim).map(|about| (about.mtime(), about.ctime_nsec())).unwrap();
    fs::File::open(&victim)
        .and_then(|file| file.set_times(FileTimes::new().set_modified(UNIX_EPOCH)))
        .unwrap();
    let before = about();
    make(&group, &format!("84 s:/tmp; 88 s:{} s:/tmp", victim.display()));
    restart(&group);
    eventually("an answer of the next incarnation", START, || {
        ask(group.address(1), "39").map_err(|error| error.to_string())
    });
    let link = group.upper(1).join("tmp");
    assert!(fs::symlink_metadata(link).unwrap().is_symlink(), "the layer was not kept");
    assert_eq!(about(), before, "the host's directory was changed");
}

/// A server leaves options for CRIU, and programs in the place of the host's, before a checkpoint
/// and a start from it.
#[test]
fn no_file_of_the_servers_is_executed_with_the_daemons_rights() {
    let machine = Machine::take("executed");
    if !are_possible(machine.folder()) {
        return;
    }
    let program = program::compiled(machine.folder(), "escapes", &[]);
    let mut group = Group::start(&machine, program, 3, &[]);
    let script = "#!/bin/sh\necho x >>/stolen\n";
    for program in ["/usr/bin/cp", "/usr/bin/mkdir", "/usr/bin/action"] {
        write(&group, program, script);
    }
    make(&group, "83 s:/etc/criu 0755");
    write(&group, "/etc/criu/default.conf", "action-script /usr/bin/action\n");
    // A name that CRIU writes to.
    make(&group, "88 s:/followed s:/run/criu.kdat");
    let backup = group.ids().find(|id| *id != group.primary()).expect("a backup");
    let (_, slot) = checkpoint(&group, backup).unwrap();
    let unharmed = |group: &Group| {
        for name in ["stolen", "followed"] {
            assert!(!group.upper(backup).join(name).exists(), "/{name} was made with all rights");
        }
    };
    unharmed(&group);
    return_from(&mut group, backup, slot);
    unharmed(&group);

    // The restored server is as closed as a fresh one. While CRIU makes it, another process is the
    // first of the cell.
    for (calls, errno) in [("2 s:/proc/sys/kernel/core_pattern 2", 30), ("272 0x10000000", 1)] {
        let answer =
            eventually("an answer of the server", START, || ask(group.address(backup), calls));
        assert_eq!(answer, format!("{errno} 0"), "{calls}");
    }
    let server = group.status().unwrap().replica(backup).server_pid.expect("a server");
    let text = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t00000000a00405fb"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    group.await_settled();
}
