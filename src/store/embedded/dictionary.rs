//! The dictionary of tags: few-valued fields and plain words, in tantivy.
//!
//! One document is one block of entries that follow each other in the ledger, so a document's
//! number and the first block of its segment say which entries it stands for. With 16 in a block:
//!
//! ```text
//!  segment A              segment B       …        commit: payload = sequence after the last
//!  0 ───────── 50,000 ───┼─ 50,000 ── 100,000 ─┤
//!  doc 0 is 0 to 15         doc 0 is 50,000 to 50,015
//! ```
//!
//! The entries of one agent share most of their tags, and a document has each once: that is what
//! makes blocks cheap. Segments are merged only with their neighbours, in order. Nothing is stored
//! but three columns: the number of the block, and its first and last time. Positions, frequencies
//! and norms are left out: which entries of a block answer is seen in the entries.

use super::super::StoreError;
use super::listing::{Tag, Tags};
use super::ranges::Ranges;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use tantivy::columnar::Column;
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy, UserOperation};
use tantivy::postings::SegmentPostings;
use tantivy::schema::document::{ReferenceValue, ReferenceValueLeaf};
use tantivy::schema::{BytesOptions, Document, Field, IndexRecordOption, Schema, Value};
use tantivy::{
    DocSet as _, FutureResult, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher,
    SegmentReader, TantivyError,
};

/// Memory in which a segment is made: 50,000 entries with their text fit.
const WRITER_BYTES: usize = 192 * 1024 * 1024;

/// Neighbours of about one size that are merged.
const MERGED: usize = 8;

/// Largest segment that is merged again, in entries.
const LARGEST_MERGED: u64 = 500_000;

/// Most terms that a question with a star looks at; beyond that entries are read instead.
const MAX_TERMS: usize = 20_000;

/// Size up to which all checksums are compared when the index is opened.
const CHECKED_BYTES: u64 = 1024 * 1024 * 1024;

// Their numbers follow from the order in which the schema names them.
const BLOCK: Field = Field::from_field_id(0);
const EARLIEST: Field = Field::from_field_id(1);
const LATEST: Field = Field::from_field_id(2);
const TAG: Field = Field::from_field_id(3);

fn schema() -> Schema {
    let mut builder = Schema::builder();
    builder.add_u64_field("block", tantivy::schema::FAST);
    builder.add_u64_field("earliest", tantivy::schema::FAST);
    builder.add_u64_field("latest", tantivy::schema::FAST);
    builder.add_bytes_field("tag", BytesOptions::default().set_indexed());
    builder.build()
}

/// What is written of one block of entries.
#[derive(Debug)]
pub(super) struct TagDocument {
    /// Number of the block: its first sequence number by its length.
    pub(super) number: u64,
    /// Times of the events, nanoseconds since 1970.
    pub(super) earliest: u64,
    pub(super) latest: u64,
    /// Each tag with its length in front.
    pub(super) tags: Vec<u8>,
}

/// A value of a document.
#[derive(Debug, Clone)]
pub(super) enum TagValue<'a> {
    Number(u64),
    Tag(&'a [u8]),
}

impl<'a> Value<'a> for TagValue<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = std::iter::Empty<(&'a str, Self)>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        ReferenceValue::Leaf(match self {
            TagValue::Number(number) => ReferenceValueLeaf::U64(*number),
            TagValue::Tag(tag) => ReferenceValueLeaf::Bytes(tag),
        })
    }
}

impl Document for TagDocument {
    type Value<'a> = TagValue<'a>;
    type FieldsValuesIter<'a> = Values<'a>;

    fn iter_fields_and_values(&self) -> Values<'_> {
        Values { document: self, done: 0, tags: Tags(&self.tags) }
    }

    // The values are in the order of the fields already.
    fn get_sorted_field_values(&self) -> Vec<(Field, Vec<TagValue<'_>>)> {
        /// Shortest tag with its length: a code and the tenant.
        const SHORTEST: usize = 6;
        let most = self.tags.len().checked_div(SHORTEST).unwrap_or(0);
        let mut tags = Vec::with_capacity(most);
        tags.extend(Tags(&self.tags).map(TagValue::Tag));
        vec![
            (BLOCK, vec![TagValue::Number(self.number)]),
            (EARLIEST, vec![TagValue::Number(self.earliest)]),
            (LATEST, vec![TagValue::Number(self.latest)]),
            (TAG, tags),
        ]
    }
}

/// The values of a document: tantivy walks them three times.
pub(super) struct Values<'a> {
    document: &'a TagDocument,
    done: u8,
    tags: Tags<'a>,
}

impl<'a> Iterator for Values<'a> {
    type Item = (Field, TagValue<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done == 3 {
            return self.tags.next().map(|tag| (TAG, TagValue::Tag(tag)));
        }
        self.done = self.done.saturating_add(1);
        Some(match self.done {
            1 => (BLOCK, TagValue::Number(self.document.number)),
            2 => (EARLIEST, TagValue::Number(self.document.earliest)),
            _ => (LATEST, TagValue::Number(self.document.latest)),
        })
    }
}

/// The dictionary.
pub(super) struct Dictionary {
    /// Entries in a block.
    block_entries: u64,
    reader: IndexReader,
    view: RwLock<Arc<View>>,
    /// Absent when opened for reading only.
    writer: Option<Mutex<Writer>>,
}

struct Writer {
    index: IndexWriter<TagDocument>,
    /// Sequence after the last block that was added.
    added: u64,
    merging: Option<Merge>,
}

type Merge = Pin<Box<FutureResult<Option<tantivy::SegmentMeta>>>>;

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").field("end", &self.view().end).finish_non_exhaustive()
    }
}

/// What is committed, at one moment.
pub(super) struct View {
    searcher: Searcher,
    /// In the order of the ledger.
    segments: Vec<Segment>,
    /// Sequence after the last block that is in it.
    pub(super) end: u64,
}

struct Segment {
    /// Which of the searcher's.
    ordinal: u32,
    range: Range<u64>,
    block_entries: u64,
    earliest: Column<u64>,
    latest: Column<u64>,
}

impl Dictionary {
    /// Opens the dictionary in `dir`, or begins one.
    pub(super) fn open(dir: &Path, block_entries: u64) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir)
            .map_err(|source| super::super::durable::io("create", dir, source))?;
        let directory =
            tantivy::directory::MmapDirectory::open(dir).map_err(|e| failed(e.into()))?;
        let index = Index::open_or_create(directory, schema()).map_err(failed)?;
        check(&index, dir)?;
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITER_BYTES)
            .build();
        let writer: IndexWriter<TagDocument> =
            index.writer_with_options(options).map_err(failed)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        let mut dictionary = Self::open_index(&index, block_entries)?;
        let added = dictionary.view().end;
        dictionary.writer = Some(Mutex::new(Writer { index: writer, added, merging: None }));
        Ok(dictionary)
    }

    /// Opens the dictionary in `dir` for reading as it is; `None` when there is none.
    pub(super) fn open_read_only(
        dir: &Path,
        block_entries: u64,
    ) -> Result<Option<Self>, StoreError> {
        if !dir.join("meta.json").exists() {
            return Ok(None);
        }
        let index = Index::open_in_dir(dir).map_err(failed)?;
        if index.schema() != schema() {
            return Ok(None);
        }
        Self::open_index(&index, block_entries).map(Some)
    }

    fn open_index(index: &Index, block_entries: u64) -> Result<Self, StoreError> {
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual);
        let reader: IndexReader = reader.try_into().map_err(failed)?;
        let view = RwLock::new(Arc::new(View::new(reader.searcher(), block_entries)?));
        Ok(Self { block_entries, reader, view, writer: None })
    }

    /// What is committed now.
    pub(super) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sequence after the last block that was added, committed or not.
    pub(super) fn added(&self) -> u64 {
        match &self.writer {
            Some(writer) => writer.lock().unwrap_or_else(PoisonError::into_inner).added,
            None => self.view().end,
        }
    }

    /// Adds blocks, which follow each other from [`Dictionary::added`] on. They are found after
    /// the next commit.
    pub(super) fn add(&self, documents: Vec<TagDocument>) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let Some(last) = documents.last().map(|d| d.number) else { return Ok(()) };
        // One message for all of them; they follow each other in one segment or the next.
        writer.index.run(documents.into_iter().map(UserOperation::Add)).map_err(failed)?;
        writer.added = last.saturating_add(1).saturating_mul(self.block_entries);
        Ok(())
    }

    /// Makes everything that was added durable and visible.
    pub(super) fn commit(&self) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        if writer.added == self.view().end {
            return Ok(());
        }
        let payload = writer.added.to_string();
        let committed = (|| {
            let mut commit = writer.index.prepare_commit()?;
            commit.set_payload(&payload);
            commit.commit()
        })();
        if let Err(error) = committed {
            // What was not committed is read from the ledger again.
            let _ = writer.index.rollback();
            writer.added = self.view().end;
            return Err(failed(error));
        }
        self.reload()?;
        self.merge(&mut writer)
    }

    fn writer(&self) -> Result<std::sync::MutexGuard<'_, Writer>, StoreError> {
        let writer = self.writer.as_ref().ok_or_else(|| {
            StoreError::Request("the index was opened for reading only".to_owned())
        })?;
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<(), StoreError> {
        self.reader.reload().map_err(failed)?;
        let view = Arc::new(View::new(self.reader.searcher(), self.block_entries)?);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(())
    }

    /// Begins to merge neighbours of one size, one merge at a time, in the background.
    fn merge(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if let Some(merge) = &mut writer.merging {
            match merge.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return Ok(()),
                // A merge that failed is begun again with the next commit.
                Poll::Ready(_) => {
                    writer.merging = None;
                    self.reload()?;
                }
            }
        }
        if let Some(ids) = self.view().neighbours() {
            writer.merging = Some(Box::pin(writer.index.merge(&ids)));
        }
        Ok(())
    }
}

impl View {
    fn new(searcher: Searcher, block_entries: u64) -> Result<Self, StoreError> {
        let mut segments = Vec::new();
        for (ordinal, reader) in (0_u32..).zip(searcher.segment_readers()) {
            segments.push(Segment::new(ordinal, reader, block_entries)?);
        }
        segments.sort_unstable_by_key(|segment| segment.range.start);
        let mut end = 0;
        for segment in &segments {
            if segment.range.start != end {
                let context = format!("the index has no entries from {end} on; it is rebuilt");
                return Err(StoreError::Damaged { context, source: None });
            }
            end = segment.range.end;
        }
        Ok(Self { searcher, segments, end })
    }

    /// The first neighbours that are worth merging.
    fn neighbours(&self) -> Option<Vec<SegmentId>> {
        const SMALL: u64 = 60_000;
        let level = |segment: &Segment| {
            let entries = segment.range.end.saturating_sub(segment.range.start);
            match entries {
                0..=SMALL => Some(0),
                _ if entries <= LARGEST_MERGED => Some(1),
                _ => None,
            }
        };
        let found = self.segments.windows(MERGED).find(|window| {
            let first = window.first().and_then(level);
            first.is_some() && window.iter().all(|segment| level(segment) == first)
        })?;
        let id = |s: &Segment| Some(self.reader(s)?.segment_id());
        found.iter().map(id).collect()
    }

    fn reader(&self, segment: &Segment) -> Option<&SegmentReader> {
        self.searcher.segment_readers().get(segment.ordinal as usize)
    }

    /// Segments that have entries of the range, each with the documents that have some.
    fn within(&self, range: &Range<u64>) -> impl Iterator<Item = (&Segment, Range<u32>)> {
        let range = range.clone();
        self.segments.iter().filter_map(move |segment| {
            let from = range.start.max(segment.range.start);
            let to = range.end.min(segment.range.end);
            (from < to).then_some((segment, segment.documents(&(from..to))?))
        })
    }

    /// The blocks that have the tag, as far as they are within the range.
    pub(super) fn find(&self, tag: &Tag, range: &Range<u64>) -> Result<Ranges, StoreError> {
        let mut out = Vec::new();
        for (segment, docs) in self.within(range) {
            let Some(reader) = self.reader(segment) else { continue };
            let inverted = reader.inverted_index(TAG).map_err(failed)?;
            let Some(term) = inverted.terms().get(&tag.0).map_err(unreadable)? else { continue };
            let postings = inverted.read_postings_from_terminfo(&term, IndexRecordOption::Basic);
            collect(postings.map_err(unreadable)?, segment, &docs, &mut out);
        }
        Ok(clipped(out, range))
    }

    /// The blocks that have a tag with that beginning, as far as they are within the range;
    /// `None` when there are too many such tags.
    pub(super) fn find_prefix(
        &self,
        start: &Tag,
        range: &Range<u64>,
    ) -> Result<Option<Ranges>, StoreError> {
        let mut out = Vec::new();
        let mut terms = 0_usize;
        for (segment, docs) in self.within(range) {
            let Some(reader) = self.reader(segment) else { continue };
            let inverted = reader.inverted_index(TAG).map_err(failed)?;
            let mut stream =
                inverted.terms().range().ge(&start.0).into_stream().map_err(unreadable)?;
            while stream.advance() && stream.key().starts_with(&start.0) {
                terms = terms.saturating_add(1);
                if terms > MAX_TERMS {
                    return Ok(None);
                }
                let postings =
                    inverted.read_postings_from_terminfo(stream.value(), IndexRecordOption::Basic);
                collect(postings.map_err(unreadable)?, segment, &docs, &mut out);
            }
        }
        out.sort_unstable_by_key(|block| block.start);
        Ok(Some(clipped(out, range)))
    }

    /// The blocks that may have a time between the two, as far as they are within the range;
    /// `None` when all may.
    pub(super) fn find_time(&self, first: u64, last: u64, range: &Range<u64>) -> Option<Ranges> {
        let mut out = Vec::new();
        let mut all = true;
        for (segment, docs) in self.within(range) {
            let Segment { earliest, latest, .. } = segment;
            if latest.max_value() < first || earliest.min_value() > last {
                all = false;
                continue;
            }
            if earliest.min_value() >= first && latest.max_value() <= last {
                out.extend(docs.map(|doc| segment.block(doc)));
                continue;
            }
            all = false;
            let find = |column: &Column<u64>, values| {
                let mut found = Vec::new();
                column.get_docids_for_value_range(values, docs.clone(), &mut found);
                found.into_iter().map(|doc| segment.block(doc)).collect::<Ranges>()
            };
            let (ends_after, begins_before) =
                (find(latest, first..=u64::MAX), find(earliest, 0..=last));
            out.extend_from_slice(ends_after.intersect(&begins_before).as_slice());
        }
        (!all).then(|| clipped(out, range))
    }
}

impl Segment {
    fn new(ordinal: u32, reader: &SegmentReader, block_entries: u64) -> Result<Self, StoreError> {
        let columns = reader.fast_fields();
        let blocks = columns.u64("block").map_err(failed)?;
        let docs = reader.max_doc();
        let first = blocks.first(0).unwrap_or(0);
        let end = first.saturating_add(u64::from(docs));
        // Every block is a document and they follow each other: else the numbers mean nothing.
        if blocks.max_value() != end.saturating_sub(1) || blocks.min_value() != first {
            let context = "a segment of the index is out of order; it is rebuilt".to_owned();
            return Err(StoreError::Damaged { context, source: None });
        }
        Ok(Self {
            ordinal,
            range: first.saturating_mul(block_entries)..end.saturating_mul(block_entries),
            block_entries,
            earliest: columns.u64("earliest").map_err(failed)?,
            latest: columns.u64("latest").map_err(failed)?,
        })
    }

    /// The entries of a document.
    fn block(&self, doc: u32) -> Range<u64> {
        let at = u64::from(doc).saturating_mul(self.block_entries);
        let start = self.range.start.saturating_add(at);
        start..start.saturating_add(self.block_entries)
    }

    /// The documents that have entries of a range within the segment.
    fn documents(&self, range: &Range<u64>) -> Option<Range<u32>> {
        let from = range.start.checked_sub(self.range.start)?.checked_div(self.block_entries)?;
        let length = range.end.checked_sub(self.range.start)?;
        let to = length.checked_next_multiple_of(self.block_entries)?;
        let to = to.checked_div(self.block_entries)?;
        Some(u32::try_from(from).ok()?..u32::try_from(to).ok()?)
    }
}

fn collect(
    mut postings: SegmentPostings,
    segment: &Segment,
    docs: &Range<u32>,
    out: &mut Vec<Range<u64>>,
) {
    let mut doc = postings.doc();
    if doc < docs.start {
        doc = postings.seek(docs.start);
    }
    while doc < docs.end {
        out.push(segment.block(doc));
        doc = postings.advance();
    }
}

/// Blocks in order, as far as they are within the range: a window may begin amid one.
fn clipped(blocks: Vec<Range<u64>>, range: &Range<u64>) -> Ranges {
    let within = |block: Range<u64>| block.start.max(range.start)..block.end.min(range.end);
    blocks.into_iter().map(within).collect()
}

/// Compares checksums, unless that takes long.
fn check(index: &Index, dir: &Path) -> Result<(), StoreError> {
    if index.schema() != schema() {
        let context = "the index is of another version; it is rebuilt".to_owned();
        return Err(StoreError::Damaged { context, source: None });
    }
    let size = |file: std::io::Result<std::fs::DirEntry>| file?.metadata().map(|m| m.len());
    let files =
        std::fs::read_dir(dir).map_err(|source| super::super::durable::io("read", dir, source))?;
    if files.filter_map(|file| size(file).ok()).sum::<u64>() > CHECKED_BYTES {
        return Ok(());
    }
    let broken = index.validate_checksum().map_err(failed)?;
    match broken.iter().next() {
        None => Ok(()),
        Some(file) => Err(StoreError::Damaged {
            context: format!("{} does not match its checksum", file.display()),
            source: None,
        }),
    }
}

fn failed(error: TantivyError) -> StoreError {
    match error {
        TantivyError::LockFailure(..) => {
            StoreError::Unavailable("another process writes this index".to_owned())
        }
        TantivyError::IoError(source) => StoreError::Io {
            context: "cannot read or write the index".to_owned(),
            source: std::io::Error::other(source),
        },
        error => StoreError::Damaged {
            context: "the index cannot be read; it is rebuilt".to_owned(),
            source: Some(Box::new(error)),
        },
    }
}

fn unreadable(error: std::io::Error) -> StoreError {
    failed(error.into())
}
