//! Claims of other members about the members of the group, and how far they are believed. Pure.
//!
//! The log alone says who the members are. Claims of others serve to find the group again: whom to
//! connect to, and from whom to take what the log lacks.

use std::collections::BTreeSet;

use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;

use crate::roster::Roster;

/// The claims of other members.
#[derive(Debug, Default)]
pub(in crate::driver) struct Claims {
    /// The newest list of members that a member has sent.
    heard: Roster,
    /// Whether the list at the start left this replica out.
    began_left_out: bool,
    /// The names of the linked replicas, as their certificates have them.
    linked: [Option<String>; NODES_MAX],
    /// The members that refuse this replica, by their names.
    refusing: BTreeSet<String>,
}

impl Claims {
    /// Takes the claims that were heard before the links were made.
    pub(in crate::driver) fn new(heard: Roster, me: NodeId) -> Self {
        let began_left_out = heard.as_of > Slot::NONE && heard.get(me).is_none();
        Self { heard, began_left_out, ..Self::default() }
    }

    /// Returns whether the list of members at the start left this replica out.
    pub(in crate::driver) fn began_left_out(&self) -> bool {
        self.began_left_out
    }

    /// Returns the newest list of members that a member has sent.
    pub(in crate::driver) fn heard(&self) -> &Roster {
        &self.heard
    }

    /// Takes a list of members that a member has sent. Returns whether it is news.
    pub(in crate::driver) fn hear(&mut self, theirs: &Roster, own: &Roster) -> bool {
        let known = own.as_of.max(self.heard.as_of);
        let is_news = theirs.as_of > known && theirs.is_sound();
        if is_news {
            self.heard = theirs.clone();
        }
        is_news
    }

    /// Records a new link to the replica of this name, which does not refuse this one.
    pub(in crate::driver) fn link_up(&mut self, node: NodeId, name: &str) {
        self.linked[node.index()] = Some(name.to_string());
        self.refusing.remove(name);
    }

    /// Returns whether a linked replica may speak for a number: unless the log here gives the
    /// number to another one, or another number to it.
    // specs: N3
    pub(in crate::driver) fn may_speak(&self, node: NodeId, own: &Roster) -> bool {
        self.linked[node.index()].as_ref().is_none_or(|name| fits(node, name, own))
    }

    /// Returns whether a new link may take the place of the present one to this number.
    pub(in crate::driver) fn may_replace(&self, node: NodeId, name: &str, own: &Roster) -> bool {
        fits(node, name, own) || !self.may_speak(node, own)
    }

    /// Returns whether the log here gives a number to the replica of this name, or knows neither.
    pub(in crate::driver) fn fits(node: NodeId, name: &str, own: &Roster) -> bool {
        fits(node, name, own)
    }

    /// Records that a replica refuses this one. Returns whether that is news from a member, by the
    /// log here.
    pub(in crate::driver) fn refuse(&mut self, by: &str, own: &Roster) -> bool {
        own.at(by).is_some() && self.refusing.insert(by.to_string())
    }

    /// Returns whether a member, by the log here, refuses this replica.
    pub(in crate::driver) fn is_refused(&self, own: &Roster) -> bool {
        self.refusing.iter().any(|by| own.at(by).is_some())
    }
}

fn fits(node: NodeId, name: &str, own: &Roster) -> bool {
    match (own.get(node), own.at(name)) {
        (None, None) => true,
        _ => own.has(node, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::RosterMember;
    use crane_core::paxos::NodeSet;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn own() -> Roster {
        Roster::founders(&["a:1".into(), "b:1".into(), "c:1".into()], NodeSet::EMPTY)
    }

    fn with(slot: u64, number: u8, address: &str) -> Roster {
        let mut roster = own();
        let member = RosterMember { node: node(number), address: address.into(), witness: false };
        roster.record(Slot(slot), member);
        roster
    }

    #[test]
    fn nobody_speaks_for_the_number_of_another() {
        let mut claims = Claims::default();
        claims.link_up(node(1), "x:1");
        assert!(!claims.may_speak(node(1), &own()), "the log gives number 1 to another");
        claims.link_up(node(5), "a:1");
        assert!(!claims.may_speak(node(5), &own()), "the log gives another number to it");
        claims.link_up(node(4), "x:1");
        assert!(claims.may_speak(node(4), &own()), "the log may not have come so far");
        assert!(claims.may_speak(node(1), &with(9, 1, "x:1")), "the log has come so far");
        claims.link_up(node(2), "b:1");
        assert!(!claims.may_replace(node(2), "x:1", &own()));
        assert!(claims.may_replace(node(2), "b:1", &own()));
        assert!(claims.may_replace(node(1), "y:1", &own()), "neither is right");
    }

    #[test]
    fn a_refusal_is_over_when_there_is_a_link() {
        let mut claims = Claims::default();
        assert!(!claims.refuse("x:1", &own()), "a stranger");
        assert!(!claims.is_refused(&own()));
        assert!(claims.refuse("a:1", &own()));
        assert!(!claims.refuse("a:1", &own()), "the same again");
        claims.link_up(node(2), "b:1");
        assert!(claims.is_refused(&own()));
        assert!(!claims.is_refused(&with(9, 1, "x:1")), "it is a member no more");
        claims.link_up(node(1), "a:1");
        assert!(!claims.is_refused(&own()));
    }

    #[test]
    fn a_list_of_the_far_future_is_heard_and_no_more() {
        let mut claims = Claims::default();
        assert!(claims.hear(&with(1 << 62, 1, "x:1"), &own()));
        assert!(!claims.hear(&with(40, 2, "y:1"), &own()), "the newest counts");
        assert!(claims.heard().has(node(1), "x:1"));
        claims.link_up(node(1), "x:1");
        assert!(!claims.may_speak(node(1), &own()));
    }
}
