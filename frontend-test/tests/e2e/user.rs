//! Servers that run as another user than root (`--user`).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::binary::told;
use crane_test::e2e::checkpoints::{are_possible, await_start_from, checkpoint};
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::{Machine, skip};
use crane_test::e2e::nobody::command_of_nobody;
use crane_test::e2e::program::{self, Program};
use crane_test::e2e::wait::{START, eventually};

use crate::incarnations::restart;
use crate::wall::ask;

/// Debian's, with these numbers.
const USER: &str = "nobody:www-data";
const NUMBERS: [u32; 2] = [65534, 33];

/// Returns the program of the table of escapes, in a directory that is the user's.
fn prepared(machine: &Machine) -> Program {
    let program = program::compiled(machine.folder(), "escapes", &[]);
    chown(&program.base, Some(NUMBERS[0]), Some(NUMBERS[1])).unwrap();
    let root_s = program.base.join("set-user-id");
    fs::copy(program.base.join("escapes"), &root_s).unwrap();
    fs::set_permissions(root_s, fs::Permissions::from_mode(0o4755)).unwrap();
    program
}

/// Asserts that a server runs as the user, without any right, and that its files are the user's.
fn check(group: &Group, id: u8) {
    // O_RDWR and O_CREAT.
    let made = eventually("an answer", START, || ask(group.address(id), "2 s:made 66 0644"));
    assert!(made.starts_with("0 "), "a file in its own directory: {made}");
    for (calls, errno) in [
        // A file of root's, the port of another's service, and root's number.
        ("2 s:/etc/passwd 1", "13 0"),
        ("117 0 0 0", "1 0"),
        ("2 s:/dev/stderr 1; 39", "0 2"),
    ] {
        assert_eq!(ask(group.address(id), calls).unwrap(), errno, "{calls}");
    }
    // Which user a program of root's with the set-user-id bit becomes.
    let as_root = format!("!{} 107", group.program().base.join("set-user-id").display());
    let mut natively = Command::new("setpriv");
    natively.args(["--reuid", "65534", "--regid", "33", "--clear-groups"]);
    let natively =
        natively.arg(group.program().base.join("escapes")).args(["try", &as_root]).output();
    assert_eq!(String::from_utf8_lossy(&natively.unwrap().stdout), "0 0\n");
    assert_eq!(ask(group.address(id), &as_root).unwrap(), format!("0 {}", NUMBERS[0]));
    let server = group.status().unwrap().replica(id).server_pid.expect("a server");
    let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let numbers = |name: &str| -> Vec<String> {
        let line = status.lines().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(numbers("Uid:"), [NUMBERS[0].to_string().as_str(); 4]);
    assert_eq!(numbers("Gid:"), [NUMBERS[1].to_string().as_str(); 4]);
    assert_eq!(numbers("Groups:"), [NUMBERS[1].to_string()]);
    for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(numbers(set), ["0000000000000000"], "{set}");
    }
    let base = group.program().base.strip_prefix("/").unwrap();
    let about = fs::metadata(group.upper(id).join(base).join("made")).unwrap();
    assert_eq!([about.uid(), about.gid()], NUMBERS);
}

#[test]
fn a_server_is_of_its_user_from_its_start_through_a_restart_an_upgrade_and_a_checkpoint() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can start a server as another user");
    }
    let machine = Machine::take("user");
    let mut group = Group::start(&machine, prepared(&machine), 3, &["--user", USER]);
    let [backup, other] = [0, 1]
        .map(|nth| group.ids().filter(|id| *id != group.primary()).nth(nth).expect("a backup"));
    check(&group, backup);
    if are_possible(machine.folder()) {
        let (_, slot) = checkpoint(&group, backup).unwrap();
        group.kill(backup);
        group.start_replica(backup);
        await_start_from(&group, backup, |from| from == slot);
        check(&group, backup);
    }
    restart(&group);
    check(&group, backup);
    let mut line = vec!["upgrade".to_owned()];
    line.extend(group.reached());
    line.push("--".to_owned());
    line.extend(group.program().command.iter().cloned());
    told(&line, &group.program().base).unwrap();
    check(&group, other);
    group.await_settled();

    // Another user is another base.
    group.stop_replica(backup);
    group.options_mut()[1] = "nobody".to_string();
    let output = group.refused(backup);
    let text = String::from_utf8_lossy(&output.stderr);
    let named = "number of the group of user nobody";
    assert!(!output.status.success() && text.contains(named), "{text}");
}

#[test]
fn a_user_that_cannot_be_is_refused_by_name() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let machine = Machine::take("users");
    let mut group = Group::prepare(&machine, prepared(&machine), 1, &["--user", "nobody"]);
    let refused = |mut command: Command| {
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        text
    };
    let text = refused(command_of_nobody(&group, 1));
    assert!(text.contains("--user nobody: only root starts a server as another user"), "{text}");
    for (user, named) in
        [("nobody-else", "no user \"nobody-else\""), ("root:nowhere", "no group \"nowhere\"")]
    {
        group.options_mut()[1] = user.to_string();
        let mut command = Command::new(crane_linux());
        command.args(group.arguments(1)).current_dir(&group.program().base);
        let text = refused(command);
        assert!(text.contains(named) && text.contains("useradd"), "{text}");
    }
}
