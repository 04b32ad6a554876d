//! The turn across processes as a model: two replicas on the real turn, gate and table of
//! processes, each on a host that makes and ends the real processes at any moment.
//!
//! The first process forks two children, which fork, execute, signal and end in all ways within
//! small bounds; entries arrive at any moment, and either replica may be ahead. In each order of
//! these events and for each program, the replicas have one history of calls and answers, and no
//! process waits for what has happened.
//!
//! Two replicas with equal histories are equal but for their hosts, so a replica is compared by its
//! history and its host.

mod replica;

use crane_core::execution::processes::ProcessId;
use stateright::{Model, Property};

use replica::{FIRST_NUMBER, Image, Replica, Thread};

const FIRST: ProcessId = ProcessId::FIRST;

/// The rule that the second replica keeps. All but the first are controls, which must be broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The rules of processes.
    Right,
    /// A child queues up when the host has made it.
    QueuedWhenMade,
    /// An end is heard of when the host has ended the real process.
    HeardWhenEnded,
    /// A wait finds the children that the host has ended, in the order of that.
    HostsOrder,
    /// A signal is handled when the host delivers it.
    HandledOnDelivery,
    /// The turn passes from a process that faults before its end is heard of.
    FaultPasses,
}

/// The model of two replicas and their hosts.
#[derive(Clone)]
pub struct Family {
    pub rule: Rule,
    /// The number of entries.
    pub entries: usize,
}

/// A call of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Fork,
    /// Changes the memory that all processes share.
    Work,
    Execute,
    SignalParent,
    SignalFirstChild,
    /// Looks for a child that has ended.
    Ask,
    Wait,
    /// An instruction that the processor refuses, behind the call.
    Fault,
    Exit,
    /// Waits for ever.
    Rest,
}

use Step::{Ask, Execute, Exit, Fault, Fork, Rest, SignalFirstChild, SignalParent, Wait, Work};

/// The program of a child's child, and the one that a child executes, which has no handler.
const SHORT: [Step; 2] = [Work, Exit];

/// The programs of all processes of a server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Programs {
    first: [Step; 7],
    children: [[Step; 3]; 2],
}

impl Programs {
    /// Returns all programs within the bounds.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for behind_fork in [Work, SignalFirstChild] {
            for before_waits in [SignalFirstChild, Ask, Wait] {
                for (one, other) in [
                    (Work, Execute),
                    (Execute, SignalParent),
                    (SignalParent, Fork),
                    (Fork, Work),
                    (Execute, Execute),
                ] {
                    for ends in [[Exit, Exit], [Fault, Exit], [Exit, Fault]] {
                        all.push(Self {
                            first: [Fork, behind_fork, Fork, before_waits, Wait, Wait, Rest],
                            children: [[one, Work, ends[0]], [other, Work, ends[1]]],
                        });
                    }
                }
            }
        }
        all
    }

    fn step(&self, thread: &Thread) -> Step {
        match thread.image {
            Image::First => self.first[thread.at],
            Image::Child(index) => self.children[index][thread.at],
            Image::Short | Image::Executed => SHORT[thread.at],
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    programs: Programs,
    replicas: [Replica; 2],
}

#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// The next entry arrives at a replica.
    Arrive(usize),
    /// The holder of the turn makes a call.
    Run(usize),
    /// The host has made the real process of this number.
    Make(usize, u8),
    /// The host has ended it.
    End(usize, u8),
    /// The host delivers a signal, in a broken replica.
    Deliver(usize),
}

impl Model for Family {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begin = |programs| State { programs, replicas: [Replica::new(), Replica::new()] };
        Programs::all().into_iter().map(begin).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, replica) in state.replicas.iter().enumerate() {
            if replica.arrived < self.entries {
                actions.push(Action::Arrive(index));
            }
            actions.push(Action::Run(index));
            let made = (3..=replica.number as u8).filter(|number| !replica.made.contains(number));
            actions.extend(made.map(|number| Action::Make(index, number)));
            actions.extend(replica.ending.iter().map(|number| Action::End(index, *number)));
            if index == 1 && self.rule == Rule::HandledOnDelivery {
                actions.push(Action::Deliver(index));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let rule = |index| if index == 0 { Rule::Right } else { self.rule };
        let moved = match action {
            Action::Arrive(index) => {
                state.replicas[index].arrived += 1;
                true
            }
            Action::Run(index) => state.replicas[index].run(&last.programs, rule(index)),
            Action::Make(index, number) => state.replicas[index].host_makes(number, rule(index)),
            Action::End(index, number) => state.replicas[index].host_ends(number, rule(index)),
            Action::Deliver(index) => state.replicas[index].host_delivers(),
        };
        moved.then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("all replicas have one history", |_, state: &State| {
                let [one, other] = &state.replicas;
                one.history.iter().zip(&other.history).all(|(one, other)| one == other)
            }),
            Property::always("no process waits for nothing", |_, state: &State| {
                state.replicas.iter().all(|replica| !replica.waits_for_nothing())
            }),
            Property::sometimes("all children are waited for", |_, state: &State| {
                let waited = |replica: &Replica| {
                    replica.number > FIRST_NUMBER + 1 && !replica.table.has_children(FIRST)
                };
                state.replicas.iter().all(waited)
            }),
        ]
    }
}
