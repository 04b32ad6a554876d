//! The members and their addresses, as the log gives them. Pure.
//!
//! Agreement knows members by number only. Their addresses come from the command lines of the
//! replicas that created the group (the *founders*), and later from `Member` ops. A replica keeps
//! the roster of its log in its data directory. A newer one of another member says whom to connect
//! to: a replica thus finds its group again even if every address has changed while it was down.

use std::fmt;

use crane_core::id::{NodeId, Slot};
use crane_core::limits::{ADDRESS_BYTES_MAX, NODES_MAX};
use crane_core::paxos::{Members, NodeSet};
use serde::{Deserialize, Serialize};

/// A member of the group, or a replica that is about to join.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RosterMember {
    /// The member's number.
    pub node: NodeId,
    /// `host:port`.
    pub address: String,
    /// Whether it keeps the log only, and runs no server.
    pub witness: bool,
}

/// All members, sorted by number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Roster {
    /// The slot of the last change; 0 for the roster that the founders began with.
    pub as_of: Slot,
    /// Sorted by number; each number and address occurs once.
    places: Vec<RosterMember>,
}

impl Roster {
    /// Returns the founders' roster: each number is a position in the list of names.
    pub fn founders(names: &[String], witnesses: NodeSet) -> Self {
        let place = |(node, name): (NodeId, &String)| RosterMember {
            node,
            address: name.clone(),
            witness: witnesses.contains(node),
        };
        let places = NodeSet::first(names.len()).iter().zip(names).map(place).collect();
        Self { as_of: Slot::NONE, places }
    }

    /// Returns the members that agreement starts from, if this is the founders' roster.
    pub fn first_members(&self) -> Members {
        let all: NodeSet = self.iter().map(|place| place.node).collect();
        let witnesses = self.iter().filter(|place| place.witness).map(|place| place.node).collect();
        Members { voters: all, learners: NodeSet::EMPTY, witnesses }
    }

    /// Returns whether the log can have produced this roster: a peer may send anything.
    pub fn is_sound(&self) -> bool {
        let rising = self.places.is_sorted_by(|one, other| one.node < other.node);
        let apart = |place: &RosterMember| self.at(&place.address) == Some(place);
        let bounded = |place: &RosterMember| {
            !place.address.is_empty() && place.address.len() <= ADDRESS_BYTES_MAX
        };
        rising && self.places.iter().all(|place| apart(place) && bounded(place))
    }

    /// Iterates over the members, by number.
    pub fn iter(&self) -> impl Iterator<Item = &RosterMember> {
        self.places.iter()
    }

    /// Returns the member with this number.
    pub fn get(&self, node: NodeId) -> Option<&RosterMember> {
        self.places.iter().find(|place| place.node == node)
    }

    /// Returns the member at this address.
    pub fn at(&self, address: &str) -> Option<&RosterMember> {
        self.places.iter().find(|place| place.address == address)
    }

    /// Returns whether the node is a member at this address.
    pub fn has(&self, node: NodeId, address: &str) -> bool {
        self.get(node).is_some_and(|place| place.address == address)
    }

    /// Returns the lowest number that no member has.
    pub fn free_number(&self, members: &Members) -> Option<NodeId> {
        let taken = members.all();
        NodeSet::first(NODES_MAX).difference(taken).iter().next()
    }

    /// Records a member's address, which the log gives in `slot`. Returns whether the roster
    /// changed.
    pub fn record(&mut self, slot: Slot, place: RosterMember) -> bool {
        if slot <= self.as_of {
            return false;
        }
        self.as_of = slot;
        self.places.retain(|known| known.node != place.node && known.address != place.address);
        self.places.push(place);
        self.places.sort_by_key(|place| place.node);
        true
    }

    /// Drops every member that is not in `members`, the log's list in `slot`. Returns whether the
    /// roster changed.
    pub fn keep(&mut self, slot: Slot, members: &Members) -> bool {
        if slot <= self.as_of {
            return false;
        }
        self.as_of = slot;
        self.places.retain(|place| members.all().contains(place.node));
        true
    }

    /// Returns the places of these members, as of a slot.
    pub fn limited_to(&self, members: NodeSet, slot: Slot) -> Self {
        let places = self.iter().filter(|place| members.contains(place.node)).cloned().collect();
        Self { as_of: slot, places }
    }

    /// Returns whether the roster has exactly these addresses, in any order.
    pub fn has_exactly(&self, names: &[String]) -> bool {
        names.len() == self.places.len() && names.iter().all(|name| self.at(name).is_some())
    }
}

impl fmt::Display for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", place.address)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn place(number: u8, address: &str) -> RosterMember {
        RosterMember { node: node(number), address: address.into(), witness: false }
    }

    #[test]
    fn the_log_has_the_last_word_and_old_words_change_nothing() {
        let names = ["a:1".to_string(), "b:1".into(), "c:1".into()];
        let mut roster = Roster::founders(&names, NodeSet::EMPTY.with(node(3)));
        assert_eq!(roster.first_members().witnesses, NodeSet::EMPTY.with(node(3)));
        assert!(roster.record(Slot(9), place(4, "d:1")));
        let members = Members {
            voters: NodeSet::first(2),
            learners: NodeSet::EMPTY.with(node(4)),
            ..Members::default()
        };
        assert!(roster.keep(Slot(12), &members));
        assert_eq!(roster.to_string(), "a:1,b:1,d:1");
        assert_eq!(roster.free_number(&members), Some(node(3)));
        assert!(!roster.record(Slot(10), place(2, "x:1")) && roster.has(node(2), "b:1"));
        assert!(roster.has_exactly(&["d:1".into(), "a:1".into(), "b:1".into()]));
        assert!(!roster.has_exactly(&names));
    }

    #[test]
    fn an_address_has_one_number() {
        let mut roster = Roster::founders(&["a:1".to_string(), "b:1".into()], NodeSet::EMPTY);
        roster.record(Slot(5), place(3, "b:1"));
        assert!(roster.is_sound());
        let twice = Roster { as_of: Slot(9), places: vec![place(1, "a:1"), place(2, "a:1")] };
        let unsorted = Roster { as_of: Slot(9), places: vec![place(2, "b:1"), place(1, "a:1")] };
        assert!(!twice.is_sound() && !unsorted.is_sound());
        assert_eq!((roster.at("b:1").unwrap().node, roster.get(node(2))), (node(3), None));
    }
}
