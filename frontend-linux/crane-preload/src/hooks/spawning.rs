//! posix_spawn(3) by a child that takes part. libc makes the child in a way of its own, on the
//! parent's memory; this one has a copy of it, which it leaves by exec(3). Until then it calls no
//! function of libc's, as there: another thread may have been in one.

use std::ffi::{c_char, c_int, c_short};

use crane_core::execution::processes::FoundChild;
use crane_core::execution::turn::NEVER;
use crane_shm::sys;
use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use super::exec;
use super::exits::exit_group;
use crate::birth;
use crate::errno;
use crate::execution::On;
use crate::fork;
use crate::processes::{self, Child, Spawning};
use crate::signals::{self, Action};
use crate::turn::{self, Call, Held, begin};
use crate::words::Words;

/// The exit status of a child that could not execute its program.
const FAILED: c_int = 127;

/// glibc's attributes (spawn.h), which programs have in their own memory.
#[repr(C)]
struct Attributes {
    flags: c_short,
    group: pid_t,
    defaults: [u64; 16],
    mask: [u64; 16],
    priority: c_int,
    policy: c_int,
}

const _: () = assert!(size_of::<Attributes>() <= size_of::<posix_spawnattr_t>());

/// glibc's list of actions (spawn.h).
#[repr(C)]
struct Actions {
    allocated: c_int,
    used: c_int,
    actions: *const FileAction,
}

const _: () = assert!(size_of::<Actions>() <= size_of::<posix_spawn_file_actions_t>());

/// One of them (spawn_int.h): the tag, and the largest of the kinds, that of open.
#[repr(C)]
#[derive(Clone, Copy)]
struct FileAction {
    tag: c_int,
    padding: c_int,
    first: c_int,
    second: c_int,
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
}

/// A program to be executed by a child.
#[derive(Clone, Copy)]
pub(super) struct Spawn {
    pub program: *const c_char,
    /// Whether the program is searched for, as execvp does.
    pub searches: bool,
    pub actions: *const posix_spawn_file_actions_t,
    pub attributes: *const posix_spawnattr_t,
    pub arguments: Words,
    pub environment: Words,
}

/// Makes the child, and waits until it executes its program. Returns its number or the error, or
/// `None` if libc's function is due.
///
/// # Safety
/// As posix_spawn(3).
// specs: S15
pub(super) unsafe fn spawn(order: &Spawn) -> Option<Result<pid_t, c_int>> {
    if !fork::take_part() {
        return None;
    }
    let held = begin(Call::Fork, 1)?;
    let made = fork::make_child(held, Some(Spawning::Begun), || {
        let arguments = birth::arguments_of_child([0; 6]);
        // SAFETY: a child with a copy of the memory, on its copy of this stack.
        match sys::checked(unsafe { sys::syscall(libc::SYS_clone, arguments) }) {
            Ok(0) => {
                fork::begin_child();
                Ok(0)
            }
            other => other.map(|number| number as pid_t),
        }
    });
    match made {
        // SAFETY: the caller's duty.
        Ok(0) => unsafe { become_program(order) },
        Ok(number) => Some(await_program(number)),
        Err(error) => Some(Err(error)),
    }
}

/// Waits in the parent until the child executes its program, or cannot.
fn await_program(number: pid_t) -> Result<pid_t, c_int> {
    let mut held = turn::enter().expect("a thread that made a call before takes part");
    let own = processes::own();
    let error = loop {
        let table = &held.world().processes;
        let Some(child) = table.child_of_number(own, number) else { break None };
        match table.get(child).frontend().spawning {
            Some(Spawning::Begun) => {
                held.wait(On::Member(own), NEVER);
            }
            Some(Spawning::Failed(error)) => break Some(error),
            None => break None,
        }
    };
    let Some(error) = error else {
        held.end_uncounted();
        return Ok(number);
    };
    forget(&mut held, number);
    held.end_uncounted();
    Err(error)
}

/// Waits for the end of a child of which the program never hears.
fn forget(held: &mut Held, number: pid_t) {
    let own = processes::own();
    let wanted = Child { kind: libc::P_PID, id: number.cast_unsigned(), options: libc::WEXITED };
    loop {
        match processes::look_for(&held.world().processes, own, wanted, 0) {
            FoundChild::Ended(child) => return held.world().processes.forget(child),
            FoundChild::Running => {
                held.wait(On::Member(own), NEVER);
            }
            FoundChild::Nothing => return,
        }
    }
}

/// Carries out the order in the child, which has the signals of its parent.
///
/// # Safety
/// As posix_spawn(3), in a child of one thread.
unsafe fn become_program(order: &Spawn) -> ! {
    // SAFETY: the caller's duty.
    let error = unsafe { try_program(order) }.err().unwrap_or(libc::ENOEXEC);
    if let Some(mut held) = turn::enter() {
        let own = processes::own();
        let processes = &mut held.world().processes;
        processes.frontend(own).spawning = Some(Spawning::Failed(error));
        if let Some(parent) = processes.get(own).parent() {
            held.world().run.turn.wake(On::Member(parent).key(), u32::MAX);
        }
        held.leave();
    }
    exit_group(FAILED);
    loop {
        // SAFETY: the process ends.
        unsafe { sys::syscall(libc::SYS_exit_group, [FAILED as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Returns the result of a call of a number, which touches no memory but what the caller gave.
unsafe fn real(number: libc::c_long, arguments: [usize; 6]) -> Result<usize, c_int> {
    // SAFETY: the caller's duty.
    sys::checked(unsafe { sys::syscall(number, arguments) })
}

/// Returns the result of a function that tells its error by `errno`.
fn named(result: c_int) -> Result<c_int, c_int> {
    if result < 0 { Err(errno::current()) } else { Ok(result) }
}

/// # Safety
/// As posix_spawn(3), in a child of one thread. Returns only with an error.
unsafe fn try_program(order: &Spawn) -> Result<(), c_int> {
    // SAFETY: the caller's attributes, if it gave some.
    let attributes = unsafe { order.attributes.cast::<Attributes>().as_ref() };
    if let Some(attributes) = attributes {
        set_attributes(attributes)?;
    }
    // SAFETY: the caller's actions, if it gave some.
    if let Some(actions) = unsafe { order.actions.cast::<Actions>().as_ref() } {
        for at in 0..actions.used.max(0) as usize {
            // SAFETY: as many actions as are said.
            unsafe { carry_out(&*actions.actions.add(at))? };
        }
    }
    if let Some(attributes) = attributes.filter(|it| it.has(libc::POSIX_SPAWN_SETSIGMASK)) {
        signals::set_mask(attributes.mask[0]);
    }
    // SAFETY: the caller's duty.
    Err(unsafe { exec::execute(order.program, order.searches, order.arguments, order.environment) })
}

impl Attributes {
    fn has(&self, flag: c_int) -> bool {
        c_int::from(self.flags) & flag != 0
    }
}

/// Sets what the attributes ask for, in glibc's order.
fn set_attributes(attributes: &Attributes) -> Result<(), c_int> {
    /// spawn.h; `libc` has no name for it.
    const SETSID: c_int = 0x80;
    if attributes.has(libc::POSIX_SPAWN_SETSIGDEF) {
        for signal in signals::each(attributes.defaults[0]) {
            signals::exchange_own(signal, Some(&Action::DEFAULT));
        }
    }
    let priority = (&raw const attributes.priority).addr();
    // SAFETY: the kernel reads the caller's priority; the other calls touch no memory.
    unsafe {
        if attributes.has(libc::POSIX_SPAWN_SETSCHEDULER) {
            let arguments = [0, attributes.policy as usize, priority, 0, 0, 0];
            real(libc::SYS_sched_setscheduler, arguments)?;
        } else if attributes.has(libc::POSIX_SPAWN_SETSCHEDPARAM) {
            real(libc::SYS_sched_setparam, [0, priority, 0, 0, 0, 0])?;
        }
        if attributes.has(SETSID) {
            real(libc::SYS_setsid, [0; 6])?;
        }
        if attributes.has(libc::POSIX_SPAWN_SETPGROUP) {
            real(libc::SYS_setpgid, [0, attributes.group as usize, 0, 0, 0, 0])?;
        }
        if attributes.has(libc::POSIX_SPAWN_RESETIDS) {
            let (user, group) = (real(libc::SYS_getuid, [0; 6])?, real(libc::SYS_getgid, [0; 6])?);
            real(libc::SYS_setresgid, [usize::MAX, group, usize::MAX, 0, 0, 0])?;
            real(libc::SYS_setresuid, [usize::MAX, user, usize::MAX, 0, 0, 0])?;
        }
    }
    Ok(())
}

/// Carries out one action on the child's files. libc's names are this library's own.
///
/// # Safety
/// An action of the caller's.
unsafe fn carry_out(action: &FileAction) -> Result<(), c_int> {
    /// The tags (spawn_int.h).
    const CLOSE: c_int = 0;
    const DUP2: c_int = 1;
    const OPEN: c_int = 2;
    const CHDIR: c_int = 3;
    const FCHDIR: c_int = 4;
    const CLOSEFROM: c_int = 5;
    const TCSETPGRP: c_int = 6;
    // SAFETY: plain numbers and the caller's paths.
    unsafe {
        match action.tag {
            // One that was closed before is no error.
            CLOSE => {
                let _ = named(libc::close(action.first));
            }
            DUP2 if action.first == action.second => {
                let flags = named(libc::fcntl(action.first, libc::F_GETFD))?;
                named(libc::fcntl(action.first, libc::F_SETFD, flags & !libc::FD_CLOEXEC))?;
            }
            DUP2 => drop(named(libc::dup2(action.first, action.second))?),
            OPEN => {
                let _ = named(libc::close(action.first));
                let opened = named(libc::open(action.path, action.flags, action.mode))?;
                if opened != action.first {
                    named(libc::dup2(opened, action.first))?;
                    let _ = named(libc::close(opened));
                }
            }
            CHDIR => drop(real(libc::SYS_chdir, [path_of(action), 0, 0, 0, 0, 0])?),
            FCHDIR => drop(real(libc::SYS_fchdir, [action.first as usize, 0, 0, 0, 0, 0])?),
            CLOSEFROM => drop(named(libc::close_range(action.first.cast_unsigned(), u32::MAX, 0))?),
            TCSETPGRP => {
                let group = real(libc::SYS_getpgid, [0; 6])? as pid_t;
                let place = (&raw const group).addr();
                let order = libc::TIOCSPGRP as usize;
                real(libc::SYS_ioctl, [action.first as usize, order, place, 0, 0, 0])?;
            }
            _ => return Err(libc::EINVAL),
        }
    }
    Ok(())
}

/// Returns the path of an action that has nothing else: it lies where others have numbers.
fn path_of(action: &FileAction) -> usize {
    action.first.cast_unsigned() as usize | (action.second.cast_unsigned() as usize) << 32
}
