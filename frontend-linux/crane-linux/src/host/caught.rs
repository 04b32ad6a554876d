//! The calls that the net below the hooks catches most often, by name: each costs microseconds.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crane_shm::{BypassKind, DaemonSide};
use tokio::task::spawn_blocking;

use super::bypass::{call_of, place_of};
use crate::driver::CaughtCall;
use crate::symbols::Maps;

/// Kinds with fewer calls are not named.
const LEAST: u64 = 1000;
/// The number of kinds that are shown.
const SHOWN: usize = 8;

/// The names of the kinds of one run.
#[derive(Debug)]
pub(super) struct CaughtNames {
    /// The number of calls at which it is looked for new kinds.
    look_at: u64,
    names: Arc<Mutex<Names>>,
}

type Names = HashMap<BypassKind, CallName>;

#[derive(Clone, Debug)]
struct CallName {
    call: String,
    place: Option<String>,
}

impl CaughtNames {
    /// Returns that nothing is named.
    pub(super) fn new() -> Self {
        Self { look_at: LEAST, names: Arc::default() }
    }

    /// Names the kinds that are new among the frequent ones. It looks seldom: each time that the
    /// calls have doubled. `find` returns the server's process.
    #[inline]
    pub(super) fn name_new(&mut self, region: DaemonSide, find: impl FnOnce() -> Option<u32>) {
        let calls = region.caught_calls();
        if calls < self.look_at {
            return;
        }
        self.look_at = calls.saturating_mul(2);
        if let Some(process) = find() {
            self.name_in(region, process);
        }
    }

    fn name_in(&mut self, region: DaemonSide, process: u32) {
        let mut kinds: Vec<_> =
            region.caught_kinds(LEAST).into_iter().map(|(kind, _)| kind).collect();
        kinds.retain(|kind| !lock(&self.names).contains_key(kind));
        if kinds.is_empty() {
            return;
        }
        let names = self.names.clone();
        spawn_blocking(move || {
            let maps = Maps::read(process).ok();
            let name = |kind: BypassKind| {
                let place = place_of(kind, Some(process), maps.as_ref());
                (kind, CallName { call: call_of(kind), place })
            };
            let named: Vec<_> = kinds.into_iter().map(name).collect();
            lock(&names).extend(named);
        });
    }

    /// Returns the most frequent kinds, as far as they are named.
    pub(super) fn show(&self, region: DaemonSide) -> Vec<CaughtCall> {
        let names = lock(&self.names);
        let shown = region.caught_kinds(LEAST).into_iter().filter_map(|(kind, calls)| {
            let CallName { call, place } = names.get(&kind)?.clone();
            Some(CaughtCall { call, place, calls })
        });
        let mut shown: Vec<CaughtCall> = shown.collect();
        shown.sort_by_key(|one| Reverse(one.calls));
        shown.truncate(SHOWN);
        shown
    }
}

fn lock(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}
