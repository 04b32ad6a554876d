//! flock, and locks of open file descriptions: a thread waits in the turn for a lock that another
//! holds.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};

use crane_shm::sys;

use super::retried::{WaitRule, retry, wake};
use crate::errno;
use crate::execution::On;
use crate::processes;
use crate::turn::{Call, begin, enter};

/// The number of threads that wait for a lock of a file, which a close may free.
static WAITING: AtomicU32 = AtomicU32::new(0);

const RULE: WaitRule =
    WaitRule { on: On::FileLock, limit: None, restarts: true, cancellable: false };

fn kernel(number: i64, arguments: [usize; 3]) -> Result<usize, c_int> {
    let [a, b, c] = arguments;
    // SAFETY: the hook's caller gave the arguments.
    sys::checked(unsafe { sys::syscall(number, [a, b, c, 0, 0, 0]) })
}

/// Makes a call that takes, changes or frees a lock. `at_once` makes it without waiting, and is
/// repeated while the lock is taken if the call `waits`. Returns `None` if the real call is due.
fn lock(
    waits: bool,
    rule: &WaitRule,
    at_once: impl Fn() -> Result<usize, c_int>,
) -> Option<Result<usize, c_int>> {
    let mut held = begin(Call::FileLock, 0)?;
    let first = at_once();
    // A failed change has freed the previous lock (flock(2)).
    wake(&mut held, On::FileLock);
    let taken = |result| matches!(result, Err(libc::EAGAIN | libc::EACCES));
    let result = if waits && taken(first) {
        WAITING.fetch_add(1, Ordering::Relaxed);
        let result = retry(&mut held, rule, || Some(at_once()).filter(|result| !taken(*result)));
        WAITING.fetch_sub(1, Ordering::Relaxed);
        result
    } else {
        first
    };
    held.end();
    Some(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn flock(descriptor: c_int, operation: c_int) -> c_int {
    let real =
        |operation: c_int| kernel(libc::SYS_flock, [descriptor as usize, operation as usize, 0]);
    let waits = operation & libc::LOCK_NB == 0;
    let result = lock(waits, &RULE, || real(operation | libc::LOCK_NB));
    errno::answer_int(result.unwrap_or_else(|| real(operation)))
}

/// Answers fcntl's commands about locks, or returns `None` if the real call is due.
pub(super) fn control(
    descriptor: c_int,
    command: c_int,
    argument: usize,
) -> Option<Result<usize, c_int>> {
    let real =
        |command: c_int| kernel(libc::SYS_fcntl, [descriptor as usize, command as usize, argument]);
    let rule = WaitRule { cancellable: true, ..RULE };
    match command {
        libc::F_OFD_SETLK => lock(false, &rule, || real(command)),
        libc::F_OFD_SETLKW => lock(true, &rule, || real(libc::F_OFD_SETLK)),
        // A lock of the process never waits for other locks of the process, but it does wait for
        // locks of descriptions. With a child, the kernel detects deadlocks.
        libc::F_SETLKW if !has_forked()? => lock(true, &rule, || real(libc::F_SETLK)),
        libc::F_SETLK | libc::F_SETLKW => {
            let result = real(command);
            freed();
            Some(result)
        }
        _ => None,
    }
}

/// Returns `None` if the thread takes no part.
fn has_forked() -> Option<bool> {
    let mut held = enter()?;
    let forked = held.world().forked;
    held.leave();
    Some(forked)
}

/// Wakes the waiting threads after a call that may have freed a lock, such as a close.
#[inline]
pub(super) fn freed() {
    if (WAITING.load(Ordering::Relaxed) > 0 || processes::has_made())
        && let Some(mut held) = enter()
    {
        wake(&mut held, On::FileLock);
        held.leave();
    }
}
