//! Calls of the server that bypass the hooks, as the library in it finds them: each kind is named
//! once.

use std::path::PathBuf;

use crane_shm::{Bypass, BypassKind};
use tokio::task::{spawn_blocking, spawn_local};

use crate::driver::{Bypassed, DriverInput};
use crate::symbols::Maps;

use super::inspect::{call_name, caller_among, only_passes_on, root_of};
use super::server::ServerProcess;
use super::{HostOutcome, Outcomes};

/// The bit by which the library marks 32-bit calls, whose numbers mean others.
const OTHER_ARCHITECTURE: u32 = 0x8000;

/// Names the kinds that are new in this run; [`DriverInput::Bypassed`] follows for each.
pub(super) fn name_new(server: &mut ServerProcess, outcomes: &Outcomes) {
    while let Some(bypass) = server.region.bypass(server.bypasses_named) {
        server.bypasses_named += 1;
        let (run, process, outcomes) = (server.number, server.pid(), outcomes.clone());
        // At once: a program that ends takes its mappings with it.
        let maps = process.and_then(|process| Maps::read(process).ok());
        spawn_local(async move {
            let naming = spawn_blocking(move || name(&bypass, process, maps.as_ref()));
            if let Ok(bypassed) = naming.await {
                let input = DriverInput::Bypassed(run, bypassed);
                let _ = outcomes.send(HostOutcome::Input(input));
            }
        });
    }
}

/// Returns the name of the call of a kind.
pub(super) fn call_of(kind: BypassKind) -> String {
    match kind.number {
        BypassKind::RDTSC => "rdtsc".to_string(),
        BypassKind::RDTSCP => "rdtscp".to_string(),
        number if number & OTHER_ARCHITECTURE == 0 => call_name(i64::from(number)),
        number => format!("32-bit system call {}", number & !OTHER_ARCHITECTURE),
    }
}

/// Returns the symbol and the library of the place that makes the call of a kind.
pub(super) fn place_of(
    kind: BypassKind,
    process: Option<u32>,
    maps: Option<&Maps>,
) -> Option<String> {
    let root = process.map_or_else(|| PathBuf::from("/"), root_of);
    Some(maps?.at(kind.address)?.name_place(&root, kind.address))
}

fn name(bypass: &Bypass, process: Option<u32>, maps: Option<&Maps>) -> Bypassed {
    let Bypass { kind, refused, stack } = bypass;
    let call = call_of(*kind);
    let place = place_of(*kind, process, maps);
    let by_libc = maps.is_some_and(|maps| only_passes_on(maps, kind.address));
    let caller = maps.filter(|_| by_libc).and_then(|maps| caller_among(maps, process?, stack));
    let (number, address, refused) = (kind.number, kind.address, *refused);
    Bypassed { call, number, address, place, by_libc, caller, refused }
}
