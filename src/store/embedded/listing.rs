//! What is listed of an entry: keys for the id runs, tags for the dictionary.
//!
//! ```text
//!  key   64-bit hash of (tenant, namespace, id), or of (tenant, a rare word)
//!  tag   ├ tenant u32 ┼ code u8 ┼ value, in lower case ┤
//! ```
//!
//! A dictionary is good at few values that many entries share, and dear for values of one entry
//! each. So ids, and words with digits in them, go to the runs; fields with few values and plain
//! words go to the dictionary. Both start with the tenant: no look-up can cross tenants.

use super::super::EntryView;
use super::super::fields::{Class, Field};
use super::super::query::tokens::{for_each_word, is_rare};
use crate::correlate::{Id, Key, KeyMaker, Namespace};
use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};

/// Longest value in a tag, in bytes; longer ones are cut, in questions too.
const MAX_TAG_VALUE: usize = 200;

/// Bytes at the beginning of an id, or of a rare word, that are listed for questions with a star.
const ID_PREFIX_BYTES: usize = 4;
const RARE_PREFIX_BYTES: usize = 3;

// Codes of tags beside those of fields, which are below 200.
const WORD: u8 = 200;
const RARE_PREFIX: u8 = 201;
const ID_PREFIX: u8 = 202;
const HAS_ID: u8 = 203;
const HAS_FIELD: u8 = 204;
const TEXT_CUT: u8 = 205;
const CONFLICT: u8 = 206;

// Codes of keys beside those of namespaces.
const KEY_RARE_WORD: u8 = 128;
const KEY_PAUSE: u8 = 129;

/// A tag of the dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Tag(pub(super) Vec<u8>);

/// Makes keys and tags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lister {
    keys: KeyMaker,
    /// Whether words of texts are listed.
    pub(super) words: bool,
}

/// What is listed of one entry.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// For the id runs.
    pub(super) keys: Vec<u64>,
    /// For the dictionary: each tag with its length in front.
    pub(super) tags: Vec<u8>,
}

/// Memory that is used again for each entry.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    word: String,
    seen: HashSet<u64, BuildHasherDefault<Hashed>>,
}

/// A hasher for what is a hash already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Lister {
    pub(super) fn new(secret: [u8; 16], words: bool) -> Self {
        Self { keys: KeyMaker::new(secret), words }
    }

    /// What is listed of an entry. `with_tags` leaves the dictionary out when it has the entry.
    pub(super) fn list(
        &self,
        entry: &EntryView<'_>,
        with_tags: bool,
        scratch: &mut Scratch,
    ) -> Listing {
        const TYPICAL_TAG_BYTES: usize = 2048;
        const TYPICAL_KEYS: usize = 24;
        let tags = if with_tags { Vec::with_capacity(TYPICAL_TAG_BYTES) } else { Vec::new() };
        let mut out = Listing { keys: Vec::with_capacity(TYPICAL_KEYS), tags };
        let tenant = entry.envelope.tenant;
        self.list_ids(entry, &mut out);
        if self.words {
            self.list_words(entry, with_tags, &mut out, scratch);
        }
        if with_tags {
            let prefix = self.tenant_prefix(tenant);
            list_tags(entry, prefix, &mut out.tags);
        }
        out
    }

    fn list_ids(&self, entry: &EntryView<'_>, out: &mut Listing) {
        let tenant = entry.envelope.tenant;
        let facets = entry.facets();
        for id in &facets.ids {
            out.keys.extend(self.keys.keys(tenant, id).map(|Key(key)| key));
        }
        let own = Id::new(Namespace::Entry, entry.id_text());
        out.keys.extend(self.keys.keys(tenant, &own).map(|Key(key)| key));
        if facets.pause().is_some() {
            let threads = facets.ids_in(Namespace::Thread).take(1);
            out.keys.extend(threads.map(|thread| self.pause_key(tenant, thread)));
        }
    }

    fn list_words(
        &self,
        entry: &EntryView<'_>,
        with_tags: bool,
        out: &mut Listing,
        scratch: &mut Scratch,
    ) {
        let tenant = entry.envelope.tenant;
        let prefix = self.tenant_prefix(tenant);
        let Scratch { word, seen } = scratch;
        seen.clear();
        let hasher = foldhash::fast::FixedState::default();
        for text in entry.facets().all_text() {
            for_each_word(text, word, |word| {
                if !seen.insert(hasher.hash_one(word)) {
                    return;
                }
                if is_rare(word) {
                    out.keys.push(self.word_key(tenant, word));
                    if with_tags && let Some(start) = plain_beginning(word, RARE_PREFIX_BYTES) {
                        push(&mut out.tags, prefix, RARE_PREFIX, start.as_bytes());
                    }
                } else if with_tags {
                    push(&mut out.tags, prefix, WORD, word.as_bytes());
                }
            });
        }
    }

    /// Every key of an id.
    pub(super) fn id_keys(&self, tenant: &str, id: &Id<'_>) -> impl Iterator<Item = u64> + use<> {
        self.keys.keys(tenant, id).map(|Key(key)| key)
    }

    /// The key of a rare word.
    pub(super) fn word_key(&self, tenant: &str, word: &str) -> u64 {
        self.keys.other(tenant, KEY_RARE_WORD, word.as_bytes()).0
    }

    /// The key of what stopped or resumed a run in a thread.
    pub(super) fn pause_key(&self, tenant: &str, thread: &Id<'_>) -> u64 {
        self.keys.other(tenant, KEY_PAUSE, thread.text.as_bytes()).0
    }

    /// The tag of a field with a value in lower case.
    pub(super) fn field_tag(&self, tenant: &str, field: Field, folded: &str) -> Tag {
        self.tag(tenant, field.code(), beginning(folded, MAX_TAG_VALUE).as_bytes())
    }

    /// The tag of a plain word.
    pub(super) fn word_tag(&self, tenant: &str, word: &str) -> Tag {
        self.tag(tenant, WORD, word.as_bytes())
    }

    /// The tag of rare words that start so; `None` when they are not listed by their beginning.
    pub(super) fn rare_prefix_tag(&self, tenant: &str, start: &str) -> Option<Tag> {
        let start = plain_beginning(start, RARE_PREFIX_BYTES)?;
        Some(self.tag(tenant, RARE_PREFIX, start.as_bytes()))
    }

    /// The tag of ids that start so; `None` when they are not listed by their beginning.
    pub(super) fn id_prefix_tag(&self, tenant: &str, start: &str) -> Option<Tag> {
        let start = plain_beginning(start, ID_PREFIX_BYTES)?;
        Some(self.tag(tenant, ID_PREFIX, start.as_bytes()))
    }

    /// The tag of entries that have an id of a namespace; `None` when nearly all have one.
    pub(super) fn has_id_tag(&self, tenant: &str, namespace: Namespace) -> Option<Tag> {
        (!is_everywhere(namespace)).then(|| self.tag(tenant, HAS_ID, &[namespace.code()]))
    }

    /// The tag of entries that have a field.
    pub(super) fn has_field_tag(&self, tenant: &str, field: Field) -> Tag {
        self.tag(tenant, HAS_FIELD, &[field.code()])
    }

    /// The tag of entries that have more text than is searched.
    pub(super) fn text_cut_tag(&self, tenant: &str) -> Tag {
        self.tag(tenant, TEXT_CUT, &[])
    }

    /// The tag of entries that conflict with another.
    pub(super) fn conflict_tag(&self, tenant: &str) -> Tag {
        self.tag(tenant, CONFLICT, &[])
    }

    fn tag(&self, tenant: &str, code: u8, value: &[u8]) -> Tag {
        let mut bytes = self.tenant_prefix(tenant).to_vec();
        bytes.push(code);
        bytes.extend_from_slice(value);
        Tag(bytes)
    }

    /// Two tenants that fall together cost a look at an entry; whose it is stands there.
    fn tenant_prefix(&self, tenant: &str) -> [u8; 4] {
        let Key(key) = self.keys.other(tenant, 0, &[]);
        key.to_le_bytes().first_chunk().copied().unwrap_or_default()
    }
}

fn list_tags(entry: &EntryView<'_>, tenant: [u8; 4], out: &mut Vec<u8>) {
    let facets = entry.facets();
    let mut folded = String::new();
    for (field, value) in &facets.fields {
        if field.class() == Class::Text {
            push(out, tenant, HAS_FIELD, &[field.code()]);
            continue;
        }
        let value = if value.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii()) {
            folded.clear();
            folded.extend(value.chars().flat_map(char::to_lowercase));
            folded.as_str()
        } else {
            value
        };
        push(out, tenant, field.code(), beginning(value, MAX_TAG_VALUE).as_bytes());
    }
    let mut last = None;
    for id in &facets.ids {
        let is_first = last.replace(id.namespace) != Some(id.namespace);
        if is_first && !is_everywhere(id.namespace) {
            push(out, tenant, HAS_ID, &[id.namespace.code()]);
        }
        if let Some(start) = plain_beginning(&id.text, ID_PREFIX_BYTES) {
            push(out, tenant, ID_PREFIX, start.as_bytes());
        }
    }
    if facets.text_was_cut {
        push(out, tenant, TEXT_CUT, &[]);
    }
    if entry.envelope.conflict {
        push(out, tenant, CONFLICT, &[]);
    }
}

fn push(out: &mut Vec<u8>, tenant: [u8; 4], code: u8, value: &[u8]) {
    const HEAD: usize = 5;
    let Ok(length) = u8::try_from(value.len().saturating_add(HEAD)) else { return };
    out.push(length);
    out.extend_from_slice(&tenant);
    out.push(code);
    out.extend_from_slice(value);
}

/// Whether nearly every entry has an id of a namespace, so that it says nothing to have one.
fn is_everywhere(namespace: Namespace) -> bool {
    matches!(namespace, Namespace::Trace | Namespace::Span | Namespace::Entry)
}

/// The first bytes of a text that long, when there is no digit among them: people give ids a
/// beginning in letters, `langsmith-run-…`, and machines give them random digits, which begin in
/// too many ways for a dictionary.
fn plain_beginning(text: &str, bytes: usize) -> Option<&str> {
    let start = beginning(text, bytes);
    let is_plain = text.len() >= bytes && !start.bytes().any(|b| b.is_ascii_digit());
    is_plain.then_some(start)
}

/// The first bytes of a text, cut between characters.
fn beginning(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// The tags of a listing, one by one.
#[derive(Debug, Clone)]
pub(super) struct Tags<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let (tag, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some(tag)
    }
}
