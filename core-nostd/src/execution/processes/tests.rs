//! Tests of the table of processes: births, ends, waiting, and the detection of broken tables.

use super::*;

type Table = ProcessTable<u8, 4>;

const FIRST: ProcessId = ProcessId::FIRST;

/// Returns a table whose first process has made children of the kernel's numbers from 3 on.
fn with_children(count: i32) -> (Table, [ProcessId; 3]) {
    let mut table = Table::new(2);
    let mut made = [FIRST; 3];
    for (number, place) in (3..3 + count).zip(&mut made) {
        *place = table.make(FIRST).unwrap();
        table.set_number(*place, number);
    }
    (table, made)
}

fn no_group(_: i32) -> i32 {
    panic!("no group is asked for")
}

fn any_child(table: &Table) -> FoundChild {
    table.child(FIRST, Children::All, no_group)
}

#[test]
fn the_first_to_end_is_waited_for_first() {
    let (mut table, [a, b, c]) = with_children(3);
    assert_eq!(any_child(&table), FoundChild::Running);
    for (process, status) in [(c, 7), (a, 8), (b, 9)] {
        assert_eq!(table.end(process, status, 1, |_| false), Some(FIRST));
    }
    for (process, status) in [(c, 7), (a, 8), (b, 9)] {
        assert_eq!(any_child(&table), FoundChild::Ended(process));
        assert_eq!(table.get(process).status(), status);
        table.forget(process);
    }
    assert_eq!(any_child(&table), FoundChild::Nothing);
    assert!(!table.has_children(FIRST));
}

#[test]
fn a_full_table_says_so_and_a_number_is_used_again_behind_the_wait() {
    let (mut table, [a, ..]) = with_children(3);
    assert_eq!(table.make(a), None);
    table.end(a, 0, 1, |_| false);
    // It has ended, and its parent may still ask for it.
    assert_eq!(table.make(FIRST), None);
    table.forget(a);
    assert_eq!(table.make(FIRST), Some(a));
    table.unmake(a);
    assert_eq!(table.make(FIRST), Some(a));
}

#[test]
fn children_are_chosen_by_number_and_by_group() {
    let (mut table, [a, b, c]) = with_children(3);
    let group_of = |number: i32| if number == 5 { 5 } else { 2 };
    table.end(b, 0, 4, |_| false);
    let found = |wanted| table.child(FIRST, wanted, group_of);
    assert_eq!(found(Children::Number(3)), FoundChild::Running);
    assert_eq!(found(Children::Number(4)), FoundChild::Ended(b));
    assert_eq!(found(Children::Number(9)), FoundChild::Nothing);
    assert_eq!(found(Children::Group(2)), FoundChild::Running);
    assert_eq!(found(Children::Group(4)), FoundChild::Ended(b));
    assert_eq!(found(Children::Group(5)), FoundChild::Running);
    assert_eq!(found(Children::Group(6)), FoundChild::Nothing);
    assert_eq!(table.child(a, Children::All, group_of), FoundChild::Nothing);
    assert_eq!(table.child_of_number(FIRST, 5), Some(c));
    assert_eq!(table.child_of_number(a, 5), None);
}

#[test]
fn a_parent_that_forgets_its_children_waits_for_none() {
    let (mut table, [a, ..]) = with_children(1);
    assert_eq!(table.end(a, 0, 1, |parent| parent == FIRST), Some(FIRST));
    assert_eq!(any_child(&table), FoundChild::Nothing);
    assert_eq!(table.existence(3, true), Existence::Gone);
}

#[test]
fn the_children_of_one_that_ends_have_no_parent() {
    let (mut table, [a, b, _]) = with_children(2);
    let own = table.make(b).unwrap();
    table.set_number(own, 5);
    assert_eq!(table.end(own, 0, 1, |_| false), Some(b));
    assert_eq!(table.existence(5, true), Existence::Ended);
    let last = table.child(b, Children::All, no_group);
    assert_eq!(last, FoundChild::Ended(own));
    // That one is forgotten with its parent, and a child that runs continues.
    assert_eq!(table.end(b, 0, 1, |_| false), Some(FIRST));
    assert_eq!(table.existence(5, true), Existence::Gone);
    table.forget(b);
    let own = table.make(a).unwrap();
    table.set_number(own, 6);
    table.end(a, 0, 1, |_| false);
    assert_eq!(table.get(own).parent(), None);
    assert_eq!(table.existence(6, true), Existence::Runs);
    assert_eq!(table.end(own, 0, 1, |_| panic!("nobody is asked")), None);
    assert_eq!(table.existence(6, true), Existence::Gone);
}

#[test]
fn no_other_process_has_the_number_of_the_first() {
    let (mut table, [a, ..]) = with_children(1);
    assert_eq!(table.end(FIRST, 0, 1, |_| panic!("nobody is asked")), None);
    assert!(table.first_has_ended() && table.first_number() == 2);
    for _ in 0..2 {
        assert!(table.make(a).is_some_and(|made| made != FIRST));
    }
    assert_eq!(table.make(a), None);
    // The program sees that it is gone, although it stays in the kernel.
    assert_eq!(table.existence(2, true), Existence::Gone);
}

#[test]
fn the_program_sees_ends_at_their_calls() {
    let (mut table, [a, b, _]) = with_children(2);
    assert_eq!(table.existence(3, true), Existence::Runs);
    table.end(a, 0, 7, |_| false);
    assert_eq!(table.existence(3, true), Existence::Ended);
    assert_eq!(table.existence_of_group(7, true), Existence::Ended);
    table.forget(a);
    for (knows_all, expected) in [(true, Existence::Gone), (false, Existence::Unknown)] {
        assert_eq!(table.existence(3, knows_all), expected);
        assert_eq!(table.existence_of_group(7, knows_all), expected);
    }
    // Such a number is not the program's.
    assert_eq!(table.existence(1, true), Existence::Unknown);
    assert_eq!(table.existence(0, true), Existence::Unknown);
    assert_eq!((table.find(4), table.find(3)), (Some(b), None));
    assert!(table.has_others(FIRST));
    assert_eq!(table.running().map(|(id, _)| id).collect::<heapless::Vec<_, 4>>(), [FIRST, b]);
}

#[test]
fn a_free_number_leaves_nothing_to_the_next() {
    let (mut table, [a, ..]) = with_children(1);
    *table.frontend(a) = 9;
    table.end(a, 3, 4, |_| false);
    table.forget(a);
    assert_eq!(table.make(FIRST), Some(a));
    assert_eq!(*table.get(a).frontend(), 0);
}

#[test]
#[should_panic(expected = "a process ends once")]
fn a_second_end_is_refused() {
    let (mut table, [a, ..]) = with_children(1);
    table.end(a, 0, 1, |_| false);
    table.end(a, 0, 1, |_| false);
}

#[test]
#[should_panic(expected = "a process that runs is forgotten")]
fn one_that_runs_is_not_forgotten() {
    let (mut table, [a, ..]) = with_children(1);
    table.forget(a);
}

#[test]
#[should_panic(expected = "a parent does not run")]
fn a_broken_table_is_found() {
    let (mut table, [a, b, _]) = with_children(2);
    table.table[usize::from(a.0)].parent = Some(b);
    table.table[usize::from(b.0)] = Process::free();
    table.invariants();
}

#[test]
#[should_panic(expected = "two ends have one place")]
fn ends_without_an_order_are_found() {
    let (mut table, [a, b, _]) = with_children(2);
    table.end(a, 0, 1, |_| false);
    table.end(b, 0, 1, |_| false);
    table.table[usize::from(b.0)].order = 1;
    table.invariants();
}

#[test]
fn any_sequence_of_calls_keeps_the_invariants() {
    let (mut table, mut random) = (Table::new(2), 1_u64);
    let mut number = 2;
    let (mut full, mut ended, mut waited) = (0, 0, 0);
    for step in 0..20_000 {
        if step % 100 == 0 {
            // The first process may have ended.
            table = Table::new(2);
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let choice = (random >> 33) as usize;
        let count = table.running().count();
        let (one, _) = table.running().nth(choice / 8 % count).unwrap();
        match choice % 3 {
            0 => match table.make(one) {
                None => full += 1,
                Some(made) if choice.is_multiple_of(5) => table.unmake(made),
                Some(made) => {
                    number += 1;
                    table.set_number(made, number);
                }
            },
            1 if count > 1 => {
                ended += 1;
                table.end(one, 0, 1, |_| choice.is_multiple_of(7));
            }
            _ => {
                if let FoundChild::Ended(child) = table.child(one, Children::All, no_group) {
                    waited += 1;
                    table.forget(child);
                }
            }
        }
        table.invariants();
    }
    assert!(full > 500 && ended > 2000 && waited > 500, "{full} {ended} {waited}");
}
