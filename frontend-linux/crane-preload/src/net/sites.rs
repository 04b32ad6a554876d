//! Sites in libc whose calls the net would let pass in any case: they are led around it.
//!
//! A trap costs microseconds, and with a floor each call raises one that this library's text does
//! not make: also those of libc's own functions inside of others, which no hook is in front of. So
//! the instruction before such a call, which loads its number, becomes a jump to a *detour* in this
//! library's text: the same two instructions, and a jump back. No stack and no other register is
//! touched, and who jumps to the call itself finds it where it was.
//!
//! This is done once, before the program's first instruction, when there is no other thread. The
//! places are the same in every program of the server that has the same libc, and kept for those
//! that come later.

use std::arch::global_asm;
use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crane_shm::sys;
use crane_shm::table::{self, Class, InLibc, Waits};
use libc::c_long;

use super::{answers, text};

/// `mov eax, NUMBER` before `syscall`: the bytes of both, and of the first.
const SITE: usize = 7;
const LOAD: usize = 5;
/// The first byte of the first, and the second.
const LOADS: u8 = 0xb8;
const CALLS: [u8; 2] = [0x0f, 0x05];
/// The first byte of a jump by a distance of 32 bits.
const JUMPS: u8 = 0xe9;
/// The bytes of a detour, and of all.
const DETOUR: usize = 16;
const ROOM: usize = 16 << 10;
const PAGE: usize = 4096;

global_asm!(
    ".pushsection .text.crane_net_sites,\"ax\",@progbits",
    ".hidden crane_net_sites",
    ".globl crane_net_sites",
    ".type crane_net_sites, @object",
    ".balign 4096",
    "crane_net_sites:",
    ".fill {room}, 1, 0xcc",
    ".size crane_net_sites, {room}",
    ".popsection",
    room = const ROOM,
);

unsafe extern "C" {
    static crane_net_sites: u8;
}

/// The places of sites in libc's texts, for all programs of the server. The one that begins writes
/// them, and programs begin one at a time.
pub(crate) struct KeptSites([KeptText; 4]);

/// The sites of one text. Zeros are those of none.
struct KeptText {
    /// The length of the text, or 0.
    length: AtomicUsize,
    count: AtomicUsize,
    /// The distances from its start.
    places: [AtomicU32; ROOM / DETOUR],
}

impl KeptSites {
    /// Returns the sites of a text, which are found if they are not kept, unless there is no room.
    fn of(&self, code: &[u8]) -> Option<&KeptText> {
        let length = |text: &KeptText| text.length.load(Ordering::Relaxed);
        if let Some(known) = self.0.iter().find(|text| length(text) == code.len()) {
            return Some(known);
        }
        let free = self.0.iter().find(|text| length(text) == 0)?;
        let all = 0..code.len().saturating_sub(SITE - 1);
        let sites = all.filter(|place| is_site(&code[*place..]));
        let mut count = 0;
        for (kept, place) in free.places.iter().zip(sites) {
            kept.store(place as u32, Ordering::Relaxed);
            count += 1;
        }
        free.count.store(count, Ordering::Relaxed);
        free.length.store(code.len(), Ordering::Relaxed);
        Some(free)
    }
}

/// Leads the calls of libc's around the net that it lets pass. Where the system does not permit
/// that, they raise traps.
pub(super) fn lead_around(kept: &KeptSites) {
    let detours = (&raw const crane_net_sites).addr();
    if protect(detours..detours + ROOM, libc::PROT_WRITE).is_err() {
        return;
    }
    let mut free = (detours..detours + ROOM).step_by(DETOUR);
    for found in text::found() {
        lead_around_in(found, kept, &mut free);
    }
    let _ = protect(detours..detours + ROOM, 0);
}

fn lead_around_in(found: Range<usize>, kept: &KeptSites, free: &mut impl Iterator<Item = usize>) {
    let pages = found.start & !(PAGE - 1)..found.end.next_multiple_of(PAGE);
    if protect(pages.clone(), libc::PROT_WRITE).is_err() {
        return;
    }
    // SAFETY: libc's text, which is mapped as a whole and may be written to; this thread is alone.
    let code =
        unsafe { slice::from_raw_parts_mut(found.start as *mut u8, found.end - found.start) };
    let Some(sites) = kept.of(code) else { return };
    for place in sites.places.iter().take(sites.count.load(Ordering::Relaxed)) {
        let place = place.load(Ordering::Relaxed) as usize;
        // Another libc of this length has other bytes there, and its calls raise traps.
        let Some(site) = code.get_mut(place..).filter(|site| is_site(site)) else { continue };
        let Some(number) = number_of(site) else { continue };
        let Some(detour) = free.next() else { break };
        let behind = found.start + place + SITE;
        let Some((bytes, jump)) = detour_of(number, detour, behind) else { break };
        // SAFETY: a detour that is free.
        unsafe { (detour as *mut [u8; DETOUR]).write(bytes) };
        site[..LOAD].copy_from_slice(&jump);
    }
    let _ = protect(pages, 0);
}

/// Returns whether code begins with a call that the net lets pass.
fn is_site(code: &[u8]) -> bool {
    number_of(code).is_some_and(passes)
}

/// Returns the number of the call that these bytes make, if they make one.
fn number_of(site: &[u8]) -> Option<u32> {
    let (site, _) = site.split_first_chunk::<SITE>()?;
    let [first, number @ .., calls, called] = *site;
    (first == LOADS && [calls, called] == CALLS).then(|| u32::from_le_bytes(number))
}

/// Returns the code of a detour for a call that ends at `behind`, and the jump to it, or `None` if
/// it is too far away.
fn detour_of(number: u32, detour: usize, behind: usize) -> Option<([u8; DETOUR], [u8; LOAD])> {
    let jump = |to: usize, next: usize| {
        let distance = i32::try_from((to as i64).checked_sub(next as i64)?).ok()?;
        let mut bytes = [JUMPS; LOAD];
        bytes[1..].copy_from_slice(&distance.to_le_bytes());
        Some(bytes)
    };
    let mut bytes = [0xcc; DETOUR];
    bytes[0] = LOADS;
    bytes[1..LOAD].copy_from_slice(&number.to_le_bytes());
    bytes[LOAD..SITE].copy_from_slice(&CALLS);
    bytes[SITE..SITE + LOAD].copy_from_slice(&jump(behind, detour + SITE + LOAD)?);
    Some((bytes, jump(detour, behind - SITE + LOAD)?))
}

/// Returns whether the net lets each call of libc's of this number pass, and says nothing.
fn passes(number: u32) -> bool {
    let number = c_long::from(number);
    let is_plain = table::group(number).is_some_and(|group| {
        matches!(group.class, Class::Pure | Class::Ordered)
            && group.waits == Waits::Never
            && group.in_libc == InLibc::Unseen
    });
    // Whether these pass, and how, depends on the arguments, and on the program.
    let is_told_apart = [libc::SYS_prctl, libc::SYS_arch_prctl, libc::SYS_clone].contains(&number);
    is_plain && !is_told_apart && !answers::has_hook(number)
}

/// Makes pages readable and executable, and gives them one right more.
fn protect(pages: Range<usize>, more: i32) -> Result<usize, i32> {
    let protection = libc::PROT_READ | libc::PROT_EXEC | more;
    let arguments = [pages.start, pages.end - pages.start, protection as usize, 0, 0, 0];
    // SAFETY: text, which stays executable.
    sys::checked(unsafe { sys::syscall(libc::SYS_mprotect, arguments) })
}
