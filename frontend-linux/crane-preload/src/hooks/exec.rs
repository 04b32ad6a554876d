//! exec(3): the process that takes part continues as another program.
//!
//! Each function first finds and examines the file that will run. The file must be one that loads
//! this library, or the process ends with a reason. The file's contents go into the schedule hash,
//! because they are not part of the base.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;
use std::sync::atomic::Ordering;

use crane_shm::sys;

use super::executables::{ImageKind, is_same_file, look_at, unfit};
use crate::errno;
use crate::image::own;
use crate::kept::{PRELOAD, PROGRAM, REGION, SERVICE, Variable, WAKE};
use crate::membership::{self, Membership};
use crate::net;
use crate::successor;
use crate::trouble::{self, NO_WAKE, Text};
use crate::turn::{Call, Held, begin};
use crate::words::{PathSpace, Pointers, Words, words};
use crate::world::{PROCESS, World};

/// The exit status of a server that cannot continue as another program: `EX_UNAVAILABLE` of
/// sysexits(3).
const CANNOT_GO_ON: u8 = 69;
/// The shell that runs files without a format.
const SHELL: &CStr = c"/bin/sh";

unsafe extern "C" {
    static environ: Words;
}

/// Ends the server, which cannot continue as this program and stay replicated. `wake` is as for
/// [`trouble::refuse`].
fn refuse(path: &CStr, why: &str, wake: i32) -> ! {
    let mut text = Text::new();
    // A text that is cut is better than no text.
    let _ = write!(
        text,
        "it starts {} in its own place, {why}; give a program after -- that serves by itself",
        path.to_str().unwrap_or("another program")
    );
    trouble::refuse(CANNOT_GO_ON, text.as_str(), wake)
}

/// Tries a name as execvp does (exec(3)). `run` returns an error for each file that cannot run.
/// Returns the last error.
fn search(name: &CStr, mut run: impl FnMut(&CStr) -> c_int) -> c_int {
    if name.is_empty() {
        return libc::ENOENT;
    }
    if name.to_bytes().contains(&b'/') {
        return run(name);
    }
    // SAFETY: the environment is an array that ends with a null pointer, or null.
    let mut variables = unsafe { words(environ) };
    let path = variables.find_map(|word| {
        // SAFETY: a string of the environment.
        unsafe { CStr::from_ptr(word) }.to_bytes().strip_prefix(b"PATH=")
    });
    let mut last = libc::ENOENT;
    for directory in path.unwrap_or(b"/bin:/usr/bin").split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let Some(path) = PathSpace::join(directory, name.to_bytes()) else { continue };
        match run(path.as_c_str()) {
            libc::EACCES => last = libc::EACCES,
            libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT => {}
            error => return error,
        }
    }
    last
}

/// Calls the real execve.
///
/// # Safety
/// As execve(2).
unsafe fn execve_now(path: &CStr, arguments: Words, environment: Words) -> c_int {
    let arguments = [path.as_ptr() as usize, arguments as usize, environment as usize, 0, 0, 0];
    // The dynamic linker of the next program reads the processor's time stamp.
    let permit = net::Permit::take();
    // SAFETY: the caller's duty.
    let result = sys::checked(unsafe { sys::syscall(libc::SYS_execve, arguments) });
    permit.give_back();
    result.err().unwrap_or(0)
}

/// Runs a script by the shell. Returns the error.
///
/// # Safety
/// As execve(2).
unsafe fn execve_shell(script: &CStr, arguments: Words, environment: Words) -> c_int {
    // SAFETY: the caller's array.
    let count = unsafe { words(arguments) }.count();
    let mut list = match Pointers::new(count + 3) {
        Ok(list) => list,
        Err(error) => return error,
    };
    list.push(SHELL.as_ptr());
    list.push(script.as_ptr());
    // SAFETY: the caller's array.
    unsafe { words(arguments) }.skip(1).for_each(|word| list.push(word));
    // SAFETY: live strings and arrays that end with null pointers.
    unsafe { execve_now(SHELL, list.end(), environment) }
}

/// Puts the variables by which the next program takes part into its environment. `program` is one
/// that is linked statically.
///
/// # Safety
/// The environment is an array of strings that ends with a null pointer, or null.
unsafe fn add_variables(
    world: &mut World,
    environment: Words,
    program: Option<&CStr>,
) -> Result<Pointers, c_int> {
    // SAFETY: the caller's array.
    let count = unsafe { words(environment) }.count();
    let mut variables = Pointers::new(count + 5)?;
    let World { own, joined, .. } = world;
    *joined = None;
    // SAFETY: the caller's array.
    for word in unsafe { words(environment) } {
        // SAFETY: a string of the caller's.
        let bytes = unsafe { CStr::from_ptr(word) }.to_bytes();
        if let Some(other) = bytes.strip_prefix(PRELOAD) {
            // Other libraries come behind this one.
            *joined = Variable::new(own.preload.bytes(), b":")
                .and_then(|ours| Variable::new(ours.bytes(), other))
                .filter(|_| !other.is_empty());
        } else if ![REGION, WAKE, SERVICE].iter().any(|own| bytes.starts_with(own)) {
            variables.push(word);
        }
    }
    if let Some(program) = program {
        *joined = Variable::new(PROGRAM, program.to_bytes());
        joined.as_ref().ok_or(libc::ENAMETOOLONG)?;
    }
    for variable in [joined.as_ref().unwrap_or(&own.preload), &own.region, &own.wake, &own.service]
    {
        variables.push(variable.as_c_str().as_ptr());
    }
    Ok(variables)
}

/// Becomes another program, which takes part. Returns the error.
///
/// # Safety
/// As execve(2).
unsafe fn go_on_as(
    held: &mut Held,
    path: &CStr,
    searches: bool,
    arguments: Words,
    environment: Words,
) -> c_int {
    let me = held.me;
    let world = held.world();
    if let Some(error) = unfit(path) {
        return error;
    }
    let wake = world.output.descriptor();
    // `/proc/self/exe` leads to this library, where that has started the program.
    let path = match own::program() {
        Some(program) if is_same_file(path, world.own.library()) => program,
        _ => path,
    };
    // This library is executed then, and starts it.
    let mut program = None;
    let is_script = match look_at(world, path, 0) {
        ImageKind::Unfit => return libc::ENOEXEC,
        ImageKind::Script if !searches => return libc::ENOEXEC,
        ImageKind::Static if world.region.has_floor() => {
            program = Some(path);
            false
        }
        ImageKind::Static => refuse(
            path,
            "which is linked statically: crane sees its calls only below libc; leave --floor=never \
             out",
            wake,
        ),
        ImageKind::Foreign => refuse(path, "which is no program for x86-64", wake),
        ImageKind::Script => {
            look_at(world, SHELL, 1);
            true
        }
        ImageKind::Loads => false,
    };
    // SAFETY: the caller's duty.
    let mut variables = match unsafe { add_variables(world, environment, program) } {
        Ok(variables) => variables,
        Err(error) => return error,
    };
    if let Err(why) = successor::leave(world, me) {
        refuse(path, why, wake);
    }
    world.output.flush();
    let environment = variables.end();
    let library = world.own.library();
    let path = if program.is_some() { library } else { path };
    // SAFETY: the caller's duty; our array ends with a null pointer.
    let error = unsafe {
        if is_script {
            execve_shell(path, arguments, environment)
        } else {
            execve_now(path, arguments, environment)
        }
    };
    successor::take_back(world);
    error
}

/// Carries out one of the functions of exec(3). Returns -1, if it returns.
///
/// # Safety
/// As exec(3).
unsafe fn exec(name: *const c_char, searches: bool, arguments: Words, environment: Words) -> c_int {
    // SAFETY: the caller's duty.
    errno::set(unsafe { execute(name, searches, arguments, environment) });
    -1
}

/// Executes a program, or returns the error.
///
/// # Safety
/// As exec(3).
pub(super) unsafe fn execute(
    name: *const c_char,
    searches: bool,
    arguments: Words,
    environment: Words,
) -> c_int {
    // SAFETY: the caller's string.
    let name = unsafe { CStr::from_ptr(name) };
    let attempt = |run: &mut dyn FnMut(&CStr) -> c_int| {
        if searches { search(name, run) } else { run(name) }
    };
    match begin(Call::Exec, 0) {
        Some(mut held) => {
            // SAFETY: the caller's duty.
            let error = attempt(&mut |path| unsafe {
                go_on_as(&mut held, path, searches, arguments, environment)
            });
            held.end();
            error
        }
        None => {
            if membership::current() == Membership::None
                && PROCESS.load(Ordering::Relaxed) == sys::pid()
            {
                refuse(name, "from a thread that crane does not know", NO_WAKE);
            }
            // A child takes no part, and runs any program without the library. SAFETY: the caller's
            // duty.
            attempt(&mut |path| unsafe { exec_plainly(path, searches, arguments, environment) })
        }
    }
}

/// Behaves like exec(3) without this library: if the name is searched for, a file without a format
/// is a script of the shell.
///
/// # Safety
/// As exec(3).
unsafe fn exec_plainly(path: &CStr, searches: bool, arguments: Words, environment: Words) -> c_int {
    // SAFETY: the caller's duty.
    unsafe {
        match execve_now(path, arguments, environment) {
            libc::ENOEXEC if searches => execve_shell(path, arguments, environment),
            error => error,
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execve(path: *const c_char, arguments: Words, environment: Words) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { exec(path, false, arguments, environment) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execv(path: *const c_char, arguments: Words) -> c_int {
    // SAFETY: the caller's arguments; libc's environment.
    unsafe { exec(path, false, arguments, environ) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execvp(name: *const c_char, arguments: Words) -> c_int {
    // SAFETY: the caller's arguments; libc's environment.
    unsafe { exec(name, true, arguments, environ) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execvpe(name: *const c_char, arguments: Words, environment: Words) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { exec(name, true, arguments, environment) }
}

/// Returns the path of an open file, or of a file below an open directory (proc(5)).
fn path_of(descriptor: c_int, name: &[u8]) -> Option<PathSpace> {
    let mut digits = [0; 12];
    let mut at = digits.len();
    let mut left = u32::try_from(descriptor).ok()?;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    let open = PathSpace::join(b"/proc/self/fd", &digits[at..])?;
    if name.is_empty() { Some(open) } else { PathSpace::join(open.as_c_str().to_bytes(), name) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fexecve(descriptor: c_int, arguments: Words, environment: Words) -> c_int {
    let Some(path) = path_of(descriptor, b"") else {
        errno::set(libc::EINVAL);
        return -1;
    };
    // SAFETY: a live path; the caller's arrays.
    unsafe { exec(path.as_c_str().as_ptr(), false, arguments, environment) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn execveat(
    directory: c_int,
    path: *const c_char,
    arguments: Words,
    environment: Words,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's string.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    let known = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    let is_plain = name.starts_with(b"/") || (directory == libc::AT_FDCWD && !name.is_empty());
    let error = match () {
        () if flags & !known != 0 => libc::EINVAL,
        () if name.is_empty() && flags & libc::AT_EMPTY_PATH == 0 => libc::ENOENT,
        // SAFETY: the caller's string and arrays.
        () if is_plain => return unsafe { exec(path, false, arguments, environment) },
        () => match path_of(directory, name) {
            Some(path) => {
                // SAFETY: a live path; the caller's arrays.
                return unsafe { exec(path.as_c_str().as_ptr(), false, arguments, environment) };
            }
            None => libc::EBADF,
        },
    };
    errno::set(error);
    -1
}

/// Carries out the variadic functions, whose words are first in registers and then on the stack.
/// The thunks below pass both places.
///
/// # Safety
/// Called by the thunks alone: `registers` leads to the words in registers, the first of which is
/// the argument behind the name, and `stack` to the rest. A null pointer ends them.
unsafe extern "C" fn exec_list(
    name: *const c_char,
    registers: Words,
    stack: Words,
    form: u32,
) -> c_int {
    const IN_REGISTERS: usize = 5;
    // SAFETY: the thunk's duty.
    let word = |number: usize| unsafe {
        match number.checked_sub(IN_REGISTERS) {
            None => *registers.add(number),
            Some(number) => *stack.add(number),
        }
    };
    let count = (0..).find(|number| word(*number).is_null()).expect("a null pointer ends them");
    let mut list = match Pointers::new(count + 1) {
        Ok(list) => list,
        Err(error) => {
            errno::set(error);
            return -1;
        }
    };
    (0..count).for_each(|number| list.push(word(number)));
    // SAFETY: libc's environment, or the array behind the words (execle).
    let environment =
        unsafe { if form == EXECLE { word(count + 1).cast::<*const c_char>() } else { environ } };
    // SAFETY: live strings and arrays that end with null pointers.
    unsafe { exec(name, form == EXECLP, list.end(), environment) }
}

const EXECL: u32 = 0;
const EXECLP: u32 = 1;
const EXECLE: u32 = 2;

macro_rules! variadic {
    ($name:ident, $form:expr) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() -> c_int {
            // The System V ABI: five words in registers behind the name, pushed in their order;
            // the others are behind the return address. The frame is as `caller` wants it, and the
            // stack aligned for the call.
            core::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "sub rsp, 8",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "lea rdx, [rbp + 16]",
                "mov ecx, {form}",
                "call {list}",
                "leave",
                "ret",
                form = const $form,
                list = sym exec_list,
            )
        }
    };
}

variadic!(execl, EXECL);
variadic!(execlp, EXECLP);
variadic!(execle, EXECLE);
