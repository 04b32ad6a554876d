//! posix_spawn, system: like fork and exec. Without a floor, libc makes the child internally, where
//! no hook sees it.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use super::process::before_child;
use super::spawning::{self, Spawn};
use crate::errno;
use crate::membership::takes_part;
use crate::net;
use crate::signals::{self, Action};
use crate::turn::{Call, begin};

/// Makes a child by a function of libc's.
pub(super) fn make_child<T>(make: impl FnOnce() -> T) -> T {
    if let Some(mut held) = begin(Call::Fork, 0) {
        before_child(held.world());
        held.leave();
    }
    // The child inherits what its maker may do.
    let permit = net::Permit::take();
    let made = make();
    permit.give_back();
    made
}

/// A variant of posix_spawn.
macro_rules! spawn_hook {
    ($name:ident, $searches:literal) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            child: *mut pid_t,
            program: *const c_char,
            actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t,
            arguments: *const *mut c_char,
            variables: *const *mut c_char,
        ) -> c_int {
            let real = real!(
                $name: fn(
                    *mut pid_t,
                    *const c_char,
                    *const posix_spawn_file_actions_t,
                    *const posix_spawnattr_t,
                    *const *mut c_char,
                    *const *mut c_char,
                ) -> c_int
            );
            let order = Spawn {
                program,
                searches: $searches,
                actions,
                attributes,
                arguments: arguments.cast(),
                environment: variables.cast(),
            };
            // SAFETY: the caller's own arguments.
            match unsafe { spawning::spawn(&order) } {
                Some(Ok(number)) => {
                    if !child.is_null() {
                        // SAFETY: the caller's place.
                        unsafe { child.write(number) };
                    }
                    return 0;
                }
                Some(Err(error)) => return error,
                None => {}
            }
            // SAFETY: the caller's own arguments.
            make_child(|| unsafe {
                real(child, program, actions, attributes, arguments, variables)
            })
        }
    };
}

spawn_hook!(posix_spawn, false);
spawn_hook!(posix_spawnp, true);

#[unsafe(no_mangle)]
unsafe extern "C" fn system(command: *const c_char) -> c_int {
    if takes_part() {
        // Without a command, libc tries whether there is a shell.
        let tried = if command.is_null() { c"exit 0".as_ptr() } else { command };
        // SAFETY: the caller's own command, or a string of ours.
        let status = unsafe { run_shell(tried) };
        return if command.is_null() { (status == 0).into() } else { status };
    }
    let real = real!(system: fn(*const c_char) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(command) }
}

/// The status of a shell that could not be started (system(3)).
const NO_SHELL: c_int = 127 << 8;

/// Does the same as libc's system(3), whose own wait for the child would be in the kernel, but
/// waits in the turn, with `SIGINT` and `SIGQUIT` ignored and `SIGCHLD` blocked.
///
/// # Safety
/// The command is a string.
unsafe fn run_shell(command: *const c_char) -> c_int {
    unsafe extern "C" {
        static environ: *const *mut c_char;
    }
    let before = signals::block_one(libc::SIGCHLD);
    let before_them = begin_ignoring();
    let mut defaults = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut mask = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut attributes = MaybeUninit::uninit();
    let arguments =
        [c"sh".as_ptr(), c"-c".as_ptr(), command, ptr::null()].map(<*const _>::cast_mut);
    let flags = (libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK) as libc::c_short;
    let mut child: pid_t = 0;
    // SAFETY: sets and attributes of ours, initialised before they are read; the shell's arguments
    // end with a null pointer, as the environment does. libc's names are this library's own.
    let error = unsafe {
        mask.as_mut_ptr().cast::<u64>().write(before);
        for (signal, before) in IGNORED.into_iter().zip(&before_them) {
            if !before.is_ignored() {
                libc::sigaddset(defaults.as_mut_ptr(), signal);
            }
        }
        libc::posix_spawnattr_init(attributes.as_mut_ptr());
        libc::posix_spawnattr_setsigdefault(attributes.as_mut_ptr(), defaults.as_ptr());
        libc::posix_spawnattr_setsigmask(attributes.as_mut_ptr(), mask.as_ptr());
        libc::posix_spawnattr_setflags(attributes.as_mut_ptr(), flags);
        let (attributes, shell) = (attributes.as_mut_ptr(), c"/bin/sh".as_ptr());
        let null = ptr::null();
        let error =
            libc::posix_spawn(&raw mut child, shell, null, attributes, arguments.as_ptr(), environ);
        libc::posix_spawnattr_destroy(attributes);
        error
    };
    let mut status = NO_SHELL;
    if error == 0 {
        // SAFETY: a place of ours; the symbol is this library's own.
        while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
            if errno::current() != libc::EINTR {
                status = -1;
                break;
            }
        }
    }
    end_ignoring();
    signals::set_mask(before);
    status
}

/// The number of running calls of system, and the actions of the signals before the first of them.
struct Ignoring {
    /// A thread reads the rest, for two system calls.
    taken: AtomicBool,
    calls: UnsafeCell<u32>,
    before: UnsafeCell<Option<[Action; 2]>>,
}

// SAFETY: only the thread that has set `taken` looks at the cells.
unsafe impl Sync for Ignoring {}

static IGNORING: Ignoring = Ignoring {
    taken: AtomicBool::new(false),
    calls: UnsafeCell::new(0),
    before: UnsafeCell::new(None),
};

/// Runs a function on the state of the calls of system.
fn with_ignoring<T>(change: impl FnOnce(&mut u32, &mut Option<[Action; 2]>) -> T) -> T {
    while IGNORING.taken.swap(true, Ordering::Acquire) {
        rustix::thread::sched_yield();
    }
    // SAFETY: this thread has set `taken`.
    let result = unsafe { change(&mut *IGNORING.calls.get(), &mut *IGNORING.before.get()) };
    IGNORING.taken.store(false, Ordering::Release);
    result
}

/// Ignores the signals, for the first of the running calls. Returns their previous actions.
fn begin_ignoring() -> [Action; 2] {
    with_ignoring(|calls, before| {
        *calls += 1;
        *before.get_or_insert_with(|| {
            IGNORED.map(|signal| signals::exchange(signal, Some(&Action::IGNORE)))
        })
    })
}

/// Restores the signals, after the last of the running calls.
fn end_ignoring() {
    with_ignoring(|calls, before| {
        *calls -= 1;
        if *calls == 0
            && let Some(before) = before.take()
        {
            for (signal, before) in IGNORED.iter().zip(&before) {
                signals::exchange(*signal, Some(before));
            }
        }
    });
}

/// The signals that a terminal sends to the shell as well, and that are meant for the shell alone.
const IGNORED: [c_int; 2] = [libc::SIGINT, libc::SIGQUIT];
