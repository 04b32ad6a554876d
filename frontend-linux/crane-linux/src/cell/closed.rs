//! The closed list of what no process of the cell may do, as a filter of system calls, and the
//! capabilities that a server keeps. specs/CLOSED.md has both for people.
//!
//! The list is small on purpose: these calls reach the host, or other processes, or complete work
//! behind the library's back. Everything else goes to the kernel.

use std::io;

use crane_shm::table::{self, Class, Group};
use libc::{c_long, sock_filter};

use crate::server_user::ServerUser;

/// Calls whose first argument has flags that ask for namespaces: in a user namespace of its own, a
/// process would have every capability again, and much of the kernel open to it.
const SPACES_MADE: [c_long; 2] = [libc::SYS_unshare, libc::SYS_clone];
/// Those flags.
const SPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Calls that can take pages out of a file: the number of the argument that asks for it, and how it
/// does. No seal keeps the shared memory from that without closing it to all writing
/// (memfd_create(2)); a process that touches such a page needs a new one, and is ended where the
/// system has none. File systems without holes have the same answer.
const HOLES: [(c_long, u32, Asks); 5] = [
    (libc::SYS_fallocate, 1, Asks::ByBits(libc::FALLOC_FL_PUNCH_HOLE as u32)),
    (libc::SYS_madvise, 2, Asks::ByValue(libc::MADV_REMOVE as u32)),
    (libc::SYS_process_madvise, 3, Asks::ByValue(libc::MADV_REMOVE as u32)),
    // The older calls of XFS, which the kernel has for all files.
    (libc::SYS_ioctl, 1, Asks::ByValue(FS_IOC_UNRESVSP)),
    (libc::SYS_ioctl, 1, Asks::ByValue(FS_IOC_UNRESVSP64)),
];
/// How an argument asks for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asks {
    /// One of these bits is set.
    ByBits(u32),
    /// It has this value.
    ByValue(u32),
}
/// `libc` has no names for these: `_IOW('X', 41, struct space_resv)` and 43.
const FS_IOC_UNRESVSP: u32 = 0x4030_5829;
const FS_IOC_UNRESVSP64: u32 = 0x4030_582b;

/// Families of sockets that see packets, or leave the cell past its network namespace.
const FAMILIES: [(libc::c_int, libc::c_int); 3] = [
    (libc::AF_PACKET, libc::EPERM),
    (libc::AF_VSOCK, libc::EAFNOSUPPORT),
    (libc::AF_XDP, libc::EAFNOSUPPORT),
];
/// Kinds of Internet sockets that are refused: raw, and the old packet sockets.
const RAW_KINDS: [libc::c_int; 2] = [libc::SOCK_RAW, SOCK_PACKET];
const SOCK_PACKET: libc::c_int = 10;
/// The bits of a socket's kind that are no flags (`SOCK_TYPE_MASK` of the kernel).
const KIND_MASK: u32 = 0xf;
/// The other bits that the kernel does not know: it refuses them with `EINVAL`.
const NO_KIND: u32 = !(KIND_MASK | (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32);

/// Docker's default set without `mknod` and `net_raw`: no list of devices holds a cell, so a device
/// node would be the host's disk; and raw sockets are on the closed list.
const CAPABILITIES_KEPT: [(u32, &str); 12] = [
    (0, "chown"),
    (1, "dac_override"),
    (3, "fowner"),
    (4, "fsetid"),
    (5, "kill"),
    (6, "setgid"),
    (7, "setuid"),
    (8, "setpcap"),
    (10, "net_bind_service"),
    (18, "sys_chroot"),
    (29, "audit_write"),
    (31, "setfcap"),
];
const SETPCAP: u32 = 8;
/// Above every capability of a kernel that we know.
const CAPABILITIES_MAX: u32 = 64;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// `AUDIT_ARCH_X86_64`: EM_X86_64, 64 bits, little endian.
const ARCHITECTURE: u32 = 62 | 0x8000_0000 | 0x4000_0000;
// Offsets in the kernel's `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE_OF_CALL: u32 = 4;
const DOMAIN: u32 = lower_half(0);
const KIND: u32 = lower_half(1);

/// The lower half of an argument: all that are looked at are `int`s, or flags of 32 bits.
const fn lower_half(argument: u32) -> u32 {
    16 + 8 * argument
}

/// Takes from the calling process, and from all that it starts, what the closed list names, and
/// makes it the user's.
///
/// # Errors
/// Returns what the system refused.
pub(super) fn close(user: Option<&ServerUser>) -> Result<(), String> {
    drop_capabilities()?;
    if let Some(user) = user {
        become_user(user)?;
    }
    // SAFETY: prctl with this option touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(failed("no_new_privs"));
    }
    let filter = filter();
    let length = u16::try_from(filter.len()).expect("a filter has at most 4096 instructions");
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // The filter hides nothing from the processor's speculation, so it need not slow it down.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program and its instructions live until the call; the kernel copies them.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) } {
        0 => Ok(()),
        _ => Err(format!(
            "{}; the kernel needs CONFIG_SECCOMP_FILTER, and a container around the cell must \
             permit seccomp(2)",
            failed("the list of closed system calls")
        )),
    }
}

fn failed(what: &str) -> String {
    format!("{what}: {}", io::Error::last_os_error())
}

/// Changes the user and all groups. Another user than root has no capability any more.
fn become_user(user: &ServerUser) -> Result<(), String> {
    let ServerUser { user, group, groups, .. } = user;
    // SAFETY: the kernel reads the live list of this length; the other calls touch no memory.
    let changed = unsafe {
        libc::setgroups(groups.len(), groups.as_ptr()) == 0
            && libc::setresgid(*group, *group, *group) == 0
            && libc::setresuid(*user, *user, *user) == 0
    };
    if changed { Ok(()) } else { Err(failed("--user")) }
}

/// Leaves of the capabilities what is both held and kept. A user without any has none to lose.
fn drop_capabilities() -> Result<(), String> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header { version: CAPABILITY_VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 has a header and two structures of data, which are live.
    let read = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    if read != 0 {
        return Err(failed("capget"));
    }
    if data[0].effective & (1 << SETPCAP) != 0 {
        for number in (0..CAPABILITIES_MAX).filter(|number| !is_kept(*number)) {
            // SAFETY: prctl with this option touches no memory. It refuses numbers that this kernel
            // does not know.
            let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
            let unknown = io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
            if dropped != 0 && !unknown {
                return Err(failed("capability"));
            }
        }
    }
    // SAFETY: prctl with this option touches no memory. Kernels before 4.3 have no ambient set.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    for (half, data) in data.iter_mut().enumerate() {
        let kept = (0..32).filter(|bit| is_kept(half as u32 * 32 + bit));
        let kept = kept.fold(0, |mask, bit| mask | 1 << bit);
        data.permitted &= kept;
        data.effective = data.permitted;
        data.inheritable = 0;
    }
    // SAFETY: as for capget.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(failed("capset")),
    }
}

fn is_kept(number: u32) -> bool {
    CAPABILITIES_KEPT.iter().any(|(kept, _)| *kept == number)
}

/// Returns the calls that are refused whatever their arguments are, with their error numbers.
fn refused() -> impl Iterator<Item = (c_long, libc::c_int)> {
    table::calls().filter_map(|(group, number, _)| match group {
        Group { class: Class::Refused(errno), .. } => Some((number, *errno)),
        _ => None,
    })
}

/// Returns the filter: the first rule that matches decides, and what none matches is allowed.
fn filter() -> Vec<sock_filter> {
    let mut filter = vec![
        load(ARCHITECTURE_OF_CALL),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        refuse(libc::ENOSYS),
        load(NUMBER),
        // Those of x32, too, are above it.
        jump(libc::BPF_JGE, table::NUMBERS as u32, 0, 1),
        refuse(libc::ENOSYS),
    ];
    for (call, errno) in refused() {
        filter.extend([jump(libc::BPF_JEQ, call as u32, 0, 1), refuse(errno)]);
    }
    for call in SPACES_MADE {
        filter.extend([
            jump(libc::BPF_JEQ, call as u32, 0, 4),
            load(DOMAIN),
            jump(libc::BPF_JSET, SPACES, 0, 1),
            refuse(libc::EPERM),
            allow(),
        ]);
    }
    for (call, argument, asks) in HOLES {
        let (compare, value) = match asks {
            Asks::ByBits(bits) => (libc::BPF_JSET, bits),
            Asks::ByValue(value) => (libc::BPF_JEQ, value),
        };
        filter.extend([
            jump(libc::BPF_JEQ, call as u32, 0, 4),
            load(lower_half(argument)),
            jump(compare, value, 0, 1),
            refuse(libc::EOPNOTSUPP),
            // The same call may be in the table again.
            load(NUMBER),
        ]);
    }
    filter.extend([jump(libc::BPF_JEQ, libc::SYS_socket as u32, 1, 0), allow(), load(DOMAIN)]);
    for (family, errno) in FAMILIES {
        filter.extend([jump(libc::BPF_JEQ, family as u32, 0, 1), refuse(errno)]);
    }
    // Other families have harmless sockets of these kinds, such as netlink's.
    filter.extend([
        jump(libc::BPF_JEQ, libc::AF_INET as u32, 2, 0),
        jump(libc::BPF_JEQ, libc::AF_INET6 as u32, 1, 0),
        allow(),
        load(KIND),
        jump(libc::BPF_JSET, NO_KIND, 0, 1),
        allow(),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, KIND_MASK),
    ]);
    for kind in RAW_KINDS {
        filter.extend([jump(libc::BPF_JEQ, kind as u32, 0, 1), refuse(libc::EPERM)]);
    }
    filter.push(allow());
    filter
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn refuse(errno: libc::c_int) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn allow() -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Compares, and skips `jt` instructions if it holds, else `jf`.
fn jump(compare: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | compare | libc::BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel does; only the instructions that it uses.
    fn answer(architecture: u32, number: u32, arguments: &[u32]) -> u32 {
        let filter = filter();
        let (mut place, mut value) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = filter[place];
            place += 1;
            let mut go = |holds: bool| place += usize::from(if holds { jt } else { jf });
            match u32::from(code) {
                code if code == u32::from(load(0).code) => {
                    value = match k {
                        NUMBER => number,
                        ARCHITECTURE_OF_CALL => architecture,
                        other => arguments[(other as usize - 16) / 8],
                    }
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ => go(value == k),
                code if code == libc::BPF_JMP | libc::BPF_JGE => go(value >= k),
                code if code == libc::BPF_JMP | libc::BPF_JSET => go(value & k != 0),
                code if code == libc::BPF_ALU | libc::BPF_AND => value &= k,
                code if code == libc::BPF_RET => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn errno<const N: usize>(number: c_long, arguments: [libc::c_int; N]) -> libc::c_int {
        let answer = answer(ARCHITECTURE, number as u32, &arguments.map(|word| word as u32));
        match answer {
            libc::SECCOMP_RET_ALLOW => 0,
            answer => (answer & libc::SECCOMP_RET_DATA) as libc::c_int,
        }
    }

    #[test]
    fn exactly_the_closed_list_is_refused() {
        for number in 0..1024 {
            // No kernel has a call of a number in the gap.
            let is_in_gap = number < table::NUMBERS && table::group(number).is_none();
            let expected = table::refusal(number).filter(|_| !is_in_gap).unwrap_or(0);
            assert_eq!(errno(number, [0; 6]), expected, "call {number}");
        }
        let x32 = errno(libc::SYS_read | 0x4000_0000, [0, 0]);
        assert_eq!(x32, libc::ENOSYS);
        let i386 = 3 | 0x4000_0000;
        assert_eq!(answer(i386, 1, &[0, 0]), libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    }

    #[test]
    fn new_namespaces_are_refused_and_other_uses_are_not() {
        for call in SPACES_MADE {
            for flags in [libc::CLONE_NEWUSER, libc::CLONE_NEWNET | libc::CLONE_FS] {
                assert_eq!(errno(call, [flags, 0]), libc::EPERM);
            }
            // Those of fork, of a thread, and what samba asks of unshare.
            let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SETTLS;
            for flags in [libc::SIGCHLD, thread, libc::CLONE_FS | libc::CLONE_FILES] {
                assert_eq!(errno(call, [flags, 0]), 0);
            }
        }
    }

    #[test]
    fn holes_are_refused_and_other_uses_are_not() {
        let (keep, punch) = (libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_PUNCH_HOLE);
        for mode in [keep | punch, punch] {
            assert_eq!(errno(libc::SYS_fallocate, [3, mode, 0, 4096]), libc::EOPNOTSUPP);
        }
        for mode in [0, keep, libc::FALLOC_FL_ZERO_RANGE | keep] {
            assert_eq!(errno(libc::SYS_fallocate, [3, mode, 0, 4096]), 0);
        }
        for (advice, expected) in
            [(libc::MADV_REMOVE, libc::EOPNOTSUPP), (libc::MADV_DONTNEED, 0), (libc::MADV_FREE, 0)]
        {
            assert_eq!(errno(libc::SYS_madvise, [4096, 4096, advice]), expected);
            assert_eq!(errno(libc::SYS_process_madvise, [3, 4096, 1, advice, 0]), expected);
        }
        let ioctl = |order: u32| errno(libc::SYS_ioctl, [3, order as libc::c_int, 0]);
        for order in [FS_IOC_UNRESVSP, FS_IOC_UNRESVSP64] {
            assert_eq!(ioctl(order), libc::EOPNOTSUPP);
        }
        assert_eq!([ioctl(libc::FIONREAD as u32), ioctl(libc::TCGETS as u32)], [0, 0]);
    }

    #[test]
    fn raw_and_packet_sockets_are_refused_and_no_others() {
        let socket = |domain, kind| errno(libc::SYS_socket, [domain, kind]);
        for family in [libc::AF_INET, libc::AF_INET6] {
            assert_eq!(socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC), libc::EPERM);
            assert_eq!(socket(family, SOCK_PACKET), libc::EPERM);
            assert_eq!(socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK), 0);
            assert_eq!(socket(family, libc::SOCK_DGRAM), 0);
            // The kernel has the error for it.
            assert_eq!(socket(family, 0x60 | libc::SOCK_RAW), 0);
        }
        assert_eq!(socket(libc::AF_PACKET, libc::SOCK_DGRAM), libc::EPERM);
        assert_eq!(socket(libc::AF_VSOCK, libc::SOCK_STREAM), libc::EAFNOSUPPORT);
        assert_eq!(socket(libc::AF_NETLINK, libc::SOCK_RAW), 0);
        assert_eq!(socket(libc::AF_UNIX, libc::SOCK_STREAM), 0);
    }

    #[test]
    fn the_specification_names_every_call_and_capability() {
        let text = include_str!("../../../../specs/CLOSED.md");
        let numbers: Vec<c_long> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
            .collect();
        let mut here: Vec<c_long> = refused().map(|(number, _)| number).collect();
        here.sort_unstable();
        assert_eq!(numbers, here);
        assert!(text.contains(&format!("Calls from {} on", table::NUMBERS)));
        for (_, name) in CAPABILITIES_KEPT {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }
}
