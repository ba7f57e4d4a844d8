//! Entries that spanledger makes itself, about what was done to it.

use super::draft::ledger_commitment;
use super::{Intake, IntakeError, RETRY_AFTER, now_ns, unavailable};
use crate::access::Tenant;
use crate::entry::{Entry, EventPart, Kind, format_ns};
use crate::ledger::{Batch, EntryId, NewEntry};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Something that an operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorAction {
    /// Whose evidence it is: the tenant whom it concerns, else [`Tenant::system`].
    pub tenant: Tenant,
    /// When, nanoseconds since 1970.
    pub at_ns: u64,
    /// Who: `key:<id>`, `os:<user>`, `local`; `unknown` when nobody said.
    pub actor: String,
    /// What was done, as `event.action` has it: `credential.created`.
    pub action: &'static str,
    /// To what kind of thing: `credential`.
    pub target_type: &'static str,
    /// To which one.
    pub target: String,
    /// The same in words.
    pub message: String,
}

impl Intake {
    /// Puts on record what an operator did. The same action put on record twice is one entry.
    ///
    /// # Errors
    /// [`IntakeError`]; then it is not on record, and must not take effect.
    pub async fn record(&self, action: &OperatorAction) -> Result<(), IntakeError> {
        append(self, &action.tenant, operator_entry(action), action.at_ns).await
    }
}

fn operator_entry(action: &OperatorAction) -> Entry<'_> {
    let mut entry = Entry::new(Kind::OperatorAction);
    entry.timestamp = Cow::Owned(format_ns(action.at_ns));
    entry.message = Some(action.message.as_str().into());
    entry.event = EventPart {
        action: Some(action.action.into()),
        outcome: Some("success".into()),
        dataset: Some("spanledger".into()),
        ..EventPart::default()
    };
    entry.audit.actor.id = Some(action.actor.as_str().into());
    if action.actor != UNKNOWN_ACTOR {
        entry.audit.actor.kind = Some("user".into());
        entry.audit.actor.source = Some("authenticated".into());
    }
    entry.audit.target.id = Some(action.target.as_str().into());
    entry.audit.target.kind = Some(action.target_type.into());
    entry
}

/// The actor of what nobody said that he did it.
pub const UNKNOWN_ACTOR: &str = "unknown";

/// Makes an entry of ours durable. Its time keeps apart what else would be the same.
pub(super) async fn append(
    intake: &Intake,
    tenant: &Tenant,
    mut entry: Entry<'_>,
    at_ns: u64,
) -> Result<(), IntakeError> {
    let inner = &intake.0;
    let mut body = Vec::new();
    let protector = inner.protector.tenant(tenant);
    let failed = |reason: String| IntakeError::Unavailable { retry_after: RETRY_AFTER, reason };
    let commitments =
        protector.write(&mut entry, &mut body).map_err(|error| failed(error.to_string()))?;
    let commitments: Vec<_> = commitments.into_iter().map(ledger_commitment).collect();
    let keys = protector.keys();
    let mut batch = Batch::new();
    let mut digest = Sha256::new();
    digest.update(at_ns.to_le_bytes());
    digest.update(&body);
    batch
        .push(&NewEntry {
            id: EntryId(keys.entry_id(&digest.finalize().into())),
            tenant: tenant.name(),
            tenant_pseudonym: keys.pseudonym(),
            retention_class: inner.classes.of_own(tenant, entry.audit.kind),
            received_ns: now_ns(),
            mapping_version: inner.mappings.version(),
            source_key: None,
            commitments: &commitments,
            sealed: &[],
            body: &body,
        })
        .map_err(|error| IntakeError::TooLarge { reason: error.to_string() })?;
    inner.ledger.append(batch).await.map(drop).map_err(|error| unavailable(&error))
}
