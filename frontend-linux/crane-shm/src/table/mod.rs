//! The table of all system calls of x86-64: what becomes of each, why, and which test shows it.
//!
//! It is dispatch, specification and documentation at once. The cell's filter refuses what it
//! refuses, the preload library's trap judges by it, and specs/CALLS.md is made of it.
//!
//! | room | its calls |
//! |---|---|
//! | [`pure`] | those that change the calling process alone |
//! | [`ordered`] | those that the kernel answers from what earlier calls have made |
//! | [`answered`] | those that the library answers |
//! | [`foreign`] | those that lead out of what the replicas agree on |
//! | [`refused`] | those that no process of the cell may make |

mod answered;
mod foreign;
mod ordered;
mod pure;
mod refused;

use libc::c_long;

/// Numbers below this are in the table: those of Linux 5.15. Kernels differ in later ones, so a
/// cell has none of them on any host, and programs fall back.
pub const NUMBERS: c_long = 449;

/// The class of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The kernel answers. The call changes the calling process alone, or is answered alike in
    /// every replica.
    Pure,
    /// The kernel answers, from what earlier calls of the server have made: its own files and
    /// objects. The order of these calls is the schedule's.
    Ordered,
    /// The library answers, in the turn where the order counts.
    Virtual,
    /// The kernel answers what the replicas do not agree on. The call is told by name, or, with
    /// `--strict`, not made.
    Foreign,
    /// The cell's filter answers with this error number, whatever the arguments are.
    Refused(i32),
}

/// Whether a call is told that a function of libc's makes for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InLibc {
    /// Nothing: it is as it should be, or a hook of the function has done all that is due.
    Unseen,
    /// It is told as if the program had made it: no hook covers the function.
    Told,
}

/// Whether a thread can wait in a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// Never: the call returns at once, to its caller.
    Never,
    /// It may wait, be interrupted, not return, or return twice.
    MayWait,
}

/// Calls of which the same is true.
#[derive(Debug)]
pub struct Group {
    /// Their class.
    pub class: Class,
    /// Whether they are told when libc makes them for itself.
    pub in_libc: InLibc,
    /// Whether a thread can wait in them.
    pub waits: Waits,
    /// The reason, for people.
    pub why: &'static str,
    /// The test that shows it: a file below `frontend-test/`, or that and a test's name.
    pub test: &'static str,
    /// The calls, by number and name.
    pub calls: &'static [(c_long, &'static str)],
}

/// All groups.
const GROUPS: [&[Group]; 5] =
    [pure::GROUPS, ordered::GROUPS, answered::GROUPS, foreign::GROUPS, refused::GROUPS];

/// By number: the place of a call's group, counted over all rooms from 1, or 0 for a number that
/// no call has.
static PLACES: [u8; NUMBERS as usize] = places();

const fn places() -> [u8; NUMBERS as usize] {
    let (mut places, mut count, mut room) = ([0; NUMBERS as usize], 0, 0);
    while room < GROUPS.len() {
        let mut at = 0;
        while at < GROUPS[room].len() {
            count += 1;
            let mut calls = GROUPS[room][at].calls;
            while let [(number, _), rest @ ..] = calls {
                assert!(places[*number as usize] == 0, "a call is in the table twice");
                places[*number as usize] = count;
                calls = rest;
            }
            at += 1;
        }
        room += 1;
    }
    places
}

/// Returns what the table says of a call, or `None` if it has no call of this number.
#[must_use]
pub fn group(number: c_long) -> Option<&'static Group> {
    let mut place = usize::from(*PLACES.get(usize::try_from(number).ok()?)?).checked_sub(1)?;
    for room in GROUPS {
        if place < room.len() {
            return Some(&room[place]);
        }
        place -= room.len();
    }
    None
}

/// Returns the error number of a call that is refused always, by the table, or because it has no
/// such call.
#[must_use]
pub fn refusal(number: c_long) -> Option<i32> {
    match group(number) {
        Some(Group { class: Class::Refused(error), .. }) => Some(*error),
        Some(_) => None,
        None => Some(libc::ENOSYS),
    }
}

/// Returns the name of a call.
#[must_use]
pub fn name(number: c_long) -> Option<&'static str> {
    let calls = group(number)?.calls;
    calls.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Returns all calls, by number and name, in the order of the table.
pub fn calls() -> impl Iterator<Item = (&'static Group, c_long, &'static str)> {
    let groups = GROUPS.into_iter().flatten();
    groups.flat_map(|group| group.calls.iter().map(move |(number, name)| (group, *number, *name)))
}

/// The numbers, by the names of the C library's.
#[expect(non_upper_case_globals, reason = "names like the others")]
mod numbers {
    pub(super) use libc::*;

    // `libc` has no names for these.
    pub(super) const SYS_create_module: c_long = 174;
    pub(super) const SYS_get_kernel_syms: c_long = 177;
    pub(super) const SYS_query_module: c_long = 178;
    pub(super) const SYS_io_pgetevents: c_long = 333;
}

/// A group of calls: class, what is said of them in libc, whether they may wait, why, test, calls.
macro_rules! rows {
    ($class:expr, $in_libc:ident, $waits:ident, $why:expr, $test:expr, $($call:ident)*) => {
        $crate::table::Group {
            class: $class,
            in_libc: $crate::table::InLibc::$in_libc,
            waits: $crate::table::Waits::$waits,
            why: $why,
            test: $test,
            calls: &[$(
                ($crate::table::numbers::$call, $crate::table::without_prefix(stringify!($call)))
            ),*],
        }
    };
}
use rows;

/// Returns what follows `SYS_`.
const fn without_prefix(name: &'static str) -> &'static str {
    name.split_at(4).1
}
