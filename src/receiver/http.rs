//! OTLP over HTTP, protobuf and JSON, and what else is posted to the same port (see `routes.rs`).
//!
//! | answer | when | may be sent again |
//! |---|---|---|
//! | 200, 202 | everything is durable, or all but records that never will be (`partial_success`) | no |
//! | 400 | broken protobuf, JSON or compression | no |
//! | 401, 403 | no credential, or one that is not known, expired, revoked or for something else | no |
//! | 404, 405 | another path; another method | no |
//! | 413 | larger than a limit | no |
//! | 415 | a content type or encoding that nobody here reads | no |
//! | 429 and `Retry-After` | more than the credential's limit | yes |
//! | 500 | something here broke over this request | no |
//! | 503 and `Retry-After` | no memory, no disk, a body that did not arrive in time | yes |
//!
//! Source: OTLP specification 1.11, section OTLP/HTTP. Bodies of answers have the content type of
//! the request; those of refusals are a `google.rpc.Status`, in JSON where the request is no OTLP.

use super::inflate::{ACCEPTED, Encoding};
use super::metrics::add;
use super::otlp::{Format, Signal};
use super::receipt;
use super::refused::{Kind, Refused};
use super::request::{accept, admit, reject, reject_unread};
use super::routes::{Answer, Route, format_of, route};
use super::{Shared, body, langsmith};
use crate::intake::Accepted;
use bytes::{Buf, Bytes};
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use std::sync::Arc;

/// How a sender may say who it is. Source: RFC 9110, section 11.6.1.
const CHALLENGE: &str = r#"Bearer realm="spanledger", Basic realm="spanledger""#;

/// Answers one request. Never fails: what goes wrong is an answer too.
pub(super) async fn answer<B>(shared: &Arc<Shared>, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data: Buf>,
{
    add(&shared.metrics.requests, 1);
    // Says nothing of anybody: no credential is asked for.
    if *request.method() == Method::GET && request.uri().path() == "/info" {
        return response(StatusCode::OK, Format::Json, langsmith::info(&shared.limits));
    }
    let refuse = |refused: Refused, format| {
        add(&shared.metrics.requests_refused, 1);
        refusal(&refused, format)
    };
    let route = match route(request.method(), request.uri().path()) {
        Ok(route) => route,
        Err(refused) => {
            return refuse(refused, format_of(request.headers()).unwrap_or(Format::Json));
        }
    };
    let answer = route.takes.answer(request.headers());
    let refusal_format = route.takes.refusal_format(request.headers());
    match take(shared, request, &route).await {
        Ok(accepted) => {
            let mut response = match answer {
                Answer::Otlp(signal, format) => {
                    response(StatusCode::OK, format, success(signal, format, &accepted))
                }
                Answer::Counts(status) => response(status, Format::Json, counts(&accepted)),
            };
            receipt::put(&accepted.receipts, response.headers_mut(), &shared.metrics);
            response
        }
        Err(refused) => refuse(refused, refusal_format),
    }
}

async fn take<B>(
    shared: &Arc<Shared>,
    request: Request<B>,
    route: &Route,
) -> Result<Accepted, Refused>
where
    B: Body<Data: Buf>,
{
    let mut head = admit(shared, &request, route.endpoint, route.takes.usual())?;
    let encoding = match (route.takes.content(request.headers()), encoding_of(request.headers())) {
        (Ok(content), Ok(encoding)) => {
            head.content = content;
            encoding
        }
        (Err(refused), _) | (_, Err(refused)) => {
            reject(shared, &head, &refused, 0, None);
            return Err(refused);
        }
    };
    let limits = &shared.limits;
    let most = limits.max_request_bytes;
    match body::read(request.into_body(), most, limits, &head.budget, &shared.metrics).await {
        Ok(received) => {
            let message = received.bytes.clone();
            accept(shared, &head, received, message, encoding).await
        }
        Err(unread) => {
            reject_unread(shared, &head, &unread);
            Err(unread.refused)
        }
    }
}

/// What a source is told that has no answer of a protocol to expect: how many records are durable,
/// and how many never will be, and why.
fn counts(accepted: &Accepted) -> Bytes {
    let (taken, refused) = (accepted.accepted, accepted.refused);
    let answer = match refusals(accepted) {
        None => serde_json::json!({ "accepted": taken }),
        Some(why) => serde_json::json!({ "accepted": taken, "refused": refused, "message": why }),
    };
    answer.to_string().into()
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let first = values.next().map_or(&b""[..], HeaderValue::as_bytes);
    match Encoding::from_header(first) {
        Some(encoding) if values.next().is_none() => Ok(encoding),
        _ => Err(Refused::new(
            Kind::Unsupported,
            format!("the content encoding must be one of {ACCEPTED}"),
        )),
    }
}

/// `Export…ServiceResponse`: empty, or with what will never be accepted.
fn success(signal: Signal, format: Format, accepted: &Accepted) -> Bytes {
    let message = refusals(accepted);
    match (format, &message) {
        (Format::Protobuf, None) => Bytes::new(),
        (Format::Json, None) => Bytes::from_static(b"{}"),
        (Format::Protobuf, Some(_)) => protobuf_success(signal, accepted),
        (Format::Json, Some(message)) => {
            let name = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
            };
            // A 64-bit integer is a string in protobuf's JSON.
            let count = accepted.refused.to_string();
            let partial = serde_json::json!({ name: count, "errorMessage": message });
            serde_json::json!({ "partialSuccess": partial }).to_string().into()
        }
    }
}

/// The same in protobuf: also the message of a gRPC answer.
pub(super) fn protobuf_success(signal: Signal, accepted: &Accepted) -> Bytes {
    let rejected = i64::try_from(accepted.refused).unwrap_or(i64::MAX);
    let message = refusals(accepted);
    let bytes = match signal {
        Signal::Traces => ExportTraceServiceResponse {
            partial_success: message.map(|error_message| ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
        Signal::Logs => ExportLogsServiceResponse {
            partial_success: message.map(|error_message| ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message,
            }),
        }
        .encode_to_vec(),
    };
    bytes.into()
}

pub(super) fn refusals(accepted: &Accepted) -> Option<String> {
    (accepted.refused > 0).then(|| match accepted.why {
        Some(why) => format!("{} records refused, the first because: {why}", accepted.refused),
        None => format!("{} records refused", accepted.refused),
    })
}

fn refusal(refused: &Refused, format: Format) -> Response<Full<Bytes>> {
    let body = match format {
        Format::Protobuf => refused.status(),
        Format::Json => refused.status_json(),
    };
    let mut response = response(refused.http_status(), format, body);
    let headers = response.headers_mut();
    if let Some(after) = refused.retry_after() {
        // Whole seconds, and never 0, which would mean at once.
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        headers.insert(RETRY_AFTER, seconds.max(1).into());
    }
    match refused.kind {
        Kind::Denied(denied) if denied.http_status() == 401 => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        Kind::Method(allowed) => {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        Kind::Unsupported => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        }
        _ => {}
    }
    response
}

fn response(status: StatusCode, format: Format, body: Bytes) -> Response<Full<Bytes>> {
    let content_type = match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
