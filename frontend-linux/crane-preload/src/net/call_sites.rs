//! Places in the program that make a call with a [prompt] answer often: they are led around the
//! trap that each call raises.
//!
//! The instruction before the call, which loads its number, becomes a jump to a
//! [detour](super::detours). Who jumps to the call itself finds it where it was, and so does the
//! detour where there is no prompt answer.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use libc::c_long;

use super::detours::{self, DETOUR, JUMP};
use super::{masks, prompt};
use crate::maps::text_around;
use crate::world::SERIAL;

/// The number of calls behind which a place is led around.
const OFTEN: u32 = 64;
/// The number of places that are counted.
const SITES: usize = 64;
/// `mov eax, NUMBER`, up to the number, and `mov rax, NUMBER`, as Go's compiler loads it.
const LOADS: u8 = 0xb8;
const LOADS_WIDE: [u8; 3] = [0x48, 0xc7, 0xc0];
/// The bytes of the number.
const NUMBER: usize = 4;
/// `syscall`.
const CALLS: [u8; 2] = [0x0f, 0x05];

/// A place that makes a call.
struct CallSite {
    /// The address behind the call, or 0.
    behind: AtomicUsize,
    calls: AtomicU32,
}

/// Returns the record of a place, which is new or known.
fn site(behind: usize) -> Option<&'static CallSite> {
    let known = |address| PLACES.iter().find(|it| it.behind.load(Ordering::Relaxed) == address);
    let site = known(behind).or_else(|| known(0))?;
    site.behind.store(behind, Ordering::Relaxed);
    Some(site)
}

static PLACES: [CallSite; SITES] =
    [const { CallSite { behind: AtomicUsize::new(0), calls: AtomicU32::new(0) } }; SITES];

/// Counts a call of this number that ends at an address, of the calling thread, which has the turn
/// if threads run one at a time. Leads the place around the trap if there were enough of them.
pub(super) fn count(behind: usize, number: c_long) {
    if !SERIAL.load(Ordering::Relaxed) || !prompt::has_answer(number) {
        return;
    }
    let Some(site) = site(behind) else { return };
    let calls = site.calls.load(Ordering::Relaxed).saturating_add(1);
    site.calls.store(calls, Ordering::Relaxed);
    // It is tried once: what does not work then does not work later.
    if calls == OFTEN {
        let _ = lead_around(behind, number);
    }
}

fn lead_around(behind: usize, number: c_long) -> Option<()> {
    let call = behind.checked_sub(CALLS.len())?;
    let start = call.checked_sub(NUMBER + LOADS_WIDE.len())?;
    let code = masks::read::<[u8; LOADS_WIDE.len() + NUMBER + CALLS.len()]>(start)?;
    let load = code.strip_suffix(&CALLS)?.strip_suffix(&(number as u32).to_le_bytes())?;
    let start = match load {
        _ if load == LOADS_WIDE => start,
        [.., LOADS] => start + LOADS_WIDE.len() - 1,
        _ => return None,
    };
    let text = text_around(start).filter(|text| text.contains(&(behind - 1)))?;
    detours::lead(start, detour(&text, start, call, number)?)
}

/// Makes a detour near a text, for a call at an address. Returns the jump to it from `start`, where
/// the call's number is loaded.
fn detour(text: &Range<usize>, start: usize, call: usize, number: c_long) -> Option<[u8; JUMP]> {
    let detour = detours::free(text)?;
    detours::write(detour, code(detour, call, number)?)?;
    detours::jump(detour, start + JUMP)
}

/// Returns the code of a detour at an address, for a call at another.
fn code(at: usize, call: usize, number: c_long) -> Option<[u8; DETOUR]> {
    #[rustfmt::skip]
    const CODE: [u8; 29] = [
        // lea rsp, [rsp - 128]: what a function keeps there without a frame stays (the red zone).
        0x48, 0x8d, 0x64, 0x24, 0x80,
        // mov eax, …
        LOADS, 0, 0, 0, 0,
        // call [rip + …]: the last 8 bytes. It comes back later if there is no answer.
        0xff, 0x15, DETOUR as u8 - 8 - 16, 0, 0, 0,
        // lea rsp, [rsp + 128]; jmp …
        0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xe9, 0, 0, 0, 0,
    ];
    // lea rsp, [rsp + 128]; mov eax, …; jmp …
    const REST: [u8; 18] =
        [0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, LOADS, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0];
    const ANSWERED: usize = CODE.len();
    const END: usize = CODE.len() + REST.len();
    const { assert!(ANSWERED - 16 == prompt::UNANSWERED_CALL && END <= DETOUR - 8) };
    let mut bytes = [0xcc; DETOUR];
    bytes[..ANSWERED].copy_from_slice(&CODE);
    bytes[ANSWERED..END].copy_from_slice(&REST);
    let number = (number as u32).to_le_bytes();
    bytes[6..10].copy_from_slice(&number);
    bytes[ANSWERED + 9..ANSWERED + 13].copy_from_slice(&number);
    bytes[ANSWERED - JUMP..ANSWERED]
        .copy_from_slice(&detours::jump(call + CALLS.len(), at + ANSWERED)?);
    bytes[END - JUMP..END].copy_from_slice(&detours::jump(call, at + END)?);
    bytes[DETOUR - 8..].copy_from_slice(&prompt::for_calls().to_le_bytes());
    Some(bytes)
}
