//! Each check of the simulation fails on what it is there for.

use std::rc::Rc;

use super::group::{SECOND, SimGroup};
use super::random::SeededRandom;

/// A group that has served its clients.
fn served() -> SimGroup {
    let mut group = SimGroup::new(SeededRandom::new(5), 3, Rc::default());
    group.must_have_begun();
    group
}

#[test]
#[should_panic(expected = "durable on 0 replicas")]
fn output_of_an_op_that_is_not_committed_is_found() {
    let mut group = served();
    let mut answer = 1_000_001_u64.to_le_bytes().to_vec();
    answer.extend_from_slice(&[0; 8]);
    group.send_answer(1, answer);
}

#[test]
#[should_panic(expected = "is carried out twice")]
fn an_op_that_is_carried_out_twice_is_found() {
    let mut group = served();
    group.last_request = 0;
    group.run_for(2 * SECOND);
}

#[test]
#[should_panic(expected = "an answered request is lost")]
fn an_acknowledged_op_that_is_lost_is_found() {
    let mut group = served();
    group.acknowledged.push(1_000_001);
    group.reach_the_end();
}

#[test]
#[should_panic(expected = "a sick primary keeps its role")]
fn a_primary_that_keeps_its_role_is_found() {
    let mut group = served();
    let primary = group.needs_primary();
    group.must_lose_role(primary);
}

#[test]
#[should_panic(expected = "a log has grown by")]
fn a_log_that_grows_by_itself_is_found() {
    let mut group = served();
    let before = group.log_state();
    group.run_for(SECOND);
    group.replicas[1].files.written_bytes += 1 << 20;
    group.must_have_short_logs(before);
}
