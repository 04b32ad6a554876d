//! The cell of a daemon that is not root, in a user namespace: its server may not do what its user
//! may do on the host.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crane_test::e2e::group::Group;
use crane_test::e2e::machine::{Machine, skip};
use crane_test::e2e::nobody::command_of_nobody;
use crane_test::e2e::program;
use crane_test::e2e::wait::{START, eventually};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::escapes::{NEWUSER, connect_to, connect_unix, shared};
use crate::wall::ask;

/// Returns a command that runs as Debian's `nobody`.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    command
}

/// A terminal of nobody's, on the host.
struct Terminal {
    child: Child,
    path: String,
}

impl Terminal {
    fn open() -> Self {
        let mut command = as_nobody(Path::new("script"));
        command.args(["-qfc", "tty; exec sleep 300", "/dev/null"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("script(1)");
        let mut path = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut path).unwrap();
        Self { child, path: path.trim_end().to_owned() }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Something of the host's that everyone may use; removed when dropped.
struct OfAll(PathBuf);

impl OfAll {
    fn new(directory: &Path, name: &str) -> Self {
        let path = directory.join(format!("crane-of-all-{}-{name}", std::process::id()));
        fs::write(&path, "of all").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        Self(path)
    }

    fn open(&self) -> String {
        format!("2 s:{} 2", self.0.display())
    }
}

impl Drop for OfAll {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs a replica as `nobody`, whose server makes calls that work natively for that user.
#[test]
fn an_unprivileged_server_is_kept_from_what_its_user_may_do() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let machine = Machine::take("unprivileged");
    let folder = machine.folder();
    let program = program::compiled(folder, "escapes", &[]);
    let base = program.base.clone();
    let root_s = base.join("set-user-id");
    fs::copy(base.join("escapes"), &root_s).unwrap();
    fs::set_permissions(&root_s, fs::Permissions::from_mode(0o4755)).unwrap();
    let in_base = OfAll::new(&base, "file");
    let native = folder.join("native");
    fs::copy(base.join("escapes"), &native).unwrap();
    let group = Group::prepare(&machine, program, 1, &[]);
    let [in_tmp, in_memory, socket] = [("/tmp", "file"), ("/dev/shm", "file"), ("/tmp", "socket")]
        .map(|(directory, name)| OfAll::new(Path::new(directory), name));
    fs::remove_file(&socket.0).unwrap();
    let _listener = UnixListener::bind(&socket.0).unwrap();
    fs::set_permissions(&socket.0, fs::Permissions::from_mode(0o777)).unwrap();
    let name = folder.display().to_string();
    let _abstract = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
    let terminal = Terminal::open();

    let mut child = command_of_nobody(&group, 1).spawn().unwrap();
    // Before the calls of the server take the place of this warning.
    let last_error = eventually("a server", START, || {
        let status = group.status()?;
        let replica = status.replica(1);
        replica.server_pid.ok_or("no server yet")?;
        Ok::<_, String>(replica.last_error.to_string())
    });
    let permitted = !last_error.contains("shares this host's");
    let answer = |calls: &str| eventually("an answer", START, || ask(group.address(1), calls));
    let (daemon, data) = (child.id(), group.data(1));
    let control = data.join("run/control.sock").display().to_string();
    let open = |path: &Path, how: i32| format!("2 s:{} {how}", path.display());
    let in_proc = |name: &str| PathBuf::from(format!("/proc/{daemon}/{name}"));
    let mut wrong = Vec::new();
    for (name, calls, inside) in [
        ("signal to the daemon", format!("62 {daemon} 0"), Errno::SRCH),
        ("its memory", open(&in_proc("mem"), 2), Errno::NOENT),
        ("its root", open(&in_proc("root/etc"), 0), Errno::NOENT),
        ("its environment", open(&in_proc("environ"), 0), Errno::NOENT),
        ("the data directory", open(&data.join("meta"), 2), Errno::NOENT),
        ("its control socket", connect_unix(false, &control), Errno::NOENT),
        ("the library", open(&data.join("run/preload.so"), 2), Errno::ROFS),
        ("the port of the peers", connect_to(group.peer_address(1)), Errno::CONNREFUSED),
        ("a file of the base", in_base.open(), Errno::ROFS),
        ("a file in /tmp", in_tmp.open(), Errno::NOENT),
        ("a file in /dev/shm", in_memory.open(), Errno::NOENT),
        ("a socket", connect_unix(false, &socket.0.display().to_string()), Errno::NOENT),
        ("an abstract socket", connect_unix(true, &name), Errno::CONNREFUSED),
        ("a terminal", open(Path::new(&terminal.path), 0o402), Errno::NOENT),
        ("the devices of the kernel", open(Path::new("/sys/kernel"), 0), Errno::NOENT),
        ("a namespace of users", format!("272 {NEWUSER}"), Errno::PERM),
        ("ptrace", "101 0".to_owned(), Errno::PERM),
        ("a hole in memory", shared("285 200 3 0 4096"), Errno::OPNOTSUPP),
    ] {
        let output = as_nobody(&native).args(["try", &calls]).output().unwrap();
        let natively = String::from_utf8_lossy(&output.stdout).into_owned();
        let inside = format!("{} 0", inside.raw_os_error());
        let seen = answer(&calls);
        println!("{name}: {calls}: in the cell {seen}, natively {natively}");
        if !natively.starts_with("0 ") || permitted && seen != inside {
            wrong.push(format!("{name}: {seen}, expected {inside}; natively {natively}"));
        }
    }
    // Nothing but the program itself is needed to become root, and its rights are not given.
    let as_root = format!("!{} 107", root_s.display());
    let output = as_nobody(&native).args(["try", &as_root]).output().unwrap();
    let [natively, inside] =
        [String::from_utf8_lossy(&output.stdout).trim_end().to_owned(), answer(&as_root)];
    let writable = ["made", "/tmp/made", "/var/tmp/made", "/run/made", "/dev/shm/made"]
        .map(|path| (path, answer(&format!("2 s:{path} 66 0644"))));
    let own_devices = ["/dev/null", "/dev/urandom", "/dev/ptmx"]
        .map(|path| (path, answer(&format!("2 s:{path} 2"))));
    let on_the_disk = data.join("mounts/tmp/made").exists();
    let daemon = Pid::from_raw(i32::try_from(daemon).unwrap()).unwrap();
    kill_process(daemon, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Only now: a daemon that is left would keep the test's output open.
    assert!(wrong.is_empty(), "{} rows:\n{}\n{last_error}", wrong.len(), wrong.join("\n"));
    assert_eq!([&*natively, &*inside], ["0 0", "0 65534"], "a program of root's, set-user-id");
    for (path, seen) in writable.iter().chain(&own_devices) {
        assert!(seen.starts_with("0 "), "{path}: {seen}");
    }
    assert!(!permitted || on_the_disk, "its /tmp is in memory");
}
