//! pthread_create, join, detach, exit.
//!
//! A child is made while its creator holds the turn, and enters the queue only when libc has made
//! it. Its number, and with it the order of all its actions, is decided before it runs.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crane_core::execution::turn::ThreadId;
use crane_shm::sys;
use libc::{pthread_attr_t, pthread_key_t, pthread_t};

use super::exits;
use super::lock::never;
use super::thread_attributes::AttributeMask;
use super::time::limit as until_limit;
use crate::bases;
use crate::execution::On;
use crate::host_faults;
use crate::net;
use crate::notes::full;
use crate::parents;
use crate::processes;
use crate::processors;
use crate::signals;
use crate::turn::{self, Call, Held, begin};
use crate::world::{NO_THREAD, PreloadThread, World};

type StartRoutine = extern "C" fn(*mut c_void) -> *mut c_void;

/// The key whose destructor runs at each thread's end.
static KEY: AtomicU32 = AtomicU32::new(0);

/// The number of rounds in which libc runs destructors (POSIX: at least 4). This library's
/// destructor acts in the last round, so that the program's destructors still have the turn.
const ROUNDS: usize = 4;

/// The report of a table that is full.
const FULL: &str = "the program has 1024 threads, as many as crane orders: the next is refused \
    with EAGAIN; configure it for fewer";
const _: () = assert!(crate::capacities::THREADS == 1024);

/// The number of robust mutexes that an ending thread may hold (the kernel's `ROBUST_LIST_LIMIT`).
const HEIRLOOMS_MAX: usize = 2048;

/// Makes the key, before the first thread. The key's value counts the remaining rounds.
pub(crate) fn prepare() {
    let mut key: pthread_key_t = 0;
    // SAFETY: the key is ours; the destructor fits.
    let result = unsafe { libc::pthread_key_create(&raw mut key, Some(at_end)) };
    assert!(result == 0, "no thread key: error {result}");
    KEY.store(key, Ordering::SeqCst);
    // The first thread may end before the others (pthread_exit in main).
    watch_end();
}

/// Arranges that the library sees the calling thread's end.
fn watch_end() {
    // SAFETY: the key exists; the value is a count, never followed.
    unsafe { libc::pthread_setspecific(KEY.load(Ordering::SeqCst), ROUNDS as *const c_void) };
}

/// Returns the address of the hook of pthread_create.
pub(crate) fn hook_address() -> *const c_void {
    pthread_create as *const c_void
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    handle: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: StartRoutine,
    argument: *mut c_void,
) -> c_int {
    let real = real!(
        pthread_create: fn(
            *mut pthread_t,
            *const pthread_attr_t,
            StartRoutine,
            *mut c_void
        ) -> c_int
    );
    let Some(mut held) = begin(Call::Create, 0) else {
        // SAFETY: the caller's own arguments.
        return unsafe { real(handle, attributes, routine, argument) };
    };
    // SAFETY: the caller's attributes, initialised as POSIX asks for.
    let wished = unsafe { AttributeMask::read(attributes) };
    let wish = match &wished {
        Some(wished) => wished.wish(),
        None => processors::wish(Some(held.me)),
    };
    if wished.is_some() && wish.is_empty() {
        held.end();
        return libc::EINVAL;
    }
    let world = held.world();
    let Some(child) = world.run.turn.reserve() else {
        full(world, FULL);
        held.end();
        return libc::EAGAIN;
    };
    processors::set_wish(Some(child), wish);
    let mask = signals::block_all();
    world.threads[child.0 as usize] = PreloadThread {
        process: processes::own(),
        detached: is_detached(attributes),
        routine: Some(routine),
        argument,
        mask,
        ..NO_THREAD
    };
    // libc allocates in this call, and an allocator may call hooks, so the hook ends here and the
    // thread keeps the turn.
    held.leave();
    if let Some(wished) = &wished {
        wished.lift();
    }
    let mut made: pthread_t = 0;
    let number = usize::from(child.0) as *mut c_void;
    // SAFETY: the caller's attributes; the child finds its routine by its number.
    let result = unsafe { real(&raw mut made, attributes, first_of_child, number) };
    if let Some(wished) = &wished {
        wished.put_back();
    }
    let mut held = turn::enter().expect("a thread that made a call before takes part");
    let world = held.world();
    if result == 0 {
        world.threads[child.0 as usize].handle = made;
        world.run.turn.start(child);
        // SAFETY: the caller's place for the result.
        unsafe { *handle = made };
    } else {
        world.threads[child.0 as usize] = NO_THREAD;
        world.run.turn.release(child);
        host_faults::making("pthread_create", stack_of(attributes), result);
    }
    held.end();
    signals::set_mask(mask);
    result
}

unsafe extern "C" {
    fn pthread_attr_getdetachstate(attributes: *const pthread_attr_t, state: *mut c_int) -> c_int;
}

/// Returns the size of the stack that a thread with these attributes has.
fn stack_of(attributes: *const pthread_attr_t) -> usize {
    let mut size = 0;
    if !attributes.is_null() {
        // SAFETY: the caller's attributes, initialised as POSIX asks for.
        unsafe { libc::pthread_attr_getstacksize(attributes, &raw mut size) };
    }
    size
}

fn is_detached(attributes: *const pthread_attr_t) -> bool {
    let mut state = libc::PTHREAD_CREATE_JOINABLE;
    if !attributes.is_null() {
        // SAFETY: the caller's attributes, initialised as POSIX asks for.
        unsafe { pthread_attr_getdetachstate(attributes, &raw mut state) };
    }
    state == libc::PTHREAD_CREATE_DETACHED
}

/// Prepares the calling thread for a program that gives threads bases of their own, by calls that
/// only a floor sees.
pub(crate) fn prepare_bases() {
    if net::has_floor() && bases::may_be_set() {
        bases::prepare();
    }
}

extern "C" fn first_of_child(number: *mut c_void) -> *mut c_void {
    let mut held = turn::begin_thread(ThreadId(number.addr() as u16));
    let me = held.me;
    let world = held.world();
    let PreloadThread { routine, argument, mask, .. } = world.threads[me.0 as usize];
    signals::stack::begin(me);
    prepare_bases();
    net::arm_new_thread(world.region);
    watch_end();
    held.leave();
    signals::set_mask(mask);
    let routine = routine.expect("the creator left the routine");
    routine(argument)
}

/// Runs in each thread after its routine, `pthread_exit`, or cancellation, in every round of
/// destructors.
unsafe extern "C" fn at_end(rounds: *mut c_void) {
    let left = rounds.addr() - 1;
    if left > 0 {
        // SAFETY: the key exists; the value is a count.
        unsafe { libc::pthread_setspecific(KEY.load(Ordering::SeqCst), left as *const c_void) };
        return;
    }
    let Some(mut held) = begin(Call::ThreadEnd, 0) else { return };
    let me = held.me;
    let world = held.world();
    let own = processes::own();
    let others = world.threads.iter().enumerate().any(|(number, thread)| {
        number != me.0 as usize && thread.process == own && !thread.ended && thread.exists()
    });
    if !others {
        // libc ends the process now, and runs what the program registered for that.
        held.end();
        return;
    }
    signals::block_all();
    signals::forget(me);
    parents::on_end_of_thread(world, me);
    wake_heirs(world);
    let thread = &mut world.threads[me.0 as usize];
    thread.ended = true;
    if thread.detached {
        *thread = NO_THREAD;
        world.run.turn.end();
    } else {
        // The thread's number stays until the thread is joined.
        world.run.turn.end_and_keep();
    }
    world.run.turn.wake(On::End(me).key(), u32::MAX);
    net::let_end();
    held.end_thread();
}

/// Ends the calling thread as exit(2) does, without what libc does at a thread's end. The last one
/// ends its process with this code.
pub(super) fn end_self(code: c_int) -> ! {
    // SAFETY: the count of the last round, which is never followed.
    unsafe { at_end(ptr::without_provenance_mut(1)) };
    exits::exit_group(code);
    loop {
        // SAFETY: the thread ends.
        unsafe { sys::syscall(libc::SYS_exit, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Wakes the waiters for robust mutexes of the ending thread. They get the mutexes once the kernel
/// has marked these, and the next thread to run waits for that (see [`Held::end_thread`]).
fn wake_heirs(world: &mut World) {
    // struct robust_list_head of get_robust_list(2). In libc's mutex the list's link lies at byte
    // 32.
    const LINK: usize = 32;
    let (mut head, mut length) = (ptr::null_mut::<usize>(), 0_usize);
    let arguments = [0, &raw mut head as usize, &raw mut length as usize, 0, 0, 0];
    // SAFETY: two places of ours.
    let known = sys::checked(unsafe { sys::syscall(libc::SYS_get_robust_list, arguments) });
    if known.is_err() || head.is_null() {
        return;
    }
    // SAFETY: libc's list of this thread, which leads back to its head.
    let mut link = unsafe { *head };
    for _ in 0..HEIRLOOMS_MAX {
        // The lowest bit marks mutexes with priority inheritance.
        let place = link & !1;
        if place == head.addr() || place == 0 {
            return;
        }
        world.run.turn.wake(On::Address(place - LINK).key(), u32::MAX);
        // SAFETY: as above; a link begins with the address of the next.
        link = unsafe { *(place as *const usize) };
    }
}

/// Finds the thread of a handle.
pub(crate) fn find(world: &World, handle: pthread_t) -> Option<ThreadId> {
    let own = processes::own();
    let is_it = |thread: &PreloadThread| {
        thread.exists() && thread.handle == handle && thread.process == own
    };
    let place = world.threads.iter().position(is_it)?;
    Some(ThreadId(place as u16))
}

/// Frees the number of a thread that is joined or detached after its end.
fn forget(world: &mut World, thread: ThreadId) {
    world.threads[thread.0 as usize] = NO_THREAD;
    world.run.turn.release(thread);
}

/// Waits for the end of a thread in agreed time, and returns an error if the thread did not end.
/// Returns `None` if the thread takes no part.
fn await_end(
    handle: pthread_t,
    deadline: impl FnOnce(&mut Held) -> Result<u64, c_int>,
) -> Option<Result<(), c_int>> {
    let mut held = begin(Call::Join, 0)?;
    let deadline = deadline(&mut held);
    let me = held.me;
    // libc returns the error if a thread joins itself or a detached thread.
    let found = find(held.world(), handle)
        .filter(|thread| *thread != me && !held.world().threads[thread.0 as usize].detached);
    let Some(thread) = found else {
        held.end();
        return None;
    };
    let ended = loop {
        let world = held.world();
        if world.threads[thread.0 as usize].ended {
            forget(world, thread);
            break Ok(());
        }
        match deadline {
            Err(error) => break Err(error),
            Ok(deadline) if world.run.gate.agreed() >= deadline => break Err(libc::ETIMEDOUT),
            Ok(_) if held.cancelled => break Ok(()),
            Ok(deadline) => held.wait(On::End(thread), deadline),
        };
    };
    held.end();
    Some(ended)
}

/// Calls the real join, for a thread that has ended in agreed time or takes no part. The kernel
/// reports the end within microseconds.
fn join(handle: pthread_t, result: *mut *mut c_void) -> c_int {
    let real = real!(pthread_join: fn(pthread_t, *mut *mut c_void) -> c_int);
    // SAFETY: the hook's caller gave these.
    unsafe { real(handle, result) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(handle: pthread_t, result: *mut *mut c_void) -> c_int {
    await_end(handle, never);
    join(handle, result)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_tryjoin_np(handle: pthread_t, result: *mut *mut c_void) -> c_int {
    match await_end(handle, |_| Err(libc::EBUSY)) {
        Some(Err(error)) => error,
        _ => join(handle, result),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_timedjoin_np(
    handle: pthread_t,
    result: *mut *mut c_void,
    limit: *const libc::timespec,
) -> c_int {
    // SAFETY: the caller's own arguments; the symbol is this library's own.
    unsafe { pthread_clockjoin_np(handle, result, libc::CLOCK_REALTIME, limit) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_clockjoin_np(
    handle: pthread_t,
    result: *mut *mut c_void,
    clock: libc::clockid_t,
    limit: *const libc::timespec,
) -> c_int {
    match await_end(handle, |held| until_limit(held, clock, limit)) {
        Some(Err(error)) => error,
        _ => join(handle, result),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_detach(handle: pthread_t) -> c_int {
    if let Some(mut held) = begin(Call::Detach, 0) {
        let world = held.world();
        if let Some(thread) = find(world, handle) {
            world.threads[thread.0 as usize].detached = true;
            if world.threads[thread.0 as usize].ended {
                forget(world, thread);
            }
        }
        held.end();
    }
    let real = real!(pthread_detach: fn(pthread_t) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(handle) }
}
