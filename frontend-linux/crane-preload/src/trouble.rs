//! The end of a process that cannot continue: its reason reaches the daemon first.
//!
//! The text stays in the shared memory, where it outlives the process; the daemon reads it when the
//! server has ended, and puts it into its event. Nothing here waits for the daemon or takes the
//! turn.

use std::fmt::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::Ordering;

use crane_shm::region::TROUBLE_BYTES;
use crane_shm::{EndReason, sys};

use crate::inherited::is_pipe;
use crate::world;

/// Ends the process with an exit status and a reason, for the daemon and on the standard error.
pub(crate) fn end(status: u8, reason: &str) -> ! {
    report(reason);
    // SAFETY: exit_group does not return.
    unsafe { sys::syscall(libc::SYS_exit_group, [usize::from(status), 0, 0, 0, 0, 0]) };
    unreachable!("exit_group returned")
}

/// The descriptor that wakes the daemon, where it is not known.
pub(crate) const NO_WAKE: i32 = -1;

/// Ends the whole server as [`end`] ends a process, because the program cannot be replicated: the
/// daemon ends it for this reason, whichever of its processes gives the reason. `wake` is the
/// descriptor that wakes the daemon, if it is still open here.
pub(crate) fn refuse(status: u8, reason: &str, wake: i32) -> ! {
    end_server(EndReason::Unfit, status, reason, wake)
}

/// Does the same as [`refuse`], for any kind of reason.
pub(crate) fn end_server(why: EndReason, status: u8, reason: &str, wake: i32) -> ! {
    if let Some(region) = world::region() {
        region.put_trouble(reason.as_bytes());
        region.end_for(why);
        let process = world::PROCESS.load(Ordering::Relaxed);
        if !is_pipe(wake) || sys::write(wake, &[1]).is_err_and(|error| error != libc::EAGAIN) {
            // The daemon learns of the server's end in any case.
            let arguments = [process as usize, libc::SIGKILL as usize, 0, 0, 0, 0];
            // SAFETY: a signal to the process that this one comes from.
            unsafe { sys::syscall(libc::SYS_kill, arguments) };
        }
    }
    end(status, reason)
}

/// Makes the library report its panics like any other reason to end. The process ends with a panic,
/// because the library is built to abort.
pub(crate) fn report_panics() {
    // A function without captures: its box is no allocation.
    panic::set_hook(Box::new(on_panic));
}

fn on_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
    let mut text = Text::new();
    // A text that is cut is better than no text.
    let _ = match (message, panic.location()) {
        (Some(message), Some(at)) => write!(text, "{message} ({}:{})", at.file(), at.line()),
        (Some(message), None) => text.write_str(message),
        (None, Some(at)) => write!(text, "a panic at {}:{}", at.file(), at.line()),
        (None, None) => text.write_str("a panic"),
    };
    report(text.as_str());
}

fn report(reason: &str) {
    if let Some(region) = world::region() {
        region.put_trouble(reason.as_bytes());
    }
    let parts = ["crane: ", reason, "\n"];
    let parts = parts
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    let arguments = [2, parts.as_ptr() as usize, parts.len(), 0, 0, 0];
    // SAFETY: the kernel reads the parts, which live during the call. Without a standard error the
    // daemon's copy has to do.
    unsafe { sys::syscall(libc::SYS_writev, arguments) };
}

/// A text that is cut where its space ends.
pub(crate) struct Text {
    bytes: [u8; TROUBLE_BYTES],
    length: usize,
}

impl Text {
    /// Creates an empty text.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; TROUBLE_BYTES], length: 0 }
    }

    /// Returns the text so far.
    pub(crate) fn as_str(&self) -> &str {
        let written = &self.bytes[..self.length];
        str::from_utf8(written).unwrap_or_else(|error| {
            str::from_utf8(&written[..error.valid_up_to()]).unwrap_or_default()
        })
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TROUBLE_BYTES - self.length;
        let part = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
        if part.len() < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
