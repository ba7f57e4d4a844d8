//! Payloads: keyed hash, commitment, and what mode `hash` takes out of an entry.
//!
//! ```text
//! text ── HMAC(payload key of the tenant) ──► keyed hash ── HMAC(random salt) ──► commitment
//!         one pass over the text              in the body                         in the leaf
//! ```
//!
//! In mode `hash` no text of a payload stays:
//!
//! | where it stood | what stands there afterwards |
//! |---|---|
//! | `audit.payload[].text` | nothing; `hash` and `bytes` tell what it was |
//! | an attribute, or a key in a log body, with the name of a payload | `[HASHED:<keyed hash>]` |
//! | a span event, or a log record, with the event name of a payload | the same for each of its values but role, id, index and the like |
//! | a string elsewhere that equals or holds a dropped text (16 bytes or longer, ids excepted) | `[HASHED:<keyed hash of that string>]` |
//! | raw bytes of repaired text | nothing, everywhere in an entry that lost a payload |

use super::keys::TenantKeys;
use super::payload_names::PayloadNames;
use super::record::Record;
use super::salt::{SALT_LEN, salt};
use super::settings::{ModeTable, PayloadMode, commitment_kind};
use super::walk::{Place, Visitor, walk};
use super::{ProtectError, is_id_place};
use crate::entry::{Entry, Json, Payload, SpanEvent};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// Rule under which values are recorded that mode `hash` replaced outside `audit.payload`.
const RULE: &str = "payload_mode:hash";

/// Shortest dropped text that is looked for elsewhere, bytes: `ok` or `1042` stand in many fields
/// with a meaning of their own.
const MIN_SWEPT_BYTES: usize = 16;

/// Most dropped texts that are looked for *within* other strings; the longest are taken. Beyond
/// that, texts are found elsewhere only when the names of the fields say what they are.
const MAX_SWEPT: usize = 64;

/// Payloads that have a commitment of their own. A transcript can have hundreds, and the ledger keeps
/// the commitments of an entry in its leaf: the payloads beyond share one, over the SHA-256 of their
/// keyed hashes in the order of `audit.payload`.
const MAX_SINGLE: usize = 64;

/// Kind of the commitment that the payloads beyond [`MAX_SINGLE`] share.
const SHARED_KIND: u8 = 0;

/// Names in an event of a payload that say what the payload is, not what it says.
const NOT_CONTENT: &[&str] = &[
    "role",
    "id",
    "index",
    "name",
    "type",
    "finish_reason",
    "event.name",
    "gen_ai.system",
    "gen_ai.provider.name",
    "gen_ai.operation.name",
];

/// A salted commitment to a payload. Only `kind` and `value` enter the ledger's leaf; the salt is
/// kept beside it and destroyed to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// [`commitment_kind`] of the payload.
    pub kind: u8,
    /// HMAC-SHA256(salt, keyed hash).
    pub value: [u8; 32],
    /// 32 random bytes.
    pub salt: [u8; SALT_LEN],
}

impl Commitment {
    /// The value that a salt and a keyed hash commit to.
    pub fn value_of(salt: &[u8; SALT_LEN], keyed_hash: &[u8; 32]) -> [u8; 32] {
        use hmac::Mac;
        let mut mac = super::keys::keyed(salt);
        mac.update(keyed_hash);
        mac.finalize().into_bytes().into()
    }

    /// Whether this commits to that keyed hash.
    pub fn verify(&self, keyed_hash: &[u8; 32]) -> bool {
        self.value == Self::value_of(&self.salt, keyed_hash)
    }
}

fn commit(kind: u8, hash: &[u8; 32]) -> Result<Commitment, ProtectError> {
    let salt = salt().map_err(ProtectError::Random)?;
    Ok(Commitment { kind, value: Commitment::value_of(&salt, hash), salt })
}

/// Hashes every payload of the entry, commits to it, and drops the text where the mode says so.
pub(super) fn hash_payloads(
    entry: &mut Entry<'_>,
    keys: &TenantKeys,
    modes: ModeTable,
    names: &PayloadNames,
    record: &mut Record,
) -> Result<Vec<Commitment>, ProtectError> {
    let mut commitments = Vec::with_capacity(entry.audit.payload.len().min(MAX_SINGLE));
    let mut rest = Vec::new();
    let mut dropped = Vec::new();
    for payload in &mut entry.audit.payload {
        let Some(text) = payload.text.as_ref() else { continue };
        let hash = keys.payload_hash(text.as_bytes());
        if commitments.len() < MAX_SINGLE {
            commitments.push(commit(commitment_kind(payload.kind), &hash)?);
        } else {
            rest.extend_from_slice(&hash);
        }
        payload.hash = Some(Cow::Owned(hex(&hash)));
        if payload.bytes == 0 {
            payload.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        }
        if modes.of(payload.kind) == PayloadMode::Hash {
            dropped.extend(payload.text.take());
        }
    }
    if !rest.is_empty() {
        commitments.push(commit(SHARED_KIND, &Sha256::digest(&rest).into())?);
    }
    if modes.any_hash() {
        Sweep::new(dropped, keys, modes, names, record).run(entry);
    }
    Ok(commitments)
}

/// Takes payloads out of everything but `audit.payload`.
struct Sweep<'s> {
    keys: &'s TenantKeys,
    modes: ModeTable,
    names: &'s PayloadNames,
    record: &'s mut Record,
    /// Texts to look for, the longest first.
    dropped: Vec<Cow<'s, str>>,
    /// Whether anything was dropped.
    any: bool,
    /// Whether the whole body of the log record is a payload.
    body: bool,
}

impl<'s> Sweep<'s> {
    fn new(
        mut dropped: Vec<Cow<'s, str>>,
        keys: &'s TenantKeys,
        modes: ModeTable,
        names: &'s PayloadNames,
        record: &'s mut Record,
    ) -> Self {
        let any = !dropped.is_empty();
        dropped.retain(|text| text.len() >= MIN_SWEPT_BYTES);
        dropped.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        dropped.dedup();
        dropped.truncate(MAX_SWEPT);
        Self { keys, modes, names, record, dropped, any, body: false }
    }

    fn run(mut self, entry: &mut Entry<'_>) {
        let event_name = entry.log.event_name.clone().or_else(|| {
            let name = entry.attributes.get("event.name")?.as_str()?;
            Some(Cow::Owned(name.to_owned()))
        });
        if let Some(name) = event_name.filter(|name| self.is_hashed(name)) {
            self.body = true;
            // The text of such a record is the payload again.
            if entry.message.as_ref().is_some_and(|message| *message != name) {
                self.record.add(RULE, "message");
                self.any = true;
                entry.message = Some(name);
            }
        }
        walk(entry, &mut self);
        if self.any {
            for (at, raw) in entry.audit.invalid_text.iter_mut().enumerate() {
                raw.base64 = Cow::Borrowed("");
                self.record.add(RULE, &format!("audit.invalid_text[{at}].base64"));
            }
        }
    }

    fn is_hashed(&self, name: &str) -> bool {
        self.names.kind(name).is_some_and(|kind| self.modes.of(kind) == PayloadMode::Hash)
    }

    fn hash_value(&mut self, place: &str, value: &mut Json<'_>) {
        let text = match *value {
            Json::Null => return,
            Json::Text(ref text) if text.is_empty() || is_hashed_text(text) => return,
            Json::Text(ref mut text) => std::mem::take(text),
            // Serialising a value of ours does not fail; what failed would be dropped all the same.
            ref other => serde_json::to_string(other).unwrap_or_default().into(),
        };
        *value = Json::Text(self.hashed(place, &text));
    }

    fn hashed(&mut self, place: &str, text: &str) -> Cow<'static, str> {
        self.any = true;
        self.record.add(RULE, place);
        Cow::Owned(format!("[HASHED:{}]", hex(&self.keys.payload_hash(text.as_bytes()))))
    }
}

/// Whether a text is what this module writes: it is not hashed again.
fn is_hashed_text(text: &str) -> bool {
    text.len() == "[HASHED:]".len().saturating_add(64)
        && text.starts_with("[HASHED:")
        && text.ends_with(']')
}

impl Visitor for Sweep<'_> {
    fn text(&mut self, place: &Place, text: &mut Cow<'_, str>) {
        let held = |dropped: &Cow<'_, str>| {
            dropped.len() <= text.len()
                && memchr::memmem::find(text.as_bytes(), dropped.as_bytes()).is_some()
        };
        if !is_id_place(place.path()) && self.dropped.iter().any(held) {
            *text = self.hashed(place.path(), text);
        }
    }

    fn value(&mut self, place: &Place, value: &mut Json<'_>) -> bool {
        let path = place.path();
        if path.starts_with("resource.") || path.starts_with("scope.") {
            return false;
        }
        let hash = (self.body && path == "body") || self.is_hashed(place.name());
        if hash {
            self.hash_value(path, value);
        }
        hash
    }

    fn payload(&mut self, _: &Place, _: &mut Payload<'_>) -> bool {
        // Done already; what text is left here is of a kind whose text stays.
        true
    }

    fn event(&mut self, place: &Place, event: &mut SpanEvent<'_>) {
        if !self.is_hashed(&event.name) {
            return;
        }
        let at = format!("{}.attributes.", place.path());
        for (name, value) in event.attributes.iter_mut() {
            if !NOT_CONTENT.contains(&name) {
                self.hash_value(&format!("{at}{name}"), value);
            }
        }
    }
}

/// Hexadecimal digits, lower case.
fn hex(bytes: &[u8; 32]) -> String {
    const LETTERS: u8 = b'a' - 10;
    let digit = |half: u8| if half < 10 { b'0' | half } else { half.saturating_add(LETTERS) };
    let mut text = [0; 64];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    String::from_utf8_lossy(&text).into_owned()
}
