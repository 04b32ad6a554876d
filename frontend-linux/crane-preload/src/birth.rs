//! The child that this process is about to make, for all who have a part in it: the thread that
//! makes it, the call by which libc does, and the child itself.

use std::sync::atomic::{AtomicU32, Ordering};

use crane_core::execution::processes::ProcessId;
use crane_core::execution::turn::ThreadId;
use libc::siginfo_t;

use crate::processes;

/// The numbers of its process and its thread, plus 1.
static EXPECTED: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = 0;
const PROCESS_SHIFT: u32 = 16;

/// Records that the next child is this process, with this thread.
pub(crate) fn expect(process: ProcessId, thread: ThreadId) {
    let expected = u32::from(process.0) << PROCESS_SHIFT | (u32::from(thread.0) + 1);
    EXPECTED.store(expected, Ordering::SeqCst);
}

/// Records that no child is made any more.
pub(crate) fn expect_none() {
    EXPECTED.store(NOBODY, Ordering::SeqCst);
}

/// Takes the numbers that were left for this process, which is the child, if it takes part.
pub(crate) fn take() -> Option<(ProcessId, ThreadId)> {
    let expected = EXPECTED.swap(NOBODY, Ordering::SeqCst);
    let thread = (expected as u16).checked_sub(1)?;
    Some((ProcessId((expected >> PROCESS_SHIFT) as u16), ThreadId(thread)))
}

/// Returns whether the calling thread is making a child that takes part.
pub(crate) fn is_making() -> bool {
    EXPECTED.load(Ordering::Relaxed) != NOBODY
}

/// Returns the arguments of the call by which libc makes the child that is being made: the kernel
/// tells this library of its end.
pub(crate) fn arguments_of_child([flags, rest @ ..]: [usize; 6]) -> [usize; 6] {
    /// The signal at the child's end (`CSIGNAL` of linux/sched.h).
    const AT_END: usize = 0xff;
    let flags = flags & !AT_END | libc::SIGSYS as usize;
    let [a, b, c, d, e] = rest;
    [flags, a, b, c, d, e]
}

/// Hears of the end of a child, if that is what the signal of the net's says whose record this is,
/// and returns whether it is.
pub(crate) fn is_heard_of_end(record: &siginfo_t, architecture: u32) -> bool {
    const OF_CHILD: [i32; 3] = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED];
    /// The record of a trap has its architecture there.
    const NONE: u32 = 0;
    let is_end = architecture == NONE && OF_CHILD.contains(&record.si_code);
    if is_end {
        processes::hear_of_end(record);
    }
    is_end
}
