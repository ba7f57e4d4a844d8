//! Requests of this very process: no socket and no credential, and otherwise what every request
//! meets: the same bounds, the same entry when it is refused, the same answer after the same fsync.

use super::Receiver;
use super::body::{NotReceived, Received};
use super::content::Content;
use super::http::refusals;
use super::inflate::Encoding;
use super::metrics::{LimitHit, add};
use super::otlp::{Format, Signal};
use super::refused::{Kind, Refused};
use super::request::{Head, accept, reject_unread};
use crate::access::{Principal, Tenant};
use crate::intake::Accepted;
use bytes::Bytes;
use std::time::Duration;

/// What an entry about a refused request calls this way in.
const ENDPOINT: &str = "embedded";

/// Why a request of this process was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Not now: the same again, later.
    #[error("{reason}")]
    Later {
        /// When to try again.
        after: Duration,
        /// What is in the way.
        reason: String,
    },
    /// Larger than a request may be: the same records in smaller ones.
    #[error("{reason}")]
    TooLarge {
        /// What is too large.
        reason: String,
    },
    /// Something broke over it.
    #[error("{reason}")]
    Broken {
        /// What.
        reason: String,
    },
    /// Never.
    #[error("{reason}")]
    Never {
        /// What is wrong with it.
        reason: String,
    },
}

impl Receiver {
    /// Takes an encoded `Export…ServiceRequest` in protobuf as that tenant's, and returns when its
    /// records are durable. With `receipts` the answer has them for up to
    /// [`MAX_RECEIPTS`](super::MAX_RECEIPTS) records. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`NotTaken`] says whether the request may be given again; nothing of it was acknowledged.
    pub async fn take(
        &self,
        tenant: Tenant,
        signal: Signal,
        request: Bytes,
        receipts: bool,
    ) -> Result<Accepted, NotTaken> {
        let shared = &self.shared;
        add(&shared.metrics.requests, 1);
        let head = Head {
            tenants: tenant.into(),
            principal: Principal::local(),
            budget: shared.budget.clone(),
            endpoint: ENDPOINT,
            content: Content::Otlp(signal, Format::Protobuf),
            peer: None,
            receipts,
        };
        let taken = match self.receive(&head, request) {
            Ok(received) => {
                let message = received.bytes.clone();
                accept(shared, &head, received, message, Encoding::Identity).await
            }
            Err(unread) => {
                reject_unread(shared, &head, &unread);
                Err(unread.refused)
            }
        };
        taken.map_err(|refused| {
            add(&shared.metrics.requests_refused, 1);
            refused.into()
        })
    }

    /// What reading a body from a socket checks.
    fn receive(&self, head: &Head, bytes: Bytes) -> Result<Received, NotReceived> {
        let (limits, metrics) = (self.limits(), self.metrics());
        add(&metrics.bytes_received, bytes.len());
        let refuse = |refused| NotReceived { refused, bytes: bytes.len() as u64, hash: None };
        if bytes.len() > limits.max_request_bytes {
            metrics.hit(LimitHit::RequestBytes);
            return Err(refuse(super::body::too_large(limits.max_request_bytes)));
        }
        let mut permit = head.budget.permit();
        permit.grow(bytes.len()).map_err(|error| {
            metrics.hit(LimitHit::of(error));
            refuse(Refused::over_budget(error, limits.retry_after))
        })?;
        Ok(Received { bytes, permit })
    }
}

impl Accepted {
    /// In words that some records will never be taken; `None` when all were.
    pub fn refusals(&self) -> Option<String> {
        refusals(self)
    }
}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        let after = refused.retry_after();
        let Refused { kind, message: reason } = refused;
        match (kind, after) {
            (Kind::TooLarge, _) => Self::TooLarge { reason },
            (Kind::Internal, _) => Self::Broken { reason },
            (_, Some(after)) => Self::Later { after, reason },
            (_, None) => Self::Never { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_sent_again_over_a_socket_may_be_given_again() {
        use Kind::{BadData, Internal, Method, NotFound, TooLarge, Unavailable, Unsupported};
        let after = Duration::from_secs(3);
        let of = |kind| NotTaken::from(Refused::new(kind, "why"));
        assert_eq!(of(Unavailable(after)), NotTaken::Later { after, reason: "why".into() });
        assert_eq!(of(TooLarge), NotTaken::TooLarge { reason: "why".into() });
        assert_eq!(of(Internal), NotTaken::Broken { reason: "why".into() });
        for kind in [BadData, Unsupported, NotFound, Method("POST")] {
            assert_eq!(of(kind), NotTaken::Never { reason: "why".into() });
        }
    }
}
