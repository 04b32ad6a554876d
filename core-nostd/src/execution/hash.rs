//! Running hashes: two replicas that did the same have the same value, and two that did not almost
//! surely have different values. The hashes are not cryptographic: they find divergence, not
//! malice.

use serde::{Deserialize, Serialize};

/// A 64-bit hash of everything put into it so far, in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RunningHash(u64);

// The multipliers are the first primes that wyhash uses; any odd, well mixed constants would do.
/// The first multiplier, and the hash of nothing.
const K0: u64 = 0xa076_1d64_78bd_642f;
/// The second multiplier.
const K1: u64 = 0xe703_7ed1_a0b4_28db;

impl RunningHash {
    /// Creates the hash of nothing.
    pub const fn new() -> Self {
        Self(K0)
    }

    /// Returns the value.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Adds a number.
    #[inline]
    pub const fn put(&mut self, number: u64) {
        let product = ((self.0 ^ K0) as u128).wrapping_mul((number ^ K1) as u128 | 1 << 64);
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ self.0.rotate_left(23);
    }

    /// Adds bytes and their number, so that the cuts between pieces count.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.put(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.put(u64::from_le_bytes(chunk.try_into().expect("chunks of 8")));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.put(u64::from_le_bytes(last));
    }
}

impl Default for RunningHash {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u64]) -> u64 {
        let mut hash = RunningHash::new();
        numbers.iter().for_each(|number| hash.put(*number));
        hash.value()
    }

    #[test]
    fn the_hash_depends_on_the_order_and_on_each_number() {
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[0]), of(&[0, 0]));
        assert_ne!(of(&[K1]), of(&[K1, K1]));
    }

    #[test]
    fn one_changed_byte_changes_the_hash() {
        let bytes = [7_u8; 37];
        let mut reference = RunningHash::new();
        reference.put_bytes(&bytes);
        for place in 0..bytes.len() {
            let mut changed = bytes;
            changed[place] ^= 1;
            let mut hash = RunningHash::new();
            hash.put_bytes(&changed);
            assert_ne!(hash, reference);
        }
    }
}
