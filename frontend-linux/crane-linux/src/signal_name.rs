//! Signals by their names (signal(7)).

use std::fmt;
use std::str::FromStr;

/// A signal that an operator may send to the server's program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SignalName(u8);

/// Those that a program may have a use for, with the numbers that Linux gives them on x86-64.
const NAMES: [(&str, u8); 17] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
];
/// The first and the last signal that has no meaning of the kernel's or of libc's (`SIGRTMIN`,
/// `SIGRTMAX`).
const FREE: std::ops::RangeInclusive<u8> = 34..=64;

impl SignalName {
    /// Returns the signal of this number, which need not be one that may be sent.
    pub(crate) const fn of(number: u8) -> Self {
        Self(number)
    }

    /// Returns the signal of this number, if it may be sent.
    pub(crate) fn that_may_be_sent(number: u8) -> Option<Self> {
        let is_named = NAMES.iter().any(|(_, known)| *known == number);
        (is_named || FREE.contains(&number)).then_some(Self(number))
    }

    /// Returns its number.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for SignalName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let by_name = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
        let free = || {
            let offset = name.strip_prefix("RTMIN")?;
            let offset =
                if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
            FREE.start().checked_add(offset)
        };
        let number = by_name.or_else(free).or_else(|| name.parse().ok());
        number.and_then(Self::that_may_be_sent).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("no signal that can be sent; those are {}, RTMIN to RTMIN+30", names.join(", "))
        })
    }
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if FREE.contains(&self.0) => write!(f, "SIGRTMIN+{}", self.0 - FREE.start()),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_by_name_and_number_and_shown_by_name() {
        for (text, number, shown) in [
            ("HUP", 1, "SIGHUP"),
            ("sigusr1", 10, "SIGUSR1"),
            ("15", 15, "SIGTERM"),
            ("RTMIN", 34, "SIGRTMIN+0"),
            ("SIGRTMIN+30", 64, "SIGRTMIN+30"),
        ] {
            let signal: SignalName = text.parse().unwrap();
            assert_eq!((signal.number(), &*signal.to_string()), (number, shown), "{text}");
        }
    }

    #[test]
    fn what_the_kernel_and_libc_keep_for_themselves_cannot_be_sent() {
        for text in ["KILL", "9", "STOP", "SEGV", "11", "33", "0", "65", "RTMIN+31", "RTMIN+x", ""]
        {
            assert!(text.parse::<SignalName>().is_err(), "{text}");
        }
    }
}
