//! Requests that were kept in a file, as they came over the wire: compressed or not, with gRPC's
//! frames or without.

use super::budget::Budget;
use super::inflate::{Encoding, Inflate, InflateError};
use super::limits::Limits;
use super::otlp::{self, Format, Signal};
use crate::span::{Record, Refusal, Resource, Scope, Sink};
use bytes::Bytes;

/// First bytes of gzip. Source: RFC 1952, section 2.3.1.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// First bytes of a zstd frame. Source: RFC 8878, section 3.1.1.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Bytes in front of a gRPC message: a flag and the length.
const PREFIX_BYTES: usize = 5;

/// One message of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it carries.
    pub signal: Signal,
    /// How it is encoded.
    pub format: Format,
    /// The message, decompressed.
    pub message: Bytes,
}

/// Why the bytes are no request.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// There are none.
    #[error("the request is empty: give an OTLP request on standard input or as a file")]
    Empty,
    /// They are compressed and cannot be decompressed.
    #[error("the request cannot be decompressed")]
    Compressed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// They are neither protobuf nor JSON of a request.
    #[error(
        "this is no OTLP request: {why}. Give the body of a POST to /v1/traces or /v1/logs, \
         protobuf or JSON, as it was sent"
    )]
    Other {
        /// What is wrong with it.
        why: String,
    },
}

/// The messages of a request: how they are compressed, framed and encoded, and whether they are
/// traces or logs, is seen from the bytes, unless `signal` says what they are.
///
/// # Errors
/// [`NotKept`].
///
/// ```
/// use spanledger::receiver::{Limits, kept, otlp::Signal};
/// let found = kept(b" {\"resourceLogs\":[]}".to_vec(), Some(Signal::Logs), &Limits::default())?;
/// assert_eq!(found[0].signal, Signal::Logs);
/// # Ok::<(), spanledger::receiver::NotKept>(())
/// ```
pub fn kept(bytes: Vec<u8>, signal: Option<Signal>, limits: &Limits) -> Result<Vec<Kept>, NotKept> {
    if bytes.is_empty() {
        return Err(NotKept::Empty);
    }
    let body = plain(bytes.into(), limits)?;
    let messages = match frames(&body) {
        Some(messages) => {
            messages.into_iter().map(|it| plain(it, limits)).collect::<Result<Vec<_>, _>>()?
        }
        None => vec![body],
    };
    messages.into_iter().map(|message| recognise(message, signal)).collect()
}

/// The bytes, decompressed if they are compressed.
fn plain(bytes: Bytes, limits: &Limits) -> Result<Bytes, NotKept> {
    let encoding = match &bytes {
        it if it.starts_with(GZIP) => Encoding::Gzip,
        it if it.starts_with(ZSTD) => Encoding::Zstd,
        _ => return Ok(bytes),
    };
    let budget = Budget::new(limits.memory_bytes, limits.memory_bytes);
    let broken = |error: InflateError| NotKept::Compressed(error.into());
    let mut inflate = Inflate::new(bytes, encoding, limits, &budget).map_err(broken)?;
    while !inflate.run(usize::MAX).map_err(broken)? {}
    Ok(Bytes::copy_from_slice(inflate.finish().as_slice()))
}

/// The messages of gRPC frames that fill the bytes to the last; no protobuf and no JSON of a
/// request begins with the flag of one.
fn frames(bytes: &Bytes) -> Option<Vec<Bytes>> {
    let (mut rest, mut messages) = (bytes.clone(), Vec::new());
    while !rest.is_empty() {
        let [flag, length @ ..] = *rest.first_chunk::<PREFIX_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
        let end = PREFIX_BYTES.checked_add(length)?;
        if flag > 1 || end > rest.len() {
            return None;
        }
        messages.push(rest.slice(PREFIX_BYTES..end));
        rest = rest.slice(end..);
    }
    Some(messages)
}

/// Tells traces from logs by what can be read: both messages look alike on the outside.
fn recognise(message: Bytes, wanted: Option<Signal>) -> Result<Kept, NotKept> {
    let first = message.iter().find(|byte| !byte.is_ascii_whitespace());
    let format = if first == Some(&b'{') { Format::Json } else { Format::Protobuf };
    let mut best: Option<(Count, Signal)> = None;
    let mut why = None;
    for signal in wanted.map_or(vec![Signal::Traces, Signal::Logs], |signal| vec![signal]) {
        let mut count = Count::default();
        match otlp::decode(signal, format, &message, &mut count) {
            // A request of logs, read as traces, has records that are refused.
            Ok(()) if best.as_ref().is_none_or(|(best, _)| count.better_than(best)) => {
                best = Some((count, signal));
            }
            Ok(()) => {}
            Err(error) => why = Some(error.to_string()),
        }
    }
    match best {
        Some((count, signal)) if wanted.is_some() || count.records > 0 || count.refused > 0 => {
            Ok(Kept { signal, format, message })
        }
        Some(_) => Err(NotKept::Other { why: "it has no spans and no log records".into() }),
        None => Err(NotKept::Other { why: why.unwrap_or_default() }),
    }
}

/// Counts records.
#[derive(Debug, Default)]
struct Count {
    records: u64,
    refused: u64,
}

impl Count {
    fn better_than(&self, other: &Self) -> bool {
        (self.refused == 0, self.records) > (other.refused == 0, other.records)
    }
}

impl Sink for Count {
    fn resource(&mut self, _: &Resource<'_>) {}

    fn scope(&mut self, _: &Scope<'_>) {}

    fn record(&mut self, _: Record<'_, '_>) {
        self.records = self.records.saturating_add(1);
    }

    fn refuse(&mut self, _: Refusal) {
        self.refused = self.refused.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"x"}]}]}]}"#;
    const LOG: &str =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;

    fn found(bytes: impl Into<Vec<u8>>) -> Vec<(Signal, Format)> {
        let found = kept(bytes.into(), None, &Limits::default()).unwrap();
        found.iter().map(|it| (it.signal, it.format)).collect()
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag][..], &length, message].concat()
    }

    #[test]
    fn a_request_is_read_however_it_was_sent() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(SPAN.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(SPAN.as_bytes(), 1).unwrap();
        let traces = [(Signal::Traces, Format::Json)];
        assert_eq!(found(SPAN), traces);
        assert_eq!(found(gzip.clone()), traces);
        assert_eq!(found(zstd), traces);
        assert_eq!(found(framed(1, &gzip)), traces);
        assert_eq!(found([framed(0, SPAN.as_bytes()), framed(1, &gzip)].concat()).len(), 2);
        assert_eq!(found(LOG), [(Signal::Logs, Format::Json)]);
    }

    #[test]
    fn traces_are_told_from_logs_in_protobuf() {
        let span = [&[0x0a, 16][..], &[1; 16], &[0x12, 8], &[1; 8]].concat();
        let log = [&[0x09][..], &7_u64.to_le_bytes(), &[0x1a, 1, b'I']].concat();
        let wrap = |record: &[u8]| {
            let field = |number: u8, of: &[u8]| {
                [&[number << 3 | 2, u8::try_from(of.len()).unwrap()][..], of].concat()
            };
            field(1, &field(2, &field(2, record)))
        };
        assert_eq!(found(wrap(&span)), [(Signal::Traces, Format::Protobuf)]);
        assert_eq!(found(wrap(&log)), [(Signal::Logs, Format::Protobuf)]);
    }

    #[test]
    fn what_is_no_request_is_told_with_what_to_give() {
        for bytes in [&b"hello"[..], b"{}", b"[1]", &[0x1f, 0x8b, 9], b"", b"{\"resourceSpans\":7}"]
        {
            let error = kept(bytes.to_vec(), None, &Limits::default()).unwrap_err();
            assert!(!error.to_string().is_empty(), "{bytes:?}");
        }
    }
}
