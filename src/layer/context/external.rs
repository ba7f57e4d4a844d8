//! The external id in headers: one of ours, and W3C baggage.
//!
//! Source: W3C Baggage, section 3.

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The header with the external id: percent-encoded UTF-8, so that every id fits.
pub const EXTERNAL_ID_HEADER: &str = "spanledger-trace-id";

/// The baggage member with the external id, which OpenTelemetry's SDKs of all languages hand on
/// through services that know nothing of it.
pub const EXTERNAL_ID_BAGGAGE: &str = "spanledger.trace_id";

/// Longest external id that is sent or taken, characters: a longer one joins no entries. One of
/// white space only and one with control characters are no ids either.
pub const MAX_EXTERNAL_ID_CHARS: usize = 255;

/// Longest baggage that the member is added to, and that is searched for it, bytes. W3C: what every
/// participant has to hand on.
pub const MAX_BAGGAGE_BYTES: usize = 8192;

/// Most members of baggage, ours included. W3C: what every participant has to hand on.
pub const MAX_BAGGAGE_MEMBERS: usize = 64;

const BAGGAGE: &str = "baggage";

/// What is encoded: all that may not stand in a value of baggage, and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'\\');

/// The id that the headers carry, if it is one.
pub(super) fn extract(headers: &HeaderMap) -> Option<String> {
    of_header(headers).or_else(|| of_baggage(headers))
}

/// Two of them are none: neither can be told to be the right one.
fn of_header(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(EXTERNAL_ID_HEADER).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    decode(value.to_str().ok()?)
}

fn of_baggage(headers: &HeaderMap) -> Option<String> {
    let mut left = MAX_BAGGAGE_BYTES;
    for header in headers.get_all(BAGGAGE) {
        left = left.checked_sub(header.len())?;
        let Ok(header) = std::str::from_utf8(header.as_bytes()) else { continue };
        if let Some(id) = header.split(',').find_map(|member| decode(our_value(member)?)) {
            return Some(id);
        }
    }
    None
}

/// The value of a baggage member if it is ours, without its properties.
fn our_value(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    (key.trim() == EXTERNAL_ID_BAGGAGE).then(|| value.split(';').next().unwrap_or(value))
}

/// A percent sign without two hex digits is one: people write headers by hand.
fn decode(value: &str) -> Option<String> {
    let id = percent_decode_str(value.trim()).decode_utf8().ok()?;
    is_id(&id).then(|| id.into_owned())
}

fn is_id(id: &str) -> bool {
    !id.trim().is_empty()
        && !id.chars().any(char::is_control)
        && id.chars().nth(MAX_EXTERNAL_ID_CHARS).is_none()
}

/// Puts an id into headers, if it is one.
pub(super) fn inject(id: &str, headers: &mut HeaderMap) {
    if !is_id(id) {
        return;
    }
    let encoded = utf8_percent_encode(id, ENCODED).to_string();
    let Ok(value) = HeaderValue::from_str(&encoded) else { return };
    headers.insert(EXTERNAL_ID_HEADER, value);
    if let Some(baggage) = baggage_with(&encoded, headers) {
        headers.insert(BAGGAGE, baggage);
    }
}

/// One header: many readers look at the first one only. Members of others stay byte by byte, in
/// their order; ours is left out when it does not fit beside them.
fn baggage_with(encoded: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let ours = format!("{EXTERNAL_ID_BAGGAGE}={encoded}");
    let is_ours =
        |member: &[u8]| std::str::from_utf8(member).is_ok_and(|it| our_value(it).is_some());
    let mut members: Vec<&[u8]> = headers
        .get_all(BAGGAGE)
        .iter()
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b','))
        .filter(|member| !member.trim_ascii().is_empty() && !is_ours(member))
        .collect();
    members.push(ours.as_bytes());
    let mut baggage = members.join(&b","[..]);
    if members.len() > MAX_BAGGAGE_MEMBERS || baggage.len() > MAX_BAGGAGE_BYTES {
        members.pop();
        baggage = members.join(&b","[..]);
    }
    HeaderValue::from_bytes(&baggage).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn sent(id: &str, baggage: &[&str]) -> HeaderMap {
        let there: Vec<_> = baggage.iter().map(|value| ("baggage", *value)).collect();
        let mut sent = headers(&there);
        inject(id, &mut sent);
        sent
    }

    #[test]
    fn a_plain_id_is_readable_in_both_headers() {
        let sent = sent("langsmith-run-abc123", &[]);
        assert_eq!(sent["spanledger-trace-id"], "langsmith-run-abc123");
        assert_eq!(sent["baggage"], "spanledger.trace_id=langsmith-run-abc123");
    }

    #[test]
    fn baggage_of_others_stays_as_it_is_and_ours_is_there_once() {
        let sent = sent("new", &["team=blue;ttl=1 , x=%20", "spanledger.trace_id = old;p", "y=1"]);
        let all: Vec<_> = sent.get_all("baggage").iter().collect();
        assert_eq!(all, ["team=blue;ttl=1 , x=%20,y=1,spanledger.trace_id=new"]);
    }

    #[test]
    fn baggage_that_is_full_stays_and_the_header_goes_alone() {
        let many =
            (0..MAX_BAGGAGE_MEMBERS).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let long = format!("k={}", "v".repeat(MAX_BAGGAGE_BYTES - 10));
        for full in [many, long] {
            let sent = sent("run", &[&full]);
            assert_eq!(sent["baggage"], full);
            assert_eq!(extract(&sent).as_deref(), Some("run"));
        }
    }

    #[test]
    fn the_header_is_asked_first_and_baggage_when_it_says_nothing_valid() {
        let long = "x".repeat(MAX_EXTERNAL_ID_CHARS + 1);
        for bad in ["", " ", "%00", "a%0Ab", "%ff", &long] {
            let both = [("spanledger-trace-id", bad), ("baggage", "spanledger.trace_id=b")];
            assert_eq!(extract(&headers(&both)).as_deref(), Some("b"), "{bad}");
        }
        let both = [("spanledger-trace-id", "a"), ("baggage", "spanledger.trace_id=b")];
        assert_eq!(extract(&headers(&both)).as_deref(), Some("a"));
        let two = [("spanledger-trace-id", "a"), ("spanledger-trace-id", "b")];
        assert_eq!(extract(&headers(&two)), None);
    }

    #[test]
    fn baggage_that_is_broken_or_too_long_says_nothing() {
        let far = format!("k={},spanledger.trace_id=b", "v".repeat(MAX_BAGGAGE_BYTES));
        let bad =
            ["spanledger.trace_id", "spanledger.trace_id=", "Spanledger.Trace_Id=b", "=,;,", &far];
        for bad in bad {
            assert_eq!(extract(&headers(&[("baggage", bad)])), None);
        }
    }

    #[test]
    fn a_lone_percent_sign_is_one() {
        let by_hand = headers(&[("spanledger-trace-id", "100% sure")]);
        assert_eq!(extract(&by_hand).as_deref(), Some("100% sure"));
    }

    #[test]
    fn what_is_no_id_is_not_sent() {
        for bad in ["", "a\nb", &"x".repeat(MAX_EXTERNAL_ID_CHARS + 1)] {
            assert!(sent(bad, &[]).is_empty());
        }
        assert!(!sent(&"ä".repeat(MAX_EXTERNAL_ID_CHARS), &[]).is_empty());
    }

    #[cfg(feature = "server")]
    #[test]
    fn the_limit_is_that_of_entries() {
        assert_eq!(MAX_EXTERNAL_ID_CHARS, crate::convert::ids::MAX_ID_CHARS);
    }

    proptest! {
        #[test]
        fn every_id_arrives_as_it_was_by_either_way(id in "\\PC{1,80}") {
            prop_assume!(is_id(&id));
            let mut sent = sent(&id, &["a=b"]);
            prop_assert_eq!(extract(&sent), Some(id.clone()));
            sent.remove(EXTERNAL_ID_HEADER);
            prop_assert_eq!(extract(&sent), Some(id.clone()));
        }

        #[test]
        fn no_header_makes_a_panic_or_an_id_that_is_none(
            header: Vec<u8>,
            baggage in proptest::collection::vec("[ -~]{0,20}(spanledger\\.trace_id=)?[ -~]{0,20}", 0..4),
            raw: Vec<u8>,
        ) {
            let mut all = HeaderMap::new();
            for (key, value) in [(EXTERNAL_ID_HEADER, &header), (BAGGAGE, &raw)] {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    all.insert(key, value);
                }
            }
            for value in &baggage {
                all.append(BAGGAGE, value.parse().unwrap());
            }
            prop_assert!(extract(&all).is_none_or(|id| is_id(&id)));
            inject("run", &mut all);
            prop_assert_eq!(extract(&all), Some("run".to_owned()));
        }
    }
}
