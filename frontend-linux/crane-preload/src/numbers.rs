//! The numbers of a process's descriptors, and the descriptions to which they lead.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::capacities::{DESCRIPTIONS, DESCRIPTORS};

/// The mark of a number of which nothing is known.
pub(crate) const NONE: u32 = 0;

/// The table's mark of a number that leads to a file, at which no thread waits.
const PLAIN: u32 = u32::MAX;
const _: () = assert!(DESCRIPTIONS < PLAIN as usize);

/// By number: its description, plus 1; [`NONE`] or [`PLAIN`]. The holder of the turn writes
/// descriptions; any thread of the process reads them, and records plain numbers.
pub(crate) type Numbers = [AtomicU32; DESCRIPTORS];

/// Those of a process that has no place among the program's, or has left it: none leads to a
/// description.
static OWN: Numbers = [const { AtomicU32::new(NONE) }; DESCRIPTORS];

/// The numbers of this process.
static NUMBERS: AtomicPtr<Numbers> = AtomicPtr::new((&raw const OWN).cast_mut());

/// Returns the numbers of this process.
#[inline]
pub(crate) fn numbers() -> &'static Numbers {
    // SAFETY: static memory, or that of [`use_numbers`].
    unsafe { &*NUMBERS.load(Ordering::Relaxed) }
}

/// Has this process use these numbers from now on.
pub(crate) fn use_numbers(numbers: &'static Numbers) {
    NUMBERS.store(std::ptr::from_ref(numbers).cast_mut(), Ordering::SeqCst);
}

/// The place of a description in its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TableEntry(pub u32);

/// Gives this process, a child that takes no part, a copy of its parent's numbers below one of
/// them: what it does with its own is none of its parent's business.
pub(crate) fn leave_to_child(below: u32) {
    for (number, own) in numbers().iter().zip(&OWN).take(below as usize) {
        own.store(number.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    use_numbers(&OWN);
}

/// Returns the description behind a number, if this library handles it. Needs no turn.
pub(crate) fn lookup(descriptor: i32) -> Option<TableEntry> {
    lookup_in(numbers(), descriptor)
}

/// Returns the description behind a number of a process.
pub(crate) fn lookup_in(numbers: &Numbers, descriptor: i32) -> Option<TableEntry> {
    place_of(numbers.get(usize::try_from(descriptor).ok()?)?.load(Ordering::Relaxed))
}

/// Returns the description to which a number of this value leads.
pub(crate) fn place_of(value: u32) -> Option<TableEntry> {
    value.checked_sub(1).filter(|place| *place < PLAIN - 1).map(TableEntry)
}

/// Has this process, which ends, use no numbers any more.
pub(crate) fn forget_numbers() {
    use_numbers(&OWN);
}

/// Returns whether nothing is known about a number that can be followed.
pub(crate) fn is_unknown(descriptor: i32) -> bool {
    let number = usize::try_from(descriptor).ok().and_then(|number| numbers().get(number));
    number.is_some_and(|number| number.load(Ordering::Relaxed) == NONE)
}

/// Records that a number leads to a file, until [`forget_plain`].
pub(crate) fn set_plain(descriptor: i32) {
    replace(descriptor, NONE, PLAIN);
}

/// Records that a number may lead elsewhere from now on.
pub(crate) fn forget_plain(descriptor: i32) {
    replace(descriptor, PLAIN, NONE);
}

fn replace(descriptor: i32, from: u32, to: u32) {
    if let Some(number) = usize::try_from(descriptor).ok().and_then(|number| numbers().get(number))
        && number.load(Ordering::Relaxed) == from
    {
        // If this fails, the number has received a description meanwhile.
        let _ = number.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }
}
