//! Times as people write them: RFC 3339, a date, a year, milliseconds, or `now` with arithmetic.
//!
//! ```text
//! 2026-11-21T08:00:00Z   2026-11-21   2026-11   1795241529767   now   now-15m   now-1d/d
//! ```

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{RoundMode, Span, Timestamp, Unit, Zoned, ZonedRound};

/// A stretch of time that a text stands for: a date is a whole day, a moment is one nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Its first nanosecond since 1970.
    pub(crate) first: u64,
    /// Its last.
    pub(crate) last: u64,
}

/// What a text stands for, when it is a time.
pub(super) fn read(text: &str, now_ns: u64) -> Option<Stretch> {
    let text = text.trim();
    if let Some(arithmetic) = text.strip_prefix("now") {
        return read_now(arithmetic, now_ns);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return moment_of(moment);
    }
    if let Some(milliseconds) = read_milliseconds(text) {
        let last = milliseconds.checked_add(999_999)?;
        return Some(Stretch { first: milliseconds, last });
    }
    read_civil(text)
}

/// Milliseconds since 1970, as Kibana's links have them: 12 to 14 digits.
fn read_milliseconds(text: &str) -> Option<u64> {
    let digits = (12..=14).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse::<u64>().ok()?.checked_mul(1_000_000)).flatten()
}

/// A date, month or year, or a date with a time and no zone: all in UTC.
fn read_civil(text: &str) -> Option<Stretch> {
    let (start, unit) = match text.len() {
        4 => (Date::new(text.parse().ok()?, 1, 1).ok()?, Span::new().years(1)),
        7 => (format!("{text}-01").parse::<Date>().ok()?, Span::new().months(1)),
        10 => (text.parse::<Date>().ok()?, Span::new().days(1)),
        _ => {
            let time = text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?;
            return moment_of(time.timestamp());
        }
    };
    let start = start.to_zoned(TimeZone::UTC).ok()?;
    let end = start.checked_add(unit).ok()?;
    Some(Stretch { first: to_ns(&start)?, last: to_ns(&end)?.checked_sub(1)? })
}

/// `-15m`, `+1h`, `/d` after `now`, one after the other, as Elasticsearch's date math has them.
fn read_now(arithmetic: &str, now_ns: u64) -> Option<Stretch> {
    let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?;
    let mut time = now.to_zoned(TimeZone::UTC);
    let mut rest = arithmetic;
    let mut rounded = None;
    while let Some(sign) = rest.chars().next() {
        rest = rest.get(1..)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.chars().next()?;
        rest = after.get(unit.len_utf8()..)?;
        match sign {
            '+' | '-' => {
                let count: i64 = number.parse().ok()?;
                let span = span_of(unit, count)?;
                time = if sign == '+' { time.checked_add(span) } else { time.checked_sub(span) }
                    .ok()?;
            }
            '/' if number.is_empty() => {
                time = floor(&time, unit)?;
                rounded = Some(span_of(unit, 1)?);
            }
            _ => return None,
        }
    }
    let first = to_ns(&time)?;
    let last = match rounded {
        Some(span) => to_ns(&time.checked_add(span).ok()?)?.checked_sub(1)?,
        None => first,
    };
    Some(Stretch { first, last })
}

fn span_of(unit: char, count: i64) -> Option<Span> {
    let span = Span::new();
    match unit {
        's' => span.try_seconds(count),
        'm' => span.try_minutes(count),
        'h' | 'H' => span.try_hours(count),
        'd' => span.try_days(count),
        'w' => span.try_weeks(count),
        'M' => span.try_months(count),
        'y' => span.try_years(count),
        _ => return None,
    }
    .ok()
}

fn floor(time: &Zoned, unit: char) -> Option<Zoned> {
    let unit = match unit {
        's' => Unit::Second,
        'm' => Unit::Minute,
        'h' | 'H' => Unit::Hour,
        'd' => Unit::Day,
        'M' => return time.first_of_month().ok()?.start_of_day().ok(),
        'y' => return time.first_of_year().ok()?.start_of_day().ok(),
        _ => return None,
    };
    time.round(ZonedRound::new().smallest(unit).mode(RoundMode::Floor)).ok()
}

fn moment_of(moment: Timestamp) -> Option<Stretch> {
    let ns = u64::try_from(moment.as_nanosecond()).ok()?;
    Some(Stretch { first: ns, last: ns })
}

fn to_ns(time: &Zoned) -> Option<u64> {
    u64::try_from(time.timestamp().as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::parse_ns;
    use proptest::prelude::*;

    const NOW: &str = "2026-11-21T08:31:27.123456789Z";

    fn of(text: &str) -> (u64, u64) {
        let stretch = read(text, parse_ns(NOW).unwrap()).unwrap_or_else(|| panic!("{text}"));
        (stretch.first, stretch.last)
    }

    fn ns(text: &str) -> u64 {
        parse_ns(text).unwrap()
    }

    #[test]
    fn a_date_is_its_whole_day_and_a_moment_is_itself() {
        let (first, last) = of("2026-11-21");
        assert_eq!(first, ns("2026-11-21T00:00:00.000000000Z"));
        assert_eq!(last, ns("2026-11-21T23:59:59.999999999Z"));
        assert_eq!(of("2026-11").1, ns("2026-11-30T23:59:59.999999999Z"));
        assert_eq!(of("2026").0, ns("2026-01-01T00:00:00.000000000Z"));
        let noon = ns("2026-11-21T12:00:00.000000000Z");
        for text in ["2026-11-21T12:00:00Z", "2026-11-21T13:00:00+01:00", "2026-11-21T12:00:00"] {
            assert_eq!(of(text), (noon, noon), "{text}");
        }
        assert_eq!(of("1795262400000").0, noon);
    }

    #[test]
    fn now_can_be_moved_and_rounded() {
        assert_eq!(of("now"), (ns(NOW), ns(NOW)));
        assert_eq!(of("now-15m").0, ns("2026-11-21T08:16:27.123456789Z"));
        assert_eq!(of("now-1d+1h").0, ns("2026-11-20T09:31:27.123456789Z"));
        assert_eq!(of("now-1M").0, ns("2026-10-21T08:31:27.123456789Z"));
        assert_eq!(
            of("now-1d/d"),
            (ns("2026-11-20T00:00:00.000000000Z"), ns("2026-11-20T23:59:59.999999999Z"))
        );
        assert_eq!(of("now/M").0, ns("2026-11-01T00:00:00.000000000Z"));
    }

    #[test]
    fn other_text_is_no_time() {
        for text in ["", "yesterday", "now-", "now-5", "now-5x", "now/5d", "nowish", "12", "-1"] {
            assert_eq!(read(text, ns(NOW)), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, now: u64, arithmetic in "now[-+/0-9smhdwMyé]{0,12}") {
            let _ = read(&text, now);
            let _ = read(&arithmetic, now);
        }
    }
}
