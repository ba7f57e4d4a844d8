//! How a ledger is run.

use super::types::TreeHead;
use std::time::Duration;

/// Settings of a ledger; the default is right for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size at which a new segment is begun, in bytes. A group of entries is never split, so a
    /// segment may be larger by one group. At most 1 GiB.
    pub segment_bytes: u64,
    /// Number of last entries among which duplicates are found. 88 bytes of memory for each.
    pub window: usize,
    /// Most bytes that may wait for the writer; beyond that [`AppendError::Full`].
    ///
    /// [`AppendError::Full`]: super::AppendError::Full
    pub queue_bytes: usize,
    /// Most batches that may wait for the writer.
    pub queue_batches: usize,
    /// Bytes at which a group is full: what one `fdatasync` covers. A larger batch is a group of
    /// its own.
    pub group_bytes: usize,
    /// Size of the file that is given up when the disk is full, so that the end of the program
    /// can be written. 0 for none.
    pub reserve_bytes: u64,
    /// How often a full disk is looked at while nobody appends.
    pub space_check: Duration,
    /// The last tree that was signed. A ledger that does not begin with it is not opened:
    /// [`OpenError::Rollback`].
    ///
    /// [`OpenError::Rollback`]: super::OpenError::Rollback
    pub signed: Option<TreeHead>,
}

/// Largest segment: offsets in it are 32-bit numbers, with room for one group more.
pub(super) const MAX_SEGMENT_BYTES: u64 = 1024 * 1024 * 1024;

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            window: 1 << 20,
            queue_bytes: 64 * 1024 * 1024,
            queue_batches: 4096,
            group_bytes: 8 * 1024 * 1024,
            reserve_bytes: 16 * 1024 * 1024,
            space_check: Duration::from_secs(1),
            signed: None,
        }
    }
}
