//! Large working directories, and mounts below them.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::{Machine, skip};
use crane_test::e2e::program::{self, Program};
use crane_test::e2e::wait::{START, eventually};
use rustix::process::{Pid, Signal, kill_process};

use crate::wall::ask;

/// More files than a handshake can name one by one. (specs/LIMITS.md has the times for 50 000.)
const FILES: usize = 5000;

#[test]
fn a_change_of_any_of_five_thousand_files_is_refused_by_folder() {
    let machine = Machine::take("many-files");
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let files = program.base.join("data");
    fs::create_dir(&files).unwrap();
    for number in 0..FILES {
        fs::write(files.join(format!("{number}")), number.to_string()).unwrap();
        fs::write(program.base.join(format!("top-{number}")), "x").unwrap();
    }
    let mut group = Group::start(&machine, program, 1, &[]);
    let asked = format!("file data/{}", FILES - 1);
    assert_eq!(ask(group.address(1), &asked).unwrap(), (FILES - 1).to_string());
    group.stop_replica(1);
    let moment = Instant::now();
    group.start_all();
    println!("{} files: served {:.0?} after the second start", 2 * FILES, moment.elapsed());
    group.stop_replica(1);
    for (name, named) in [("data/4999", "files directly in data"), ("top-4999", "directly in .")] {
        let path = group.program().base.join(name);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let content = fs::read(&path).unwrap();
        let put = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(before).unwrap();
        };
        put(&vec![b'#'; content.len()]);
        let output = group.refused(1);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(named), "{name}: {text}");
        put(&content);
    }
    group.start_all();
}

/// Starts crane with its events in a file of the working directory, as `>> events.log 2>&1` does.
fn start_with_events_beside(program: &Program, arguments: &[String]) -> Child {
    let path = program.base.join("events.log");
    let events = File::options().create(true).append(true).open(path).unwrap();
    let mut command = Command::new(crane_linux());
    command.args(arguments).current_dir(&program.base).stdin(Stdio::null());
    command.stdout(events.try_clone().unwrap()).stderr(events).spawn().unwrap()
}

#[test]
fn events_in_a_file_of_the_working_directory_are_no_part_of_the_base() {
    let machine = Machine::take("events-beside");
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let group = Group::prepare(&machine, program, 1, &[]);
    let mut local: Vec<String> = ["--local", "3", "--data-dir"].map(str::to_owned).into();
    local.push(machine.folder().join("local").display().to_string());
    local.push("--".to_owned());
    local.extend(group.program().command.iter().cloned());
    let at_home = (Ipv4Addr::LOCALHOST, group.program().port).into();
    for (arguments, address) in [(group.arguments(1), group.address(1)), (local, at_home)] {
        // The second time, the file has the events of the first.
        for _ in 0..2 {
            let mut child = start_with_events_beside(group.program(), &arguments);
            let answer = eventually("an answer", START, || ask(address, "file events.log"));
            // ENOENT.
            assert_eq!(answer, "2");
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            assert!(child.wait().unwrap().success());
        }
    }
    let events = fs::read_to_string(group.program().base.join("events.log")).unwrap();
    assert!(events.contains("events.log gets this command's output"), "{events}");
}

/// A mount, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(words: &[&str], place: &Path) -> Self {
        let done = Command::new("mount").args(words).arg(place).status().unwrap();
        assert!(done.success(), "mount {words:?}");
        Self(place.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_mount_below_the_working_directory_is_served_or_refused_by_name() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can mount");
    }
    let machine = Machine::take("mounts");
    let program = program::compiled(machine.folder(), "outsider", &[]);
    let place = program.base.join("uploads");
    fs::create_dir(&place).unwrap();
    let other = Mounted::new(&["-t", "tmpfs", "none"], &place);
    fs::write(place.join("file"), "on another file system\n").unwrap();
    let mut group = Group::start(&machine, program, 1, &[]);
    let address = group.address(1);
    let text = eventually("an answer", START, || ask(address, "file uploads/file"));
    assert_eq!(text, "on another file system");
    group.stop();
    drop(other);

    let _kernel = Mounted::new(&["-t", "proc", "none"], &place);
    let output = group.refused(1);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("uploads lies below the working directory"), "{text}");
    assert!(text.contains("unmount it"), "{text}");
}
