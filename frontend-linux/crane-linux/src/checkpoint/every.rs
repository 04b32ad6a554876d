//! `--checkpoint-every`: how often a replica takes a checkpoint by itself.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The interval between two checkpoints of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum CheckpointEvery {
    /// A time of this host.
    Time(Duration),
    /// A number of entries of the log.
    Entries(u64),
    /// A number of bytes of the log.
    Log(u64),
}

/// The ending of a number of entries, and of bytes.
const ENTRIES: &str = "-entries";
const LOG: &str = "-log";
/// The units of bytes of the log, the larger ones first.
const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
/// The shortest interval of each kind: a server is held for about a tenth of a second.
const TIME_MIN: Duration = Duration::from_secs(1);
const ENTRIES_MIN: u64 = 100;
const LOG_MIN: u64 = 64 << 10;

impl FromStr for CheckpointEvery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            "write a time, such as 10m, entries, such as 100k-entries, or a size of the log, such \
             as 1GiB-log"
                .to_string()
        };
        if let Some(size) = text.strip_suffix(LOG) {
            let bytes = UNITS.iter().find_map(|(unit, shift)| {
                size.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(1 << shift)
            });
            return match bytes.ok_or_else(form)? {
                bytes if bytes >= LOG_MIN => Ok(Self::Log(bytes)),
                _ => Err(format!("the smallest size is {}KiB{LOG}", LOG_MIN >> 10)),
            };
        }
        let Some(count) = text.strip_suffix(ENTRIES) else {
            let time = humantime::parse_duration(text).map_err(|_| form())?;
            return match time >= TIME_MIN {
                true => Ok(Self::Time(time)),
                false => Err("the shortest time is 1s".to_string()),
            };
        };
        let (digits, unit) = match count.strip_suffix('k') {
            Some(digits) => (digits, 1000),
            None => match count.strip_suffix('M') {
                Some(digits) => (digits, 1_000_000),
                None => (count, 1),
            },
        };
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        match number.ok_or_else(form)? {
            number if number >= ENTRIES_MIN => Ok(Self::Entries(number)),
            _ => Err(format!("the smallest number is {ENTRIES_MIN}{ENTRIES}")),
        }
    }
}

impl fmt::Display for CheckpointEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{}", humantime::format_duration(*time)),
            Self::Entries(number) => write!(f, "{number}{ENTRIES}"),
            Self::Log(bytes) => write!(f, "{}KiB{LOG}", bytes >> 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_of_entries_are_read_and_others_refused() {
        let read = |text: &str| text.parse::<CheckpointEvery>();
        assert_eq!(read("10m"), Ok(CheckpointEvery::Time(Duration::from_secs(600))));
        assert_eq!(read("250-entries"), Ok(CheckpointEvery::Entries(250)));
        assert_eq!(read("100k-entries"), Ok(CheckpointEvery::Entries(100_000)));
        assert_eq!(read("3M-entries"), Ok(CheckpointEvery::Entries(3_000_000)));
        assert_eq!(read("1GiB-log"), Ok(CheckpointEvery::Log(1 << 30)));
        assert_eq!(read("256MiB-log"), Ok(CheckpointEvery::Log(256 << 20)));
        for text in ["10m", "100000-entries", "1h 5m", "3MiB-log"] {
            let every = read(text).unwrap();
            assert_eq!(read(&every.to_string()), Ok(every));
        }
        for bad in [
            "",
            "10",
            "5ms",
            "-entries",
            "k-entries",
            "9-entries",
            "1.5k-entries",
            "1GB-log",
            "-log",
            "1KiB-log",
            "99999999999999GiB-log",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("99999999999999999999M-entries").is_err());
    }
}
