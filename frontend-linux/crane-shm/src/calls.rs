//! The names of calls, for people.

/// The names of calls by their numbers in the schedule hash, from 1 (see the preload library's
/// `turn`).
const NAMES: [&str; 44] = [
    "create",
    "join",
    "detach",
    "thread end",
    "lock",
    "try lock",
    "unlock",
    "wait",
    "wake",
    "barrier",
    "once",
    "sleep",
    "yield",
    "socket",
    "bind",
    "listen",
    "accept",
    "receive",
    "send",
    "shutdown",
    "close",
    "duplicate",
    "name",
    "option",
    "poll",
    "epoll control",
    "channel",
    "time",
    "random",
    "fork",
    "cancel",
    "test cancel",
    "exec",
    "signal",
    "futex",
    "splice",
    "file lock",
    "queue",
    "an unknown call",
    "child",
    "timer",
    "affinity",
    "exit",
    "wait for a child",
];

/// Returns the name of the call with this number in the schedule hash.
pub fn call_name(kind: u16) -> &'static str {
    let place = usize::from(kind).checked_sub(1);
    place.and_then(|place| NAMES.get(place)).copied().unwrap_or("an unknown call")
}
