//! The large tables: connections, descriptions, interests.
//!
//! They are static memory that begins as zero, so the system gives it when it is touched: a program
//! with few connections pays for few, neither at its start nor later.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::capacities::CONNECTIONS;
use crate::descriptors::Descriptors;
use crate::execution::Connections;
use crate::inbox::RingUse;
use crate::watch::Watches;

/// The tables, empty before the program starts.
pub(crate) struct LargeTables {
    /// The connections.
    pub connections: Connections,
    /// The descriptions behind descriptors.
    pub descriptors: Descriptors,
    /// Interests in readiness.
    pub watches: Watches,
    /// By connection: its description, plus 1.
    pub of_conn: [u32; CONNECTIONS],
    /// By connection: the use of its ring.
    pub rings: [RingUse; CONNECTIONS],
}

/// The place of the tables.
struct TablesCell(UnsafeCell<LargeTables>);

// SAFETY: the tables leave the cell once, by `take`.
unsafe impl Sync for TablesCell {}

static TABLES: TablesCell = TablesCell(UnsafeCell::new(LargeTables {
    connections: Connections::new(),
    descriptors: Descriptors::new(),
    watches: Watches::new(),
    of_conn: [0; CONNECTIONS],
    rings: [RingUse::NONE; CONNECTIONS],
}));

/// Takes the tables, once in a process.
pub(crate) fn take() -> &'static mut LargeTables {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    assert!(!TAKEN.swap(true, Ordering::SeqCst), "one run has the tables");
    // SAFETY: the only reference that is ever made (asserted).
    unsafe { &mut *TABLES.0.get() }
}
