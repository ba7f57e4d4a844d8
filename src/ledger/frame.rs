//! One frame: an entry, or the seal that ends a group of entries. Drawn in the [module](super).
//!
//! A frame has a head and a body with sealed bytes in front of it, each with its own checksum. The
//! request's task lays a frame out and hashes the body; the writer fills four fields of the head
//! and seals it with the head's checksum. This file knows bytes, not history: whether a frame
//! should be where it is, is for [`chain`](super::chain) to say.
//!
//! Body and sealed bytes are outside of the leaf, which has a hash of each ([`sealed`](super::sealed)).
//! So they can go, and the entry still proves what it proved: [`prune`].

use super::bytes::{crc32c, field, put, u16_at, u32_at, u64_at};
use super::leaf::Leaf;
use super::types::{
    COMMITMENT_LEN, Commitments, EntryId, EntryRef, Hash, NewEntry, SALT, TreeHead,
};
use super::{merkle, sealed};
use sha2::{Digest, Sha256};

/// First bytes of each frame. No UTF-8 text contains 0xF7 or 0xFE, so no JSON body can look like
/// a frame to the search after damage.
pub(super) const MAGIC: [u8; 4] = [0xF7, b'S', b'L', 0xFE];

/// Version of the layout.
const VERSION: u8 = 1;

/// Kinds of frames.
const ENTRY: u8 = 1;
const GROUP_END: u8 = 2;
const CLOSE: u8 = 3;

/// Bits of the flags.
const CONFLICT: u16 = 1;
const SOURCE_KEY: u16 = 2;
const PRUNED: u16 = 4;

/// Places of the fields.
const CRC: usize = 4;
const KIND: usize = 8;
const FLAGS: usize = 10;
const LENGTH: usize = 12;
const SEQUENCE: usize = 16;
const TENANT_SEQUENCE: usize = 24;
const LEAF_HASH: usize = 32;
const BODY_CRC: usize = 64;
const BODY_LEN: usize = 68;
const BODY_HASH: usize = 72;
const ID: usize = 104;
const PSEUDONYM: usize = 120;
const KEY: usize = 136;
const RECEIVED: usize = 152;
const MAPPING: usize = 160;
const CLASS: usize = 168;
/// Two bytes: the length of the tenant's name, the number of commitments.
const TENANT_LEN: usize = 169;
const SEALED_LEN: usize = 172;

/// Bytes of an entry's head before its variable part.
pub(super) const FIXED_LEN: usize = 176;

/// Places of a seal's fields; it starts as an entry does, up to its length.
const SEAL_SIZE: usize = 24;
const SEAL_ROOT: usize = 32;
const SEAL_BYTES: usize = 64;
const SEAL_TIME: usize = 72;

/// Bytes of a seal.
pub(super) const SEAL_LEN: usize = 80;

/// Longest body. An entry is a few kilobytes; 16 MiB is room for a transcript, and keeps a
/// damaged length from asking for gigabytes of memory.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Longest tenant name.
pub const MAX_TENANT_BYTES: usize = 64;

/// Most commitments of an entry: their number is one byte. The ledger's own to sealed bytes counts.
pub const MAX_COMMITMENTS: usize = 255;

/// Most sealed bytes of an entry: room for the originals of a body of [`MAX_BODY_BYTES`].
pub const MAX_SEALED_BYTES: usize = 16 * 1024 * 1024;

/// Longest head.
pub(super) const MAX_HEAD: usize = FIXED_LEN + MAX_TENANT_BYTES + MAX_COMMITMENTS * COMMITMENT_LEN;

/// Longest frame.
pub(super) const MAX_FRAME: usize = MAX_HEAD + MAX_SEALED_BYTES + MAX_BODY_BYTES;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The input ends inside the frame. At the end of the newest segment this is a torn write;
    /// anywhere else it is damage.
    #[error("the frame ends after {available} of {needed} bytes")]
    Incomplete {
        /// Bytes that are there.
        available: usize,
        /// Bytes that are needed at least.
        needed: usize,
    },
    /// Something else is where a frame should start.
    #[error("no frame starts here")]
    NotAFrame,
    /// The head is not what was written.
    #[error("the head of the frame does not match its checksum")]
    Head,
    /// The head is sound and the body, or what is sealed beside it, is not what was written.
    #[error(
        "the body of entry {sequence}, or what is sealed beside it, does not match its checksum"
    )]
    Body {
        /// Sequence number of the entry.
        sequence: u64,
    },
    /// The checksum is right and the contents make no sense: written by another program.
    #[error("the frame is of an unknown version or its contents contradict each other")]
    Layout,
}

/// A frame, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// An entry.
    Entry(EntryRef<'a>),
    /// The end of a group, or of a run of the program.
    Seal(Seal),
}

/// What ends a group of entries: from here on they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    /// Whether the program was closed here, properly. Such a seal ends an empty group.
    pub(super) close: bool,
    /// Sequence of the group's first entry.
    pub(super) first: u64,
    /// The tree after the group.
    pub(super) head: TreeHead,
    /// Bytes of the group's entries, which stand right before the seal.
    pub(super) bytes: u64,
    /// When it was written, in nanoseconds since 1970.
    pub(super) time_ns: u64,
}

impl Seal {
    /// The bytes of the seal.
    pub(super) fn encode(&self) -> [u8; SEAL_LEN] {
        let mut out = [0; SEAL_LEN];
        put(&mut out, 0, &MAGIC);
        put(&mut out, KIND, &[if self.close { CLOSE } else { GROUP_END }, VERSION]);
        put(&mut out, LENGTH, &short(SEAL_LEN).to_le_bytes());
        put(&mut out, SEQUENCE, &self.first.to_le_bytes());
        put(&mut out, SEAL_SIZE, &self.head.size.to_le_bytes());
        put(&mut out, SEAL_ROOT, &self.head.root);
        put(&mut out, SEAL_BYTES, &self.bytes.to_le_bytes());
        put(&mut out, SEAL_TIME, &self.time_ns.to_le_bytes());
        close_head(&mut out, SEAL_LEN);
        out
    }
}

/// Fills in the head's checksum, over everything from the kind to the head's end.
fn close_head(frame: &mut [u8], head: usize) {
    let crc = frame.get(KIND..head).map_or(0, crc32c);
    put(frame, CRC, &crc.to_le_bytes());
}

/// Appends the frame of an entry to `out`, with the fields of the writer left open. The caller
/// has checked the limits.
pub(super) fn lay_out(entry: &NewEntry<'_>, out: &mut Vec<u8>) {
    let length = length_of(entry);
    let mut fixed = [0; FIXED_LEN];
    let flags = if entry.source_key.is_some() { SOURCE_KEY } else { 0 };
    put(&mut fixed, 0, &MAGIC);
    put(&mut fixed, KIND, &[ENTRY, VERSION]);
    put(&mut fixed, FLAGS, &flags.to_le_bytes());
    put(&mut fixed, LENGTH, &short(length).to_le_bytes());
    put(&mut fixed, BODY_LEN, &short(entry.body.len()).to_le_bytes());
    put(&mut fixed, BODY_HASH, &Sha256::digest(entry.body));
    put(&mut fixed, ID, &entry.id.0);
    put(&mut fixed, PSEUDONYM, &entry.tenant_pseudonym);
    put(&mut fixed, KEY, &entry.source_key.unwrap_or_default());
    put(&mut fixed, RECEIVED, &entry.received_ns.to_le_bytes());
    put(&mut fixed, MAPPING, &entry.mapping_version);
    let sealed = sealed::commitment(entry.sealed);
    let commitments = byte(commitments_of(entry));
    let counts = [entry.retention_class, byte(entry.tenant.len()), commitments];
    put(&mut fixed, CLASS, &counts);
    put(&mut fixed, SEALED_LEN, &short(entry.sealed.len()).to_le_bytes());

    out.reserve(length);
    let start = out.len();
    out.extend_from_slice(&fixed);
    out.extend_from_slice(entry.tenant.as_bytes());
    for commitment in entry.commitments.iter().chain(&sealed) {
        out.push(commitment.kind);
        out.extend_from_slice(&commitment.value);
        out.extend_from_slice(&commitment.salt);
    }
    let rest = out.len();
    out.extend_from_slice(entry.sealed);
    out.extend_from_slice(entry.body);
    let crc = out.get(rest..).map_or(0, crc32c);
    put(out, start.saturating_add(BODY_CRC), &crc.to_le_bytes());
}

/// Commitments that an entry will have: those that it was given, and the one to its sealed bytes.
pub(super) fn commitments_of(entry: &NewEntry<'_>) -> usize {
    entry.commitments.len().saturating_add(usize::from(!entry.sealed.is_empty()))
}

/// Bytes that an entry's frame will have.
pub(super) fn length_of(entry: &NewEntry<'_>) -> usize {
    let commitments = commitments_of(entry).saturating_mul(COMMITMENT_LEN);
    let head = FIXED_LEN.saturating_add(entry.tenant.len()).saturating_add(commitments);
    head.saturating_add(entry.sealed.len()).saturating_add(entry.body.len())
}

fn short(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn byte(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

/// What the writer wants to know of a frame that was laid out in this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peek {
    pub(super) id: [u8; 16],
    pub(super) source_key: Option<[u8; 16]>,
    pub(super) pseudonym: [u8; 16],
}

/// Reads the fields by which the writer decides. `None` cannot happen for a frame of [`lay_out`].
pub(super) fn peek(frame: &[u8]) -> Option<Peek> {
    Some(Peek {
        id: field(frame, ID)?,
        source_key: has_key(frame)?.then(|| field(frame, KEY)).flatten(),
        pseudonym: field(frame, PSEUDONYM)?,
    })
}

fn has_key(frame: &[u8]) -> Option<bool> {
    Some(u16_at(frame, FLAGS)? & SOURCE_KEY != 0)
}

/// Gives a frame its place: the writer's part. Appends the leaf's record to `record`; returns its
/// hash.
pub(super) fn place(
    frame: &mut [u8],
    sequence: u64,
    tenant_sequence: u64,
    conflict: bool,
    record: &mut Vec<u8>,
) -> Option<Hash> {
    if conflict {
        let flags = u16_at(frame, FLAGS)? | CONFLICT;
        put(frame, FLAGS, &flags.to_le_bytes());
    }
    put(frame, SEQUENCE, &sequence.to_le_bytes());
    put(frame, TENANT_SEQUENCE, &tenant_sequence.to_le_bytes());
    let head = Head::read(frame).ok()?;
    let start = record.len();
    head.leaf(frame)?.write(record);
    let hash = merkle::leaf_hash(record.get(start..)?);
    put(frame, LEAF_HASH, &hash);
    close_head(frame, head.len);
    Some(hash)
}

/// Lengths of a frame's parts, read from its head and found consistent.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: u8,
    tenant: usize,
    commitments: usize,
    sealed: usize,
    /// Bytes of the head: here the sealed bytes start, and then the body.
    len: usize,
    frame: usize,
}

impl Head {
    /// Reads the lengths. The checksum is not looked at.
    fn read(input: &[u8]) -> Result<Self, FrameError> {
        let incomplete = |needed| FrameError::Incomplete { available: input.len(), needed };
        let magic = input.get(..MAGIC.len()).ok_or_else(|| incomplete(SEQUENCE))?;
        if magic != MAGIC {
            return Err(FrameError::NotAFrame);
        }
        let frame = u32_at(input, LENGTH).ok_or_else(|| incomplete(SEQUENCE))? as usize;
        let [kind, version] = field(input, KIND).ok_or_else(|| incomplete(SEQUENCE))?;
        match (kind, version) {
            (GROUP_END | CLOSE, VERSION) if frame == SEAL_LEN => {
                Ok(Self { kind, tenant: 0, commitments: 0, sealed: 0, len: SEAL_LEN, frame })
            }
            (ENTRY, VERSION) => Self::read_entry(input, frame),
            _ => Err(FrameError::Layout),
        }
    }

    fn read_entry(input: &[u8], frame: usize) -> Result<Self, FrameError> {
        let needed = || FrameError::Incomplete { available: input.len(), needed: FIXED_LEN };
        let [tenant, commitments] = field(input, TENANT_LEN).ok_or_else(needed)?;
        let sealed = u32_at(input, SEALED_LEN).ok_or_else(needed)? as usize;
        let body = u32_at(input, BODY_LEN).ok_or_else(needed)? as usize;
        let commitments = usize::from(commitments).saturating_mul(COMMITMENT_LEN);
        let tenant = usize::from(tenant);
        let len = FIXED_LEN.saturating_add(tenant).saturating_add(commitments);
        let fits = tenant <= MAX_TENANT_BYTES
            && sealed <= MAX_SEALED_BYTES
            && body <= MAX_BODY_BYTES
            && len.saturating_add(sealed).saturating_add(body) == frame;
        if fits {
            Ok(Self { kind: ENTRY, tenant, commitments, sealed, len, frame })
        } else {
            Err(FrameError::Layout)
        }
    }

    fn leaf<'a>(&self, frame: &'a [u8]) -> Option<Leaf<'a>> {
        Some(Leaf {
            id: field(frame, ID)?,
            tenant_pseudonym: field(frame, PSEUDONYM)?,
            tenant_sequence: u64_at(frame, TENANT_SEQUENCE)?,
            received_ns: u64_at(frame, RECEIVED)?,
            mapping_version: field(frame, MAPPING)?,
            retention_class: *frame.get(CLASS)?,
            conflict: u16_at(frame, FLAGS)? & CONFLICT != 0,
            body_hash: field(frame, BODY_HASH)?,
            commitments: self.commitments(frame)?,
        })
    }

    fn commitments<'a>(&self, frame: &'a [u8]) -> Option<Commitments<'a>> {
        frame.get(FIXED_LEN.saturating_add(self.tenant)..)?.get(..self.commitments).map(Commitments)
    }

    fn entry<'a>(&self, frame: &'a [u8]) -> Option<EntryRef<'a>> {
        let leaf = self.leaf(frame)?;
        let tenant = frame.get(FIXED_LEN..)?.get(..self.tenant)?;
        let pruned = u16_at(frame, FLAGS)? & PRUNED != 0;
        let rest = frame.get(self.len..self.frame)?.split_at_checked(self.sealed)?;
        // Of a pruned one zeros are left, so that nothing behind them moves.
        let (sealed, body) = if pruned { Default::default() } else { rest };
        Some(EntryRef {
            sequence: u64_at(frame, SEQUENCE)?,
            tenant_sequence: leaf.tenant_sequence,
            id: EntryId(leaf.id),
            tenant: std::str::from_utf8(tenant).ok()?,
            tenant_pseudonym: leaf.tenant_pseudonym,
            retention_class: leaf.retention_class,
            received_ns: leaf.received_ns,
            mapping_version: leaf.mapping_version,
            source_key: has_key(frame)?.then(|| field(frame, KEY)).flatten(),
            conflict: leaf.conflict,
            commitments: leaf.commitments,
            body_hash: leaf.body_hash,
            leaf_hash: field(frame, LEAF_HASH)?,
            pruned,
            sealed,
            body,
        })
    }
}

fn seal(kind: u8, frame: &[u8]) -> Option<Seal> {
    Some(Seal {
        close: kind == CLOSE,
        first: u64_at(frame, SEQUENCE)?,
        head: TreeHead { size: u64_at(frame, SEAL_SIZE)?, root: field(frame, SEAL_ROOT)? },
        bytes: u64_at(frame, SEAL_BYTES)?,
        time_ns: u64_at(frame, SEAL_TIME)?,
    })
}

/// Reads the frame at the front of `input`, and its length. No input makes it panic or allocate.
///
/// A frame is called incomplete only when what is there of it is sound.
pub(super) fn decode(input: &[u8]) -> Result<(Frame<'_>, usize), FrameError> {
    let incomplete = |needed| FrameError::Incomplete { available: input.len(), needed };
    let head = checked_head(input)?;
    let frame = input.get(..head.frame).ok_or_else(|| incomplete(head.frame))?;
    if head.kind != ENTRY {
        let seal = seal(head.kind, frame).ok_or(FrameError::Layout)?;
        return Ok((Frame::Seal(seal), head.frame));
    }
    let entry = head.entry(frame).ok_or(FrameError::Layout)?;
    if u32_at(frame, BODY_CRC) != frame.get(head.len..).map(crc32c) {
        return Err(FrameError::Body { sequence: entry.sequence });
    }
    Ok((Frame::Entry(entry), head.frame))
}

/// The lengths of a head whose checksum is right.
fn checked_head(input: &[u8]) -> Result<Head, FrameError> {
    // Lengths that contradict each other are damage, as a wrong checksum is.
    let head = Head::read(input).map_err(|error| match error {
        FrameError::Layout if !is_intact_unknown(input) => FrameError::Head,
        other => other,
    })?;
    let covered = input.get(KIND..head.len);
    let covered =
        covered.ok_or(FrameError::Incomplete { available: input.len(), needed: head.len })?;
    if u32_at(input, CRC) != Some(crc32c(covered)) {
        return Err(FrameError::Head);
    }
    Ok(head)
}

/// Takes the body, the sealed bytes and the salts out of the entry's frame at the front of `frame`,
/// which [`decode`] has found sound. Zeros of the same length stand there afterwards, so nothing
/// moves; everything of the leaf stays. Gives the bytes that went; 0 if it was done before.
pub(super) fn prune(frame: &mut [u8]) -> Result<usize, FrameError> {
    let head = checked_head(frame)?;
    let commitments = frame.get_mut(FIXED_LEN.saturating_add(head.tenant)..head.len);
    for commitment in commitments.unwrap_or_default().chunks_exact_mut(COMMITMENT_LEN) {
        // A salt without what it was mixed into proves nothing, and helps to guess it.
        commitment.get_mut(SALT..).unwrap_or_default().fill(0);
    }
    empty(frame, head)
}

/// The same for a frame of which only the head is sound: the body is lost anyway. The salts are not,
/// and stay.
pub(super) fn lose_body(frame: &mut [u8]) -> Result<usize, FrameError> {
    let head = checked_head(frame)?;
    empty(frame, head)
}

fn empty(frame: &mut [u8], head: Head) -> Result<usize, FrameError> {
    let flags = u16_at(frame, FLAGS).ok_or(FrameError::Layout)?;
    let rest = frame.get_mut(head.len..head.frame).ok_or(FrameError::Layout)?;
    if head.kind != ENTRY {
        return Err(FrameError::Layout);
    }
    rest.fill(0);
    let (went, crc) = (rest.len(), crc32c(&*rest));
    put(frame, FLAGS, &(flags | PRUNED).to_le_bytes());
    put(frame, BODY_CRC, &crc.to_le_bytes());
    close_head(frame, head.len);
    Ok(if flags & PRUNED == 0 { went } else { 0 })
}

/// Whether a head of which we know only the length has a right checksum: a later version.
fn is_intact_unknown(input: &[u8]) -> bool {
    let Some(length) = u32_at(input, LENGTH) else { return false };
    let covered = input.get(KIND..length as usize);
    covered.is_some_and(|bytes| u32_at(input, CRC) == Some(crc32c(bytes)))
}

/// Sequence and length of the entry whose sound head is at the front of `input`; the body may be
/// missing. `None` for a seal.
pub(super) fn decode_head(input: &[u8]) -> Result<(Option<u64>, usize), FrameError> {
    let head = checked_head(input)?;
    let sequence = if head.kind == ENTRY { u64_at(input, SEQUENCE) } else { None };
    Ok((sequence, head.frame))
}

/// The entry at the front of bytes that [`decode`] has found sound before.
pub(super) fn entry_again(input: &[u8]) -> Option<EntryRef<'_>> {
    Head::read(input).ok()?.entry(input)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
