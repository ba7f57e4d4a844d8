//! What happens to an entry on its way to bytes, in order.

use super::payload_names::PayloadNames;
use super::record::Record;
use super::settings::{ModeTable, Settings};
use super::text::Cleaner;
use super::{Commitment, Keys, ProtectorError, TenantKeys, hashing, redact};
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
            tenants,
        })))
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
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
    ) -> Result<Vec<Commitment>, ProtectError> {
        let start = body.len();
        let mut record = Record::default();
        let names = &self.inner.names;
        let commitments =
            hashing::hash_payloads(entry, &self.keys, self.modes, names, &mut record)?;
        entry.audit.redactions.extend(record.into_redactions());
        self.encode(entry, body).map_err(|error| {
            body.truncate(start);
            ProtectError::Encode(error)
        })?;
        Ok(commitments)
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
