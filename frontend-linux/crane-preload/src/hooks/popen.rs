//! popen and pclose: a pipe to a shell that takes part, or from it.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use libc::{FILE, pid_t};

use super::spawn::make_child;
use crate::errno;
use crate::fork;
use crate::membership::takes_part;

/// The number of streams of popen that can be open at the same time.
const STREAMS: usize = 256;

/// A stream, and the child at its other end.
struct PipeStream {
    file: AtomicPtr<FILE>,
    child: AtomicI32,
}

// Threads of this process come here one at a time: children take part in serial mode alone.
static OPEN: [PipeStream; STREAMS] =
    [const { PipeStream { file: AtomicPtr::new(ptr::null_mut()), child: AtomicI32::new(0) } };
        STREAMS];

unsafe extern "C" {
    static environ: *const *mut c_char;
}

/// The kind of stream that a mode asks for.
#[derive(Clone, Copy)]
struct Mode {
    reads: bool,
    closes_on_exec: bool,
}

impl Mode {
    /// # Safety
    /// A string.
    unsafe fn of(mode: *const c_char) -> Option<Self> {
        // SAFETY: the caller's duty.
        let bytes = unsafe { std::ffi::CStr::from_ptr(mode) }.to_bytes();
        let has = |byte: u8| bytes.contains(&byte);
        let is_known = bytes.iter().all(|byte| b"rwe".contains(byte));
        (is_known && has(b'r') != has(b'w'))
            .then(|| Self { reads: has(b'r'), closes_on_exec: has(b'e') })
    }

    fn for_stdio(self) -> *const c_char {
        if self.reads { c"r".as_ptr() } else { c"w".as_ptr() }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE {
    if takes_part() && fork::take_part() {
        // SAFETY: the caller's own strings.
        return match unsafe { open(command, mode) } {
            Ok(file) => file,
            Err(error) => {
                errno::set(error);
                ptr::null_mut()
            }
        };
    }
    let real = real!(popen: fn(*const c_char, *const c_char) -> *mut FILE);
    // SAFETY: the caller's own arguments.
    make_child(|| unsafe { real(command, mode) })
}

/// # Safety
/// Two strings.
unsafe fn open(command: *const c_char, mode: *const c_char) -> Result<*mut FILE, c_int> {
    // SAFETY: the caller's duty.
    let mode = unsafe { Mode::of(mode) }.ok_or(libc::EINVAL)?;
    let place = OPEN.iter().find(|stream| stream.file.load(Ordering::Relaxed).is_null());
    let place = place.ok_or(libc::EMFILE)?;
    let mut ends = [0; 2];
    // SAFETY: a place for two numbers. libc's names are this library's own.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(errno::current());
    }
    let (own, childs, as_what) =
        if mode.reads { (ends[0], ends[1], 1) } else { (ends[1], ends[0], 0) };
    // SAFETY: two descriptors of ours; a command.
    let started = unsafe { start_shell(command, childs, as_what) };
    // SAFETY: a descriptor of ours.
    unsafe { libc::close(childs) };
    let file = started.and_then(|child| {
        // SAFETY: a descriptor of ours, which the stream takes over.
        let file = unsafe { libc::fdopen(own, mode.for_stdio()) };
        if file.is_null() { Err(errno::current()) } else { Ok((file, child)) }
    });
    match file {
        Ok((file, child)) => {
            if !mode.closes_on_exec {
                // SAFETY: plain numbers.
                unsafe { libc::fcntl(own, libc::F_SETFD, 0) };
            }
            place.child.store(child, Ordering::Relaxed);
            place.file.store(file, Ordering::Relaxed);
            Ok(file)
        }
        Err(error) => {
            // SAFETY: a descriptor of ours.
            unsafe { libc::close(own) };
            Err(error)
        }
    }
}

/// Starts the shell, with one end of the pipe as its input or output, and without the other streams
/// of popen (POSIX).
///
/// # Safety
/// The command is a string, and the descriptor open.
unsafe fn start_shell(command: *const c_char, end: c_int, as_what: c_int) -> Result<pid_t, c_int> {
    let mut actions = MaybeUninit::uninit();
    let arguments =
        [c"sh".as_ptr(), c"-c".as_ptr(), command, ptr::null()].map(<*const _>::cast_mut);
    let mut child = 0;
    // SAFETY: a list of ours, initialised first; arrays that end with null pointers.
    let error = unsafe {
        libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
        libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), end, as_what);
        for stream in &OPEN {
            let file = stream.file.load(Ordering::Relaxed);
            let number = if file.is_null() { -1 } else { libc::fileno(file) };
            if number >= 0 && number != as_what {
                libc::posix_spawn_file_actions_addclose(actions.as_mut_ptr(), number);
            }
        }
        let (shell, null) = (c"/bin/sh".as_ptr(), ptr::null());
        let actions_given = actions.as_ptr();
        let error = libc::posix_spawn(
            &raw mut child,
            shell,
            actions_given,
            null,
            arguments.as_ptr(),
            environ,
        );
        libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
        error
    };
    if error == 0 { Ok(child) } else { Err(error) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pclose(file: *mut FILE) -> c_int {
    let is_it = |stream: &&PipeStream| stream.file.load(Ordering::Relaxed) == file;
    let Some(stream) = OPEN.iter().find(is_it).filter(|_| !file.is_null()) else {
        let real = real!(pclose: fn(*mut FILE) -> c_int);
        // SAFETY: the caller's own argument.
        return unsafe { real(file) };
    };
    stream.file.store(ptr::null_mut(), Ordering::Relaxed);
    let child = stream.child.load(Ordering::Relaxed);
    // SAFETY: the caller's stream, which ends here.
    unsafe { libc::fclose(file) };
    let mut status = 0;
    loop {
        // SAFETY: a place of ours.
        match unsafe { libc::waitpid(child, &raw mut status, 0) } {
            -1 if errno::current() == libc::EINTR => {}
            -1 => return -1,
            _ => return status,
        }
    }
}
