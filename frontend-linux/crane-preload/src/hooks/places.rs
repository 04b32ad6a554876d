//! The places in memory to which the arguments of calls lead, for calls that the program makes by
//! their numbers: the kernel answers `EFAULT` where there is no memory, and a hook would fault.
//!
//! Of a place of a length that is an argument too only the first byte is looked at: what is behind
//! may be missing if it is not needed.

use std::ffi::c_int;

use crane_shm::sys;
use libc::c_long;

use super::time::exists;
use super::usage;
use crate::bases::USER_END;
use crate::net::{can_read, can_write};

/// An argument that leads to a place.
#[derive(Clone, Copy)]
struct MemoryArgument {
    /// The argument's number.
    argument: usize,
    /// The bytes that are used, of which the last is looked at as well.
    bytes: usize,
    access: MemoryAccess,
    /// Whether there may be none: a null pointer then means that.
    is_optional: bool,
    /// The number of the argument that says how much there is, where 0 means nothing.
    length: Option<usize>,
    /// The number of another argument without which it is not used.
    beside: Option<usize>,
}

/// The use that a call makes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MemoryAccess {
    Read,
    Written,
}

const fn read(argument: usize, bytes: usize) -> MemoryArgument {
    MemoryArgument {
        argument,
        bytes,
        access: MemoryAccess::Read,
        is_optional: false,
        length: None,
        beside: None,
    }
}

const fn written(argument: usize, bytes: usize) -> MemoryArgument {
    MemoryArgument { access: MemoryAccess::Written, ..read(argument, bytes) }
}

/// A set of as many descriptors as the first argument says.
const fn set(argument: usize) -> MemoryArgument {
    written(argument, 1).or_none().of(0)
}

impl MemoryArgument {
    const fn or_none(self) -> Self {
        Self { is_optional: true, ..self }
    }

    const fn of(self, length: usize) -> Self {
        Self { length: Some(length), ..self }
    }

    const fn beside(self, other: usize) -> Self {
        Self { beside: Some(other), ..self }
    }

    fn is_missing(self, arguments: &[usize; 6]) -> bool {
        let start = arguments[self.argument];
        let is_zero = |argument: Option<usize>| argument.is_some_and(|it| arguments[it] == 0);
        // The kernel refuses an address that no program has, also of nothing.
        let is_unused = start == 0 && self.is_optional
            || is_zero(self.length) && start < USER_END
            || is_zero(self.beside);
        let is_there = |place| match self.access {
            MemoryAccess::Read => can_read(place),
            MemoryAccess::Written => can_write(place),
        };
        let last = start.saturating_add(self.bytes - 1);
        !is_unused && !(is_there(start) && (last == start || is_there(last)))
    }
}

const TIMESPEC: usize = size_of::<libc::timespec>();
const INTERVAL: usize = size_of::<libc::itimerspec>();
const MESSAGE: usize = size_of::<libc::msghdr>();
const RUSAGE: usize = size_of::<libc::rusage>();
const VECTOR: usize = size_of::<libc::iovec>();
const EVENT: usize = size_of::<libc::epoll_event>();

/// Returns the places of a call's arguments that a hook uses itself.
fn places(number: c_long) -> &'static [MemoryArgument] {
    match number {
        libc::SYS_read => const { &[written(1, 1).of(2)] },
        libc::SYS_write => const { &[read(1, 1).of(2)] },
        libc::SYS_readv | libc::SYS_writev => const { &[read(1, VECTOR).of(2)] },
        libc::SYS_recvfrom => const { &[written(1, 1).of(2), written(5, 4).beside(4)] },
        libc::SYS_sendto => const { &[read(1, 1).of(2), read(4, 2).or_none().of(5)] },
        libc::SYS_recvmsg => const { &[written(1, MESSAGE)] },
        libc::SYS_sendmsg => const { &[read(1, MESSAGE)] },
        libc::SYS_recvmmsg => const { &[written(1, MESSAGE).of(2), read(4, TIMESPEC).or_none()] },
        libc::SYS_sendmmsg => const { &[written(1, MESSAGE).of(2)] },
        libc::SYS_sendfile => const { &[written(2, 8).or_none()] },
        libc::SYS_splice => const { &[written(1, 8).or_none(), written(3, 8).or_none()] },
        libc::SYS_getrandom => const { &[written(0, 1).of(1)] },
        libc::SYS_time => const { &[written(0, 8).or_none()] },
        libc::SYS_times => const { &[written(0, size_of::<libc::tms>()).or_none()] },
        libc::SYS_clock_gettime => const { &[written(1, TIMESPEC)] },
        libc::SYS_gettimeofday => const { &[written(0, TIMESPEC).or_none()] },
        libc::SYS_getrusage => const { &[written(1, RUSAGE)] },
        libc::SYS_sysinfo => const { &[written(0, size_of::<libc::sysinfo>())] },
        libc::SYS_getcpu => const { &[written(0, 4).or_none(), written(1, 4).or_none()] },
        libc::SYS_sched_getaffinity => const { &[written(2, 8).of(1)] },
        libc::SYS_sched_setaffinity => const { &[read(2, 1).of(1)] },
        // The time that is left is written only if a handler interrupts the sleep.
        libc::SYS_nanosleep => const { &[read(0, TIMESPEC)] },
        libc::SYS_clock_nanosleep => const { &[read(2, TIMESPEC)] },
        libc::SYS_bind | libc::SYS_connect => const { &[read(1, 2).of(2)] },
        libc::SYS_accept | libc::SYS_accept4 => {
            const { &[written(1, 2).or_none(), written(2, 4).beside(1)] }
        }
        libc::SYS_getsockname | libc::SYS_getpeername => const { &[written(1, 2), written(2, 4)] },
        libc::SYS_setsockopt => const { &[read(3, 1).of(4)] },
        libc::SYS_getsockopt => const { &[written(3, 1), written(4, 4)] },
        libc::SYS_socketpair => const { &[written(3, 8)] },
        libc::SYS_pipe | libc::SYS_pipe2 => const { &[written(0, 8)] },
        libc::SYS_poll => const { &[written(0, 8).of(1)] },
        libc::SYS_ppoll => const { &[written(0, 8).of(1), read(2, TIMESPEC).or_none()] },
        // The limit may be constant: the time that is left need not be written.
        libc::SYS_select => const { &[set(1), set(2), set(3), read(4, TIMESPEC).or_none()] },
        libc::SYS_pselect6 => {
            const { &[set(1), set(2), set(3), read(4, TIMESPEC).or_none(), read(5, 16).or_none()] }
        }
        libc::SYS_epoll_ctl => const { &[read(3, EVENT)] },
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => const { &[written(1, EVENT).of(2)] },
        libc::SYS_epoll_pwait2 => const { &[written(1, EVENT).of(2), read(3, TIMESPEC).or_none()] },
        libc::SYS_rt_sigsuspend => const { &[read(0, 8)] },
        libc::SYS_rt_sigtimedwait => {
            const {
                &[
                    read(0, 8),
                    written(1, size_of::<libc::siginfo_t>()).or_none(),
                    read(2, TIMESPEC).or_none(),
                ]
            }
        }
        libc::SYS_setitimer => {
            const { &[read(1, INTERVAL).or_none(), written(2, INTERVAL).or_none()] }
        }
        libc::SYS_getitimer => const { &[written(1, INTERVAL)] },
        libc::SYS_timer_settime => const { &[read(2, INTERVAL), written(3, INTERVAL).or_none()] },
        libc::SYS_timer_gettime => const { &[written(1, INTERVAL)] },
        libc::SYS_timer_create => {
            const { &[read(1, size_of::<libc::sigevent>()).or_none(), written(2, 4)] }
        }
        libc::SYS_timerfd_settime => const { &[read(2, INTERVAL), written(3, INTERVAL).or_none()] },
        libc::SYS_timerfd_gettime => const { &[written(1, INTERVAL)] },
        libc::SYS_wait4 => const { &[written(1, 4).or_none(), written(3, RUSAGE).or_none()] },
        libc::SYS_waitid => const { &[written(2, size_of::<libc::siginfo_t>()).or_none()] },
        libc::SYS_signalfd | libc::SYS_signalfd4 => const { &[read(1, 8)] },
        libc::SYS_prlimit64 => const { &[read(2, 16).or_none(), written(3, 16).or_none()] },
        libc::SYS_getrlimit => const { &[written(1, 16)] },
        libc::SYS_setrlimit => const { &[read(1, 16)] },
        libc::SYS_semop | libc::SYS_semtimedop => const { &[read(1, 6).of(2)] },
        libc::SYS_rt_sigqueueinfo => const { &[read(2, 1)] },
        libc::SYS_rt_tgsigqueueinfo => const { &[read(3, 1)] },
        _ => &[],
    }
}

/// Returns whether the kernel looks at no place, because the call is refused for another argument,
/// or needs none.
fn looks_at_none(number: c_long, [first, second, third, ..]: [usize; 6]) -> bool {
    let [first, second, third] = [first, second, third].map(|argument| argument as c_int);
    match number {
        libc::SYS_epoll_ctl if second == libc::EPOLL_CTL_DEL => true,
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 if third <= 0 => true,
        libc::SYS_clock_gettime | libc::SYS_clock_nanosleep => !exists(first),
        libc::SYS_getrusage => !usage::exists(first),
        libc::SYS_getitimer => !(libc::ITIMER_REAL..=libc::ITIMER_PROF).contains(&first),
        _ if BY_DESCRIPTOR.contains(&number) => {
            let arguments = [first as usize, libc::F_GETFD as usize, 0, 0, 0, 0];
            // SAFETY: it asks only whether the descriptor is open.
            sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, arguments) }).is_err()
        }
        _ => false,
    }
}

/// The calls above whose first argument is a descriptor.
const BY_DESCRIPTOR: [c_long; 23] = [
    libc::SYS_epoll_ctl,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_timerfd_gettime,
];

/// Returns whether a call's argument leads to a place where there is no memory, and nothing else is
/// wrong before.
pub(super) fn are_missing(number: c_long, arguments: &[usize; 6]) -> bool {
    places(number).iter().any(|place| place.is_missing(arguments))
        && !looks_at_none(number, *arguments)
}
