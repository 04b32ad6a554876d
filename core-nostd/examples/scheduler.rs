//! The turn scheduler alone: three threads share a lock, and only their calls decide the order in
//! which they get it: `cargo run -p crane-core --example scheduler`.

use crane_core::execution::turn::{NEVER, ThreadId, Turn, WaitKey};

const THREADS: usize = 3;
/// How often each thread takes the lock.
const ROUNDS: usize = 2;
const LOCK: WaitKey = WaitKey(1);

/// The next call of a thread.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Lock,
    Work,
    Unlock,
}

/// Runs the threads to their end, and returns the owners of the lock in their order.
fn run(quantum: u32) -> Vec<u16> {
    let mut turn = Turn::<THREADS>::new(quantum);
    for _ in 0..THREADS {
        let thread = turn.reserve().expect("a number for each thread");
        turn.start(thread);
    }
    let mut threads = [(Step::Lock, ROUNDS); THREADS];
    let mut owner = None;
    let mut order = Vec::new();
    while turn.live() > 0 {
        turn.invariants();
        let thread = match turn.holder() {
            Some(thread) => thread,
            // The schedule has no time.
            None => turn.pass(0).expect("a runnable thread: the owner of the lock never waits"),
        };
        let ThreadId(number) = thread;
        let (step, rounds) = &mut threads[usize::from(number)];
        match *step {
            Step::Lock if owner.is_some() => {
                turn.wait(LOCK, NEVER);
                continue;
            }
            Step::Lock => {
                owner = Some(thread);
                order.push(number);
                *step = Step::Work;
            }
            Step::Work => *step = Step::Unlock,
            Step::Unlock => {
                assert_eq!(
                    owner.take(),
                    Some(thread),
                    "a thread unlocks that does not own the lock"
                );
                turn.wake(LOCK, 1);
                (*step, *rounds) = (Step::Lock, *rounds - 1);
                if *rounds == 0 {
                    turn.end();
                    continue;
                }
            }
        }
        if turn.spend() {
            turn.yield_turn();
        }
    }
    order
}

fn main() {
    for quantum in [1, 2, 100] {
        let order = run(quantum);
        println!("quantum {quantum:3}: the lock goes to {order:?}");
        assert_eq!(order.len(), THREADS * ROUNDS);
        assert_eq!(order, run(quantum), "two runs differ");
    }
    assert_ne!(run(1), run(100), "the quantum does not change the order");
}
