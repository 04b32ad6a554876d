//! Links between the replicas: ordered, with a bounded backlog, and fenced by a number. A direction
//! can be cut, which holds its frames until it is mended or the link times out.

use std::collections::{BTreeMap, VecDeque};

use crate::net::frame::FrameKind;

use super::queue::Nanos;
use super::random::SeededRandom;

/// A frame on its way.
pub(super) type SentFrame = (FrameKind, Vec<u8>);

/// The number of bytes that wait for a cut direction before frames are dropped. (Most frames have a
/// few.)
const BACKLOG_BYTES: usize = 256;

/// One direction of a link.
#[derive(Debug, Default)]
struct LinkDirection {
    /// When the last frame arrives.
    last: Nanos,
    /// The frames that wait because the direction is cut.
    held: VecDeque<SentFrame>,
    held_bytes: usize,
}

/// A link between two replicas, by their places.
#[derive(Debug)]
struct SimLink {
    ends: [usize; 2],
    directions: [LinkDirection; 2],
}

/// The network between three replicas.
#[derive(Debug)]
pub(super) struct SimNetwork {
    links: BTreeMap<u64, SimLink>,
    last_number: u64,
    /// From which replica nothing arrives at which, and since when.
    cut: [[Option<Nanos>; 3]; 3],
    /// The bounds of the time on the way.
    pub(super) delay: (Nanos, Nanos),
    /// The number of frames that were dropped.
    pub(super) dropped: u64,
}

impl SimNetwork {
    /// Creates a network without links.
    pub(super) fn new(delay: (Nanos, Nanos)) -> Self {
        let cut = [[None; 3]; 3];
        Self { links: BTreeMap::new(), last_number: 0, cut, delay, dropped: 0 }
    }

    /// Returns a time on the way.
    pub(super) fn draw_delay(&self, random: &mut SeededRandom) -> Nanos {
        random.range(self.delay.0, self.delay.1 + 1)
    }

    /// Cuts a direction.
    pub(super) fn cut(&mut self, now: Nanos, from: usize, to: usize) {
        self.cut[from][to].get_or_insert(now);
    }

    /// Returns whether a direction is cut.
    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from][to].is_some()
    }

    /// Returns since when a direction is cut.
    pub(super) fn cut_since(&self, from: usize, to: usize) -> Option<Nanos> {
        self.cut[from][to]
    }

    /// Returns whether the two replicas can make a link.
    pub(super) fn can_link(&self, one: usize, other: usize) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }

    /// Mends all directions, and returns the frames that were held, by link.
    pub(super) fn mend(&mut self) -> Vec<(u64, usize, SentFrame)> {
        self.cut = [[None; 3]; 3];
        let mut freed = Vec::new();
        for (number, link) in &mut self.links {
            for (from, direction) in link.ends.into_iter().zip(&mut link.directions) {
                direction.held_bytes = 0;
                freed.extend(direction.held.drain(..).map(|frame| (*number, from, frame)));
            }
        }
        freed
    }

    /// Makes a link whose ends begin at these times, and returns its number.
    pub(super) fn link(&mut self, ends: [usize; 2], begin: [Nanos; 2]) -> u64 {
        self.last_number += 1;
        // The direction from the first end arrives at the second.
        let [first, second] = begin;
        let directions = [second, first].map(|last| LinkDirection { last, ..Default::default() });
        self.links.insert(self.last_number, SimLink { ends, directions });
        self.last_number
    }

    /// Returns the places of a link's ends, while the link is not closed.
    pub(super) fn ends(&self, number: u64) -> Option<[usize; 2]> {
        self.links.get(&number).map(|link| link.ends)
    }

    /// Returns the links of a replica.
    pub(super) fn links_of(&self, place: usize) -> Vec<u64> {
        let of_place = self.links.iter().filter(|(_, link)| link.ends.contains(&place));
        of_place.map(|(number, _)| *number).collect()
    }

    /// Forgets a link. What is on its way arrives nevertheless.
    pub(super) fn close(&mut self, number: u64) {
        self.links.remove(&number);
    }

    /// Takes a frame. Returns when it arrives, or `None` if it waits or is dropped.
    pub(super) fn send(
        &mut self,
        now: Nanos,
        number: u64,
        from: usize,
        frame: SentFrame,
        random: &mut SeededRandom,
    ) -> Option<(Nanos, SentFrame)> {
        let delay = self.draw_delay(random);
        let link = self.links.get_mut(&number)?;
        let end = link.ends.iter().position(|end| *end == from).expect("an end of the link");
        let to = link.ends[1 - end];
        let direction = &mut link.directions[end];
        if self.cut[from][to].is_none() {
            direction.last = direction.last.max(now + delay);
            return Some((direction.last, frame));
        }
        if direction.held_bytes < BACKLOG_BYTES {
            direction.held_bytes += frame.1.len();
            direction.held.push_back(frame);
        } else {
            self.dropped += 1;
        }
        None
    }
}
