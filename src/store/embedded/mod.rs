//! The embedded store: an index beside the ledger.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`EmbeddedStore`]: open, query, trace |
//! | `write.rs` | entries → keys and blocks of tags; mending |
//! | `listing.rs` | what is listed of an entry: keys and tags |
//! | `block.rs` | the tags of a block of entries |
//! | `run.rs`, `ids.rs` | keys: sorted runs on disk, and the open one in memory |
//! | `dictionary.rs` | tags: tantivy, a document for a block |
//! | `plan.rs`, `ranges.rs` | a question → where to look |
//! | `search.rs` | windows from one end of the ledger, until a page is full |
//! | `members.rs` | groups over the index |
//! | `manifest.rs` | version, secret, and whose index it is |
//!
//! # Files
//!
//! ```text
//! index/manifest.json                     another version or ledger: all is built again
//! index/ids-<first>-<end>.run             one for 65,536 entries, sixteen become one
//! index/tags/…                            tantivy; its commit holds the sequence after the last
//! ```
//!
//! # What is found when
//!
//! ```text
//!  0 ──────────────── runs on disk ──────┬── open run ──┐
//!  0 ──────── committed tags ─┬──────────┼──────────────┼─ watermark
//!                             └ read by questions for tags
//! ```
//!
//! Ids are listed for each entry; tags for a block of entries at once, since the entries of one
//! agent share most of them. So a tag proposes blocks, and a question for two common tags that
//! never stand on one entry reads all blocks that have both. What people ask together with a kind
//! is listed together with it.
//!
//! Nothing durable is ever missed: entries that a part of the index does not have yet are read
//! from the ledger and looked at. The index only makes that less. Everything here can be deleted:
//! it is built again from the ledger, and comes out the same.

mod block;
mod dictionary;
mod ids;
mod listing;
mod manifest;
mod members;
mod plan;
mod ranges;
mod run;
mod search;
mod write;

use super::memory::hit;
use super::query::{Clock, Compiled};
use super::story::{group_of, page_of};
use super::{
    AuditStore, Cursor, CursorError, EntryView, Hit, MAX_PAGE, Order, Page, QueryRequest,
    StoreError, TraceRequest, TraceStory, deadline,
};
use crate::correlate::{JoinRules, Member, keep_first};
use crate::ledger::Reader;
use dictionary::Dictionary;
use ids::{Damaged, Ids, Opened, Snapshot};
use listing::Lister;
use manifest::Manifest;
use members::IndexedMembers;
use plan::{Indexed, Plan, Planner};
use search::{Direction, End, Search, collect_hits, collect_members, unreadable};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use write::Writing;

/// Settings of the index; the default is right for a server.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Name of the ledger, as documents show it.
    pub origin: String,
    /// What joins.
    pub rules: JoinRules,
    /// Whether words of texts are indexed. Without it the index costs half, and a question for
    /// words reads every entry that the rest of the question leaves. A change builds it again.
    pub words: bool,
    /// Entries in a run of ids. Another number builds the index again.
    pub run_entries: u64,
    /// Entries in a document of the dictionary: more cost less to write, and a question reads more
    /// that is no answer. Those of a block that is not full yet are read by each question for
    /// tags. Another number builds the index again.
    pub block_entries: u64,
    /// Entries between two commits of the dictionary; these are read by each question for tags.
    pub commit_entries: u64,
    /// Entries that are worth a commit when no more come for a while.
    pub idle_commit_entries: u64,
    /// The ledger's own window of duplicates: see [`crate::ledger::Options::window`].
    pub duplicate_window: u64,
    /// Most hits that are put in story order.
    pub max_sorted: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            origin: "spanledger".to_owned(),
            rules: JoinRules::default(),
            words: true,
            run_entries: 65_536,
            block_entries: 16,
            commit_entries: 50_000,
            idle_commit_entries: 5_000,
            duplicate_window: 1 << 20,
            max_sorted: 10_000,
        }
    }
}

/// How far an index is: plain numbers for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexStatus {
    /// Entries that are durable in the ledger.
    pub watermark: u64,
    /// Entries whose ids are listed.
    pub ids: u64,
    /// Entries whose ids are listed on disk.
    pub durable_ids: u64,
    /// Entries whose fields and words are listed: committed, added to the next commit, or in the
    /// block that is being filled.
    pub added_tags: u64,
    /// Entries whose fields and words are committed.
    pub tags: u64,
    /// Runs that were damaged and written again since the start.
    pub mended_runs: u64,
    /// Whether all of the index is being built again, since it was missing, damaged or of another
    /// version when it was opened.
    pub rebuilt: bool,
}

impl IndexStatus {
    /// How many entries the index is behind the ledger.
    pub fn lag(&self) -> u64 {
        self.watermark.saturating_sub(self.ids.min(self.added_tags))
    }
}

/// The store that comes with the ledger.
///
/// One consumer writes it; any number of threads ask. The consumer loop lives in `export`.
#[derive(Debug)]
pub struct EmbeddedStore {
    reader: Reader,
    options: IndexOptions,
    lister: Lister,
    ids: Ids,
    dictionary: Option<Dictionary>,
    writes: bool,
    /// Held by whoever changes the index.
    writing: Mutex<Writing>,
    /// Sequence after the last entry whose tags are listed, in a block that is not full too.
    listed_tags: AtomicU64,
    damaged: Mutex<Vec<Range<u64>>>,
    mended: AtomicU64,
    rebuilt: bool,
}

impl EmbeddedStore {
    /// Opens the index in `dir` to write it. An index that is missing, damaged, of another version
    /// or of another ledger is begun anew; damaged runs of ids are written again.
    ///
    /// # Errors
    /// [`StoreError`] when `dir` cannot be read or written, or another process writes it.
    pub fn open(dir: &Path, reader: Reader, options: IndexOptions) -> Result<Self, StoreError> {
        let known = Manifest::read(dir, reader.origin(), &options);
        if let Some(manifest) = known {
            match Self::open_parts(dir, reader.clone(), options.clone(), &manifest, false) {
                Err(StoreError::Damaged { .. }) => {}
                done => return done,
            }
        }
        let manifest = Manifest::begin(dir, reader.origin(), &options)?;
        Self::open_parts(dir, reader, options, &manifest, true)
    }

    /// Opens the index in `dir` for reading as it is: for programs beside or without a server. An
    /// index that cannot be used is passed over, and the ledger is read instead.
    ///
    /// # Errors
    /// [`StoreError`] when files cannot be read.
    pub fn open_read_only(
        dir: &Path,
        reader: Reader,
        options: IndexOptions,
    ) -> Result<Self, StoreError> {
        let manifest = Manifest::read(dir, reader.origin(), &options);
        let absent = dir.join("absent");
        let ids_dir: &Path = if manifest.is_some() { dir } else { &absent };
        let Opened { ids, .. } = Ids::open(ids_dir, options.run_entries, false)?;
        let dictionary = match &manifest {
            // What cannot be used is not: the ledger has everything.
            Some(_) => {
                Dictionary::open_read_only(&tags_dir(dir), options.block_entries).ok().flatten()
            }
            None => None,
        };
        let secret = manifest.map_or([0; 16], |manifest| manifest.secret());
        Ok(Self {
            lister: Lister::new(secret, options.words),
            ids,
            dictionary,
            writes: false,
            writing: Mutex::default(),
            listed_tags: AtomicU64::new(0),
            damaged: Mutex::default(),
            mended: AtomicU64::new(0),
            rebuilt: false,
            reader,
            options,
        })
    }

    fn open_parts(
        dir: &Path,
        reader: Reader,
        options: IndexOptions,
        manifest: &Manifest,
        rebuilt: bool,
    ) -> Result<Self, StoreError> {
        let Opened { ids, gaps } = Ids::open(dir, options.run_entries, true)?;
        let dictionary = Dictionary::open(&tags_dir(dir), options.block_entries)?;
        // An index ahead of its ledger is another ledger's, or that of a copy.
        if ids.end().max(dictionary.added()) > reader.watermark() {
            let context = "the index is ahead of the ledger; it is built again".to_owned();
            return Err(StoreError::Damaged { context, source: None });
        }
        let store = Self {
            lister: Lister::new(manifest.secret(), options.words),
            ids,
            writes: true,
            writing: Mutex::default(),
            listed_tags: AtomicU64::new(dictionary.added()),
            dictionary: Some(dictionary),
            damaged: Mutex::new(gaps),
            mended: AtomicU64::new(0),
            rebuilt,
            reader,
            options,
        };
        store.mend()?;
        Ok(store)
    }

    /// How far the index is.
    pub fn status(&self) -> IndexStatus {
        let tags = self.dictionary.as_ref().map_or(0, |dictionary| dictionary.view().end);
        IndexStatus {
            watermark: self.reader.watermark(),
            ids: self.ids.end(),
            durable_ids: self.ids.durable_end(),
            added_tags: self.listed_tags.load(Ordering::Relaxed).max(tags),
            tags,
            mended_runs: self.mended.load(Ordering::Relaxed),
            rebuilt: self.rebuilt,
        }
    }

    fn indexed(&self) -> Indexed {
        let ids =
            if self.writes || self.ids.end() > 0 { self.ids.snapshot() } else { Snapshot::empty() };
        Indexed { ids, dictionary: self.dictionary.as_ref().map(Dictionary::view) }
    }

    fn note_damage(&self, damage: Damaged) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if !damaged.contains(&damage.range) {
            damaged.push(damage.range);
        }
    }

    /// Answers; when damage was found on the way, mends it and answers again.
    fn answer<T>(&self, ask: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let answer = ask()?;
        let is_whole = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if is_whole || !self.writes {
            return Ok(answer);
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.mend()?;
        ask()
    }

    fn answer_query(&self, request: &QueryRequest) -> Result<Page, StoreError> {
        // The watermark is read first: all that was acknowledged before the call is below it.
        let watermark = self.reader.watermark();
        let indexed = self.indexed();
        let query = Compiled::new(&request.query, Clock::system());
        let plan = Planner::new(&self.lister, request.tenant.name()).plan(&query);
        let damaged = |damage| self.note_damage(damage);
        let search = self.search(request, &indexed, &query, &plan, &damaged);
        match request.order {
            Order::Newest => self.by_sequence(request, &search, Direction::Down, watermark),
            Order::Ledger => self.by_sequence(request, &search, Direction::Up, watermark),
            Order::Story => self.by_story(request, &search, watermark),
        }
    }

    fn answer_trace(&self, request: &TraceRequest) -> Result<TraceStory, StoreError> {
        let watermark = self.reader.watermark();
        let indexed = self.indexed();
        let damaged = |damage| self.note_damage(damage);
        let mut members = IndexedMembers {
            reader: &self.reader,
            indexed: &indexed,
            lister: &self.lister,
            tenant: request.tenant.name(),
            deadline: deadline(request.budget),
            watermark,
            damaged: &damaged,
            unlisted: None,
            out_of_time: false,
            pruned: BTreeSet::new(),
        };
        let rules = &self.options.rules;
        let mut group = group_of(&request.id, request.namespaces, &mut members, rules)?;
        let truncated = group.truncated || members.out_of_time;
        let pruned = members.pruned.into_iter().collect();
        let (page, next_cursor) =
            page_of(&mut group.members, request.order, request.cursor.as_ref(), request.limit)?;
        let entries = if request.documents { self.hits(page)? } else { places(page) };
        Ok(TraceStory {
            trace_ids: group.trace_ids,
            total: group.members.len(),
            entries,
            next_cursor,
            truncated,
            pruned,
        })
    }

    fn search<'s>(
        &'s self,
        request: &'s QueryRequest,
        indexed: &'s Indexed,
        query: &'s Compiled,
        plan: &'s Plan,
        damaged: &'s dyn Fn(Damaged),
    ) -> Search<'s> {
        Search {
            reader: &self.reader,
            indexed,
            lister: &self.lister,
            tenant: request.tenant.name(),
            query,
            plan,
            deadline: deadline(request.budget),
            duplicate_window: self.options.duplicate_window,
            damaged,
        }
    }

    /// Hits by sequence number: stops when the page is full.
    fn by_sequence(
        &self,
        request: &QueryRequest,
        search: &Search<'_>,
        direction: Direction,
        watermark: u64,
    ) -> Result<Page, StoreError> {
        let range = match (direction, &request.cursor) {
            (_, None) => 0..watermark,
            (Direction::Down, Some(Cursor::Below(end))) => 0..(*end).min(watermark),
            (Direction::Up, Some(Cursor::Above(last))) => last.saturating_add(1)..watermark,
            _ => return Err(CursorError::OtherOrder.into()),
        };
        let limit = request.limit.clamp(1, MAX_PAGE);
        let mut hits: Vec<Hit> = Vec::new();
        let end = {
            let mut take = collect_hits(&mut hits, limit, &self.options.origin);
            search.run(range, direction, &mut take)?
        };
        let cursor = |sequence: u64| match direction {
            Direction::Down => Cursor::Below(sequence),
            Direction::Up => Cursor::Above(sequence),
        };
        let next_cursor = match end {
            End::Complete => None,
            End::Enough => hits.last().map(|last| cursor(last.sequence)),
            End::OutOfTime(next) if direction == Direction::Up => {
                // Everything below `next` was looked at. Nothing before the first entry has a
                // cursor of its own: the page starts over.
                next.checked_sub(1).map(cursor)
            }
            End::OutOfTime(next) => Some(cursor(next)),
        };
        Ok(Page {
            hits,
            next_cursor,
            timed_out: matches!(end, End::OutOfTime(_)),
            truncated: false,
        })
    }

    /// Hits in story order: all are collected, sorted, and a page is cut.
    fn by_story(
        &self,
        request: &QueryRequest,
        search: &Search<'_>,
        watermark: u64,
    ) -> Result<Page, StoreError> {
        let most = self.options.max_sorted.saturating_add(1);
        let mut members: Vec<Member> = Vec::new();
        let end =
            search.run(0..watermark, Direction::Down, &mut collect_members(&mut members, most))?;
        let truncated = members.len() >= most;
        members.truncate(self.options.max_sorted);
        keep_first(&mut members);
        let (page, next_cursor) =
            page_of(&mut members, Order::Story, request.cursor.as_ref(), request.limit)?;
        let hits = self.hits(page)?;
        let timed_out = matches!(end, End::OutOfTime(_));
        Ok(Page { hits, next_cursor, timed_out, truncated: truncated || timed_out })
    }

    fn hits(&self, members: &[Member]) -> Result<Vec<Hit>, StoreError> {
        let mut hits = Vec::with_capacity(members.len());
        for member in members {
            if let Some(entry) = self.reader.get(member.sequence).map_err(unreadable)? {
                hits.push(hit(&EntryView::from(entry.as_ref()), &self.options.origin));
            }
        }
        Ok(hits)
    }
}

impl AuditStore for EmbeddedStore {
    fn write(&self, entries: &[EntryView<'_>]) -> Result<(), StoreError> {
        self.write_entries(entries)
    }

    /// Commits the dictionary when enough was added to be worth a segment. The rest is read from
    /// the ledger by each question, and again after a restart.
    fn flush(&self) -> Result<(), StoreError> {
        self.flush_blocks()
    }

    fn keep_ids(&self, end: u64) -> Result<(), StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.writes { self.ids.keep(end) } else { Ok(()) }
    }

    fn position(&self) -> Option<u64> {
        let tags = self.dictionary.as_ref().map_or(0, |dictionary| dictionary.view().end);
        Some(self.ids.durable_end().min(tags))
    }

    fn query(&self, request: &QueryRequest) -> Result<Page, StoreError> {
        self.answer(|| self.answer_query(request))
    }

    fn trace(&self, request: &TraceRequest) -> Result<TraceStory, StoreError> {
        self.answer(|| self.answer_trace(request))
    }
}

/// Where entries are, without their documents.
fn places(members: &[Member]) -> Vec<Hit> {
    let place = |member: &Member| Hit {
        sequence: member.sequence,
        id: member.entry,
        event_ns: member.event_ns,
        document: Vec::new(),
    };
    members.iter().map(place).collect()
}

fn tags_dir(dir: &Path) -> PathBuf {
    dir.join("tags")
}
