//! Divergence: whether the servers of a group still do the same, and which servers are wrong if
//! not.
//!
//! Replicas exchange [`Mark`]s of the same slot: hashes of everything that their servers did before
//! it. Equal marks show that the servers agreed up to the slot. If marks differ, the servers with a
//! mark that more than half of the group's servers have are right. If no mark has that many
//! servers, as with two servers and a witness, a third opinion decides: one server is built again
//! from the script, and the servers that it agrees with are right. (Compare the agreement checks of
//! CRANE, SOSP 2015, section 5, and TigerBeetle's state checker.)

use crate::execution::Mark;
use crate::id::{NodeId, Slot};
use crate::limits::NODES_MAX;
use crate::mutants::{Mutant, broken};
use crate::paxos::NodeSet;

/// The kind of difference between two servers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Difference {
    /// Only the bytes that the servers wrote to clients differ.
    Output,
    /// The calls themselves, or their order, differ.
    Schedule,
}

/// The verdict on the marks of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Marks that could decide are still missing.
    Open,
    /// More than half of the servers agree, and no server is known to differ.
    Agreed,
    /// More than half of the servers agree, and the servers in the set differ from them in this
    /// way.
    Wrong(NodeSet, Difference),
    /// All marks that can arrive have arrived, and no mark is shared by more than half of the
    /// servers.
    Split(Difference),
}

/// The marks of one slot.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// The slot; `NONE` in a free place.
    slot: Slot,
    /// By server: the first mark of the slot that it reported since its marks were forgotten.
    marks: [Option<Mark>; NODES_MAX],
    /// The servers whose marks came after they were found wrong.
    late: NodeSet,
    /// The mark of a server that was built again; it decides a split.
    opinion: Option<Mark>,
}

impl Round {
    /// Returns a server's mark, unless it came late.
    fn mark(&self, node: NodeId) -> Option<Mark> {
        let late = self.late.contains(node);
        self.marks[node.index()].filter(|_| !late)
    }

    /// Forgets a server's mark.
    fn forget(&mut self, node: NodeId) {
        self.marks[node.index()] = None;
        self.late = self.late.without(node);
    }
}

/// A free place.
const EMPTY: Round =
    Round { slot: Slot::NONE, marks: [None; NODES_MAX], late: NodeSet::EMPTY, opinion: None };

/// The marks of the last `ROUNDS` slots that were compared.
///
/// ```
/// use crane_core::divergence::{Comparison, Difference, Verdict};
/// use crane_core::execution::Mark;
/// use crane_core::id::{NodeId, Slot};
/// use crane_core::paxos::NodeSet;
///
/// let servers = NodeSet::first(3);
/// let [one, two, three] = [1, 2, 3].map(|number| NodeId::new(number).unwrap());
/// let mark = Mark { slot: Slot(9), clock: 70, schedule: 5, output: 6 };
/// let mut comparison = Comparison::<4>::new();
/// comparison.add(one, mark);
/// assert_eq!(comparison.verdict(Slot(9), servers, servers), Verdict::Open);
/// comparison.add(two, mark);
/// comparison.add(three, Mark { schedule: 8, ..mark });
/// let wrong = NodeSet::EMPTY.with(three);
/// let verdict = comparison.verdict(Slot(9), servers, servers);
/// assert_eq!(verdict, Verdict::Wrong(wrong, Difference::Schedule));
/// ```
#[derive(Clone, Debug)]
pub struct Comparison<const ROUNDS: usize> {
    /// The places; no two places hold the same slot.
    rounds: [Round; ROUNDS],
    /// The place that the next new slot takes.
    next: usize,
}

impl<const ROUNDS: usize> Comparison<ROUNDS> {
    /// Creates a comparison without marks.
    pub const fn new() -> Self {
        assert!(ROUNDS > 0);
        Self { rounds: [EMPTY; ROUNDS], next: 0 }
    }

    /// Adds a server's mark. A new slot takes the place of the oldest one. The first mark of a
    /// server at a slot counts until [`Comparison::forget`].
    // specs: D1
    pub fn add(&mut self, node: NodeId, mark: Mark) {
        self.round(mark.slot).marks[node.index()].get_or_insert(mark);
    }

    /// Adds a mark of a server that was found wrong, and was not built again since. It counts only
    /// towards a majority: whoever found the server wrong may be wrong itself.
    // specs: D1
    pub fn add_late(&mut self, node: NodeId, mark: Mark) {
        let round = self.round(mark.slot);
        if round.marks[node.index()].is_none() {
            round.marks[node.index()] = Some(mark);
            round.late = round.late.with(node);
        }
    }

    /// Forgets a server's marks that came late, because the server was built again.
    pub fn forget_late(&mut self, node: NodeId) {
        for round in self.rounds.iter_mut().filter(|round| round.late.contains(node)) {
            round.forget(node);
        }
    }

    /// Adds the mark of a server that was built again, which decides a split.
    pub fn add_opinion(&mut self, mark: Mark) {
        self.round(mark.slot).opinion = Some(mark);
    }

    /// Forgets a server's marks, because the server is built again.
    pub fn forget(&mut self, node: NodeId) {
        for round in &mut self.rounds {
            round.forget(node);
        }
    }

    /// Forgets a server's marks behind a slot, because the server that gave them was wrong at the
    /// slot.
    // specs: D1
    pub fn forget_behind(&mut self, node: NodeId, slot: Slot) {
        for round in self.rounds.iter_mut().filter(|round| round.slot > slot) {
            round.forget(node);
        }
    }

    /// Returns a server's mark at a slot, unless it came late.
    pub fn mark(&self, node: NodeId, slot: Slot) -> Option<Mark> {
        self.find(slot)?.mark(node)
    }

    /// Returns the verdict on the marks of a slot. `servers` are all servers of the group, and
    /// `reachable` are those whose marks can still arrive.
    // specs: D2, D3
    pub fn verdict(&self, slot: Slot, servers: NodeSet, reachable: NodeSet) -> Verdict {
        let Some(round) = self.find(slot) else { return Verdict::Open };
        let all = || {
            servers.iter().filter_map(|node| match broken(Mutant::LateUncounted) {
                true => round.mark(node),
                false => round.marks[node.index()],
            })
        };
        let agreeing = |mark: &Mark| all().filter(|other| other == mark).count();
        let larger = all().find(|mark| agreeing(mark) * 2 > servers.len());
        let larger = larger.filter(|_| !broken(Mutant::MajorityUncounted));
        let known = || servers.iter().filter_map(|node| Some((node, round.mark(node)?)));
        if let Some(right) = larger.or(round.opinion) {
            let mut wrong = NodeSet::EMPTY;
            let mut worst = Difference::Output;
            for (node, mark) in known().filter(|(_, mark)| *mark != right) {
                wrong = wrong.with(node);
                worst = worst.max(difference(&mark, &right));
            }
            return if wrong.is_empty() { Verdict::Agreed } else { Verdict::Wrong(wrong, worst) };
        }
        let missing = reachable.iter().any(|node| round.mark(node).is_none());
        let mut marks = known().map(|(_, mark)| mark);
        let Some(first) = marks.next().filter(|_| !missing) else { return Verdict::Open };
        let differences = marks.filter(|mark| *mark != first).map(|mark| difference(&mark, &first));
        differences.max().map_or(Verdict::Open, Verdict::Split)
    }

    /// Finds the marks of a slot.
    fn find(&self, slot: Slot) -> Option<&Round> {
        self.rounds.iter().find(|round| round.slot == slot && slot != Slot::NONE)
    }

    /// Finds the marks of a slot, or takes the next place for it.
    fn round(&mut self, slot: Slot) -> &mut Round {
        assert!(slot != Slot::NONE, "a mark belongs to an admitted slot");
        let place = match self.rounds.iter().position(|round| round.slot == slot) {
            Some(place) => place,
            None => {
                let place = self.next;
                self.next = (place + 1) % ROUNDS;
                self.rounds[place] = Round { slot, ..EMPTY };
                place
            }
        };
        &mut self.rounds[place]
    }
}

impl<const ROUNDS: usize> Default for Comparison<ROUNDS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Compares two marks that are not equal.
fn difference(one: &Mark, other: &Mark) -> Difference {
    let same = (one.clock, one.schedule) == (other.clock, other.schedule);
    if same { Difference::Output } else { Difference::Schedule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::new(number).expect("a number")
    }

    fn mark(slot: u64, schedule: u64, output: u64) -> Mark {
        Mark { slot: Slot(slot), clock: 7, schedule, output }
    }

    fn set(numbers: &[u8]) -> NodeSet {
        numbers.iter().fold(NodeSet::EMPTY, |set, number| set.with(node(*number)))
    }

    #[test]
    fn more_than_half_of_all_servers_must_agree() {
        let mut comparison = Comparison::<2>::new();
        comparison.add(node(1), mark(5, 1, 1));
        comparison.add(node(2), mark(5, 2, 1));
        let (servers, slot) = (set(&[1, 2, 3]), Slot(5));
        assert_eq!(comparison.verdict(slot, servers, servers), Verdict::Open);
        // The third server is dead: two marks that differ decide nothing.
        let split = Verdict::Split(Difference::Schedule);
        assert_eq!(comparison.verdict(slot, servers, set(&[1, 2])), split);
        // The third server returns, and agrees with one of the others.
        comparison.add(node(3), mark(5, 2, 1));
        let wrong = Verdict::Wrong(set(&[1]), Difference::Schedule);
        assert_eq!(comparison.verdict(slot, servers, servers), wrong);
    }

    #[test]
    fn two_servers_of_three_that_agree_are_right_before_the_third_answers() {
        let mut comparison = Comparison::<2>::new();
        comparison.add(node(1), mark(5, 1, 1));
        comparison.add(node(3), mark(5, 1, 1));
        let servers = set(&[1, 2, 3]);
        assert_eq!(comparison.verdict(Slot(5), servers, servers), Verdict::Agreed);
        comparison.add(node(2), mark(5, 1, 9));
        let wrong = Verdict::Wrong(set(&[2]), Difference::Output);
        assert_eq!(comparison.verdict(Slot(5), servers, servers), wrong);
    }

    #[test]
    fn a_third_opinion_decides_between_two() {
        let mut comparison = Comparison::<2>::new();
        let servers = set(&[1, 2]);
        comparison.add(node(1), mark(5, 1, 1));
        comparison.add(node(2), mark(5, 2, 2));
        let verdict = |comparison: &Comparison<2>| comparison.verdict(Slot(5), servers, servers);
        assert_eq!(verdict(&comparison), Verdict::Split(Difference::Schedule));
        comparison.add_opinion(mark(5, 2, 2));
        assert_eq!(verdict(&comparison), Verdict::Wrong(set(&[1]), Difference::Schedule));
        // The rebuilt server agrees with neither: both are wrong, as far as the group can know.
        comparison.add_opinion(mark(5, 3, 3));
        assert_eq!(verdict(&comparison), Verdict::Wrong(servers, Difference::Schedule));
    }

    #[test]
    fn more_than_half_outvote_an_opinion_and_a_server_that_took_others_for_wrong() {
        let mut comparison = Comparison::<2>::new();
        let servers = set(&[1, 2, 3]);
        comparison.add(node(1), mark(5, 1, 1));
        comparison.add(node(2), mark(5, 1, 2));
        comparison.add_opinion(mark(5, 1, 1));
        let wrong = |number| Verdict::Wrong(set(&[number]), Difference::Output);
        assert_eq!(comparison.verdict(Slot(5), servers, set(&[1, 2])), wrong(2));
        comparison.add(node(3), mark(5, 1, 2));
        assert_eq!(comparison.verdict(Slot(5), servers, servers), wrong(1));
        // At a later slot: the server that was taken for wrong alone decides nothing.
        comparison.add(node(1), mark(6, 1, 1));
        comparison.add_late(node(2), mark(6, 1, 2));
        assert_eq!(comparison.mark(node(2), Slot(6)), None);
        assert_eq!(comparison.verdict(Slot(6), servers, set(&[1, 2])), Verdict::Open);
        comparison.add(node(3), mark(6, 1, 2));
        assert_eq!(comparison.verdict(Slot(6), servers, servers), wrong(1));
        comparison.forget_late(node(2));
        assert_eq!(comparison.mark(node(2), Slot(5)), Some(mark(5, 1, 2)));
        comparison.add(node(2), mark(6, 1, 1));
        assert_eq!(comparison.verdict(Slot(6), servers, servers), wrong(3));
    }

    #[test]
    fn marks_behind_the_slot_at_which_a_server_was_wrong_go() {
        let mut comparison = Comparison::<4>::new();
        for slot in 5..=7 {
            comparison.add(node(1), mark(slot, 1, 1));
            comparison.add(node(2), mark(slot, 2, 2));
        }
        comparison.forget_behind(node(1), Slot(5));
        let kept = |number, slot| comparison.mark(node(number), Slot(slot)).is_some();
        assert!(kept(1, 5) && !kept(1, 6) && !kept(1, 7));
        assert!((5..=7).all(|slot| kept(2, slot)));
    }

    #[test]
    fn a_server_that_is_built_again_has_no_marks_and_old_slots_go() {
        let mut comparison = Comparison::<2>::new();
        comparison.add(node(1), mark(5, 1, 1));
        comparison.add(node(1), mark(6, 1, 1));
        comparison.forget(node(1));
        assert_eq!(comparison.mark(node(1), Slot(5)), None);
        comparison.add(node(1), mark(6, 4, 4));
        assert_eq!(comparison.mark(node(1), Slot(6)), Some(mark(6, 4, 4)));
        comparison.add(node(1), mark(7, 1, 1));
        comparison.add(node(1), mark(8, 1, 1));
        assert_eq!(comparison.mark(node(1), Slot(6)), None);
        assert_eq!(comparison.verdict(Slot(6), set(&[1]), set(&[1])), Verdict::Open);
    }

    #[test]
    fn the_first_mark_of_a_server_counts() {
        let mut comparison = Comparison::<2>::new();
        comparison.add(node(1), mark(5, 1, 1));
        comparison.add(node(1), mark(5, 2, 2));
        assert_eq!(comparison.mark(node(1), Slot(5)), Some(mark(5, 1, 1)));
    }
}
