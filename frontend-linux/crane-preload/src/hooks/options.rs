//! Options of sockets: getsockopt, setsockopt. The stand-in has the options of a real socket. This
//! file handles the options that affect waiting and closing, and those whose answer is not the
//! stand-in's.

use std::ffi::{c_int, c_void};

use crane_shm::sys;
use libc::socklen_t;

use super::transfer::{begin_at, report_reset};
use crate::descriptors::{Description, DescriptionKind, TableEntry};
use crate::errno;
use crate::turn::Call;
use crate::world::World;

/// The options that a connection inherits from its listener, with a value of at most 8 bytes.
const INHERITED: [(c_int, c_int); 12] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::SOL_SOCKET, libc::SO_PRIORITY),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_CORK),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
];

/// Returns whether `SO_REUSEPORT` is set.
pub(super) fn shares_port(description: &Description) -> bool {
    let option = (libc::SOL_SOCKET, libc::SO_REUSEPORT);
    INHERITED
        .iter()
        .position(|known| *known == option)
        .is_some_and(|at| description.options >> at & 1 == 1)
}

/// The states of a connection in `TCP_INFO` (the kernel's `tcp_states.h`).
const ESTABLISHED: u8 = 1;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;

/// Gives the stand-in `accepted` the options of the listener behind `descriptor`.
pub(super) fn inherit(listener: &Description, descriptor: c_int, accepted: c_int) {
    let set = INHERITED.iter().enumerate().filter(|(at, _)| listener.options >> at & 1 == 1);
    for (_, &(level, option)) in set {
        let (mut value, mut length) = (0_u64, size_of::<u64>() as socklen_t);
        let (l, o, v) = (level as usize, option as usize, &raw mut value as usize);
        let get = [descriptor as usize, l, o, v, &raw mut length as usize, 0];
        // SAFETY: places for the value and its length.
        if sys::checked(unsafe { sys::syscall(libc::SYS_getsockopt, get) }).is_ok() {
            let set = [accepted as usize, l, o, v, length as usize, 0];
            // SAFETY: as above. An option that the one has the other has, too.
            unsafe { sys::syscall(libc::SYS_setsockopt, set) };
        }
    }
}

/// Returns a duration in the form of `SO_RCVTIMEO`, in nanoseconds.
///
/// # Safety
/// `value` leads to `length` bytes.
unsafe fn timeout(value: *const c_void, length: socklen_t) -> Option<u64> {
    if (length as usize) < size_of::<libc::timeval>() {
        return None;
    }
    // SAFETY: long enough (checked).
    let given = unsafe { value.cast::<libc::timeval>().read_unaligned() };
    let seconds = u64::try_from(given.tv_sec).ok()?;
    let microseconds = u64::try_from(given.tv_usec).ok()?;
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(microseconds * 1000))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    descriptor: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    if let Some((mut held, place)) = begin_at(descriptor, Call::Option) {
        let description = held.world().descriptors.at(place);
        if level == libc::SOL_SOCKET && !value.is_null() {
            // SAFETY: the caller's value and its length.
            let nanoseconds = unsafe { timeout(value, length) };
            match (option, nanoseconds) {
                (libc::SO_RCVTIMEO, Some(time)) => description.receive_timeout = time,
                (libc::SO_SNDTIMEO, Some(time)) => description.send_timeout = time,
                (libc::SO_LINGER, _) if length as usize >= size_of::<libc::linger>() => {
                    // SAFETY: long enough (checked).
                    let given = unsafe { value.cast::<libc::linger>().read_unaligned() };
                    description.resets = given.l_onoff != 0 && given.l_linger == 0;
                }
                _ => {}
            }
        }
        held.end();
    }
    let (l, o) = (level as usize, option as usize);
    let arguments = [descriptor as usize, l, o, value.addr(), length as usize, 0];
    // SAFETY: the caller's own arguments; the stand-in takes the option as a real socket does.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_setsockopt, arguments) });
    let inherited = INHERITED.iter().position(|known| *known == (level, option));
    if result.is_ok()
        && let Some(at) = inherited
        && let Some((mut held, place)) = begin_at(descriptor, Call::Option)
    {
        // SAFETY: the kernel has just read an int there, which all of these begin with.
        let on = unsafe { value.cast::<c_int>().read_unaligned() } != 0;
        let options = &mut held.world().descriptors.at(place).options;
        // Connections inherit zeros as well. For the listener itself this option is a switch.
        let switch = level == libc::SOL_SOCKET && option == libc::SO_REUSEPORT;
        *options = if switch && !on { *options & !(1 << at) } else { *options | 1 << at };
        held.end();
    }
    if result.is_ok()
        && (level, option) == (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
        && let Some((mut held, place)) = begin_at(descriptor, Call::Option)
    {
        // SAFETY: the kernel has just read an int there.
        let only = unsafe { value.cast::<c_int>().read_unaligned() } != 0;
        held.world().descriptors.at(place).v6only = only;
        held.end();
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(
    descriptor: c_int,
    level: c_int,
    option: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let (l, o) = (level as usize, option as usize);
    let arguments = [descriptor as usize, l, o, value.addr(), length.addr(), 0];
    // SAFETY: the caller's own arguments; the stand-in knows its options.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_getsockopt, arguments) });
    if result.is_ok()
        && [libc::SOL_SOCKET, libc::IPPROTO_TCP].contains(&level)
        && let Some((mut held, place)) = begin_at(descriptor, Call::Option)
    {
        let answer = own_answer(held.world(), place, level, option);
        held.end();
        if let Some(answer) = answer {
            // SAFETY: the kernel has just written `length` bytes there.
            unsafe { give(answer, value, *length) };
        }
    }
    errno::answer_int(result)
}

/// An answer that the stand-in does not have.
#[derive(Clone, Copy)]
enum Answer {
    /// An answer that is a number.
    Number(c_int),
    /// The process, user and group of the client.
    Credentials([u32; 3]),
    /// The state of a connection, at the beginning of `TCP_INFO`.
    State(u8),
}

fn own_answer(world: &mut World, place: TableEntry, level: c_int, option: c_int) -> Option<Answer> {
    match (level, option, world.descriptors.at(place).kind()) {
        (libc::SOL_SOCKET, libc::SO_ERROR, DescriptionKind::Conn(conn)) => {
            let reset = world.run.sockets.conn(conn).reset && report_reset(world, place);
            Some(Answer::Number(if reset { libc::ECONNRESET } else { 0 }))
        }
        // The client's process is in no namespace of the server's: its number is 0, as a kernel
        // answers. User and group are in the log.
        (libc::SOL_SOCKET, libc::SO_PEERCRED, DescriptionKind::Conn(conn)) => {
            let (user, group) = world.run.sockets.conn(conn).peer.unix_credentials()?;
            Some(Answer::Credentials([0, user, group]))
        }
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN, DescriptionKind::Listener(_)) => {
            Some(Answer::Number(1))
        }
        (libc::IPPROTO_TCP, libc::TCP_INFO, DescriptionKind::Listener(_)) => {
            Some(Answer::State(LISTEN))
        }
        (libc::IPPROTO_TCP, libc::TCP_INFO, DescriptionKind::Conn(conn)) => {
            let conn = world.run.sockets.conn(conn);
            Some(Answer::State(match (conn.ended, conn.write_shut) {
                _ if conn.reset => CLOSE,
                (true, true) => CLOSE,
                (true, false) => CLOSE_WAIT,
                (false, true) => FIN_WAIT2,
                (false, false) => ESTABLISHED,
            }))
        }
        _ => None,
    }
}

/// Writes an answer over the stand-in's, at most as long as that was.
///
/// # Safety
/// `value` leads to `length` bytes of the caller's.
unsafe fn give(answer: Answer, value: *mut c_void, length: socklen_t) {
    let (number, credentials, state);
    let bytes: &[u8] = match answer {
        Answer::Credentials(words) => {
            credentials = words.map(u32::to_ne_bytes);
            credentials.as_flattened()
        }
        Answer::Number(answer) => {
            number = answer.to_ne_bytes();
            &number
        }
        Answer::State(answer) => {
            state = [answer];
            &state
        }
    };
    let count = bytes.len().min(length as usize);
    // SAFETY: within the length.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast(), count) };
}
