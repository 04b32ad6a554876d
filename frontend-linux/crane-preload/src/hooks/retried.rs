//! Calls of the kernel that would wait until another thread of the program makes a call of the same
//! family: they are tried without waiting, and tried again after each such call.

use std::ffi::c_int;

use crane_core::execution::turn::{NEVER, Woken};

use super::lock::ALL;
use super::time::after;
use crate::execution::On;
use crate::turn::Held;

/// The time after which a call is tried again where a child process may have made it possible.
const AGAIN: u64 = 10_000_000;

/// The rule by which a call waits.
pub(super) struct WaitRule {
    /// The thing that it waits for.
    pub on: On,
    /// Until when, and the error that it has then.
    pub limit: Option<(u64, c_int)>,
    /// Whether it starts again after a handler that lets calls do so.
    pub restarts: bool,
    /// Whether a cancelled thread ends in it.
    pub cancellable: bool,
}

/// Makes a call until `attempt` has an answer; `None`: it would wait.
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

/// Has each thread that waits try its call again, in the order of their waiting.
pub(super) fn wake(held: &mut Held, on: On) {
    let turn = &mut held.world().run.turn;
    if turn.may_wait(on.key()) {
        turn.wake(on.key(), ALL);
    }
}
