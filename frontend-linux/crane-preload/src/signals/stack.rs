//! The stacks that signals are handled on: one of this library's own for each thread, which the
//! kernel knows, and the alternate stack that the program has set (sigaltstack(2)), which it does
//! not.
//!
//! The kernel leaves a handler's stack as soon as the handler begins, and takes it again when that
//! ends (`SS_AUTODISARM`). So a handler may change where the next one begins.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crane_core::execution::turn::ThreadId;
use crane_shm::sys;
use libc::stack_t;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::capacities::THREADS;

/// The size of a stack of the library's own. Only what is used of it takes memory.
const BYTES: usize = 1 << 20;
/// The lowest page, which nobody can use.
const GUARD: usize = 4096;
/// The lowest size of an alternate stack (`MINSIGSTKSZ` of linux/signal.h).
const LEAST: usize = 2048;
/// linux/signal.h.
const AUTODISARM: c_int = 1 << 31;

/// The stacks by the threads' numbers, or 0. They outlive their threads, for the next ones.
static STACKS: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

/// No alternate stack.
const NONE: stack_t = stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };

thread_local! {
    /// The beginning of the calling thread's own stack, above its guard, or 0.
    static OWN: Cell<usize> = const { Cell::new(0) };
    /// The program's alternate stack of the calling thread.
    static ALTERNATE: Cell<stack_t> = const { Cell::new(NONE) };
}

/// Gives the calling thread, which begins to take part, a stack for signals. Without memory for it,
/// they are handled on the program's stack.
pub(crate) fn begin(me: ThreadId) {
    let place = &STACKS[usize::from(me.0)];
    let mut start = place.load(Ordering::Relaxed);
    if start == 0 {
        start = map().unwrap_or(0);
        place.store(start, Ordering::Relaxed);
    }
    if start != 0 && set_real(&armed(start, BYTES - GUARD)).is_ok() {
        OWN.set(start);
    }
}

/// Has the calling thread of a new process, which runs on a copy of its maker's stacks, keep them
/// under its own number.
pub(crate) fn inherit(me: ThreadId, maker: ThreadId) {
    let [own, makers] = [me, maker].map(|thread| &STACKS[usize::from(thread.0)]);
    own.store(makers.swap(0, Ordering::Relaxed), Ordering::Relaxed);
}

fn map() -> Option<usize> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address of the kernel's choice; its first page is nobody's then.
    unsafe {
        let start = mmap_anonymous(ptr::null_mut(), BYTES, protection, flags).ok()?;
        mprotect(start, GUARD, MprotectFlags::empty()).ok()?;
        Some(start.addr() + GUARD)
    }
}

/// Returns the calling thread's own stack.
pub(crate) fn whole() -> stack_t {
    armed(OWN.get(), BYTES - GUARD)
}

/// Returns the part of the calling thread's own stack below a place on it.
pub(crate) fn below(place: usize) -> stack_t {
    armed(OWN.get(), place - OWN.get())
}

fn armed(start: usize, size: usize) -> stack_t {
    stack_t { ss_sp: ptr::with_exposed_provenance_mut(start), ss_flags: AUTODISARM, ss_size: size }
}

fn set_real(stack: &stack_t) -> Result<usize, c_int> {
    let arguments = [ptr::from_ref(stack).addr(), 0, 0, 0, 0, 0];
    // SAFETY: the kernel reads a stack of ours.
    sys::checked(unsafe { sys::syscall(libc::SYS_sigaltstack, arguments) })
}

/// Returns whether the calling thread has a stack of the library's own.
pub(crate) fn is_own_known() -> bool {
    OWN.get() != 0
}

/// Returns whether a place lies on the calling thread's own stack.
pub(crate) fn is_own(place: usize) -> bool {
    let start = OWN.get();
    start != 0 && place.wrapping_sub(start) < BYTES - GUARD
}

/// Returns whether a place lies on a stack.
fn is_on(stack: &stack_t, place: usize) -> bool {
    place > stack.ss_sp.addr() && place - stack.ss_sp.addr() <= stack.ss_size
}

/// Returns whether a place lies on the program's alternate stack.
pub(crate) fn is_alternate(place: usize) -> bool {
    is_on(&ALTERNATE.get(), place)
}

/// The place of a frame for a handler of the program's.
pub(crate) struct Room {
    /// The end of the frame.
    pub top: usize,
    /// The beginning of its stack, as far as that is known.
    pub bottom: usize,
}

/// Returns where a handler begins, for a program that is at `place` of its stack: at the end of the
/// alternate stack, if it wants that, or where the program is, if it has none or is on it.
pub(crate) fn room(place: usize, wants_alternate: bool) -> Room {
    /// Below its stack's top, which a function may use without a frame (System V ABI).
    const RED_ZONE: usize = 128;
    let stack = ALTERNATE.get();
    let (bottom, size) = (stack.ss_sp.addr(), stack.ss_size);
    if is_on(&stack, place) {
        Room { top: place - RED_ZONE, bottom }
    } else if wants_alternate && size != 0 {
        Room { top: bottom + size, bottom }
    } else {
        Room { top: place - RED_ZONE, bottom: 0 }
    }
}

/// Does what sigaltstack(2) does, for a program that is at `place` of its stack.
///
/// # Errors
/// As the call.
pub(crate) fn exchange(new: Option<stack_t>, place: usize) -> Result<stack_t, c_int> {
    let before = ALTERNATE.get();
    let is_used = before.ss_flags & AUTODISARM == 0 && is_on(&before, place);
    let state = match before.ss_size {
        0 => libc::SS_DISABLE,
        _ if is_used => libc::SS_ONSTACK,
        _ => 0,
    };
    if let Some(new) = new {
        if is_used {
            return Err(libc::EPERM);
        }
        ALTERNATE.set(match new.ss_flags & !AUTODISARM {
            libc::SS_DISABLE => stack_t { ss_flags: new.ss_flags & AUTODISARM, ..NONE },
            0 | libc::SS_ONSTACK if new.ss_size < LEAST => return Err(libc::ENOMEM),
            0 | libc::SS_ONSTACK => stack_t { ss_flags: new.ss_flags & AUTODISARM, ..new },
            _ => return Err(libc::EINVAL),
        });
    }
    Ok(stack_t { ss_flags: before.ss_flags & AUTODISARM | state, ..before })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(start: usize, size: usize, flags: c_int) -> stack_t {
        stack_t { ss_flags: flags, ..armed(start, size) }
    }

    #[test]
    fn an_alternate_stack_is_set_and_read_as_in_the_kernel() {
        let none = exchange(None, 1).unwrap();
        assert_eq!((none.ss_sp.addr(), none.ss_flags, none.ss_size), (0, libc::SS_DISABLE, 0));
        assert_eq!(exchange(Some(stack(8192, 2047, 0)), 1).err(), Some(libc::ENOMEM));
        assert_eq!(exchange(Some(stack(8192, 4096, 4)), 1).err(), Some(libc::EINVAL));
        let room_of = |place, wants| {
            let Room { top, bottom } = room(place, wants);
            (top, bottom)
        };
        assert_eq!(room_of(1000, true), (872, 0));
        exchange(Some(stack(8192, 4096, 0)), 1).unwrap();
        assert_eq!(room_of(1000, true), (12288, 8192));
        assert_eq!(room_of(1000, false), (872, 0));
        assert_eq!(room_of(9000, true), (8872, 8192), "the program is on it");
        assert_eq!(exchange(Some(NONE), 9000).err(), Some(libc::EPERM));
        assert_eq!(exchange(None, 9000).unwrap().ss_flags, libc::SS_ONSTACK);
        assert_eq!(exchange(None, 8192).unwrap().ss_flags, 0);
        assert_eq!(exchange(None, 12288).unwrap().ss_flags, libc::SS_ONSTACK);
        let disarmed = stack(8192, 4096, AUTODISARM);
        exchange(Some(disarmed), 1).unwrap();
        assert_eq!(exchange(Some(NONE), 9000).unwrap().ss_flags, AUTODISARM);
        assert_eq!(exchange(None, 1).unwrap().ss_flags, libc::SS_DISABLE);
    }

    #[test]
    fn a_thread_has_a_stack_of_its_own() {
        std::thread::spawn(|| {
            assert!(!is_own(ptr::from_ref(&BYTES).addr()) && !is_own_known());
            begin(ThreadId(1000));
            let start = OWN.get();
            assert!(is_own(start) && !is_own(start - 1) && !is_own(start + BYTES - GUARD));
            // The next thread of this number has the same.
            std::thread::spawn(move || {
                begin(ThreadId(1000));
                assert_eq!(OWN.get(), start);
            })
            .join()
            .unwrap();
            assert!(set_real(&NONE).is_ok());
        })
        .join()
        .unwrap();
    }
}
