//! The records of one request on their way to becoming entries.

use super::identity::{Digester, Sha, of_further};
use super::receipts::Places;
use super::{Intake, IntakeError, RETRY_AFTER};
use crate::access::{Tenant, Tenants};
use crate::convert::{ResourceContext, ScopeContext};
use crate::entry::Entry;
use crate::ledger::{Batch, BatchError, Commitment, EntryId, NewEntry};
use crate::protect::TenantProtector;
use crate::span::{Record, Refusal, Resource, Scope, Sink};

/// The records of one request. Each is converted, protected and encoded when it is given, so a
/// draft holds the bytes of its entries and nothing else.
#[derive(Debug)]
pub struct Draft {
    intake: Intake,
    tenants: Tenants,
    /// Whose the record is that comes next.
    tenant: Tenant,
    protector: TenantProtector,
    received_ns: u64,
    digester: Digester,
    resource: ResourceContext,
    scope: ScopeContext,
    batch: Batch,
    body: Vec<u8>,
    records: u64,
    refused: u64,
    why: Option<Refusal>,
    places: Places,
    failure: Option<IntakeError>,
}

/// A draft that is whole.
pub(super) struct Finished {
    pub(super) batch: Batch,
    /// Records of which every entry is in the batch.
    pub(super) records: u64,
    pub(super) refused: u64,
    /// Why the first of those was refused.
    pub(super) why: Option<Refusal>,
    pub(super) places: Places,
}

impl Draft {
    pub(super) fn new(intake: Intake, tenants: Tenants, received_ns: u64) -> Self {
        let tenant = tenants.own().clone();
        let resource = intake.0.mappings.resource(&Resource::default());
        let scope = intake.0.mappings.scope(&Scope::default());
        let protector = intake.0.protector.tenant(&tenant);
        let batch = intake.0.ledger.batch();
        Self {
            intake,
            tenants,
            tenant,
            protector,
            received_ns,
            digester: Digester::default(),
            resource,
            scope,
            batch,
            body: Vec::new(),
            records: 0,
            refused: 0,
            why: None,
            places: Places::default(),
            failure: None,
        }
    }

    /// Makes room for entries of about that many bytes in all: what is moved when memory grows is
    /// moved for nothing.
    pub fn reserve(&mut self, bytes: usize) {
        self.batch.reserve(bytes);
    }

    /// Remembers where the entry of each record stands, so that the answer can have
    /// [`Receipts`](super::Receipts) for up to `most` records. To be called before the first.
    pub fn keep_receipts(&mut self, most: usize) {
        self.places = Places::up_to(most);
    }

    /// Bytes of memory that it holds, for the budget of whoever fills it.
    pub fn bytes(&self) -> usize {
        self.batch.bytes().saturating_add(self.body.capacity())
    }

    /// What is to be appended, and what the answer needs to know of it.
    pub(super) fn finish(self) -> Result<Finished, IntakeError> {
        let Self { batch, records, refused, why, places, failure, .. } = self;
        match failure {
            Some(failure) => Err(failure),
            None => Ok(Finished { batch, records, refused, why, places }),
        }
    }
}

/// What is the same for every entry of a record.
struct Envelope<'a> {
    intake: &'a Intake,
    tenant: &'a Tenant,
    protector: &'a TenantProtector,
    received_ns: u64,
    source_key: Option<[u8; 16]>,
}

impl Envelope<'_> {
    /// Protects and encodes one entry into the batch: the only way from an entry to bytes.
    fn seal(
        &self,
        digest: &Sha,
        entry: &mut Entry<'_>,
        body: &mut Vec<u8>,
        batch: &mut Batch,
    ) -> Result<(), Unsealed> {
        body.clear();
        let inner = &self.intake.0;
        let commitments = self.protector.write(entry, body).map_err(|error| {
            Unsealed::Failed(IntakeError::Unavailable {
                retry_after: RETRY_AFTER,
                reason: error.to_string(),
            })
        })?;
        let commitments: Vec<Commitment> = commitments.into_iter().map(ledger_commitment).collect();
        batch
            .push(&NewEntry {
                id: EntryId(self.protector.keys().entry_id(digest)),
                tenant: self.tenant.name(),
                tenant_pseudonym: self.protector.keys().pseudonym(),
                retention_class: inner.classes.of(self.tenant, entry.audit.kind),
                received_ns: self.received_ns,
                mapping_version: inner.mappings.version(),
                source_key: self.source_key,
                commitments: &commitments,
                sealed: &[],
                body,
            })
            .map_err(|error| match error {
                BatchError::BodyTooLong { .. } => Unsealed::TooLarge,
                error => Unsealed::Failed(IntakeError::TooLarge { reason: error.to_string() }),
            })
    }
}

/// The ledger knows nothing of ours, so it has a type of its own for the same thing.
pub(super) fn ledger_commitment(commitment: crate::protect::Commitment) -> Commitment {
    Commitment { kind: commitment.kind, value: commitment.value, salt: commitment.salt }
}

/// Why an entry did not become bytes.
enum Unsealed {
    TooLarge,
    Failed(IntakeError),
}

impl Sink for Draft {
    fn resource(&mut self, resource: &Resource<'_>) {
        let attributes = resource.attributes.iter();
        let texts = attributes.filter_map(|it| Some((it.key.as_str(), it.value.as_str()?)));
        let tenant = self.tenants.of_resource(texts);
        if *tenant != self.tenant {
            self.protector = self.intake.0.protector.tenant(tenant);
            self.tenant = tenant.clone();
        }
        self.digester.resource(resource);
        self.resource = self.intake.0.mappings.resource(resource);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.digester.scope(scope);
        self.scope = self.intake.0.mappings.scope(scope);
    }

    fn record(&mut self, record: Record<'_, '_>) {
        // None of them will be appended: the rest would be converted for nothing.
        if self.failure.is_some() {
            return;
        }
        let digest = self.digester.record(record);
        let source_key = match record {
            Record::Span(span) => {
                Some(self.protector.keys().source_key(&span.trace_id, &span.span_id))
            }
            Record::Log(_) => None,
        };
        let mut converted = self.intake.0.mappings.convert(&self.resource, &self.scope, record);
        let envelope = Envelope {
            intake: &self.intake,
            tenant: &self.tenant,
            protector: &self.protector,
            received_ns: self.received_ns,
            source_key,
        };
        let (body, batch) = (&mut self.body, &mut self.batch);
        let place = batch.len();
        let mut sealed = envelope.seal(&digest, &mut converted.entry, body, batch);
        // An audit event has no span id of its own to be in conflict about.
        let envelope = Envelope { source_key: None, ..envelope };
        for (number, further) in converted.further.iter_mut().enumerate() {
            if sealed.is_ok() {
                let digest = of_further(&digest, number as u64);
                sealed = envelope.seal(&digest, further, body, batch);
            }
        }
        match sealed {
            Ok(()) => {
                self.records = self.records.saturating_add(1);
                self.places.note(Some(place));
            }
            Err(Unsealed::TooLarge) => self.refuse(Refusal::TooLarge),
            Err(Unsealed::Failed(failure)) => {
                self.failure.get_or_insert(failure);
            }
        }
    }

    fn refuse(&mut self, why: Refusal) {
        self.refused = self.refused.saturating_add(1);
        self.why.get_or_insert(why);
        self.places.note(None);
    }
}
