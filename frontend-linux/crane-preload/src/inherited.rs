//! The library's own descriptors: the region and the pipe by which the daemon is woken, which the
//! program inherits from the daemon, and the memory that its processes share.
//!
//! Their numbers are the program's limit of open files and the next ones. The kernel gives the
//! program only numbers below its limit, so the program has the numbers of a native run, and no
//! file of its own ever takes the place of one of these. To the program they are closed, and other
//! programs that it starts do not get them.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicI32, Ordering};

use crane_shm::{REGION_PLACE, ServerSide, sys};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A number that leads nowhere.
const NONE: c_int = -1;

/// The end of the texts below.
macro_rules! closed {
    ($start:literal) => {
        concat!(
            $start,
            " has closed a descriptor of crane's by a call that bypasses crane: let it close only \
             what it has opened, or by close, closefrom or close_range of libc"
        )
    };
}

static MEMORY: AtomicI32 = AtomicI32::new(NONE);
static WAKE: AtomicI32 = AtomicI32::new(NONE);
static SERVICE: AtomicI32 = AtomicI32::new(NONE);

/// Maps the region by the descriptor that this value of `CRANE_REGION` names, and keeps the number.
///
/// # Errors
/// Returns what is wrong with the descriptor.
pub(crate) fn map_region(value: &CStr) -> Result<ServerSide, String> {
    let memory = number(value).ok_or("CRANE_REGION is no descriptor")?;
    // SAFETY: a number that is not negative; the region's functions answer one that is closed by an
    // error.
    let region = ServerSide::open_at(unsafe { BorrowedFd::borrow_raw(memory) }, REGION_PLACE)
        .map_err(|error| format!("cannot map the memory of CRANE_REGION: error {error}"))?;
    MEMORY.store(memory, Ordering::Relaxed);
    Ok(region)
}

/// Keeps the number of the pipe, which this value of `CRANE_WAKE` names, and lets no other program
/// inherit the descriptors. Returns the number.
///
/// # Errors
/// Returns what is wrong with a descriptor.
pub(crate) fn keep(value: &CStr) -> Result<c_int, &'static str> {
    let wake = number(value).filter(|number| is_pipe(*number)).ok_or("CRANE_WAKE is no pipe")?;
    WAKE.store(wake, Ordering::Relaxed);
    pass_on(false).map(|()| wake)
}

fn number(value: &CStr) -> Option<c_int> {
    value.to_str().ok()?.parse().ok().filter(|number| *number >= 0)
}

/// Returns the numbers.
pub(crate) fn numbers() -> [c_int; 3] {
    [&MEMORY, &WAKE, &SERVICE].map(|number| number.load(Ordering::Relaxed))
}

/// Keeps the number of that memory's descriptor in a program that takes another's place, whose
/// variable `CRANE_SERVICE` has this value. Returns it.
///
/// # Errors
/// Returns what is wrong with the value.
pub(crate) fn take_service(value: &CStr) -> Result<c_int, &'static str> {
    let memory = number(value).ok_or("CRANE_SERVICE is no descriptor")?;
    SERVICE.store(memory, Ordering::Relaxed);
    pass_on(false).map(|()| memory)
}

/// Returns the number of that memory's descriptor.
pub(crate) fn service() -> c_int {
    SERVICE.load(Ordering::Relaxed)
}

/// Keeps the descriptor of the memory that processes share, behind the others.
///
/// # Errors
/// Returns the kernel's error number.
pub(crate) fn keep_service(memory: OwnedFd) -> Result<(), i32> {
    let number = WAKE.load(Ordering::Relaxed) + 1;
    put([(memory, number)])?;
    SERVICE.store(number, Ordering::Relaxed);
    Ok(())
}

/// Returns the lower number, which is the group's limit of open files.
pub(crate) fn first_number() -> u64 {
    numbers()[0].cast_unsigned().into()
}

/// Returns whether a descriptor is the library's own: to the program it is closed.
pub(crate) fn is_own(descriptor: c_int) -> bool {
    descriptor >= 0 && numbers().contains(&descriptor)
}

/// Lets the program that takes this one's place inherit the descriptors, or lets none.
///
/// # Errors
/// Returns a reason if one of them is closed.
pub(crate) fn pass_on(inherits: bool) -> Result<(), &'static str> {
    let flags = if inherits { 0 } else { libc::FD_CLOEXEC };
    let pass = |descriptor: c_int| {
        let arguments = [descriptor as usize, libc::F_SETFD as usize, flags as usize, 0, 0, 0];
        // SAFETY: F_SETFD touches no memory.
        sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, arguments) })
    };
    let passed = numbers().into_iter().filter(|number| *number != NONE);
    let passed = passed.into_iter().try_for_each(|descriptor| pass(descriptor).map(|_| ()));
    passed.map_err(|_| closed!("but"))
}

/// Closes the descriptors: an image has none of them.
pub(crate) fn close() {
    for descriptor in numbers() {
        let arguments = [descriptor as usize, 0, 0, 0, 0, 0];
        // SAFETY: the descriptor is the library's own.
        unsafe { sys::syscall(libc::SYS_close, arguments) };
    }
}

/// Takes others in the place of those that were closed.
///
/// # Errors
/// Returns the kernel's error number.
pub(crate) fn replace([memory, wake, service]: [OwnedFd; 3]) -> Result<(), i32> {
    let [memory_number, wake_number, service_number] = numbers();
    put([(memory, memory_number), (wake, wake_number), (service, service_number)])
}

/// Gives descriptors other numbers.
fn put<const N: usize>(all: [(OwnedFd, c_int); N]) -> Result<(), i32> {
    with_all_numbers(|| {
        all.into_iter().try_for_each(|(given, number)| {
            let arguments =
                [given.as_raw_fd() as usize, number as usize, libc::O_CLOEXEC as usize, 0, 0, 0];
            // SAFETY: the number is the library's own, and free.
            sys::checked(unsafe { sys::syscall(libc::SYS_dup3, arguments) }).map(drop)
        })
    })?
}

/// Acts while the limit of open files is raised: the kernel gives numbers beyond the program's
/// limit only then, and answers about no more descriptors at once than the limit is.
///
/// # Errors
/// Returns the kernel's error number.
pub(crate) fn with_all_numbers<R>(act: impl FnOnce() -> R) -> Result<R, i32> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).map_err(Errno::raw_os_error)?;
    let result = act();
    setrlimit(Resource::Nofile, limit).map_err(Errno::raw_os_error)?;
    Ok(result)
}

/// Ends the program, which has closed the pipe. The reason reaches the daemon with the end.
pub(crate) fn end_without_wake(region: ServerSide) -> ! {
    region.put_trouble(closed!("the program").as_bytes());
    region.end_for(crane_shm::EndReason::Unfit);
    loop {
        let arguments = [sys::pid() as usize, libc::SIGKILL as usize, 0, 0, 0, 0];
        // SAFETY: a signal to this process.
        unsafe { sys::syscall(libc::SYS_kill, arguments) };
    }
}

/// Returns whether a number leads to a pipe: a child may have closed what it did not open.
pub(crate) fn is_pipe(descriptor: c_int) -> bool {
    let arguments = [descriptor as usize, libc::F_GETPIPE_SZ as usize, 0, 0, 0, 0];
    // SAFETY: F_GETPIPE_SZ touches no memory.
    sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, arguments) }).is_ok()
}
