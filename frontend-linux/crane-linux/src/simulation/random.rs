//! Randomness that can be repeated: everything in a run is drawn from its seed.

/// A generator (splitmix64, Steele, Lea and Flood, 2014). It is small and fast, but not secret.
#[derive(Clone, Debug)]
pub(super) struct SeededRandom(u64);

impl SeededRandom {
    /// Creates a generator from a seed. Neighbouring seeds give unrelated numbers.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x6a09_e667_f3bc_c908)
    }

    /// Returns the next 64 bits.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `low` to `high - 1`.
    pub(super) fn range(&mut self, low: u64, high: u64) -> u64 {
        assert!(low < high, "an empty range has no number");
        low + self.draw() % (high - low)
    }

    /// Returns true in the given number of a thousand cases.
    pub(super) fn permille(&mut self, chance: u64) -> bool {
        self.draw() % 1000 < chance
    }

    /// Returns one of several values.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.range(0, from.len() as u64) as usize]
    }
}
