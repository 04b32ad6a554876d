//! The handler of SIGSYS.
//!
//! It runs between any two instructions of the program, on a stack of the library's own, with all
//! signals blocked. Until it answers a call by a hook, it uses no function of libc and no lock. A
//! call without a hook that may wait, be interrupted, or make a thread is not made here: the
//! handler opens the thread's selector and steps back, and the program makes the call itself, in
//! its own context, as if there were no net. The next hooked call closes the selector.

use std::arch::naked_asm;
use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crane_shm::{BypassKind, ServerSide, sys, table};
use libc::{c_long, siginfo_t, ucontext_t};

use super::judge::{MEMORY, Named, Pass, Trapped, is_of_parent, judge, moves_stack};
use super::maker::{Maker, maker};
use super::{answer, answers, arming, call_sites, masks, selector, text, tsc};
use crate::bases::{self, for_signals};
use crate::birth;
use crate::file_kind;
use crate::membership;
use crate::memory;
use crate::signals::action::{end_by, restore_default};
use crate::signals::frame::{self, run};
use crate::signals::masks::mask_of;
use crate::signals::stack;
use crate::world::{self, SERIAL};

/// `si_code` of a signal of the net's (asm-generic/siginfo.h).
const USER_DISPATCH: i32 = 2;
/// `AUDIT_ARCH_X86_64` (linux/audit.h).
const X86_64: u32 = 0xc000_003e;
/// Bytes of each instruction that makes a system call.
const INSTRUCTION_BYTES: i64 = 2;
/// Added to the numbers of 32-bit calls: they mean others.
const OTHER_ARCHITECTURE: u32 = 0x8000;
/// Bytes that the allocator of libc asks the kernel for, once.
const KEY_BYTES: usize = 8;
/// The descriptor by which the daemon is woken.
static WAKE: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The place in libc at which its allocator asks for random bytes, for a key that only guards its
/// own lists.
static ALLOCATOR: AtomicUsize = AtomicUsize::new(0);

/// The fields of `siginfo_t` for SIGSYS (sigaction(2)).
#[repr(C)]
struct Trap {
    head: [u8; 16],
    address: usize,
    number: i32,
    architecture: u32,
}

/// Installs the handler.
pub(super) fn install(wake: i32) {
    WAKE.store(wake as usize, Ordering::SeqCst);
    masks::install((on_signal_entry as *const ()).addr());
}

/// Ends a handler of the program's, whose context lies at this address of its stack, with a base if
/// threads have two.
#[unsafe(naked)]
unsafe extern "C" fn end_handler(context: usize, base: usize) -> ! {
    naked_asm!(
        "cmp byte ptr [rip + {switches}], 0",
        "je 773f",
        "wrfsbase rsi",
        "773:",
        "mov rsp, rdi",
        "mov eax, {number}",
        "syscall",
        "ud2",
        number = const libc::SYS_rt_sigreturn,
        switches = sym bases::SWITCHES,
    )
}

/// A context that was interrupted.
pub(super) struct Context<'a>(pub &'a mut ucontext_t);

impl Context<'_> {
    pub(super) fn register(&self, register: c_int) -> usize {
        self.0.uc_mcontext.gregs[register as usize] as usize
    }

    fn arguments(&self) -> [usize; 6] {
        [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
            .map(|register| self.register(register))
    }

    /// Returns the mask that the thread gets back.
    fn mask(&mut self) -> &mut u64 {
        mask_of(self.0)
    }

    /// Gives the call this result.
    fn answer(&mut self, result: isize) {
        let (next, flags) = (self.register(libc::REG_RIP), self.register(libc::REG_EFL));
        let registers = &mut self.0.uc_mcontext.gregs;
        registers[libc::REG_RAX as usize] = result as i64;
        registers[libc::REG_RCX as usize] = next as i64;
        registers[libc::REG_R11 as usize] = flags as i64;
    }

    /// Gives the call the result of a hook.
    fn answer_by_hook(&mut self, number: i32) {
        match answer::answer(self.0, c_long::from(number)) {
            Some(result) => self.answer(result),
            None => self.ask_again(number),
        }
    }

    /// Lets the program make the call again.
    fn ask_again(&mut self, number: i32) {
        let registers = &mut self.0.uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] -= INSTRUCTION_BYTES;
        registers[libc::REG_RAX as usize] = i64::from(number);
    }

    /// Leads the thread to a function of this library's that takes the place of the call (see
    /// [`answer`]).
    fn lead(&mut self, function: usize, number: i32) {
        let next = self.register(libc::REG_RIP);
        let registers = &mut self.0.uc_mcontext.gregs;
        registers[libc::REG_RCX as usize] = next as i64;
        registers[libc::REG_RAX as usize] = i64::from(number);
        registers[libc::REG_RIP as usize] = function as i64;
    }

    /// Gives an instruction of this length, which reads the processor's time stamp, this result.
    /// `rdtscp` also tells the processor's number, which is 0.
    pub(super) fn set_time(&mut self, time: u64, bytes: usize, number: u32) {
        let next = self.register(libc::REG_RIP) + bytes;
        let registers = &mut self.0.uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] = next as i64;
        registers[libc::REG_RAX as usize] = (time & 0xffff_ffff) as i64;
        registers[libc::REG_RDX as usize] = (time >> 32) as i64;
        if number == BypassKind::RDTSCP {
            registers[libc::REG_RCX as usize] = 0;
        }
    }

    /// Lets the program go on at an address.
    pub(super) fn go_on_at(&mut self, address: usize) {
        self.0.uc_mcontext.gregs[libc::REG_RIP as usize] = address as i64;
    }

    /// Lets the program make the call itself. With a floor, the trap stays: the call is made by a
    /// function of this library's, unless its stack is another behind it.
    fn let_pass(&mut self, number: i32, is_native: bool) {
        let stack = self.register(libc::REG_RSP);
        let moves_stack = || moves_stack(c_long::from(number), self.arguments(), stack);
        if answers::is_begun() && is_native && !moves_stack() {
            self.lead(answer::passage(), number);
        } else {
            self.step_back(number);
        }
    }

    /// Lets the program make the call again, unseen.
    fn step_back(&mut self, number: i32) {
        self.ask_again(number);
        // A thread or process that the call makes inherits the setting, and this one may block the
        // signal.
        tsc::permit();
        selector::open();
    }
}

for_signals!(on_signal_entry, "crane_on_trap", on_signal);

unsafe extern "C" fn on_signal(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
    base: usize,
) -> bool {
    // SAFETY: the kernel's record and frame of this signal, alive until the handler ends.
    let (record, context) = unsafe { (&*info, Context(&mut *context)) };
    // SAFETY: the record of any signal is as long.
    let architecture = unsafe { (*info.cast::<Trap>()).architecture };
    match world::region() {
        Some(_) if birth::is_heard_of_end(record, architecture) => false,
        Some(region) if record.si_code == USER_DISPATCH => {
            // SAFETY: the record of such a signal.
            let trap = unsafe { &*info.cast::<Trap>() };
            on_trap(region, trap, context);
            false
        }
        // SAFETY: the program's own signal.
        _ => unsafe { pass_on(signal, info, context, base) },
    }
}

fn on_trap(region: ServerSide, trap: &Trap, mut context: Context<'_>) {
    if arming::has_given_up() {
        // Threads stay armed, because a filter may forbid disarming them: their calls pass.
        return context.step_back(trap.number);
    }
    let site = context.register(libc::REG_RIP);
    let is_native = trap.architecture == X86_64;
    let mark = if is_native { 0 } else { OTHER_ARCHITECTURE };
    let kind = BypassKind { number: trap.number as u32 | mark, address: site as u64 };
    region.count_caught(kind);
    let number = c_long::from(trap.number);
    let arguments = context.arguments();
    let is_libc = is_native && text::is_libc(site);
    if is_native && number == libc::SYS_rt_sigreturn {
        return end_program_handler(&context);
    }
    let is_mask = is_native && number == libc::SYS_rt_sigprocmask;
    if (is_libc || is_mask)
        && let Some(result) = answer_signal_call(&mut context, number, arguments)
    {
        arming::spend(region);
        return context.answer(result);
    }
    if is_native
        && number == libc::SYS_arch_prctl
        && bases::are_two()
        && let Some(result) = bases::arch_prctl(arguments[0], arguments[1], |base| {
            arguments[1] != 0 && masks::write(arguments[1], &base)
        })
    {
        return context.answer(result);
    }
    if is_native && number == libc::SYS_sigaltstack {
        let result = exchange_stack(arguments, context.register(libc::REG_RSP));
        return context.answer(result);
    }
    // Nothing happens in such a call, which programs try and do without.
    if is_native && let Some(error) = table::refusal(number) {
        arming::spend(region);
        return context.answer(-(error as isize));
    }
    if is_native && number == libc::SYS_clone && birth::is_making() {
        // The child goes on behind this handler, as its maker does.
        // SAFETY: libc's own call for fork(2), with another signal at the child's end.
        let result = unsafe { sys::syscall(number, birth::arguments_of_child(arguments)) };
        return context.answer(result);
    }
    if is_native && MEMORY.contains(&number) {
        memory::forget();
    }
    let is_serial = SERIAL.load(Ordering::Relaxed);
    let is_thread = begins_or_ends(number, arguments, is_libc) && membership::takes_part();
    if is_native && (is_thread || is_answered(number, arguments[0], is_libc)) {
        context.answer_by_hook(trap.number);
        return call_sites::count(site, number);
    }
    let named = named(number, arguments, context.register(libc::REG_RSP));
    let has_floor = answers::is_begun();
    let mut judgement = judge(&Trapped { number, arguments, is_libc, is_serial, has_floor, named });
    if is_libc && is_allocator(number, arguments, site) {
        judgement.is_reported = false;
    }
    if judgement.is_reported || !is_native {
        report(region, kind, context.register(libc::REG_RSP));
    }
    if is_native && installs_filter(number, arguments) {
        arming::give_up();
    }
    if is_native && sets_dispatch(number, arguments) {
        return context.answer(-(libc::EINVAL as isize));
    }
    if is_native && let Some(result) = answer_signal_call(&mut context, number, arguments) {
        context.answer(result);
    } else if is_native && (judgement.pass == Pass::Here || is_made_here(number, arguments)) {
        // SAFETY: the program's own arguments.
        context.answer(unsafe { sys::syscall(number, arguments) });
    } else {
        context.let_pass(trap.number, is_native);
    }
    arming::spend(region);
}

/// Returns whether a hook answers a call of the calling thread.
// specs: S12
fn is_answered(number: c_long, first: usize, is_libc: bool) -> bool {
    // libc's own locks: threads that run side by side meet at them at any time, so waiting there
    // must move no clock. One at a time, they meet in the turn. The same holds for what libc asks
    // once, in the first thread that needs it: how much memory and how many processors there are.
    let is_of_any_thread = is_libc
        && !SERIAL.load(Ordering::Relaxed)
        && [libc::SYS_futex, libc::SYS_sysinfo, libc::SYS_sched_getaffinity].contains(&number);
    let has_answer = match number {
        libc::SYS_futex => answers::is_begun(),
        libc::SYS_prctl => answers::is_begun() && is_of_parent(first as i32),
        _ => answers::has_hook(number),
    };
    has_answer && !is_of_any_thread && membership::takes_part()
}

/// Returns whether a call begins or ends a thread or a process of the library's. It has no hook of
/// its number, because a hook could not say where the program goes on.
// specs: S12
fn begins_or_ends(number: c_long, [flags, ..]: [usize; 6], is_libc: bool) -> bool {
    answers::is_begun()
        && match number {
            libc::SYS_clone => maker(flags, is_libc, bases::may_be_set()) != Maker::Kernel,
            libc::SYS_exit | libc::SYS_exit_group => true,
            _ => false,
        }
}

/// Notes a call that bypasses the hooks. With `--strict` it is not made: its thread waits until the
/// daemon, which knows the program's symbols, ends the server with the reason.
pub(super) fn report(region: ServerSide, kind: BypassKind, stack: usize) {
    let is_refused = region.is_strict();
    let is_new =
        region.note_bypass(kind, is_refused, |to, room| masks::copy_words(stack, to, room));
    if is_new && region.begin_wake() {
        // A full pipe has woken the daemon already.
        let _ = sys::write(WAKE.load(Ordering::Relaxed) as i32, &[1]);
    }
    if is_refused {
        await_end();
    }
}

/// Waits until the daemon has ended the server.
fn await_end() -> ! {
    loop {
        let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        let arguments = [(&raw const second).addr(), 0, 0, 0, 0, 0];
        // SAFETY: a time of ours.
        unsafe { sys::syscall(libc::SYS_nanosleep, arguments) };
    }
}

/// Ends a handler of the program's as the program would, which never comes back here.
fn end_program_handler(context: &Context<'_>) {
    /// The mask's place in the kernel's `struct ucontext`.
    const MASK: usize = 296;
    let place = context.register(libc::REG_RSP);
    let base = match frame::end(place) {
        None | Some(0) if bases::are_two() => bases::program(),
        base => base.unwrap_or(0),
    };
    let mask = (place + MASK) as *mut u64;
    // SAFETY: a frame of the kernel's form at the top of the thread's stack, from where the kernel
    // reads it.
    unsafe {
        mask.write(mask.read() & !masks::OWN);
        end_handler(place, base)
    }
}

/// Answers the calls that could take the net's signal from it.
fn answer_signal_call(
    context: &mut Context<'_>,
    number: c_long,
    arguments: [usize; 6],
) -> Option<isize> {
    let [a, b, c, d, ..] = arguments;
    match number {
        // SAFETY: the program's own arguments.
        libc::SYS_rt_sigaction => Some(unsafe { masks::action(a as i32, b, c, d) }),
        libc::SYS_rt_sigprocmask => {
            answers::before_mask(a as c_int, b);
            Some(masks::change_mask(context.mask(), arguments))
        }
        _ => None,
    }
}

/// Answers sigaltstack(2), for a program that is at `place` of its stack.
pub(crate) fn exchange_stack([new, old, ..]: [usize; 6], place: usize) -> isize {
    const BAD_ADDRESS: isize = -(libc::EFAULT as isize);
    let mut wanted = None;
    if new != 0 {
        let Some([start, flags, size]) = masks::read::<[usize; 3]>(new) else { return BAD_ADDRESS };
        let ss_sp = ptr::with_exposed_provenance_mut(start);
        wanted = Some(libc::stack_t { ss_sp, ss_flags: flags as c_int, ss_size: size });
    }
    match stack::exchange(wanted, place) {
        Ok(before) if masks::write(old, &before) => 0,
        Ok(_) => BAD_ADDRESS,
        Err(error) => -(error as isize),
    }
}

/// Returns the thing that a pointer leads to, where it decides.
fn named(number: c_long, arguments: [usize; 6], stack: usize) -> Named {
    match number {
        // The function has no frame: its caller is at the top.
        libc::SYS_sysinfo => match masks::read(stack) {
            Some(caller) if text::is_libc(caller) => Named::Libc,
            _ => Named::Nothing,
        },
        libc::SYS_sendto => masks::read(arguments[4]).map_or(Named::Nothing, Named::Family),
        // struct itimerval: the interval, then the time that is left; a null pointer turns it off.
        libc::SYS_setitimer => match masks::read::<[u64; 4]>(arguments[1]) {
            Some([_, _, 0, 0]) => Named::NoTime,
            None if arguments[1] == 0 => Named::NoTime,
            _ => Named::Nothing,
        },
        _ => Named::Nothing,
    }
}

/// Returns whether libc's allocator asks for random bytes. It does so once, at the process's first
/// allocation, which may follow the first listen. Files of unforeseeable names ask in the same way
/// later, and from another place.
fn is_allocator(number: c_long, [_, length, flags, ..]: [usize; 6], site: usize) -> bool {
    let asks = number == libc::SYS_getrandom
        && length == KEY_BYTES
        && flags == libc::GRND_NONBLOCK as usize;
    if asks {
        let _ = ALLOCATOR.compare_exchange(0, site, Ordering::SeqCst, Ordering::SeqCst);
    }
    asks && ALLOCATOR.load(Ordering::Relaxed) == site
}

/// Returns whether the handler makes a call that would else be the program's to make: it does not
/// wait with these arguments, or it changes memory, but not the stack of the handler's own. Behind
/// a call that the program makes, its next one may pass unseen, which can be its thread's last.
fn is_made_here(number: c_long, arguments: [usize; 6]) -> bool {
    let is_on_own_stack = stack::is_own(ptr::from_ref(&number).addr());
    let changes_memory = MEMORY.contains(&number) && number != libc::SYS_arch_prctl;
    changes_memory && is_on_own_stack || is_prompt(number, arguments)
}

/// Returns whether a call, which may let a thread wait, does not with these arguments.
fn is_prompt(number: c_long, arguments: [usize; 6]) -> bool {
    let [a, b, ..] = arguments;
    match number {
        libc::SYS_read
        | libc::SYS_write
        | libc::SYS_readv
        | libc::SYS_writev
        | libc::SYS_pread64
        | libc::SYS_pwrite64
        | libc::SYS_preadv
        | libc::SYS_pwritev
        | libc::SYS_preadv2
        | libc::SYS_pwritev2 => file_kind::of(a as c_int).is_some_and(is_plain),
        libc::SYS_open | libc::SYS_creat => {
            file_kind::at(libc::AT_FDCWD as usize, a, 0).is_none_or(is_plain)
        }
        libc::SYS_openat => file_kind::at(a, b, 0).is_none_or(is_plain),
        libc::SYS_fcntl => !matches!(b as c_int, libc::F_SETLKW | libc::F_OFD_SETLKW),
        libc::SYS_ioctl => b == libc::TCGETS as usize || b == libc::TIOCGWINSZ as usize,
        _ => false,
    }
}

fn is_plain(kind: u32) -> bool {
    kind == libc::S_IFREG || kind == libc::S_IFDIR
}

fn installs_filter(number: c_long, [option, ..]: [usize; 6]) -> bool {
    (number == libc::SYS_prctl && option as i32 == libc::PR_SET_SECCOMP)
        || (number == libc::SYS_seccomp && option as u32 <= libc::SECCOMP_SET_MODE_FILTER)
}

fn sets_dispatch(number: c_long, [option, ..]: [usize; 6]) -> bool {
    number == libc::SYS_prctl && option as i32 == arming::DISPATCH
}

/// Handles a signal of the net's that is not the net's doing in the way that the program has set.
/// Returns whether a handler of the program's begins when the library's ends.
///
/// # Safety
/// The kernel's record and frame of this signal.
pub(super) unsafe fn pass_on(
    signal: c_int,
    info: *mut siginfo_t,
    mut context: Context<'_>,
    base: usize,
) -> bool {
    let action = masks::exchange(signal, None);
    // SAFETY: the caller's duty.
    let is_forced = unsafe { (*info).si_code } > 0;
    match action.handler {
        libc::SIG_IGN if !is_forced => {}
        // The instruction faults again.
        libc::SIG_DFL | libc::SIG_IGN if is_forced && signal == libc::SIGSEGV => {
            restore_default(signal);
        }
        libc::SIG_DFL | libc::SIG_IGN => {
            end_by(signal);
            *context.mask() &= !masks::OWN;
        }
        _ => {
            if action.flags & libc::SA_RESETHAND as usize != 0 {
                let default = masks::OwnAction { handler: libc::SIG_DFL, ..action };
                masks::exchange(signal, Some(default));
            }
            // SAFETY: the function that the program has given for this signal, called as the kernel
            // would.
            return unsafe { run(action.handler(), info, context.0, base) };
        }
    }
    false
}
