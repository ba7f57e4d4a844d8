//! The tags of a block of entries, each once: they become one document of the dictionary.
//!
//! Nearly every tag and word of an entry stands on the entries beside it too. So the first thing
//! that is done with one is to look whether the block has it.

use super::dictionary::TagDocument;
use foldhash::fast::FixedState;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher};

/// Tags that a block has room for without memory of its own: what a text of a book needs is given
/// back after it.
const KEPT_ROOM: usize = 1 << 14;

/// A block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Sequence of the first entry.
    pub(super) first: u64,
    /// Sequence after the last entry that is in it.
    pub(super) end: u64,
    /// Times of the events, nanoseconds since 1970.
    times: Option<(u64, u64)>,
    tags: Vec<u8>,
    /// Hashes of the tags.
    seen: HashSet<u64, BuildHasherDefault<Hashed>>,
    /// Memory that is used again for each entry.
    pub(super) buffer: String,
}

/// The tenant of an entry, as tags begin with it.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) prefix: [u8; 4],
    hashes: FixedState,
}

impl Scope {
    /// `seed` is a secret of the index and the tenant: nobody who chooses words can make two of
    /// them look like one.
    pub(super) fn new(prefix: [u8; 4], seed: u64) -> Self {
        Self { prefix, hashes: FixedState::with_seed(seed) }
    }

    /// A number that stands for a tag.
    pub(super) fn hash(&self, code: u8, value: &[u8]) -> u64 {
        // An odd number with its bits spread: the golden ratio.
        const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut hasher = self.hashes.build_hasher();
        hasher.write(value);
        hasher.finish() ^ u64::from(code).wrapping_mul(SPREAD)
    }
}

impl Block {
    /// Begins an empty block.
    pub(super) fn begin(&mut self, first: u64) {
        (self.first, self.end, self.times) = (first, first, None);
        self.tags.clear();
        if self.seen.capacity() > KEPT_ROOM {
            self.seen = HashSet::default();
        }
        self.seen.clear();
    }

    /// Notes that all tags of the next entry are in the block.
    pub(super) fn note_entry(&mut self, event_ns: u64) {
        let (earliest, latest) = self.times.unwrap_or((event_ns, event_ns));
        self.times = Some((earliest.min(event_ns), latest.max(event_ns)));
        self.end = self.end.saturating_add(1);
    }

    /// Whether the block has a tag, or another spelling of it.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.seen.contains(&hash)
    }

    /// Notes that the block has a tag; whether it is new.
    pub(super) fn note(&mut self, hash: u64) -> bool {
        self.seen.insert(hash)
    }

    /// Adds a tag, unless the block has it.
    pub(super) fn add(&mut self, scope: &Scope, code: u8, value: &[u8]) {
        if self.note(scope.hash(code, value)) {
            self.push(scope, code, value);
        }
    }

    /// Adds a tag.
    pub(super) fn push(&mut self, scope: &Scope, code: u8, value: &[u8]) {
        const HEAD: usize = 5;
        let Ok(length) = u8::try_from(value.len().saturating_add(HEAD)) else { return };
        self.tags.push(length);
        self.tags.extend_from_slice(&scope.prefix);
        self.tags.push(code);
        self.tags.extend_from_slice(value);
    }

    /// The full block as a document, and begins the next one.
    pub(super) fn take(&mut self) -> TagDocument {
        let length = self.end.saturating_sub(self.first);
        let (earliest, latest) = self.times.unwrap_or_default();
        // The next block has about as many tags.
        let room = Vec::with_capacity(self.tags.len());
        let document = TagDocument {
            number: self.first.checked_div(length).unwrap_or(0),
            earliest,
            latest,
            tags: std::mem::replace(&mut self.tags, room),
        };
        self.begin(self.end);
        document
    }
}

/// A hasher for what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

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
