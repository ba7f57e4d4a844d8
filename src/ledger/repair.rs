//! Repair: what can be kept of a ledger that opening refuses, as a new directory.
//!
//! What recovery may do without being asked is in [`recover`](super::recover). Everything else is
//! damage, and only an operator may decide to go on without what it took:
//!
//! | damage | what is done | the log afterwards |
//! |---|---|---|
//! | a body, its head sound | the body goes as if pruned; leaf, hashes and salts stay | the same: same origin, same tree |
//! | anything else | the log ends with the last group before it | another: new origin |
//! | a signed checkpoint that the log does not contain | nothing | another: new origin |
//! | none, and somebody says that it was restored from a backup | nothing | another: new origin |
//!
//! A log that was shortened gives its sequence numbers to other entries, and what it signed before
//! can never be signed again as if nothing had happened: it would be two trees of one size. So it goes
//! on as another log, whose first tree is what was kept. Nothing of the old directory is changed: the
//! new one is built beside it, and the caller exchanges the two.

use super::OpenError;
use super::bytes::to_usize;
use super::chain::Chain;
use super::error::Damage;
use super::frame::{self, Frame, FrameError};
use super::handle;
use super::segment::{HEADER_LEN, Header, SEGMENT, SIDECAR, path};
use super::source::{self, Source};
use super::storage::{create_private, sync_dir};
use super::types::{Hash, TreeHead};
use super::walk::{Walk, WalkError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes that are copied at once.
const COPY_BYTES: u64 = 1024 * 1024;

/// Where the log has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortened {
    /// The segment that is damaged or missing.
    pub segment: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub damage: Damage,
    /// Entries behind it that can still be read. They stay in the old directory.
    pub readable: u64,
}

/// What a repair would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairPlan {
    /// Random number of the log; `None` when no header can be read.
    pub origin: Option<[u8; 16]>,
    /// Size and root of what is kept.
    pub kept: TreeHead,
    /// Entries whose bodies are damaged.
    pub lost_bodies: Vec<u64>,
    /// Where the log has to end.
    pub shortened: Option<Shortened>,
    /// What was signed and is not, or no longer, in the log.
    pub not_contained: Option<TreeHead>,
    /// Whether somebody says that all of it was restored from a backup, which nothing here shows.
    pub restored: bool,
}

impl RepairPlan {
    /// Whether there is anything to repair.
    pub fn is_needed(&self) -> bool {
        !self.lost_bodies.is_empty() || self.needs_new_origin()
    }

    /// Whether the log goes on as another one.
    pub fn needs_new_origin(&self) -> bool {
        self.shortened.is_some() || self.not_contained.is_some() || self.restored
    }
}

/// A ledger under repair: locked, so that nobody writes to it.
#[derive(Debug)]
pub struct Repair {
    dir: PathBuf,
    plan: RepairPlan,
    parts: Vec<Part>,
    /// Held as long as the plan is to be true.
    _lock: File,
}

/// A segment of which something is kept.
#[derive(Debug)]
struct Part {
    header: Header,
    /// Up to where it is kept, in bytes.
    end: u64,
    /// Where the frames are whose bodies are lost.
    lost: Vec<u64>,
}

impl Repair {
    /// Looks at the ledger in `dir`; `signed` is the last checkpoint that was signed. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] when there is no ledger, another process has it, or it cannot be read.
    pub fn plan(dir: &Path, signed: Option<TreeHead>) -> Result<Self, OpenError> {
        if !dir.is_dir() {
            return Err(OpenError::Absent { path: dir.to_owned() });
        }
        let held = handle::lock(dir)?;
        let listing = source::list(dir).map_err(OpenError::io("list", dir))?;
        let mut look = Look::new(signed);
        let last = listing.segments.last().copied();
        for first in &listing.segments {
            let plain = path(dir, *first, SEGMENT);
            let source = Source::open(dir, *first).map_err(OpenError::io("open", &plain))?;
            let seen = look.segment(*first, &source, Some(*first) == last);
            seen.map_err(OpenError::io("read", source.path()))?;
        }
        let orphan = listing.sidecars.last().is_some_and(|newest| Some(*newest) >= last);
        let packed = last.is_some() && listing.packed.last().copied() == last;
        if look.shortened.is_none() && (orphan || packed || last.is_none()) {
            let first = look.chain.next();
            let (segment, damage) = (path(dir, first, SEGMENT), Damage::Missing { first });
            look.shortened = Some(Shortened { segment, offset: 0, damage, readable: 0 });
        }
        let (plan, parts) = look.finish();
        Ok(Self { dir: dir.to_owned(), plan, parts, _lock: held })
    }

    /// Takes the lock of a ledger that nobody has open, for who works on its folder: it is held as
    /// long as what is returned.
    ///
    /// # Errors
    /// [`OpenError`] when another process has it.
    pub fn lock(dir: &Path) -> Result<File, OpenError> {
        handle::lock(dir)
    }

    /// The same, with the knowledge that the ledger was restored from a backup: what was written and
    /// signed after the backup is lost, and the log goes on as another one.
    #[must_use]
    pub fn of_restored(mut self) -> Self {
        self.plan.restored = true;
        self
    }

    /// What would be done.
    pub fn findings(&self) -> &RepairPlan {
        &self.plan
    }

    /// Builds what is kept in `into`, an empty directory on the same file system. It is durable then,
    /// and opens as a ledger.
    ///
    /// # Errors
    /// [`OpenError::Io`]; `into` can be removed then.
    pub fn build(&self, into: &Path) -> Result<(), OpenError> {
        let mut before: Hash = [0; 32];
        let mut origin = self.plan.origin.unwrap_or_default();
        if self.plan.needs_new_origin() {
            let random = getrandom::fill(&mut origin);
            let random = random.map_err(|error| io::Error::other(error.to_string()));
            random.map_err(OpenError::io("get random bytes for", into))?;
        }
        for (number, part) in self.parts.iter().enumerate() {
            let is_last = number.saturating_add(1) == self.parts.len();
            let header = Header { origin, before, ..part.header.clone() };
            before = header.hash();
            let to = path(into, header.first, SEGMENT);
            self.place(part, &header, is_last, into).map_err(OpenError::io("write", &to))?;
        }
        sync_dir(into).map_err(OpenError::io("make durable", into))
    }

    /// Brings a segment into the new directory.
    fn place(&self, part: &Part, header: &Header, is_last: bool, into: &Path) -> io::Result<()> {
        let source = Source::open(&self.dir, header.first)?;
        let name = source.path().file_name().unwrap_or_default();
        let whole = part.lost.is_empty() && !is_last;
        if whole && *header == part.header {
            // Nobody changes a sealed segment: the two directories can share it.
            let to = into.join(name);
            std::fs::hard_link(source.path(), &to)
                .or_else(|_| copy_whole(source.path(), &to).map(drop))?;
            let sidecar = path(&self.dir, header.first, SIDECAR);
            // Made again when it is missing.
            let _ = std::fs::hard_link(sidecar, path(into, header.first, SIDECAR));
            return Ok(());
        }
        let file = if whole {
            // The header is in clear in both forms.
            let to = into.join(name);
            copy_whole(source.path(), &to)?
        } else {
            // Who writes to it, or into the middle of it, needs a plain one.
            let file = create_private(&path(into, header.first, SEGMENT))?;
            copy(&source, &file, part.end)?;
            for at in &part.lost {
                lose_body(&file, *at, part.end)?;
            }
            file
        };
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()
    }
}

/// Copies a file, for where it cannot be shared. The copy is durable, its name is not yet.
fn copy_whole(from: &Path, to: &Path) -> io::Result<File> {
    std::fs::copy(from, to)?;
    let file = File::options().read(true).write(true).open(to)?;
    file.sync_all()?;
    Ok(file)
}

/// Copies the first bytes of a segment.
fn copy(source: &Source, file: &File, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; to_usize(COPY_BYTES)];
    let mut at = 0;
    while at < end {
        let most = to_usize(end.saturating_sub(at).min(COPY_BYTES));
        let n = source.read_up_to(buffer.get_mut(..most).unwrap_or_default(), at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(buffer.get(..n).unwrap_or_default(), at)?;
        at = at.saturating_add(n as u64);
    }
    Ok(())
}

/// Takes the body out of the frame at that place.
fn lose_body(file: &File, at: u64, end: u64) -> io::Result<()> {
    let broken = |_| io::Error::from(io::ErrorKind::InvalidData);
    let mut head = vec![0; frame::MAX_HEAD.min(to_usize(end.saturating_sub(at)))];
    file.read_exact_at(&mut head, at)?;
    let (_, length) = frame::decode_head(&head).map_err(broken)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    frame::lose_body(&mut bytes).map_err(broken)?;
    file.write_all_at(&bytes, at)
}

/// Looks at one segment after the other until the log has to end.
struct Look {
    signed: Option<TreeHead>,
    /// Whether what was signed was met.
    contained: bool,
    chain: Chain,
    origin: Option<[u8; 16]>,
    before: Hash,
    lost: Vec<u64>,
    parts: Vec<Part>,
    shortened: Option<Shortened>,
}

impl Look {
    fn new(signed: Option<TreeHead>) -> Self {
        Self {
            contained: signed.is_none_or(|head| head == Chain::default().committed().head()),
            signed,
            chain: Chain::default(),
            origin: None,
            before: [0; 32],
            lost: Vec::new(),
            parts: Vec::new(),
            shortened: None,
        }
    }

    /// Looks at the segment whose file is named after that entry.
    fn segment(&mut self, named: u64, source: &Source, is_last: bool) -> io::Result<()> {
        let length = source.length()?;
        if self.shortened.is_some() {
            let readable = readable(source, 0, length)?;
            if let Some(shortened) = &mut self.shortened {
                shortened.readable = shortened.readable.saturating_add(readable);
            }
            return Ok(());
        }
        let header = match source.header()? {
            Ok(header) => header,
            Err(error) => return self.end_before(source, length, error.into()),
        };
        if header.first != named {
            // A copy under another name: what the name promises is elsewhere, or nowhere.
            return self.end_before(source, length, Damage::Order);
        }
        if header.first > self.chain.next() {
            let first = self.chain.next();
            return self.end_before(source, length, Damage::Missing { first });
        }
        if self.origin.is_some_and(|origin| origin != header.origin) {
            return self.end_before(source, length, Damage::Origin);
        }
        if header.start() != self.chain.committed().head() || header.before != self.before {
            return self.end_before(source, length, Damage::Order);
        }
        if source.is_broken() {
            return self.end_before(source, length, Damage::Packed);
        }
        self.origin = Some(header.origin);
        self.before = header.hash();
        self.parts.push(Part { header, end: length, lost: Vec::new() });
        self.frames(source, length, is_last)
    }

    /// The segment cannot be used at all.
    fn end_before(&mut self, source: &Source, length: u64, damage: Damage) -> io::Result<()> {
        let readable = readable(source, 0, length)?;
        let segment = source.path().to_owned();
        self.shortened = Some(Shortened { segment, offset: 0, damage, readable });
        Ok(())
    }

    fn frames(&mut self, source: &Source, length: u64, is_last: bool) -> io::Result<()> {
        let mut walk = Walk::new(source, HEADER_LEN as u64, length);
        let mut group_start = HEADER_LEN as u64;
        let mut lost = Vec::new();
        loop {
            let at = walk.offset();
            let damage: Damage = match walk.next() {
                Ok(None) => {
                    if self.chain.group_first() != self.chain.next() {
                        self.chain.roll_back();
                        if !is_last {
                            return self.end_in(source, group_start, at, Damage::Unfinished);
                        }
                    }
                    return Ok(());
                }
                Ok(Some((_, Frame::Entry(entry)))) => match self.chain.check_entry(&entry) {
                    Ok(()) => {
                        self.meet();
                        continue;
                    }
                    Err(error) => error.into(),
                },
                Ok(Some((at, Frame::Seal(seal)))) => {
                    match self.chain.check_seal(&seal, at.saturating_sub(group_start)) {
                        Ok(()) => {
                            group_start = walk.offset();
                            self.keep(&mut lost);
                            continue;
                        }
                        Err(error) => error.into(),
                    }
                }
                Err(WalkError::Io(error)) => return Err(error),
                Err(WalkError::Frame(error)) => {
                    let (first, next) = (self.chain.group_first(), self.chain.next());
                    if is_last && walk.remains(group_start, first, next)?.is_some() {
                        // What opening cuts off by itself.
                        self.chain.roll_back();
                        return Ok(());
                    }
                    if let FrameError::Body { sequence } = error
                        && walk.lose_body()
                    {
                        lost.push((sequence, at));
                        continue;
                    }
                    error.into()
                }
            };
            self.chain.roll_back();
            return self.end_in(source, group_start, at, damage);
        }
    }

    /// The group is whole: what it lost is lost for good.
    fn keep(&mut self, lost: &mut Vec<(u64, u64)>) {
        for (sequence, at) in lost.drain(..) {
            self.lost.push(sequence);
            if let Some(part) = self.parts.last_mut() {
                part.lost.push(at);
            }
        }
    }

    /// The segment is kept up to a group's start.
    fn end_in(&mut self, source: &Source, end: u64, at: u64, damage: Damage) -> io::Result<()> {
        let readable = readable(source, end, source.length()?)?;
        let segment = source.path().to_owned();
        self.shortened = Some(Shortened { segment, offset: at, damage, readable });
        if let Some(part) = self.parts.last_mut() {
            part.end = end;
        }
        Ok(())
    }

    /// Compares with what was signed, at its size.
    fn meet(&mut self) {
        if let Some(signed) = self.signed.filter(|signed| signed.size == self.chain.next()) {
            self.contained = self.chain.tree().head() == signed;
        }
    }

    fn finish(self) -> (RepairPlan, Vec<Part>) {
        let kept = self.chain.committed().head();
        // It was met in a group that is not kept.
        let below = self.signed.is_some_and(|signed| signed.size > kept.size);
        let plan = RepairPlan {
            origin: self.origin,
            kept,
            lost_bodies: self.lost,
            shortened: self.shortened,
            not_contained: self.signed.filter(|_| below || !self.contained),
            restored: false,
        };
        (plan, self.parts)
    }
}

/// Entries that can be read from there on, whatever lies between them.
fn readable(source: &Source, from: u64, length: u64) -> io::Result<u64> {
    let mut walk = Walk::new(source, from.max(HEADER_LEN as u64), length);
    let mut found = 0_u64;
    loop {
        match walk.next() {
            Ok(None) => return Ok(found),
            Ok(Some((_, Frame::Entry(_)))) => found = found.saturating_add(1),
            Ok(Some(_)) => {}
            Err(WalkError::Io(error)) => return Err(error),
            Err(WalkError::Frame(_)) => {
                if !walk.skip_damage()? {
                    return Ok(found);
                }
            }
        }
    }
}
