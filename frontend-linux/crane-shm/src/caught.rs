//! How often the net below the hooks catches calls, by kind. Each costs microseconds, so an
//! operator wants to know which they are.
//!
//! The server's side counts in a signal handler, by one addition and a search of a few cells. Kinds
//! that find no cell are in the sum alone.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::bypass::BypassKind;

/// The number of kinds that are told apart.
const CELLS: usize = 256;
/// The number of cells in which a kind is searched.
const TRIED: usize = 8;

#[repr(C)]
#[derive(Debug)]
pub(crate) struct CaughtCalls {
    all: AtomicU64,
    cells: [CaughtCell; CELLS],
}

#[repr(C)]
#[derive(Debug)]
struct CaughtCell {
    /// The kind, or 0 if the cell is free.
    kind: AtomicU64,
    calls: AtomicU64,
}

impl CaughtCalls {
    /// Counts a call.
    pub(crate) fn count(&self, kind: BypassKind) {
        self.all.fetch_add(1, Ordering::Relaxed);
        let key = kind.key();
        // Places differ in their lower bits.
        let first = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let cell = (0..TRIED).find_map(|step| {
            let cell = &self.cells[(first as usize + step) % CELLS];
            let found = cell.kind.load(Ordering::Relaxed);
            let found = match found {
                0 => cell
                    .kind
                    .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|other| other, |_| key),
                found => found,
            };
            (found == key).then_some(cell)
        });
        if let Some(cell) = cell {
            cell.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of calls of all kinds.
    pub(crate) fn all(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }

    /// Returns the kinds with at least `least` calls, with their numbers of calls, in no order.
    pub(crate) fn kinds(&self, least: u64) -> impl Iterator<Item = (BypassKind, u64)> + '_ {
        self.cells.iter().filter_map(move |cell| {
            let calls = cell.calls.load(Ordering::Relaxed);
            let key = cell.kind.load(Ordering::Relaxed);
            (key != 0 && calls >= least).then(|| (BypassKind::of_key(key), calls))
        })
    }
}

#[cfg(test)]
mod tests {
    use core::array::from_fn;

    use super::*;

    fn none() -> CaughtCalls {
        let cell = |_| CaughtCell { kind: AtomicU64::new(0), calls: AtomicU64::new(0) };
        CaughtCalls { all: AtomicU64::new(0), cells: from_fn(cell) }
    }

    #[test]
    fn calls_are_counted_by_kind() {
        let caught = none();
        let often = BypassKind { number: 202, address: 0x7fff_1234_5678 };
        let once = BypassKind { number: BypassKind::RDTSC, address: 0x7fff_1234_5678 };
        for _ in 0..5 {
            caught.count(often);
        }
        caught.count(once);
        assert_eq!(caught.all(), 6);
        assert_eq!(caught.kinds(2).collect::<Vec<_>>(), [(often, 5)]);
        assert!(caught.kinds(1).any(|found| found == (once, 1)));
    }

    #[test]
    fn kinds_without_a_cell_are_in_the_sum_alone() {
        let caught = none();
        for address in 1..=4 * CELLS as u64 {
            caught.count(BypassKind { number: 1, address });
        }
        let kinds = caught.kinds(1).count();
        assert_eq!(caught.all(), 4 * CELLS as u64);
        assert!(kinds <= CELLS && kinds > CELLS / 2, "{kinds}");
    }
}
