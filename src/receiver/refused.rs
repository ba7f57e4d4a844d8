//! Why a request was refused, and how HTTP and gRPC say so.

use super::budget::OverBudget;
use super::inflate::InflateError;
use crate::access::Denied;
use crate::intake::IntakeError;
use bytes::Bytes;
use http::StatusCode;
use prost::Message;
use std::time::Duration;

/// A request of which nothing was accepted.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) kind: Kind,
    /// For the sender: what is wrong, and what to do.
    pub(super) message: String,
}

/// What kind of refusal, which decides the status and with it whether the sender tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Broken structure. Never again.
    BadData,
    /// Larger than a request may be. Never again.
    TooLarge,
    /// An encoding or content type that nobody here reads. Never again.
    Unsupported,
    /// No such path. Never again.
    NotFound,
    /// Another method than this one. Never again.
    Method(&'static str),
    /// Something here broke over this request. Never again: it would break again.
    Internal,
    /// Not from this sender. Again only when it sends too fast.
    Denied(Denied),
    /// Not now: no room, no disk, or the body did not arrive in time. Again after this time.
    Unavailable(Duration),
}

impl Refused {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn http_status(&self) -> StatusCode {
        match self.kind {
            Kind::BadData => StatusCode::BAD_REQUEST,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Denied(denied) => StatusCode::from_u16(denied.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Kind::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn grpc_code(&self) -> tonic::Code {
        match self.kind {
            Kind::BadData => tonic::Code::InvalidArgument,
            // Source: OpenTelemetry protocol, "Failures": RESOURCE_EXHAUSTED is sent again when a
            // RetryInfo says so, which what is too large never has.
            Kind::TooLarge | Kind::Denied(Denied::TooFast) => tonic::Code::ResourceExhausted,
            Kind::Unsupported | Kind::NotFound | Kind::Method(_) => tonic::Code::Unimplemented,
            Kind::Internal => tonic::Code::Internal,
            Kind::Denied(Denied::Forbidden { .. }) => tonic::Code::PermissionDenied,
            Kind::Denied(_) => tonic::Code::Unauthenticated,
            Kind::Unavailable(_) => tonic::Code::Unavailable,
        }
    }

    /// What the sender is told to wait, when it may send the request again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            Kind::Unavailable(retry_after) => Some(retry_after),
            Kind::Denied(denied) => denied.retry_after(),
            _ => None,
        }
    }

    /// `google.rpc.Status`, with a `RetryInfo` when the sender may try again.
    pub(super) fn status(&self) -> Bytes {
        let details = self.retry_after().map(|after| Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: RetryInfo { retry_delay: Some(Delay::from(after)) }.encode_to_vec(),
        });
        let status = Status {
            code: self.grpc_code() as i32,
            message: self.message.clone(),
            details: details.into_iter().collect(),
        };
        status.encode_to_vec().into()
    }

    /// The same as JSON.
    pub(super) fn status_json(&self) -> Bytes {
        let code = self.grpc_code() as i32;
        serde_json::json!({ "code": code, "message": self.message }).to_string().into()
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self::new(Kind::Denied(denied), denied.to_string())
    }
}

impl From<IntakeError> for Refused {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Unavailable { retry_after, reason } => {
                Self::new(Kind::Unavailable(retry_after), reason)
            }
            error @ IntakeError::TooLarge { .. } => Self::new(Kind::TooLarge, error.to_string()),
        }
    }
}

impl Refused {
    /// The answer when memory is short.
    pub(super) fn over_budget(error: OverBudget, retry_after: Duration) -> Self {
        match error {
            OverBudget::Now | OverBudget::Share => {
                Self::new(Kind::Unavailable(retry_after), error.to_string())
            }
            OverBudget::Never { .. } => Self::new(Kind::TooLarge, error.to_string()),
        }
    }

    /// The answer when a body could not be decompressed.
    pub(super) fn inflate(error: &InflateError, retry_after: Duration) -> Self {
        match error {
            InflateError::Memory(error) => Self::over_budget(*error, retry_after),
            InflateError::Corrupt(_) => Self::new(Kind::BadData, error.to_string()),
            InflateError::TooLarge { .. } | InflateError::Ratio { .. } => {
                Self::new(Kind::TooLarge, error.to_string())
            }
        }
    }
}

/// Source: googleapis `google/rpc/status.proto`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// Source: `google/protobuf/any.proto`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Source: googleapis `google/rpc/error_details.proto`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// Source: `google/protobuf/duration.proto`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl From<Duration> for Delay {
    fn from(duration: Duration) -> Self {
        Self {
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanos: duration.subsec_nanos().cast_signed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_sent_again_says_when() {
        let later = Refused::new(Kind::Unavailable(Duration::from_millis(1500)), "full");
        let status = Status::decode(later.status()).unwrap();
        let retry = RetryInfo::decode(&status.details[0].value[..]).unwrap();
        assert_eq!(retry.retry_delay, Some(Delay { seconds: 1, nanos: 500_000_000 }));

        let never = Refused::new(Kind::TooLarge, "too large");
        assert_eq!(Status::decode(never.status()).unwrap().details, []);
        assert_eq!(never.retry_after(), None);
    }

    #[test]
    fn no_refusal_for_ever_has_a_status_that_clients_retry() {
        use Kind::{BadData, Internal, Method, NotFound, TooLarge, Unsupported};
        for kind in [BadData, TooLarge, Unsupported, NotFound, Method("POST"), Internal] {
            let refused = Refused::new(kind, "");
            assert!(![429, 502, 503, 504].contains(&refused.http_status().as_u16()), "{kind:?}");
            // OTLP: these codes are retryable; RESOURCE_EXHAUSTED only with RetryInfo.
            let retryable = [1, 4, 10, 11, 14, 15];
            assert!(!retryable.contains(&(refused.grpc_code() as i32)), "{kind:?}");
        }
    }
}
