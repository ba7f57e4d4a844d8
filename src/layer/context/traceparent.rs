//! Trace and span of a caller, as W3C writes them.

use crate::layer::ids;
use crate::span::{SpanId, TraceId};
use http::{HeaderMap, HeaderValue};
use std::fmt;
use std::str::FromStr;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Trace and span that a request is made in. Shown and parsed as W3C's `traceparent`.
///
/// ```
/// use spanledger::layer::context::Traceparent;
/// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let parsed: Traceparent = header.parse()?;
/// assert!(parsed.is_sampled);
/// assert_eq!(parsed.to_string(), header);
/// # Ok::<(), spanledger::layer::context::InvalidTraceparent>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    /// The trace. All zeros is not valid.
    pub trace_id: TraceId,
    /// The span of the caller. All zeros is not valid.
    pub parent_id: SpanId,
    /// Whether the caller records the trace. Entries are made either way; a tracing system behind
    /// it may go by it.
    pub is_sampled: bool,
}

/// A `traceparent` that does not follow W3C Trace Context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no traceparent: it has the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case, and ids that are not zero"
)]
pub struct InvalidTraceparent;

impl FromStr for Traceparent {
    type Err = InvalidTraceparent;

    fn from_str(header: &str) -> Result<Self, InvalidTraceparent> {
        let (trace_id, parent_id) = ids::parse_traceparent(header).ok_or(InvalidTraceparent)?;
        let flags = header.trim().split('-').nth(3).ok_or(InvalidTraceparent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| InvalidTraceparent)?;
        Ok(Self { trace_id, parent_id, is_sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace_id = u128::from_be_bytes(self.trace_id);
        let parent_id = u64::from_be_bytes(self.parent_id);
        write!(f, "00-{trace_id:032x}-{parent_id:016x}-{:02x}", u8::from(self.is_sampled))
    }
}

/// Two of them are none: neither can be told to be the right one.
pub(super) fn extract(headers: &HeaderMap) -> Option<Traceparent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()?.parse().ok()
}

impl Traceparent {
    pub(super) fn inject(self, headers: &mut HeaderMap) {
        // Whoever put a valid one there may know a span nearer to the request.
        if extract(headers).is_some() || self.trace_id == [0; 16] || self.parent_id == [0; 8] {
            return;
        }
        let Ok(value) = HeaderValue::try_from(self.to_string()) else { return };
        headers.insert(TRACEPARENT, value);
        // It would be the state of another trace.
        headers.remove(TRACESTATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-0bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_later_version_is_sent_on_as_the_one_that_we_know() {
        let later = format!("01{}3-more", &GOOD[2..GOOD.len() - 1]);
        assert_eq!(later.parse::<Traceparent>().unwrap().to_string(), GOOD);
    }

    #[test]
    fn one_that_is_there_stays_and_one_that_is_not_valid_goes_with_its_state() {
        let ours: Traceparent = GOOD.parse().unwrap();
        let mut valid = headers(&[("traceparent", OTHER), ("tracestate", "a=b")]);
        ours.inject(&mut valid);
        assert_eq!(valid, headers(&[("traceparent", OTHER), ("tracestate", "a=b")]));
        let mut bad = headers(&[("traceparent", "00-xyz"), ("tracestate", "a=b")]);
        ours.inject(&mut bad);
        assert_eq!(bad, headers(&[("traceparent", GOOD)]));
    }

    #[test]
    fn two_are_none() {
        let mut two = headers(&[("traceparent", GOOD), ("traceparent", GOOD)]);
        assert_eq!(extract(&two), None);
        let ours: Traceparent = OTHER.parse().unwrap();
        ours.inject(&mut two);
        assert_eq!(extract(&two), Some(ours));
    }

    #[test]
    fn ids_of_zeros_are_not_sent() {
        let mut sent = HeaderMap::new();
        Traceparent { trace_id: [0; 16], parent_id: [1; 8], is_sampled: true }.inject(&mut sent);
        Traceparent { trace_id: [1; 16], parent_id: [0; 8], is_sampled: true }.inject(&mut sent);
        assert!(sent.is_empty());
    }
}
