//! A sealed segment, compressed: `….packed` in place of `….segment`.
//!
//! ```text
//! ├ header ┼ block … block ┼ n × (end 8, crc 4) ┼ c × (class 1, 0 × 3, kept 4, oldest 8, newest 8) ┼ footer ┤
//!
//! footer  0       8         12            16       20        24             32       36    40
//!         ├ magic ┼ version ┼ block bytes ┼ blocks ┼ classes ┼ logical bytes ┼ crc of tables ┼ crc ┤
//! ```
//!
//! The header is that of the segment, in clear. Each block is a zstd frame of the next 256 KiB of the
//! segment (the last one may be shorter); its `end` is where it ends in this file, its `crc` that of
//! the compressed bytes. What comes out is the segment byte for byte, so offsets, sidecars, seals and
//! all checks are the same for both, and nobody above [`Source`](super::source::Source) knows the
//! difference. A block that is damaged reads as bytes that are no frame, in its place, as damage to
//! a plain file would be.
//!
//! The table of classes says what of the segment is still kept, so that retention need not read it.

use super::MAX_BATCH_BYTES;
use super::bytes::{crc32c, field, len64, put, to_usize, u32_at, u64_at};
use super::options::MAX_SEGMENT_BYTES;
use super::segment::{FORMAT_VERSION, HEADER_LEN, read_once, read_up_to};
use super::storage::create_private;
use super::types::EntryRef;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const MAGIC: [u8; 8] = *b"SPANLPAK";

/// Bytes of the segment in a block: enough for entries of one agent to resemble each other, and
/// little enough to be unpacked for one of them in a fraction of a millisecond.
const BLOCK_BYTES: usize = BLOCK as usize;
const BLOCK: u32 = 256 * 1024;

/// Effort of zstd, of 22. The work is done once, in the background, and reading costs the same.
const LEVEL: i32 = 6;

/// Blocks of one file that stay unpacked, for whoever reads single entries: 1 MiB.
const CACHED_BLOCKS: usize = 4;

/// What a damaged block reads as: no frame starts with it, and no pruned body is made of it.
const DAMAGED: u8 = 0xFF;

const FOOTER_LEN: usize = 40;
const BLOCK_ENTRY: usize = 12;
const CLASS_ENTRY: usize = 24;

/// Most bytes of a segment: the last group of the largest one may begin right before its end. What a
/// file says beyond that was not written by us, and gets no memory.
const MAX_LOGICAL: u64 =
    MAX_SEGMENT_BYTES.saturating_add(MAX_BATCH_BYTES as u64).saturating_add(1 << 20);

/// Most retention classes: their number is one byte.
const MAX_CLASSES: u64 = 256;

/// What is left of the entries of one retention class in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// The class.
    pub(super) class: u8,
    /// Entries that have their bodies.
    pub(super) entries: u32,
    /// When the first of them was received, nanoseconds since 1970.
    pub(super) oldest_ns: u64,
    /// When the last of them was.
    pub(super) newest_ns: u64,
}

/// Counts what is left, entry by entry.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<u8, Kept>);

impl Tally {
    /// Takes an entry into account, unless it is pruned.
    pub(super) fn add(&mut self, entry: &EntryRef<'_>) {
        if entry.pruned {
            return;
        }
        let (class, at) = (entry.retention_class, entry.received_ns);
        let none = Kept { class, entries: 0, oldest_ns: at, newest_ns: at };
        let kept = self.0.entry(class).or_insert(none);
        kept.entries = kept.entries.saturating_add(1);
        kept.oldest_ns = kept.oldest_ns.min(at);
        kept.newest_ns = kept.newest_ns.max(at);
    }

    /// What was counted, by class.
    pub(super) fn kept(&self) -> Vec<Kept> {
        self.0.values().copied().collect()
    }
}

/// Writes a packed segment, from front to back.
pub(super) struct Packer {
    file: File,
    compressor: zstd::bulk::Compressor<'static>,
    block: Vec<u8>,
    table: Vec<u8>,
    blocks: u32,
    /// Bytes of the file so far, and of the segment.
    end: u64,
    logical: u64,
    tally: Tally,
}

impl Packer {
    /// Begins the file, with the header of the segment.
    pub(super) fn begin(path: &Path, header: &[u8; HEADER_LEN]) -> io::Result<Self> {
        let mut file = create_private(path)?;
        file.write_all(header)?;
        Ok(Self {
            file,
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            block: Vec::with_capacity(BLOCK_BYTES),
            table: Vec::new(),
            blocks: 0,
            end: len64(header),
            logical: len64(header),
            tally: Tally::default(),
        })
    }

    /// What is told of an entry whose frame is pushed.
    pub(super) fn tally(&mut self, entry: &EntryRef<'_>) {
        self.tally.add(entry);
    }

    /// Adds bytes of the segment. `true` when a block was filled: a good moment to pause.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        let before = self.blocks;
        while !bytes.is_empty() {
            let room = BLOCK_BYTES.saturating_sub(self.block.len()).min(bytes.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() >= BLOCK_BYTES {
                self.end_block()?;
            }
        }
        Ok(self.blocks > before)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let packed = self.compressor.compress(&self.block)?;
        self.file.write_all(&packed)?;
        self.end = self.end.saturating_add(len64(&packed));
        self.logical = self.logical.saturating_add(len64(&self.block));
        self.table.extend_from_slice(&self.end.to_le_bytes());
        self.table.extend_from_slice(&crc32c(&packed).to_le_bytes());
        self.blocks = self.blocks.saturating_add(1);
        self.block.clear();
        Ok(())
    }

    /// Writes what is left and makes the file durable. Its name is the caller's to give. Returns
    /// the bytes that it has.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let mut out = std::mem::take(&mut self.table);
        let kept = self.tally.kept();
        for class in &kept {
            let mut entry = [0; CLASS_ENTRY];
            put(&mut entry, 0, &[class.class]);
            put(&mut entry, 4, &class.entries.to_le_bytes());
            put(&mut entry, 8, &class.oldest_ns.to_le_bytes());
            put(&mut entry, 16, &class.newest_ns.to_le_bytes());
            out.extend_from_slice(&entry);
        }
        let classes = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        let mut footer = [0; FOOTER_LEN];
        put(&mut footer, 0, &MAGIC);
        put(&mut footer, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut footer, 12, &BLOCK.to_le_bytes());
        put(&mut footer, 16, &self.blocks.to_le_bytes());
        put(&mut footer, 20, &classes.to_le_bytes());
        put(&mut footer, 24, &self.logical.to_le_bytes());
        put(&mut footer, 32, &crc32c(&out).to_le_bytes());
        let crc = footer.get(..36).map_or(0, crc32c);
        put(&mut footer, 36, &crc.to_le_bytes());
        out.extend_from_slice(&footer);
        self.file.write_all(&out)?;
        // IMPORTANT: durable before it gets its name, as every file here.
        self.file.sync_all()?;
        Ok(self.end.saturating_add(len64(&out)))
    }
}

/// Where a block is in the file.
#[derive(Debug, Clone, Copy)]
struct Block {
    end: u64,
    crc: u32,
}

/// A block that was unpacked, by its number.
type Unpacked = (usize, Arc<Vec<u8>>);

/// A packed segment, open for reading.
#[derive(Debug)]
pub(super) struct Packed {
    file: File,
    blocks: Vec<Block>,
    kept: Vec<Kept>,
    logical: u64,
    /// Blocks that were unpacked last, the newest at the end.
    cache: Mutex<Vec<Unpacked>>,
}

impl Packed {
    /// Reads the tables of the file. `Err` with the file when they are damaged: its header can be
    /// read all the same.
    pub(super) fn open(file: File) -> io::Result<Result<Self, File>> {
        let length = file.metadata()?.len();
        let Some(tables) = read_tables(&file, length)? else { return Ok(Err(file)) };
        let Tables { blocks, kept, logical } = tables;
        Ok(Ok(Self { file, blocks, kept, logical, cache: Mutex::default() }))
    }

    /// Length of the segment in bytes.
    pub(super) fn logical(&self) -> u64 {
        self.logical
    }

    /// What of it is kept, by class.
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Reads as much of the segment as there is at `offset`, up to the buffer's length. With `once`
    /// what is read stays in nobody's memory.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64, once: bool) -> io::Result<usize> {
        let left = to_usize(self.logical.saturating_sub(offset)).min(buffer.len());
        let buffer = buffer.get_mut(..left).unwrap_or_default();
        let mut done = 0_usize;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            let n = match at.checked_sub(HEADER_LEN as u64) {
                None => {
                    let most = HEADER_LEN.saturating_sub(to_usize(at)).min(rest.len());
                    read_up_to(&self.file, rest.get_mut(..most).unwrap_or_default(), at)?
                }
                Some(at) => self.read_block(rest, to_usize(at), once)?,
            };
            if n == 0 {
                break;
            }
            done = done.saturating_add(n);
        }
        Ok(done)
    }

    /// Reads from the one block in which that byte behind the header is.
    fn read_block(&self, buffer: &mut [u8], at: usize, once: bool) -> io::Result<usize> {
        let number = at.checked_div(BLOCK_BYTES).unwrap_or(0);
        let within = at.checked_rem(BLOCK_BYTES).unwrap_or(0);
        let block = self.block(number, once)?;
        let from = block.get(within..).unwrap_or_default();
        let n = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), from.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    /// A block, unpacked: from those that were last, or from the file.
    fn block(&self, number: usize, once: bool) -> io::Result<Arc<Vec<u8>>> {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = lock().iter().find(|(known, _)| *known == number) {
            return Ok(block.clone());
        }
        // Not under the lock: others read blocks that are there.
        let block = Arc::new(self.unpack(number, once)?);
        let mut cache = lock();
        cache.retain(|(known, _)| *known != number);
        if cache.len() >= CACHED_BLOCKS {
            cache.remove(0);
        }
        cache.push((number, block.clone()));
        Ok(block)
    }

    fn unpack(&self, number: usize, once: bool) -> io::Result<Vec<u8>> {
        let behind =
            (HEADER_LEN as u64).saturating_add((number as u64).saturating_mul(BLOCK.into()));
        let length = to_usize(self.logical.saturating_sub(behind)).min(BLOCK_BYTES);
        let start = number.checked_sub(1).and_then(|before| self.blocks.get(before));
        let start = start.map_or(HEADER_LEN as u64, |before| before.end);
        let Some(block) = self.blocks.get(number) else { return Ok(Vec::new()) };
        let mut packed = vec![0; to_usize(block.end.saturating_sub(start))];
        let read = if once { read_once } else { read_up_to };
        let n = read(&self.file, &mut packed, start)?;
        let sound = n == packed.len() && crc32c(&packed) == block.crc;
        let unpacked = sound.then(|| zstd::bulk::decompress(&packed, length).ok()).flatten();
        Ok(unpacked.filter(|it| it.len() == length).unwrap_or_else(|| vec![DAMAGED; length]))
    }
}

struct Tables {
    blocks: Vec<Block>,
    kept: Vec<Kept>,
    logical: u64,
}

/// The tables at the end of the file; `None` when they are not as they were written.
fn read_tables(file: &File, length: u64) -> io::Result<Option<Tables>> {
    let mut footer = [0; FOOTER_LEN];
    let Some(footer_at) = length.checked_sub(len64(&footer)) else { return Ok(None) };
    read_up_to(file, &mut footer, footer_at)?;
    let Some((tables_len, logical)) = check_footer(&footer) else { return Ok(None) };
    // A length that does not fit the file asks for no memory.
    let start = footer_at.checked_sub(tables_len).filter(|start| *start >= HEADER_LEN as u64);
    let Some(start) = start else { return Ok(None) };
    let mut tables = vec![0; to_usize(tables_len)];
    read_up_to(file, &mut tables, start)?;
    if u32_at(&footer, 32) != Some(crc32c(&tables)) {
        return Ok(None);
    }
    let blocks = u32_at(&footer, 16).unwrap_or(0) as usize;
    let split = tables.split_at_checked(blocks.saturating_mul(BLOCK_ENTRY));
    let Some((blocks, kept)) = split else { return Ok(None) };
    let block = |entry| Some(Block { end: u64_at(entry, 0)?, crc: u32_at(entry, 8)? });
    let blocks: Option<Vec<_>> = blocks.chunks_exact(BLOCK_ENTRY).map(block).collect();
    let kept: Option<Vec<_>> = kept.chunks_exact(CLASS_ENTRY).map(read_kept).collect();
    let (Some(blocks), Some(kept)) = (blocks, kept) else { return Ok(None) };
    // The blocks follow each other from the header to the tables.
    let ends = blocks.iter().map(|block| block.end);
    let ordered = std::iter::once(HEADER_LEN as u64).chain(ends).is_sorted();
    let whole = blocks.last().map_or(HEADER_LEN as u64, |block| block.end) == start;
    let starts = std::iter::once(HEADER_LEN as u64).chain(blocks.iter().map(|block| block.end));
    let longest = zstd::zstd_safe::compress_bound(BLOCK_BYTES) as u64;
    let short = starts.zip(&blocks).all(|(at, block)| block.end.saturating_sub(at) <= longest);
    Ok((ordered && whole && short).then_some(Tables { blocks, kept, logical }))
}

/// Bytes of the tables and of the segment, if the footer is sound and its numbers agree.
fn check_footer(footer: &[u8; FOOTER_LEN]) -> Option<(u64, u64)> {
    let sound = field(footer, 0)? == MAGIC
        && u32_at(footer, 36)? == crc32c(footer.get(..36)?)
        && u32_at(footer, 8)? == FORMAT_VERSION
        && u32_at(footer, 12)? == BLOCK;
    let (blocks, classes) = (u64::from(u32_at(footer, 16)?), u64::from(u32_at(footer, 20)?));
    let logical = u64_at(footer, 24)?;
    let fits = logical.checked_sub(HEADER_LEN as u64)?.div_ceil(BLOCK.into()) == blocks;
    let blocks = blocks.checked_mul(BLOCK_ENTRY as u64)?;
    let tables = blocks.checked_add(classes.checked_mul(CLASS_ENTRY as u64)?)?;
    let possible = logical <= MAX_LOGICAL && classes <= MAX_CLASSES;
    (sound && fits && possible).then_some((tables, logical))
}

fn read_kept(entry: &[u8]) -> Option<Kept> {
    Some(Kept {
        class: *entry.first()?,
        entries: u32_at(entry, 4)?,
        oldest_ns: u64_at(entry, 8)?,
        newest_ns: u64_at(entry, 16)?,
    })
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
