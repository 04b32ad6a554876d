//! A table whose places are taken when they are needed, and given back in any order.
//!
//! Taking and freeing a place takes constant time. Memory behind the places that were ever taken at
//! one time is never touched: a large table costs a program of few entries nothing, where it lies
//! in memory that the system gives when it is touched. An empty table is all zero, so a static one
//! takes no space in a program's file.
//!
//! Theorem: which place is taken is a function of the calls made on the table.

use heapless::Vec;

/// One place of a table.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum SlabEntry<T> {
    /// With an entry.
    Taken(T),
    /// Without one.
    Free {
        /// The next free place, plus 1; 0: none.
        next: u32,
    },
}

/// A table of at most `PLACES` entries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slab<T, const PLACES: usize> {
    /// The places that were ever taken.
    places: Vec<SlabEntry<T>, PLACES>,
    /// The place that was freed last, plus 1; 0: none is free among `places`.
    free: u32,
    /// The number of entries.
    taken: u32,
}

impl<T, const PLACES: usize> Slab<T, PLACES> {
    /// No entries.
    pub const fn new() -> Self {
        assert!(PLACES < u32::MAX as usize, "a place has a number");
        Self { places: Vec::new(), free: 0, taken: 0 }
    }

    /// Puts an entry into the place that was freed last, or else into the lowest one. Returns its
    /// place.
    ///
    /// # Errors
    /// The entry, if the table is full.
    pub fn insert(&mut self, entry: T) -> Result<u32, T> {
        let at = match self.free.checked_sub(1) {
            Some(at) => {
                let place = &mut self.places[at as usize];
                let SlabEntry::Free { next } = *place else { panic!("a free place has an entry") };
                *place = SlabEntry::Taken(entry);
                self.free = next;
                at
            }
            None => {
                let at = self.places.len() as u32;
                if let Err(SlabEntry::Taken(entry)) = self.places.push(SlabEntry::Taken(entry)) {
                    return Err(entry);
                }
                at
            }
        };
        self.taken += 1;
        Ok(at)
    }

    /// Takes an entry out, and frees its place.
    ///
    /// # Panics
    /// Panics if the place has none.
    pub fn remove(&mut self, at: u32) -> T {
        let place = &mut self.places[at as usize];
        let SlabEntry::Taken(entry) =
            core::mem::replace(place, SlabEntry::Free { next: self.free })
        else {
            panic!("a place without an entry is freed");
        };
        self.free = at + 1;
        self.taken -= 1;
        entry
    }

    /// Returns the entry at a place, if that has one.
    #[inline]
    pub fn get(&self, at: u32) -> Option<&T> {
        match self.places.get(at as usize) {
            Some(SlabEntry::Taken(entry)) => Some(entry),
            _ => None,
        }
    }

    /// Returns the entry at a place, if that has one, to change it.
    #[inline]
    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        match self.places.get_mut(at as usize) {
            Some(SlabEntry::Taken(entry)) => Some(entry),
            _ => None,
        }
    }

    /// Returns the entries with their places, by place.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.places).filter_map(|(at, place)| match place {
            SlabEntry::Taken(entry) => Some((at, entry)),
            SlabEntry::Free { .. } => None,
        })
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.taken as usize
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Returns how many places were ever taken at one time: no entry is behind them.
    pub fn reached(&self) -> usize {
        self.places.len()
    }

    /// Checks that the free places are in one chain, each once, in time proportional to the places
    /// that were ever taken.
    ///
    /// # Panics
    /// Panics if that does not hold.
    pub fn invariants(&self) {
        let (mut free, mut next) = (0, self.free);
        while let Some(at) = next.checked_sub(1) {
            assert!(free < self.places.len(), "the free places have a circle");
            let place = self.places.get(at as usize);
            let Some(SlabEntry::Free { next: behind }) = place else {
                panic!("a place with an entry is called free");
            };
            (free, next) = (free + 1, *behind);
        }
        let taken = self.iter().count();
        assert!(taken == self.len(), "entries are miscounted");
        assert!(free + taken == self.places.len(), "a free place is missed");
    }
}

impl<T, const PLACES: usize> Default for Slab<T, PLACES> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Slab<char, 3> {
        let mut slab = Slab::new();
        for (at, entry) in (0..).zip(['a', 'b', 'c']) {
            assert_eq!(slab.insert(entry), Ok(at));
        }
        slab
    }

    #[test]
    fn a_full_table_gives_the_entry_back() {
        let mut slab = three();
        assert_eq!((slab.insert('d'), slab.len()), (Err('d'), 3));
        assert_eq!(slab.remove(1), 'b');
        assert_eq!((slab.insert('d'), slab.get(1)), (Ok(1), Some(&'d')));
    }

    #[test]
    fn the_place_that_was_freed_last_is_taken_first() {
        let mut slab = three();
        slab.remove(2);
        slab.remove(0);
        slab.invariants();
        assert!(slab.iter().eq([(1, &'b')]));
        assert_eq!((slab.insert('d'), slab.insert('e')), (Ok(0), Ok(2)));
        *slab.get_mut(2).expect("an entry") = 'f';
        assert!(slab.iter().eq([(0, &'d'), (1, &'b'), (2, &'f')]));
        slab.invariants();
    }

    #[test]
    fn few_entries_reach_few_places() {
        let mut slab = Slab::<u8, 1000>::new();
        for _ in 0..2000 {
            let at = slab.insert(7).expect("room for it");
            slab.remove(at);
        }
        assert_eq!((slab.reached(), slab.len(), slab.get(0)), (1, 0, None));
    }

    #[test]
    #[should_panic(expected = "a place without an entry is freed")]
    fn a_place_is_freed_once() {
        let mut slab = three();
        slab.remove(1);
        slab.remove(1);
    }

    #[test]
    #[should_panic(expected = "a free place is missed")]
    fn a_lost_free_place_is_noticed() {
        let mut slab = three();
        slab.remove(1);
        slab.free = 0;
        slab.invariants();
    }

    #[test]
    #[should_panic(expected = "a place with an entry is called free")]
    fn a_taken_place_that_is_called_free_is_noticed() {
        let mut slab = three();
        slab.free = 1;
        slab.invariants();
    }

    #[test]
    #[should_panic(expected = "entries are miscounted")]
    fn a_miscount_is_noticed() {
        let mut slab = three();
        slab.taken = 2;
        slab.invariants();
    }
}
