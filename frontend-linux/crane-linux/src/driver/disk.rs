//! The disk of the server's files. How much room it has is not agreed upon, so no server may see
//! that its disk is full.
//!
//! The library ends the server before a call reports that to the program. The daemon goes on
//! voting, and builds the server again when the disk has room. What the library does not see, such
//! as pages of a mapped file, is not lost either: the daemon measures the disk now and then.

use crane_core::time::Duration;

use super::rooms::{Finding, FindingKind};
use super::{DiskRoom, Driver, Host};

/// The time between two measurements of a disk that must have room first.
const MEASURE_AGAIN: Duration = Duration::from_millis(1000);
/// The part of a disk that must be free before a server is built again. Each end at the same clock
/// adds another.
const ROOM: u64 = 16;
/// The part of a disk that is the last of its room.
const LAST_ROOM: u64 = 256;
/// The last of a disk's room is never more.
const LAST_ROOM_MAX: u64 = 1 << 20;

impl<H: Host> Driver<H> {
    /// Records that the server was ended because its disk is full. Returns the reason.
    pub(super) fn ended_by_full_disk(&mut self, clock: u64, trouble: &str) -> String {
        self.server.awaits_room = true;
        self.server.last_full.count(self.server.incarnation, clock);
        let text = format!(
            "the server was ended before a full disk made it differ from the others: {trouble}; \
             {}, and it is built again; until then this replica votes and has no clients",
            self.make_room()
        );
        self.clear_finding(FindingKind::DiskFull);
        self.find(FindingKind::DiskFull, Finding { text: text.clone(), is_fault: true });
        text
    }

    fn make_room(&self) -> String {
        let place = self.settings.data.join("upper");
        format!("make room on the disk of the server's files at {}", place.display())
    }

    /// Measures the disk, because the server is built again once there is room.
    pub(super) fn await_room(&mut self) {
        self.host.measure_disk();
        self.server.rebuild_at = Some(self.now() + MEASURE_AGAIN);
    }

    /// Takes a measurement of the disk of the server's files. Returns whether the server, which has
    /// waited for room, is to be built again.
    pub(super) fn on_disk_measured(&mut self, room: DiskRoom) -> bool {
        let DiskRoom { free, size } = room;
        let times = self.server.last_full.times.max(1);
        let wanted = match self.server.awaits_room {
            true => size / ROOM * u64::from(times),
            false => (size / LAST_ROOM).min(LAST_ROOM_MAX),
        };
        if free < wanted {
            let text = format!(
                "the disk of the server's files is full: {free} bytes of {size} are free; a server \
                 that finds no room is ended: {}",
                self.make_room()
            );
            self.find(FindingKind::DiskFull, Finding { text, is_fault: true });
            return false;
        }
        self.clear_finding(FindingKind::DiskFull);
        let waited = std::mem::take(&mut self.server.awaits_room);
        if waited {
            self.server.rebuild_at = None;
        }
        waited && self.divergence.halted.is_none()
    }
}
