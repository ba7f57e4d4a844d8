//! A subject's payloads made unreadable for good, on record.
//!
//! ```text
//! order, durable ─► entry, durable ─► keys destroyed ─► order gone
//! ```
//!
//! Nothing is destroyed that is not on record, and nothing on record stays undone: an order that a
//! crash or a full disk interrupted is completed at the next start, or with the next erasure. The
//! entry of an order is the same one however often it is put on record.

use super::{Intake, IntakeError, own, unavailable};
use crate::access::Tenant;
use crate::entry::{Entry, EventPart, Json, Kind, format_ns};
use crate::ledger::AppendError;
use crate::protect::{ErasureOrder, OrderedBy, SubjectKeyError, SubjectKeys};
use std::borrow::Cow;

/// Longest name of a subject, bytes: longer ids are no ids.
pub const MAX_SUBJECT_BYTES: usize = 1024;

/// Longest reason, bytes: a sentence and the number of a request.
pub const MAX_REASON_BYTES: usize = 1024;

/// Shortest name of a subject that is looked for in reason and actor, characters: a shorter one stands in
/// any sentence.
const MIN_NAMED: usize = 3;

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureRequest {
    /// Whose evidence it is in.
    pub tenant: Tenant,
    /// The person; `None` for payloads of the tenant that belong to no person.
    pub subject: Option<String>,
    /// When it is ordered, nanoseconds since 1970.
    pub at_ns: u64,
    /// Who orders it.
    pub by: OrderedBy,
    /// Why, in one line.
    pub reason: String,
}

/// Why nothing was erased, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// What is asked for cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The reason, or who orders it, would put the subject's name on record for good.
    #[error(
        "`{0}` names the subject, and the ledger never forgets: give the number of the request as the reason, and \
         the name of whoever carries it out as the actor"
    )]
    NamesSubject(&'static str),
    /// The keys cannot be read or written.
    #[error("the keys cannot be destroyed now")]
    Keys(#[from] SubjectKeyError),
    /// It is ordered and cannot be put on record.
    #[error(
        "the erasure is ordered and cannot be put on record yet; it is completed with the next start of the server, \
         or with the next erasure"
    )]
    Record(#[source] IntakeError),
}

impl ErasureRequest {
    fn check(&self) -> Result<(), ErasureError> {
        let line = |text: &str, most: usize| {
            !text.trim().is_empty() && text.len() <= most && !text.chars().any(char::is_control)
        };
        if !line(&self.reason, MAX_REASON_BYTES) {
            return Err(ErasureError::Invalid(
                "`reason` says why, on one line of at most 1024 bytes",
            ));
        }
        if !line(&self.by.name, MAX_SUBJECT_BYTES) {
            return Err(ErasureError::Invalid(
                "`actor` says who orders it, on one line of at most 1024 bytes",
            ));
        }
        let Some(subject) = &self.subject else { return Ok(()) };
        if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES {
            return Err(ErasureError::Invalid(
                "`subject` is the id of a person as it was sent, 1 to 1024 bytes",
            ));
        }
        let names = |text: &str| text.to_lowercase().contains(&subject.to_lowercase());
        if subject.chars().count() < MIN_NAMED {
            return Ok(());
        }
        if names(&self.reason) {
            return Err(ErasureError::NamesSubject("reason"));
        }
        if names(&self.by.name) { Err(ErasureError::NamesSubject("actor")) } else { Ok(()) }
    }
}

impl Intake {
    /// Makes the payloads of a subject unreadable for good. When it returns, that is on record, the
    /// keys are destroyed, and what comes later from the subject is sealed with another key.
    ///
    /// # Errors
    /// [`ErasureError`]; with [`ErasureError::Record`] it will still happen.
    pub async fn erase(&self, request: ErasureRequest) -> Result<ErasureOrder, ErasureError> {
        request.check()?;
        self.complete_erasures().await?;
        let ErasureRequest { tenant, subject, at_ns, by, reason } = request;
        let order = self
            .with_keys(move |keys, of| {
                let pseudonym = of.tenant(&tenant).subject(subject.as_deref());
                keys.order(&tenant, pseudonym, subject.is_none(), at_ns, by, reason)
            })
            .await?;
        self.complete(order.clone()).await?;
        Ok(order)
    }

    /// Completes erasures that were interrupted, and says how many.
    ///
    /// # Errors
    /// [`ErasureError`]; they stay ordered.
    pub async fn complete_erasures(&self) -> Result<usize, ErasureError> {
        let orders = self.with_keys(|keys, _| keys.orders()).await?;
        let count = orders.len();
        for order in orders {
            self.complete(order).await?;
        }
        Ok(count)
    }

    async fn complete(&self, order: ErasureOrder) -> Result<(), ErasureError> {
        let entry = entry(&order);
        own::append(self, &order.tenant, entry, order.at_ns).await.map_err(ErasureError::Record)?;
        self.with_keys(move |keys, _| keys.destroy(&order)).await
    }

    /// Does something with the keys on a thread that may block.
    async fn with_keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SubjectKeys, &crate::protect::Keys) -> Result<T, SubjectKeyError>
        + Send
        + 'static,
    ) -> Result<T, ErasureError> {
        let keys = self.0.protector.keys().clone();
        let done = tokio::task::spawn_blocking(move || work(keys.subjects(), &keys)).await;
        // A thread that did not come to its end: the process is ending.
        let done = done.map_err(|_| ErasureError::Record(unavailable(&AppendError::Closed)))?;
        Ok(done?)
    }
}

fn entry(order: &ErasureOrder) -> Entry<'_> {
    let ErasureOrder { tenant, subject, whole, keys, at_ns, by, reason } = order;
    let mut entry = Entry::new(Kind::Erasure);
    entry.timestamp = Cow::Owned(format_ns(*at_ns));
    let (name, count) = (tenant.name(), keys.len());
    let whose = if *whole {
        format!("payloads of tenant {name} that belong to no subject")
    } else {
        format!("payloads of subject {subject} in tenant {name}")
    };
    let message = format!("erased the sealed {whose}: {count} key(s) destroyed");
    entry.message = Some(Cow::Owned(message));
    entry.event = EventPart {
        action: Some("payloads.erased".into()),
        outcome: Some("success".into()),
        reason: Some(reason.as_str().into()),
        dataset: Some("spanledger".into()),
        ..EventPart::default()
    };
    entry.audit.actor.id = Some(by.actor.as_str().into());
    entry.audit.actor.kind = Some("user".into());
    let source = if by.is_known() { "authenticated" } else { "asserted" };
    entry.audit.actor.source = Some(source.into());
    // What he calls himself stands beside who he is, and is a claim.
    entry.user.name = Some(by.name.as_str().into());
    entry.audit.target.id = Some(Cow::Owned(subject.to_string()));
    entry.audit.target.kind = Some("subject".into());
    let keys = keys.iter().map(|key| Json::Text(Cow::Owned(key.to_string()))).collect();
    entry.attributes.push("spanledger.erasure.keys".into(), Json::List(keys));
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subject: &str, reason: &str) -> ErasureRequest {
        ErasureRequest {
            tenant: Tenant::default(),
            subject: Some(subject.to_owned()),
            at_ns: 1,
            by: OrderedBy {
                actor: "local".to_owned(),
                authenticated: false,
                name: "ada".to_owned(),
            },
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_reason_that_would_put_the_subject_on_record_is_refused() {
        let refused = request("alice@example.org", "Alice@example.org asked for it").check();
        assert!(matches!(refused, Err(ErasureError::NamesSubject("reason"))), "{refused:?}");
        let mut by_herself = request("alice@example.org", "request 17 of 2026");
        by_herself.by.name = "Alice@Example.org".to_owned();
        let refused = by_herself.check();
        assert!(matches!(refused, Err(ErasureError::NamesSubject("actor"))), "{refused:?}");
        assert!(request("alice", "request 17 of 2026").check().is_ok());
        assert!(request("17", "request 17 of 2026").check().is_ok(), "too short to be told apart");
    }

    #[test]
    fn whoever_orders_it_is_who_the_system_says_and_his_own_word_is_a_claim() {
        let mut by = request("alice", "why").by;
        let order = |by: &OrderedBy| ErasureOrder {
            tenant: Tenant::default(),
            subject: crate::protect::Pseudonym([7; 16]),
            whole: false,
            keys: Vec::new(),
            at_ns: 1,
            by: by.clone(),
            reason: "why".to_owned(),
        };
        for (actor, source) in [("local", "asserted"), ("os:root", "authenticated")] {
            actor.clone_into(&mut by.actor);
            let order = order(&by);
            let entry = entry(&order);
            assert_eq!(entry.audit.actor.id.as_deref(), Some(actor));
            assert_eq!(entry.audit.actor.source.as_deref(), Some(source));
            assert_eq!(entry.user.name.as_deref(), Some("ada"));
        }
    }

    #[test]
    fn what_cannot_be_on_one_line_is_refused() {
        for (subject, reason) in [("", "why"), ("a", ""), ("a", " "), ("a", "b\nc")] {
            assert!(matches!(request(subject, reason).check(), Err(ErasureError::Invalid(_))));
        }
        let mut nobody = request("a", "why");
        nobody.by.name.clear();
        assert!(matches!(nobody.check(), Err(ErasureError::Invalid(_))));
    }
}
