//! The hooks' answers to calls by their numbers, once there are any (unless `--floor=never`).

use std::sync::OnceLock;

use libc::{c_int, c_long, clockid_t};

use super::masks;

/// The hooks' answers to calls by their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    /// Returns whether a hook answers the call of this number.
    pub has_hook: fn(c_long) -> bool,
    /// Answers a call as the kernel does, with a value or an error number below zero. It is as
    /// unsafe as the call.
    pub answer: unsafe fn(c_long, [usize; 6]) -> isize,
    /// Returns a clock's value in nanoseconds, as a call of the thread at a place of the program,
    /// or `None` if the call must be made in full.
    pub clock: fn(clockid_t, u64) -> Option<u64>,
    /// Sends the calling thread, which has left its hook, the signals that were posted to it.
    pub deliver: fn(),
    /// Prepares for a change of the calling thread's mask (rt_sigprocmask(2)) by this set.
    pub before_mask: fn(c_int, u64),
}

static ANSWERS: OnceLock<Answers> = OnceLock::new();

/// Lets calls be answered from now on.
pub(super) fn set(answers: Answers) {
    // A process begins once.
    let _ = ANSWERS.set(answers);
}

/// Returns the answers, if there are any.
pub(super) fn get() -> Option<&'static Answers> {
    ANSWERS.get()
}

/// Returns whether the hooks answer calls that bypass them.
#[inline]
pub(super) fn is_begun() -> bool {
    ANSWERS.get().is_some()
}

/// Prepares for a change of the calling thread's mask by the set at a place, if there is one.
pub(super) fn before_mask(how: c_int, set: usize) {
    if let Some(answers) = ANSWERS.get().filter(|_| set != 0)
        && let Some(set) = masks::read(set)
    {
        (answers.before_mask)(how, set);
    }
}

/// Returns whether a hook answers the call of this number.
pub(super) fn has_hook(number: c_long) -> bool {
    ANSWERS.get().is_some_and(|answers| (answers.has_hook)(number))
}
