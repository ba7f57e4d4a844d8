//! The header with which a client gets a receipt for each record of its request.
//!
//! ```text
//!  request:  spanledger-receipt: 1
//!  answer:   spanledger-receipt: base64, without padding, of 40 bytes for each record
//!
//!  0                8              40
//!  ├ sequence (BE) ─┼─ leaf hash ──┤      of a refused record: 0xff × 8, 0x00 × 32
//! ```
//!
//! The same for HTTP and for gRPC, where it is metadata of the call and initial metadata of the
//! answer. `docs/receipts.md` tells users.

use super::limits::MAX_RECEIPTS;
use super::metrics::{LimitHit, Metrics};
use crate::intake::{Draft, Receipts};
use crate::ledger::Appended;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Name of the header of both directions.
const NAME: HeaderName = HeaderName::from_static("spanledger-receipt");

/// Bytes of a receipt.
const BYTES: usize = 40;

/// Sequence in the receipt of a record that was refused: no ledger is that long.
const REFUSED: u64 = u64::MAX;

/// Whether a request asks for receipts.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(NAME).is_some_and(|value| value == "1")
}

/// Has a draft keep what the answer needs.
pub(super) fn keep(draft: &mut Draft) {
    draft.keep_receipts(MAX_RECEIPTS);
}

/// Puts the receipts of a request into the headers of its answer: none when nobody asked, for more
/// than [`MAX_RECEIPTS`] records, and when there were no records.
pub(super) fn put(receipts: &Receipts, headers: &mut HeaderMap, metrics: &Metrics) {
    let each = match receipts {
        Receipts::Unasked => return,
        Receipts::TooMany => return metrics.hit(LimitHit::Receipts),
        Receipts::Each(each) => each,
    };
    let mut bytes = Vec::with_capacity(each.len().saturating_mul(BYTES));
    for receipt in each {
        let (sequence, leaf_hash) = match receipt {
            Some(Appended { sequence, leaf_hash, .. }) => (*sequence, *leaf_hash),
            None => (REFUSED, [0; 32]),
        };
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&leaf_hash);
    }
    match HeaderValue::try_from(STANDARD_NO_PAD.encode(bytes)) {
        Ok(value) if !value.is_empty() => {
            headers.insert(NAME, value);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(receipts: &Receipts) -> (HeaderMap, Metrics) {
        let (mut headers, metrics) = (HeaderMap::new(), Metrics::default());
        put(receipts, &mut headers, &metrics);
        (headers, metrics)
    }

    #[test]
    fn a_receipt_has_the_layout_that_is_drawn_above() {
        let entry = Appended { sequence: 0x0102, leaf_hash: [7; 32], duplicate: true };
        let (headers, _) = answered(&Receipts::Each(vec![Some(entry), None]));
        let bytes = STANDARD_NO_PAD.decode(&headers[NAME]).unwrap();
        let expected = [&[0, 0, 0, 0, 0, 0, 1, 2][..], &[7; 32], &[0xff; 8], &[0; 32]].concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_largest_header_leaves_room_in_the_eight_kib_that_many_clients_allow() {
        let (headers, metrics) = answered(&Receipts::Each(vec![None; MAX_RECEIPTS]));
        assert!(headers[NAME].len() < 4 * 1024);
        assert_eq!(metrics.hits(LimitHit::Receipts), 0);
    }

    #[test]
    fn there_is_no_header_for_no_records_for_too_many_and_for_who_does_not_ask() {
        for receipts in [Receipts::Unasked, Receipts::TooMany, Receipts::Each(Vec::new())] {
            let (headers, metrics) = answered(&receipts);
            assert!(headers.is_empty(), "{receipts:?}");
            let hits = u64::from(receipts == Receipts::TooMany);
            assert_eq!(metrics.hits(LimitHit::Receipts), hits);
        }
    }

    #[test]
    fn only_the_number_one_asks() {
        let mut headers = HeaderMap::new();
        assert!(!is_asked(&headers));
        for (value, asks) in [("1", true), ("0", false), ("", false), ("true", false)] {
            headers.insert(NAME, HeaderValue::from_static(value));
            assert_eq!(is_asked(&headers), asks, "{value:?}");
        }
    }
}
