//! Claims of other members about the members of the group, and how far they are believed. Pure.
//!
//! The log alone says who the members are. Claims of others serve to find the group again: whom to
//! connect to, and from whom to take what the log lacks.

use std::collections::BTreeSet;

use crane_core::id::NodeId;
use crane_core::limits::NODES_MAX;

use crate::roster::Roster;

/// The claims of other members.
#[derive(Debug, Default)]
pub(in crate::driver) struct Claims {
    /// The newest list of members that a member has sent.
    heard: Roster,
    /// The names of the linked replicas, as their certificates have them.
    linked: [Option<String>; NODES_MAX],
    /// The members that refuse this replica, by their names.
    refusing: BTreeSet<String>,
}

impl Claims {
    /// Takes the claims that were heard before the links were made.
    pub(in crate::driver) fn new(heard: Roster) -> Self {
        Self { heard, ..Self::default() }
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

    /// Records that a member refuses this replica. Returns `None` if that is known, or else whether
    /// enough of them do for this replica to stop: any of those that it was started with, if it has
    /// no group yet; else more than half of the other members by its own log.
    // specs: N6
    pub(in crate::driver) fn refuse(
        &mut self,
        by: &str,
        own: &Roster,
        own_name: &str,
        has_group: bool,
    ) -> Option<bool> {
        if own.at(by).is_none() || !self.refusing.insert(by.to_string()) {
            return None;
        }
        let others = || own.iter().filter(|place| place.address != own_name);
        let refusing = others().filter(|place| self.refusing.contains(&place.address));
        Some(!has_group || 2 * refusing.count() > others().count())
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
    use crane_core::id::Slot;
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
    fn one_refusal_stops_nobody_who_has_a_group() {
        let mut claims = Claims::default();
        assert_eq!(claims.refuse("x:1", &own(), "c:1", true), None, "a stranger");
        assert_eq!(claims.refuse("a:1", &own(), "c:1", true), Some(false));
        assert_eq!(claims.refuse("a:1", &own(), "c:1", true), None, "the same again");
        claims.link_up(node(1), "a:1");
        assert_eq!(claims.refuse("b:1", &own(), "c:1", true), Some(false), "one took it back");
        assert_eq!(claims.refuse("a:1", &own(), "c:1", true), Some(true));
        assert_eq!(Claims::default().refuse("a:1", &own(), "c:1", false), Some(true));
        let two = Roster::founders(&["a:1".into(), "b:1".into()], NodeSet::EMPTY);
        assert_eq!(Claims::default().refuse("a:1", &two, "b:1", true), Some(true));
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
