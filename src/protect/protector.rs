//! What happens to an entry on its way to bytes, in order.

use super::payload_names::PayloadNames;
use super::record::Record;
use super::seal::{SealedBytesError, Taken};
use super::settings::{ModeTable, PayloadMode, Settings};
use super::subject_field::SubjectField;
use super::subject_key::Pseudonym;
use super::subjects::FreshKeys;
use super::text::Cleaner;
use super::{
    Commitment, Keys, ProtectorError, SubjectKeyError, TenantKeys, hashing, redact, salt, seal,
};
use crate::access::Tenant;
use crate::entry::Entry;
use std::collections::HashMap;
use std::sync::Arc;

/// Why an entry was not written. Nothing of the entry is in the text.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a salt; try again")]
    Random(#[source] getrandom::Error),
    /// The entry could not be written as JSON.
    #[error("the entry could not be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// There is no key to seal the payloads with.
    #[error("the payloads cannot be sealed, so nothing was taken")]
    Key(#[from] SubjectKeyError),
    /// The payloads cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealedBytesError),
}

/// What became of an entry beside its body.
#[derive(Debug, Default)]
pub struct Protected {
    /// Commitments to its payloads.
    pub commitments: Vec<Commitment>,
    /// What mode `full` took out of it: to be sealed, or to be forgotten.
    pub unsealed: Option<Unsealed>,
}

/// Payloads that are to be sealed: see [`TenantProtector::seal`].
#[derive(Debug)]
pub struct Unsealed {
    subject: Pseudonym,
    texts: Vec<Taken>,
}

/// Makes what protects entries, for each tenant. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Protector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: Keys,
    names: PayloadNames,
    modes: ModeTable,
    tenants: HashMap<Tenant, ModeTable>,
    cleaner: Cleaner,
    subject: Vec<SubjectField>,
    seals: bool,
}

impl Protector {
    /// A protector with these settings, which [`Settings::validate`] has passed.
    ///
    /// # Errors
    /// [`ProtectorError`] when the listed fields cannot be searched for.
    pub fn new(settings: &Settings, keys: Keys) -> Result<Self, ProtectorError> {
        let tenants = settings
            .payloads
            .tenants
            .keys()
            .filter_map(|name| Tenant::new(name).ok())
            .map(|tenant| (tenant.clone(), settings.modes(&tenant)))
            .collect();
        Ok(Self(Arc::new(Inner {
            cleaner: Cleaner::new(settings.redact_credentials, &settings.redact_fields)?,
            keys,
            names: PayloadNames::new(&settings.payload_names),
            modes: settings.common_modes(),
            subject: settings.subject.clone(),
            seals: settings.seals(),
            tenants,
        })))
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Whether somebody's payloads are sealed.
    pub fn seals(&self) -> bool {
        self.0.seals
    }

    /// What protects the entries of one tenant: a request takes it once.
    pub fn tenant(&self, tenant: &Tenant) -> TenantProtector {
        let own = self.0.tenants.get(tenant).copied();
        TenantProtector {
            keys: self.0.keys.tenant(tenant),
            modes: own.unwrap_or(self.0.modes),
            inner: Arc::clone(&self.0),
        }
    }
}

/// Protects the entries of one tenant and writes them.
#[derive(Debug, Clone)]
pub struct TenantProtector {
    inner: Arc<Inner>,
    keys: Arc<TenantKeys>,
    modes: ModeTable,
}

impl TenantProtector {
    /// The tenant's keys.
    pub fn keys(&self) -> &TenantKeys {
        &self.keys
    }

    /// Protects the entry and appends its body to `body`. Afterwards `entry` is what was written.
    ///
    /// # Errors
    /// [`ProtectError`]; then nothing was appended.
    pub fn write(
        &self,
        entry: &mut Entry<'_>,
        body: &mut Vec<u8>,
    ) -> Result<Protected, ProtectError> {
        let start = body.len();
        let mut record = Record::default();
        let Inner { names, cleaner, .. } = &*self.inner;
        let subject = self.modes.has(PayloadMode::Full).then(|| self.subject(entry));
        let rules = hashing::Rules { keys: &self.keys, modes: self.modes, names, cleaner };
        let hashed = hashing::hash_payloads(entry, rules, &mut record)?;
        entry.audit.redactions.extend(record.into_redactions());
        self.encode(entry, body).map_err(|error| {
            body.truncate(start);
            ProtectError::Encode(error)
        })?;
        let texts = hashed.taken;
        let unsealed = subject.filter(|_| !texts.is_empty());
        let unsealed = unsealed.map(|subject| Unsealed { subject, texts });
        Ok(Protected { commitments: hashed.commitments, unsealed })
    }

    /// Seals payloads for the entry with that id. The key may be new: `fresh` must be
    /// [durable](super::SubjectKeys::make_durable) before the entry is appended.
    ///
    /// # Errors
    /// [`ProtectError`]; then there is nothing to store the entry with.
    pub fn seal(
        &self,
        id: &[u8; 16],
        unsealed: &Unsealed,
        fresh: &mut FreshKeys,
    ) -> Result<Vec<u8>, ProtectError> {
        let (Unsealed { subject, texts }, tenant) = (unsealed, self.keys.pseudonym());
        let key = self.inner.keys.subjects().key_for(subject, &tenant, fresh)?;
        let random = salt::salt().map_err(ProtectError::Random)?;
        let nonce = random.first_chunk().copied().unwrap_or_default();
        Ok(seal::seal(texts, subject, &key, nonce, id, &tenant)?)
    }

    /// Stands for the person whose payloads the entry has.
    fn subject(&self, entry: &Entry<'_>) -> Pseudonym {
        let name = self.inner.subject.iter().find_map(|field| field.of(entry));
        self.keys.subject(name.as_deref())
    }

    /// Writes first and looks at the bytes: nearly every entry has nothing to hide, and then one
    /// search over its encoding was all.
    fn encode(&self, entry: &mut Entry<'_>, body: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let cleaner = &self.inner.cleaner;
        let start = body.len();
        entry.write(body)?;
        let written = body.get(start..).unwrap_or_default();
        if !cleaner.suspects(written) && !redact::must_walk(entry, cleaner) {
            return Ok(());
        }
        let mut record = Record::default();
        redact::redact(entry, cleaner, &mut record);
        if record.is_empty() {
            return Ok(());
        }
        entry.audit.redactions.extend(record.into_redactions());
        body.truncate(start);
        entry.write(body)
    }
}
