//! Sizes and durations as people write them: `64MiB`, `30s`, `1h 30m`.

use serde::{Deserialize, Deserializer, de};
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written `65536`, `64KiB`, `1.5GB`.
///
/// ```
/// use spanledger::config::Size;
/// assert_eq!("64MiB".parse::<Size>()?.bytes(), 64 * 1024 * 1024);
/// assert!("a lot".parse::<Size>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// So many mebibytes.
    pub const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes.saturating_mul(1024 * 1024))
    }

    /// So many bytes.
    pub const fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim()
            .parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|_| format!("{text:?} is not a size; write it like 65536, 64KiB or 1.5GB"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A length of time, written `250ms`, `30s`, `1h 30m`.
///
/// ```
/// use spanledger::config::Period;
/// assert_eq!("1m 30s".parse::<Period>()?.duration().as_secs(), 90);
/// assert!("30".parse::<Period>().is_err(), "a number without a unit says too little");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// That long.
    pub const fn of(duration: Duration) -> Self {
        Self(duration)
    }

    /// The duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim()
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|signed| Duration::try_from(signed).ok())
            .map(Self)
            .ok_or_else(|| {
                format!("{text:?} is not a duration; write it like 250ms, 30s or 1h 30m")
            })
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_size_nor_duration_says_how_to_write_one() {
        assert!("-5s".parse::<Period>().unwrap_err().contains("30s"));
        assert!("".parse::<Period>().is_err());
        assert!("64 elephants".parse::<Size>().unwrap_err().contains("64KiB"));
        assert_eq!("1000".parse::<Size>().unwrap().bytes(), 1000);
    }
}
