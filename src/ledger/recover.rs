//! Opening a ledger for writing: what is there, what is torn, and where to go on.

use super::bytes::{len64, to_usize};
use super::chain::Chain;
use super::error::{Damage, OpenError};
use super::now_ns;
use super::options::{MAX_SEGMENT_BYTES, Options};
use super::segment::{Header, TORN};
use super::sidecar::{self, Record, Sidecar};
use super::signed::honour;
use super::source::Source;
use super::status::Notebook;
use super::storage::{SegmentFile, Storage, create_private, sync_dir};
use super::survey::{self, Found, Replayed};
use super::types::{Hash, TreeHead};
use super::view::{Segment, View};
use super::window::Window;
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are copied at once.
const COPY_BYTES: u64 = 1024 * 1024;

/// What was found when a ledger was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the ledger was made just now.
    pub created: bool,
    /// Whether it was closed properly the last time.
    pub clean: bool,
    /// Size and root of what is there.
    pub head: TreeHead,
    /// Random number of the log, made when it was created.
    pub origin: [u8; 16],
    /// Segment files.
    pub segments: usize,
    /// A group at the end that was not whole, and was cut off. Tell people about it.
    pub torn: Option<Torn>,
    /// Sidecars that were missing or damaged and were made again.
    pub sidecars_rebuilt: u64,
    /// Entries in the window of duplicates.
    pub window: usize,
}

/// A last group that was not whole after an unclean end, and was cut off. As text it says what
/// was cut, whether it can have been acknowledged, and where the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment that it was cut from.
    pub segment: PathBuf,
    /// Where in it it started.
    pub offset: u64,
    /// How many bytes there were.
    pub bytes: u64,
    /// Sequences of its entries; other entries get them now. Of a group without its trailer, up
    /// to the last entry that could be read.
    pub entries: Range<u64>,
    /// Whether it had its trailer. Power loss writes pages in any order, so this does not mean
    /// that it was acknowledged; but if the disk changed it later, it was.
    pub sealed: bool,
    /// The file that has the bytes now.
    pub saved_as: PathBuf,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, bytes, entries, .. } = self;
        let (segment, saved_as) = (self.segment.display(), self.saved_as.display());
        write!(f, "{bytes} bytes were cut off {segment} from byte {offset} on, ")?;
        match (entries.end.checked_sub(1).filter(|_| !entries.is_empty()), self.sealed) {
            (None, _) => f.write_str("with no entry that can be read")?,
            (Some(last), true) => write!(f, "with the entries {} to {last}", entries.start)?,
            (Some(last), false) => {
                write!(f, "with the entries {} to {last} or more", entries.start)?;
            }
        }
        f.write_str(if self.sealed {
            ": the last group is damaged and has its trailer. After a power loss that means that \
             it was never acknowledged. WITHOUT one, the disk damaged it later, and these \
             entries had been ACKNOWLEDGED: have them sent again"
        } else {
            ": the last group has no trailer, so it was not acknowledged"
        })?;
        write!(f, ". The bytes are in {saved_as}")
    }
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) file: Box<dyn SegmentFile>,
    pub(super) segment: Arc<Segment>,
    pub(super) header_hash: Hash,
    /// Where the next group goes.
    pub(super) end: u64,
    pub(super) records: Vec<Record>,
    /// Up to where the system was told that it need not keep the contents in memory.
    pub(super) forgotten: u64,
}

/// Everything that a writer goes on from.
pub(super) struct Opened {
    pub(super) active: Active,
    pub(super) chain: Chain,
    pub(super) window: Window,
    pub(super) view: Arc<View>,
    pub(super) recovery: Recovery,
}

/// Opens the ledger, or makes one. The caller holds the lock.
pub(super) fn open(
    dir: &Path,
    options: &Options,
    storage: &mut dyn Storage,
    notes: &Notebook,
) -> Result<Opened, OpenError> {
    sidecar::remove_leftovers(dir).map_err(OpenError::io("clean up", dir))?;
    let all = survey::survey(dir)?;
    let Some((last, sealed)) = all.split_last() else {
        if let Some(signed) = options.signed {
            honour(dir, &[], &[], Chain::default().committed().head(), signed, &mut 0)?;
        }
        return create(dir, options, storage);
    };
    let mut rebuilt = 0;
    let mut chain = survey::state_before(dir, &all, sealed.len(), true, &mut rebuilt)?;
    let file = last.open(dir)?;
    let replayed = survey::replay(last, &file, &mut chain)?;
    // Before anything is changed: it may meet damage in a sealed segment, which is refused.
    let window = fill_window(dir, options, &all, &replayed.records, &chain, &mut rebuilt)?;
    if let Some(signed) = options.signed {
        let head = chain.committed().head();
        honour(dir, &all, &replayed.records, head, signed, &mut rebuilt)?;
    }
    let torn = save_torn(dir, last, &file, &replayed)?;
    let mut writable =
        storage.open(dir, last.first()).map_err(OpenError::io("open", &last.path))?;
    secure(&file, writable.as_mut(), &replayed)
        .map_err(OpenError::io("make durable", &last.path))?;

    let offsets = replayed.records.iter().map(|record| record.offset).collect();
    let segment = Arc::new(Segment::new(dir, last.first(), replayed.end, Some(offsets)));
    let mut segments = survey::sealed_segments(dir, sealed);
    segments.push(segment.clone());
    let head = chain.committed().head();
    let recovery = Recovery {
        created: false,
        clean: replayed.clean,
        head,
        origin: last.header.origin,
        segments: segments.len(),
        torn,
        sidecars_rebuilt: rebuilt,
        window: window.len(),
    };
    let mut numbers = notes.open();
    (numbers.window, numbers.window_bytes) = (window.len(), window.memory());
    drop(numbers);
    let view = Arc::new(View::new(dir, last.header.origin, segments, head, false));
    let active = Active {
        file: writable,
        segment,
        header_hash: last.header_hash,
        end: replayed.end,
        records: replayed.records,
        forgotten: 0,
    };
    Ok(Opened { active, chain, window, view, recovery })
}

/// Begins a new log.
fn create(dir: &Path, options: &Options, storage: &mut dyn Storage) -> Result<Opened, OpenError> {
    let chain = Chain::default();
    let mut origin = [0; 16];
    let random = getrandom::fill(&mut origin).map_err(|error| io::Error::other(error.to_string()));
    random.map_err(OpenError::io("get random bytes for", dir))?;
    let (active, header) = begin(dir, options, storage, &chain, origin, [0; 32])
        .map_err(OpenError::io("begin a segment in", dir))?;
    let head = chain.committed().head();
    let recovery = Recovery {
        created: true,
        clean: true,
        head,
        origin: header.origin,
        segments: 1,
        torn: None,
        sidecars_rebuilt: 0,
        window: 0,
    };
    let view = Arc::new(View::new(dir, origin, vec![active.segment.clone()], head, false));
    let window = Window::new(options.window, 0);
    Ok(Opened { active, chain, window, view, recovery })
}

/// Begins a segment after the entries of `chain`. It is durable when this returns.
pub(super) fn begin(
    dir: &Path,
    options: &Options,
    storage: &mut dyn Storage,
    chain: &Chain,
    origin: [u8; 16],
    before: Hash,
) -> io::Result<(Active, Header)> {
    let TreeHead { size: first, root } = chain.committed().head();
    let header = Header { origin, first, root, before, created_ns: now_ns() };
    let bytes = header.encode();
    let file = storage.create(dir, first, &bytes, options.segment_bytes.min(MAX_SEGMENT_BYTES))?;
    let end = len64(&bytes);
    let segment = Arc::new(Segment::new(dir, first, end, Some(Vec::new())));
    let active = Active {
        file,
        segment,
        header_hash: header.hash(),
        end,
        records: Vec::new(),
        forgotten: 0,
    };
    Ok((active, header))
}

/// Copies what is behind the last complete group to a file of its own.
fn save_torn(
    dir: &Path,
    last: &Found,
    file: &Source,
    replayed: &Replayed,
) -> Result<Option<Torn>, OpenError> {
    let bytes = replayed.length.saturating_sub(replayed.end);
    if bytes == 0 {
        return Ok(None);
    }
    let name = format!("{:020}.{}.{TORN}", last.first(), replayed.end);
    let free = |n: u32| if n == 0 { dir.join(&name) } else { dir.join(format!("{name}-{n}")) };
    let saved_as = (0..u32::MAX).map(free).find(|path| !path.exists()).unwrap_or_default();
    let save = || -> io::Result<()> {
        let out = create_private(&saved_as)?;
        let mut buffer = vec![0; to_usize(bytes.min(COPY_BYTES))];
        let mut at = replayed.end;
        while at < replayed.length {
            let n = file.read_up_to(&mut buffer, at)?;
            if n == 0 {
                break;
            }
            io::Write::write_all(&mut &out, buffer.get(..n).unwrap_or_default())?;
            at = at.saturating_add(n as u64);
        }
        out.sync_all()?;
        sync_dir(dir)
    };
    save().map_err(OpenError::io("save the torn end of the log to", &saved_as))?;
    Ok(Some(Torn {
        segment: last.path.clone(),
        offset: replayed.end,
        bytes,
        entries: replayed.remains.entries.clone(),
        sealed: replayed.remains.sealed,
        saved_as,
    }))
}

/// Cuts what is torn, and makes what is kept durable before anybody trusts it.
fn secure(file: &Source, writable: &mut dyn SegmentFile, replayed: &Replayed) -> io::Result<()> {
    if replayed.length > replayed.end {
        writable.truncate(replayed.end)?;
    }
    if replayed.last_group < replayed.end {
        // What was read may be in memory only: after a failed fdatasync Linux calls such pages
        // clean, and syncing again would do nothing. Written anew, they are dirty. Groups before
        // the last one were durable before it was begun.
        let length = to_usize(replayed.end.saturating_sub(replayed.last_group));
        let mut group = vec![0; length];
        let n = file.read_up_to(&mut group, replayed.last_group)?;
        let written = group.get(..n).unwrap_or_default();
        writable.write(&mut [IoSlice::new(written)], replayed.last_group)?;
    }
    // IMPORTANT: after a crash the tail is synced before it is trusted.
    writable.sync()
}

/// Fills the window from the newest sealed segments and the active one.
fn fill_window(
    dir: &Path,
    options: &Options,
    all: &[Found],
    active: &[Record],
    chain: &Chain,
    rebuilt: &mut u64,
) -> Result<Window, OpenError> {
    let next = chain.committed().size();
    let mut parts: Vec<Vec<Record>> = vec![active.to_vec()];
    let mut have = active.len();
    let sealed = all.len().saturating_sub(1);
    for index in (0..sealed).rev() {
        if have >= options.window {
            break;
        }
        let Some(found) = all.get(index) else { break };
        let records = records_of(dir, all, index, found, rebuilt)?;
        have = have.saturating_add(records.len());
        parts.push(records);
    }
    let start = next.saturating_sub(have as u64);
    let mut window = Window::new(options.window, start);
    parts.iter().rev().flatten().for_each(|record| window.push(record.key));
    Ok(window)
}

/// The records of a sealed segment, from its sidecar or from itself.
pub(super) fn records_of(
    dir: &Path,
    all: &[Found],
    index: usize,
    found: &Found,
    rebuilt: &mut u64,
) -> Result<Vec<Record>, OpenError> {
    let Some(sealed) = found.sealed else {
        return Err(found.corrupt(0, found.first(), Damage::Unfinished));
    };
    let sidecar = Sidecar::open(dir, found.first(), &sealed);
    if let Some(records) = sidecar.and_then(|sidecar| sidecar.records()) {
        return Ok(records);
    }
    let mut chain = survey::state_before(dir, all, index, true, rebuilt)?;
    *rebuilt = rebuilt.saturating_add(1);
    survey::rebuild(dir, found, &mut chain, true)
}
