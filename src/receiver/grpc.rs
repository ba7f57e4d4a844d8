//! OTLP over gRPC: `TraceService/Export` and `LogsService/Export`, on hyper and no gRPC library.
//!
//! ```text
//!  0            1              5
//!  ├ compressed ┼─ length (BE) ┼── message (length bytes) ──┤     the only one in the body
//! ```
//!
//! A unary call is one such frame each way and three headers, and tonic's server cannot be taught
//! what a receiver of evidence must do: it buffers a whole message before anybody could charge a
//! memory budget; it answers `OUT_OF_RANGE` to a message that is too large, which OTLP clients
//! send again and again; it answers `INTERNAL` to broken protobuf; and prost refuses a request
//! for one invalid UTF-8 string. Clients in tests are tonic's.
//!
//! | answer | when | may be sent again |
//! |---|---|---|
//! | `OK` | everything is durable, or all but records that never will be | no |
//! | `INVALID_ARGUMENT` | broken framing, protobuf or compression | no |
//! | `RESOURCE_EXHAUSTED`, no `RetryInfo` | larger than a limit | no |
//! | `UNIMPLEMENTED` | another method; an encoding that nobody here reads; several messages | no |
//! | `INTERNAL` | something here broke over this request | no |
//! | `UNAVAILABLE` and `RetryInfo` | no memory, no disk, a body that did not arrive in time | yes |
//!
//! Source: gRPC over HTTP/2 (`grpc/doc/PROTOCOL-HTTP2.md`), OTLP specification 1.11.

use super::content::Content;
use super::http::protobuf_success;
use super::inflate::{ACCEPTED, Encoding};
use super::metrics::add;
use super::otlp::{Format, Signal};
use super::receipt;
use super::refused::{Kind, Refused};
use super::request::{accept, admit, reject, reject_read, reject_unread};
use super::{Shared, body};
use crate::intake::Accepted;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes in front of a message.
const PREFIX_BYTES: usize = 5;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Answers one call. Never fails: what goes wrong is an answer too.
pub(super) async fn answer<B>(shared: &Arc<Shared>, request: Request<B>) -> Response<Reply>
where
    B: Body<Data: Buf>,
{
    add(&shared.metrics.requests, 1);
    // A page in a browser can reach a loopback port by HTTP/1.1, never by HTTP/2 without TLS: so
    // who speaks HTTP/1.1 here is no gRPC client, whatever it calls its content.
    if request.version() != Version::HTTP_2 || !is_grpc(request.headers()) {
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response.body_mut().data = Some(Bytes::from_static(
            b"this port speaks gRPC; OTLP over HTTP is received on the other one (default 4318)\n",
        ));
        return response;
    }
    match take(shared, request).await {
        Ok((signal, accepted)) => {
            let mut response = success(signal, &accepted);
            receipt::put(&accepted.receipts, response.headers_mut(), &shared.metrics);
            response
        }
        Err(refused) => {
            add(&shared.metrics.requests_refused, 1);
            refusal(&refused)
        }
    }
}

async fn take<B>(shared: &Arc<Shared>, request: Request<B>) -> Result<(Signal, Accepted), Refused>
where
    B: Body<Data: Buf>,
{
    let (endpoint, signal) = route(request.uri().path())?;
    let head = admit(shared, &request, endpoint, Content::Otlp(signal, Format::Protobuf))?;
    let declared = request.headers().get(ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let Some(declared) = Encoding::from_header(declared) else {
        let message = format!("grpc-encoding must be one of {ACCEPTED}");
        let refused = Refused::new(Kind::Unsupported, message);
        reject(shared, &head, &refused, 0, None);
        return Err(refused);
    };
    let limits = &shared.limits;
    let most = limits.max_request_bytes.saturating_add(PREFIX_BYTES);
    match body::read(request.into_body(), most, limits, &head.budget, &shared.metrics).await {
        Ok(received) => match unframe(&received.bytes, declared) {
            Ok((message, encoding)) => {
                accept(shared, &head, received, message, encoding).await.map(|it| (signal, it))
            }
            Err(refused) => Err(reject_read(shared, &head, refused, received.bytes).await),
        },
        Err(unread) => {
            reject_unread(shared, &head, &unread);
            Err(unread.refused)
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = value.strip_prefix(b"application/grpc").map(|rest| rest.first().copied());
    matches!(rest, Some(None | Some(b'+' | b';')))
}

fn route(path: &str) -> Result<(&'static str, Signal), Refused> {
    const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    match path {
        TRACES => Ok((TRACES, Signal::Traces)),
        LOGS => Ok((LOGS, Signal::Logs)),
        METRICS => Err(Refused::new(
            Kind::NotFound,
            "spanledger takes traces and logs, no metrics: send those elsewhere",
        )),
        _ => Err(Refused::new(Kind::NotFound, "no such method")),
    }
}

/// The one message of a body, and how it is compressed.
pub(super) fn unframe(body: &Bytes, declared: Encoding) -> Result<(Bytes, Encoding), Refused> {
    let Some((prefix, rest)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        // gRPC's table of status codes: UNIMPLEMENTED for any number of messages but one.
        return Err(if body.is_empty() {
            Refused::new(Kind::Unsupported, "the call has no message")
        } else {
            Refused::new(Kind::BadData, "the message ends inside its prefix")
        });
    };
    let [flag, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    let encoding = match flag {
        0 => Encoding::Identity,
        1 if declared != Encoding::Identity => declared,
        1 => {
            let message = "the message is compressed and grpc-encoding does not say how";
            return Err(Refused::new(Kind::BadData, message));
        }
        _ => return Err(Refused::new(Kind::BadData, "the flag of the message is not 0 or 1")),
    };
    match rest.len().checked_sub(length) {
        Some(0) => Ok((body.slice(PREFIX_BYTES..), encoding)),
        Some(_) => Err(Refused::new(Kind::Unsupported, "the call has more than one message")),
        None => Err(Refused::new(
            Kind::BadData,
            format!("the message ends after {} of {length} bytes", rest.len()),
        )),
    }
}

fn success(signal: Signal, accepted: &Accepted) -> Response<Reply> {
    let message = protobuf_success(signal, accepted);
    let mut data = BytesMut::with_capacity(message.len().saturating_add(PREFIX_BYTES));
    data.put_u8(0);
    data.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    data.put(message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    response(Reply { data: Some(data.freeze()), trailers: Some(trailers) })
}

/// An answer of headers only, which gRPC calls "Trailers-Only".
fn refusal(refused: &Refused) -> Response<Reply> {
    let mut response = response(Reply::default());
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(refused.grpc_code() as i32));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&refused.message)) {
        headers.insert(MESSAGE, message);
    }
    if refused.retry_after().is_some() {
        let details = STANDARD_NO_PAD.encode(refused.status());
        if let Ok(details) = HeaderValue::try_from(details) {
            headers.insert(DETAILS, details);
        }
    }
    response
}

fn response(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    response
}

/// `grpc-message` is printable ASCII; everything else, and `%`, is percent-encoded UTF-8.
fn percent_encoded(message: &str) -> String {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend(HEX.get(usize::from(byte >> 4)));
            out.extend(HEX.get(usize::from(byte & 0xf)));
        }
    }
    out
}

/// The body of an answer: at most one message, and trailers.
#[derive(Debug, Default)]
pub struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &'static [u8], declared: Encoding) -> i32 {
        unframe(&Bytes::from_static(body), declared)
            .map_or_else(|refused| refused.grpc_code() as i32, |_| 0)
    }

    #[test]
    fn a_body_is_exactly_one_message() {
        const INVALID_ARGUMENT: i32 = tonic::Code::InvalidArgument as i32;
        const UNIMPLEMENTED: i32 = tonic::Code::Unimplemented as i32;
        for (body, declared, expected) in [
            (&[0, 0, 0, 0, 0][..], Encoding::Identity, 0),
            (&[0, 0, 0, 0, 1, 9], Encoding::Gzip, 0),
            (&[1, 0, 0, 0, 1, 9], Encoding::Gzip, 0),
            (&[1, 0, 0, 0, 1, 9], Encoding::Identity, INVALID_ARGUMENT),
            (&[2, 0, 0, 0, 0], Encoding::Identity, INVALID_ARGUMENT),
            (&[0, 0, 0], Encoding::Identity, INVALID_ARGUMENT),
            (&[0, 255, 255, 255, 255, 1], Encoding::Identity, INVALID_ARGUMENT),
            (&[], Encoding::Identity, UNIMPLEMENTED),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Encoding::Identity, UNIMPLEMENTED),
        ] {
            assert_eq!(code(body, declared), expected, "{body:?}");
        }
    }

    #[test]
    fn a_message_for_people_survives_the_header() {
        assert_eq!(percent_encoded("100% ä\n"), "100%25 %C3%A4%0A");
    }
}
