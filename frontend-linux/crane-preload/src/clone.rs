//! clone(2), by which a program that is linked statically makes its threads and children, and any
//! program some of them.
//!
//! A thread is made by libc, like any other, so that it takes part and has this library's data. It
//! then sets the base that the program has given, and goes on behind the program's call on the
//! program's stack. When the program ends it, it comes back. A thread without a base of its own has
//! its maker's, except where that is libc's: then it has one of its own, because libc keeps there
//! who it is.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crane_shm::sys;

use crate::bases;
use crate::capacities::THREADS;
use crate::membership;
use crate::net;
use crate::signals::{stack, within};

/// The stack of a thread, on which it begins and ends.
const STACK_BYTES: usize = 128 << 10;

/// The registers of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub r15: usize,
    pub r14: usize,
    pub r13: usize,
    pub r12: usize,
    pub rbx: usize,
    pub number: c_long,
    pub r9: usize,
    pub r8: usize,
    pub r10: usize,
    pub rdx: usize,
    pub rsi: usize,
    pub rdi: usize,
    pub rbp: usize,
    /// The instruction behind the call.
    pub next: usize,
}

/// A thread that the program has asked for.
struct ClonedThread {
    registers: Registers,
    /// Its base, if that is not libc's.
    base: Option<usize>,
    /// Its number, once it runs. The thread that made it waits for that.
    number: AtomicU32,
}

thread_local! {
    /// The stack pointer with which the thread left this library for the program, for threads that
    /// were made here.
    static LEFT_AT: Cell<usize> = const { Cell::new(0) };
}

/// Calls of this library's by number, which these threads make.
pub(crate) type ByNumber = unsafe fn(c_long, [usize; 6]) -> isize;

/// The answers to calls, for threads that have no caller.
static ANSWER: OnceLock<ByNumber> = OnceLock::new();

/// The words at which the program waits for the ends of its threads, by the threads' numbers.
static ENDS: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

/// Returns whether the program waits at a word for the end of one of its threads: no child process
/// shares it, although its C library does not mark it as private.
pub(crate) fn is_end(word: usize) -> bool {
    ENDS.iter().any(|end| end.load(Ordering::Relaxed) == word)
}

fn futex(word: &AtomicU32, operation: c_int, value: u32) {
    let answer = ANSWER.get().expect("it is set before the first thread is made");
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    let arguments = [ptr::from_ref(word).addr(), operation as usize, value as usize, 0, 0, 0];
    // SAFETY: a word that lives, and no time.
    unsafe { answer(libc::SYS_futex, arguments) };
}

/// Answers clone(2), which this library does not leave to the kernel (see [`Maker`](crate::net)).
///
/// # Safety
/// As unsafe as the call.
// specs: S12
pub(crate) unsafe fn clone(registers: &Registers, answer: ByNumber) -> isize {
    ANSWER.get_or_init(|| answer);
    if registers.rdi as c_int & libc::CLONE_THREAD != 0 {
        return make_thread(registers);
    }
    // SAFETY: the caller's duty.
    let number =
        unsafe { fork([registers.rdi, registers.rsi, registers.rdx, registers.r10, 0, 0]) };
    if number == 0 && registers.rsi != 0 {
        // The child leaves the handler for good.
        within::leave_for_good();
        if let Some(me) = membership::number() {
            stack::begin(me);
        }
        let _ = net::recall();
        let mut unused = 0;
        // SAFETY: the stack that the caller gives its child, which does not come back.
        unsafe { enter_program(registers, &raw mut unused) };
    }
    number
}

/// Makes a child process by the arguments of clone(2), but does not enter its stack. Returns its
/// number, or 0 in the child.
///
/// # Safety
/// As unsafe as the call.
pub(crate) unsafe fn fork([flags, _, parent_place, child_place, ..]: [usize; 6]) -> isize {
    let flags = flags as c_int;
    let has_descriptor = flags & libc::CLONE_PIDFD != 0;
    if has_descriptor && flags & libc::CLONE_PARENT_SETTID != 0 {
        // Both would be at one place.
        return -(libc::EINVAL as isize);
    }
    // SAFETY: a call without arguments.
    let number = unsafe { libc::fork() };
    if number < 0 {
        return -(crate::errno::current() as isize);
    }
    if has_descriptor && number > 0 {
        // SAFETY: plain numbers; the hook of the call answers.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) } as c_int;
        net::write(parent_place, &descriptor);
    }
    let (flag, place, value) = match number {
        0 => (libc::CLONE_CHILD_SETTID, child_place, sys::tid()),
        _ => (libc::CLONE_PARENT_SETTID, parent_place, number),
    };
    if flags & flag != 0 {
        // The kernel writes to a place that is there, and says nothing of another.
        net::write(place, &value);
    }
    number as isize
}

fn make_thread(registers: &Registers) -> isize {
    let has_own_base = registers.rdi as c_int & libc::CLONE_SETTLS != 0;
    let base = if has_own_base { Some(registers.r8) } else { own_base() };
    let number = AtomicU32::new(0);
    let child = Arc::new(ClonedThread { registers: *registers, base, number });
    let mut handle: libc::pthread_t = 0;
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let argument = Arc::into_raw(child.clone()).cast_mut().cast();
    // SAFETY: attributes of ours; the routine takes its part of the child over.
    let error = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES);
        let detached = libc::PTHREAD_CREATE_DETACHED;
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), detached);
        let error = libc::pthread_create(&raw mut handle, attributes.as_ptr(), run, argument);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        error
    };
    if error != 0 {
        // SAFETY: no thread has taken it over.
        drop(unsafe { Arc::from_raw(argument.cast::<ClonedThread>().cast_const()) });
        return -(error as isize);
    }
    while child.number.load(Ordering::SeqCst) == 0 {
        futex(&child.number, libc::FUTEX_WAIT, 0);
    }
    child.number.load(Ordering::SeqCst) as isize
}

/// Returns the program's base of the calling thread, if that is not this library's.
fn own_base() -> Option<usize> {
    let base = bases::are_two().then(bases::program)?;
    (base != bases::library()).then_some(base)
}

extern "C" fn run(child: *mut c_void) -> *mut c_void {
    // SAFETY: the part that `make_thread` gave away.
    let child = unsafe { Arc::from_raw(child.cast::<ClonedThread>().cast_const()) };
    let registers = child.registers;
    let flags = registers.rdi as c_int;
    let has = |flag: c_int| flags & flag != 0;
    let number = sys::tid();
    if let Some(base) = child.base {
        bases::begin(base).expect("its maker has looked");
    }
    for (flag, place) in
        [(libc::CLONE_PARENT_SETTID, registers.rdx), (libc::CLONE_CHILD_SETTID, registers.r10)]
    {
        if has(flag) {
            net::write(place, &number);
        }
    }
    let end = membership::number().map(|me| &ENDS[usize::from(me.0)]);
    if let Some(end) = end.filter(|_| has(libc::CLONE_CHILD_CLEARTID)) {
        end.store(registers.r10, Ordering::Relaxed);
    }
    child.number.store(number as u32, Ordering::SeqCst);
    futex(&child.number, libc::FUTEX_WAKE, 1);
    drop(child);
    // SAFETY: the program's stack and its place behind the call. The thread comes back by `end`.
    unsafe { enter_program(&registers, LEFT_AT.with(Cell::as_ptr)) };
    release_robust(number as u32);
    if has(libc::CLONE_CHILD_CLEARTID) {
        // SAFETY: the word at which the program waits for the thread's end.
        let word = unsafe { AtomicU32::from_ptr(registers.r10 as *mut u32) };
        word.store(0, Ordering::SeqCst);
        futex(word, libc::FUTEX_WAKE, 1);
    }
    if let Some(end) = end {
        end.store(0, Ordering::Relaxed);
    }
    ptr::null_mut()
}

/// Marks the robust mutexes that the calling thread of this number still holds, and wakes a waiter
/// of each, as the kernel does when a thread ends (`exit_robust_list` of kernel/futex/core.c): it
/// would look through the program's list when that may be gone.
fn release_robust(thread: u32) {
    const BYTES: usize = 24;
    let head = robust_list(0);
    // SAFETY: no list from now on.
    unsafe { sys::syscall(libc::SYS_set_robust_list, [0, BYTES, 0, 0, 0, 0]) };
    for_each_robust(head, |word, inherits| mark_died(word, thread, inherits));
}

/// Marks the robust mutexes that a thread of this process still holds, whose process ends, and
/// gives `wake` the word of each.
pub(crate) fn end_robust(thread: u32, mut wake: impl FnMut(usize)) {
    for_each_robust(robust_list(thread), |word, inherits| {
        if mark(word, thread, inherits) {
            wake(word);
        }
    });
}

/// Finds the words of the mutexes on a list, and whether each inherits priorities.
fn for_each_robust(head: Option<usize>, mut each: impl FnMut(usize, bool)) {
    /// `ROBUST_LIST_LIMIT`.
    const MOST: usize = 2048;
    /// Marks a mutex with priority inheritance.
    const INHERITS: usize = 1;
    // struct robust_list_head: the first link, the distance of words from links, and the link of a
    // mutex that is being taken or given back.
    let Some(head) = head else { return };
    let Some([first, distance, pending]) = net::read::<[usize; 3]>(head) else { return };
    let mut link = first;
    for _ in 0..MOST {
        let place = link & !INHERITS;
        if place == head {
            break;
        }
        // The next link is read first: whoever gets the mutex changes this one.
        let next = net::read(place);
        if place != pending & !INHERITS {
            each(place.wrapping_add(distance), link & INHERITS != 0);
        }
        let Some(next) = next else { break };
        link = next;
    }
    if pending != 0 {
        let place = pending & !INHERITS;
        each(place.wrapping_add(distance), pending & INHERITS != 0);
    }
}

/// Returns the list of robust mutexes of a thread of this process, or of the calling one (0).
fn robust_list(thread: u32) -> Option<usize> {
    let (mut head, mut length) = (0_usize, 0_usize);
    let arguments = [thread as usize, &raw mut head as usize, &raw mut length as usize, 0, 0, 0];
    // SAFETY: two places of ours.
    unsafe { sys::syscall(libc::SYS_get_robust_list, arguments) };
    (head != 0).then_some(head)
}

/// Marks the word of a mutex if a thread that ends holds it. Returns whether it does.
fn mark(word: usize, thread: u32, inherits: bool) -> bool {
    if !word.is_multiple_of(size_of::<u32>()) || net::read::<u32>(word).is_none() {
        return false;
    }
    // SAFETY: aligned, and there.
    let word = unsafe { AtomicU32::from_ptr(word as *mut u32) };
    let died = |value: u32| {
        let is_held = value & libc::FUTEX_TID_MASK == thread;
        let waiters = if inherits { 0 } else { value & libc::FUTEX_WAITERS };
        is_held.then_some(waiters | libc::FUTEX_OWNER_DIED)
    };
    word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, died).is_ok()
}

/// Marks the word of a mutex if a thread that ends holds it, and wakes a waiter. One with priority
/// inheritance goes to a waiter.
fn mark_died(word: usize, thread: u32, inherits: bool) {
    if !word.is_multiple_of(size_of::<u32>()) || net::read::<u32>(word).is_none() {
        return;
    }
    // SAFETY: aligned, and there.
    let word = unsafe { AtomicU32::from_ptr(word as *mut u32) };
    if inherits {
        if word.load(Ordering::SeqCst) & libc::FUTEX_TID_MASK == thread {
            futex(word, libc::FUTEX_UNLOCK_PI, 0);
            word.fetch_or(libc::FUTEX_OWNER_DIED, Ordering::SeqCst);
        }
        return;
    }
    let died = |value: u32| {
        let is_held = value & libc::FUTEX_TID_MASK == thread;
        is_held.then_some(value & libc::FUTEX_WAITERS | libc::FUTEX_OWNER_DIED)
    };
    let marked = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, died);
    if marked.is_ok_and(|before| before & libc::FUTEX_WAITERS != 0) {
        futex(word, libc::FUTEX_WAKE, 1);
    }
}

/// Ends the calling thread, if it was made here.
pub(crate) fn end() {
    let left_at = LEFT_AT.get();
    if left_at != 0 {
        // SAFETY: the thread's own stack, as it left it.
        unsafe { come_back(left_at) };
    }
}

/// Goes on behind the program's call, on the stack that it gave, with its own base. Returns when
/// the thread comes back.
#[unsafe(naked)]
unsafe extern "C" fn enter_program(_registers: &Registers, _left_at: *mut usize) {
    std::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov qword ptr [rsi], rsp",
        "mov rcx, qword ptr [rdi + {next}]",
        "mov rbp, qword ptr [rdi + {rbp}]",
        "mov rbx, qword ptr [rdi + {rbx}]",
        "mov r12, qword ptr [rdi + {r12}]",
        "mov r13, qword ptr [rdi + {r13}]",
        "mov r14, qword ptr [rdi + {r14}]",
        "mov r15, qword ptr [rdi + {r15}]",
        "mov rdx, qword ptr [rdi + {rdx}]",
        "mov r8, qword ptr [rdi + {r8}]",
        "mov r9, qword ptr [rdi + {r9}]",
        "mov r10, qword ptr [rdi + {r10}]",
        "mov rsp, qword ptr [rdi + {rsi}]",
        "mov rsi, rsp",
        "mov rdi, qword ptr [rdi + {rdi}]",
        "cmp byte ptr [rip + {switches}], 0",
        "je 775f",
        "mov rax, qword ptr gs:[8]",
        "wrfsbase rax",
        "775:",
        "xor eax, eax",
        "jmp rcx",
        switches = sym bases::SWITCHES,
        next = const offset_of!(Registers, next),
        rbp = const offset_of!(Registers, rbp),
        rbx = const offset_of!(Registers, rbx),
        r12 = const offset_of!(Registers, r12),
        r13 = const offset_of!(Registers, r13),
        r14 = const offset_of!(Registers, r14),
        r15 = const offset_of!(Registers, r15),
        rdx = const offset_of!(Registers, rdx),
        r8 = const offset_of!(Registers, r8),
        r9 = const offset_of!(Registers, r9),
        r10 = const offset_of!(Registers, r10),
        rsi = const offset_of!(Registers, rsi),
        rdi = const offset_of!(Registers, rdi),
    )
}

/// Returns from [`enter_program`], whose stack pointer this is.
#[unsafe(naked)]
unsafe extern "C" fn come_back(_left_at: usize) -> ! {
    std::arch::naked_asm!(
        "mov rsp, rdi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}
