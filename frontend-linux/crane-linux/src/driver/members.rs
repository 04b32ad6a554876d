//! The members of the group: what the log says of them, and the orders of operators.
//!
//! A new member gets a number by two entries: a `Member` op, which names its address, and a change
//! of agreement's own, which makes it a learner. When it has the whole log it is promoted. The
//! primary does all of this, one step for each order.

use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{ChangeError, Effects, Members, Message, NodeSet};
use crane_core::wire::Op;
use serde_json::{Value, json};
use tracing::{debug, info};

use crate::event::Event;
use crate::names;
use crate::net::frame::FrameKind;
use crate::net::handshake::Hello;
use crate::options::PEER_PORT;
use crate::report::ServerReport;
use crate::roster::{Roster, RosterMember};

use super::agreement::InputPayloads;
use super::redundancy::must_not_lack_voters;
use super::rooms::{Finding, FindingKind, ReplicaProgress};
use super::{Driver, Host};

/// The reason why an order was not carried out, and whether it may be given again at once.
pub(super) struct Unmoved {
    why: String,
    retry: bool,
}

impl Unmoved {
    pub(super) fn is_worth_repeating(&self) -> bool {
        self.retry
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }
}

impl From<ChangeError> for Unmoved {
    fn from(error: ChangeError) -> Self {
        let why = match error {
            ChangeError::NotPrimary { .. } => "this replica is not the primary",
            ChangeError::Busy => "the primary is busy with another change",
            ChangeError::Unsound => "the group cannot be changed in this way",
            ChangeError::NotReady => {
                "the new voter is out of reach, or lacks a part of the log; see status"
            }
        };
        Self { why: why.into(), retry: !matches!(error, ChangeError::Unsound) }
    }
}

pub(super) fn never(why: impl Into<String>) -> Unmoved {
    Unmoved { why: why.into(), retry: false }
}

pub(super) fn later(why: impl Into<String>) -> Unmoved {
    Unmoved { why: why.into(), retry: true }
}

/// Returns an order's outcome for the operator.
pub(super) fn outcome(result: Result<Value, Unmoved>) -> Value {
    result.unwrap_or_else(|Unmoved { why, retry }| json!({ "error": why, "retry": retry }))
}

impl<H: Host> Driver<H> {
    pub(super) fn roster(&self) -> Roster {
        self.hello.roster.clone()
    }

    /// Returns all members but this one.
    pub(super) fn others(&self) -> NodeSet {
        self.node.members().all().without(self.me())
    }

    /// Returns the voters that run a server.
    pub(super) fn servers(&self) -> NodeSet {
        let members = self.node.members();
        members.voters.difference(members.witnesses)
    }

    /// Sends the state of this replica's server to all other members.
    pub(super) fn send_report_to_all(&mut self) {
        for node in self.others().iter() {
            self.send_server_report(node);
        }
    }

    /// Handles a committed op that names a member's address.
    pub(super) fn on_committed_member(&mut self, slot: Slot, place: RosterMember) {
        let node = place.node;
        let text = format!("replica {node} of the group is at {}", place.address);
        if self.change_roster(|roster| roster.record(slot, place)) {
            info!("{text}");
            self.dial(node);
        }
    }

    /// Handles a committed change of the members.
    pub(super) fn on_committed_change(&mut self, slot: Slot, members: &Members) {
        if !self.change_roster(|roster| roster.keep(slot, members)) {
            return;
        }
        let text = self.describe_members(members);
        self.record_event(Event::Members { slot: slot.0, members: text });
        // Another host may get the number of a member that is gone.
        let gone = NodeSet::first(NODES_MAX).difference(members.all()).without(self.me());
        for node in gone.iter() {
            self.checkpoint.peers[node.index()] = ReplicaProgress::default();
            self.reports[node.index()] = ServerReport::Alive { in_step: false };
            self.divergence.marks.forget(node);
        }
        if !members.all().contains(self.me()) {
            self.end_removed();
        }
    }

    fn end_removed(&mut self) {
        let place = self.settings.data.display();
        let why = format!(
            "this replica has been removed from the group; its data in {place} is not needed any \
             more, and to make it a member again, run crane-linux member add, and start it with \
             a new --data-dir"
        );
        // One that has been started after its removal was started for nothing.
        let status = i32::from(self.claims.began_left_out() || !self.hello.joined);
        self.end(status, why);
    }

    fn describe_members(&self, members: &Members) -> String {
        let roster = self.roster();
        let one = |node: NodeId| {
            let address = roster.get(node).map_or("?", |place| &place.address);
            format!("{node} at {address} ({})", kind(members, node))
        };
        members.all().iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Handles a new link to another member, which replaces an older one if there was one.
    pub(super) fn on_link_up(&mut self, hello: &Hello) {
        let Some(node) = NodeId::new(hello.node) else { return };
        debug!("replica {node} is of generation {}", hello.generation);
        self.preference.priorities[node.index()] = hello.priority;
        self.claims.link_up(node, &hello.address);
        self.look_at_refusals();
        if self.is_linked(node) {
            self.on_link_down(node);
        }
        self.link_up(node);
        if hello.group.is_some() {
            self.on_roster(node, &hello.roster);
        }
    }

    /// Sends the members to a replica that is linked, but not one of them any more. The log does
    /// not tell it: a primary sends nothing to a node once its removal is decided.
    pub(super) fn inform_former_member(&mut self, from: NodeId) {
        let roster = &self.hello.roster;
        if self.hello.group.is_some() && roster.get(from).is_none() {
            let body = postcard::to_allocvec(roster).expect("plain data");
            self.host.send_frame(from, FrameKind::Roster, &body);
        }
    }

    /// Handles the list of members that a linked replica has sent. If it is newer and leaves this
    /// replica out, the log of the sender says whether that is so.
    // specs: M6, N8
    pub(super) fn on_roster(&mut self, from: NodeId, theirs: &Roster) {
        self.learn_members(theirs);
        let (own, me) = (&self.hello.roster, self.me());
        if theirs.as_of > own.as_of && theirs.get(me).is_none() && self.speaks(from) {
            let mut out = Effects::new();
            self.node.ask_about_removal(self.now(), from, &mut out);
            self.carry_out(&out, InputPayloads::NONE);
        }
    }

    /// Handles the refusal of a replica that holds this one for the wrong one of the two.
    // specs: N6
    pub(super) fn on_refused(&mut self, by: &str, why: &str) {
        if !self.claims.refuse(by, &self.hello.roster) {
            return;
        }
        if self.hello.group.is_none() {
            return self.fail(why.to_string());
        }
        let text = format!(
            "{by} refuses this replica, which takes no part in the group without links: {why}; if \
             it has been removed, stop it"
        );
        self.find(FindingKind::Refused, Finding { text, is_fault: true });
    }

    fn look_at_refusals(&mut self) {
        if !self.claims.is_refused(&self.hello.roster) {
            self.clear_finding(FindingKind::Refused);
        }
    }

    /// Returns whether a linked replica may speak for its number.
    pub(super) fn speaks(&self, from: NodeId) -> bool {
        self.claims.may_speak(from, &self.hello.roster)
    }

    /// Returns whether a new link may take the place of the present one to this number.
    pub(crate) fn takes_link(&self, hello: &Hello) -> bool {
        let node = NodeId::new(hello.node);
        node.is_some_and(|node| {
            let own = &self.hello.roster;
            !self.is_linked(node) || self.claims.may_replace(node, &hello.address, own)
        })
    }

    /// Returns whether a message may reach agreement: from a replica that may not speak for its
    /// number, only what teaches this one the log, or asks it.
    // specs: N3
    pub(super) fn hears(&self, from: NodeId, message: &Message) -> bool {
        let is_vote = match message {
            Message::Accept { .. }
            | Message::Commit { .. }
            | Message::Heartbeat { .. }
            | Message::Chosen { .. }
            | Message::Copy { .. }
            | Message::Prepare { .. }
            | Message::PreVote { .. }
            | Message::Recall { .. }
            | Message::Fetch { .. } => false,
            Message::Hello { .. }
            | Message::Recalled { .. }
            | Message::HelloBack { .. }
            | Message::PreVoteReply { .. }
            | Message::Promised { .. }
            | Message::Refused { .. }
            | Message::Accepted { .. }
            | Message::TakeOver { .. } => true,
        };
        !is_vote || self.speaks(from)
    }

    /// Takes note of another member's list of members: whom to connect to.
    // specs: N7
    fn learn_members(&mut self, theirs: &Roster) {
        if !self.claims.hear(theirs, &self.hello.roster) {
            return;
        }
        self.adopt_addresses();
        self.dial_heard();
    }

    /// Takes the addresses of members from another one's list if the entries that named them were
    /// deleted before this replica had them. Who the members are, the log says.
    // specs: N7
    pub(super) fn adopt_addresses(&mut self) {
        let (front, members) = (self.log.front(), self.node.members().all());
        let heard = self.claims.heard();
        if self.hello.roster.as_of >= front || members.iter().any(|it| heard.get(it).is_none()) {
            return;
        }
        let adopted = heard.limited_to(members, front);
        self.change_roster(|roster| {
            *roster = adopted;
            true
        });
        self.dial_all();
    }

    /// Changes the list of members, as the log says. Returns whether it has changed.
    fn change_roster(&mut self, change: impl FnOnce(&mut Roster) -> bool) -> bool {
        let silent: NodeSet = self.linked.iter().filter(|node| !self.speaks(*node)).collect();
        let before = self.roster();
        if !change(&mut self.hello.roster) {
            return false;
        }
        // Another replica may have the number of an earlier member.
        for node in NodeSet::first(NODES_MAX).iter() {
            if self.hello.roster.get(node) != before.get(node) {
                self.fence.forget(node);
            }
        }
        self.meta.roster = self.roster();
        self.host.keep_meta(&self.meta);
        self.host.set_hello(&self.hello);
        self.look_at_refusals();
        let heard: NodeSet = silent.iter().filter(|node| self.speaks(*node)).collect();
        for node in heard.iter() {
            // The replica was not heard so far: it says everything again over another link.
            self.host.close_link(node);
            self.on_link_down(node);
        }
        true
    }

    /// Begins to connect to all members to which this replica keeps the link.
    pub(super) fn dial_all(&mut self) {
        for place in self.roster().iter() {
            self.dial(place.node);
        }
        self.dial_heard();
    }

    /// Begins to connect to the members of which others have told.
    fn dial_heard(&mut self) {
        let (own, me) = (self.roster(), self.me());
        let heard = self.claims.heard().clone();
        self.host.set_heard(&heard);
        // The others connect to no replica that they do not list, or list by another name.
        let is_left_out = heard.as_of > own.as_of && !heard.has(me, &self.settings.name);
        for place in heard.iter() {
            let is_ours = place.node < me && !own.has(place.node, &place.address);
            if is_ours || is_left_out && place.node > me {
                self.host.dial(place.node, &place.address);
            }
        }
    }

    /// Begins to connect to a member, if this replica keeps the link to it.
    pub(super) fn dial(&mut self, node: NodeId) {
        if node < self.me()
            && let Some(place) = self.roster().get(node)
        {
            self.host.dial(node, &place.address);
        }
    }

    /// Returns the members, for `status` and for replicas that want to join.
    pub(super) fn list_members(&self) -> Value {
        let members = self.node.members();
        let one = |place: &RosterMember| {
            json!({
                "id": place.node.number(),
                "address": place.address,
                "kind": kind(&members, place.node),
            })
        };
        self.roster().iter().map(one).collect()
    }

    /// Adds a new member as a learner.
    // specs: M9
    pub(super) fn order_add(&mut self, address: &str, witness: bool) -> Result<Value, Unmoved> {
        self.must_lead()?;
        let address = names::member_name(address, PEER_PORT).map_err(never)?;
        let (roster, members) = (self.roster(), self.node.members());
        let known = roster.at(&address).cloned();
        if let Some(place) = &known
            && members.all().contains(place.node)
        {
            return match place.witness == witness {
                true => Ok(json!({ "id": place.node.number() })),
                false => Err(never(format!("{address} is a member already, of the other kind"))),
            };
        }
        // The roster may lack the member that an undecided change adds, or one that is decided and
        // was not read yet, and would give its address a second number.
        if !self.node.may_reconfigure() {
            return Err(ChangeError::Busy.into());
        }
        self.must_have_read_all()?;
        let node = known.as_ref().map(|place| place.node).or_else(|| roster.free_number(&members));
        let Some(node) = node else {
            return Err(never(format!(
                "the group has {NODES_MAX} members, as many as it can; remove one first"
            )));
        };
        let place = RosterMember { node, address, witness };
        if known.as_ref() != Some(&place) {
            let op = Op::Member { node, address: &place.address, witness };
            if !self.propose_op(op) {
                return Err(ChangeError::Busy.into());
            }
        }
        let learners = members.learners.with(node);
        self.change_members(Members { learners, ..members })?;
        Ok(json!({ "id": node.number() }))
    }

    /// Promotes a learner to a voter.
    pub(super) fn order_promote(&mut self, number: u8) -> Result<Value, Unmoved> {
        self.must_lead()?;
        let (node, members) = (self.member(number)?, self.node.members());
        if members.voters.contains(node) {
            return Ok(json!({}));
        }
        // Its kind may not be known yet.
        self.must_have_read_all()?;
        let witness = self.roster().get(node).is_some_and(|place| place.witness);
        let witnesses = if witness { members.witnesses.with(node) } else { members.witnesses };
        self.change_members(Members {
            voters: members.voters.with(node),
            learners: members.learners.without(node),
            witnesses,
        })?;
        Ok(json!({}))
    }

    /// Removes a member. One whose data is `lost`, and that does not answer, has nothing that could
    /// be kept.
    pub(super) fn order_remove(&mut self, number: u8, lost: bool) -> Result<Value, Unmoved> {
        self.must_lead()?;
        let (node, members) = (self.member(number)?, self.node.members());
        if node == self.me() {
            return Err(never("it is the primary; move the role first"));
        }
        let left = Members {
            voters: members.voters.without(node),
            learners: members.learners.without(node),
            witnesses: members.witnesses.without(node),
        };
        if left.voters.difference(left.witnesses).is_empty() {
            return Err(never("nobody else runs the server"));
        }
        if members.voters.contains(node) {
            must_not_lack_voters(&left).map_err(never)?;
            self.must_have_quorum(&left).map_err(later)?;
            if !members.witnesses.contains(node) && (!lost || self.is_linked(node)) {
                self.must_keep_state(node, &left).map_err(later)?;
            }
        }
        self.change_members(left)?;
        Ok(json!({}))
    }

    /// Transfers the leadership.
    pub(super) fn order_move(&mut self, number: u8) -> Result<Value, Unmoved> {
        self.must_lead()?;
        let to = self.member(number)?;
        if self.node.members().witnesses.contains(to) {
            return Err(never("it runs no server"));
        }
        self.hand_role_to(to)?;
        Ok(json!({}))
    }

    pub(super) fn hand_role_to(&mut self, to: NodeId) -> Result<(), ChangeError> {
        let mut out = Effects::new();
        let asked = self.node.transfer_leadership(self.now(), to, &mut out);
        self.carry_out(&out, InputPayloads::NONE);
        asked
    }

    pub(super) fn must_lead(&self) -> Result<(), Unmoved> {
        match self.is_primary() && self.script.genesis.is_some() {
            true => Ok(()),
            false => Err(ChangeError::NotPrimary { primary: None }.into()),
        }
    }

    /// Returns an error while this replica has not read all that is decided.
    pub(super) fn must_have_read_all(&self) -> Result<(), Unmoved> {
        match self.script.observed < self.committed {
            true => Err(ChangeError::Busy.into()),
            false => Ok(()),
        }
    }

    fn member(&self, number: u8) -> Result<NodeId, Unmoved> {
        let node = NodeId::new(number).filter(|node| self.node.members().all().contains(*node));
        node.ok_or_else(|| never("the group has no member of that number"))
    }

    fn change_members(&mut self, members: Members) -> Result<Slot, ChangeError> {
        let mut out = Effects::new();
        let asked = self.node.change_members(self.now(), members, &mut out);
        self.carry_out(&out, InputPayloads::NONE);
        asked
    }
}

/// Returns the kind of a member.
fn kind(members: &Members, node: NodeId) -> &'static str {
    match () {
        () if members.witnesses.contains(node) => "witness",
        () if members.voters.contains(node) => "voter",
        () if members.learners.contains(node) => "learner",
        () => "joining",
    }
}
