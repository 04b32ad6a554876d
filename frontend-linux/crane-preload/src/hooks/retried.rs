//! Calls of the kernel that would wait until another thread of the program makes a call of the same
//! family: a hook tries them without waiting, and again after each such call.

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};

use super::lock::ALL;
use super::time::{AGAIN, after};
use crate::execution::On;
use crate::turn::Held;

/// The rule by which a call waits.
pub(super) struct WaitRule {
    /// The thing for which the call waits.
    pub on: On,
    /// The deadline, and the error of the call at that time.
    pub limit: Option<(u64, c_int)>,
    /// Whether the call starts again after a handler that lets calls do so.
    pub restarts: bool,
    /// Whether a cancelled thread ends in the call.
    pub cancellable: bool,
}

/// Repeats a call until `attempt` has an answer. `attempt` returns `None` if the call would wait.
pub(super) fn retry(
    held: &mut Held,
    rule: &WaitRule,
    mut attempt: impl FnMut() -> Option<Result<usize, c_int>>,
) -> Result<usize, c_int> {
    held.cancellable = rule.cancellable;
    let (deadline, late) = rule.limit.unwrap_or((NEVER, libc::EAGAIN));
    let result = loop {
        if let Some(result) = attempt() {
            break result;
        }
        // A child process wakes no thread.
        let next = if held.world().forked { after(held, AGAIN).min(deadline) } else { deadline };
        match held.wait_or_signal(rule.on, next) {
            _ if held.cancelled => break Err(libc::EINTR),
            Ok(Woken::Expired) if next == deadline => break attempt().unwrap_or(Err(late)),
            Ok(_) => {}
            Err(by) if by.restarts && rule.restarts => {}
            Err(_) => break Err(libc::EINTR),
        }
    };
    if result.is_ok() {
        wake(held, rule.on);
    }
    result
}

/// Makes each waiting thread try its call again, in the order of their waiting.
pub(super) fn wake(held: &mut Held, on: On) {
    let turn = &mut held.world().run.turn;
    if turn.may_wait(on.key()) {
        turn.wake(on.key(), ALL);
    }
}
