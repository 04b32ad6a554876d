//! The script rule as a model: two replicas on the real gate, turn and admission, and a script that
//! grows while they run.
//!
//! Clients' ops come at any moment, the primary asks for a bubble whenever it is stalled, entries
//! arrive at each replica at any moment, and either replica may be ahead. In each order of these
//! events, a slot is admitted at one value of the clock, after one history of calls and outputs.
//!
//! Two replicas with equal histories are equal, so a replica is compared by its history.

use std::hash::{Hash, Hasher};

use crane_core::execution::admission::Admitted;
use crane_core::execution::socket::{Bound, ConnIndex, ListenerIndex};
use crane_core::execution::turn::{NEVER, ThreadId, WaitKey};
use crane_core::execution::{Execution, Mark};
use crane_core::id::{ConnId, Generation, NodeId, Slot};
use crane_core::limits::CALL_NANOSECONDS;
use crane_core::wire::{Endpoint, Op};
use stateright::{Model, Property};

const THREADS: usize = 2;
const FUSED: u32 = 3;
const BUBBLE: u32 = 7;
const LISTENER: WaitKey = WaitKey(1);
const READABLE: WaitKey = WaitKey(2);
const NAP: WaitKey = WaitKey(3);

/// The rule that the second replica keeps. All but the first are controls, which must be broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The rule of the script.
    Right,
    /// An op is admitted when it arrives.
    AdmitOnArrival,
    /// The rest of a grant is dropped when another entry has arrived.
    DropForNext,
    /// A step is granted when the script is empty.
    ContinueWithoutGrant,
}

/// The model of two replicas and their script.
#[derive(Clone)]
pub struct Service {
    pub rule: Rule,
    /// The number of clients' ops, at most four.
    pub ops: usize,
    /// The number of bubbles.
    pub bubbles: usize,
}

/// An element of the script.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// The client's next op, with a fused bubble.
    Op(u8),
    Bubble,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    script: Vec<Entry>,
    replicas: [Replica; 2],
}

#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    Send,
    AskForBubble,
    Arrive(usize),
    Run(usize),
}

impl Model for Service {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let replicas = [Replica::new(), Replica::new()];
        vec![State { script: vec![Entry::Bubble], replicas }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let [primary, _] = &state.replicas;
        let ops = state.script.iter().filter(|entry| matches!(entry, Entry::Op(_))).count();
        let bubbles = state.script.len() - ops;
        if ops < self.ops {
            actions.push(Action::Send);
        }
        // The primary asks for one bubble at a time, and only after it has admitted all entries.
        if bubbles <= self.bubbles && primary.admitted == state.script.len() && primary.is_stalled()
        {
            actions.push(Action::AskForBubble);
        }
        for (index, replica) in state.replicas.iter().enumerate() {
            if replica.arrived < state.script.len() {
                actions.push(Action::Arrive(index));
            }
            actions.push(Action::Run(index));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Send => {
                let ops = state.script.iter().filter(|entry| matches!(entry, Entry::Op(_)));
                let next = Entry::Op(ops.count() as u8);
                state.script.push(next);
            }
            Action::AskForBubble => state.script.push(Entry::Bubble),
            Action::Arrive(index) => {
                let replica = &mut state.replicas[index];
                replica.arrived += 1;
                let rule = if index == 0 { Rule::Right } else { self.rule };
                let next = state.script[replica.arrived - 1];
                let early = match rule {
                    Rule::AdmitOnArrival => matches!(next, Entry::Op(_)),
                    Rule::DropForNext => true,
                    _ => false,
                };
                while early && replica.admitted < replica.arrived {
                    replica.execution.gate.drop_grant();
                    replica.admit(&state.script);
                }
            }
            Action::Run(index) => {
                let unbounded = index == 1 && self.rule == Rule::ContinueWithoutGrant;
                if !state.replicas[index].run(&state.script, unbounded) {
                    return None;
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a slot is admitted in one way", |_, state: &State| {
                let [one, other] = &state.replicas;
                one.marks.iter().zip(&other.marks).all(|(one, other)| one == other)
            }),
            Property::sometimes("all entries are admitted", |service: &Service, state: &State| {
                let all = 1 + service.ops + service.bubbles;
                state.replicas.iter().all(|replica| replica.admitted == all)
            }),
        ]
    }
}

/// One replica, with its server.
#[derive(Clone, Debug)]
struct Replica {
    execution: Execution<THREADS, 4, 1>,
    steps: [Step; THREADS],
    listener: Option<ListenerIndex>,
    conn: Option<ConnIndex>,
    shared: u64,
    marks: Vec<Mark>,
    arrived: usize,
    admitted: usize,
    history: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Listen,
    Accept,
    Receive,
    Look,
    Store(u64),
    Nap,
}

const ADMITTED: u8 = 100;
const DROPPED: u8 = 101;

impl PartialEq for Replica {
    fn eq(&self, other: &Self) -> bool {
        (self.arrived, &self.history) == (other.arrived, &other.history)
    }
}

impl Eq for Replica {}

impl Hash for Replica {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.arrived, &self.history).hash(state);
    }
}

impl Replica {
    fn new() -> Self {
        let mut replica = Self {
            execution: Execution::new(2, 0),
            steps: [Step::Listen, Step::Look],
            listener: None,
            conn: None,
            shared: 1,
            marks: Vec::new(),
            arrived: 0,
            admitted: 0,
            history: Vec::new(),
        };
        for _ in 0..THREADS {
            let thread = replica.execution.turn.reserve().expect("a free place for the thread");
            replica.execution.turn.start(thread);
        }
        replica
    }

    fn is_stalled(&self) -> bool {
        // A copy of the gate shows whether a step is granted.
        let runnable = self.execution.turn.holder().is_some() || self.execution.turn.has_runnable();
        runnable && !self.execution.gate.clone().advance()
    }

    /// Makes a call, or admits the next entry if the gate holds the call back. Returns `false` if
    /// neither is possible.
    fn run(&mut self, script: &[Entry], unbounded: bool) -> bool {
        let holder = self.execution.turn.holder().or_else(|| self.execution.pass());
        let Some(thread) = holder else {
            if self.admitted == self.arrived {
                return false;
            }
            self.history.push(DROPPED);
            self.execution.gate.drop_grant();
            self.admit(script);
            return true;
        };
        let kind = self.steps[thread.0 as usize].kind();
        if !self.execution.call(thread, kind, 0) {
            if self.admitted < self.arrived {
                self.admit(script);
                return true;
            }
            if !unbounded {
                return false;
            }
            self.execution.gate.grant(1);
            assert!(self.execution.call(thread, kind, 0), "a granted step was refused");
        }
        self.history.push(thread.0 as u8 * 10 + kind as u8);
        self.act(thread);
        if self.execution.turn.holder().is_some() && self.execution.turn.spend() {
            self.execution.turn.yield_turn();
        }
        true
    }

    fn admit(&mut self, script: &[Entry]) {
        let entry = script[self.admitted];
        self.admitted += 1;
        self.history.push(ADMITTED);
        let conn = ConnId {
            entry: NodeId::new(1).expect("a small number"),
            generation: Generation(1),
            number: 1,
        };
        let end = Endpoint::from_ipv4([127, 0, 0, 1], 80);
        let (op, grant) = match entry {
            Entry::Bubble => (None, BUBBLE),
            Entry::Op(0) => (Some(Op::Connect { conn, local: end, peer: end }), FUSED),
            Entry::Op(1) => (Some(Op::Send { conn, offset: 0, bytes: b"ab" }), FUSED),
            Entry::Op(2) => (Some(Op::Send { conn, offset: 2, bytes: b"c" }), FUSED),
            Entry::Op(_) => (Some(Op::Shut { conn, total: 3 }), FUSED),
        };
        // Some timestamps are ahead of agreed time, and some are behind.
        let (slot, timestamp) = (Slot(self.admitted as u64), self.admitted as u64 * 700);
        let mark = self.execution.admit(slot, timestamp, op.into_iter(), grant, |at, admitted| {
            match admitted {
                Admitted::Acceptable(_) => at.turn.wake(LISTENER, 1),
                Admitted::Data { .. } | Admitted::Ended(_) => at.turn.wake(READABLE, 1),
                _ => 0,
            };
        });
        self.marks.push(mark);
    }

    /// Does one step of a thread. The first thread serves the connection; the second one changes
    /// the shared value, and naps.
    fn act(&mut self, thread: ThreadId) {
        let Self { execution, listener, conn, shared, .. } = self;
        let step = &mut self.steps[thread.0 as usize];
        *step = match *step {
            Step::Listen => {
                let end = Endpoint::from_ipv4([0; 4], 80);
                *listener = execution.sockets.listen(Bound::plain(end), 4);
                Step::Accept
            }
            Step::Accept => {
                *conn = listener.and_then(|at| execution.sockets.accept(at));
                if conn.is_none() {
                    execution.turn.wait(LISTENER, NEVER);
                    Step::Accept
                } else {
                    Step::Receive
                }
            }
            Step::Receive => {
                let at = execution.sockets.conn_mut(conn.expect("an accepted connection"));
                if at.readable() > 0 {
                    at.consume(1);
                    Step::Look
                } else {
                    execution.turn.wait(READABLE, NEVER);
                    Step::Receive
                }
            }
            Step::Look => Step::Store(*shared),
            Step::Store(seen) if thread.0 == 0 => {
                *shared = seen * 3;
                execution.output.put(*shared);
                Step::Receive
            }
            Step::Store(seen) => {
                *shared = seen + 1;
                Step::Nap
            }
            Step::Nap => {
                execution.turn.wait(NAP, execution.gate.agreed() + 4 * CALL_NANOSECONDS);
                Step::Look
            }
        };
    }
}

impl Step {
    fn kind(self) -> u16 {
        match self {
            Step::Listen => 1,
            Step::Accept => 2,
            Step::Receive => 3,
            Step::Look => 4,
            Step::Store(_) => 5,
            Step::Nap => 6,
        }
    }
}
