//! The table of escapes: ways out of the cell that a server tries as root, by system calls that no
//! library sees. None works, and each has a control outside of a cell.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crane_test::e2e::alarm::NO_FLOOR;
use crane_test::e2e::group::Group;
use crane_test::e2e::machine::{Machine, skip};
use crane_test::e2e::program;
use crane_test::e2e::wait::{SOON, eventually};
use rustix::io::Errno;

use crate::wall::ask;

/// The same calls outside of a cell, natively.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Control {
    /// They work in namespaces of their own, as root.
    Works,
    /// They work on the host, as root.
    WorksOnHost,
    /// They fail with another error, which comes from further behind in the kernel.
    FailsElse,
    /// They are not made, because they would do this to the machine of the test.
    NotTried(&'static str),
    /// They are not made: not every kernel has what they ask for.
    Optional,
}

use Control::{FailsElse, NotTried, Optional, Works, WorksOnHost};

/// One way out.
struct Escape {
    name: &'static str,
    /// The calls, as `programs/escapes.c` reads them.
    calls: String,
    /// The answer in the cell: an error, or how many bytes are read.
    answer: Result<i64, Errno>,
    control: Control,
}

// Numbers of the kernel's.
const RDWR: i32 = 2;
pub(crate) const NEWUSER: i32 = 0x1000_0000;

/// `FS_IOC_UNRESVSP64`, and a `struct space_resv` of the first 4096 bytes.
const XFS: &str = "0x4030582b x:000000000000000000000000000000000010000000000000\
    000000000000000000000000000000000000000000000000";

/// Returns calls behind those that make memory of 65536 bytes and share it as descriptor 200.
pub(crate) fn shared(calls: &str) -> String {
    format!("319 s:crane 2; 33 r 200; 77 200 65536; {calls}")
}

/// Places of the host.
struct Places {
    folder: PathBuf,
    data: PathBuf,
    other_data: PathBuf,
    peer: SocketAddr,
    daemon: u32,
}

fn unix_name(abstract_name: bool, name: &str) -> String {
    let mut text = String::from("0100");
    if abstract_name {
        text.push_str("00");
    }
    name.bytes().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    text
}

/// Returns the calls that connect to a Unix socket.
pub(crate) fn connect_unix(abstract_name: bool, name: &str) -> String {
    let address = unix_name(abstract_name, name);
    // A path ends with a zero byte, which the buffer of the address has.
    let bytes = address.len() / 2 + usize::from(!abstract_name);
    format!("41 1 1 0; 42 r x:{address}00 {bytes}")
}

/// Returns the calls that connect to an IPv4 address.
pub(crate) fn connect_to(address: SocketAddr) -> String {
    let IpAddr::V4(ip) = address.ip() else { panic!("{address}") };
    let [a, b, c, d] = ip.octets();
    let port = address.port();
    format!("41 2 1 0; 42 r x:0200{port:04x}{a:02x}{b:02x}{c:02x}{d:02x}0000000000000000 16")
}

/// The rows that open a file, by its path and how.
fn files(places: &Places) -> Vec<Escape> {
    let Places { folder, data, other_data, daemon, .. } = places;
    let row = |name, path: String, flags: i32, errno, control| {
        let calls = format!("2 s:{path} {flags}");
        Escape { name, calls, answer: Err(errno), control }
    };
    let file = |name, path: &str, flags, errno, control| {
        row(name, path.to_string(), flags, errno, control)
    };
    let read = |name, path: &str, control| {
        let calls = format!("2 s:{path} 0; 0 r @ 64");
        Escape { name, calls, answer: Ok(0), control }
    };
    vec![
        file("core_pattern", "/proc/sys/kernel/core_pattern", RDWR, Errno::ROFS, Works),
        file("caches", "/proc/sys/vm/drop_caches", 1, Errno::ROFS, Works),
        file("sysctl of the network", "/proc/sys/net/ipv4/ip_forward", RDWR, Errno::ROFS, Works),
        file("sysrq", "/proc/sysrq-trigger", 1, Errno::ROFS, Optional),
        file("interrupts", "/proc/irq/default_smp_affinity", RDWR, Errno::ROFS, Optional),
        file("sysfs", "/sys/kernel/mm/transparent_hugepage/enabled", 1, Errno::NOENT, Works),
        file("release_agent", "/sys/fs/cgroup/release_agent", 1, Errno::NOENT, Optional),
        file("control group", "/sys/fs/cgroup/cgroup.procs", 1, Errno::NOENT, Optional),
        file("kernel's memory", "/dev/mem", RDWR, Errno::NOENT, Optional),
        file("kernel's log", "/dev/kmsg", RDWR, Errno::NOENT, Works),
        file("disk of the host", "/dev/vda", RDWR, Errno::NOENT, Optional),
        row(
            "device on the host's disk",
            folder.join("zero").display().to_string(),
            0,
            Errno::ACCESS,
            Works,
        ),
        read("passwords", "/etc/shadow", Works),
        read("kernel's core", "/proc/kcore", Optional),
        file("init's memory", "/proc/1/mem", RDWR, Errno::ACCESS, Works),
        file("init's root", "/proc/1/root/etc", 0, Errno::ACCESS, Works),
        file("init's directory", "/proc/1/cwd", 0, Errno::ACCESS, Works),
        file("init's environment", "/proc/1/environ", 0, Errno::ACCESS, Works),
        // CVE-2019-5736.
        file("program of the daemon", "/proc/1/exe", 1, Errno::ACCESS, FailsElse),
        row(
            "root of a host's process",
            format!("/proc/{daemon}/root/etc"),
            0,
            Errno::NOENT,
            WorksOnHost,
        ),
        row(
            "memory of a host's process",
            format!("/proc/{daemon}/mem"),
            RDWR,
            Errno::NOENT,
            WorksOnHost,
        ),
        row(
            "data directory of another replica",
            data.with_file_name("2").join("meta").display().to_string(),
            0,
            Errno::NOENT,
            Works,
        ),
        row("own data directory", data.join("meta").display().to_string(), 0, Errno::NOENT, Works),
        row(
            "data directory of another group",
            other_data.join("meta").display().to_string(),
            0,
            Errno::NOENT,
            Works,
        ),
    ]
}

/// The rows of calls of all kinds.
fn calls(places: &Places) -> Vec<Escape> {
    let Places { folder, data, peer, daemon, .. } = places;
    let row = |name, calls: &str, errno, control| {
        let calls = calls.to_string();
        Escape { name, calls, answer: Err(errno), control }
    };
    let peer = connect_to(*peer);
    let control = connect_unix(false, &data.join("run/control.sock").display().to_string());
    let socket = connect_unix(false, &folder.join("host.sock").display().to_string());
    let chroot = format!(
        "161 s:/run; 80 s:../../../../../..; 161 s:.; 2 s:{} 0",
        data.join("meta").display()
    );
    vec![
        row("mount of devtmpfs", "165 s:d s:/mnt s:devtmpfs 0 0", Errno::PERM, Works),
        row("mount of proc", "165 s:p s:/mnt s:proc 0 0", Errno::PERM, Works),
        row("bind mount", "165 s:/ s:/mnt s: 4096 0", Errno::PERM, Works),
        row("writable /proc/sys", "165 s: s:/proc/sys s: 4128 0", Errno::PERM, FailsElse),
        row("unmount of /proc/sys", "166 s:/proc/sys 2", Errno::PERM, FailsElse),
        row("mount by descriptors", "430 s:tmpfs 0", Errno::PERM, Works),
        row("pivot_root", "155 s:. s:.", Errno::PERM, FailsElse),
        row("namespace of users", &format!("272 {NEWUSER}"), Errno::PERM, Works),
        row("namespace of mounts", "272 0x20000", Errno::PERM, Works),
        row("clone3", "435 0 0", Errno::NOSYS, FailsElse),
        row("setns", "2 s:/proc/self/ns/net 0; 308 r 0", Errno::PERM, Works),
        row("device node", "133 s:./disk 0x61b0 0x700; 87 s:./disk", Errno::PERM, Works),
        row("file handle", "304 -100 h 0", Errno::PERM, FailsElse),
        row("raw socket", "41 2 3 1", Errno::PERM, Works),
        row("packet socket", "41 17 3 0", Errno::PERM, Works),
        row("port of the peers", &peer, Errno::CONNREFUSED, WorksOnHost),
        row("control socket", &control, Errno::NOENT, WorksOnHost),
        row("socket of the host", &socket, Errno::CONNREFUSED, WorksOnHost),
        row(
            "abstract socket of the host",
            &connect_unix(true, &folder.display().to_string()),
            Errno::CONNREFUSED,
            WorksOnHost,
        ),
        row("signal to a host's process", &format!("62 {daemon} 0"), Errno::SRCH, WorksOnHost),
        row("ptrace", "101 0", Errno::PERM, Works),
        row("memory of init", "310 1 v 1 v 1 0", Errno::PERM, Works),
        row("namespaces of init", "89 s:/proc/1/ns/net @ 64", Errno::ACCESS, Works),
        row("descriptors of init", "434 1 0; 438 r 0 0", Errno::PERM, Works),
        row("region shrunk", "77 16384 0", Errno::PERM, FailsElse),
        row("region grown", "77 16384 0x40000000", Errno::PERM, FailsElse),
        row("region unsealed", "72 16384 1033 0", Errno::PERM, FailsElse),
        row("hole in the region", "285 16384 3 0 4096", Errno::OPNOTSUPP, FailsElse),
        row("hole in the region, by XFS", &format!("16 16384 {XFS}"), Errno::OPNOTSUPP, FailsElse),
        row("hole in memory", &shared("285 200 3 0 4096"), Errno::OPNOTSUPP, Works),
        row("hole in memory, by XFS", &shared(&format!("16 200 {XFS}")), Errno::OPNOTSUPP, Works),
        row(
            "pages of mapped memory",
            &shared("9 0 65536 3 1 200 0; 28 r 65536 9"),
            Errno::OPNOTSUPP,
            Works,
        ),
        row("pages by an own handle", "39; 434 r 0; 440 r v 1 9 0", Errno::OPNOTSUPP, FailsElse),
        row("region opened and cut", "2 s:/proc/self/fd/16384 514", Errno::PERM, FailsElse),
        row("quotas", "179 0x80000400 0 0 0", Errno::PERM, FailsElse),
        row("quotas by a descriptor", "443 0 0x80000400 0 0", Errno::PERM, FailsElse),
        row("server of NFS", "180 0 0 0", Errno::NOSYS, Optional),
        row("kexec", "246 0 0 0 0", Errno::NOSYS, NotTried("replaces the kernel")),
        row("module", "175 0 0 0", Errno::PERM, NotTried("loads a module")),
        row("bpf", "321 0 @ 128", Errno::NOSYS, FailsElse),
        row("perf", "298 @ 0 -1 -1 0", Errno::NOSYS, Optional),
        row("keyring of the session", "250 0 -3 1", Errno::NOSYS, Works),
        row("new key", "248 s:user s:crane @ 8 -1", Errno::NOSYS, Works),
        row("io_uring", "425 1 @", Errno::NOSYS, Optional),
        row("kernel's messages", "103 3 @ 64", Errno::PERM, Works),
        row("ports of devices", "172 3", Errno::PERM, Optional),
        row("port of a device", "173 0x80 1 1", Errno::PERM, Optional),
        row("reboot", "169 0xfee1dead 672274793 0", Errno::PERM, NotTried("sets Ctrl-Alt-Del")),
        row("swap", "167 s:./no-swap 0", Errno::PERM, FailsElse),
        row("time of day", "164 0 0", Errno::PERM, NotTried("sets the time")),
        row("clock", "227 0 @", Errno::PERM, NotTried("sets the clock to 1970")),
        row("host name", "170 s:stolen 6", Errno::PERM, Works),
        row("accounting", "163 s:./accounts", Errno::PERM, NotTried("records the processes")),
        row("watch of a file system", "300 4 0", Errno::PERM, Works),
        row(
            "input of a terminal",
            "2 s:/dev/tty 2; 16 r 0x5412 s:x",
            Errno::NXIO,
            NotTried("types"),
        ),
        row("priority", "141 0 0 -20", Errno::ACCESS, Works),
        row("call of x32", "0x40000027", Errno::NOSYS, Optional),
        // Last: it moves the root of its process to and fro.
        row("chroot", &chroot, Errno::NOENT, WorksOnHost),
    ]
}

/// Makes the calls of a row natively, and returns its answer.
fn natively(program: &Path, escape: &Escape) -> Option<(i32, i64)> {
    let mut command = match escape.control {
        NotTried(_) | Optional => return None,
        WorksOnHost => Command::new(program),
        Works | FailsElse => {
            let mut command = Command::new("unshare");
            command.args(["-m", "-n", "-p", "-u", "-i", "-f", "--mount-proc", "--"]).arg(program);
            command
        }
    };
    let scratch = program.with_file_name("scratch");
    fs::create_dir_all(&scratch).unwrap();
    let output = command.args(["try", &escape.calls]).current_dir(&scratch).output().unwrap();
    Some(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(answer: &str) -> (i32, i64) {
    let words = answer.trim().split_once(' ');
    let words = words.unwrap_or_else(|| panic!("the answer {answer:?}"));
    (words.0.parse().expect("an error number"), words.1.parse().expect("a result"))
}

#[test]
fn no_escape_works() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root gives a cell that is worth leaving");
    }
    let machine = Machine::take("escapes");
    let folder = machine.folder().to_path_buf();
    let other = machine.share("another-group");
    let program = program::compiled(&folder, "escapes", &[]);
    // A copy: the base may not change.
    let native = folder.join("native");
    fs::create_dir_all(&native).unwrap();
    let native = native.join("escapes");
    fs::copy(program.base.join("escapes"), &native).unwrap();
    let zero = folder.join("zero");
    let made = Command::new("mknod").arg(&zero).args(["c", "1", "5"]).status().unwrap();
    assert!(made.success());
    let _path = UnixListener::bind(folder.join("host.sock")).unwrap();
    let name = UnixAddr::from_abstract_name(folder.as_os_str().as_encoded_bytes()).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();

    let other_group =
        Group::start(&other, program::compiled(other.folder(), "escapes", &[]), 1, &[]);
    // A floor would answer some of the calls before the cell does.
    let group = Group::start(&machine, program, 2, &[NO_FLOOR]);
    let places = Places {
        folder,
        data: group.data(1),
        other_data: other_group.data(1),
        peer: group.peer_address(2),
        daemon: group.daemon(1).expect("a daemon"),
    };
    let mut wrong = Vec::new();
    let escapes: Vec<Escape> = files(&places).into_iter().chain(calls(&places)).collect();
    for escape in &escapes {
        let Escape { name, calls, answer, control } = escape;
        let (errno, result) = parse(&ask(group.address(1), calls).unwrap());
        let seen = if errno == 0 { Ok(result) } else { Err(Errno::from_raw_os_error(errno)) };
        let native = natively(&native, escape);
        println!("{name}: {calls}: in the cell {seen:?}, natively {native:?} ({control:?})");
        let is_as_controlled = match (control, native, answer) {
            (NotTried(_) | Optional, ..) => true,
            // Nothing is read of a secret in the cell.
            (Works | WorksOnHost, Some((0, read)), Ok(nothing)) => read > *nothing,
            (Works | WorksOnHost, Some((0, _)), Err(_)) => true,
            (FailsElse, Some((errno, _)), Err(expected)) => errno != expected.raw_os_error(),
            _ => false,
        };
        let absent = [Err(Errno::NOSYS), Err(Errno::NOENT)].contains(&seen);
        let is_refused = seen == *answer || *control == Optional && absent;
        if !is_refused || !is_as_controlled {
            wrong.push(format!("{name}: {seen:?}, expected {answer:?}; natively {native:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert!(escapes.len() >= 60, "{} rows", escapes.len());
    // The daemons are unharmed, and agree about what their servers did.
    eventually("good health", SOON, || {
        let status = group.status()?;
        status.healthy(2)
    });
    group.await_settled();
    inherited_descriptors(&group);
}

/// Asserts that a server has no descriptor of the daemon's but those that are for it.
fn inherited_descriptors(group: &Group) {
    let server = group.status().unwrap().replica(1).server_pid.expect("a server");
    for item in fs::read_dir(format!("/proc/{server}/fd")).unwrap().flatten() {
        let target = fs::read_link(item.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let is_for_it = [
            "pipe:",
            "socket:",
            "/memfd:crane-region",
            "/memfd:crane-service",
            "/dev/null",
            "anon_inode:",
        ]
        .iter()
        .any(|known| target.starts_with(known));
        // The sockets of its clients, and files that the rows have opened.
        let is_opened =
            ["/proc/self/ns", "net:", "pid:", "/etc/shadow", "/proc", "/dev/pts", "/memfd:crane "]
                .iter()
                .any(|known| target.starts_with(known));
        assert!(is_for_it || is_opened, "{item:?} is {target}");
    }
}
