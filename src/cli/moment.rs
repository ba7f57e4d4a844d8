//! Times and lengths of time as people read them.

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_MINUTE: u64 = 60;
const SECONDS_PER_HOUR: u64 = 3_600;
const SECONDS_PER_DAY: u64 = 86_400;

/// Whole units in an amount, and what is left.
fn split(amount: u64, unit: u64) -> (u64, u64) {
    (amount.checked_div(unit).unwrap_or(0), amount.checked_rem(unit).unwrap_or(0))
}

/// The distance from the beginning of a story.
///
/// ```
/// use spanledger::cli::offset;
/// assert_eq!(offset(123_000_000), "+0.123s");
/// assert_eq!(offset(62_000_000_000), "+1:02.000");
/// assert_eq!(offset(3_725_000_000_000), "+1:02:05");
/// assert_eq!(offset(180_000_000_000_000), "+2d 2:00:00");
/// ```
pub fn offset(ns: u64) -> String {
    let (seconds, rest) = split(ns, NS_PER_SECOND);
    let (ms, _) = split(rest, NS_PER_MS);
    if seconds < SECONDS_PER_MINUTE {
        return format!("+{seconds}.{ms:03}s");
    }
    if seconds < SECONDS_PER_HOUR {
        let (minutes, seconds) = split(seconds, SECONDS_PER_MINUTE);
        return format!("+{minutes}:{seconds:02}.{ms:03}");
    }
    let (days, seconds) = split(seconds, SECONDS_PER_DAY);
    let (hours, seconds) = split(seconds, SECONDS_PER_HOUR);
    let (minutes, seconds) = split(seconds, SECONDS_PER_MINUTE);
    let clock = format!("{hours}:{minutes:02}:{seconds:02}");
    if days == 0 { format!("+{clock}") } else { format!("+{days}d {clock}") }
}

/// A length of time.
///
/// ```
/// use spanledger::cli::length;
/// assert_eq!(length(850_000), "0.85ms");
/// assert_eq!(length(120_000_000), "120ms");
/// assert_eq!(length(1_500_000_000), "1.5s");
/// assert_eq!(length(3_725_000_000_000), "1h 2m 5s");
/// ```
pub fn length(ns: u64) -> String {
    let (seconds, rest) = split(ns, NS_PER_SECOND);
    if seconds == 0 {
        let (ms, rest) = split(rest, NS_PER_MS);
        let (hundredths, _) = split(rest, NS_PER_MS / 100);
        return if ms < 10 { format!("{ms}.{hundredths:02}ms") } else { format!("{ms}ms") };
    }
    if seconds < SECONDS_PER_MINUTE {
        let (tenths, _) = split(rest, NS_PER_SECOND / 10);
        return format!("{seconds}.{tenths}s");
    }
    let (days, seconds) = split(seconds, SECONDS_PER_DAY);
    let (hours, seconds) = split(seconds, SECONDS_PER_HOUR);
    let (minutes, seconds) = split(seconds, SECONDS_PER_MINUTE);
    [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
        .iter()
        .filter(|(amount, _)| *amount > 0)
        .map(|(amount, unit)| format!("{amount}{unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A moment in UTC, with milliseconds.
///
/// ```
/// use spanledger::cli::moment;
/// assert_eq!(moment(1_795_241_529_767_677_952), "2026-11-21 06:12:09.767");
/// ```
pub fn moment(ns: u64) -> String {
    let text = crate::entry::format_ns(ns);
    let shown = text.get(..23).unwrap_or(&text);
    shown.replacen('T', " ", 1)
}

/// A moment in UTC, to the second.
pub(super) fn second(ns: u64) -> String {
    let text = moment(ns);
    text.get(..19).unwrap_or(&text).to_owned()
}
