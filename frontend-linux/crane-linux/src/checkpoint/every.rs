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
}

/// The ending of a number of entries.
const ENTRIES: &str = "-entries";
/// The shortest interval of each kind: a server is held for about a tenth of a second.
const TIME_MIN: Duration = Duration::from_secs(1);
const ENTRIES_MIN: u64 = 100;

impl FromStr for CheckpointEvery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write a time, such as 10m, or entries, such as 100k-entries".to_string();
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
        for text in ["10m", "100000-entries", "1h 5m"] {
            let every = read(text).unwrap();
            assert_eq!(read(&every.to_string()), Ok(every));
        }
        for bad in
            ["", "10", "5ms", "-entries", "k-entries", "9-entries", "1GiB-log", "1.5k-entries"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("99999999999999999999M-entries").is_err());
    }
}
