//! The one door through which an entry becomes bytes.
//!
//! | file | holds |
//! |---|---|
//! | `protector.rs` | `Protector`, `TenantProtector`: what happens to an entry, in order |
//! | `attributes.rs` | `AttributeProtector`: the same cleaning for values that are no entry yet |
//! | `settings.rs` | `Settings`: the `audit:` block of the configuration |
//! | `keys.rs` | `Keys`: the root key on disk, and ids, pseudonyms and hashes derived from it |
//! | `hashing.rs` | keyed hashes, `Commitment`s, mode `hash` |
//! | `originals.rs` | the commitment by which who is given an original can check it |
//! | `seal.rs` | payloads sealed for one subject: the bytes of mode `full` |
//! | `subject_key.rs`, `subjects.rs`, `subject_files.rs` | subjects' keys, in memory and on disk |
//! | `erasure_order.rs` | an erasure as it is ordered |
//! | `subject_field.rs` | which field of an entry names its subject |
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

#[cfg(feature = "layer")]
mod attributes;
mod cards;
pub mod display;
#[cfg(feature = "server")]
mod erasure_order;
#[cfg(feature = "server")]
mod hashing;
#[cfg(feature = "server")]
mod keys;
mod literals;
mod names;
#[cfg(feature = "server")]
mod originals;
#[cfg(feature = "server")]
mod payload_names;
#[cfg(feature = "server")]
mod protector;
#[cfg(feature = "server")]
mod record;
#[cfg(feature = "server")]
mod redact;
#[cfg(feature = "server")]
mod salt;
#[cfg(feature = "server")]
mod seal;
#[cfg(feature = "server")]
mod settings;
mod shapes;
#[cfg(feature = "server")]
mod subject_field;
#[cfg(feature = "server")]
mod subject_files;
#[cfg(feature = "server")]
mod subject_key;
#[cfg(feature = "server")]
mod subjects;
mod text;
mod tokens;
#[cfg(feature = "server")]
mod walk;

#[cfg(feature = "layer")]
pub use attributes::{AttributeProtector, FieldRule};
#[cfg(feature = "server")]
pub use erasure_order::{Destroyed, ErasureOrder, OrderedBy};
#[cfg(feature = "server")]
pub use hashing::Commitment;
#[cfg(feature = "server")]
pub use keys::{Keys, KeysError, ROOT_KEY_FILE, ROOT_KEY_LEN, TenantKeys};
#[cfg(feature = "server")]
pub(crate) use keys::{demand_private, place_private};
#[cfg(feature = "server")]
pub use originals::{ORIGINALS_KIND, OriginalsList, original_mark};
#[cfg(feature = "server")]
pub use protector::{ProtectError, Protected, Protector, TenantProtector, Unsealed};
#[cfg(feature = "server")]
pub use seal::{SealedBytesError, SealedFor, Taken, originals_value};
#[cfg(feature = "server")]
pub use settings::{
    DEFAULT_RETENTION_DAYS, MAX_FIELD_NAME_BYTES, MAX_REDACT_FIELDS, MAX_SUBJECT_FIELDS, ModeTable,
    Modes, Notice, PayloadMode, PayloadSettings, Settings, SettingsError, SinkKind,
    commitment_kind, payload_kind,
};
#[cfg(feature = "server")]
pub use subject_field::{InvalidSubjectField, SubjectField};
#[cfg(feature = "server")]
pub use subject_files::SubjectKeyError;
#[cfg(feature = "server")]
pub use subject_key::{KeyId, Pseudonym, SubjectKey};
#[cfg(feature = "server")]
pub use subjects::{
    FoundKey, FreshKeys, MAX_CACHED_SUBJECT_KEYS, SealError, SubjectKeyCounts, SubjectKeys,
};

/// Why there is no protector: the names in `audit.redact_fields` are too much to search for.
#[derive(Debug, thiserror::Error)]
#[error("audit.redact_fields is too long to search for; list fewer or shorter names")]
pub struct ProtectorError(#[source] aho_corasick::BuildError);

/// Whether the field at that path holds an id: number rules and look-alikes leave it alone, joins
/// depend on it.
fn is_id_place(path: &str) -> bool {
    let path = path.split('[').next().unwrap_or_default();
    let name = path.rsplit(['.', '_']).next().unwrap_or_default();
    matches!(name, "id" | "hash" | "snapshot") || name.ends_with("Id")
}
