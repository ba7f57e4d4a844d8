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
use super::block::{Block, Scope};
use crate::correlate::{Id, Key, KeyMaker, Namespace};
use std::borrow::Cow;

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
const OF_KIND: u8 = 207;

/// Code of what a block notes and does not list: a short text all of whose words it has.
const WHOLE_TEXT: u8 = 250;

/// Longest text that a block notes as a whole, in bytes: longer ones seldom come again.
const MAX_WHOLE_TEXT: usize = 128;

/// Fields that people ask for together with a kind: `kind:tool_call and decision:blocked`. A tag
/// for both says that they stand on one entry, where two tags say no more than that they stand in
/// one block.
const LISTED_BY_KIND: [Field; 10] = [
    Field::Outcome,
    Field::OutcomeRaw,
    Field::EventOutcome,
    Field::Tool,
    Field::ApprovalStatus,
    Field::AgentName,
    Field::AgentId,
    Field::RequestModel,
    Field::ResponseModel,
    Field::Service,
];

/// Longest kind that is listed with other fields, in bytes: ours are shorter.
const MAX_KIND: usize = 32;

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

impl Lister {
    pub(super) fn new(secret: [u8; 16], words: bool) -> Self {
        Self { keys: KeyMaker::new(secret), words }
    }

    /// Lists the next entry of a block: appends its keys to `keys`, adds its tags to the block.
    pub(super) fn list(&self, entry: &EntryView<'_>, keys: &mut Vec<u64>, block: &mut Block) {
        let scope = self.scope(entry.envelope.tenant);
        self.list_ids(entry, keys);
        if self.words {
            self.list_words(entry, &scope, keys, block);
        }
        list_tags(entry, &scope, block);
        block.note_entry(entry.event_ns());
    }

    /// Lists the keys of an entry alone; `word` is scratch space.
    pub(super) fn list_keys(&self, entry: &EntryView<'_>, keys: &mut Vec<u64>, word: &mut String) {
        self.list_ids(entry, keys);
        let from = keys.len();
        for text in entry.facets().all_text().filter(|_| self.words) {
            for_each_word(text, word, |word| {
                if is_rare(word) {
                    keys.push(self.word_key(entry.envelope.tenant, word));
                }
            });
        }
        each_once(keys, from);
    }

    fn list_ids(&self, entry: &EntryView<'_>, keys: &mut Vec<u64>) {
        let tenant = entry.envelope.tenant;
        let facets = entry.facets();
        for id in &facets.ids {
            keys.extend(self.id_keys(tenant, id));
        }
        keys.extend(self.id_keys(tenant, &Id::new(Namespace::Entry, entry.id_text())));
        if facets.pause().is_some() {
            let threads = facets.ids_in(Namespace::Thread).take(1);
            keys.extend(threads.map(|thread| self.pause_key(tenant, thread)));
        }
    }

    fn list_words(
        &self,
        entry: &EntryView<'_>,
        scope: &Scope,
        keys: &mut Vec<u64>,
        block: &mut Block,
    ) {
        let from = keys.len();
        let mut buffer = std::mem::take(&mut block.buffer);
        for text in entry.facets().all_text() {
            let whole =
                (text.len() <= MAX_WHOLE_TEXT).then(|| scope.hash(WHOLE_TEXT, text.as_bytes()));
            if whole.is_some_and(|hash| block.has(hash)) {
                continue;
            }
            let listed = keys.len();
            for_each_word(text, &mut buffer, |word| {
                let hash = scope.hash(WORD, word.as_bytes());
                if block.has(hash) {
                    return;
                }
                // A rare word is listed for each entry, so the block does not note it.
                if !is_rare(word) {
                    block.note(hash);
                    block.push(scope, WORD, word.as_bytes());
                    return;
                }
                keys.push(self.word_key(entry.envelope.tenant, word));
                if let Some(start) = plain_beginning(word, RARE_PREFIX_BYTES) {
                    block.add(scope, RARE_PREFIX, start.as_bytes());
                }
            });
            // A text with a rare word is listed for each entry.
            if let Some(hash) = whole.filter(|_| keys.len() == listed) {
                block.note(hash);
            }
        }
        block.buffer = buffer;
        each_once(keys, from);
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

    /// The tag of a field with a value, both in lower case, on an entry of that kind. Of fields
    /// that are not listed so: the tag of the field.
    pub(super) fn field_tag_of_kind(
        &self,
        tenant: &str,
        kind: &str,
        field: Field,
        folded: &str,
    ) -> Tag {
        if !is_listed_by_kind(field) || kind.len() > MAX_KIND {
            return self.field_tag(tenant, field, folded);
        }
        let value = beginning(folded, MAX_TAG_VALUE);
        self.tag(tenant, OF_KIND, &of_kind(kind, field, value))
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
        let mut bytes = self.scope(tenant).prefix.to_vec();
        bytes.push(code);
        bytes.extend_from_slice(value);
        Tag(bytes)
    }

    /// Two tenants that fall together cost a look at an entry; whose it is stands there.
    fn scope(&self, tenant: &str) -> Scope {
        let Key(key) = self.keys.other(tenant, 0, &[]);
        Scope::new(key.to_le_bytes().first_chunk().copied().unwrap_or_default(), key)
    }
}

fn list_tags(entry: &EntryView<'_>, scope: &Scope, block: &mut Block) {
    let facets = entry.facets();
    // One, unless the body is not of our making.
    let kinds = facets.values(Field::Kind).map(folded).filter(|kind| kind.len() <= MAX_KIND);
    // Turned, so that a value that reads like the kind does not cancel it out.
    let hash = |kind: &str| scope.hash(OF_KIND, kind.as_bytes()).rotate_left(32);
    let kinds: Vec<(u64, Cow<'_, str>)> = kinds.map(|kind| (hash(&kind), kind)).collect();
    for (field, value) in &facets.fields {
        if field.class() == Class::Text {
            block.add(scope, HAS_FIELD, &[field.code()]);
            continue;
        }
        let hash = scope.hash(field.code(), value.as_bytes());
        if block.note(hash) {
            let value = folded(value);
            block.push(scope, field.code(), beginning(&value, MAX_TAG_VALUE).as_bytes());
        }
        for (kind_hash, kind) in kinds.iter().filter(|_| is_listed_by_kind(*field)) {
            if block.note(hash ^ kind_hash) {
                let value = folded(value);
                let both = of_kind(kind, *field, beginning(&value, MAX_TAG_VALUE));
                block.push(scope, OF_KIND, &both);
            }
        }
    }
    let mut last = None;
    for id in &facets.ids {
        let is_first = last.replace(id.namespace) != Some(id.namespace);
        if is_first && !is_everywhere(id.namespace) {
            block.add(scope, HAS_ID, &[id.namespace.code()]);
        }
        if let Some(start) = plain_beginning(&id.text, ID_PREFIX_BYTES) {
            block.add(scope, ID_PREFIX, start.as_bytes());
        }
    }
    if facets.text_was_cut {
        block.add(scope, TEXT_CUT, &[]);
    }
    if entry.envelope.conflict {
        block.add(scope, CONFLICT, &[]);
    }
}

/// A value in lower case. What a block notes is the value as it was written, so two spellings may
/// be listed twice: the dictionary takes a tag of a document once.
fn folded(value: &str) -> Cow<'_, str> {
    if value.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii()) {
        value.chars().flat_map(char::to_lowercase).collect::<String>().into()
    } else {
        value.into()
    }
}

fn is_listed_by_kind(field: Field) -> bool {
    LISTED_BY_KIND.contains(&field)
}

/// Kind, a zero, the code of a field, its value.
fn of_kind(kind: &str, field: Field, value: &str) -> Vec<u8> {
    [kind.as_bytes(), &[0, field.code()], value.as_bytes()].concat()
}

/// Leaves each of the keys from there on once.
fn each_once(keys: &mut Vec<u64>, from: usize) {
    match keys.get_mut(from..) {
        Some(new) if new.len() > 1 => new.sort_unstable(),
        _ => return,
    }
    let mut last = None;
    let mut at = 0_usize;
    keys.retain(|key| {
        let is_old = at < from;
        at = at.saturating_add(1);
        is_old || last.replace(*key) != Some(*key)
    });
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
