//! The index beside a sealed segment: what opening needs of it, without its bodies.
//!
//! ```text
//! ├ record × n ┼ peaks × p ┼ tenants × t (pseudonym 16, next 8) ┼ footer ┤
//! record  0    16           32          64       68
//!         ├ id ┼ source key ┼ leaf hash ┼ offset ┤
//! footer  0       8         12                16  20  24              28
//!         ├ magic ┼ version ┼ crc of records ─┼ n ┼ t ┼ crc of state ─┤
//!         28            36      68             100              108   112
//!         ├ tree size ──┼ root ─┼ header hash ─┼ segment bytes ─┼ crc ─┤
//! ```
//!
//! Peaks and tenants are the state after the segment, so that opening a log starts from the last
//! sealed segment. The file is derived: it is believed when its checksums are right and it agrees
//! with the header and the last seal of its segment, else it is made again. `verify` never reads
//! it, and a reader checks each frame that it finds through it.

use super::bytes::{crc32c, field, put, to_usize, u32_at, u64_at};
use super::chain::Chain;
use super::merkle::Frontier;
use super::segment::{FORMAT_VERSION, SIDECAR, path, read_up_to};
use super::types::{Hash, TreeHead};
use super::window::Key;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

const MAGIC: [u8; 8] = *b"SPANLIDX";

/// Bytes of a record.
pub(super) const RECORD_LEN: usize = 68;

const FOOTER_LEN: usize = 112;
const TENANT_LEN: usize = 24;

/// What is remembered of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Key,
    /// Where the frame starts in its segment, which has less than 4 GiB.
    pub(super) offset: u32,
}

impl Record {
    fn encode(&self) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        put(&mut out, 0, &self.key.id);
        put(&mut out, 16, &self.key.source);
        put(&mut out, 32, &self.key.leaf);
        put(&mut out, 64, &self.offset.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            key: Key { id: field(bytes, 0)?, source: field(bytes, 16)?, leaf: field(bytes, 32)? },
            offset: u32_at(bytes, 64)?,
        })
    }
}

/// What a sealed segment is known by: a sidecar that differs belongs to another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) header_hash: Hash,
    /// The tree after it.
    pub(super) head: TreeHead,
    /// Its length in bytes.
    pub(super) end: u64,
}

/// Writes the sidecar of the segment that starts at `first`. It is derived, so it is not synced:
/// after a crash it is made again if it has to be. Gives the
/// bytes that it took.
pub(super) fn write(
    dir: &Path,
    first: u64,
    records: &[Record],
    chain: &Chain,
    sealed: &Sealed,
) -> io::Result<u64> {
    let length = records.len().saturating_mul(RECORD_LEN).saturating_add(4096);
    let mut out = Vec::with_capacity(length);
    for record in records {
        out.extend_from_slice(&record.encode());
    }
    let crc_records = crc32c(&out);
    let state = out.len();
    for peak in chain.committed().peaks() {
        out.extend_from_slice(peak);
    }
    let mut tenants: Vec<_> = chain.tenants().iter().collect();
    tenants.sort_unstable();
    for (pseudonym, next) in &tenants {
        out.extend_from_slice(*pseudonym);
        out.extend_from_slice(&next.to_le_bytes());
    }
    let crc_state = crc32c(out.get(state..).unwrap_or_default());

    let mut footer = [0; FOOTER_LEN];
    put(&mut footer, 0, &MAGIC);
    put(&mut footer, 8, &FORMAT_VERSION.to_le_bytes());
    put(&mut footer, 12, &crc_records.to_le_bytes());
    put(&mut footer, 16, &count(records.len()));
    put(&mut footer, 20, &count(tenants.len()));
    put(&mut footer, 24, &crc_state.to_le_bytes());
    put(&mut footer, 28, &sealed.head.size.to_le_bytes());
    put(&mut footer, 36, &sealed.head.root);
    put(&mut footer, 68, &sealed.header_hash);
    put(&mut footer, 100, &sealed.end.to_le_bytes());
    let crc = footer.get(..108).map_or(0, crc32c);
    put(&mut footer, 108, &crc.to_le_bytes());
    out.extend_from_slice(&footer);

    let temporary = path(dir, first, "index.new");
    let written = super::storage::create_private(&temporary)
        .and_then(|file| io::Write::write_all(&mut &file, &out))
        .and_then(|()| std::fs::rename(&temporary, path(dir, first, SIDECAR)));
    if written.is_err() {
        // A part of it only takes up room.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map(|()| out.len() as u64)
}

fn count(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

/// A sidecar that fits its segment.
pub(super) struct Sidecar {
    file: File,
    records: u32,
    crc_records: u32,
    chain: Chain,
}

impl Sidecar {
    /// Opens the sidecar of the segment that starts at `first`. `None` when it is missing,
    /// damaged or that of another segment: it can be made again.
    pub(super) fn open(dir: &Path, first: u64, sealed: &Sealed) -> Option<Self> {
        let file = File::open(path(dir, first, SIDECAR)).ok()?;
        let length = file.metadata().ok()?.len();
        let footer_at = length.checked_sub(FOOTER_LEN as u64)?;
        let footer = read(&file, footer_at, FOOTER_LEN)?;
        let fits = field(&footer, 0)? == MAGIC
            && u32_at(&footer, 8)? == FORMAT_VERSION
            && u32_at(&footer, 108)? == crc32c(footer.get(..108)?)
            && field(&footer, 36)? == sealed.head.root
            && field(&footer, 68)? == sealed.header_hash
            && u64_at(&footer, 28)? == sealed.head.size
            && u64_at(&footer, 100)? == sealed.end;
        let (records, tenants) = (u32_at(&footer, 16)?, u32_at(&footer, 20)?);
        let records_end = u64::from(records).checked_mul(RECORD_LEN as u64)?;
        let state_len = to_usize(footer_at.checked_sub(records_end)?);
        let peaks = sealed.head.size.count_ones() as usize;
        let expected =
            peaks.checked_mul(32)?.checked_add((tenants as usize).checked_mul(TENANT_LEN)?)?;
        if !fits
            || state_len != expected
            || first.checked_add(u64::from(records))? != sealed.head.size
        {
            return None;
        }
        let state = read(&file, records_end, state_len)?;
        if u32_at(&footer, 24)? != crc32c(&state) {
            return None;
        }
        let (peaks, tenants) = state.split_at_checked(peaks.checked_mul(32)?)?;
        let peaks = peaks.chunks_exact(32).filter_map(|peak| field(peak, 0)).collect();
        let tree = Frontier::from_parts(sealed.head.size, peaks)?;
        let tenants: Option<HashMap<_, _>> = tenants
            .chunks_exact(TENANT_LEN)
            .map(|tenant| Some((field(tenant, 0)?, u64_at(tenant, 16)?)))
            .collect();
        (tree.root() == sealed.head.root).then_some(())?;
        let crc_records = u32_at(&footer, 12)?;
        Some(Self { file, records, crc_records, chain: Chain::new(tree, tenants?) })
    }

    /// The state after the segment.
    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// All records, if they are as they were written.
    pub(super) fn records(&self) -> Option<Vec<Record>> {
        let length = (self.records as usize).checked_mul(RECORD_LEN)?;
        let bytes = read(&self.file, 0, length)?;
        if crc32c(&bytes) != self.crc_records {
            return None;
        }
        bytes.chunks_exact(RECORD_LEN).map(Record::decode).collect()
    }
}

/// Where the `nth` frame of a sealed segment should be, if there is a sidecar. Unchecked: the
/// frame that is found there has to be.
pub(super) fn offset_of(dir: &Path, first: u64, nth: u64) -> Option<u64> {
    let file = File::open(path(dir, first, SIDECAR)).ok()?;
    let at = nth.checked_mul(RECORD_LEN as u64)?;
    let end = file.metadata().ok()?.len().checked_sub(FOOTER_LEN as u64)?;
    if at >= end {
        return None;
    }
    let record = Record::decode(&read(&file, at, RECORD_LEN)?)?;
    Some(u64::from(record.offset))
}

fn read(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    // A damaged count must not ask for more memory than the file has bytes.
    if length as u64 > file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = vec![0; length];
    (read_up_to(file, &mut bytes, offset).ok()? == length).then_some(bytes)
}

/// Removes files that a crash left without their final name.
pub(super) fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for file in dir.read_dir()? {
        let path = file?.path();
        let ours = |name: &str| {
            let name = name.strip_suffix(".new").unwrap_or_default();
            let stem = name.strip_suffix(".index").or_else(|| name.strip_suffix(".packed"));
            let digits = stem.unwrap_or(name);
            name == "probe" || (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        };
        if path.file_name().and_then(|name| name.to_str()).is_some_and(ours) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
