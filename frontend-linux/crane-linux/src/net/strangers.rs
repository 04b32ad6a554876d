//! Strangers: connections whose other side has not yet shown that it belongs to the group.
//!
//! Anybody may connect to the peer port. A stranger costs a bounded amount of memory and time, and
//! keeps no member out:
//!
//! - An address from which a member is known to come has a share of its own of half-open
//!   connections and of handshakes. All others have one share together.
//! - Where a share is full, one more connection replaces the oldest one of the address that has
//!   most: a replica or a questioner sends at once, and silent connections must not keep it out.
//! - A handshake costs processor time, so the number that may begin in a second is limited. Beyond
//!   it, a connection is closed at once.
//!
//! Pure, but for the signal by which a connection is closed.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use serde::{Deserialize, Serialize};

/// How many connections of strangers may be half-open, all addresses together.
pub(crate) const OPEN_MAX: usize = 48;
/// How many connections of a known address may be half-open.
pub(crate) const OPEN_OF_KNOWN_MAX: usize = 8;
/// How many addresses are known, beside those of the members: the last from which a holder of keys
/// came.
const KNOWN_MAX: usize = 32;
/// How many handshakes strangers may begin in a second, all together.
const HANDSHAKES_PER_SECOND: u32 = 100;
/// How many handshakes a known address may begin in a second.
const KNOWN_HANDSHAKES_PER_SECOND: u32 = 200;

/// A half-open connection; its signal says that it must close.
pub(super) type HalfOpen = Rc<Signal<NoopRawMutex, ()>>;

/// The connections that were refused, by cause, since the daemon's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StrangerCounters {
    /// Connections that have begun a handshake.
    pub begun: u64,
    /// Handshakes that failed: no certificate, another group's, an expired one, or no TLS.
    pub untrusted: u64,
    /// Connections that were closed because they did not send what is due in time.
    pub too_slow: u64,
    /// Half-open connections that were closed for a newer one.
    pub displaced: u64,
    /// Connections that were closed at once, because too many had begun within a second.
    pub too_many: u64,
    /// Connections that were closed by the other side, before they had said anything.
    pub silent: u64,
    /// Connections that sent something other than what is due, from holders of keys too.
    pub malformed: u64,
    /// Holders of keys that claimed to be another, or gave orders that are not theirs to give.
    pub impostors: u64,
    /// Connections to the control socket of other users, or from inside of the server's cell.
    pub control_refused: u64,
    /// Connections to the control socket that sent something other than a question, or nothing.
    pub control_malformed: u64,
}

/// All half-open connections, and what is known of addresses.
#[derive(Default)]
pub(super) struct Strangers {
    /// The oldest first.
    open: VecDeque<(IpAddr, HalfOpen)>,
    /// The addresses of the members.
    members: Vec<IpAddr>,
    /// Other addresses from which holders of keys came, the latest last.
    known: VecDeque<IpAddr>,
    /// The budgets of the addresses that are known, and that of all others.
    budgets: Vec<(Option<IpAddr>, Budget)>,
    /// The counters.
    pub counters: StrangerCounters,
}

/// How many handshakes may begin, which grows with time.
struct Budget {
    left: u32,
    since: Instant,
}

impl Strangers {
    /// Takes a new connection, unless too many have come within a second.
    // specs: N2
    pub(super) fn admit(&mut self, from: IpAddr, now: Instant) -> Option<HalfOpen> {
        let known = self.is_known(from);
        if !self.spend(known.then_some(from), now) {
            self.counters.too_many += 1;
            return None;
        }
        let is_rival = |address: IpAddr| match known {
            true => address == from,
            false => !self.is_known(address),
        };
        let rivals = self.open.iter().map(|(address, _)| *address).filter(|it| is_rival(*it));
        let limit = if known { OPEN_OF_KNOWN_MAX } else { OPEN_MAX };
        if rivals.clone().count() >= limit {
            let count = |address| rivals.clone().filter(|other| *other == address).count();
            // Of equals the last is found: the addresses are looked at from the newest on.
            let most = rivals.clone().rev().max_by_key(|address| count(*address));
            let place = self.open.iter().position(|(address, _)| Some(*address) == most);
            if let Some((_, oldest)) = place.and_then(|place| self.open.remove(place)) {
                oldest.signal(());
                self.counters.displaced += 1;
            }
        }
        let half_open: HalfOpen = Rc::default();
        self.open.push_back((from, half_open.clone()));
        self.counters.begun += 1;
        Some(half_open)
    }

    /// Forgets a connection that is closed, or whose other side has shown who it is.
    pub(super) fn forget(&mut self, half_open: &HalfOpen) {
        self.open.retain(|(_, other)| !Rc::ptr_eq(other, half_open));
    }

    /// Records an address from which a holder of keys came.
    pub(super) fn know(&mut self, address: IpAddr) {
        if self.known.back() == Some(&address) || self.members.contains(&address) {
            return;
        }
        self.known.retain(|other| *other != address);
        self.known.push_back(address);
        if self.known.len() > KNOWN_MAX {
            self.known.pop_front();
        }
        self.forget_budgets();
    }

    /// Records the addresses of the members.
    pub(super) fn set_members(&mut self, addresses: Vec<IpAddr>) {
        self.members = addresses;
        self.forget_budgets();
    }

    fn is_known(&self, address: IpAddr) -> bool {
        self.members.contains(&address) || self.known.contains(&address)
    }

    fn forget_budgets(&mut self) {
        let mut budgets = std::mem::take(&mut self.budgets);
        budgets.retain(|(whose, _)| whose.is_none_or(|address| self.is_known(address)));
        self.budgets = budgets;
    }

    fn spend(&mut self, whose: Option<IpAddr>, now: Instant) -> bool {
        let most = match whose {
            Some(_) => KNOWN_HANDSHAKES_PER_SECOND,
            None => HANDSHAKES_PER_SECOND,
        };
        let place = self.budgets.iter().position(|(other, _)| *other == whose);
        let place = place.unwrap_or_else(|| {
            self.budgets.push((whose, Budget { left: most, since: now }));
            self.budgets.len() - 1
        });
        let budget = &mut self.budgets[place].1;
        let earned = now.saturating_duration_since(budget.since).as_micros() * u128::from(most);
        let earned = u32::try_from(earned / 1_000_000).unwrap_or(u32::MAX);
        if earned > 0 {
            budget.left = budget.left.saturating_add(earned).min(most);
            budget.since += Duration::from_micros(u64::from(earned) * 1_000_000 / u64::from(most));
            if budget.left == most {
                budget.since = now;
            }
        }
        budget.left = match budget.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn later(moment: &mut Instant) -> Instant {
        *moment += Duration::from_millis(20);
        *moment
    }

    #[test]
    fn one_address_displaces_only_itself() {
        let (mut strangers, mut now) = (Strangers::default(), Instant::now());
        let quiet = strangers.admit(address(9), later(&mut now)).unwrap();
        let crowd: Vec<HalfOpen> = (0..OPEN_MAX + 20)
            .map(|_| strangers.admit(address(1), later(&mut now)).unwrap())
            .collect();
        assert!(!quiet.signaled(), "another address was displaced");
        let displaced = crowd.iter().filter(|it| it.signaled()).count();
        assert_eq!((displaced, strangers.open.len()), (21, OPEN_MAX));
        assert!(crowd[0].signaled() && !crowd[OPEN_MAX + 19].signaled(), "the oldest goes first");
        assert_eq!(strangers.counters.displaced, 21);
        strangers.forget(&quiet);
        assert_eq!(strangers.open.len(), OPEN_MAX - 1);
    }

    #[test]
    fn a_member_has_a_share_of_its_own() {
        let (mut strangers, mut now) = (Strangers::default(), Instant::now());
        strangers.set_members(vec![address(7)]);
        let member = strangers.admit(address(7), later(&mut now)).unwrap();
        for _ in 0..300 {
            for last in 10..80 {
                let _ = strangers.admit(address(last), now);
            }
            later(&mut now);
        }
        assert!(!member.signaled(), "a member was displaced by strangers");
        assert!(strangers.counters.too_many > 1000);
        assert!(strangers.open.len() <= OPEN_MAX + OPEN_OF_KNOWN_MAX);
        assert!(strangers.admit(address(7), now).is_some(), "a member was kept out by strangers");
        for _ in 0..OPEN_OF_KNOWN_MAX {
            strangers.admit(address(7), later(&mut now)).unwrap();
        }
        assert!(member.signaled(), "of one address the oldest goes");
    }

    #[test]
    fn handshakes_are_limited_by_the_second() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let begun = |strangers: &mut Strangers, now: Instant| {
            (0..1000).filter(|_| strangers.admit(address(1), now).is_some()).count()
        };
        assert_eq!(begun(&mut strangers, start), HANDSHAKES_PER_SECOND as usize);
        let second = start + Duration::from_secs(1);
        assert_eq!(begun(&mut strangers, second), HANDSHAKES_PER_SECOND as usize);
        let soon = second + Duration::from_millis(105);
        assert_eq!(begun(&mut strangers, soon), HANDSHAKES_PER_SECOND as usize / 10);
        // An hour saves no more than a second's.
        let hour = soon + Duration::from_secs(3600);
        assert_eq!(begun(&mut strangers, hour), HANDSHAKES_PER_SECOND as usize);
    }

    #[test]
    fn few_addresses_are_remembered() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        for last in 0..200 {
            strangers.know(address(last));
            let _ = strangers.admit(address(last), now);
        }
        assert_eq!(strangers.known.len(), KNOWN_MAX);
        assert!(strangers.budgets.len() <= KNOWN_MAX + 1, "{}", strangers.budgets.len());
    }
}
