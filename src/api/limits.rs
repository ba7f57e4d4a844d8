//! What one caller may ask for: numbers with their reason.

use std::time::Duration;

/// Entries on a page when nobody says how many.
pub const DEFAULT_PAGE: u32 = 100;

/// Most entries on a page: with bodies of a few kilobytes an answer stays at a few megabytes.
pub const MAX_PAGE: u32 = 1_000;

/// Longest query, bytes: room for a hundred ids joined by `OR`, too little to be a weapon.
pub const MAX_QUERY_BYTES: usize = 8 * 1_024;

/// Longest id in a path, bytes: 255 characters of up to four bytes.
pub const MAX_ID_BYTES: usize = 1_020;

/// Longest cursor, bytes: ours are far shorter.
pub const MAX_CURSOR_BYTES: usize = 512;

/// Dead letters on a page when nobody says how many.
pub const DEFAULT_LETTERS: u32 = 100;

/// Most dead letters on a page, and most that one call sends again or drops: with half a kilobyte
/// each an answer stays below a megabyte.
pub const MAX_LETTERS: u32 = 1_000;

/// Longest reason of who drops dead letters, bytes: a few sentences, as each letter keeps it.
pub const MAX_DROP_REASON_BYTES: usize = 500;

/// How long one call sends dead letters again; what is left then stays and is told. Well above
/// the ten seconds that a key which may not refresh waits before it looks up a bulk, and below what
/// the commands wait for an answer.
pub const REPLAY_TIME: Duration = Duration::from_mins(1);

/// How long the store may work on one page; then it ends the page early and says where to go on.
pub const QUERY_BUDGET: Duration = Duration::from_secs(10);

/// How long the numbers of a source are looked through for missing ones, on the way to a story.
pub const STREAM_BUDGET: Duration = Duration::from_millis(500);

/// How long one question may take before the caller is told so.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a question waits for its turn before it is sent away with `Retry-After`.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// Questions that are worked on at once: each occupies a thread and reads from disk, and intake
/// needs both more.
pub const MAX_CONCURRENT_QUERIES: usize = 8;

/// Longest `wait` of a caller that follows the ledger, seconds.
pub const MAX_WAIT_SECONDS: u32 = 30;

/// Callers that may follow the ledger at once.
pub const MAX_WAITING: usize = 64;

/// How often a waiting question is asked again.
pub const WAIT_STEP: Duration = Duration::from_millis(200);

/// How long a bundle of evidence waits for a checkpoint that covers what is durable: longer than the
/// pause between two by default.
pub const SETTLE_TIME: Duration = Duration::from_secs(12);

/// Bundles of evidence that are made, or wait on disk to be read, at once: each takes some 80 MiB of
/// memory at most while it is made, and up to 256 MiB of disk (`evidence::MAX_BUNDLE_BYTES`) until it is
/// read. Half of them for one credential.
pub const MAX_BUNDLES: usize = 4;

/// Bytes of answers that are on their way out at once: a dozen of
/// the largest usual pages. Half of them to one credential, or to all who have none.
pub const MAX_ANSWERS_BYTES: u64 = 96 * 1_024 * 1_024;

/// Bytes of an answer that a connection is given at once.
pub const ANSWER_PIECE_BYTES: usize = 64 * 1_024;

/// How long a caller may take to read an answer. Longer than the commands of ours wait for one.
pub const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// Largest body of a request, bytes: a thousand numbers of dead letters, a forwarder with its
/// tenants.
pub const MAX_BODY_BYTES: usize = 1_024 * 1_024;

/// Largest body of a request that is evidence, bytes: arguments and results of a tool stand in it.
pub const MAX_EVIDENCE_BYTES: usize = 8 * 1_024 * 1_024;

/// Bytes of evidence that is on its way at once, each body counted with its largest size when it
/// does not say its own. Half of them from one credential, or from all who have none.
pub const MAX_INCOMING_BYTES: u64 = 32 * 1_024 * 1_024;

/// How long a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer that is not counted: what every refusal has.
pub const UNCOUNTED_BYTES: u64 = 1_024;
