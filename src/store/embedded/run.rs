//! One sorted run of (key, entry), in a file that is never changed.
//!
//! ```text
//!  0         8        16       24        32         36        40           44
//!  ├ magic ──┼ first ─┼─ end ──┼─ count ─┼─ blocks ─┼ crc of ─┼ crc of 0…40 ┤
//!  │                  sequences           │          table                   all integers
//!  ├ table: blocks × (first key u64, crc u32) ───────────────────────────────  little-endian
//!  └ blocks: 256 × key u64, then 256 × (sequence − first) u32; the last is shorter
//! ```
//!
//! The table stays in memory. A look-up finds its block there, reads it (3 KiB) and checks its
//! checksum, so a run of any size is opened without reading it, and damage is found where it is.

use super::super::StoreError;
use super::super::durable::{io, write_file_with};
use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"SLIDRUN1";
const HEADER_LEN: usize = 44;
const TABLE_ITEM_LEN: usize = 12;
const RECORD_LEN: usize = 12;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// Records in a block: a block is read by one system call.
const BLOCK_RECORDS: usize = 256;

/// Where an id is listed: its key, and the entry's distance from the first of the run.
pub(super) type Record = (u64, u32);

/// A run on disk.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    file: File,
    /// Sequence of the first entry that it covers.
    pub(super) first: u64,
    /// Sequence after the last.
    pub(super) end: u64,
    count: u64,
    table: Vec<(u64, u32)>,
}

/// The name of the file of a run.
pub(super) fn file_name(first: u64, end: u64) -> String {
    format!("ids-{first:020}-{end:020}.run")
}

/// The range in the name of a file.
pub(super) fn range_of(name: &str) -> Option<(u64, u64)> {
    let (first, end) = name.strip_prefix("ids-")?.strip_suffix(".run")?.split_once('-')?;
    let (first, end) = (first.parse().ok()?, end.parse().ok()?);
    (first < end).then_some((first, end))
}

impl Run {
    /// Writes a run of `count` sorted records and opens it. Holds one block of them at a time: in
    /// a large run there are millions.
    pub(super) fn create(
        dir: &Path,
        first: u64,
        end: u64,
        count: usize,
        records: impl Iterator<Item = Result<Record, StoreError>>,
    ) -> Result<Self, StoreError> {
        let path = dir.join(file_name(first, end));
        write_file_with(&path, |file| {
            let failed = |source| io("write", &path, source);
            let blocks = count.div_ceil(BLOCK_RECORDS);
            let start = HEADER_LEN.saturating_add(blocks.saturating_mul(TABLE_ITEM_LEN));
            file.seek(SeekFrom::Start(start as u64)).map_err(failed)?;
            let table = write_blocks(file, records, &path)?;
            let header = Header {
                first,
                end,
                count: count as u64,
                blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
                table_crc: crc_fast::crc32_iscsi(&table),
            };
            let mut bytes = header.encode();
            bytes.extend_from_slice(&table);
            file.write_all_at(&bytes, 0).map_err(failed)
        })?;
        Self::open(dir, first, end)
    }

    /// Opens a run: reads and checks all but its blocks.
    pub(super) fn open(dir: &Path, first: u64, end: u64) -> Result<Self, StoreError> {
        let path = dir.join(file_name(first, end));
        let file = File::open(&path).map_err(|source| io("open", &path, source))?;
        let read = |bytes: &mut [u8], at: usize| {
            file.read_exact_at(bytes, at as u64).map_err(|source| io("read", &path, source))
        };
        let mut header = [0; HEADER_LEN];
        read(&mut header, 0)?;
        let header = Header::decode(&header).filter(|h| (h.first, h.end) == (first, end));
        let header = header.ok_or_else(|| damaged(&path, "its header"))?;
        let length = (header.blocks as usize).saturating_mul(TABLE_ITEM_LEN);
        let size = file.metadata().map_err(|source| io("read", &path, source))?.len();
        if header.file_len() != Some(size) {
            return Err(damaged(&path, "its length"));
        }
        let mut table = vec![0; length];
        read(&mut table, HEADER_LEN)?;
        if crc_fast::crc32_iscsi(&table) != header.table_crc {
            return Err(damaged(&path, "its table"));
        }
        let table = table.chunks_exact(TABLE_ITEM_LEN).filter_map(|item| {
            let (key, crc) = item.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*key), u32::from_le_bytes(*crc.first_chunk()?)))
        });
        let table = table.collect();
        Ok(Self { path, file, first, end, count: header.count, table })
    }

    /// Appends the entries listed under a key, in their order.
    pub(super) fn find(&self, key: u64, out: &mut Vec<u64>) -> Result<(), StoreError> {
        // The key may begin in the block before the first that starts with it.
        let after = self.table.partition_point(|(first, _)| *first < key);
        for block in after.saturating_sub(1)..self.table.len() {
            if self.table.get(block).is_none_or(|(first, _)| *first > key) {
                break;
            }
            let records = self.block(block)?;
            let from = records.partition_point(|(k, _)| *k < key);
            let found = records.get(from..).unwrap_or_default();
            out.extend(
                found
                    .iter()
                    .take_while(|(k, _)| *k == key)
                    .map(|(_, offset)| self.first.saturating_add(u64::from(*offset))),
            );
        }
        Ok(())
    }

    /// Every record, block by block.
    pub(super) fn records(&self) -> impl Iterator<Item = Result<Vec<Record>, StoreError>> + '_ {
        (0..self.table.len()).map(|block| self.block(block))
    }

    /// Number of records.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    fn block(&self, block: usize) -> Result<Vec<Record>, StoreError> {
        let done = block.saturating_mul(BLOCK_RECORDS) as u64;
        let len = usize::try_from(self.count.saturating_sub(done)).unwrap_or(usize::MAX);
        let len = len.min(BLOCK_RECORDS);
        let table_len = self.table.len().saturating_mul(TABLE_ITEM_LEN);
        let start = HEADER_LEN.saturating_add(table_len) as u64;
        let at = start.saturating_add(done.saturating_mul(RECORD_LEN as u64));
        let mut bytes = vec![0; len.saturating_mul(RECORD_LEN)];
        self.file.read_exact_at(&mut bytes, at).map_err(|source| io("read", &self.path, source))?;
        let crc = self.table.get(block).map(|(_, crc)| *crc);
        if crc != Some(crc_fast::crc32_iscsi(&bytes)) {
            return Err(damaged(&self.path, &format!("block {block}")));
        }
        let (keys, offsets) = bytes.split_at(len.saturating_mul(8));
        let keys = keys.as_chunks::<8>().0.iter().map(|key| u64::from_le_bytes(*key));
        let offsets = offsets.as_chunks::<4>().0.iter().map(|offset| u32::from_le_bytes(*offset));
        Ok(keys.zip(offsets).collect())
    }
}

fn damaged(path: &Path, what: &str) -> StoreError {
    let context = format!("{what} in {} does not match its checksum", path.display());
    StoreError::Damaged { context, source: None }
}

struct Header {
    first: u64,
    end: u64,
    count: u64,
    blocks: u32,
    table_crc: u32,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.blocks.to_le_bytes());
        bytes.extend_from_slice(&self.table_crc.to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if crc_fast::crc32_iscsi(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (magic, rest) = content.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let (blocks, rest) = rest.split_first_chunk::<4>()?;
        (*magic == MAGIC).then_some(Self {
            first: u64::from_le_bytes(*first),
            end: u64::from_le_bytes(*end),
            count: u64::from_le_bytes(*count),
            blocks: u32::from_le_bytes(*blocks),
            table_crc: u32::from_le_bytes(*rest.first_chunk()?),
        })
    }

    fn file_len(&self) -> Option<u64> {
        let table = u64::from(self.blocks).checked_mul(TABLE_ITEM_LEN as u64)?;
        let blocks = self.count.checked_mul(RECORD_LEN as u64)?;
        table.checked_add(blocks)?.checked_add(HEADER_LEN as u64)
    }
}

/// Writes the blocks where the file stands, and gives the table of them.
fn write_blocks(
    file: &File,
    records: impl Iterator<Item = Result<Record, StoreError>>,
    path: &Path,
) -> Result<Vec<u8>, StoreError> {
    let failed = |source| io("write", path, source);
    let mut out = BufWriter::with_capacity(WRITE_BYTES, file);
    let mut table = Vec::new();
    let mut block: Vec<Record> = Vec::with_capacity(BLOCK_RECORDS);
    let mut bytes = Vec::with_capacity(BLOCK_RECORDS.saturating_mul(RECORD_LEN));
    let mut flush = |block: &mut Vec<Record>| {
        let Some((first_key, _)) = block.first() else { return Ok(()) };
        table.extend_from_slice(&first_key.to_le_bytes());
        bytes.clear();
        bytes.extend(block.iter().flat_map(|(key, _)| key.to_le_bytes()));
        bytes.extend(block.iter().flat_map(|(_, offset)| offset.to_le_bytes()));
        table.extend_from_slice(&crc_fast::crc32_iscsi(&bytes).to_le_bytes());
        block.clear();
        out.write_all(&bytes).map_err(failed)
    };
    for record in records {
        block.push(record?);
        if block.len() == BLOCK_RECORDS {
            flush(&mut block)?;
        }
    }
    flush(&mut block)?;
    out.flush().map_err(failed)?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn create(dir: &Path, first: u64, end: u64, records: &[Record]) -> Run {
        Run::create(dir, first, end, records.len(), records.iter().copied().map(Ok)).unwrap()
    }

    fn find(run: &Run, key: u64) -> Result<Vec<u64>, StoreError> {
        let mut out = Vec::new();
        run.find(key, &mut out).map(|()| out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_key_finds_its_entries_and_no_others(
            mut records in prop::collection::vec((0..40_u64, 0..70_000_u32), 0..1500),
            first in 0..1_000_000_u64,
        ) {
            records.sort_unstable();
            let dir = tempfile::tempdir().unwrap();
            let run = create(dir.path(), first, first + 70_000, &records);
            for key in 0..41 {
                let wanted: Vec<u64> = records.iter()
                    .filter(|(k, _)| *k == key).map(|(_, o)| first + u64::from(*o)).collect();
                prop_assert_eq!(find(&run, key).unwrap(), wanted);
            }
            let all: Vec<Record> = run.records().flat_map(Result::unwrap).collect();
            prop_assert_eq!(all, records);
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(bit: prop::sample::Index) {
            let dir = tempfile::tempdir().unwrap();
            let records: Vec<Record> = (0..600).map(|n| (u64::from(n / 3), n)).collect();
            drop(create(dir.path(), 0, 600, &records));
            let path = dir.path().join(file_name(0, 600));
            let mut bytes = std::fs::read(&path).unwrap();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            let read = Run::open(dir.path(), 0, 600).and_then(|run| run.records().collect::<Result<Vec<_>, _>>());
            let damaged = matches!(read, Err(StoreError::Damaged { .. }));
            prop_assert!(damaged);
        }
    }

    #[test]
    fn a_run_cut_short_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        drop(create(dir.path(), 0, 10, &[(1, 1), (2, 2)]));
        let path = dir.path().join(file_name(0, 10));
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Run::open(dir.path(), 0, 10).is_err(), "{length}");
        }
    }

    #[test]
    fn the_name_of_a_file_says_its_range() {
        assert_eq!(range_of(&file_name(3, 70_000)), Some((3, 70_000)));
        for name in ["ids-1-2.tmp", "ids-2-1.run", "ids-x-1.run", "manifest.json"] {
            assert_eq!(range_of(name), None);
        }
    }
}
