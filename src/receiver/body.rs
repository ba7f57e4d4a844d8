//! The body of a request as it arrives: counted, charged, and given a deadline.

use super::Limits;
use super::budget::{Budget, Buffer, Permit};
use super::metrics::{LimitHit, Metrics, add};
use super::refused::{Kind, Refused};
use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use std::pin::pin;
use tokio::time::{Instant, timeout_at};

/// A body that was read to its end.
#[derive(Debug)]
pub(super) struct Received {
    /// As it was sent.
    pub(super) bytes: Bytes,
    /// The memory that it holds.
    pub(super) permit: Permit,
}

/// A body that was not, or not kept.
#[derive(Debug)]
pub(super) struct NotReceived {
    pub(super) refused: Refused,
    /// Bytes that were seen.
    pub(super) bytes: u64,
    /// SHA-256 of them, when they were all.
    pub(super) hash: Option<[u8; 32]>,
}

/// Reads a body of at most `most` bytes. No header is believed about its length, except that one
/// which announces too much is refused before the first byte.
pub(super) async fn read<B>(
    body: B,
    most: usize,
    limits: &Limits,
    budget: &Budget,
    metrics: &Metrics,
) -> Result<Received, NotReceived>
where
    B: Body<Data: Buf>,
{
    let deadline = Instant::now().checked_add(limits.body_timeout).unwrap_or_else(Instant::now);
    let mut body = pin!(body);
    let mut buffer = Buffer::new(budget, most);
    if body.size_hint().lower() > most as u64 {
        metrics.hit(LimitHit::RequestBytes);
        return Err(NotReceived { refused: too_large(most), bytes: 0, hash: None });
    }
    let refused = loop {
        let data = match next(&mut body, deadline).await {
            Ok(Some(data)) => data,
            Ok(None) => {
                let (bytes, permit) = buffer.into_parts();
                return Ok(Received { bytes: bytes.into(), permit });
            }
            Err(broken) => {
                return Err(broken.refuse(buffer.len() as u64, limits, metrics));
            }
        };
        add(&metrics.bytes_received, data.len());
        if buffer.len().saturating_add(data.len()) > most {
            metrics.hit(LimitHit::RequestBytes);
            break Rest { data, refused: too_large(most) };
        }
        if let Err(error) = buffer.extend(&data) {
            metrics.hit(LimitHit::of(error));
            break Rest { data, refused: Refused::over_budget(error, limits.retry_after) };
        }
    };
    Err(drain(body, buffer, refused, deadline, limits).await)
}

/// The bytes that were refused, and why.
struct Rest {
    data: Bytes,
    refused: Refused,
}

/// Why no further bytes came.
enum Broken {
    Timeout,
    Disconnected,
}

impl Broken {
    fn refuse(&self, bytes: u64, limits: &Limits, metrics: &Metrics) -> NotReceived {
        let after = Kind::Unavailable(limits.retry_after);
        let refused = match self {
            Self::Timeout => {
                metrics.hit(LimitHit::BodyTimeout);
                let seconds = limits.body_timeout.as_secs_f64();
                Refused::new(after, format!("the body did not arrive within {seconds} s"))
            }
            Self::Disconnected => Refused::new(after, "the body ended before it was complete"),
        };
        NotReceived { refused, bytes, hash: None }
    }
}

async fn next<B>(
    body: &mut std::pin::Pin<&mut B>,
    deadline: Instant,
) -> Result<Option<Bytes>, Broken>
where
    B: Body<Data: Buf>,
{
    loop {
        match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Broken::Timeout),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Broken::Disconnected),
            // Trailers of a request mean nothing here.
            Ok(Some(Ok(frame))) => {
                if let Ok(mut data) = frame.into_data() {
                    return Ok(Some(data.copy_to_bytes(data.remaining())));
                }
            }
        }
    }
}

/// Reads a little of what follows and forgets it: an HTTP/1.1 client that still writes would
/// otherwise see its connection reset instead of the answer. Whoever ends within that has a hash.
async fn drain<B>(
    mut body: std::pin::Pin<&mut B>,
    buffer: Buffer,
    Rest { data, refused }: Rest,
    deadline: Instant,
    limits: &Limits,
) -> NotReceived
where
    B: Body<Data: Buf>,
{
    let mut bytes = buffer.len().saturating_add(data.len());
    let stop_at = bytes.saturating_add(limits.drain_bytes);
    // A long body is not hashed: it would delay the other requests of this thread.
    let hashed = bytes <= limits.inline_bytes;
    let mut hash = Sha256::new();
    if hashed {
        hash.update(buffer.as_slice());
        hash.update(&data);
    }
    drop((buffer, data));
    let mut complete = false;
    while bytes < stop_at {
        match next(&mut body, deadline).await {
            Ok(Some(data)) => {
                bytes = bytes.saturating_add(data.len());
                hash.update(&data);
            }
            Ok(None) => {
                complete = true;
                break;
            }
            Err(_) => break,
        }
    }
    let hash = (complete && hashed).then(|| hash.finalize().into());
    NotReceived { refused, bytes: bytes as u64, hash }
}

pub(super) fn too_large(most: usize) -> Refused {
    Refused::new(
        Kind::TooLarge,
        format!("the request is larger than {most} bytes: send smaller requests"),
    )
}
