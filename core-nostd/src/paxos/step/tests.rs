//! Tests that the invariants of a node's state detect each inconsistent part.

use super::*;
use crate::limits::NODES_MAX;
use crate::paxos::roles::{Candidacy, Leadership};
use crate::paxos::state::Following;
use crate::paxos::{Content, Descriptor, LogEnd, NodeSet};
use crate::time::Duration;

type Small = Node<8>;

fn id(number: u8) -> NodeId {
    NodeId::new(number).expect("the number of a node")
}

fn ballot(round: u64, node: u8) -> Ballot {
    Ballot::new(round, Some(id(node)))
}

/// Returns node 1 of three, which votes and has four entries, three of them committed.
fn sound() -> Small {
    let content = Content::Payload(Descriptor { length: 3, digest: 1 });
    let log = (1..=4).map(|slot| (Slot(slot), Entry { ballot: ballot(1, 2), content }));
    let stored = DurableState {
        promised: ballot(1, 2),
        accepted: ballot(1, 2),
        voting: VotingStatus::Voter { epoch: StorageEpoch::FIRST },
        committed: Slot(3),
        snapshot: None,
    };
    let now = Instant::from_micros(1_000_000);
    Node::restore(Config::new(id(1), Members::first(3), 5), now, stored, log)
}

/// Returns the same node as primary.
fn primary() -> (Small, Leadership) {
    let mut node = sound();
    node.acceptor.promised = ballot(2, 1);
    let lead = Leadership::new(ballot(2, 1), Slot(4), node.now);
    node.role_state = RoleState::Primary(lead.clone());
    node.invariants();
    (node, lead)
}

macro_rules! noticed {
    ($($name:ident: $what:literal, $node:ident => $broken:block)+) => {$(
        #[test]
        #[should_panic(expected = $what)]
        fn $name() {
            let mut $node = sound();
            $node.invariants();
            $broken
            $node.invariants();
        }
    )+};
}

noticed! {
    a_promise_below_what_is_accepted: "accepted above the promise", node => {
        node.acceptor.promised = ballot(1, 1);
    }
    an_entry_above_what_is_accepted: "an entry is above the accepted ballot", node => {
        node.acceptor.accepted = Ballot::ZERO;
    }
    a_write_that_nobody_asked_for: "a promise waits for a write that was not emitted", node => {
        node.acceptor.promise_write = WriteNumber(1);
    }
    a_broken_window: "entries that are no payloads are miscounted", node => {
        node.acceptor.log.miscount();
    }
    a_status_that_is_due_and_durable: "the write of a due status is durable already", node => {
        node.voting.due = Some((WriteNumber(0), VotingStatus::Ready));
    }
    an_epoch_named_beyond_the_log: "named beyond the log", node => {
        node.voting.rejoined = Some(Slot(5));
    }
    a_timeout_that_is_too_short: "a timeout is too short", node => {
        node.timer.timeout = Duration::from_millis(149);
    }
    an_election_before_the_primary_was_heard: "an election is due too early", node => {
        node.timer.election_at = Instant::START;
    }
    a_primary_without_the_promise: "follows a primary whose ballot is not", node => {
        node.following = Following::primary(ballot(1, 3), Slot(4));
    }
    a_commit_beyond_what_is_the_primarys: "committed beyond the primary's log", node => {
        node.following = Following::primary(ballot(1, 2), Slot(2));
    }
    a_candidate_that_follows: "only a backup follows", node => {
        node.following = Following::primary(ballot(1, 2), Slot(4));
        let granted = NodeSet::EMPTY.with(id(1));
        node.role_state = RoleState::PreCandidate { ballot: ballot(2, 1), granted };
    }
    a_pre_vote_for_what_is_promised: "asks for a ballot that is not above its promise", node => {
        let granted = NodeSet::EMPTY.with(id(1));
        node.role_state = RoleState::PreCandidate { ballot: ballot(1, 1), granted };
    }
    a_candidate_without_its_own_promise: "asks without its own promise", node => {
        node.acceptor.promised = ballot(2, 1);
        let end = LogEnd { ballot: ballot(1, 2), slot: Slot(4) };
        let mut candidacy = Candidacy::new(ballot(2, 1), end, node.now, node.now);
        candidacy.asked = true;
        assert_eq!(candidacy.promises, [None; NODES_MAX]);
        node.role_state = RoleState::Candidate(candidacy);
    }
    a_commit_index_that_was_not_reached: "emitted a commit index that was not reached", node => {
        node.emitted.committed = Slot(4);
    }
    members_that_were_not_emitted: "a change of members was not emitted", node => {
        node.emitted.members = Members::first(4);
    }
}

#[test]
#[should_panic(expected = "a vote counts that does not reach the log taken over")]
fn a_vote_below_the_start() {
    let (mut node, mut lead) = primary();
    lead.progress[1].voted = true;
    lead.progress[1].matched = Slot(3);
    node.role_state = RoleState::Primary(lead);
    node.invariants();
}

#[test]
#[should_panic(expected = "a slot after the log's end is to be sent")]
fn an_entry_that_does_not_exist_is_to_be_sent() {
    let (mut node, mut lead) = primary();
    lead.progress[2].next = Some(Slot(6));
    node.role_state = RoleState::Primary(lead);
    node.invariants();
}
