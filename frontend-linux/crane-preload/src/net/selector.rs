//! The calling thread's word: whether its calls pass, and in which round it was armed.
//!
//! It is found without a function (initial-exec TLS), because the handler of SIGSYS may run within
//! the allocator, and the dynamic linker's look-up may allocate. The kernel reads the lowest byte.

use std::arch::{asm, global_asm};
use std::sync::atomic::{AtomicU64, Ordering};

global_asm!(
    ".pushsection .tbss.crane_net_word,\"awT\",@nobits",
    ".hidden crane_net_word",
    ".globl crane_net_word",
    ".type crane_net_word, @object",
    ".size crane_net_word, 8",
    ".balign 8",
    "crane_net_word:",
    ".zero 8",
    ".popsection",
);

/// The bit of the kernel's selector: calls raise SIGSYS.
const BLOCKS: u64 = 1;
/// The thread runs a function of libc for a hook: its calls are the library's own.
const LENT: u64 = 1 << 8;
/// The thread's reads of the processor's time stamp raise SIGSEGV.
pub(super) const FORBIDS: u64 = 1 << 9;
/// The hooked calls that are left before they do not any more, where they are watched in samples.
const LEFT_SHIFT: u32 = 16;
const LEFT: u64 = 0xff << LEFT_SHIFT;
const ROUND_SHIFT: u32 = 32;

/// The word that threads have whose settings are those of a round, and that round, as found last.
static KNOWN_WORD: AtomicU64 = AtomicU64::new(0);
static KNOWN_ROUND: AtomicU64 = AtomicU64::new(UNKNOWN);
/// A number that is no round.
const UNKNOWN: u64 = u64::MAX;

/// Returns whether a thread with this word is known to have the settings of a round.
#[inline]
pub(super) fn is_known(word: u64, round: u32) -> bool {
    KNOWN_WORD.load(Ordering::Relaxed) == word
        && KNOWN_ROUND.load(Ordering::Relaxed) == u64::from(round)
}

/// Records that a thread with this word has them. The calling thread has the turn.
pub(super) fn know(word: u64, round: u32) {
    KNOWN_ROUND.store(UNKNOWN, Ordering::SeqCst);
    KNOWN_WORD.store(word, Ordering::SeqCst);
    KNOWN_ROUND.store(u64::from(round), Ordering::SeqCst);
}

/// Records that the settings of rounds are others from now on.
pub(super) fn forget_known() {
    KNOWN_ROUND.store(UNKNOWN, Ordering::SeqCst);
}

/// Returns the address of the calling thread's word.
pub(super) fn address() -> usize {
    let address;
    // SAFETY: reads the word's offset and the thread's base.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + crane_net_word@GOTTPOFF]",
            "add {0}, qword ptr fs:[0]",
            out(reg) address,
            options(nostack, readonly),
        );
    }
    address
}

/// Returns the calling thread's word.
#[inline(always)]
pub(super) fn word() -> u64 {
    let word;
    // SAFETY: reads the word, which every thread has.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + crane_net_word@GOTTPOFF]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) word,
            options(nostack, readonly, preserves_flags),
        );
    }
    word
}

/// Returns the word of the calling thread, whose base of this library's is given.
#[inline(always)]
pub(super) fn word_at(base: usize) -> u64 {
    let word;
    // SAFETY: reads the word, which every thread has.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + crane_net_word@GOTTPOFF]",
            "mov {0}, qword ptr [{0} + {1}]",
            out(reg) word,
            in(reg) base,
            options(nostack, readonly, preserves_flags),
        );
    }
    word
}

/// Sets the calling thread's word.
#[inline(always)]
pub(super) fn set_word(word: u64) {
    // SAFETY: writes the word, which every thread has.
    unsafe {
        asm!(
            "mov {place}, qword ptr [rip + crane_net_word@GOTTPOFF]",
            "mov qword ptr fs:[{place}], {word}",
            place = out(reg) _,
            word = in(reg) word,
            options(nostack, preserves_flags),
        );
    }
}

/// Returns the word of a thread that was armed in this round and whose calls raise SIGSYS. For
/// round 0, returns that of a thread that is not armed.
#[inline(always)]
pub(super) const fn blocking(round: u32) -> u64 {
    if round == 0 { 0 } else { (round as u64) << ROUND_SHIFT | BLOCKS }
}

/// Returns the round in which the thread was armed.
pub(super) const fn round_of(word: u64) -> u32 {
    (word >> ROUND_SHIFT) as u32
}

/// Returns whether the thread runs a function of libc for a hook.
pub(super) const fn is_lent(word: u64) -> bool {
    word & LENT != 0
}

/// Returns whether calls of the thread raise SIGSYS.
pub(super) const fn is_blocking(word: u64) -> bool {
    word & BLOCKS != 0
}

/// Returns the number of hooked calls for which time stamps are watched still.
pub(super) const fn left(word: u64) -> u64 {
    (word & LEFT) >> LEFT_SHIFT
}

/// Returns a word with this number of hooked calls left, which is at most 255.
pub(super) const fn with_left(word: u64, left: u64) -> u64 {
    word & !LEFT | left << LEFT_SHIFT & LEFT
}

/// Lets the calling thread's calls pass until it makes its next hooked call.
pub(super) fn open() {
    set_word(word() & !BLOCKS);
}

/// Proof that a thread's calls pass for a while.
#[must_use]
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Lent(u64);

/// Lets the calling thread's calls pass: it runs a function of libc for a hook. No destructor gives
/// the word back, for the thread may end in that function.
#[inline(always)]
pub(crate) fn lend() -> Lent {
    let before = word();
    set_word(before & !BLOCKS | LENT);
    Lent(before)
}

/// Changes nothing now. What was set before is given back.
#[inline]
pub(super) fn keep() -> Lent {
    Lent(word())
}

/// Ends a loan for a handler of the program's, or for what a thread that ends still does: both are
/// the program's own code. The word before is given back behind it.
#[inline]
pub(crate) fn recall() -> Lent {
    let before = word();
    if is_lent(before) {
        set_word(before & !LENT | BLOCKS);
    }
    Lent(before)
}

impl Lent {
    /// Does the same, in a process that was made since, for nothing but a loan.
    pub(crate) fn give_back_loan(self) {
        if is_lent(self.0) {
            set_word(self.0);
        }
    }

    /// Ends the loan, because the function has returned.
    #[inline(always)]
    pub(crate) fn give_back(self) {
        set_word(self.0);
    }
}
