//! The forms of a trace id: every spelling under which a person might search for it.
//!
//! ```text
//! 4bf92f3577b34da6a3ce929d0e0e4736          OpenTelemetry, W3C; 128-bit Datadog
//! 4bf92f35-77b3-4da6-a3ce-929d0e0e4736      the same as a UUID: LangSmith run, LangChain run_id
//! a3ce929d0e0e4736                          low 64 bits: Datadog's older ids, hexadecimal
//! 11803532876627986230                      low 64 bits, decimal
//! trace_4bf92f3577b34da6a3ce929d0e0e4736    OpenAI Agents SDK
//! langsmith-run-abc123                      anything else, verbatim
//! ```
//!
//! These are forms to *find* an entry by. Which of them join entries is for `correlate` to say.

use crate::span::{SpanId, TraceId};

/// Longest id that is an id, in characters. What is longer is kept as an attribute and joins
/// nothing. Source: AxonFlow, "Tracing & Audit Logging".
pub const MAX_ID_CHARS: usize = 255;

/// Low 64 bits up to this value are no form of their own: small numbers are counters, and every
/// counter would find every other.
const SMALLEST_LOW_64: u64 = 1 << 32;

/// Prefix of the `OpenAI` Agents SDK in front of 32 hexadecimal digits.
const OPENAI_PREFIX: &str = "trace_";

/// Lower-case hexadecimal digits of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    #[allow(clippy::arithmetic_side_effects, reason = "a nibble is below 16")]
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
    let mut text = vec![0; bytes.len().saturating_mul(2)];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
        }
    }
    String::from_utf8(text).unwrap_or_default()
}

/// A trace id as 32 hexadecimal digits; `None` for "no trace", which OTLP sends as zeros.
pub fn trace_id_text(id: &TraceId) -> Option<String> {
    (*id != [0; 16]).then(|| hex(id))
}

/// A span id as 16 hexadecimal digits; `None` for "no span".
pub fn span_id_text(id: &SpanId) -> Option<String> {
    (*id != [0; 8]).then(|| hex(id))
}

/// The other forms of an OpenTelemetry trace id, given with its 32 digits: the UUID, and the low
/// 64 bits in hexadecimal and decimal when they are large enough to be an id.
///
/// ```
/// use spanledger::convert::ids::{other_forms, parse_hex};
/// let id = parse_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
/// assert_eq!(other_forms(&id, "4bf92f3577b34da6a3ce929d0e0e4736").collect::<Vec<_>>(), [
///     "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
///     "a3ce929d0e0e4736",
///     "11803532876627986230",
/// ]);
/// ```
pub fn other_forms(id: &TraceId, digits: &str) -> impl Iterator<Item = String> + use<> {
    let low = id.last_chunk::<8>().map_or(0, |low| u64::from_be_bytes(*low));
    let low = (low > SMALLEST_LOW_64).then_some(low);
    [
        dashed(digits),
        low.and_then(|_| digits.get(16..).map(str::to_owned)),
        low.map(|low| low.to_string()),
    ]
    .into_iter()
    .flatten()
}

/// The further forms of an id that somebody wrote: without the prefix of the `OpenAI` Agents SDK,
/// in lower case, without or with dashes, and for 32 digits also the low half. Empty for an id that
/// is not a spelling of a trace id.
///
/// ```
/// use spanledger::convert::ids::further_forms;
/// assert!(further_forms("langsmith-run-abc123").is_empty());
/// let forms = further_forms("trace_4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(forms[0], "4bf92f3577b34da6a3ce929d0e0e4736");
/// ```
pub fn further_forms(id: &str) -> Vec<String> {
    let mut forms = Vec::new();
    let bare = id.strip_prefix(OPENAI_PREFIX).unwrap_or(id);
    let digits = undashed(bare).unwrap_or_else(|| bare.to_ascii_lowercase());
    if let Some(bytes) = parse_hex(&digits) {
        // A UUID or an SDK's own spelling is no Datadog id: its low half is no form of its own.
        let all = if bare.len() == 32 && bare == id { 3 } else { 1 };
        forms.extend(other_forms(&bytes, &digits).take(all));
        forms.insert(0, digits);
    } else if let Some(low) = parse_low_64(bare) {
        forms.push(format!("{low:016x}"));
        forms.push(low.to_string());
    }
    forms.retain(|form| form != id);
    forms
}

/// The bytes of 32 hexadecimal digits, in any case; `None` for other text and for all zeros.
pub fn parse_hex(digits: &str) -> Option<TraceId> {
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let id = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    (id != [0; 16]).then_some(id)
}

/// The low 64 bits that Datadog writes: 16 hexadecimal digits, or a decimal number.
fn parse_low_64(text: &str) -> Option<u64> {
    let hexadecimal = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let decimal = text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    let low = if hexadecimal {
        u64::from_str_radix(text, 16).ok()?
    } else if decimal {
        text.parse().ok()?
    } else {
        return None;
    };
    (low > SMALLEST_LOW_64).then_some(low)
}

/// 32 digits with the dashes of a UUID.
fn dashed(digits: &str) -> Option<String> {
    let part = |from: usize, to: usize| digits.get(from..to);
    let mut text = String::with_capacity(36);
    text.push_str(part(0, 8)?);
    for part in [part(8, 12)?, part(12, 16)?, part(16, 20)?, part(20, 32)?] {
        text.push('-');
        text.push_str(part);
    }
    Some(text)
}

/// A UUID without its dashes, in lower case; `None` for text that is no UUID.
fn undashed(uuid: &str) -> Option<String> {
    let dash = |at: usize| uuid.as_bytes().get(at) == Some(&b'-');
    if uuid.len() != 36 || !(dash(8) && dash(13) && dash(18) && dash(23)) {
        return None;
    }
    let digits: String =
        uuid.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    parse_hex(&digits).map(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_langsmith_run_uuid_is_found_by_the_otel_trace_id_and_the_other_way_round() {
        let forms = further_forms("4BF92F35-77B3-4DA6-A3CE-929D0E0E4736");
        assert!(forms.contains(&"4bf92f3577b34da6a3ce929d0e0e4736".to_owned()));
        assert!(forms.contains(&"4bf92f35-77b3-4da6-a3ce-929d0e0e4736".to_owned()));
    }

    #[test]
    fn datadogs_low_half_is_found_in_both_number_systems() {
        assert_eq!(further_forms("11803532876627986230"), ["a3ce929d0e0e4736"]);
        assert_eq!(further_forms("a3ce929d0e0e4736"), ["11803532876627986230"]);
    }

    #[test]
    fn a_small_number_is_no_form_of_a_trace_id() {
        assert!(further_forms("42").is_empty());
        let id = 42_u128.to_be_bytes();
        assert_eq!(other_forms(&id, &hex(&id)).count(), 1, "only the UUID");
    }

    #[test]
    fn zeros_are_no_trace() {
        assert_eq!(trace_id_text(&[0; 16]), None);
        assert!(further_forms("00000000-0000-0000-0000-000000000000").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_no_form_repeats_the_id(text: String) {
            prop_assert!(!further_forms(&text).contains(&text));
        }

        #[test]
        fn every_form_of_an_id_leads_back_to_its_digits(id: [u8; 16]) {
            let digits = hex(&id);
            prop_assume!(id != [0; 16]);
            for form in other_forms(&id, &digits).filter(|form| form.len() == 36) {
                prop_assert!(further_forms(&form).contains(&digits));
            }
        }
    }
}
