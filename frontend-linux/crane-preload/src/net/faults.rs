//! The handler of SIGSEGV, which a forbidden read of the processor's time stamp raises.
//!
//! Everything else that raises it is the program's: its own handler runs as the kernel would call
//! it, on the stack and with the mask that the program asked for. Without one, the fault ends the
//! process as it would have.

use std::ffi::c_int;

use crane_shm::{BypassKind, ServerSide};
use libc::{siginfo_t, ucontext_t};

use super::trap::{Context, pass_on, report};
use super::tsc;
use super::{answer, answers, arming, masks, touch, tsc_sites};
use crate::bases::for_signals;
use crate::membership::{self, Membership};
use crate::world;

/// `SI_KERNEL` (asm-generic/siginfo.h): the code of what the processor refuses for no address.
const BY_KERNEL: c_int = 0x80;

/// Installs the handler.
pub(super) fn install() {
    masks::install_for_faults((on_signal_entry as *const ()).addr());
}

/// An instruction that reads the time stamp.
#[derive(Clone, Copy)]
struct TscRead {
    /// Its number among the kinds of bypasses.
    number: u32,
    /// Its length.
    bytes: usize,
}

/// Returns the instruction at an address if it reads the time stamp. It was just fetched there.
fn reading_at(address: usize) -> Option<TscRead> {
    match masks::read::<[u8; 3]>(address) {
        Some([0x0f, 0x01, 0xf9]) => Some(TscRead { number: BypassKind::RDTSCP, bytes: 3 }),
        Some([0x0f, 0x31, _]) => Some(TscRead { number: BypassKind::RDTSC, bytes: 2 }),
        Some(_) => None,
        // The instruction may be the last of its page.
        None => match masks::read::<[u8; 2]>(address) {
            Some([0x0f, 0x31]) => Some(TscRead { number: BypassKind::RDTSC, bytes: 2 }),
            _ => None,
        },
    }
}

for_signals!(on_signal_entry, "crane_on_fault", on_signal);

unsafe extern "C" fn on_signal(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut ucontext_t,
    base: usize,
) -> bool {
    // SAFETY: the kernel's record and frame of this signal, alive until the handler ends.
    let (code, mut frame) = unsafe { ((*info).si_code, Context(&mut *context)) };
    if code == BY_KERNEL
        && let Some(region) = world::region()
        && let Some(reading) = reading_at(frame.register(libc::REG_RIP))
    {
        on_reading(region, reading, &mut frame);
        return false;
    }
    if code > 0
        && let Some(next) = touch::behind_fault(frame.register(libc::REG_RIP))
    {
        frame.go_on_at(next);
        return false;
    }
    // SAFETY: the program's own signal.
    unsafe { pass_on(signal, info, frame, base) }
}

// specs: S12
fn on_reading(region: ServerSide, reading: TscRead, frame: &mut Context<'_>) {
    let is_outside = matches!(membership::current(), Membership::Outside(_));
    if !is_outside || world::is_child() {
        return tsc::permit_always();
    }
    let address = frame.register(libc::REG_RIP) + reading.bytes;
    let kind = BypassKind { number: reading.number, address: address as u64 };
    region.count_caught(kind);
    // A program's filter (seccomp) may forbid the call that permits.
    if answers::is_begun() || arming::has_given_up() {
        tsc::found();
        let place = frame.register(libc::REG_RIP);
        if let Some(time) = answer::read_tsc(frame.0) {
            frame.set_time(time, reading.bytes, reading.number);
            if reading.number == BypassKind::RDTSC {
                tsc_sites::count(place);
            }
            // Another thread may have moved what is behind it while this one waited.
            if let Some(behind) = tsc_sites::behind(place) {
                frame.go_on_at(behind);
            }
        }
        return;
    }
    masks::set_mask(u64::MAX);
    report(region, kind, frame.register(libc::REG_RSP));
    tsc::permit_always();
}
