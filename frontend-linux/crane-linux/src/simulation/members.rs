//! Runs in which operators give orders while clients write. Members are removed, added and
//! promoted: the data directory of a member that was removed is gone, and a new replica joins in
//! its place, as a witness now and then. The server is restarted and upgraded, and its program
//! crashes of what a client sends.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::Value;

use crate::base::Base;
use crate::driver::HostFacts;
use crate::net::query::Query;

use super::clients::{Manners, SimClient};
use super::ending::DaemonsOutcome;
use super::faults::FaultKind;
use super::group::{MILLISECOND, SECOND, SimEvent, SimGroup};

/// How long an order may be repeated until it has been carried out.
const ORDERED_WITHIN: u64 = 60 * SECOND;
/// How long an operator waits for the proof of a checkpoint before ordering another one.
const PROVED_WITHIN: u64 = 10 * SECOND;
/// How often the group is looked at.
const LOOK_EVERY: u64 = 200 * MILLISECOND;
/// The faults that happen meanwhile, which leave all data where it is.
const MILD: [FaultKind; 6] = [
    FaultKind::Killed,
    FaultKind::PowerLost,
    FaultKind::Suspended,
    FaultKind::LinkClosed,
    FaultKind::CutOneWay,
    FaultKind::ServerDies,
];

/// Replaces members.
pub(super) fn run(number: u64, steps: Rc<Cell<u64>>) -> DaemonsOutcome {
    let mut group = SimGroup::begun(number, 2..6, Manners::Any, steps);
    for _ in 0..2 {
        if group.random.permille(600) {
            let upgrades = group.random.permille(400);
            group.restart_server(upgrades);
        }
        if group.random.permille(400) {
            group.crash_program();
        }
        group.replace_member();
    }
    group.finish()
}

impl SimGroup {
    fn replace_member(&mut self) {
        let at = self.random.range(0, 3) as usize;
        let node = self.replicas[at].id.number();
        let has_witness = (0..3).any(|place| place != at && self.replicas[place].is_witness());
        let witness = !has_witness && self.random.permille(400);
        let others = || (0..3).filter(move |place| *place != at);
        self.replicas[at].changes = true;
        self.strike_mildly();
        let (mut remedy, mut ordered) = (None, None);
        self.order_until("is removed", |group| {
            let members = group.members()?;
            members.get(node)?;
            // An order to promote is lost with a primary that has not committed it. Without that
            // member, one voter alone would be left.
            let mut numbers = others().map(|place| group.replicas[place].id.number());
            if let Some(node) = numbers.find(|node| members.get(*node) == Some("learner")) {
                return Some(Query::Promote { node });
            }
            if let Some(before) = remedy {
                match group.take_checkpoint_without(at, before, &mut ordered) {
                    Some(order) => return Some(order),
                    None => remedy = None,
                }
            }
            // The primary is not removed.
            let to = others().find(|place| !group.replicas[*place].is_witness());
            let to = group.replicas[to.expect("a server is left")].id.number();
            if group.primary() == Some(at) {
                return Some(Query::Move { to });
            }
            let answer = group.order(&Query::Remove { node, lost: false })?;
            if answer["error"].as_str().is_some_and(|why| why.contains("proved checkpoint")) {
                remedy = Some(group.proved_without(at));
            }
            Some(Query::Status { hash_slot: 0 })
        });
        self.happened.removed += 1;
        self.run_for(SECOND);
        self.strike_mildly();
        let address = (*self.random.pick(&["d:1", "e:2", "a:1"])).to_string();
        let address = if others().any(|place| self.replicas[place].address() == address) {
            self.replicas[at].address().to_string()
        } else {
            address
        };
        self.order_until("is added", |group| {
            let members = group.members()?;
            let add = Query::Add { address: address.clone(), witness };
            members.get(node).is_none().then_some(add)
        });
        self.happened.added += 1;
        let primary = self.needs_primary();
        let roster = self.replicas[primary].host().expect("it runs").hello.roster.clone();
        // It was not told of its removal, or was started once more.
        if self.replicas[at].daemon.is_some() {
            self.end(at, FaultKind::Killed);
        }
        self.replicas[at].join(address, witness, roster);
        self.schedule(self.now, SimEvent::Start { at });
        self.strike_mildly();
        self.order_until("votes", |group| {
            let members = group.members()?;
            // One that is joining, or that the primary does not know yet, does not vote either.
            let votes = matches!(members.get(node), Some("voter" | "witness"));
            (!votes).then_some(Query::Promote { node })
        });
        // A witness counts as one that votes before it has reached the group.
        let start = self.now;
        while !self.replicas[at].votes() {
            assert!(self.now - start < ORDERED_WITHIN, "a member is lost: {}", self.describe());
            self.run_for(LOOK_EVERY);
        }
        self.happened.witnesses += u32::from(witness);
        self.replicas[at].changes = false;
    }

    /// Does what the refusal to remove a member says: has another server take a checkpoint, from
    /// which the role must go first. `ordered` is when it was last ordered to. Returns the next
    /// order, or `None` if one was proved that was not `before`.
    fn take_checkpoint_without(
        &mut self,
        at: usize,
        before: u64,
        ordered: &mut Option<u64>,
    ) -> Option<Query> {
        if self.proved_without(at) > before {
            return None;
        }
        let primary = self.primary();
        let servers = (0..3).filter(|place| *place != at && !self.replicas[*place].is_witness());
        let mut backups = servers.filter(|place| Some(*place) != primary);
        match backups.next() {
            None => Some(Query::Move { to: self.replicas[at].id.number() }),
            Some(taker) => {
                if ordered.is_none_or(|ordered| self.now - ordered >= PROVED_WITHIN) {
                    let answer = self.query(taker, &Query::Checkpoint);
                    let is_taken = answer.is_some_and(|answer| answer.get("error").is_none());
                    *ordered = is_taken.then_some(self.now).or(*ordered);
                }
                Some(Query::Status { hash_slot: 0 })
            }
        }
    }

    /// Returns the last slot behind which a replica has a proved checkpoint, without this one.
    fn proved_without(&mut self, at: usize) -> u64 {
        let others = (0..3).filter(|place| *place != at);
        let proved = |place| {
            let status = self.query(place, &Query::Status { hash_slot: 0 })?;
            status["replica"]["checkpoint"]["proved"].as_u64()
        };
        others.filter_map(proved).max().unwrap_or(0)
    }

    /// Restarts the server on all replicas, with another program if it is upgraded.
    fn restart_server(&mut self, upgrades: bool) {
        let mut before = None;
        let command = vec![format!("server-{}", self.random.range(0, 1000))];
        self.strike_mildly();
        self.order_until("has restarted its server", |group| {
            let incarnation = group.incarnation()?;
            if incarnation > *before.get_or_insert(incarnation) {
                return None;
            }
            if !upgrades {
                return Some(Query::Restart);
            }
            let primary = group.primary()?;
            let seen = group.query(primary, &Query::Seen)?;
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            if seen["command"] != serde_json::json!(words) {
                return Some(Query::Look { command: command.clone() });
            }
            Some(Query::Upgrade { command: command.clone(), base: Base::default().digest() })
        });
        self.happened.restarts += 1;
        self.happened.upgrades += u32::from(upgrades);
    }

    /// Lets the program crash of a request, and requires that the group restarts it. Rules I3, I5.
    fn crash_program(&mut self) {
        let (start, mut before, mut sent) = (self.now, None, None);
        self.strike_mildly();
        loop {
            if let Some(incarnation) = self.incarnation() {
                if incarnation > *before.get_or_insert(incarnation) {
                    return;
                }
                let lasts = |(client, attempt): (usize, u64)| {
                    let client: &SimClient = &self.clients[client];
                    client.attempt == attempt && client.open.is_some()
                };
                if !sent.is_some_and(lasts) {
                    sent = self.send_fatal();
                }
            }
            let lasts = self.now - start;
            assert!(lasts < ORDERED_WITHIN, "no restart of the program: {}", self.describe());
            self.run_for(LOOK_EVERY);
        }
    }

    /// Returns the incarnation of the primary's server.
    fn incarnation(&mut self) -> Option<u64> {
        let status = self.order(&Query::Status { hash_slot: 0 })?;
        status["replica"]["incarnation"].as_u64()
    }

    fn strike_mildly(&mut self) {
        self.strike_one_of(&MILD, 600);
    }

    /// Gives the primary the order that `next` returns, again and again, until it returns `None`
    /// with a primary in place.
    fn order_until(&mut self, what: &str, mut next: impl FnMut(&mut Self) -> Option<Query>) {
        let start = self.now;
        loop {
            if self.members().is_some() {
                let Some(order) = next(self) else { return };
                self.order(&order);
            }
            let lasts = self.now - start;
            assert!(lasts < ORDERED_WITHIN, "no member {what}: {}", self.describe());
            self.run_for(LOOK_EVERY);
        }
    }

    /// Asks the primary.
    fn order(&mut self, query: &Query) -> Option<Value> {
        let primary = self.primary()?;
        self.query(primary, query)
    }

    /// Gives a replica's daemon an order or a question, and returns its answer.
    pub(super) fn query(&mut self, at: usize, query: &Query) -> Option<Value> {
        let replica = &mut self.replicas[at];
        let moment = replica.clock.moment(self.now);
        let daemon = replica.daemon.as_mut()?;
        let answer = daemon.answer(moment, query.clone(), &HostFacts::default());
        self.plan_round(at);
        Some(serde_json::from_slice(&answer).expect("an answer is JSON"))
    }

    /// Returns the members as the primary knows them.
    fn members(&mut self) -> Option<KnownMembers> {
        let status = self.order(&Query::Status { hash_slot: 0 })?;
        let of = |member: &Value| {
            let number = member["id"].as_u64()?;
            Some((u8::try_from(number).ok()?, member["kind"].as_str()?.to_string()))
        };
        Some(KnownMembers(status["members"].as_array()?.iter().filter_map(of).collect()))
    }
}

/// Members, each with its kind.
struct KnownMembers(Vec<(u8, String)>);

impl KnownMembers {
    fn get(&self, node: u8) -> Option<&str> {
        self.0.iter().find(|(number, _)| *number == node).map(|(_, kind)| kind.as_str())
    }
}
