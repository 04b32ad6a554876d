//! Doubly linked lists through the places of a table.
//!
//! The links lie in an array beside the table, one for each place, and the list itself consists of
//! its two ends only. Many lists share one array of links, as long as each place is in at most one
//! list: threads that wait in buckets, interests of epoll instances, connections in backlogs.
//! Adding and removing take constant time and no memory.
//!
//! Theorem: the order of a list is a function of the calls made on it.

/// The number of places that a table with linked places may have.
pub const INDICES_MAX: usize = (u32::MAX - FIRST) as usize;

/// Both neighbours of a place that is in no list. It is 0, so that links without a list are memory
/// that nothing has written to.
const UNLINKED: u32 = 0;
/// The end of a list.
const NONE: u32 = 1;
/// The first place of a table; the others follow.
const FIRST: u32 = 2;

/// The neighbours of one place of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Neighbours {
    /// The place after this one, or `NONE` at the list's end; `UNLINKED` if this place is in no
    /// list.
    next: u32,
    /// The place before this one, or `NONE` at the list's beginning; `UNLINKED` as above.
    previous: u32,
}

impl Neighbours {
    /// The neighbours of a place that is in no list.
    pub const UNLINKED: Self = Self { next: UNLINKED, previous: UNLINKED };

    /// Returns the place after this one.
    pub const fn next(self) -> Option<u32> {
        index(self.next)
    }

    /// Returns whether the place is in a list.
    pub const fn is_linked(self) -> bool {
        self.next != UNLINKED
    }
}

/// The two ends of a list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IndexList {
    /// The first place, or `NONE`. It is `NONE` exactly if `last` is.
    first: u32,
    /// The last place, or `NONE`.
    last: u32,
}

impl IndexList {
    /// A list without places.
    pub const EMPTY: Self = Self { first: NONE, last: NONE };

    /// Returns the first place.
    pub const fn first(self) -> Option<u32> {
        index(self.first)
    }

    /// Returns whether the list has no place.
    pub const fn is_empty(self) -> bool {
        self.first == NONE
    }

    /// Returns the places from the first to the last.
    pub fn iter(self, links: &[Neighbours]) -> impl Iterator<Item = u32> {
        core::iter::successors(self.first(), |at| links[*at as usize].next())
    }

    /// Appends a place that is in no list.
    ///
    /// # Panics
    /// Panics if the place is in a list.
    pub fn push_back(&mut self, links: &mut [Neighbours], at: u32) {
        assert!(
            !links[at as usize].is_linked(),
            "a place that is in a list is added to another one"
        );
        links[at as usize] = Neighbours { next: NONE, previous: self.last };
        match index(self.last) {
            None => self.first = number(at),
            Some(last) => links[last as usize].next = number(at),
        }
        self.last = number(at);
    }

    /// Inserts a place that is in no list before the first place.
    ///
    /// # Panics
    /// Panics if the place is in a list.
    pub fn push_front(&mut self, links: &mut [Neighbours], at: u32) {
        assert!(
            !links[at as usize].is_linked(),
            "a place that is in a list is added to another one"
        );
        links[at as usize] = Neighbours { next: self.first, previous: NONE };
        match index(self.first) {
            None => self.last = number(at),
            Some(first) => links[first as usize].previous = number(at),
        }
        self.first = number(at);
    }

    /// Removes and returns the first place.
    pub fn pop_front(&mut self, links: &mut [Neighbours]) -> Option<u32> {
        let first = self.first()?;
        self.remove(links, first);
        Some(first)
    }

    /// Removes a place from this list. The place must be in this list.
    ///
    /// # Panics
    /// Panics if the place is in no list, or has no neighbour on a side where it is not this list's
    /// end.
    pub fn remove(&mut self, links: &mut [Neighbours], at: u32) {
        let Neighbours { next, previous } = links[at as usize];
        assert!(next != UNLINKED, "a place leaves a list in which it is not");
        match index(previous) {
            None => {
                assert!(self.first == number(at), "a place leaves a list in which it is not");
                self.first = next;
            }
            Some(previous) => links[previous as usize].next = next,
        }
        match index(next) {
            None => {
                assert!(self.last == number(at), "a place leaves a list in which it is not");
                self.last = previous;
            }
            Some(next) => links[next as usize].previous = previous,
        }
        links[at as usize] = Neighbours::UNLINKED;
    }

    /// Checks that the list is linked both ways from end to end, and that each place belongs to it.
    /// Returns the number of its places; the owner compares the sum over its lists with the number
    /// of places that should be in a list.
    ///
    /// # Panics
    /// Panics if one of these does not hold.
    pub fn invariants(self, links: &[Neighbours], belongs: impl Fn(u32) -> bool) -> usize {
        let (mut count, mut previous, mut next) = (0, NONE, self.first);
        while let Some(at) = index(next) {
            assert!(belongs(at), "a place is in a list that is not its own");
            let link = links[at as usize];
            assert!(link.previous == previous, "a list is not linked both ways");
            count += 1;
            assert!(count <= links.len(), "a list has a circle");
            (previous, next) = (number(at), link.next);
        }
        assert!(next == NONE, "a list leads to a place that is in none");
        assert!(self.last == previous, "a list ends elsewhere");
        count
    }
}

/// Returns the place that a stored number names, or `None` for `NONE` and `UNLINKED`.
const fn index(number: u32) -> Option<u32> {
    number.checked_sub(FIRST)
}

/// Returns the number that names a place.
const fn number(at: u32) -> u32 {
    at + FIRST
}

#[cfg(test)]
mod tests {
    use super::*;

    type Links = [Neighbours; 6];

    fn list(places: &[u32]) -> (IndexList, Links) {
        let (mut list, mut links) = (IndexList::EMPTY, [Neighbours::UNLINKED; 6]);
        places.iter().for_each(|at| list.push_back(&mut links, *at));
        (list, links)
    }

    #[track_caller]
    fn assert_order(list: IndexList, links: &Links, expected: &[u32]) {
        assert_eq!(list.invariants(links, |at| expected.contains(&at)), expected.len());
        assert!(list.iter(links).eq(expected.iter().copied()));
        assert_eq!(list.first(), expected.first().copied());
        let linked = links.iter().filter(|link| link.is_linked()).count();
        assert_eq!(linked, expected.len());
    }

    #[test]
    fn places_keep_the_order_in_which_they_were_put() {
        let (mut list, mut links) = list(&[3, 1]);
        list.push_front(&mut links, 5);
        assert_order(list, &links, &[5, 3, 1]);
        assert_eq!(list.pop_front(&mut links), Some(5));
        assert_order(list, &links, &[3, 1]);
    }

    #[test]
    fn each_place_can_leave() {
        for (place, rest) in [(0, [2, 4]), (2, [0, 4]), (4, [0, 2])] {
            let (mut list, mut links) = list(&[0, 2, 4]);
            list.remove(&mut links, place);
            assert_order(list, &links, &rest);
            list.push_front(&mut links, place);
            assert_order(list, &links, &[place, rest[0], rest[1]]);
        }
        let (mut list, mut links) = list(&[1]);
        list.remove(&mut links, 1);
        assert_order(list, &links, &[]);
        assert_eq!(list.pop_front(&mut links), None);
        list.push_front(&mut links, 2);
        assert_order(list, &links, &[2]);
    }

    #[test]
    fn two_lists_share_the_links() {
        let (mut one, mut links) = list(&[0, 1]);
        let mut other = IndexList::EMPTY;
        other.push_back(&mut links, 2);
        one.remove(&mut links, 0);
        other.push_back(&mut links, 0);
        assert_eq!(one.invariants(&links, |at| at == 1), 1);
        assert_eq!(other.invariants(&links, |at| at != 1), 2);
        assert!(other.iter(&links).eq([2, 0]));
    }

    #[test]
    #[should_panic(expected = "is added to another one")]
    fn a_place_is_in_one_list_at_a_time() {
        let (_, mut links) = list(&[0, 1]);
        let mut other = IndexList::EMPTY;
        other.push_back(&mut links, 1);
    }

    #[test]
    #[should_panic(expected = "leaves a list in which it is not")]
    fn a_place_leaves_only_its_own_list() {
        let (mut list, mut links) = list(&[0, 1]);
        let mut other = IndexList::EMPTY;
        other.push_back(&mut links, 2);
        list.remove(&mut links, 2);
    }

    #[test]
    #[should_panic(expected = "a list is not linked both ways")]
    fn a_broken_link_is_noticed() {
        let (list, mut links) = list(&[0, 1, 2]);
        links[1].previous = number(2);
        list.invariants(&links, |_| true);
    }

    #[test]
    #[should_panic(expected = "a list ends elsewhere")]
    fn a_lost_end_is_noticed() {
        let (mut list, links) = list(&[0, 1, 2]);
        list.last = number(1);
        list.invariants(&links, |_| true);
    }

    #[test]
    #[should_panic(expected = "a list that is not its own")]
    fn a_place_in_a_wrong_list_is_noticed() {
        let (list, links) = list(&[0, 1, 2]);
        list.invariants(&links, |at| at != 1);
    }
}
