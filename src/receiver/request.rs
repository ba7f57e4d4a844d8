//! The shape of a request, the same for HTTP and gRPC.
//!
//! ```text
//! credential, tenant ─► body (cap, charge, deadline) ─► inflate (cap, ratio, charge) ─► measure, charge
//!        ─► decode into a draft ─► intake.commit ══ durable ══► answer
//! ```

use super::body::{NotReceived, Received};
use super::budget::{Budget, OverBudget, Permit};
use super::content::Content;
use super::inflate::{Encoding, Inflate, InflateError};
use super::metrics::{LimitHit, add};
use super::receipt;
use super::refused::{Kind, Refused};
use super::{Peer, Shared};
use crate::access::{Denied, PeerCertificate, Presented, Principal, Right, Tenants};
use crate::intake::{Accepted, Draft, RefusedRequest, Whose};
use bytes::Bytes;
use http::Request;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is known of a request before its body.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) tenants: Tenants,
    pub(super) principal: Principal,
    /// The memory that it may use.
    pub(super) budget: Budget,
    pub(super) endpoint: &'static str,
    pub(super) content: Content,
    pub(super) peer: Option<IpAddr>,
    /// Whether the answer is to have receipts.
    pub(super) receipts: bool,
}

/// Decides who a request is from, whose evidence it carries and whether it is taken at all. The
/// one place that does.
pub(super) fn admit<B>(
    shared: &Shared,
    request: &Request<B>,
    endpoint: &'static str,
    content: Content,
) -> Result<Head, Refused> {
    let (headers, extensions) = (request.headers(), request.extensions());
    let peer = extensions.get::<Peer>().map(|peer| peer.0.ip());
    let principal = match &shared.credentials {
        None => Ok(Principal::local()),
        Some(credentials) => credentials
            .authenticate(Presented::from_headers(headers), extensions.get::<PeerCertificate>()),
    };
    let refuse = |denied: Denied, from: Whose<'_>| {
        shared.metrics.denied.note(denied);
        let refused = Refused::from(denied);
        put_on_record(shared, from, &refused, endpoint, Seen { bytes: 0, hash: None, peer });
        refused
    };
    let principal = principal.map_err(|denied| refuse(denied, Whose::Stranger))?;
    let admitted = principal.demand(Right::Write).and_then(|()| principal.admit_request());
    admitted.map_err(|denied| refuse(denied, Whose::Tenant(&principal.tenant())))?;
    let (tenants, claim) = Tenants::of(&principal, headers);
    if let Some(claim) = claim {
        let why = format!(
            "the request was taken as its forwarder's own: {} may not assert the tenant {claim:?}",
            principal.actor(),
        );
        let taken = RefusedRequest::new(endpoint, 200, why, peer);
        shared.intake.reject(Whose::Tenant(tenants.own()), taken);
    }
    let owner = principal.credential().map(|credential| shared.budget.of(&credential.id));
    let budget = owner.unwrap_or_else(|| shared.budget.clone());
    let receipts = receipt::is_asked(headers);
    Ok(Head { tenants, principal, budget, endpoint, content, peer, receipts })
}

/// Takes the records of `message`, which is all or a part of `received`. Returns when they are
/// durable.
pub(super) async fn accept(
    shared: &Arc<Shared>,
    head: &Head,
    received: Received,
    message: Bytes,
    encoding: Encoding,
) -> Result<Accepted, Refused> {
    if let Err(denied) = head.principal.admit_bytes(received.bytes.len()) {
        shared.metrics.denied.note(denied);
        return Err(reject_read(shared, head, denied.into(), received.bytes).await);
    }
    let Received { bytes, permit } = received;
    let work = Work {
        shared: Arc::clone(shared),
        head: head.clone(),
        message: message.clone(),
        encoding,
        permit,
    };
    let result = match work.draft().await {
        Ok(drafted) => match still_may(shared, head) {
            Ok(()) => shared.intake.commit(drafted.draft).await.map_err(Refused::from),
            Err(refused) => Err(refused),
        },
        Err(refused) => Err(refused),
    };
    match result {
        Ok(accepted) => {
            shared.metrics.accepted(head.content.signal(), accepted.accepted, accepted.refused);
            Ok(accepted)
        }
        Err(refused) => Err(reject_read(shared, head, refused, bytes).await),
    }
}

/// Asks again: the body may have taken its time, and the credential may be revoked meanwhile.
fn still_may(shared: &Shared, head: &Head) -> Result<(), Refused> {
    let Some(credentials) = &shared.credentials else { return Ok(()) };
    credentials.still_may(&head.principal, Right::Write).map_err(|denied| {
        shared.metrics.denied.note(denied);
        denied.into()
    })
}

/// Leaves a trace of a request whose body was read to its end, with its hash.
pub(super) async fn reject_read(
    shared: &Shared,
    head: &Head,
    refused: Refused,
    bytes: Bytes,
) -> Refused {
    let length = bytes.len();
    let hash = move || Sha256::digest(&bytes).into();
    let hash = if length <= shared.limits.inline_bytes {
        Some(hash())
    } else {
        tokio::task::spawn_blocking(hash).await.ok()
    };
    reject(shared, head, &refused, length as u64, hash);
    refused
}

/// Leaves a trace of a request whose body was not received.
pub(super) fn reject_unread(shared: &Shared, head: &Head, unread: &NotReceived) {
    reject(shared, head, &unread.refused, unread.bytes, unread.hash);
}

/// Leaves a trace of a refused request. Paths and methods that do not exist leave none: nothing
/// was offered as evidence there.
pub(super) fn reject(
    shared: &Shared,
    head: &Head,
    refused: &Refused,
    bytes: u64,
    hash: Option<[u8; 32]>,
) {
    let from = Whose::Tenant(head.tenants.own());
    put_on_record(shared, from, refused, head.endpoint, Seen { bytes, hash, peer: head.peer });
}

/// What was seen of a refused request.
struct Seen {
    bytes: u64,
    hash: Option<[u8; 32]>,
    peer: Option<IpAddr>,
}

fn put_on_record(
    shared: &Shared,
    from: Whose<'_>,
    refused: &Refused,
    endpoint: &'static str,
    Seen { bytes, hash, peer }: Seen,
) {
    let (status, reason) = (refused.http_status().as_u16(), refused.message.clone());
    let refused =
        RefusedRequest { bytes, hash, ..RefusedRequest::new(endpoint, status, reason, peer) };
    shared.intake.reject(from, refused);
}

/// A received request on its way to a draft.
struct Work {
    shared: Arc<Shared>,
    head: Head,
    message: Bytes,
    encoding: Encoding,
    permit: Permit,
}

/// A draft, and the memory that the request holds until it is durable.
struct Drafted {
    draft: Draft,
    _permit: Permit,
}

impl Work {
    /// Decompresses and decodes: here when it is little, else off the async threads.
    async fn draft(self) -> Result<Drafted, Refused> {
        let inline_bytes = self.shared.limits.inline_bytes;
        if self.encoding == Encoding::Identity {
            let plain = self.message.clone();
            if plain.len() <= inline_bytes {
                return self.decode(&plain);
            }
            return self.offload(move |work| work.decode(&plain)).await;
        }
        let (limits, budget) = (&self.shared.limits, &self.head.budget);
        let started =
            Inflate::new(self.message.clone(), self.encoding, limits, budget).and_then(|mut it| {
                let done = it.run(inline_bytes)?;
                Ok((it, done))
            });
        match started.map_err(|error| self.cannot_inflate(&error))? {
            (inflate, true) => self.decode(inflate.finish().as_slice()),
            (mut inflate, false) => {
                self.offload(move |work| {
                    inflate.run(usize::MAX).map_err(|error| work.cannot_inflate(&error))?;
                    work.decode(inflate.finish().as_slice())
                })
                .await
            }
        }
    }

    /// Runs on the blocking pool. Waiting for a turn is bounded: those in front always finish,
    /// and whoever waits has its memory charged.
    async fn offload(
        self,
        work: impl FnOnce(Self) -> Result<Drafted, Refused> + Send + 'static,
    ) -> Result<Drafted, Refused> {
        let shared = Arc::clone(&self.shared);
        let Ok(turn) = Arc::clone(&shared.blocking).acquire_owned().await else {
            return Err(broken());
        };
        let run = move || {
            let _turn = turn;
            work(self)
        };
        tokio::task::spawn_blocking(run).await.unwrap_or_else(|_| Err(broken()))
    }

    fn decode(mut self, plain: &[u8]) -> Result<Drafted, Refused> {
        let content = &self.head.content;
        add(&self.shared.metrics.bytes_decoded, plain.len());
        let received = self.permit.held();
        let shape = content.measure(plain);
        let expected = shape.estimate();
        self.permit.grow(expected).map_err(|error| self.over_budget(error))?;

        let mut draft = self.shared.intake.draft(&self.head.tenants);
        draft.reserve(expected);
        if self.head.receipts {
            receipt::keep(&mut draft);
        }
        // A record that makes conversion panic must cost its own request, not the connection and
        // with it the requests of others. The draft is dropped, so nothing half-made is seen.
        let decoded = catch_unwind(AssertUnwindSafe(|| content.decode(plain, &mut draft)));
        match decoded {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Refused::new(Kind::BadData, error.to_string())),
            Err(_) => return Err(broken()),
        }
        let now = received.saturating_add(draft.bytes());
        self.permit.resize(now).map_err(|error| self.over_budget(error))?;
        Ok(Drafted { draft, _permit: self.permit })
    }

    fn over_budget(&self, error: OverBudget) -> Refused {
        self.shared.metrics.hit(LimitHit::of(error));
        Refused::over_budget(error, self.shared.limits.retry_after)
    }

    fn cannot_inflate(&self, error: &InflateError) -> Refused {
        match error {
            InflateError::Memory(error) => self.shared.metrics.hit(LimitHit::of(*error)),
            InflateError::TooLarge { .. } => self.shared.metrics.hit(LimitHit::RequestBytes),
            InflateError::Ratio { .. } => self.shared.metrics.hit(LimitHit::InflateRatio),
            InflateError::Corrupt(_) => {}
        }
        Refused::inflate(error, self.shared.limits.retry_after)
    }
}

fn broken() -> Refused {
    Refused::new(Kind::Internal, "the request could not be processed: do not send it again")
}
