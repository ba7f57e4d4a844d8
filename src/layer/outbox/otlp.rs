//! OTLP over gRPC: requests that are encoded already, and the answer's two fields.
//!
//! | answer | what becomes of the request |
//! |---|---|
//! | `OK` | delivered, less what partial success says |
//! | `UNAVAILABLE`, `ABORTED`, `CANCELLED`, `DEADLINE_EXCEEDED`, `OUT_OF_RANGE`, `DATA_LOSS`, no connection | sent again |
//! | `RESOURCE_EXHAUSTED` with `RetryInfo` | sent again, when the receiver says |
//! | `RESOURCE_EXHAUSTED` without | too large: sent in halves |
//! | `UNIMPLEMENTED` | sent again; refused when the other signal is taken meanwhile |
//! | `UNAUTHENTICATED`, `PERMISSION_DENIED`, `NOT_FOUND` | sent again, slowly: a key may be renewed, an address be corrected |
//! | `INTERNAL`, `UNKNOWN` | sent again, until another request goes well: then it is the record's fault |
//! | `INVALID_ARGUMENT` and others that the receiver made | never: the record that it will not take is searched |
//!
//! Source: OTLP specification 1.11, "OTLP/gRPC response".

use super::destination::{Delivered, Destination, SendError, Sending, Signal};
use super::{Otlp, OtlpError, Receipt};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, Bytes};
use http::HeaderValue;
use http::uri::PathAndQuery;
use prost::Message;
use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Asks for receipts, and carries them.
const RECEIPT: &str = "spanledger-receipt";

/// Bytes of one receipt: a sequence and a leaf hash.
const RECEIPT_BYTES: usize = 40;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without traffic is asked for a sign of life, so that one that is dead is noticed
/// before a decision waits for it.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Between two tries after an answer that a person must change something about.
const SLOWLY: Duration = Duration::from_secs(10);

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A receiver that speaks OTLP over gRPC.
pub(crate) struct OtlpReceiver {
    endpoint: Endpoint,
    /// Made in the sender's runtime; connects when first used, and again by itself.
    channel: OnceLock<Channel>,
    token: Option<super::Token>,
    /// The header, read from the file again after `UNAUTHENTICATED`.
    authorization: Mutex<Option<MetadataValue<Ascii>>>,
}

impl OtlpReceiver {
    /// A receiver at an address. Nothing is connected yet.
    ///
    /// # Errors
    /// [`OtlpError`]: an address that is none, a token that cannot be read or sent, TLS without
    /// the feature or with files that cannot be used.
    pub(crate) fn new(settings: Otlp) -> Result<Self, OtlpError> {
        let endpoint = super::otlp_settings::endpoint(&settings)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(CONNECT_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let receiver = Self {
            endpoint,
            channel: OnceLock::new(),
            token: settings.token,
            authorization: Mutex::new(None),
        };
        receiver.authorization()?;
        Ok(receiver)
    }

    async fn export(
        &self,
        signal: Signal,
        request: Bytes,
        receipts: bool,
    ) -> Result<Delivered, SendError> {
        let channel = self.channel.get_or_init(|| self.endpoint.connect_lazy());
        let mut client = tonic::client::Grpc::new(channel.clone());
        let mut request = tonic::Request::new(request);
        let metadata = request.metadata_mut();
        let later = |error: &dyn std::fmt::Display| SendError::Later {
            after: Some(SLOWLY),
            reason: error.to_string(),
        };
        if let Some(value) = self.authorization().map_err(|error| later(&error))? {
            metadata.insert("authorization", value);
        }
        if receipts {
            metadata.insert(RECEIPT, MetadataValue::from_static("1"));
        }
        let ready = client.ready().await;
        ready.map_err(|error| SendError::Later { after: None, reason: whole(&error) })?;
        let path = PathAndQuery::from_static(match signal {
            Signal::Spans => TRACES,
            Signal::Logs => LOGS,
        });
        match client.unary(request, path, Raw).await {
            Ok(response) => {
                let receipts = receipts_of(response.metadata());
                let partial = response.into_inner().partial_success.unwrap_or_default();
                Ok(Delivered {
                    refused: u64::try_from(partial.rejected).unwrap_or(0),
                    why: Some(partial.message).filter(|why| !why.is_empty()),
                    receipts,
                })
            }
            Err(status) => {
                if status.code() == Code::Unauthenticated {
                    self.lock().take();
                }
                Err(judge(&status))
            }
        }
    }

    fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, OtlpError> {
        let mut known = self.lock();
        if known.is_none()
            && let Some(token) = &self.token
        {
            let text = match token {
                super::Token::Text(text) => text.clone(),
                super::Token::File(path) => fs::read_to_string(path)
                    .map_err(|source| OtlpError::File { path: path.clone(), source })?,
            };
            let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
            let mut value = value.map_err(|_| OtlpError::Token)?;
            value.set_sensitive(true);
            let value = value.to_str().ok().and_then(|value| value.parse().ok());
            *known = Some(value.ok_or(OtlpError::Token)?);
        }
        Ok(known.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<MetadataValue<Ascii>>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination for OtlpReceiver {
    fn send(&self, signal: Signal, request: Bytes, receipts: bool) -> Sending<'_> {
        Box::pin(self.export(signal, request, receipts))
    }
}

/// What a failed call means for its request.
fn judge(status: &Status) -> SendError {
    let said = status.message();
    let cause = std::error::Error::source(status).map(whole);
    let because = cause.as_deref().filter(|cause| !said.contains(*cause));
    let because = because.map_or_else(String::new, |cause| format!(" ({cause})"));
    let reason = format!("{:?}: {said}{because}", status.code());
    // A status with a source was made here, of a connection that broke.
    if cause.is_some() {
        return SendError::Later { after: None, reason };
    }
    match status.code() {
        Code::Unavailable
        | Code::Aborted
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::OutOfRange
        | Code::DataLoss => SendError::Later { after: retry_delay(status), reason },
        Code::ResourceExhausted => match retry_delay(status) {
            Some(after) => SendError::Later { after: Some(after), reason },
            None => SendError::TooLarge { reason },
        },
        Code::Unimplemented => SendError::Unserved { reason },
        Code::Unauthenticated | Code::PermissionDenied | Code::NotFound => {
            SendError::Later { after: Some(SLOWLY), reason }
        }
        // OTLP says not to repeat these. A proxy answers so to everything while it is broken,
        // and evidence is not given up for that.
        Code::Internal | Code::Unknown => SendError::Broken { reason },
        _ => SendError::Never { reason },
    }
}

/// An error with all that caused it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The delay of `google.rpc.RetryInfo` in the details of a status.
fn retry_delay(status: &Status) -> Option<Duration> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let info = details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
}

/// The receipts of an answer, none if it has none that can be read.
fn receipts_of(metadata: &MetadataMap) -> Vec<Receipt> {
    let bytes = metadata.get(RECEIPT).and_then(|value| BASE64.decode(value.as_bytes()).ok());
    let bytes = bytes.unwrap_or_default();
    let receipt = |entry: &[u8]| {
        let (sequence, leaf_hash) = entry.split_first_chunk()?;
        let leaf_hash = leaf_hash.try_into().ok()?;
        Some(Receipt { sequence: u64::from_be_bytes(*sequence), leaf_hash })
    };
    bytes.chunks(RECEIPT_BYTES).map(receipt).collect::<Option<_>>().unwrap_or_default()
}

/// The answer to both signals.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// `google.rpc.Status`, as far as it matters.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Passes an encoded request through.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ExportResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ExportResponse;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<ExportResponse>, Status> {
        // Acknowledged all the same: only what it says about refused records cannot be read.
        Ok(Some(ExportResponse::decode(src).unwrap_or_default()))
    }
}
