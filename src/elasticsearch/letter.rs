//! A dead letter, and the lines in which letters are written. See `dead_letters.rs`.

use serde::{Deserialize, Serialize};
use std::io::{self, BufRead as _};

/// Longest line that is read, in bytes: a record has about 500.
const MAX_LINE: u64 = 64 * 1024;

/// An entry that the cluster does not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place in the ledger, where its document is.
    pub sequence: u64,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Where it should be.
    pub data_stream: String,
    /// HTTP status of the item.
    pub status: u16,
    /// Type of the cluster's error.
    pub error_type: String,
    /// What of the reason quotes nothing of the document. May be empty.
    pub reason: String,
    /// When it was refused first, nanoseconds since 1970.
    pub first_attempt_ns: u64,
    /// When it was refused last, nanoseconds since 1970.
    pub last_attempt_ns: u64,
    /// How often it was refused.
    pub attempts: u32,
}

/// How a letter was done with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolved {
    /// It was sent again and is in the data stream.
    Delivered,
    /// Somebody decided that its entry stays in the ledger only.
    Dropped {
        /// Who.
        by: String,
        /// Why, in that person's words.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    Letter(DeadLetter),
    Resolved { sequence: u64, how: Resolved, at_ns: u64 },
}

/// A record as a line of the group that starts there.
pub(super) fn line(group: u64, record: &Record) -> io::Result<String> {
    let content = format!("{group} {}", serde_json::to_string(record)?);
    Ok(format!("{:08x} {content}\n", crc_fast::crc32_iscsi(content.as_bytes())))
}

/// The start of its group, and the record.
pub(super) fn parse(line: &[u8]) -> Option<(u64, Record)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (crc, content) = line.split_once(' ')?;
    let known = crc == format!("{:08x}", crc_fast::crc32_iscsi(content.as_bytes()));
    let (group, json) = content.split_once(' ').filter(|_| known)?;
    Some((group.parse().ok()?, serde_json::from_str(json).ok()?))
}

/// The lines of the file with where they start. A longer line than any of ours comes in pieces.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    next: u64,
}

impl<R: io::BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), next: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        self.line.clear();
        let n = io::Read::take(&mut self.reader, MAX_LINE).read_until(b'\n', &mut self.line)?;
        let at = self.next;
        self.next = at.saturating_add(n as u64);
        Ok((n > 0).then_some((at, self.line.as_slice())))
    }
}
