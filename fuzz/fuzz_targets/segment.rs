//! The files of a ledger as somebody left them: opening, reading and verifying never panic, and no
//! entry is ever read that was not written, whatever was done to the files.
//!
//! ```text
//! ├ flags ┼ edit … edit ┤            bit 0: the log has no mark of a clean end
//! edit: kind, file, offset (2), …    bit 1: checksums are made right again after the edits
//! ```
//!
//! Who makes checksums right is found by verify alone, and only when he changed what the tree covers:
//! tenant's name, source key, salts and sealed bytes are not in it (see `src/ledger/leaf.rs`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanledger::ledger::{
    Batch, EntryId, EntryRef, Ledger, NewEntry, OpenError, Options, Reader, StoredEntry, TreeHead,
    verify, verify_against,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Magic of a frame, kind and length of what its head's checksum covers; see `src/ledger/mod.rs`.
const FRAME: [u8; 4] = [0xF7, b'S', b'L', 0xFE];
const SEAL_LEN: usize = 80;
const ENTRY_LEN: usize = 176;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers")
});

/// A log of some segments.
struct Log {
    /// Names and contents; the newest segment is the first.
    files: Vec<(String, Vec<u8>)>,
    entries: Vec<StoredEntry>,
    head: TreeHead,
}

static LOG: LazyLock<Log> = LazyLock::new(|| RUNTIME.block_on(write_log()));

fn options() -> Options {
    Options { segment_bytes: 900, reserve_bytes: 0, ..Options::default() }
}

/// In memory where the system has a place for that: each input makes its files anew.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary directory can be made")
}

async fn write_log() -> Log {
    let dir = directory();
    let (ledger, _) = Ledger::open(dir.path(), options()).expect("a new ledger opens");
    for group in 0..8_u8 {
        let mut batch = Batch::new();
        for id in [2 * group + 1, 2 * group + 2] {
            batch.push(&entry(id)).expect("a small entry fits");
        }
        ledger.append(batch).await.expect("it is appended");
    }
    let head = ledger.close().await.expect("it closes");
    let reader = Reader::open(dir.path()).expect("it can be read");
    let entry = |sequence| reader.get(sequence).expect("is readable").expect("is there");
    let entries = (0..head.size).map(entry).collect();
    let mut files: Vec<_> = contents(dir.path())
        .into_iter()
        .filter(|(name, _)| name.ends_with(".segment") || name.ends_with(".index"))
        .collect();
    files.sort_by_key(|(name, _)| std::cmp::Reverse(name.clone()));
    assert!(files.len() >= 5, "several segments and their sidecars");
    Log { files, entries, head }
}

fn entry(id: u8) -> NewEntry<'static> {
    NewEntry {
        id: EntryId([id; 16]),
        tenant: if id.is_multiple_of(3) { "one" } else { "two" },
        tenant_pseudonym: [u8::from(id.is_multiple_of(3)); 16],
        retention_class: 1,
        received_ns: 1_700_000_000_000_000_000 + u64::from(id),
        mapping_version: *b"mapping1",
        source_key: Some([id; 16]),
        commitments: &[],
        sealed: &[],
        body: b"{\"schema_version\":1}",
    }
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the directory is there")
        .map(|file| file.expect("its entries can be read").path())
        .map(|path| (name(&path), fs::read(&path).expect("its files can be read")))
        .collect();
    files.sort();
    files
}

fn name(path: &PathBuf) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fuzz_target!(|data: &[u8]| {
    let log = &*LOG;
    let Some((flags, edits)) = data.split_first() else { return };
    let mut files = log.files.clone();
    if flags & 1 != 0 {
        let newest = &mut files[0].1;
        newest.truncate(newest.len() - SEAL_LEN);
    }
    edit(&mut files, edits);
    let is_forged = flags & 2 != 0;
    if is_forged {
        files.iter_mut().for_each(|(_, bytes)| make_checksums_right(bytes));
    }
    let dir = directory();
    for (name, bytes) in &files {
        fs::write(dir.path().join(name), bytes).expect("memory does not fail");
    }

    let is_whole = verify_against(dir.path(), &[log.head], None, |_| {}).is_ok_and(|it| it.is_ok());
    if let Ok(reader) = Reader::open(dir.path()) {
        has_only_what_was_written(&reader, log, is_forged, is_whole);
        assert!(!is_whole || reader.head() == log.head);
    }
    if is_whole && !is_forged {
        assert_eq!(verified_segments(&files), verified_segments(&log.files), "and yet it verifies");
    }
    let before = contents(dir.path());
    match Ledger::open(dir.path(), options()) {
        Ok((ledger, recovery)) => {
            has_only_what_was_written(&ledger.reader(), log, is_forged, is_whole);
            assert!(!is_whole || recovery.head == log.head, "nothing that was whole is cut off");
            let closed = RUNTIME.block_on(ledger.close());
            assert_eq!(closed.ok(), Some(recovery.head));
            drop(ledger);
            let report = verify(dir.path(), |_| {}).expect("there is a ledger");
            let in_newest =
                report.problems.iter().find(|it| !is_of_a_sealed_one(&it.segment, &files));
            assert!(is_forged || in_newest.is_none(), "opened, but: {in_newest:?}");
        }
        Err(refused @ OpenError::Corrupt { .. }) => {
            let after = contents(dir.path());
            let is_kept = |(name, bytes): &(String, Vec<u8>)| {
                name.ends_with(".index") || after.iter().any(|it| it.0 == *name && it.1 == *bytes)
            };
            let changed: Vec<_> = before.iter().filter(|it| !is_kept(it)).map(|it| &it.0).collect();
            assert!(changed.is_empty(), "{refused}, and changed: {changed:?}");
        }
        Err(error) => panic!("{error}"),
    }
});

/// Whatever can be read is what was written in that place.
fn has_only_what_was_written(reader: &Reader, log: &Log, is_forged: bool, is_whole: bool) {
    if is_forged && !is_whole {
        return;
    }

    let check = |found: EntryRef<'_>| {
        let index = usize::try_from(found.sequence).expect("there are a few");
        let written = log.entries[index].as_ref();
        if is_forged {
            assert_eq!(committed(found), committed(written), "entry {index}");
        } else {
            assert_eq!(found, written, "entry {index}");
        }
    };
    assert!(reader.head().size <= log.head.size, "no entry was added");
    for sequence in 0..reader.head().size {
        if let Ok(Some(found)) = reader.get(sequence) {
            assert_eq!(found.sequence, sequence);
            check(found.as_ref());
        }
    }
    let mut scan = reader.scan_once(0);
    let mut next = 0;
    while let Ok(Some(chunk)) = scan.next_chunk(64 * 1024) {
        for found in chunk.entries() {
            assert_eq!(found.sequence, next);
            check(found);
            next += 1;
        }
    }
}

/// What the tree covers of an entry.
fn committed(entry: EntryRef<'_>) -> impl PartialEq + std::fmt::Debug + '_ {
    (
        (entry.sequence, entry.tenant_sequence, entry.id, entry.tenant_pseudonym),
        (entry.retention_class, entry.received_ns, entry.mapping_version, entry.conflict),
        (entry.body_hash, entry.leaf_hash, entry.body, entry.commitments.len()),
    )
}

/// The segments without the mark of a clean end, which is nothing that was committed.
fn verified_segments(files: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    let newest = files.iter().map(|(name, _)| name).find(|name| name.ends_with(".segment"));
    let segments = files.iter().filter(|(name, _)| name.ends_with(".segment"));
    segments
        .map(|(name, bytes)| {
            let seals = LOG.files[0].1.len() - SEAL_LEN;
            let end = if Some(name) == newest { bytes.len().min(seals) } else { bytes.len() };
            (name.as_str(), &bytes[..end])
        })
        .collect()
}

/// Opening reads the newest segment, but computes no hash of a body: who forged its checksum is found
/// by verify. What is wrong with older ones is verify's to find anyway.
fn is_of_a_sealed_one(segment: &PathBuf, files: &[(String, Vec<u8>)]) -> bool {
    let newest = files.iter().map(|(name, _)| name).find(|name| name.ends_with(".segment"));
    newest != Some(&name(segment))
}

/// Does to the files what the input says.
fn edit(files: &mut Vec<(String, Vec<u8>)>, mut edits: &[u8]) {
    while let Some(([kind, file, high, low], rest)) = edits.split_first_chunk::<4>() {
        edits = rest;
        if files.is_empty() {
            return;
        }
        let file = usize::from(*file) % files.len();
        let bytes = &mut files[file].1;
        let at = usize::from(u16::from_be_bytes([*high, *low])) % (bytes.len() + 1);
        match kind % 8 {
            0 => bytes.truncate(at),
            1 | 2 => {
                let (length, rest) = edits.split_first().unwrap_or((&0, &[]));
                let (given, rest) = rest.split_at(rest.len().min(usize::from(*length)));
                edits = rest;
                let end = (at + given.len()).min(bytes.len());
                let replaced = if kind % 8 == 1 { at..end } else { at..at };
                bytes.splice(replaced, given.iter().copied());
            }
            3 => {
                let (length, rest) = edits.split_first().unwrap_or((&0, &[]));
                edits = rest;
                let end = (at + usize::from(*length)).min(bytes.len());
                bytes.drain(at..end);
            }
            // A piece of a file, put where another one ends or begins.
            4 | 5 => {
                let ([from, high, low, length], rest) =
                    edits.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
                edits = rest;
                let source = files[usize::from(*from) % files.len()].1.clone();
                let start = usize::from(u16::from_be_bytes([*high, *low])) % (source.len() + 1);
                let end = (start + 4 * usize::from(*length)).min(source.len());
                let bytes = &mut files[file].1;
                let until = if kind % 8 == 4 { at } else { (at + end - start).min(bytes.len()) };
                bytes.splice(at..until, source[start..end].iter().copied());
            }
            6 => drop(files.remove(file)),
            _ => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1),
        }
    }
}

/// Checksums, which no attacker is kept from computing.
fn make_checksums_right(bytes: &mut [u8]) {
    if bytes.starts_with(b"SPANLDGR") && bytes.len() >= 116 {
        let crc = crc_fast::crc32_iscsi(&bytes[..112]).to_le_bytes();
        bytes[112..116].copy_from_slice(&crc);
    }
    if let Some(footer) =
        bytes.len().checked_sub(112).filter(|at| bytes[*at..].starts_with(b"SPANLIDX"))
    {
        make_sidecar_right(bytes, footer);
    }
    let starts: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&FRAME)).collect();
    for at in starts {
        let frame = &mut bytes[at..];
        let Some(kind) = frame.get(8) else { continue };
        if *kind == 1 && frame.len() >= ENTRY_LEN {
            let word = |at: usize| {
                u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
                    as usize
            };
            let (length, body) = (word(12), word(68));
            let Some(head) = length.checked_sub(body).filter(|_| length <= frame.len()) else {
                continue;
            };
            if head < ENTRY_LEN {
                continue;
            }
            let body_crc = crc_fast::crc32_iscsi(&frame[head..length]).to_le_bytes();
            frame[64..68].copy_from_slice(&body_crc);
            let crc = crc_fast::crc32_iscsi(&frame[8..head]).to_le_bytes();
            frame[4..8].copy_from_slice(&crc);
        } else if frame.len() >= SEAL_LEN {
            let crc = crc_fast::crc32_iscsi(&frame[8..SEAL_LEN]).to_le_bytes();
            frame[4..8].copy_from_slice(&crc);
        }
    }
}

fn make_sidecar_right(bytes: &mut [u8], footer: usize) {
    let count = u32::from_le_bytes(bytes[footer + 16..footer + 20].try_into().expect("four bytes"));
    let records = (count as usize).saturating_mul(68).min(footer);
    let crc_records = crc_fast::crc32_iscsi(&bytes[..records]).to_le_bytes();
    let crc_state = crc_fast::crc32_iscsi(&bytes[records..footer]).to_le_bytes();
    bytes[footer + 12..footer + 16].copy_from_slice(&crc_records);
    bytes[footer + 24..footer + 28].copy_from_slice(&crc_state);
    let crc = crc_fast::crc32_iscsi(&bytes[footer..footer + 108]).to_le_bytes();
    bytes[footer + 108..footer + 112].copy_from_slice(&crc);
}
