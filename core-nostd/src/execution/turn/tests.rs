//! Tests of the turn: passing, waiting, and the detection of broken lists.

use super::*;

fn three() -> (Turn<4>, [ThreadId; 3]) {
    let mut turn = Turn::new(2);
    let threads = [(); 3].map(|()| {
        let thread = turn.reserve().unwrap();
        turn.start(thread);
        thread
    });
    (turn, threads)
}

#[test]
#[should_panic(expected = "a runnable thread is not queued")]
fn a_runnable_thread_outside_of_the_queue_is_found() {
    let (mut turn, threads) = three();
    assert!(threads.iter().all(|thread| turn.state(*thread) != ThreadState::Free));
    turn.run = IndexList::EMPTY;
    turn.invariants();
}

#[test]
#[should_panic(expected = "a list is not linked both ways")]
fn a_broken_link_is_found() {
    let (mut turn, threads) = three();
    turn.links[usize::from(threads[1].0)] = Neighbours::UNLINKED;
    turn.invariants();
}

#[test]
fn the_turn_goes_round_in_order_and_a_quantum_is_kept() {
    let (mut turn, [a, b, c]) = three();
    assert_eq!(turn.pass(0), Some(a));
    assert!(!turn.spend());
    assert!(turn.spend());
    turn.yield_turn();
    assert_eq!(turn.pass(0), Some(b));
    turn.yield_turn();
    assert_eq!(turn.pass(0), Some(c));
    turn.yield_turn();
    assert_eq!(turn.pass(0), Some(a));
}

#[test]
fn locks_use_up_a_slice_of_agreed_time_and_whoever_took_one_keeps_the_turn() {
    let (mut turn, [a, b, _]) = three();
    let slice = SLICE_NANOSECONDS_PER_CALL;
    assert_eq!(turn.pass(50), Some(a));
    for _ in 0..100 {
        assert!(turn.keeps_slice(49 + slice) && !turn.spend_slice(49 + slice, false));
    }
    assert!(!turn.keeps_slice(50 + slice) && !turn.spend_slice(50 + slice, true));
    assert!(turn.spend_slice(50 + slice, false) && turn.spend_slice(50 + 2 * slice, true));
    // Neither uses up the other.
    assert!(!turn.spend());
    turn.yield_turn();
    assert_eq!(turn.pass(slice), Some(b));
    assert!(!turn.spend_slice(2 * slice - 1, false) && turn.spend_slice(2 * slice, false));
}

#[test]
fn a_quantum_of_one_call_has_no_slice() {
    let mut turn = Turn::<4>::new(1);
    for _ in 0..2 {
        let thread = turn.reserve().unwrap();
        turn.start(thread);
    }
    turn.pass(50).unwrap();
    assert!(!turn.keeps_slice(50) && turn.spend_slice(50, false) && turn.spend_slice(50, true));
    turn.end();
    turn.pass(u64::MAX).unwrap();
    // No other thread can run.
    assert!(!turn.spend_slice(u64::MAX, false) && turn.keeps_slice(u64::MAX - 1));
}

#[test]
fn a_thread_that_could_pass_the_turn_to_none_makes_calls_without_end() {
    let mut turn = Turn::<4>::new(2);
    let [one, other] = [(); 2].map(|()| turn.reserve().unwrap());
    turn.start(one);
    assert_eq!(turn.pass(0), Some(one));
    turn.used = u32::MAX;
    assert!(!turn.spend() && turn.keeps_turn(5));
    turn.start(other);
    assert!(turn.spend() && !turn.keeps_turn(5));
}

#[test]
fn waiters_wake_in_the_order_of_their_waiting_for_any_key() {
    for (lock, other) in [(1, 2), (0xffff_0000, 0x7f00_1234)] {
        let (mut turn, [a, b, c]) = three();
        for key in [lock, other, lock] {
            turn.pass(0).unwrap();
            turn.wait(WaitKey(key), NEVER);
        }
        assert_eq!(turn.pass(0), None);
        assert_eq!(turn.waiter(WaitKey(lock), Some(a)), Some(c));
        assert_eq!(turn.wake(WaitKey(lock), 9), 2);
        assert_eq!(turn.wake(WaitKey(other), 1), 1);
        for expected in [a, c, b] {
            assert_eq!(turn.pass(0), Some(expected));
            assert_eq!(turn.woken(expected), Woken::Called);
            turn.end();
        }
        assert_eq!(turn.live(), 0);
    }
}

#[test]
fn deadlines_expire_in_their_order() {
    let (mut turn, [a, b, c]) = three();
    for deadline in [30, 10, 10] {
        turn.pass(0).unwrap();
        turn.wait(WaitKey(5), deadline);
    }
    assert_eq!(turn.first_deadline(), 10);
    turn.expire(9);
    assert_eq!(turn.pass(0), None);
    turn.expire(30);
    for expected in [b, c, a] {
        assert_eq!(turn.pass(0), Some(expected));
        assert_eq!(turn.woken(expected), Woken::Expired);
        turn.end();
    }
    assert_eq!(turn.first_deadline(), NEVER);
}

#[test]
fn the_last_instant_expires_all_deadlines_and_returns() {
    let (mut turn, [a, b, _]) = three();
    for deadline in [NEVER, u64::MAX - 1] {
        turn.pass(0).unwrap();
        turn.wait(WaitKey(5), deadline);
    }
    turn.expire(u64::MAX);
    turn.pass(0).unwrap();
    turn.end();
    assert_eq!(turn.pass(0), Some(b));
    turn.end();
    assert_eq!((turn.pass(0), turn.wake(WaitKey(5), 1)), (None, 1));
    assert_eq!(turn.pass(0), Some(a));
}

#[test]
fn a_full_table_refuses_threads_and_numbers_are_used_again() {
    let (mut turn, [a, ..]) = three();
    let fourth = turn.reserve().unwrap();
    assert_eq!(turn.reserve(), None);
    turn.release(fourth);
    assert_eq!(turn.reserve(), Some(fourth));
    turn.pass(0);
    turn.end();
    assert_eq!(turn.reserve(), Some(a));
}

// specs: S6
#[test]
fn a_requeued_waiter_waits_for_the_other_key_behind_its_waiters_with_its_deadline() {
    let (mut turn, [a, b, c]) = three();
    for (key, deadline) in [(1, 50), (1, NEVER), (2, NEVER)] {
        turn.pass(0).unwrap();
        turn.wait(WaitKey(key), deadline);
    }
    turn.requeue(a, WaitKey(2));
    assert_eq!(turn.waiter(WaitKey(1), None), Some(b));
    assert_eq!(turn.waiter(WaitKey(2), Some(c)), Some(a));
    assert_eq!(turn.wake(WaitKey(1), 9), 1);
    turn.expire(50);
    assert_eq!((turn.woken(a), turn.is_waiting(a)), (Woken::Expired, false));
    assert_eq!(turn.wake(WaitKey(2), 9), 1);
    turn.invariants();
}

// specs: S11
#[test]
fn a_reserved_thread_waits_and_comes_up_in_the_order_of_deadlines() {
    let (mut turn, [a, b, c]) = three();
    let timer = turn.reserve().unwrap();
    for (deadline, timed) in [(20, true), (20, false), (10, false)] {
        if timed {
            turn.wait_reserved(timer, WaitKey(9), deadline);
        }
        turn.pass(0).unwrap();
        turn.wait(WaitKey(5), deadline);
    }
    assert_eq!(turn.first_deadline(), 10);
    // It began to wait before the others with its deadline.
    turn.expire(20);
    for expected in [c, timer, a, b] {
        assert_eq!((turn.pass(0), turn.woken(expected)), (Some(expected), Woken::Expired));
        turn.wait(WaitKey(5), NEVER);
    }
    assert_eq!((turn.pass(0), turn.first_deadline()), (None, NEVER));
}

// specs: S11
#[test]
fn a_waiting_threads_deadline_changes_both_ways() {
    let (mut turn, [a, b, _]) = three();
    let timer = turn.reserve().unwrap();
    turn.wait_reserved(timer, WaitKey(9), NEVER);
    for _ in 0..3 {
        turn.pass(0).unwrap();
        turn.wait(WaitKey(5), NEVER);
    }
    turn.set_deadline(timer, 10);
    turn.set_deadline(a, 10);
    assert_eq!(turn.first_deadline(), 10);
    turn.set_deadline(timer, 30);
    turn.set_deadline(b, 5);
    turn.expire(29);
    assert_eq!(
        [turn.pass(0), {
            turn.end();
            turn.pass(0)
        }],
        [Some(b), Some(a)]
    );
    turn.end();
    assert_eq!((turn.pass(0), turn.first_deadline()), (None, 30));
    turn.expire(30);
    assert_eq!(turn.pass(0), Some(timer));
    turn.invariants();
}

#[test]
fn the_threads_of_a_process_that_ends_leave_the_queues_and_no_trace() {
    let (mut turn, [a, b, c]) = three();
    let kept = turn.reserve().unwrap();
    assert_eq!(turn.pass(0), Some(a));
    turn.wait(WaitKey(7), 50);
    assert_eq!(turn.pass(0), Some(b));
    // One waits with a deadline, one is runnable, one has ended and was not joined.
    for thread in [a, c, kept] {
        turn.remove(thread);
        turn.invariants();
    }
    assert_eq!((turn.live(), turn.first_deadline(), turn.wake(WaitKey(7), 1)), (1, NEVER, 0));
    turn.expire(60);
    turn.end();
    assert_eq!((turn.pass(60), turn.live()), (None, 0));
    assert_eq!(turn.reserve(), Some(a), "the numbers are used again");
}

#[test]
#[should_panic(expected = "the thread is not another's")]
fn the_holder_of_the_turn_is_not_removed() {
    let (mut turn, [a, ..]) = three();
    assert_eq!(turn.pass(0), Some(a));
    turn.remove(a);
}
