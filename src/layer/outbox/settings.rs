//! What may be set, each limit with its unit, default and reason.

use super::error::OutboxError;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes that a frame adds to a record; see [`frame`](super::frame).
const FRAME_BYTES: u64 = super::frame::HEAD_BYTES as u64;

/// How records wait for the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// In files of a folder: they survive the process. The default.
    Spool(SpoolSettings),
    /// In memory only; what is done when it is full.
    Memory(WhenFull),
}

/// What is done with a record when there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The agent's thread waits for room, at most this long; afterwards as with `Gap`.
    Block {
        /// The longest that one record may hold up its thread.
        within: Duration,
    },
    /// The record is lost, and an entry tells its number as soon as there is room.
    Gap,
}

/// The folder in which records wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The folder; made with mode 0700. Processes may share it, at the same time and one after
    /// another: a later one delivers what an earlier one left.
    pub folder: PathBuf,
    /// Bytes that the records of this process may take there, with those that it adopts from
    /// processes that ended. Default 1 GiB: hours of a busy agent, and no disk is filled by it.
    pub max_spool_bytes: u64,
    /// What is done when that is reached, or the disk is full or cannot be written. Default: the
    /// thread waits at most 5 s.
    pub when_full: WhenFull,
}

impl SpoolSettings {
    /// The defaults, in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_spool_bytes: 1 << 30,
            when_full: WhenFull::Block { within: Duration::from_secs(5) },
        }
    }
}

/// Everything that may be set. [`Settings::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How records wait for the receiver.
    pub policy: Policy,
    /// Bytes of the buffer between agents' threads and the writer's, of which there are two.
    /// Default 8 MiB: what 10 ms of the fastest agent fill. A `kill -9` may lose what is in it.
    pub buffer_bytes: usize,
    /// Bytes of one record. Default 2 MiB, half of what receivers take in a request by default.
    /// A larger one is told as a gap.
    pub max_record_bytes: usize,
    /// Records of one request. Default 512, as OpenTelemetry's batch processor sends.
    pub batch_records: usize,
    /// Bytes of one request, unless a single record is larger. Default 1 MiB.
    pub batch_bytes: usize,
    /// How long one request may take before it is sent again. Default 30 s.
    pub request_timeout: Duration,
    /// The first wait after a request that failed; doubled each time. Default 100 ms.
    pub retry_first: Duration,
    /// The longest wait between two tries, unless the receiver asks for more. Default 30 s.
    pub retry_most: Duration,
    /// How often to look for processes that ended and left records. Default 60 s.
    pub look_for_left: Duration,
}

impl Settings {
    /// The defaults, with this policy.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            buffer_bytes: 8 << 20,
            max_record_bytes: 2 << 20,
            batch_records: 512,
            batch_bytes: 1 << 20,
            request_timeout: Duration::from_secs(30),
            retry_first: Duration::from_millis(100),
            retry_most: Duration::from_secs(30),
            look_for_left: Duration::from_mins(1),
        }
    }

    /// What is done when the buffer is full.
    pub(super) fn when_full(&self) -> WhenFull {
        match &self.policy {
            Policy::Spool(spool) => spool.when_full,
            Policy::Memory(when_full) => *when_full,
        }
    }

    /// Whether the limits can hold together.
    ///
    /// # Errors
    /// The limit that cannot be held, and the least that it may be.
    pub(super) fn check(&self) -> Result<(), OutboxError> {
        let frame = (self.max_record_bytes as u64).saturating_add(FRAME_BYTES);
        let at_least = |name, is: u64, least: u64| {
            if is < least { Err(OutboxError::Limit { name, is, least }) } else { Ok(()) }
        };
        at_least("buffer_bytes", self.buffer_bytes as u64, frame)?;
        at_least("batch_records", self.batch_records as u64, 1)?;
        at_least("batch_bytes", self.batch_bytes as u64, 1)?;
        if let Policy::Spool(spool) = &self.policy {
            // One segment that is delivered but still open, one record more than fits it, and
            // the record that waits for room.
            at_least("max_spool_bytes", spool.max_spool_bytes, frame.saturating_mul(4))?;
        }
        Ok(())
    }
}
