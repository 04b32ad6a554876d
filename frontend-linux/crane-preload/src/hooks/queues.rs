//! POSIX message queues, and System V messages and semaphores: a thread waits in the turn until
//! another sends, takes or adds something.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::ptr;

use crane_shm::sys;
use libc::{mqd_t, sembuf, timespec};

use super::retried::{WaitRule, retry, wake};
use super::time::{after, deadline, duration};
use crate::errno;
use crate::execution::On;
use crate::turn::{Call, Held, begin};

/// The number of operations of one semop (the kernel's `SEMOPM`).
const OPERATIONS_MAX: usize = 500;

/// Calls of System V never start again (signal(7)).
const SYSTEM_FIVE: WaitRule =
    WaitRule { on: On::Queue, limit: None, restarts: false, cancellable: true };

fn kernel(number: i64, arguments: [usize; 5]) -> Result<usize, c_int> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the hook's caller gave the arguments.
    sys::checked(unsafe { sys::syscall(number, [a, b, c, d, e, 0]) })
}

/// Makes a call of a message queue, whose last argument is a time. `real` is the kernel's call.
fn mq(limit: *const timespec, real: impl Fn(usize) -> Result<usize, c_int>) -> isize {
    let Some(mut held) = begin(Call::Queue, 0) else { return errno::answer(real(limit.addr())) };
    // SAFETY: the caller's time, if it gave one.
    let given = unsafe { limit.as_ref() };
    let result = if given.is_some_and(|limit| duration(limit).is_none()) {
        Err(libc::EINVAL)
    } else {
        let until = given.map(|limit| deadline(&mut held, libc::CLOCK_REALTIME, limit));
        let limit = until.map(|until| (until, libc::ETIMEDOUT));
        let rule = WaitRule { on: On::Queue, limit, restarts: true, cancellable: true };
        // A time that is long past, so that the kernel does not wait.
        let over = timespec { tv_sec: 0, tv_nsec: 0 };
        retry(&mut held, &rule, || match real((&raw const over).addr()) {
            Err(libc::ETIMEDOUT) => None,
            result => Some(result),
        })
    };
    held.end();
    errno::answer(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mq_timedreceive(
    queue: mqd_t,
    start: *mut c_char,
    length: usize,
    priority: *mut c_uint,
    limit: *const timespec,
) -> isize {
    mq(limit, |limit| {
        let arguments = [queue as usize, start.addr(), length, priority.addr(), limit];
        kernel(libc::SYS_mq_timedreceive, arguments)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mq_timedsend(
    queue: mqd_t,
    start: *const c_char,
    length: usize,
    priority: c_uint,
    limit: *const timespec,
) -> c_int {
    let sent = mq(limit, |limit| {
        let arguments = [queue as usize, start.addr(), length, priority as usize, limit];
        kernel(libc::SYS_mq_timedsend, arguments)
    });
    sent as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mq_receive(
    queue: mqd_t,
    start: *mut c_char,
    length: usize,
    priority: *mut c_uint,
) -> isize {
    // SAFETY: the caller's own arguments.
    unsafe { mq_timedreceive(queue, start, length, priority, ptr::null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mq_send(
    queue: mqd_t,
    start: *const c_char,
    length: usize,
    priority: c_uint,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { mq_timedsend(queue, start, length, priority, ptr::null()) }
}

/// Returns `attempt` for [`retry`], where the error `empty` means that the call would wait. An
/// object that is unknown after a wait has been removed meanwhile.
fn unless_removed(
    empty: Option<c_int>,
    attempt: impl Fn() -> Result<usize, c_int>,
) -> impl FnMut() -> Option<Result<usize, c_int>> {
    let mut has_waited = false;
    move || match attempt() {
        Err(error) if Some(error) == empty => {
            has_waited = true;
            None
        }
        Err(libc::EINVAL) if has_waited => Some(Err(libc::EIDRM)),
        result => Some(result),
    }
}

/// Makes a call about System V messages. `empty` is the error of a call that does not wait.
fn message(
    flags: c_int,
    empty: c_int,
    real: impl Fn(c_int) -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    let Some(mut held) = begin(Call::Queue, 0) else { return real(flags) };
    let waits = flags & libc::IPC_NOWAIT == 0;
    let attempt = || real(flags | libc::IPC_NOWAIT);
    let result = retry(&mut held, &SYSTEM_FIVE, unless_removed(waits.then_some(empty), attempt));
    held.end();
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msgrcv(
    queue: c_int,
    start: *mut c_void,
    length: usize,
    kind: c_long,
    flags: c_int,
) -> isize {
    errno::answer(message(flags, libc::ENOMSG, |flags| {
        let arguments = [queue as usize, start.addr(), length, kind as usize, flags as usize];
        kernel(libc::SYS_msgrcv, arguments)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msgsnd(
    queue: c_int,
    start: *const c_void,
    length: usize,
    flags: c_int,
) -> c_int {
    errno::answer_int(message(flags, libc::EAGAIN, |flags| {
        let arguments = [queue as usize, start.addr(), length, flags as usize, 0];
        kernel(libc::SYS_msgsnd, arguments)
    }))
}

/// Makes a call that may end the waits of other threads, because it changes or removes an object.
fn change(number: i64, arguments: [usize; 5]) -> c_int {
    let held = begin(Call::Queue, 0);
    let result = kernel(number, arguments);
    if let Some(mut held) = held {
        wake(&mut held, On::Queue);
        held.end();
    }
    errno::answer_int(result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msgctl(queue: c_int, command: c_int, place: *mut c_void) -> c_int {
    change(libc::SYS_msgctl, [queue as usize, command as usize, place.addr(), 0, 0])
}

// The last argument is variadic in C; see `open`.
#[unsafe(no_mangle)]
unsafe extern "C" fn semctl(set: c_int, number: c_int, command: c_int, value: usize) -> c_int {
    change(libc::SYS_semctl, [set as usize, number as usize, command as usize, value, 0])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn semop(set: c_int, operations: *mut sembuf, count: usize) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { semtimedop(set, operations, count, ptr::null()) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn semtimedop(
    set: c_int,
    operations: *mut sembuf,
    count: usize,
    limit: *const timespec,
) -> c_int {
    let real = |operations: *const sembuf, limit: *const timespec| {
        let arguments = [set as usize, operations.addr(), count, limit.addr(), 0];
        kernel(libc::SYS_semtimedop, arguments)
    };
    // The kernel has the errors for these.
    let wrong = count > OPERATIONS_MAX || operations.is_null();
    let held = if wrong { None } else { begin(Call::Queue, 0) };
    let Some(mut held) = held else { return errno::answer_int(real(operations, limit)) };
    // SAFETY: the caller's operations, and its time if it gave one.
    let (given, limit) = unsafe { (std::slice::from_raw_parts(operations, count), limit.as_ref()) };
    let result = operate(&mut held, given, limit, real);
    held.end();
    errno::answer_int(result)
}

fn operate(
    held: &mut Held,
    given: &[sembuf],
    limit: Option<&timespec>,
    real: impl Fn(*const sembuf, *const timespec) -> Result<usize, c_int>,
) -> Result<usize, c_int> {
    if limit.is_some_and(|limit| duration(limit).is_none()) {
        return Err(libc::EINVAL);
    }
    let now = libc::IPC_NOWAIT as i16;
    let at_once = given.iter().filter(|operation| operation.sem_flg & now != 0).count();
    // The kernel does not tell which of the operations would wait. If only some of them may wait,
    // the kernel makes the whole call and waits.
    if at_once > 0 && at_once < given.len() {
        return real(given.as_ptr(), limit.map_or(ptr::null(), ptr::from_ref));
    }
    let waits = at_once == 0;
    let mut asked = [sembuf { sem_num: 0, sem_op: 0, sem_flg: 0 }; OPERATIONS_MAX];
    for (asked, given) in asked.iter_mut().zip(given) {
        *asked = sembuf { sem_flg: given.sem_flg | now, ..*given };
    }
    let until = limit.and_then(duration).map(|duration| after(held, duration));
    let rule = WaitRule { limit: until.map(|until| (until, libc::EAGAIN)), ..SYSTEM_FIVE };
    let rule = WaitRule { cancellable: false, ..rule };
    let attempt = || real(asked.as_ptr(), ptr::null());
    retry(held, &rule, unless_removed(waits.then_some(libc::EAGAIN), attempt))
}
