//! Sealed payloads, opened and compared with what the ledger says of them.

use crate::access::Tenant;
use crate::entry::PayloadKind;
use crate::ledger::{EntryRef, SealedState};
use crate::protect::{
    Commitment, Keys, ORIGINALS_KIND, SealError, SealedBytesError, Taken, originals_value,
    payload_kind,
};
use std::fmt::Write as _;

/// A payload of mode `full`, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedPayload {
    /// What it is; `None` for a text that was taken out because it holds a payload.
    pub kind: Option<PayloadKind>,
    /// Where it stood in the entry: `audit.payload[0]`, `attributes.input.value`. The raw bytes of
    /// repaired text (`audit.invalid_text[0].base64`) are base64, as they are in an entry.
    pub place: String,
    /// The exact text.
    pub original: String,
    /// The text after redaction, when that is another one.
    pub redacted: Option<String>,
    /// HMAC-SHA256 of the original under the tenant's key: what the body has in its place.
    pub keyed_hash: [u8; 32],
    /// Its salt: HMAC-SHA256 with it of the original is its mark in the list that the leaf commits to
    /// ([`OriginalsList`](crate::protect::OriginalsList)). `None` in entries of before there was one.
    pub salt: Option<[u8; 32]>,
    /// Whether the ledger proves that this is what was sent: by a commitment in the leaf, or by
    /// the keyed hash in the body.
    pub proven: bool,
}

impl OpenedPayload {
    /// The text after redaction.
    pub fn shown(&self) -> &str {
        self.redacted.as_deref().unwrap_or(&self.original)
    }
}

/// Opens sealed payloads. Cheap to clone. It reads keys from the disk each time, so what was erased
/// does not open, and its calls belong on a thread that may block.
///
/// ```no_run
/// use spanledger::intake::Opener;
/// use spanledger::ledger::Reader;
/// use spanledger::protect::Keys;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let opener = Opener::new(Keys::open("data/keys".as_ref())?);
/// if let Some(entry) = Reader::open("data/ledger".as_ref())?.get(7)? {
///     for payload in opener.open(&entry.as_ref())? {
///         println!("{}: {}", payload.place, payload.shown());
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Opener(Keys);

impl Opener {
    /// An opener with these keys.
    pub fn new(keys: Keys) -> Self {
        Self(keys)
    }

    /// The payloads that are sealed beside the entry; none when none are.
    ///
    /// # Errors
    /// [`SealError`]: erased, missing, damaged, exchanged or pruned.
    pub fn open(&self, entry: &EntryRef<'_>) -> Result<Vec<OpenedPayload>, SealError> {
        if entry.pruned {
            return Err(SealError::Pruned);
        }
        let state = entry.sealed_state();
        match state {
            SealedState::Absent => return Ok(Vec::new()),
            SealedState::Missing => return Err(SealError::TakenOut),
            SealedState::Bound | SealedState::Unbound | SealedState::Changed => {}
        }
        let tenant = Tenant::new(entry.tenant).map_err(|_| SealedBytesError::Forged)?;
        let keys = self.0.tenant(&tenant);
        let texts = self.0.subjects().open(entry.sealed, &entry.id.0, &entry.tenant_pseudonym)?;
        let stated = entry.commitments.iter().find(|it| it.kind == ORIGINALS_KIND);
        if stated.is_some_and(|stated| originals_value(&texts) != Some(stated.value)) {
            return Err(SealError::NotCommitted { place: "this entry".to_owned() });
        }
        if state == SealedState::Changed {
            return Err(SealedBytesError::Forged.into());
        }
        let opened = texts.into_iter().filter(Taken::is_original).map(|text| {
            let keyed_hash = keys.payload_hash(text.original.as_bytes());
            compare(entry, text, keyed_hash, stated.is_some())
        });
        opened.collect()
    }
}

/// A text with what the ledger says of it; `listed` when the leaf was found to commit to it.
fn compare(
    entry: &EntryRef<'_>,
    text: Taken,
    keyed_hash: [u8; 32],
    listed: bool,
) -> Result<OpenedPayload, SealError> {
    let Taken { kind, place, original, redacted, salt } = text;
    let proven = if listed {
        true
    } else if let Some(salt) = salt {
        let value = Commitment::value_of(&salt, &keyed_hash);
        entry.commitments.iter().any(|it| it.kind == kind && it.value == value)
    } else {
        let mut shown = String::with_capacity(64);
        for byte in keyed_hash {
            let _ = write!(shown, "{byte:02x}");
        }
        memchr::memmem::find(entry.body, shown.as_bytes()).is_some()
    };
    if salt.is_some() && !proven {
        return Err(SealError::NotCommitted { place });
    }
    let kind = payload_kind(kind);
    Ok(OpenedPayload { kind, place, original, redacted, keyed_hash, salt, proven })
}
