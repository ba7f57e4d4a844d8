//! Card numbers in text, when they are written with separators.
//!
//! Half of all plain numbers of that length pass Luhn's check once lengths and issuers are allowed
//! for, so digits without separators are left alone: order numbers and timestamps are evidence.

use super::literals::{rest, run, run_back};
use std::ops::Range;

/// Groups of digits, as cards have them printed: most issuers, American Express, Diners Club.
const GROUPS: &[&[usize]] = &[&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

/// Length of the shortest of them, separators included. A card is nothing but digits and
/// separators, so one byte in that many tells where none is.
const SHORTEST: usize = 16;

/// The card numbers in the text.
pub(super) fn find(text: &[u8]) -> Vec<Range<usize>> {
    let is_part = |byte: u8| byte.is_ascii_digit() || is_separator(byte);
    let mut found = Vec::new();
    let mut at = SHORTEST.saturating_sub(1);
    while let Some(byte) = text.get(at) {
        if !is_part(*byte) {
            at = at.saturating_add(SHORTEST);
            continue;
        }
        let region = run_back(text, at, is_part)..run(text, at, is_part);
        find_in(text, &region, &mut found);
        at = region.end.saturating_add(SHORTEST);
    }
    found
}

fn find_in(text: &[u8], region: &Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut at = region.start;
    while at.saturating_add(SHORTEST) <= region.end {
        match card_at(text, at) {
            Some(end) => {
                found.push(at..end);
                at = end;
            }
            None => at = at.saturating_add(1),
        }
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-')
}

/// The end of the card number that begins at `start`.
fn card_at(text: &[u8], start: usize) -> Option<usize> {
    let before = start.checked_sub(1).and_then(|before| text.get(before));
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    {
        return None;
    }
    GROUPS.iter().find_map(|groups| {
        let end = groups_end(text, start, groups)?;
        let digits = text.get(start..end)?.iter().filter(|byte| byte.is_ascii_digit());
        // 3 American Express and Diners, 4 Visa, 5 and 2 Mastercard, 6 Discover and UnionPay.
        let issued = matches!(text.get(start)?, b'2'..=b'6');
        (issued && passes_luhn(digits.map(|digit| digit & 15))).then_some(end)
    })
}

fn groups_end(text: &[u8], start: usize, groups: &[usize]) -> Option<usize> {
    let separator = *text.get(start.saturating_add(4)).filter(|byte| is_separator(**byte))?;
    let mut at = start;
    for (number, length) in groups.iter().enumerate() {
        if number > 0 {
            at = (*text.get(at)? == separator).then(|| at.saturating_add(1))?;
        }
        let end = at.saturating_add(*length);
        if !text.get(at..end)?.iter().all(u8::is_ascii_digit) {
            return None;
        }
        at = end;
    }
    let goes_on = match rest(text, at) {
        [next, ..] if next.is_ascii_alphanumeric() => true,
        [b'-' | b'.', next, ..] => next.is_ascii_alphanumeric(),
        _ => false,
    };
    (!goes_on).then_some(at)
}

/// Luhn's check. Source: ISO/IEC 7812-1, annex B.
#[allow(clippy::arithmetic_side_effects, reason = "at most 19 digits")]
fn passes_luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let doubled = if place % 2 == 1 { digit * 2 } else { digit };
            u32::from(if doubled > 9 { doubled - 9 } else { doubled })
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        find(text.as_bytes()).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn a_card_with_separators_is_found() {
        for card in
            ["4111 1111 1111 1111", "5555-5555-5555-4444", "3782 822463 10005", "3056 930902 5904"]
        {
            let padding = "x".repeat(61);
            assert_eq!(found(&format!("{padding} card {card}, ok")), [card]);
            assert_eq!(found(card), [card]);
        }
    }

    #[test]
    fn what_only_looks_like_one_is_left() {
        for text in [
            "4111111111111111",
            "4111 1111 1111 1112",
            "2026-11-21 08:31:27",
            "550e8400-e29b-41d4-a716-446655440000",
            "14111 1111 1111 1111",
            "4111 1111 1111 1111 1",
            "4111 1111-1111 1111",
            "9111 1111 1111 1111",
            "+49 170 1234567",
        ] {
            let expected: &[&str] =
                if text.ends_with("1111 1") { &["4111 1111 1111 1111"] } else { &[] };
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
