//! The one door through which an entry becomes bytes.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Protector`], [`TenantProtector`]: what happens to an entry, in order |
//! | `settings.rs` | [`Settings`]: the `audit:` block of the configuration |
//! | `keys.rs` | [`Keys`]: the root key on disk, and ids, pseudonyms and hashes derived from it |
//! | `hashing.rs` | keyed hashes, [`Commitment`]s, mode `hash` |
//! | `payload_names.rs` | names under which payloads stand outside `audit.payload` |
//! | `salt.rs` | random salts |
//! | `walk.rs` | every string of an entry, with its place |
//! | `redact.rs` | credentials and listed fields taken out of an entry |
//! | `text.rs` | the same of one text |
//! | `tokens.rs`, `shapes.rs` | what credentials look like |
//! | `names.rs` | values that are secret for the name they stand under, JSON in strings included |
//! | `cards.rs` | card numbers |
//! | `literals.rs` | many literals at once |
//! | [`display`] | text that is safe in a terminal or a log |
//! | `record.rs` | what was removed, and where |
//!
//! ```text
//! entry ─► keyed hash and commitment of each payload ─► mode `hash`: its text goes, everywhere
//!       ─► encode ─► one search over the bytes ─┬─ nothing found (nearly always): done
//!                                               └─ found: clean every string, record, encode again
//! ```
//!
//! Searching the encoding is sound because what hides a string in JSON does not hide a secret: the
//! alphabets of credentials have no character that is escaped, an escape before one ends a word, and
//! the escapes that could hide one (`\u0041`, `\/`) come only from JSON in a string and count as a
//! find. A property test holds it.
//!
//! What is **not** found: a secret split over several attributes; one that is encoded (base64,
//! percent, compressed) unless its name tells; a word of an unknown form under a harmless name;
//! credentials in bytes that are not UTF-8; short passwords in prose. Listed fields are found in
//! JSON and Python's notation, not in `email=…`. Who needs more drops the text: mode `hash`.

mod cards;
pub mod display;
mod hashing;
mod keys;
mod literals;
mod names;
mod payload_names;
mod record;
mod redact;
mod salt;
mod settings;
mod shapes;
mod text;
mod tokens;
mod walk;

pub use hashing::Commitment;
pub use keys::{Keys, KeysError, ROOT_KEY_FILE, ROOT_KEY_LEN, TenantKeys};
pub use settings::{
    DEFAULT_RETENTION_DAYS, MAX_FIELD_NAME_BYTES, MAX_REDACT_FIELDS, ModeTable, Modes, Notice,
    PayloadMode, PayloadSettings, Settings, SettingsError, SinkKind, commitment_kind,
};

use crate::access::Tenant;
use crate::entry::Entry;
use payload_names::PayloadNames;
use record::Record;
use std::collections::HashMap;
use std::sync::Arc;
use text::Cleaner;

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

/// Why there is no [`Protector`]: the names in `audit.redact_fields` are too much to search for.
#[derive(Debug, thiserror::Error)]
#[error("audit.redact_fields is too long to search for; list fewer or shorter names")]
pub struct ProtectorError(#[source] aho_corasick::BuildError);

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

/// Whether the field at that path holds an id: number rules and look-alikes leave it alone, joins
/// depend on it.
fn is_id_place(path: &str) -> bool {
    let path = path.split('[').next().unwrap_or_default();
    let name = path.rsplit(['.', '_']).next().unwrap_or_default();
    matches!(name, "id" | "hash" | "snapshot") || name.ends_with("Id")
}
