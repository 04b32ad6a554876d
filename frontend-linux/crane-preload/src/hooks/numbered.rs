//! libc's `syscall`: calls by their numbers. Each goes to the hook of the same call, so that no
//! behaviour exists twice. A call without a hook goes to the kernel, and is counted if a thread may
//! wait in it or its answer may differ between replicas.

use std::ffi::{c_int, c_long, c_uint};
use std::fmt::Write;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use crane_shm::sys;
use crane_shm::table::{self, Class};
use libc::sigset_t;

use super::affinity::{getaffinity_by_number, getcpu};
use super::exits::exit_group;
use super::futex::futex;
use super::handlers::action_by_number;
use super::kernel_objects::signalfd4;
use super::parents::of_parent;
use super::places;
use super::posix_timers::{create_by_number, is_ours};
use super::process::getppid;
use super::process_descriptors::{open_by_number, send_by_number, take_by_number};
use super::queues::semtimedop;
use super::sigmask::pending_by_number;
use super::signals::{queue_by_number, tgkill};
use super::threads::end_self;
use crate::clone;
use crate::errno;
use crate::image::own;
use crate::membership::takes_part;
use crate::net::{self, Maker, maker};
use crate::trouble::Text;
use crate::turn::enter;

/// By number: whether the daemon knows of the call.
static NOTED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Counts a call that only the kernel knows, and notes its name once.
#[cold]
fn count(number: c_long) {
    let Some(mut held) = enter() else { return };
    let world = held.world();
    world.region.count_uncovered();
    let bit = 1 << (number & 63);
    let news = NOTED
        .get((number >> 6) as usize)
        .is_some_and(|noted| noted.fetch_or(bit, Ordering::Relaxed) & bit == 0);
    if news {
        let mut text = Text::new();
        // A text that is cut is better than no text.
        let _ = match table::name(number) {
            Some(name) => write!(text, "{name} by libc's syscall(): it is not followed"),
            None => write!(text, "system call {number} by libc's syscall(): it is not followed"),
        };
        world.output.note(1, text.as_str());
    }
    held.leave();
}

/// The size of the kernel's masks.
const MASK: usize = 8;

/// Returns the mask that a call was given as libc's mask, which is longer, if it was given one.
/// Fails if its size is not that of the kernel's masks.
fn mask(start: usize, size: usize) -> Result<Option<sigset_t>, c_int> {
    // SAFETY: the caller's mask of 8 bytes, if it gave one.
    let Some(bits) = (unsafe { (start as *const u64).as_ref() }) else { return Ok(None) };
    if size != MASK {
        return Err(libc::EINVAL);
    }
    // SAFETY: all-zero bytes are a valid mask, and it is longer than 8 bytes.
    unsafe {
        let mut mask: sigset_t = std::mem::zeroed();
        (&raw mut mask).cast::<u64>().write(*bits);
        Ok(Some(mask))
    }
}

/// Makes a call that waits with a mask of the caller's, which may be none.
fn with_mask(start: usize, size: usize, wait: impl FnOnce(*const sigset_t) -> c_int) -> c_int {
    match mask(start, size) {
        Ok(mask) => wait(mask.as_ref().map_or(ptr::null(), ptr::from_ref)),
        Err(error) => errno::answer_int(Err(error)),
    }
}

// The arguments are variadic in C; on x86-64 the first six, with the number, come in registers as
// fixed ones do, and the last on the stack. Those not given are garbage that no call reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let arguments = [a, b, c, d, e, f];
    // SAFETY: the caller's own arguments, in the order of the call's; libc's names are this
    // library's own.
    if let Some(answer) = unsafe { by_hook(number, arguments) } {
        return answer;
    }
    // SAFETY: the caller's own arguments.
    let result = sys::checked(unsafe { net::pass(number, arguments) });
    // A call that the kernel lacks or the cell refuses changes nothing.
    let refused = matches!(result, Err(libc::ENOSYS | libc::EPERM));
    let is_told = match table::group(number).map(|group| group.class) {
        None | Some(Class::Foreign) => true,
        // Its hook leaves it to the kernel, for what its arguments ask.
        Some(Class::Virtual) => number != libc::SYS_rt_sigprocmask,
        Some(Class::Pure | Class::Ordered | Class::Refused(_)) => false,
    };
    if !refused && is_told && takes_part() {
        count(number);
    }
    errno::answer(result) as c_long
}

/// Answers a call that the program made without a function of libc's as the kernel does: with a
/// value, or an error number below zero.
///
/// # Safety
/// As unsafe as the call.
// specs: S12
pub(crate) unsafe fn answer(number: c_long, arguments: [usize; 6]) -> isize {
    let before = errno::current();
    // SAFETY: the caller's duty.
    let answer = unsafe { by_hook(number, arguments) };
    let error = errno::current();
    errno::set(before);
    match answer {
        Some(-1) => -(error as isize),
        Some(value) => value as isize,
        // SAFETY: as above.
        None => unsafe { net::pass(number, arguments) },
    }
}

/// Answers by a hook, as libc's functions do, or returns `None` if the kernel must answer.
///
/// # Safety
/// As unsafe as the call.
unsafe fn by_hook(number: c_long, arguments: [usize; 6]) -> Option<c_long> {
    if places::are_missing(number, &arguments) {
        return Some(errno::answer(Err(libc::EFAULT)) as c_long);
    }
    match number {
        libc::SYS_futex => futex(arguments).map(|result| errno::answer(result) as c_long),
        libc::SYS_exit if takes_part() => end_self(arguments[0] as c_int),
        libc::SYS_exit_group if takes_part() => {
            exit_group(arguments[0] as c_int);
            None
        }
        libc::SYS_prctl => {
            let result = of_parent(arguments[0] as c_int, arguments[1]);
            result.map(|result| errno::answer(result) as c_long)
        }
        // A thread, or another stack, would go on in this function.
        libc::SYS_clone
            if arguments[1] == 0 && maker(arguments[0], false, false) == Maker::Process =>
        {
            // SAFETY: the caller's duty.
            let result = unsafe { clone::fork(arguments) };
            Some(errno::answer(sys::checked(result)) as c_long)
        }
        libc::SYS_rt_sigaction => {
            // SAFETY: the caller's duty.
            let result = unsafe { action_by_number(arguments) };
            Some(errno::answer(sys::checked(result)) as c_long)
        }
        // SAFETY: the caller's duty.
        _ => unsafe { by_name(number, arguments) },
    }
}

/// Returns a number of places in memory, which the kernel takes in full, as libc's functions take
/// it. Both refuse the largest.
fn places(count: usize) -> c_int {
    c_int::try_from(count).unwrap_or(c_int::MAX)
}

/// Lists the calls that a hook answers, each once: for the question whether a number is among them,
/// and for the answer.
macro_rules! answered {
    (
        $a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident, $one:ident, $two:ident,
        $three:ident;
        long { $($long:pat_param $(if $long_if:expr)? => $long_answer:expr,)* }
        int { $($int:pat_param $(if $int_if:expr)? => $int_answer:expr,)* }
    ) => {
        /// Returns whether a hook answers the call of this number, whatever its arguments are.
        pub(crate) fn has_hook(number: c_long) -> bool {
            matches!(number, libc::SYS_rt_sigaction | $($long)|* | $($int)|*)
        }

        /// Answers by the hook of the same call, or returns `None` if no such hook exists.
        ///
        /// # Safety
        /// As unsafe as the call.
        unsafe fn by_name(
            number: c_long,
            [$a, $b, $c, $d, $e, $f]: [usize; 6],
        ) -> Option<c_long> {
            let ($one, $two, $three) = ($a as c_int, $b as c_int, $c as c_int);
            // SAFETY: the caller's duty. libc's names are this library's own.
            let answer = unsafe {
                match number {
                    $($long $(if $long_if)? => $long_answer,)*
                    $($int $(if $int_if)? => c_long::from($int_answer),)*
                    _ => return None,
                }
            };
            Some(answer)
        }
    };
}

answered! {
    a, b, c, d, e, f, one, two, three;
    long {
        libc::SYS_read => libc::read(one, b as _, c) as c_long,
        libc::SYS_write => libc::write(one, b as _, c) as c_long,
        libc::SYS_getrlimit => libc::getrlimit(a as _, b as _).into(),
        libc::SYS_setrlimit => libc::setrlimit(a as _, b as _).into(),
        libc::SYS_prlimit64 => libc::prlimit(a as _, b as _, c as _, d as _).into(),
        libc::SYS_readv => libc::readv(one, b as _, places(c)) as c_long,
        libc::SYS_writev => libc::writev(one, b as _, places(c)) as c_long,
        libc::SYS_recvfrom => {
            libc::recvfrom(one, b as _, c, d as c_int, e as _, f as _) as c_long
        },
        libc::SYS_sendto => libc::sendto(one, b as _, c, d as c_int, e as _, f as _) as c_long,
        libc::SYS_recvmsg => libc::recvmsg(one, b as _, c as c_int) as c_long,
        libc::SYS_sendmsg => libc::sendmsg(one, b as _, c as c_int) as c_long,
        libc::SYS_sendfile => libc::sendfile(one, b as c_int, c as _, d) as c_long,
        libc::SYS_splice => {
            libc::splice(one, b as _, c as c_int, d as _, e, f as c_uint) as c_long
        },
        libc::SYS_tee => libc::tee(one, b as c_int, c, d as c_uint) as c_long,
        libc::SYS_vmsplice => libc::vmsplice(one, b as _, c, d as c_uint) as c_long,
        libc::SYS_msgrcv => libc::msgrcv(one, b as _, c, d as c_long, e as c_int) as c_long,
        libc::SYS_mq_timedreceive => {
            libc::mq_timedreceive(one, b as _, c, d as _, e as _) as c_long
        },
        libc::SYS_readlink => {
            let directory = libc::AT_FDCWD as usize;
            errno::answer(sys::checked(own::read_link(directory, a, b, c))) as c_long
        },
        libc::SYS_readlinkat => {
            errno::answer(sys::checked(own::read_link(a, b, c, d))) as c_long
        },
        libc::SYS_getrandom => libc::getrandom(a as _, b, c as c_uint) as c_long,
        libc::SYS_time => libc::time(a as _),
        libc::SYS_times => libc::times(a as _),
        libc::SYS_sched_getaffinity => {
            errno::answer(getaffinity_by_number(one, b as c_uint, c as _)) as c_long
        },
        libc::SYS_clock_nanosleep => {
            match libc::clock_nanosleep(one, b as c_int, c as _, d as _) {
                0 => 0,
                error => errno::answer(Err(error)) as c_long,
            }
        },
    }
    int {
        libc::SYS_sigaltstack => libc::sigaltstack(a as _, b as _),
        libc::SYS_close => libc::close(one),
        libc::SYS_close_range => libc::close_range(a as c_uint, b as c_uint, three),
        libc::SYS_socket => libc::socket(one, two, three),
        libc::SYS_socketpair => libc::socketpair(one, two, three, d as _),
        libc::SYS_bind => libc::bind(one, b as _, c as _),
        libc::SYS_listen => libc::listen(one, two),
        libc::SYS_accept => libc::accept(one, b as _, c as _),
        libc::SYS_accept4 => libc::accept4(one, b as _, c as _, d as c_int),
        libc::SYS_connect => libc::connect(one, b as _, c as _),
        libc::SYS_shutdown => libc::shutdown(one, two),
        libc::SYS_getsockname => libc::getsockname(one, b as _, c as _),
        libc::SYS_getpeername => libc::getpeername(one, b as _, c as _),
        libc::SYS_setsockopt => libc::setsockopt(one, two, three, d as _, e as _),
        libc::SYS_getsockopt => libc::getsockopt(one, two, three, d as _, e as _),
        libc::SYS_recvmmsg => libc::recvmmsg(one, b as _, c as c_uint, d as c_int, e as _),
        libc::SYS_sendmmsg => libc::sendmmsg(one, b as _, c as c_uint, d as c_int),
        libc::SYS_pipe => libc::pipe(a as _),
        libc::SYS_pipe2 => libc::pipe2(a as _, two),
        libc::SYS_eventfd => libc::eventfd(a as c_uint, 0),
        libc::SYS_eventfd2 => libc::eventfd(a as c_uint, two),
        libc::SYS_dup => libc::dup(one),
        libc::SYS_dup2 => libc::dup2(one, two),
        libc::SYS_dup3 => libc::dup3(one, two, three),
        libc::SYS_fcntl => libc::fcntl(one, two, c),
        libc::SYS_ioctl => libc::ioctl(one, b as _, c),
        libc::SYS_open => libc::open(a as _, two, c),
        libc::SYS_openat => libc::openat(one, b as _, three, d),
        libc::SYS_creat => libc::open(a as _, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, b),
        libc::SYS_fsync => libc::fsync(one),
        libc::SYS_fdatasync => libc::fdatasync(one),
        libc::SYS_sync => {
            libc::sync();
            0
        },
        libc::SYS_syncfs => libc::syncfs(one),
        libc::SYS_msync => libc::msync(a as _, b, three),
        libc::SYS_sync_file_range => libc::sync_file_range(one, b as _, c as _, d as c_uint),
        libc::SYS_poll => libc::poll(a as _, b as _, three),
        libc::SYS_select => libc::select(one, b as _, c as _, d as _, e as _),
        libc::SYS_ppoll => with_mask(d, e, |mask| libc::ppoll(a as _, b as _, c as _, mask)),
        libc::SYS_pselect6 => {
            // The mask lies behind a pointer of its own, with its size.
            let [start, size] = (f as *const [usize; 2]).as_ref().copied().unwrap_or_default();
            with_mask(start, size, |mask| {
                libc::pselect(one, b as _, c as _, d as _, e as _, mask)
            })
        },
        libc::SYS_epoll_create => libc::epoll_create(one),
        libc::SYS_epoll_create1 => libc::epoll_create1(one),
        libc::SYS_epoll_ctl => libc::epoll_ctl(one, two, three, d as _),
        libc::SYS_epoll_wait => libc::epoll_wait(one, b as _, three, d as c_int),
        libc::SYS_epoll_pwait => with_mask(e, f, |mask| {
            libc::epoll_pwait(one, b as _, three, d as c_int, mask)
        }),
        libc::SYS_epoll_pwait2 => with_mask(e, f, |mask| {
            libc::epoll_pwait2(one, b as _, three, d as _, mask)
        }),
        libc::SYS_nanosleep => libc::nanosleep(a as _, b as _),
        libc::SYS_sched_yield => libc::sched_yield(),
        libc::SYS_clock_gettime => libc::clock_gettime(one, b as _),
        libc::SYS_getrusage => libc::getrusage(one, b as _),
        libc::SYS_sysinfo => libc::sysinfo(a as _),
        libc::SYS_getcpu => getcpu(a as _, b as _),
        libc::SYS_sched_setaffinity => {
            libc::sched_setaffinity(one, b as c_uint as usize, c as _)
        },
        libc::SYS_gettimeofday => libc::gettimeofday(a as _, b as _),
        libc::SYS_kill => libc::kill(one, two),
        libc::SYS_tgkill => tgkill(one, two, three),
        libc::SYS_tkill => tgkill(sys::pid(), one, two),
        libc::SYS_rt_sigqueueinfo => queue_by_number(one, None, two, c)?,
        libc::SYS_rt_tgsigqueueinfo => queue_by_number(one, Some(two), three, d)?,
        libc::SYS_signalfd => signalfd4(one, b, c, 0),
        libc::SYS_signalfd4 => signalfd4(one, b, c, d as c_int),
        libc::SYS_inotify_init => libc::inotify_init(),
        libc::SYS_inotify_init1 => libc::inotify_init1(one),
        libc::SYS_pause => libc::pause(),
        // The kernel answers for a bad size, and for no mask.
        libc::SYS_rt_sigsuspend if a != 0 && b == MASK => {
            with_mask(a, b, |mask| libc::sigsuspend(mask))
        },
        libc::SYS_rt_sigtimedwait if a != 0 && d == MASK => {
            with_mask(a, d, |mask| libc::sigtimedwait(mask, b as _, c as _))
        },
        libc::SYS_rt_sigpending => pending_by_number(a, b)?,
        libc::SYS_alarm => libc::alarm(a as c_uint) as c_int,
        libc::SYS_setitimer => libc::setitimer(one, b as _, c as _),
        libc::SYS_getitimer => libc::getitimer(one, b as _),
        libc::SYS_timer_create => create_by_number(one, b as _, c as _)?,
        libc::SYS_timer_settime if is_ours(a) => libc::timer_settime(a as _, two, c as _, d as _),
        libc::SYS_timer_gettime if is_ours(a) => libc::timer_gettime(a as _, b as _),
        libc::SYS_timer_getoverrun if is_ours(a) => libc::timer_getoverrun(a as _),
        libc::SYS_timer_delete if is_ours(a) => libc::timer_delete(a as _),
        libc::SYS_timerfd_create => libc::timerfd_create(one, two),
        libc::SYS_timerfd_settime => libc::timerfd_settime(one, two, c as _, d as _),
        libc::SYS_timerfd_gettime => libc::timerfd_gettime(one, b as _),
        libc::SYS_wait4 => libc::wait4(one, b as _, three, d as _),
        libc::SYS_pidfd_open => open_by_number(one, b as c_uint)?,
        libc::SYS_pidfd_send_signal => send_by_number(one, two, c, d as c_uint)?,
        libc::SYS_pidfd_getfd => take_by_number(one, two, c as c_uint)?,
        libc::SYS_waitid if e == 0 => libc::waitid(a as _, b as _, c as _, d as c_int),
        libc::SYS_flock => libc::flock(one, two),
        libc::SYS_msgsnd => libc::msgsnd(one, b as _, c, d as c_int),
        libc::SYS_msgctl => libc::msgctl(one, two, c as _),
        libc::SYS_semop => semtimedop(one, b as _, c, ptr::null()),
        libc::SYS_semtimedop => semtimedop(one, b as _, c, d as _),
        libc::SYS_semctl => libc::semctl(one, two, three, d),
        libc::SYS_mq_timedsend => libc::mq_timedsend(one, b as _, c, d as c_uint, e as _),
        libc::SYS_getppid => getppid(),
        libc::SYS_fork => libc::fork(),
        libc::SYS_vfork => libc::fork(),
        libc::SYS_execve => libc::execve(a as _, b as _, c as _),
        libc::SYS_execveat => libc::execveat(one, b as _, c as _, d as _, e as c_int),
    }
}
