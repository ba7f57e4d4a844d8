//! Bulk requests: entries laid out one behind the other, bounded, compressed, and cut into parts.

use super::document::write_item;
use super::transport::{Body, ContentType, Method, Request};
use crate::ledger::{EntryId, EntryRef};
use crate::store::projection::Origin;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// How large a bulk request becomes, in bytes before compression. The cluster's bound of 100 MB
/// applies after it decompressed; beyond a few MB a request gets no faster, and costs it memory.
pub const DEFAULT_MAX_BYTES: usize = 5_000_000;

/// How many items a bulk request has at most: with small entries the reply, which has a line an
/// item, stays below a megabyte.
pub const DEFAULT_MAX_ITEMS: usize = 5_000;

/// How long the reply to a bulk may take: longer than the minute for which the cluster itself
/// waits for a shard, so that its answer comes first, which is not ambiguous.
pub const DEFAULT_BULK_TIMEOUT: Duration = Duration::from_secs(90);

/// What of a reply is read: enough for the outcome of each item, a hundredth of the whole.
const FILTER: &str = "errors,items.*.status,items.*._index,items.*.failure_store,\
    items.*.error.type,items.*.error.reason,items.*.error.caused_by.type,error,status";

/// One entry in the body of a bulk request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its place in the ledger.
    pub sequence: u64,
    /// Its id, which is the document's.
    pub id: EntryId,
    /// Retention class: which data stream.
    pub class: u8,
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Where its two lines start.
    start: usize,
    /// Where they end.
    end: usize,
}

impl Item {
    /// Bytes of its two lines.
    pub fn bytes(&self) -> usize {
        self.end.saturating_sub(self.start)
    }
}

/// A bulk request that is being filled.
#[derive(Debug, Default)]
pub struct Filling {
    body: Vec<u8>,
    items: Vec<Item>,
}

impl Filling {
    /// An empty one that writes into `memory`, which a request that is done with gives back.
    pub fn new(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self { body: memory, items: Vec::new() }
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: EntryRef<'_>, origin: Origin<'_>) {
        let (sequence, id, class) = (entry.sequence, entry.id, entry.retention_class);
        // Neighbours are mostly of one tenant, and share its name.
        let tenant = match self.items.last() {
            Some(last) if *last.tenant == *entry.tenant => last.tenant.clone(),
            _ => Arc::from(entry.tenant),
        };
        let start = self.body.len();
        write_item(entry, origin, &mut self.body);
        self.items.push(Item { sequence, id, class, tenant, start, end: self.body.len() });
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Sequence of the first entry.
    pub fn first_sequence(&self) -> Option<u64> {
        self.items.first().map(|item| item.sequence)
    }

    /// Ends it; an entry that made it larger than `max_bytes` stays for the next one, unless it is
    /// alone.
    pub fn take(&mut self, max_bytes: usize, memory: Vec<u8>) -> Part {
        let mut next = Filling::new(memory);
        if self.body.len() > max_bytes
            && self.items.len() > 1
            && let Some(last) = self.items.pop()
        {
            next.body.extend_from_slice(self.body.get(last.start..).unwrap_or_default());
            self.body.truncate(last.start);
            next.items.push(Item { start: 0, end: next.body.len(), ..last });
        }
        let full = std::mem::replace(self, next);
        Part { body: Bytes::from(full.body), items: full.items, wire: None }
    }
}

/// Some entries to send in one request.
#[derive(Debug, Default)]
pub struct Part {
    body: Bytes,
    items: Vec<Item>,
    /// The body as it is sent, once it was made.
    wire: Option<Body>,
}

impl Part {
    /// The entries, in the order in which they are sent and answered.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Bytes of memory that it keeps, without what is compressed.
    pub fn held_bytes(&self) -> usize {
        self.body.len()
    }

    /// Bytes of its items.
    pub fn bytes(&self) -> usize {
        self.items.iter().map(Item::bytes).fold(0, usize::saturating_add)
    }

    /// Keeps the items for which `keep` holds, by position. When less than half of the bytes are
    /// left, they are copied so that the rest is given back.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, &Item) -> bool) {
        let before = self.items.len();
        let mut position = 0_usize;
        self.items.retain(|item| {
            let kept = keep(position, item);
            position = position.saturating_add(1);
            kept
        });
        if self.items.len() == before {
            return;
        }
        self.wire = None;
        if self.bytes() < self.body.len() / 2 {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let mut body = Vec::with_capacity(self.bytes());
        for item in &mut self.items {
            let start = body.len();
            body.extend_from_slice(self.body.get(item.start..item.end).unwrap_or_default());
            (item.start, item.end) = (start, body.len());
        }
        self.body = Bytes::from(body);
    }

    /// Two halves of it, each with its own bytes; the second is `None` when it has one item.
    pub fn split(mut self) -> (Part, Option<Part>) {
        if self.items.len() < 2 {
            return (self, None);
        }
        self.wire = None;
        let items = self.items.split_off(self.items.len() / 2);
        let mut second = Part { body: self.body.clone(), items, wire: None };
        second.compact();
        self.compact();
        (self, Some(second))
    }

    /// The memory of its body, when nobody else uses it.
    pub fn into_memory(self) -> Option<Vec<u8>> {
        drop(self.wire);
        self.body.is_unique().then(|| Vec::from(self.body))
    }

    /// The body as it was made by [`Part::make_wire`].
    pub fn wire(&self) -> Option<&Body> {
        self.wire.as_ref()
    }

    /// Makes the body as it is sent. Compresses: call it where blocking is allowed.
    pub fn make_wire(&mut self, gzip: bool) {
        let compressed = if gzip { self.compressed() } else { None };
        let gzip = compressed.is_some();
        let bytes = compressed.unwrap_or_else(|| self.plain());
        self.wire = Some(Body { bytes, content_type: ContentType::NdJson, gzip });
    }

    /// The ranges of the body that its items take, joined where they touch.
    fn ranges(&self) -> impl Iterator<Item = &[u8]> {
        self.items
            .chunk_by(|a, b| a.end == b.start)
            .filter_map(|run| self.body.get(run.first()?.start..run.last()?.end))
    }

    fn plain(&self) -> Bytes {
        let mut ranges = self.ranges();
        match (ranges.next(), ranges.next()) {
            (Some(all), None) => self.body.slice_ref(all),
            _ => Bytes::from(self.ranges().collect::<Vec<_>>().concat()),
        }
    }

    fn compressed(&self) -> Option<Bytes> {
        // Level 1: half the time of level 6 for a tenth more bytes.
        let room = self.bytes() / 4;
        let mut encoder = GzEncoder::new(Vec::with_capacity(room), Compression::new(1));
        for range in self.ranges() {
            encoder.write_all(range).ok()?;
        }
        encoder.finish().ok().map(Bytes::from)
    }

    /// The request; `None` before [`Part::make_wire`]. With `require_data_stream` a missing
    /// template is an error and never makes a plain index; OpenSearch does not know the parameter.
    pub fn request(&self, require_data_stream: bool, timeout: Duration) -> Option<Request> {
        let mut query = vec![("filter_path", FILTER.to_owned())];
        if require_data_stream {
            query.push(("require_data_stream", "true".to_owned()));
        }
        let body = Some(self.wire.clone()?);
        Some(Request { method: Method::Post, path: "/_bulk".to_owned(), query, body, timeout })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read as _;

    /// A part whose items are these texts.
    pub(in super::super) fn part(texts: &[String]) -> Part {
        let mut filling = Filling::default();
        for (n, text) in texts.iter().enumerate() {
            add(&mut filling, n, text);
        }
        filling.take(usize::MAX, Vec::new())
    }

    fn add(filling: &mut Filling, n: usize, text: &str) {
        let start = filling.body.len();
        filling.body.extend_from_slice(text.as_bytes());
        let id = EntryId([u8::try_from(n % 256).unwrap(); 16]);
        let end = filling.body.len();
        let item = Item { sequence: n as u64, id, class: 0, tenant: "acme".into(), start, end };
        filling.items.push(item);
    }

    fn sent(part: &mut Part, gzip: bool) -> String {
        part.make_wire(gzip);
        let wire = part.wire().unwrap();
        assert_eq!(wire.gzip, gzip);
        let mut text = String::new();
        if gzip {
            GzDecoder::new(&wire.bytes[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(wire.bytes.to_vec()).unwrap();
        }
        text
    }

    #[test]
    fn an_entry_that_does_not_fit_is_the_first_of_the_next_request() {
        let mut filling = Filling::default();
        for (n, text) in ["aaaa", "bbbb", "cc"].iter().enumerate() {
            add(&mut filling, n, text);
        }
        assert_eq!(sent(&mut filling.take(8, Vec::new()), false), "aaaabbbb");
        assert_eq!((filling.first_sequence(), filling.bytes()), (Some(2), 2));
        assert_eq!(sent(&mut filling.take(1, Vec::new()), false), "cc", "one alone always goes");
    }

    #[test]
    fn memory_comes_back_when_nobody_else_reads_it() {
        let mut part = part(&["abc".to_owned()]);
        part.make_wire(false);
        let request = part.request(true, DEFAULT_BULK_TIMEOUT);
        let (wire, held) = (part.wire.clone(), part.body.clone());
        assert!(part.into_memory().is_none(), "the request has it");
        drop((request, wire));
        let part = Part { body: held, items: Vec::new(), wire: None };
        assert_eq!(part.into_memory().as_deref(), Some(&b"abc"[..]));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_kept_in_order_however_it_is_cut(
            texts in proptest::collection::vec("[a-z]{1,20}", 1..20),
            keep in proptest::collection::vec(any::<bool>(), 20),
            gzip: bool,
        ) {
            let mut part = part(&texts);
            part.make_wire(gzip);
            part.retain(|position, _| keep[position]);
            let kept: Vec<&String> =
                texts.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(text, _)| text).collect();
            let expected: String = kept.iter().map(|text| text.as_str()).collect();
            prop_assert_eq!(part.items().len(), kept.len());
            prop_assert_eq!(part.bytes(), expected.len());
            prop_assert!(part.held_bytes() <= 2 * part.bytes() + 1 || kept.len() == texts.len());
            prop_assert_eq!(sent(&mut part, gzip), expected.clone());
            let (mut first, second) = part.split();
            let mut halves = sent(&mut first, gzip);
            if let Some(mut second) = second {
                prop_assert_eq!(first.held_bytes() + second.held_bytes(), expected.len());
                halves += &sent(&mut second, gzip);
            }
            prop_assert_eq!(halves, expected);
        }
    }
}
