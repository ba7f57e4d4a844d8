//! What was signed holds: a ledger that contradicts its last signed checkpoint is not opened.
//!
//! ```text
//! signed: size 120, root r        the ledger has 200 entries, root of the first 120 is r   open
//!                                 the ledger has 110 entries                               refused
//!                                 the ledger has 200 entries, root of the first 120 is s   refused
//! ```
//!
//! Going on from such a ledger would sign a second tree of some size with the same key, and nobody
//! could ever again tell which of the two was true.

use super::error::{Damage, OpenError};
use super::merkle::Frontier;
use super::recover::records_of;
use super::sidecar::Record;
use super::source::{self, Source};
use super::survey::{self, Found};
use super::types::TreeHead;
use std::path::Path;

/// Checks what was found in `dir` against the tree that was signed last. `all` are its segments,
/// `active` the entries of the last one, and `head` is the tree that they make.
pub(super) fn honour(
    dir: &Path,
    all: &[Found],
    active: &[Record],
    head: TreeHead,
    signed: TreeHead,
    rebuilt: &mut u64,
) -> Result<(), OpenError> {
    if signed.size > head.size {
        return Err(refused(dir, signed, head));
    }
    let found = if signed.size == head.size {
        head
    } else {
        head_at(dir, all, active, signed.size, rebuilt)?
    };
    if found == signed { Ok(()) } else { Err(refused(dir, signed, found)) }
}

/// The random number of the log in `dir`, as a segment of it says; `None` when there is none, or it
/// cannot be read: then it cannot be opened either.
pub(crate) fn origin_of(dir: &Path) -> Option<[u8; 16]> {
    let first = source::list(dir).ok()?.segments.into_iter().next()?;
    let header = Source::open(dir, first).ok()?.header().ok()?;
    header.ok().map(|header| header.origin)
}

fn refused(dir: &Path, signed: TreeHead, found: TreeHead) -> OpenError {
    let (signed, found) = (Box::new(signed), Box::new(found));
    OpenError::Rollback { dir: dir.to_owned(), signed, found }
}

/// The tree as it was when it had that size, which is smaller than it is.
fn head_at(
    dir: &Path,
    all: &[Found],
    active: &[Record],
    size: u64,
    rebuilt: &mut u64,
) -> Result<TreeHead, OpenError> {
    let index = all.partition_point(|found| found.first() <= size).saturating_sub(1);
    let Some(found) = all.get(index) else { return Ok(Frontier::default().head()) };
    let chain = survey::state_before(dir, all, index, true, rebuilt)?;
    let mut tree = chain.committed().clone();
    if tree.size() > size {
        return Err(found.corrupt(0, size, Damage::Order));
    }
    let sealed;
    let records = if index.saturating_add(1) == all.len() {
        active
    } else {
        sealed = records_of(dir, all, index, found, rebuilt)?;
        &sealed
    };
    for record in records {
        if tree.size() == size {
            break;
        }
        tree.push(record.key.leaf);
    }
    Ok(tree.head())
}
