//! Where entries are asked for: the [`AuditStore`] trait and the stores of this crate.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`AuditStore`], requests and answers |
//! | `memory.rs` | [`MemoryStore`]: a list and the evaluator; the model of every other store |
//! | `embedded/` | [`EmbeddedStore`]: an index beside the ledger |
//! | `story.rs` | where a story starts, its order, its pages |
//! | `query/` | the language of `search` |
//! | `facets.rs`, `fields.rs`, `table.rs`, `scan.rs` | what queries need from a body |
//! | `entry_view.rs` | an entry as a question sees it |
//! | `projection.rs`, `document.rs` | body and envelope as one JSON document; and back |
//! | `cursor.rs` | where the next page starts |
//! | `fuzzing.rs` | what `fuzz/` reaches |
//! | `durable.rs` | a file that is whole or not there |
//!
//! A store is derived from the ledger: it is written by a consumer that reads the ledger behind a
//! cursor, and can be dropped and rebuilt. Nothing is written here that is not in the ledger.

mod cursor;
pub(crate) mod document;
pub(crate) mod durable;
pub mod embedded;
mod entry_view;
pub mod facets;
pub mod fields;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod memory;
pub mod projection;
pub mod query;
mod scan;
pub(crate) mod story;
mod table;

pub use cursor::{Cursor, CursorError, Place};
pub use embedded::EmbeddedStore;
pub use entry_view::{EntryView, Envelope};
pub use memory::MemoryStore;
pub(crate) use table::{Coverage, coverage};

use crate::access::Tenant;
use crate::correlate::Namespace;
use query::Query;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Most hits of one page.
pub const MAX_PAGE: usize = 10_000;

/// How long a question may take, unless the request says otherwise.
pub const DEFAULT_BUDGET: Duration = Duration::from_secs(10);

/// When a question with this budget is over.
pub(crate) fn deadline(budget: Duration) -> Instant {
    const LONGEST: Duration = Duration::from_hours(1);
    let now = Instant::now();
    now.checked_add(budget.min(LONGEST)).unwrap_or(now)
}

/// A place where entries are written by a consumer of the ledger and asked for by people.
///
/// The calls block: they read files or wait for a server. Async code calls them on a blocking
/// thread. To bring a store of one's own, implement this and give it to a
/// `export::StoreSink`, which the consumer loop drives.
///
/// Rules that every implementation keeps:
/// - a tenant sees its own entries only, in hits, stories, counts and errors;
/// - what `query` answers is what [`query::matches`] says of each entry;
/// - of two entries with one id the one with the lower sequence number counts.
pub trait AuditStore: Send + Sync {
    /// Applies entries in the order of the ledger. The same entries may come again after a crash:
    /// applying them twice is applying them once.
    ///
    /// # Errors
    /// [`StoreError`]; a transient one is retried with the same entries, and nothing is skipped.
    fn write(&self, entries: &[EntryView<'_>]) -> Result<(), StoreError>;

    /// Makes everything that was written durable and visible. Called when no entries come for a
    /// while and at shutdown.
    ///
    /// # Errors
    /// As [`AuditStore::write`].
    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The sequence number up to which entries are durable here, for a store that keeps it with
    /// its own data. `None` lets the consumer keep it in a file.
    fn position(&self) -> Option<u64> {
        None
    }

    /// Makes durable under which ids the entries below `end` are listed, for a store that lists them
    /// anew from the ledger after a restart: called before bodies are taken out, which no ids can be read
    /// of then.
    ///
    /// # Errors
    /// As [`AuditStore::write`]; no body is taken out then.
    fn keep_ids(&self, _end: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// A page of the entries that answer a question.
    ///
    /// # Errors
    /// [`StoreError`].
    fn query(&self, request: &QueryRequest) -> Result<Page, StoreError>;

    /// The whole story of an id, of whatever kind and in whatever spelling.
    ///
    /// # Errors
    /// [`StoreError`]. An id that nobody carries is an empty story, not an error.
    fn trace(&self, request: &TraceRequest) -> Result<TraceStory, StoreError>;

    /// What a caller that waits for new entries follows, when it is not this store: the ledger of
    /// this process, where new entries come at the end. In a store that several ledgers share they
    /// come at any place, and some would be missed.
    fn followed(&self) -> Option<&dyn AuditStore> {
        None
    }
}

/// In which order hits come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The latest in the ledger first.
    #[default]
    Newest,
    /// As in the ledger: origin, sequence. The oldest first.
    Ledger,
    /// By time of the event, then span ancestry, then id.
    Story,
}

impl FromStr for Order {
    type Err = StoreError;

    fn from_str(word: &str) -> Result<Self, StoreError> {
        match word {
            "newest" => Ok(Self::Newest),
            "oldest" | "ledger" => Ok(Self::Ledger),
            "story" => Ok(Self::Story),
            _ => Err(StoreError::Request(format!(
                "order is newest, oldest, ledger or story, not {word:?}"
            ))),
        }
    }
}

/// A question and how to answer it.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// Whose entries: from the credential, never from the text of the question.
    pub tenant: Tenant,
    /// What is asked.
    pub query: Query,
    /// In which order.
    pub order: Order,
    /// Most hits of the page, at most [`MAX_PAGE`].
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
    /// How long the answer may take. When it is over, the page ends early and says where to go on.
    pub budget: Duration,
}

impl QueryRequest {
    /// The newest 50 hits of a question.
    pub fn new(tenant: Tenant, query: Query) -> Self {
        const LIMIT: usize = 50;
        Self {
            tenant,
            query,
            order: Order::default(),
            limit: LIMIT,
            cursor: None,
            budget: DEFAULT_BUDGET,
        }
    }
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its place in the ledger.
    pub sequence: u64,
    /// Its id.
    pub id: [u8; 16],
    /// Time of the event, nanoseconds since 1970.
    pub event_ns: u64,
    /// The document as it is shown: the body with the envelope spliced in, JSON. See
    /// [`projection`].
    pub document: Vec<u8>,
}

/// One page of hits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The hits, in the order that was asked for.
    pub hits: Vec<Hit>,
    /// Where the next page starts; `None` when there is none.
    pub next_cursor: Option<Cursor>,
    /// Whether the time was over before the page was full. The next page goes on where this one
    /// ended.
    pub timed_out: bool,
    /// Whether there were more hits than can be put in story order, so that some are missing. Ask
    /// for less, or in another order.
    pub truncated: bool,
}

/// A question for the story of an id.
#[derive(Debug, Clone)]
pub struct TraceRequest {
    /// Whose entries.
    pub tenant: Tenant,
    /// The id: trace, run, job, span, session, entry, …, in any spelling.
    pub id: String,
    /// What the id names: the story starts at entries that carry it as one of these. Empty: at
    /// whatever carries it.
    pub namespaces: &'static [Namespace],
    /// [`Order::Story`], or another.
    pub order: Order,
    /// Most entries of the page, at most [`MAX_PAGE`].
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
    /// How long the answer may take.
    pub budget: Duration,
    /// Whether documents are wanted; without them a hit says only where its entry is.
    pub documents: bool,
}

impl TraceRequest {
    /// The first 1,000 entries of the story of an id.
    pub fn new(tenant: Tenant, id: impl Into<String>) -> Self {
        const LIMIT: usize = 1_000;
        Self {
            tenant,
            id: id.into(),
            namespaces: &[],
            order: Order::Story,
            limit: LIMIT,
            cursor: None,
            budget: DEFAULT_BUDGET,
            documents: true,
        }
    }
}

/// The story of an id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceStory {
    /// Every trace id of the group, one spelling each.
    pub trace_ids: Vec<String>,
    /// How many entries the group has.
    pub total: usize,
    /// A page of its entries.
    pub entries: Vec<Hit>,
    /// Where the next page starts; `None` when there is none.
    pub next_cursor: Option<Cursor>,
    /// Whether a bound of the group or of the time was hit, so that there may be more.
    pub truncated: bool,
    /// Entries that were listed under an id of the story and whose bodies were taken out since, by
    /// their place. An index that was built again does not know them any more.
    pub pruned: Vec<Pruned>,
}

/// An entry without a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pruned {
    /// Its place in the ledger.
    pub sequence: u64,
    /// Its id.
    pub id: [u8; 16],
    /// When it was received, nanoseconds since 1970.
    pub received_ns: u64,
}

/// Why a store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request makes no sense.
    #[error("{0}")]
    Request(String),
    /// The cursor is not one of ours.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// It may work later: why, and what to do. Shown to whoever asked, so it names no address, no
    /// path and no secret.
    #[error("the store is not available now: {0}")]
    Unavailable(String),
    /// It will not work until somebody does something.
    #[error("the store is damaged: {context}")]
    Damaged {
        /// What, and what to do.
        context: String,
        /// What the system said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A file could not be read or written.
    #[error("{context}")]
    Io {
        /// What was being done, to which file.
        context: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
