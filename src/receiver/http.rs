//! OTLP over HTTP: `POST /v1/traces` and `POST /v1/logs`, protobuf and JSON.
//!
//! | answer | when | may be sent again |
//! |---|---|---|
//! | 200 | everything is durable, or all but records that never will be (`partial_success`) | no |
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
//! the request; those of refusals are a `google.rpc.Status`.

use super::inflate::{ACCEPTED, Encoding};
use super::metrics::add;
use super::otlp::{Format, Signal};
use super::receipt;
use super::refused::{Kind, Refused};
use super::request::{accept, admit, reject, reject_unread};
use super::{Shared, body};
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
    let format = format_of(request.headers());
    match take(shared, request, format).await {
        Ok((signal, accepted)) => {
            let format = format.unwrap_or(Format::Protobuf);
            let mut response = response(StatusCode::OK, format, success(signal, format, &accepted));
            receipt::put(&accepted.receipts, response.headers_mut(), &shared.metrics);
            response
        }
        Err(refused) => {
            add(&shared.metrics.requests_refused, 1);
            refusal(&refused, format.unwrap_or(Format::Json))
        }
    }
}

async fn take<B>(
    shared: &Arc<Shared>,
    request: Request<B>,
    format: Option<Format>,
) -> Result<(Signal, Accepted), Refused>
where
    B: Body<Data: Buf>,
{
    let (endpoint, signal) = route(request.uri().path())?;
    if request.method() != Method::POST {
        let message = format!("{endpoint} takes POST, not {}", request.method());
        return Err(Refused::new(Kind::Method, message));
    }
    let format_or_default = format.unwrap_or(Format::Protobuf);
    let head = admit(shared, &request, endpoint, signal, format_or_default)?;
    let encoding = match (format, encoding_of(request.headers())) {
        (Some(_), Ok(encoding)) => encoding,
        (None, _) => {
            let refused = Refused::new(
                Kind::Unsupported,
                "the content type must be application/x-protobuf or application/json",
            );
            reject(shared, &head, &refused, 0, None);
            return Err(refused);
        }
        (_, Err(refused)) => {
            reject(shared, &head, &refused, 0, None);
            return Err(refused);
        }
    };
    let limits = &shared.limits;
    let most = limits.max_request_bytes;
    match body::read(request.into_body(), most, limits, &head.budget, &shared.metrics).await {
        Ok(received) => {
            let message = received.bytes.clone();
            accept(shared, &head, received, message, encoding).await.map(|it| (signal, it))
        }
        Err(unread) => {
            reject_unread(shared, &head, &unread);
            Err(unread.refused)
        }
    }
}

fn route(path: &str) -> Result<(&'static str, Signal), Refused> {
    match path {
        "/v1/traces" => Ok(("/v1/traces", Signal::Traces)),
        "/v1/logs" => Ok(("/v1/logs", Signal::Logs)),
        "/v1/metrics" => Err(Refused::new(
            Kind::NotFound,
            "spanledger takes traces and logs, no metrics: send those elsewhere",
        )),
        _ => Err(Refused::new(
            Kind::NotFound,
            "no such path: OTLP is received at /v1/traces and /v1/logs",
        )),
    }
}

fn format_of(headers: &HeaderMap) -> Option<Format> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next().unwrap_or_default().trim();
    let is = |name: &str| media_type.eq_ignore_ascii_case(name);
    if is("application/x-protobuf") || is("application/protobuf") {
        Some(Format::Protobuf)
    } else if is("application/json") {
        Some(Format::Json)
    } else {
        None
    }
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
        Kind::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
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
