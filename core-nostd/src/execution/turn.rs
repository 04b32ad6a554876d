//! The turn: one queue of runnable threads, to which the turn is passed in order, and the waiting
//! threads.
//!
//! The design follows PARROT (Cui et al., SOSP 2013), with a quantum: a thread keeps the turn for
//! several calls, because passing the turn costs far more than a call does. Calls that take and
//! leave locks come in such numbers that a slice of agreed time bounds them instead of a count.
//!
//! Theorem: the sequence of holders is a function of the sequence of calls made on this type.
//! Nothing here depends on addresses (a wait key selects a bucket, never an order), on time or on
//! randomness.

use crate::index_list::{IndexList, Neighbours};

/// A thread of the server, numbered from 0 in the order of creation. The numbers of ended threads
/// are used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ThreadId(pub u16);

/// The key of the thing that a thread waits for. Equal keys mean the same thing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WaitKey(pub u64);

/// The reason why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Woken {
    /// The event that the thread waited for has happened, or may have.
    Called,
    /// The deadline of the wait has come.
    Expired,
}

/// The deadline of a wait without a deadline.
pub const NEVER: u64 = u64::MAX;

/// The nanoseconds of agreed time for which the holder may take and leave locks before it lets
/// other threads run, by each call of the quantum but the first. 100 calls give 2 ms, which is
/// about what Linux lets a thread run while others want its processor.
const SLICE_NANOSECONDS_PER_CALL: u64 = 20_000;

/// The number that means no thread.
const NONE: u16 = u16::MAX;
/// The number of buckets of waiting threads. More buckets only shorten the lists.
const BUCKETS: usize = 256;

/// The state of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ThreadState {
    /// No thread has this number.
    Free,
    /// The number is taken, and the thread is not in the queue yet.
    Reserved,
    /// The thread is in `run`.
    Runnable,
    /// The thread has the turn.
    Holder,
    /// The thread is in the bucket of its key.
    Waiting,
}

/// The state of one thread in the turn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct ThreadRecord {
    /// Its state.
    state: ThreadState,
    /// The reason why its last wait ended.
    woken: Woken,
    /// The key that it waits for; meaningless unless it waits.
    key: WaitKey,
    /// The agreed time at which its wait ends, in nanoseconds, or [`NEVER`].
    deadline: u64,
    /// The position of its wait in the order of all waits; it decides between equal deadlines.
    since: u64,
}

/// The threads of one server. `THREADS` is how many may live at a time, at most 65 535.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Turn<const THREADS: usize> {
    /// Threads by number.
    threads: [ThreadRecord; THREADS],
    /// The links of the threads that are runnable or wait.
    links: [Neighbours; THREADS],
    /// The runnable threads, the next holder first.
    run: IndexList,
    /// Waiting threads by the bucket of their keys, the longest waiting first.
    waiting: [IndexList; BUCKETS],
    /// The thread that has the turn, or [`NONE`] while the turn is being passed.
    holder: u16,
    /// The number of calls after which the holder lets other threads run.
    quantum: u32,
    /// The number of calls of its quantum that the holder has used.
    used: u32,
    /// The agreed time at which the holder's slice ends, in nanoseconds.
    slice_end: u64,
    /// The number of threads that exist.
    live: u32,
    /// The number of waits so far, which orders threads with equal deadlines.
    waits: u64,
    /// A lower bound of the first deadline; exact after [`Turn::first_deadline`].
    deadline: u64,
    /// An upper bound of every number that was ever reserved, so that searches for a program of few
    /// threads are short.
    reserved_below: u16,
}

impl<const THREADS: usize> Turn<THREADS> {
    /// Creates a turn without threads. `quantum` is the number of calls after which the turn is
    /// passed, at least 1.
    pub const fn new(quantum: u32) -> Self {
        assert!(THREADS <= NONE as usize && quantum > 0);
        let free = ThreadRecord {
            state: ThreadState::Free,
            woken: Woken::Called,
            key: WaitKey(0),
            deadline: NEVER,
            since: 0,
        };
        Self {
            threads: [free; THREADS],
            links: [Neighbours::UNLINKED; THREADS],
            run: IndexList::EMPTY,
            waiting: [IndexList::EMPTY; BUCKETS],
            holder: NONE,
            quantum,
            used: 0,
            slice_end: 0,
            live: 0,
            waits: 0,
            deadline: NEVER,
            reserved_below: 0,
        }
    }

    /// Changes the quantum. It is part of the group's configuration, so it may change only before
    /// the first call.
    pub fn set_quantum(&mut self, quantum: u32) {
        assert!(quantum > 0);
        self.quantum = quantum;
    }

    /// Checks what holds between any two calls, in time proportional to `THREADS`: each list is
    /// linked both ways, each runnable thread is in the queue, each waiting thread in the bucket of
    /// its key, no thread in two lists; one holder at most; `live` counts the numbers in use, and
    /// `reserved_below` is above all of them.
    ///
    /// Called under debug assertions after each change of a small set of threads, and always in
    /// simulation.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub fn invariants(&self) {
        let in_state =
            |state| self.threads.iter().filter(move |thread| thread.state == state).count();
        let thread = |at: u32| &self.threads[at as usize];
        let runnable =
            self.run.invariants(&self.links, |at| thread(at).state == ThreadState::Runnable);
        assert_eq!(runnable, in_state(ThreadState::Runnable), "a runnable thread is not queued");
        let mut waiting = 0;
        for (index, list) in self.waiting.iter().enumerate() {
            waiting += list.invariants(&self.links, |at| {
                thread(at).state == ThreadState::Waiting && bucket(thread(at).key) == index
            });
        }
        assert_eq!(waiting, in_state(ThreadState::Waiting), "a waiting thread is in no bucket");
        let linked = self.links.iter().filter(|link| link.is_linked()).count();
        assert_eq!(linked, runnable + waiting, "a thread is linked without being in a list");
        let held = self.holder().map(|holder| self.state(holder));
        assert!(held.is_none_or(|state| state == ThreadState::Holder), "the holder is another");
        assert_eq!(in_state(ThreadState::Holder), usize::from(held.is_some()), "two hold the turn");
        let live = THREADS - in_state(ThreadState::Free);
        assert_eq!(live, self.live as usize, "live threads are miscounted");
        let mut beyond = self.threads[usize::from(self.reserved_below)..].iter();
        assert!(beyond.all(|thread| thread.state == ThreadState::Free), "a thread is not searched");
    }

    /// Checks the lists under debug assertions, where they are short.
    #[inline]
    fn check(&self) {
        if cfg!(debug_assertions) && THREADS <= 64 {
            self.invariants();
        }
    }

    /// Gives a new thread the lowest free number, or returns `None` when all are taken. The thread
    /// does not run before [`Turn::start`].
    pub fn reserve(&mut self) -> Option<ThreadId> {
        let index = self.threads.iter().position(|thread| thread.state == ThreadState::Free)?;
        self.threads[index].state = ThreadState::Reserved;
        self.live += 1;
        self.reserved_below = self.reserved_below.max(index as u16 + 1);
        Some(ThreadId(index as u16))
    }

    /// Frees a number that was reserved and never started, or that was kept.
    pub fn release(&mut self, thread: ThreadId) {
        assert!(self.state(thread) == ThreadState::Reserved);
        self.threads[thread.0 as usize].state = ThreadState::Free;
        self.live -= 1;
    }

    /// Puts a reserved thread at the end of the queue.
    pub fn start(&mut self, thread: ThreadId) {
        assert!(self.state(thread) == ThreadState::Reserved);
        self.make_runnable(thread.0, Woken::Called);
        self.check();
    }

    /// Returns the thread that has the turn.
    pub fn holder(&self) -> Option<ThreadId> {
        (self.holder != NONE).then_some(ThreadId(self.holder))
    }

    /// Returns how many threads live.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Counts a call of the holder, and returns whether its quantum is spent and another thread
    /// could run.
    #[inline]
    pub fn spend(&mut self) -> bool {
        assert!(self.holder != NONE);
        // A thread that could pass the turn to none makes calls without end.
        self.used = self.used.saturating_add(1);
        self.used >= self.quantum && !self.run.is_empty()
    }

    /// Does the same at agreed time `agreed` for a call that takes or leaves a lock, which uses up
    /// the holder's slice of agreed time instead of its quantum. A thread that has just taken a
    /// lock (`takes`) keeps the turn for another slice, because whoever wanted the lock would only
    /// pass the turn on.
    // specs: S6
    #[inline]
    pub fn spend_slice(&mut self, agreed: u64, takes: bool) -> bool {
        assert!(self.holder != NONE);
        let more = if takes { self.slice() } else { 0 };
        agreed >= self.slice_end.saturating_add(more) && !self.run.is_empty()
    }

    /// Returns whether the holder keeps the turn behind its next call, at which agreed time is at
    /// most `agreed`, because some of its quantum is left, or no other thread could run. The answer
    /// `false` is always permitted.
    #[inline]
    pub fn keeps_turn(&self, agreed: u64) -> bool {
        self.used.saturating_add(1) < self.quantum || self.is_alone(agreed)
    }

    /// Does the same for a call that takes or leaves a lock.
    #[inline]
    pub fn keeps_slice(&self, agreed: u64) -> bool {
        agreed < self.slice_end || self.is_alone(agreed)
    }

    /// Returns whether no thread but the holder can run at agreed time `agreed`.
    #[inline]
    fn is_alone(&self, agreed: u64) -> bool {
        self.run.is_empty() && self.deadline > agreed
    }

    /// Returns the length of a slice, in nanoseconds. With a quantum of one call there is none.
    #[inline]
    fn slice(&self) -> u64 {
        u64::from(self.quantum - 1) * SLICE_NANOSECONDS_PER_CALL
    }

    /// Puts the holder at the end of the queue.
    pub fn yield_turn(&mut self) {
        let holder = self.give_up();
        self.make_runnable(holder, Woken::Called);
        self.check();
    }

    /// Has the holder wait for `key`, at most until agreed time `deadline`.
    pub fn wait(&mut self, key: WaitKey, deadline: u64) {
        let holder = self.give_up();
        self.begin_wait(holder, key, deadline);
    }

    /// Has a reserved thread wait, without a turn before: one that the frontend plays itself when
    /// the turn is passed to it, for what agreed time brings and no thread of the program waits
    /// for (a timer).
    // specs: S11
    pub fn wait_reserved(&mut self, thread: ThreadId, key: WaitKey, deadline: u64) {
        assert!(self.state(thread) == ThreadState::Reserved);
        self.begin_wait(thread.0, key, deadline);
    }

    /// Gives a waiting thread another deadline. Among equal deadlines its place stays what it was.
    // specs: S11
    pub fn set_deadline(&mut self, thread: ThreadId, deadline: u64) {
        assert!(self.state(thread) == ThreadState::Waiting);
        self.threads[thread.0 as usize].deadline = deadline;
        self.deadline = self.deadline.min(deadline);
    }

    /// Ends the holder, and frees its number.
    pub fn end(&mut self) {
        let holder = self.give_up();
        self.threads[holder as usize].state = ThreadState::Free;
        self.live -= 1;
        self.check();
    }

    /// Ends the holder, and keeps its number until [`Turn::release`], for a thread that may be
    /// joined.
    pub fn end_and_keep(&mut self) {
        let holder = self.give_up();
        self.threads[holder as usize].state = ThreadState::Reserved;
        self.check();
    }

    /// Ends a thread that does not have the turn, and frees its number: its process has ended.
    // specs: S16
    pub fn remove(&mut self, thread: ThreadId) {
        let at = u32::from(thread.0);
        match self.state(thread) {
            ThreadState::Runnable => self.run.remove(&mut self.links, at),
            ThreadState::Waiting => {
                let bucket = bucket(self.threads[thread.0 as usize].key);
                self.waiting[bucket].remove(&mut self.links, at);
            }
            ThreadState::Reserved => {}
            ThreadState::Free | ThreadState::Holder => panic!("the thread is not another's"),
        }
        let record = &mut self.threads[thread.0 as usize];
        (record.state, record.deadline) = (ThreadState::Free, NEVER);
        self.live -= 1;
        self.check();
    }

    /// Passes the turn to the first thread of the queue at agreed time `agreed`, with a whole
    /// quantum and slice. Returns `None` if the server is quiescent.
    // specs: S6
    pub fn pass(&mut self, agreed: u64) -> Option<ThreadId> {
        assert!(self.holder == NONE, "the turn is passed while a thread holds it");
        let first = self.run.pop_front(&mut self.links)?;
        self.threads[first as usize].state = ThreadState::Holder;
        self.holder = first as u16;
        self.used = 0;
        self.slice_end = agreed.saturating_add(self.slice());
        self.check();
        Some(ThreadId(first as u16))
    }

    /// Returns whether a thread would run if the turn were passed.
    pub fn has_runnable(&self) -> bool {
        !self.run.is_empty()
    }

    /// Returns why the thread's last wait ended.
    pub fn woken(&self, thread: ThreadId) -> Woken {
        self.threads[thread.0 as usize].woken
    }

    /// Returns whether the thread still waits.
    pub fn is_waiting(&self, thread: ThreadId) -> bool {
        self.state(thread) == ThreadState::Waiting
    }

    /// Returns the key for which the thread waits, if it waits.
    pub fn waits_for(&self, thread: ThreadId) -> Option<WaitKey> {
        self.is_waiting(thread).then(|| self.threads[thread.0 as usize].key)
    }

    /// Returns whether a thread may wait for `key`: `false` is certain, `true` is not. O(1).
    pub fn may_wait(&self, key: WaitKey) -> bool {
        !self.waiting[bucket(key)].is_empty()
    }

    /// Wakes up to `count` waiters for `key`, the longest waiting first. Returns how many.
    // specs: S6
    pub fn wake(&mut self, key: WaitKey, count: u32) -> u32 {
        let mut woken = 0;
        let mut waiter = self.waiter(key, None);
        while let Some(thread) = waiter
            && woken < count
        {
            waiter = self.waiter(key, Some(thread));
            self.wake_thread(thread, Woken::Called);
            woken += 1;
        }
        woken
    }

    /// Wakes one waiting thread.
    pub fn wake_thread(&mut self, thread: ThreadId, why: Woken) {
        assert!(self.state(thread) == ThreadState::Waiting);
        let bucket = bucket(self.threads[thread.0 as usize].key);
        self.waiting[bucket].remove(&mut self.links, u32::from(thread.0));
        self.make_runnable(thread.0, why);
        self.check();
    }

    /// Moves a waiting thread to the end of the waiters for `key`, with its deadline unchanged.
    // specs: S6
    pub fn requeue(&mut self, thread: ThreadId, key: WaitKey) {
        assert!(self.state(thread) == ThreadState::Waiting);
        let record = &mut self.threads[thread.0 as usize];
        let before = bucket(core::mem::replace(&mut record.key, key));
        self.waiting[before].remove(&mut self.links, u32::from(thread.0));
        self.waiting[bucket(key)].push_back(&mut self.links, u32::from(thread.0));
        self.check();
    }

    /// Returns the longest waiting thread for `key` after `previous`, which must wait for `key`
    /// itself.
    pub fn waiter(&self, key: WaitKey, previous: Option<ThreadId>) -> Option<ThreadId> {
        let mut next = match previous {
            None => self.waiting[bucket(key)].first(),
            Some(thread) => self.links[thread.0 as usize].next(),
        };
        while let Some(at) = next
            && self.threads[at as usize].key != key
        {
            next = self.links[at as usize].next();
        }
        next.map(|at| ThreadId(at as u16))
    }

    /// Wakes all threads whose deadline has come, ordered by deadline, then by the beginning of
    /// their waits. O(1) when no deadline has come.
    // specs: S6
    #[inline]
    pub fn expire(&mut self, agreed: u64) {
        if self.deadline <= agreed {
            self.expire_due(agreed);
        }
    }

    /// Does so when a deadline has come, or when the lower bound of them has.
    #[cold]
    fn expire_due(&mut self, agreed: u64) {
        while self.deadline <= agreed {
            match self.first_expiring() {
                Some((deadline, index)) if deadline <= agreed => {
                    self.wake_thread(ThreadId(index), Woken::Expired);
                }
                // The loop ends here even when agreed time has reached the end of its range.
                first => return self.deadline = first.map_or(NEVER, |(deadline, _)| deadline),
            }
        }
    }

    /// Returns the first deadline of a waiting thread, or [`NEVER`].
    pub fn first_deadline(&mut self) -> u64 {
        self.deadline = self.first_expiring().map_or(NEVER, |(deadline, _)| deadline);
        self.deadline
    }

    /// Finds the waiting thread whose deadline is first.
    fn first_expiring(&self) -> Option<(u64, u16)> {
        let waiting = self.threads[..usize::from(self.reserved_below)].iter().enumerate();
        let timed = waiting
            .filter(|(_, thread)| thread.state == ThreadState::Waiting && thread.deadline != NEVER);
        timed
            .min_by_key(|(_, thread)| (thread.deadline, thread.since))
            .map(|(index, thread)| (thread.deadline, index as u16))
    }

    /// Returns the state of a thread.
    fn state(&self, thread: ThreadId) -> ThreadState {
        self.threads[thread.0 as usize].state
    }

    /// Has a thread that is in no list wait.
    fn begin_wait(&mut self, index: u16, key: WaitKey, deadline: u64) {
        self.waits += 1;
        let since = self.waits;
        let thread = &mut self.threads[index as usize];
        (thread.state, thread.key) = (ThreadState::Waiting, key);
        (thread.deadline, thread.since) = (deadline, since);
        self.deadline = self.deadline.min(deadline);
        self.waiting[bucket(key)].push_back(&mut self.links, u32::from(index));
        self.check();
    }

    /// Takes the turn from its holder.
    fn give_up(&mut self) -> u16 {
        let holder = self.holder;
        assert!(holder != NONE && self.threads[holder as usize].state == ThreadState::Holder);
        self.holder = NONE;
        holder
    }

    /// Ends a thread's wait, and puts the thread at the end of the queue.
    fn make_runnable(&mut self, index: u16, why: Woken) {
        let thread = &mut self.threads[index as usize];
        (thread.state, thread.woken, thread.deadline) = (ThreadState::Runnable, why, NEVER);
        self.run.push_back(&mut self.links, u32::from(index));
    }
}

/// Returns the bucket of a key.
const fn bucket(key: WaitKey) -> usize {
    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the high bits of the product are well mixed.
    (key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
}

#[cfg(test)]
mod tests;
