//! Links that lose, repeat, delay and reorder messages, and that can be cut in one direction.

use crane_core::id::NodeId;
use crane_core::paxos::NodeSet;

use super::group::Micros;
use super::random::Random;

/// The faults of a group's links.
#[derive(Clone, Debug)]
pub struct Network {
    /// The shortest time on the way.
    pub delay_min: Micros,
    /// The longest time on the way, except for stragglers.
    pub delay_max: Micros,
    /// The number of lost messages, of a thousand.
    pub lost: u64,
    /// The number of messages that arrive twice, of a thousand.
    pub repeated: u64,
    /// The number of stragglers, which take up to a hundred times as long, of a thousand.
    pub late: u64,
    /// Whether messages of one sender to one receiver keep their order, except for stragglers.
    pub ordered: bool,
    /// The nodes that do not hear each sender.
    cut: [NodeSet; 7],
    /// The time at which the last message of each sender to each receiver arrives.
    last: [[Micros; 7]; 7],
}

impl Network {
    /// Creates links without faults.
    pub fn sound(delay_min: Micros, delay_max: Micros) -> Self {
        let cut = [NodeSet::EMPTY; 7];
        let last = [[0; 7]; 7];
        Self { delay_min, delay_max, lost: 0, repeated: 0, late: 0, ordered: true, cut, last }
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut[from.index()] = self.cut[from.index()].with(to);
    }

    /// Cuts all links between two parts of the group.
    pub fn part(&mut self, one: NodeSet, other: NodeSet) {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
            self.cut(a, b);
            self.cut(b, a);
        }
    }

    /// Mends all links.
    pub fn mend(&mut self) {
        self.cut = [NodeSet::EMPTY; 7];
    }

    /// Removes all faults.
    pub fn heal(&mut self) {
        *self = Self::sound(self.delay_min, self.delay_max);
    }

    /// Returns the times at which copies of a message arrive that is sent now. The result is empty
    /// if the message is lost.
    pub fn arrivals(
        &mut self,
        now: Micros,
        from: NodeId,
        to: NodeId,
        random: &mut Random,
    ) -> impl Iterator<Item = Micros> + use<> {
        let mut arrivals = [None; 2];
        if !self.cut[from.index()].contains(to) && !random.permille(self.lost) {
            arrivals[0] = Some(self.arrival(now, from, to, random));
            if random.permille(self.repeated) {
                arrivals[1] = Some(self.arrival(now, from, to, random));
            }
        }
        arrivals.into_iter().flatten()
    }

    fn arrival(&mut self, now: Micros, from: NodeId, to: NodeId, random: &mut Random) -> Micros {
        let delay = random.range(self.delay_min, self.delay_max + 1);
        if random.permille(self.late) {
            return now + delay * random.range(1, 100);
        }
        let last = &mut self.last[from.index()][to.index()];
        let at = if self.ordered { (now + delay).max(*last) } else { now + delay };
        *last = at;
        at
    }
}
