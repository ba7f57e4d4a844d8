//! Nanoseconds since 1970 as RFC 3339 text, and back.

/// The last nanosecond that a signed 64-bit count since 1970 can hold: 2262-04-11T23:47:16.854775807Z.
const LAST_NS: u64 = i64::MAX as u64;

/// Length of `2026-11-21T08:31:27.123456789Z`.
const LENGTH: usize = 30;

/// Whether a time can be the time of an event: after 1970 and until 2262, which is what
/// Elasticsearch's `date_nanos` holds.
pub fn is_plausible_ns(ns: u64) -> bool {
    ns > 0 && ns <= LAST_NS
}

/// RFC 3339 in UTC with nine digits of fraction, so that text sorts as time does.
///
/// ```
/// use spanledger::entry::format_ns;
/// assert_eq!(format_ns(1_795_241_529_767_677_952), "2026-11-21T06:12:09.767677952Z");
/// ```
// Written by hand because every entry has two or three of them; the test compares with jiff.
#[allow(
    clippy::arithmetic_side_effects,
    reason = "every operand is bounded by the u64 it comes from"
)]
pub fn format_ns(ns: u64) -> String {
    const NS_PER_SECOND: u64 = 1_000_000_000;
    const SECONDS_PER_DAY: u64 = 86_400;
    let (seconds, fraction) = (ns / NS_PER_SECOND, ns % NS_PER_SECOND);
    let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);

    // Days to year, month, day: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);

    // Constant divisors and one allocation: a division by a variable costs ten times as much.
    #[allow(clippy::cast_possible_truncation, reason = "a decimal digit")]
    let digit = |number: u64, place: u64| b'0' + (number / place % 10) as u8;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let text: [u8; LENGTH] = [
        digit(year, 1_000),
        digit(year, 100),
        digit(year, 10),
        digit(year, 1),
        b'-',
        digit(month, 10),
        digit(month, 1),
        b'-',
        digit(day, 10),
        digit(day, 1),
        b'T',
        digit(hour, 10),
        digit(hour, 1),
        b':',
        digit(minute, 10),
        digit(minute, 1),
        b':',
        digit(second, 10),
        digit(second, 1),
        b'.',
        digit(fraction, 100_000_000),
        digit(fraction, 10_000_000),
        digit(fraction, 1_000_000),
        digit(fraction, 100_000),
        digit(fraction, 10_000),
        digit(fraction, 1_000),
        digit(fraction, 100),
        digit(fraction, 10),
        digit(fraction, 1),
        b'Z',
    ];
    str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// The nanoseconds since 1970 of text that [`format_ns`] wrote; `None` for any other text.
///
/// ```
/// use spanledger::entry::parse_ns;
/// assert_eq!(parse_ns("2026-11-21T06:12:09.767677952Z"), Some(1_795_241_529_767_677_952));
/// assert_eq!(parse_ns("yesterday"), None);
/// ```
#[allow(clippy::arithmetic_side_effects, reason = "every operand is bounded by its digits")]
pub fn parse_ns(text: &str) -> Option<u64> {
    let bytes: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
    let number = |from: usize, to: usize| -> Option<u64> {
        bytes
            .get(from..to)?
            .iter()
            .try_fold(0_u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
    };
    for (at, mark) in
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')]
    {
        if bytes.get(at) != Some(&mark) {
            return None;
        }
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let seconds = days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(number(20, 29)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn formatted_time_parses_to_itself(ns in 0..=LAST_NS) {
            prop_assert_eq!(parse_ns(&format_ns(ns)), Some(ns));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse_ns(&text);
        }
    }

    #[cfg(feature = "server")]
    proptest! {
        #[test]
        fn it_is_the_time_that_jiff_knows(ns in 0..=LAST_NS) {
            let jiff = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
            prop_assert_eq!(format_ns(ns), format!("{jiff:.9}"));
        }
    }

    #[test]
    fn the_last_representable_moment_is_in_2262() {
        assert_eq!(format_ns(LAST_NS), "2262-04-11T23:47:16.854775807Z");
        assert!(!is_plausible_ns(0) && !is_plausible_ns(LAST_NS + 1) && is_plausible_ns(1));
        assert_eq!(format_ns(u64::MAX).len(), LENGTH, "an absurd time is still text");
    }
}
