//! The part of every hook before, during and after its call.
//!
//! In serial mode a thread that runs program code holds the turn already; in parallel mode it takes
//! the turn at each call. Either way, from [`begin`] to [`Held::end`] the thread owns the world.

use std::sync::atomic::Ordering;

use crane_core::execution::turn::{NEVER, ThreadId, Woken};
use crane_core::execution::word;
use crane_shm::parking::{self, Scope};
use crane_shm::sys;
use crane_shm::{CallRecord, ServerState};

pub(crate) use crate::call::Call;
use crate::caller;
use crate::cancellation;
use crate::deadlock::StandStill;
use crate::execution::On;
use crate::expirations;
use crate::hold;
use crate::membership::{self, Membership};
use crate::net;
use crate::outside;
use crate::posting::{self, interrupt};
use crate::processes;
use crate::script;
use crate::service;
use crate::signals::{self, Disposition};
use crate::stops;
use crate::watch::PollSet;
use crate::world::{self, PROCESS, SERIAL, World};

/// The result of a wait during which a handler of the program ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interrupted {
    /// Whether each handler that ran lets calls start again (`SA_RESTART`).
    pub restarts: bool,
}

impl Interrupted {
    /// Returns whether a call with this deadline starts again. A call that has a limit never does
    /// (signal(7)).
    pub(crate) fn restarts_until(self, deadline: u64) -> bool {
        self.restarts && deadline == NEVER
    }
}

/// Proof that this thread holds the turn and is in a hook.
pub(crate) struct Held {
    /// The thread that holds the turn.
    pub me: ThreadId,
    /// Whether cancellation may end the wait of this call.
    pub cancellable: bool,
    /// Whether cancellation has ended the wait, so that the thread ends with the call.
    pub cancelled: bool,
    /// Whether a handler of the program may end the wait for a lock.
    pub hears: bool,
}

/// Starts a call, or returns `None` if this thread does not take part here (see the crate's rules)
/// and the real call is due.
#[inline]
pub(crate) fn begin(call: Call, object: u32) -> Option<Held> {
    let mut held = enter()?;
    let me = held.me;
    loop {
        let world = held.world();
        #[cfg(feature = "arrival")]
        script::admit_arrived(world);
        if world.run.call(me, call as u16, object) {
            let run = &world.run;
            let record = CallRecord {
                clock: run.gate.clock(),
                word: word(me, call as u16, object),
                address: caller::address(),
                output: run.output.value(),
            };
            world.region.record_call(record, run.schedule.value());
            net::pass_clock(record.clock);
            net::look(world.region.net_round());
            held.cancellable = call.is_cancellation_point();
            if held.cancellable
                && held.world().threads[me.0 as usize].cancelled
                && cancellation::may_end()
            {
                held.leave();
                end_cancelled(me);
                // The thread was ending already.
                held = enter()?;
            }
            return Some(held);
        }
        if is_child() {
            return None;
        }
        script::admit_next(held.world(), ServerState::Stalled, &mut StandStill::default());
    }
}

/// Returns whether this is a child after fork, in a handler of pthread_atfork(3) that runs before
/// the hook of fork has marked it. Such a child has a copy of the state, but no other thread, and
/// takes no part in the script. Call it only where a thread would stop.
fn is_child() -> bool {
    let child = world::is_child();
    if child {
        membership::forget_self();
    }
    child
}

/// Takes the turn without a call. Later actions of the thread in this hook are not counted.
#[inline]
pub(crate) fn enter() -> Option<Held> {
    let me = match membership::current() {
        Membership::Outside(me) => me,
        Membership::None => {
            count_uncovered();
            return None;
        }
        Membership::Inside(_) | Membership::Ended => return None,
    };
    membership::set_inside(me);
    if !SERIAL.load(Ordering::Relaxed) {
        await_turn(me);
    }
    Some(Held { me, cancellable: false, cancelled: false, hears: false })
}

/// Reports a call of a server's thread that never took a turn, because nothing orders the thread's
/// actions.
#[cold]
fn count_uncovered() {
    let region = world::region();
    if let Some(region) = region
        && PROCESS.load(Ordering::Relaxed) == sys::pid()
    {
        region.count_uncovered();
    }
}

impl Held {
    /// Returns the whole state.
    #[inline]
    pub(crate) fn world(&mut self) -> &mut World {
        // SAFETY: `Held` exists only while its thread holds the turn, and lends the world for no
        // longer than it is borrowed itself.
        unsafe { world::world() }
    }

    /// Ends the call, and passes the turn if the quantum is spent.
    #[inline]
    pub(crate) fn end(mut self) {
        if self.cancelled {
            let me = self.me;
            self.leave();
            end_cancelled(me);
        } else if self.world().run.turn.spend() {
            self.end_and_yield();
        } else {
            let me = self.me;
            self.leave();
            deliver(me);
        }
    }

    /// Ends a call that took a lock (`takes`) or left one, and passes the turn if the slice is
    /// over. In parallel mode it counts as any other: there the thread keeps others from running.
    #[inline]
    pub(crate) fn end_of_lock(mut self, takes: bool) {
        if self.cancelled || !SERIAL.load(Ordering::Relaxed) {
            self.end();
        } else if self.world().run.spend_slice(takes) {
            self.end_and_yield();
        } else {
            self.end_uncounted();
        }
    }

    /// Ends what [`enter`] has begun, and no call: nothing of the quantum is spent.
    pub(crate) fn end_uncounted(self) {
        let (me, cancelled) = (self.me, self.cancelled);
        self.leave();
        if cancelled {
            end_cancelled(me);
        }
        deliver(me);
    }

    /// Ends the call, and passes the turn even if some of the quantum is left.
    pub(crate) fn end_and_yield(mut self) {
        if is_child() {
            return;
        }
        self.world().run.turn.yield_turn();
        if SERIAL.load(Ordering::Relaxed) {
            let me = self.me;
            self.pass();
            self.leave();
            deliver(me);
        } else {
            // In parallel mode the thread continues without the turn, and waits for it at its next
            // call.
            let next = choose(self.world());
            self.world().output.flush();
            membership::set_outside(self.me);
            pass_to(next);
            deliver(self.me);
        }
    }

    /// Leaves the hook and keeps the turn, to run code of the program or libc that may call hooks.
    pub(crate) fn leave(self) {
        membership::set_outside(self.me);
        if !SERIAL.load(Ordering::Relaxed) {
            // The turn stays with this thread until its quantum is spent; its word says so.
            service::word(self.me).store(service::TURN, Ordering::Release);
        }
    }

    /// Gives the turn away until `on` happens or agreed time reaches `deadline` (nanoseconds). A
    /// thread that is cancelled meanwhile returns as if the deadline had come. A thread in which a
    /// handler of the program ran returns as if `on` had happened, and its caller checks the object
    /// again.
    pub(crate) fn wait(&mut self, on: On, deadline: u64) -> Woken {
        self.wait_or_signal(on, deadline).unwrap_or(Woken::Called)
    }

    /// Waits as [`Held::wait`] does, and fails if a handler of the program ended the wait. A call
    /// that starts again checks its object first, because the handler may have changed it.
    pub(crate) fn wait_or_signal(&mut self, on: On, deadline: u64) -> Result<Woken, Interrupted> {
        let me = self.me;
        // A signal that came since the call began ends the wait before it begins.
        if let Some(interrupted) = self.take_signals() {
            return Err(interrupted);
        }
        let may_end = self.cancellable && cancellation::may_end();
        let world = self.world();
        world.threads[me.0 as usize].interruptible = may_end;
        world.run.turn.wait(on.key(), deadline);
        let woken = self.pass();
        let world = self.world();
        let thread = &mut world.threads[me.0 as usize];
        thread.interruptible = false;
        let by_cancellation = std::mem::take(&mut thread.interrupted);
        let by_signal = std::mem::take(&mut thread.signalled);
        self.cancelled |= by_cancellation;
        match self.take_signals() {
            // A cancelled thread ends with the call.
            Some(interrupted) if by_signal && !self.cancelled => Err(interrupted),
            _ => Ok(woken),
        }
    }

    /// Runs the handlers of the signals that were posted to this thread, outside of the hook, so
    /// that their calls take part. Returns `None` if no handler ran.
    // specs: S10
    fn take_signals(&mut self) -> Option<Interrupted> {
        let me = self.me;
        if !signals::waits(me) {
            return None;
        }
        // A handler may itself wait, or leave the call for good (siglongjmp).
        let World { watches, threads, .. } = self.world();
        *watches.set_of(me.0 as usize) = PollSet::EMPTY;
        let awaited = std::mem::take(&mut threads[me.0 as usize].awaited);
        let (mut ran, mut restarts) = (false, true);
        while let Some(info) = signals::take(me) {
            // Both are read each time, because a handler may change them.
            posting::end_if_fatal(me, info.si_signo);
            let blocked = signals::blocked() & signals::bit(info.si_signo) != 0;
            if blocked || stops::is_stop(info.si_signo) {
                posting::take_in_turn(self.world(), me, &info, blocked, awaited);
                self.rest();
                continue;
            }
            if let Disposition::Handler { restarts: this } = signals::disposition(info.si_signo) {
                ran = true;
                restarts &= this;
            }
            Self { me, cancellable: false, cancelled: false, hears: false }.leave();
            signals::send_to_self(&info);
            // A handler that returns has left each hook that it entered.
            let back = enter().expect("the thread takes part, and is in no hook");
            assert!(back.me == me);
        }
        ran.then_some(Interrupted { restarts })
    }

    /// Sleeps until agreed time reaches `deadline`, or a handler of the program runs.
    pub(crate) fn sleep(&mut self, deadline: u64) -> Result<(), Interrupted> {
        assert!(deadline != NEVER);
        let me = self.me;
        self.wait_or_signal(On::Time(me), deadline).map(|_| ())
    }

    /// Ends the thread, which has given up its turn for good. The turn passes, and the thread that
    /// gets it waits until the kernel has forgotten this one, because libc has then finished its
    /// work on the ended thread's memory.
    pub(crate) fn end_thread(mut self) {
        let world = self.world();
        let next = choose(world);
        world.output.flush();
        // The process's first thread stays known to the kernel until the process ends.
        let number = sys::tid();
        world.leaving = if number == sys::pid() { 0 } else { number };
        // That wait orders the last work that libc and others do for the thread.
        membership::set_ended();
        pass_to(next);
    }

    /// Leaves the turn with a process that ends, whose thread has given up its turn for good.
    pub(crate) fn end_process(mut self) {
        let world = self.world();
        if world.run.turn.live() > u32::from(world.timers.thread.is_some()) {
            let next = choose(world);
            world.output.flush();
            hold::leave_for_good(world.region);
            pass_to(next);
        }
        membership::set_ended();
    }

    /// Passes the turn, which has been given up, and waits until it is back and its process runs.
    /// Returns why the thread's wait has ended, if it has waited.
    fn pass(&mut self) -> Woken {
        self.pass_once();
        let me = self.me;
        let woken = self.world().run.turn.woken(me);
        self.rest();
        woken
    }

    /// Waits as long as this thread's process is stopped.
    pub(crate) fn rest(&mut self) {
        let own = processes::own();
        while self.world().stops.holds(own) {
            self.world().run.turn.wait(On::Stopped(own).key(), NEVER);
            self.pass_once();
        }
    }

    fn pass_once(&mut self) {
        let me = self.me;
        let next = choose(self.world());
        if next != me {
            self.world().output.flush();
            pass_to(next);
            await_turn(me);
        }
    }
}

/// Passes the turn that a process had which is dead. The calling thread is in a handler, and waits
/// for its own turn outside of it.
pub(crate) fn pass_for_dead() {
    // SAFETY: nobody else has the turn.
    let world = unsafe { world::world() };
    let next = choose(world);
    world.output.flush();
    pass_to(next);
}

/// Begins a new thread, which takes its number and waits for its first turn.
pub(crate) fn begin_thread(me: ThreadId) -> Held {
    membership::set_inside(me);
    await_turn(me);
    know_holder(me);
    let mut held = Held { me, cancellable: false, cancelled: false, hears: false };
    held.rest();
    held
}

/// Begins the program's first thread, which has the turn.
pub(crate) fn begin_first(me: ThreadId) {
    membership::set_inside(me);
    know_holder(me);
    Held { me, cancellable: false, cancelled: false, hears: false }.leave();
}

/// Publishes the kernel's number of this new thread, which holds the turn.
fn know_holder(me: ThreadId) {
    // SAFETY: the calling thread holds the turn.
    let world = unsafe { world::world() };
    let tid = sys::tid() as u32;
    world.threads[me.0 as usize].tid = tid;
    world.region.set_holder(tid);
}

/// Returns the thread that gets the free turn: the first of the queue, or a thread that an op or
/// the kernel wakes.
// specs: S4
fn choose(world: &mut World) -> ThreadId {
    let mut still = StandStill::default();
    loop {
        if signals::take_news() {
            wake_interrupted(world);
        }
        if signals::has_foreign() {
            signals::report_foreign(&mut world.output, world.region);
        }
        if let Some(next) = world.run.pass() {
            if Some(next) != world.timers.thread {
                return next;
            }
            expirations::take_turn(world);
            continue;
        }
        if outside::brings(world) {
            continue;
        }
        world.run.gate.drop_grant();
        script::admit_next(world, ServerState::Quiescent, &mut still);
    }
}

/// Ends the waits of the threads that have received a signal from outside the schedule while they
/// waited.
#[cold]
fn wake_interrupted(world: &mut World) {
    let mut from = 0;
    while let Some(thread) = signals::first_receiver_from(from) {
        interrupt(world, thread);
        from = u32::from(thread.0) + 1;
    }
    let pending = if world.awaited == 0 { 0 } else { signals::pending() };
    for number in (0..world.threads.len()).filter(|_| pending != 0) {
        let thread = ThreadId(number as u16);
        if world.threads[number].awaited & pending != 0 && world.run.turn.is_waiting(thread) {
            world.run.turn.wake_thread(thread, Woken::Called);
        }
    }
}

/// Sends the calling thread, which has left its hook, the signals that were posted to it.
pub(crate) fn deliver_due() {
    if let Membership::Outside(me) = membership::current() {
        deliver(me);
    }
}

/// Does the same for a thread whose number is known.
#[inline]
fn deliver(me: ThreadId) {
    if signals::any() {
        while let Some(info) = signals::take(me) {
            posting::end_if_fatal(me, info.si_signo);
            let blocked = signals::blocked_by_program() & signals::bit(info.si_signo) != 0;
            if !blocked && !stops::is_stop(info.si_signo) {
                signals::send_behind(&info);
            } else if let Some(mut held) = enter() {
                posting::take_in_turn(held.world(), me, &info, blocked, 0);
                held.rest();
                held.leave();
            }
        }
    }
}

fn pass_to(next: ThreadId) {
    let word = service::word(next);
    word.store(service::TURN, Ordering::Release);
    parking::wake(word, 1, Scope::Shared);
}

fn await_turn(me: ThreadId) {
    let word = service::word(me);
    loop {
        match word.swap(0, Ordering::Acquire) {
            service::TURN => break,
            service::HOLD => hold::follow(),
            _ => parking::sleep(word, 0, Scope::Shared),
        }
    }
    // SAFETY: the word said that this thread holds the turn.
    let world = unsafe { world::world() };
    world.region.set_holder(world.threads[me.0 as usize].tid);
    net::arm_again(world.region);
    let leaving = std::mem::take(&mut world.leaving);
    if leaving != 0 {
        membership::await_thread_exit(leaving);
    }
}

/// Ends the calling thread, which was cancelled, outside of any call. Returns only if the thread
/// was ending already.
fn end_cancelled(me: ThreadId) {
    let Some(mut held) = enter() else { return };
    held.world().threads[me.0 as usize].cancelled = false;
    held.leave();
    // The program's own work at the thread's end is watched, also where an answer ends with it.
    let _ = net::recall();
    let cancel = real!(pthread_cancel: fn(libc::pthread_t) -> libc::c_int);
    let test = real!(pthread_testcancel: fn() -> ());
    // SAFETY: the thread's own handle. libc unwinds from here; this library is built to let it pass
    // (see build.rs of crane-linux), and no frame of ours holds anything.
    unsafe {
        cancel(libc::pthread_self());
        test();
    }
}
