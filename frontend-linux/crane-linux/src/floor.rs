//! Whether a server has a floor on this host: the kernel must let programs watch their own calls.

use clap::ValueEnum;

/// The part of `prctl(2)` that a floor needs (linux/prctl.h, since Linux 5.11).
const USER_DISPATCH: libc::c_int = 59;
const OFF: libc::c_ulong = 0;

/// `--floor`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum FloorArg {
    /// If this host can: Linux 5.11 or later, which lets programs watch their own calls.
    Auto,
    /// Ends with the reason if this host cannot.
    Always,
    /// Calls without libc's functions are reported, and not ordered.
    Never,
}

impl FloorArg {
    /// Returns whether the group has a floor, once it is [settled](Self::settle).
    pub(crate) fn is_on(self) -> bool {
        self == Self::Always
    }

    /// Decides whether there is a floor, if the command line leaves it open. Returns the reason if
    /// this host has none, and none was asked for.
    ///
    /// # Errors
    /// Returns the reason if this host has none, and one must be.
    pub(crate) fn settle(self) -> Result<(Self, Option<&'static str>), String> {
        match (self, is_possible()) {
            (Self::Never, _) => Ok((Self::Never, None)),
            (_, true) => Ok((Self::Always, None)),
            (Self::Auto, false) => Ok((Self::Never, Some(LACKS))),
            (Self::Always, false) => {
                Err(format!("{LACKS}, which --floor=always needs; leave it out, on all hosts"))
            }
        }
    }
}

const LACKS: &str = "this kernel lets no program watch its own calls (Syscall User Dispatch, since \
                     Linux 5.11)";

fn is_possible() -> bool {
    // SAFETY: it turns off what is off in this process.
    unsafe { libc::prctl(USER_DISPATCH, OFF, OFF, OFF, OFF) == 0 }
}
