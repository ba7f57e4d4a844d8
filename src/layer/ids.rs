//! Trace and span ids of spans that have none from elsewhere.

use crate::span::{SpanId, TraceId};
use std::cell::Cell;

thread_local! {
    /// Two generators that know nothing of each other: 128 bits of a trace id need as many of
    /// state.
    static STATE: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// Ids must be unique, not secret: seeded by the system for each thread, then counted and mixed.
fn next() -> (u64, u64) {
    let seeded = STATE.try_with(Cell::get).ok().flatten().or_else(seed).unwrap_or((1, 2));
    let (one, other) = seeded;
    let one = one.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let other = other.wrapping_add(0xD1B5_4A32_D192_ED03);
    let _ = STATE.try_with(|state| state.set(Some((one, other))));
    (mix(one), mix(other))
}

fn seed() -> Option<(u64, u64)> {
    Some((getrandom::u64().ok()?, getrandom::u64().ok()?))
}

/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (`SplitMix64`).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A trace id that nothing else has.
pub(super) fn trace_id() -> TraceId {
    let (one, other) = next();
    let id = (u128::from(one) << 64) | u128::from(other);
    id.max(1).to_be_bytes()
}

/// A span id that nothing else in its trace has.
pub(super) fn span_id() -> SpanId {
    next().0.max(1).to_be_bytes()
}

/// The trace and span of a W3C `traceparent`.
///
/// Source: W3C Trace Context, section 3.2.2.
pub(super) fn parse_traceparent(header: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = header.trim().split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known = version.len() == 2
        && version != "ff"
        && flags.len() == 2
        && (version != "00" || parts.next().is_none());
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !known || trace.len() != 32 || span.len() != 16 {
        return None;
    }
    if ![version, trace, span, flags].into_iter().all(is_hex) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
    Some((trace.to_be_bytes(), span.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_of_many_threads_are_all_different() {
        let made = || (0..10_000).map(|_| (trace_id(), span_id())).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(made)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert_eq!(all.iter().map(|ids| ids.0).collect::<HashSet<_>>().len(), 40_000);
        assert_eq!(all.iter().map(|ids| ids.1).collect::<HashSet<_>>().len(), 40_000);
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (trace, span) = parse_traceparent(good).unwrap();
        assert_eq!((trace[0], span[7]), (0x0a, 0x31));
        let later = format!("cc{}-what-comes", &good[2..]);
        assert!(parse_traceparent(&later).is_some(), "a later version may have more");
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{bad}");
        }
    }
}
