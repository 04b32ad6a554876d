//! posix_spawn, system, popen: as fork and exec. libc makes the child inside of itself, where no
//! hook sees it.

use std::ffi::{c_char, c_int};

use libc::{FILE, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use super::process::before_child;
use crate::turn::{Call, begin};

/// Called before libc makes a child.
fn prepare() {
    if let Some(mut held) = begin(Call::Fork, 0) {
        before_child(held.world());
        held.leave();
    }
}

/// A variant of posix_spawn.
macro_rules! spawn_hook {
    ($name:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            child: *mut pid_t,
            program: *const c_char,
            actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t,
            arguments: *const *mut c_char,
            variables: *const *mut c_char,
        ) -> c_int {
            prepare();
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
            // SAFETY: the caller's own arguments.
            unsafe { real(child, program, actions, attributes, arguments, variables) }
        }
    };
}

spawn_hook!(posix_spawn);
spawn_hook!(posix_spawnp);

#[unsafe(no_mangle)]
unsafe extern "C" fn system(command: *const c_char) -> c_int {
    if !command.is_null() {
        prepare();
    }
    let real = real!(system: fn(*const c_char) -> c_int);
    // SAFETY: the caller's own argument.
    unsafe { real(command) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE {
    prepare();
    let real = real!(popen: fn(*const c_char, *const c_char) -> *mut FILE);
    // SAFETY: the caller's own arguments.
    unsafe { real(command, mode) }
}
