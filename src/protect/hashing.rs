//! Payloads: keyed hash, commitment, and what modes `hash` and `full` take out of an entry.
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
//!
//! Mode `full` does the same, and hands over what it took so that it can be sealed: each text once,
//! with the salt of its commitment, which then is not in the ledger. A further commitment is to all of
//! these texts (`originals.rs`). A text that holds one of mode `hash` is not handed over.

use super::keys::TenantKeys;
use super::originals::ORIGINALS_KIND;
use super::payload_names::PayloadNames;
use super::record::Record;
use super::salt::{SALT_LEN, salt};
use super::seal::{Taken, originals_value};
use super::settings::{ModeTable, PayloadMode, commitment_kind};
use super::text::{Cleaner, field_rule, marker};
use super::walk::{Place, Visitor, walk};
use super::{ProtectError, is_id_place};
use crate::entry::{Entry, Json, Payload, SpanEvent};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::HashSet;

/// Rules under which values are recorded that modes `hash` and `full` replaced outside
/// `audit.payload`.
const HASH_RULE: &str = "payload_mode:hash";
const FULL_RULE: &str = "payload_mode:full";

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

/// Kind of a text that was taken because it holds a payload.
const NO_KIND: u8 = 0;

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
    /// [`commitment_kind`] of the payload; [`ORIGINALS_KIND`] for all that mode `full` took.
    pub kind: u8,
    /// HMAC-SHA256(salt, keyed hash); of the originals, the hash of their list.
    pub value: [u8; 32],
    /// 32 random bytes; zeros where it is sealed.
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

/// What became of an entry's payloads.
#[derive(Debug, Default)]
pub(super) struct Hashed {
    pub(super) commitments: Vec<Commitment>,
    /// What mode `full` took.
    pub(super) taken: Vec<Taken>,
}

/// By what payloads are hashed and taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'r> {
    pub(super) keys: &'r TenantKeys,
    pub(super) modes: ModeTable,
    pub(super) names: &'r PayloadNames,
    pub(super) cleaner: &'r Cleaner,
}

/// Hashes every payload of the entry, commits to it, and takes the text out where the mode says so.
pub(super) fn hash_payloads(
    entry: &mut Entry<'_>,
    rules: Rules<'_>,
    record: &mut Record,
) -> Result<Hashed, ProtectError> {
    let Rules { keys, modes, cleaner, .. } = rules;
    let mut commitments = Vec::with_capacity(entry.audit.payload.len().min(MAX_SINGLE));
    let mut rest = Vec::new();
    let mut taken = TakenTexts { cleaner, texts: Vec::new(), seen: HashSet::new() };
    let mut dropped = Vec::new();
    for (at, payload) in entry.audit.payload.iter_mut().enumerate() {
        let Some(text) = payload.text.as_ref() else { continue };
        let hash = keys.payload_hash(text.as_bytes());
        let mode = modes.of(payload.kind);
        let kind = commitment_kind(payload.kind);
        let single = commitments.len() < MAX_SINGLE;
        let mut salt = None;
        if single {
            let mut commitment = commit(kind, &hash)?;
            if mode == PayloadMode::Full {
                salt = Some(std::mem::take(&mut commitment.salt));
            }
            commitments.push(commitment);
        } else {
            rest.extend_from_slice(&hash);
        }
        payload.hash = Some(Cow::Owned(hex(&hash)));
        if payload.bytes == 0 {
            payload.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        }
        if mode == PayloadMode::Full {
            // Each payload of its own, also when another one says the same: each has its salt.
            taken.seen.insert(hash);
            taken.add(kind, &format!("audit.payload[{at}]"), &payload.source, text, salt);
        }
        if mode != PayloadMode::Redact {
            dropped.extend(payload.text.take().map(|text| Dropped { text, mode }));
        }
    }
    if !rest.is_empty() {
        let mut shared = commit(SHARED_KIND, &Sha256::digest(&rest).into())?;
        if !taken.texts.is_empty() {
            let salt = std::mem::take(&mut shared.salt);
            taken.add(SHARED_KIND, "audit.payload", "", "", Some(salt));
        }
        commitments.push(shared);
    }
    if modes.any_taken() {
        Sweep::new(dropped, rules, record, &mut taken).run(entry);
    }
    let mut texts = taken.texts;
    commitments.extend(commit_to_originals(&mut texts)?);
    Ok(Hashed { commitments, taken: texts })
}

/// Salts the texts that have no salt yet, and commits to all of them.
fn commit_to_originals(texts: &mut [Taken]) -> Result<Option<Commitment>, ProtectError> {
    for text in texts.iter_mut().filter(|text| text.salt.is_none()) {
        text.salt = Some(salt().map_err(ProtectError::Random)?);
    }
    let value = originals_value(texts);
    Ok(value.map(|value| Commitment { kind: ORIGINALS_KIND, value, salt: [0; SALT_LEN] }))
}

/// What mode `full` took so far.
struct TakenTexts<'c> {
    cleaner: &'c Cleaner,
    texts: Vec<Taken>,
    /// Keyed hashes of them: a text that stands in several places is kept once.
    seen: HashSet<[u8; 32]>,
}

impl TakenTexts<'_> {
    /// Keeps a text that was called `name`, and what redaction would have left of it.
    fn add(&mut self, kind: u8, place: &str, name: &str, text: &str, salt: Option<[u8; SALT_LEN]>) {
        let redacted = match self.cleaner.field(name, place) {
            Some(field) => Some(marker(&field_rule(field))),
            None => self.cleaner.clean(text, false, |_| {}),
        };
        let (place, original) = (place.to_owned(), text.to_owned());
        self.texts.push(Taken { kind, place, original, redacted, salt });
    }

    /// Keeps the raw bytes of a text that was repaired. Their redacted form is nothing, because
    /// the repaired text has one of its own.
    fn add_raw(&mut self, place: &str, base64: &str) {
        let (place, original) = (place.to_owned(), base64.to_owned());
        let redacted = Some(String::new());
        self.texts.push(Taken { kind: NO_KIND, place, original, redacted, salt: None });
    }
}

/// The text of a payload that leaves the body.
struct Dropped<'s> {
    text: Cow<'s, str>,
    mode: PayloadMode,
}

/// Takes payloads out of everything but `audit.payload`.
struct Sweep<'s, 'c> {
    rules: Rules<'s>,
    record: &'s mut Record,
    taken: &'s mut TakenTexts<'c>,
    /// Texts to look for, the longest first.
    dropped: Vec<Dropped<'s>>,
    /// Whether anything was dropped.
    any: bool,
    /// Whether anything was dropped that nobody may see again.
    any_hash: bool,
    /// What the whole body of the log record is, when it is a payload.
    body: Option<Because>,
}

/// Why a text leaves the body.
#[derive(Debug, Clone, Copy)]
struct Because {
    mode: PayloadMode,
    /// As a commitment has it.
    kind: u8,
}

impl<'s, 'c> Sweep<'s, 'c> {
    fn new(
        mut dropped: Vec<Dropped<'s>>,
        rules: Rules<'s>,
        record: &'s mut Record,
        taken: &'s mut TakenTexts<'c>,
    ) -> Self {
        let any = !dropped.is_empty();
        let any_hash = dropped.iter().any(|it| it.mode == PayloadMode::Hash);
        dropped.retain(|it| it.text.len() >= MIN_SWEPT_BYTES);
        dropped.sort_unstable_by(|a, b| {
            b.text.len().cmp(&a.text.len()).then_with(|| a.text.cmp(&b.text))
        });
        // Of equal texts the one that nobody may see again stays.
        dropped.dedup_by(|later, first| {
            let same = later.text == first.text;
            if same && later.mode == PayloadMode::Hash {
                first.mode = PayloadMode::Hash;
            }
            same
        });
        dropped.truncate(MAX_SWEPT);
        Self { rules, record, taken, dropped, any, any_hash, body: None }
    }

    fn run(mut self, entry: &mut Entry<'_>) {
        let event_name = entry.log.event_name.clone().or_else(|| {
            let name = entry.attributes.get("event.name")?.as_str()?;
            Some(Cow::Owned(name.to_owned()))
        });
        if let Some(name) = event_name
            && let Some(because) = self.taken_for_its_name(&name)
        {
            self.body = Some(because);
            // The text of such a record is the payload again.
            if let Some(message) = entry.message.as_mut().filter(|message| **message != name) {
                self.take("message", message, because);
                *message = name;
            }
        }
        walk(entry, &mut self);
        if self.any {
            for (at, raw) in entry.audit.invalid_text.iter_mut().enumerate() {
                let place = format!("audit.invalid_text[{at}].base64");
                let base64 = std::mem::take(&mut raw.base64);
                if self.any_hash || base64.is_empty() {
                    self.record.add(HASH_RULE, &place);
                } else {
                    self.record.add(FULL_RULE, &place);
                    self.taken.add_raw(&place, &base64);
                }
            }
        }
    }

    /// Whether what has that name leaves the body.
    fn taken_for_its_name(&self, name: &str) -> Option<Because> {
        let kind = self.rules.names.kind(name)?;
        let because = Because { mode: self.rules.modes.of(kind), kind: commitment_kind(kind) };
        (because.mode != PayloadMode::Redact).then_some(because)
    }

    fn hash_value(&mut self, place: &str, value: &mut Json<'_>, because: Because) {
        let text = match *value {
            Json::Null => return,
            Json::Text(ref text) if text.is_empty() || is_hashed_text(text) => return,
            Json::Text(ref mut text) => std::mem::take(text),
            // Serialising a value of ours does not fail; what failed would be dropped all the same.
            ref other => serde_json::to_string(other).unwrap_or_default().into(),
        };
        *value = Json::Text(self.hashed(place, &text, because));
    }

    fn hashed(&mut self, place: &str, text: &str, because: Because) -> Cow<'static, str> {
        let hash = self.take(place, text, because);
        Cow::Owned(format!("[HASHED:{}]", hex(&hash)))
    }

    /// Notes that a text leaves the body, and keeps it where its mode says so. Gives its keyed hash.
    fn take(&mut self, place: &str, text: &str, because: Because) -> [u8; 32] {
        self.any = true;
        let hash = self.rules.keys.payload_hash(text.as_bytes());
        let forbidden = |it: &Dropped<'_>| it.mode == PayloadMode::Hash && holds(text, &it.text);
        if because.mode == PayloadMode::Hash || self.dropped.iter().any(forbidden) {
            self.any_hash = true;
            self.record.add(HASH_RULE, place);
        } else {
            self.record.add(FULL_RULE, place);
            if !text.is_empty() && self.taken.seen.insert(hash) {
                let name = place.rsplit('.').next().unwrap_or(place);
                self.taken.add(because.kind, place, name, text, None);
            }
        }
        hash
    }
}

fn holds(text: &str, part: &str) -> bool {
    part.len() <= text.len() && memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some()
}

/// Whether a text is what this module writes: it is not hashed again.
fn is_hashed_text(text: &str) -> bool {
    text.len() == "[HASHED:]".len().saturating_add(64)
        && text.starts_with("[HASHED:")
        && text.ends_with(']')
}

impl Visitor for Sweep<'_, '_> {
    fn text(&mut self, place: &Place, text: &mut Cow<'_, str>) {
        if is_id_place(place.path()) {
            return;
        }
        if let Some(held) = self.dropped.iter().find(|it| holds(text, &it.text)) {
            let because = Because { mode: held.mode, kind: NO_KIND };
            *text = self.hashed(place.path(), text, because);
        }
    }

    fn value(&mut self, place: &Place, value: &mut Json<'_>) -> bool {
        let path = place.path();
        if path.starts_with("resource.") || path.starts_with("scope.") {
            return false;
        }
        let body = self.body.filter(|_| path == "body");
        let Some(because) = body.or_else(|| self.taken_for_its_name(place.name())) else {
            return false;
        };
        self.hash_value(path, value, because);
        true
    }

    fn payload(&mut self, _: &Place, _: &mut Payload<'_>) -> bool {
        // Done already; what text is left here is of a kind whose text stays.
        true
    }

    fn event(&mut self, place: &Place, event: &mut SpanEvent<'_>) {
        let Some(because) = self.taken_for_its_name(&event.name) else { return };
        let at = format!("{}.attributes.", place.path());
        for (name, value) in event.attributes.iter_mut() {
            if !NOT_CONTENT.contains(&name) {
                self.hash_value(&format!("{at}{name}"), value, because);
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
