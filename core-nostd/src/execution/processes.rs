//! The processes of one server program: which of them run, whose child each is, and which have
//! ended without having been waited for.
//!
//! The table follows POSIX.1-2017, `fork()`, `_exit()` and `wait()`. A process that ends leaves its
//! status to its parent, unless that forgets its children (`SIG_IGN` or `SA_NOCLDWAIT`, see
//! sigaction(2)); its own children have no parent any more. POSIX leaves it open which of several
//! ended children `wait()` reports first: here it is the one that has ended first, because the
//! order of ends is a part of the schedule, and numbers of the kernel's need not be.
//!
//! The table knows neither threads nor the kernel. A frontend ends a process at a call of its own,
//! gives the kernel's number of each process and what only the kernel knows (the group of one), and
//! keeps something of its own about each (`T`).
//!
//! Theorem: each answer is a function of the calls made on the table and of the values given to it,
//! whenever the kernel makes a real process or ends it.

/// A process of the program, numbered from 0 in the order of creation. The numbers of processes
/// that have ended and were waited for are used again, but for that of the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessId(pub u16);

impl ProcessId {
    /// The process that began the program.
    pub const FIRST: Self = Self(0);
}

/// The state of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProcessState {
    /// No process has this number.
    Free,
    /// It takes part.
    Running,
    /// It has ended, and its parent has not waited for it.
    Ended,
}

/// A process, with what the frontend keeps about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Process<T> {
    /// Its state.
    state: ProcessState,
    /// The kernel's number of the process, or 0 while it is being made.
    number: i32,
    /// The process that made it, as long as that runs.
    parent: Option<ProcessId>,
    /// Of an ended process: its status, which means nothing here.
    status: i32,
    /// Of an ended process: the group in which it was.
    group: i32,
    /// Of an ended process: the place of its end in the order of all ends, from 1.
    order: u64,
    /// The frontend's own record of it.
    frontend: T,
}

impl<T> Process<T> {
    /// Returns the kernel's number of the process, or 0 while it is being made.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// Returns the process that made it, as long as that runs.
    pub fn parent(&self) -> Option<ProcessId> {
        self.parent
    }

    /// Returns the status with which an ended process has ended.
    pub fn status(&self) -> i32 {
        self.status
    }

    /// Returns what the frontend keeps about it.
    pub fn frontend(&self) -> &T {
        &self.frontend
    }

    /// Returns whether the process is among those that somebody means. `group_of` returns the group
    /// of a process that runs, by the kernel's number.
    pub fn is_among(&self, wanted: Children, group_of: impl Fn(i32) -> i32) -> bool {
        match wanted {
            Children::All => true,
            Children::Number(number) => self.number == number,
            Children::Group(group) if self.state == ProcessState::Ended => self.group == group,
            Children::Group(group) => group_of(self.number) == group,
        }
    }
}

impl<T: Default> Process<T> {
    /// Returns the record of a number that no process has.
    fn free() -> Self {
        Self {
            state: ProcessState::Free,
            number: 0,
            parent: None,
            status: 0,
            group: 0,
            order: 0,
            frontend: T::default(),
        }
    }
}

/// The children for which a thread waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Children {
    /// All.
    All,
    /// The one with this number of the kernel's.
    Number(i32),
    /// Those in this group.
    Group(i32),
}

/// The answer to the question for a child.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FoundChild {
    /// It has ended.
    Ended(ProcessId),
    /// At least one runs that is meant, and none has ended.
    Running,
    /// None is meant.
    Nothing,
}

/// The state of a process or of a group as the program sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Existence {
    /// It runs.
    Runs,
    /// It has ended, and was not waited for.
    Ended,
    /// It is gone, although the kernel may still have the rest of it.
    Gone,
    /// The kernel must say.
    Unknown,
}

/// The processes of a program. `PROCESSES` is how many may run, or wait to be waited for, at a
/// time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ProcessTable<T, const PROCESSES: usize> {
    /// Processes by number.
    table: [Process<T>; PROCESSES],
    /// An upper bound of every number that was ever used, so that searches for a program of few
    /// processes are short.
    used_below: usize,
    /// The number of ends so far.
    ends: u64,
    /// The kernel's number of the first process, which has it even when it has ended.
    first_number: i32,
    /// Whether the first process has ended.
    first_has_ended: bool,
}

impl<T: Copy + Default, const PROCESSES: usize> ProcessTable<T, PROCESSES> {
    /// Creates a table with the first process, whose number is the kernel's.
    pub fn new(number: i32) -> Self {
        const { assert!(0 < PROCESSES && PROCESSES <= u16::MAX as usize) };
        let mut table = [Process::free(); PROCESSES];
        table[0].state = ProcessState::Running;
        table[0].number = number;
        Self { table, used_below: 1, ends: 0, first_number: number, first_has_ended: false }
    }

    /// Checks what holds between any two calls, in time proportional to the square of the processes
    /// that were ever there at a time: a free number has nothing left; a parent runs, and is
    /// another process; an ended process has a parent that may wait for it, and a place of its own
    /// in the order of ends; `used_below` is above all numbers in use.
    ///
    /// Called under debug assertions after each change of a small table, and always in simulation.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub fn invariants(&self) {
        for (id, process) in self.used() {
            let parent = process.parent.map(|parent| (parent, self.get(parent).state));
            let has_parent =
                parent.is_some_and(|(at, state)| at != id && state == ProcessState::Running);
            assert!(parent.is_none() || has_parent, "a parent does not run");
            let has_order = 0 < process.order && process.order <= self.ends;
            match process.state {
                ProcessState::Free => {
                    let is_blank = (process.number, process.status, process.group) == (0, 0, 0);
                    assert!(is_blank && parent.is_none(), "a free number has something left");
                    assert!(process.order == 0, "a free number has a place among the ends");
                }
                ProcessState::Running => assert!(process.order == 0, "a process ends and runs"),
                ProcessState::Ended => {
                    assert!(has_parent, "no process can wait for one that has ended");
                    assert!(has_order, "an end has no place in the order of ends");
                    let same = self.used().filter(|(_, other)| other.order == process.order);
                    assert!(same.count() == 1, "two ends have one place");
                }
            }
        }
        let first = self.get(ProcessId::FIRST);
        let first_runs = first.state == ProcessState::Running && first.parent.is_none();
        let first_state =
            if self.first_has_ended { first.state == ProcessState::Free } else { first_runs };
        assert!(first_state, "the first process is another's child");
        let mut beyond = self.table[self.used_below..].iter();
        assert!(beyond.all(|it| it.state == ProcessState::Free), "a process is not searched");
    }

    /// Checks the table under debug assertions, where it is short.
    fn check(&self) {
        if cfg!(debug_assertions) && PROCESSES <= 64 {
            self.invariants();
        }
    }

    /// Makes a child of a process, or returns `None` if the table is full. It runs as the schedule
    /// sees it, and has no number of the kernel's yet. It never gets the number of the first
    /// process, which a frontend treats as no other: whoever has begun the program watches it.
    // specs: S15
    pub fn make(&mut self, parent: ProcessId) -> Option<ProcessId> {
        assert!(self.get(parent).state == ProcessState::Running, "a process makes one that runs");
        let is_free = |it: &Process<T>| it.state == ProcessState::Free;
        let index = 1 + self.table[1..].iter().position(is_free)?;
        self.table[index].state = ProcessState::Running;
        self.table[index].parent = Some(parent);
        self.used_below = self.used_below.max(index + 1);
        self.check();
        Some(ProcessId(index as u16))
    }

    /// Takes back a process that was not made after all.
    pub fn unmake(&mut self, process: ProcessId) {
        let it = self.get(process);
        assert!(it.state == ProcessState::Running && it.number == 0, "a process was made");
        self.free(process);
    }

    /// Records the number that the kernel has given a process that was made.
    pub fn set_number(&mut self, process: ProcessId, number: i32) {
        let it = &mut self.table[usize::from(process.0)];
        assert!(it.state == ProcessState::Running && it.number == 0, "a number changes");
        assert!(number > 0, "the kernel's numbers are positive");
        it.number = number;
    }

    /// Returns a process.
    pub fn get(&self, process: ProcessId) -> &Process<T> {
        &self.table[usize::from(process.0)]
    }

    /// Returns what the frontend keeps about a process.
    pub fn frontend(&mut self, process: ProcessId) -> &mut T {
        &mut self.table[usize::from(process.0)].frontend
    }

    /// Returns the processes that run, by number.
    pub fn running(&self) -> impl Iterator<Item = (ProcessId, &Process<T>)> {
        self.used().filter(|(_, process)| process.state == ProcessState::Running)
    }

    /// Finds a process that runs, by the kernel's number.
    pub fn find(&self, number: i32) -> Option<ProcessId> {
        self.running().find(|(_, process)| process.number == number).map(|(id, _)| id)
    }

    /// Finds a child of a process by the kernel's number.
    pub fn child_of_number(&self, parent: ProcessId, number: i32) -> Option<ProcessId> {
        let is_it = |it: &Process<T>| it.parent == Some(parent) && it.number == number;
        self.used().find(|(_, process)| is_it(process)).map(|(id, _)| id)
    }

    /// Returns the state that the program sees of a process by the kernel's number. `knows_all` is
    /// whether the program has no other process with a number that is not below the first one's.
    // specs: S16
    pub fn existence(&self, number: i32, knows_all: bool) -> Existence {
        let known = |it: &Process<T>| it.state != ProcessState::Free && it.number == number;
        let found = self.used().find(|(_, process)| number > 0 && known(process));
        match found.map(|(_, process)| process.state) {
            Some(ProcessState::Running) => Existence::Runs,
            Some(_) => Existence::Ended,
            None if knows_all && number >= self.first_number => Existence::Gone,
            None => Existence::Unknown,
        }
    }

    /// Returns the state that the program sees of a group by the kernel's number, in which no
    /// process runs.
    // specs: S16
    pub fn existence_of_group(&self, group: i32, knows_all: bool) -> Existence {
        let has_ended = |it: &Process<T>| it.state == ProcessState::Ended && it.group == group;
        match self.used().any(|(_, process)| has_ended(process)) {
            true => Existence::Ended,
            false if knows_all => Existence::Gone,
            false => Existence::Unknown,
        }
    }

    /// Returns whether other processes than this one run.
    pub fn has_others(&self, process: ProcessId) -> bool {
        self.running().any(|(other, _)| other != process)
    }

    /// Returns whether a process has children that it has not waited for.
    pub fn has_children(&self, parent: ProcessId) -> bool {
        self.used().any(|(_, process)| process.parent == Some(parent))
    }

    /// Returns the kernel's number of the first process, even when that has ended.
    pub fn first_number(&self) -> i32 {
        self.first_number
    }

    /// Returns whether the first process has ended.
    pub fn first_has_ended(&self) -> bool {
        self.first_has_ended
    }

    /// Ends a process of this group with a status. Its children have no parent any more, and those
    /// of them that have ended are forgotten. Returns its parent, which must hear of it, if that
    /// runs; `forgets` says whether a process forgets its children.
    // specs: S16
    pub fn end(
        &mut self,
        process: ProcessId,
        status: i32,
        group: i32,
        forgets: impl FnOnce(ProcessId) -> bool,
    ) -> Option<ProcessId> {
        assert!(self.get(process).state == ProcessState::Running, "a process ends once");
        self.ends += 1;
        let order = self.ends;
        for child in &mut self.table[..self.used_below] {
            if child.parent == Some(process) {
                child.parent = None;
                if child.state == ProcessState::Ended {
                    *child = Process::free();
                }
            }
        }
        self.first_has_ended |= process == ProcessId::FIRST;
        let ended = &mut self.table[usize::from(process.0)];
        (ended.state, ended.status) = (ProcessState::Ended, status);
        (ended.group, ended.order) = (group, order);
        let parent = ended.parent;
        if parent.is_none_or(forgets) {
            *ended = Process::free();
        }
        self.check();
        parent
    }

    /// Looks for a child of a process for which it waits: the first that has ended before others.
    /// `group_of` returns the group of a process that runs, by the kernel's number.
    // specs: S16
    pub fn child(
        &self,
        parent: ProcessId,
        wanted: Children,
        group_of: impl Fn(i32) -> i32,
    ) -> FoundChild {
        let is_meant =
            |it: &Process<T>| it.parent == Some(parent) && it.is_among(wanted, &group_of);
        let meant = self.used().filter(|(_, it)| is_meant(it));
        let (mut found, mut first) = (FoundChild::Nothing, u64::MAX);
        for (id, process) in meant {
            match process.state {
                ProcessState::Ended if process.order < first => {
                    (found, first) = (FoundChild::Ended(id), process.order);
                }
                ProcessState::Running if found == FoundChild::Nothing => {
                    found = FoundChild::Running;
                }
                _ => {}
            }
        }
        found
    }

    /// Forgets a process that has ended, because its parent has waited for it.
    // specs: S16
    pub fn forget(&mut self, process: ProcessId) {
        assert!(self.get(process).state == ProcessState::Ended, "a process that runs is forgotten");
        self.free(process);
    }

    /// Frees a number.
    fn free(&mut self, process: ProcessId) {
        self.table[usize::from(process.0)] = Process::free();
        self.check();
    }

    /// Returns the records of all numbers that were ever used, by number.
    fn used(&self) -> impl Iterator<Item = (ProcessId, &Process<T>)> {
        let all = self.table[..self.used_below].iter().enumerate();
        all.map(|(index, process)| (ProcessId(index as u16), process))
    }
}

#[cfg(test)]
mod tests;
