//! The file of dead letters: read at the start, appended to, and written anew when most of it is
//! done with. What its lines say is in `letter.rs`.
//!
//! ```text
//! letters.log      lines, in groups; a group is what one write made durable
//! letters.length   how many bytes of it are durable
//! letters.N.torn   what was found behind the last whole group, which started at byte N
//! ```
//!
//! An append is durable in `letters.log` first, then in `letters.length`, and counts only then. So
//! damage below that length is no crash and an error, and what stands behind it was never relied
//! upon: it is kept in a file of its own, cut off, and a warning says so.

use super::dead_letters::DeadLetterError;
use super::letter::{Lines, Record, Resolved, line, parse};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of lines that are done with and are kept all the same: below, writing the file anew costs
/// more than it gives back.
const SLACK_BYTES: u64 = 1024 * 1024;

/// Where the record of an open letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: usize,
}

/// The file, as its one writer has it.
#[derive(Debug)]
pub(super) struct LetterLog {
    path: PathBuf,
    file: Arc<File>,
    note: File,
    /// Bytes that are durable and whole.
    length: u64,
    /// Whether something behind `length` may have been written.
    dirty: bool,
    /// Whether the name of the file may not be durable.
    unnamed: bool,
    /// Length above which it is looked whether most of the file is done with.
    look_above: u64,
}

impl LetterLog {
    /// Opens the file in `dir`, makes it when it is not there, and tells `each` record in order.
    pub(super) fn open(
        dir: &Path,
        each: impl FnMut(Record, Place),
    ) -> Result<Self, DeadLetterError> {
        let path = dir.join("letters.log");
        let io = |doing| move |source| io_error(doing, &dir.join("letters.log"), source);
        fs::create_dir_all(dir).map_err(io("make the folder of"))?;
        let open = |path: &Path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
        };
        let file = Arc::new(open(&path).map_err(io("open"))?);
        let note = open(&dir.join("letters.length")).map_err(io("open the length of"))?;
        let mut log = Self {
            path,
            file,
            note,
            length: 0,
            dirty: false,
            unnamed: true,
            look_above: SLACK_BYTES,
        };
        log.recover(each)?;
        Ok(log)
    }

    /// The file, for reading what [`LetterLog::append`] gave the places of.
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells each record of the file in `dir`, and writes nothing; false when there is no file. The
    /// server may be about to start, so a torn group is passed over.
    pub(super) fn read_only(
        dir: &Path,
        mut each: impl FnMut(Record),
    ) -> Result<bool, DeadLetterError> {
        let path = dir.join("letters.log");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(io_error("open", &path, source)),
        };
        scan(&path, &file, &mut |record, _| each(record))?;
        Ok(true)
    }

    /// Reads all lines, and cuts off a torn group.
    fn recover(&mut self, mut each: impl FnMut(Record, Place)) -> Result<(), DeadLetterError> {
        let noted = self.noted();
        let found = self.file.metadata().map_err(|source| self.io("read", source))?.len();
        self.length = scan(&self.path, &self.file, &mut each)?;
        if self.length < noted {
            return Err(damaged(&self.path, self.length));
        }
        self.dirty = self.length < found;
        if self.dirty {
            self.keep_torn(found)?;
        }
        // A process that was killed may have left what only memory has.
        self.file.sync_data().map_err(|source| self.io("sync", source))?;
        self.repair()?;
        self.write_note(self.length).map_err(|source| self.io("note the length of", source))
    }

    /// Copies what is behind the last whole group to a file of its own.
    fn keep_torn(&self, found: u64) -> Result<(), DeadLetterError> {
        let name = format!("letters.{}.torn", self.length);
        let saved_as = self.path.with_file_name(name);
        let mut torn = vec![0; usize::try_from(found.saturating_sub(self.length)).unwrap_or(0)];
        let saved = self.file.read_exact_at(&mut torn, self.length).and_then(|()| {
            let mut out = File::create(&saved_as)?;
            out.write_all(&torn)?;
            out.sync_all()
        });
        saved.map_err(|source| io_error("save the torn end in", &saved_as, source))?;
        tracing::warn!(
            bytes = torn.len(),
            saved_as = %saved_as.display(),
            "the last dead letters were not written to their end; their entries are sent again"
        );
        Ok(())
    }

    /// Brings the file back to what is durable.
    fn repair(&mut self) -> Result<(), DeadLetterError> {
        if self.dirty {
            // The note first: it may say more after a write that failed, and never may later.
            let cut = self.write_note(self.length).and_then(|()| self.file.set_len(self.length));
            cut.and_then(|()| self.file.sync_all()).map_err(|source| self.io("cut", source))?;
            self.dirty = false;
        }
        if self.unnamed {
            // IMPORTANT: the name is durable before anything relies on the file.
            let synced = crate::store::durable::sync_directory(&self.path);
            synced.map_err(|source| self.io("sync the folder of", source))?;
            self.unnamed = false;
        }
        Ok(())
    }

    /// Makes records durable and gives their places. After an error none of them counts.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<Vec<Place>, DeadLetterError> {
        self.repair()?;
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let at = self.length.saturating_add(bytes.len() as u64);
            let line = line(self.length, record).map_err(|source| self.io("write", source))?;
            bytes.extend_from_slice(line.as_bytes());
            places.push(Place { at, length: line.len() });
        }
        let length = self.length.saturating_add(bytes.len() as u64);
        self.dirty = true;
        let write = self.file.write_all_at(&bytes, self.length);
        // IMPORTANT: on disk before anybody counts the entry as done with.
        let synced = write.and_then(|()| self.file.sync_data());
        let noted = synced.and_then(|()| self.write_note(length));
        noted.map_err(|source| self.io("write", source))?;
        self.dirty = false;
        self.length = length;
        Ok(places)
    }

    /// Whether the file is to be written anew, when that many of its bytes count.
    pub(super) fn is_mostly_done_with(&self, live: u64) -> bool {
        self.length > self.look_above
            && self.length > live.saturating_mul(2).saturating_add(SLACK_BYTES)
    }

    /// Writes the file anew with the open letters and with what was dropped, which stays on record.
    /// Gives the new places of the letters. After an error the old file is still there.
    pub(super) fn rewrite(
        &mut self,
        is_open: impl Fn(&Record, u64) -> bool,
    ) -> Result<Vec<(u64, Place)>, DeadLetterError> {
        // Not tried at every append when it fails.
        self.look_above = self.length.saturating_mul(2).max(SLACK_BYTES);
        self.repair()?;
        let temporary = self.path.with_extension(crate::store::durable::UNFINISHED);
        let (file, length, places) = self
            .copy(&temporary, is_open)
            .map_err(|source| io_error("write", &temporary, source))?;
        // Between the two names the note must be true of both.
        let renamed = self.write_note(0).and_then(|()| fs::rename(&temporary, &self.path));
        renamed.map_err(|source| self.io("replace", source))?;
        (self.file, self.length, self.unnamed) = (Arc::new(file), length, true);
        self.look_above = SLACK_BYTES;
        // The next append tries again what fails here.
        if let Err(error) = self.repair() {
            tracing::warn!(%error, "the shorter file of dead letters is not durable yet");
        } else if let Err(error) = self.write_note(length) {
            tracing::warn!(%error, "the length of the dead letters' file is not noted yet");
        }
        Ok(places)
    }

    #[expect(clippy::type_complexity, reason = "the three things that a copy is")]
    fn copy(
        &self,
        temporary: &Path,
        is_open: impl Fn(&Record, u64) -> bool,
    ) -> io::Result<(File, u64, Vec<(u64, Place)>)> {
        let copy = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(temporary)?;
        let mut out = BufWriter::new(copy);
        let (mut length, mut places) = (0_u64, Vec::new());
        let old = File::open(&self.path)?;
        let mut lines = Lines::new(BufReader::new(old));
        while let Some((at, text)) = lines.next()? {
            let Some((_, record)) = parse(text) else {
                let why = format!("{} is damaged at byte {at}", self.path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            };
            let dropped = matches!(record, Record::Resolved { how: Resolved::Dropped { .. }, .. });
            if !dropped && !is_open(&record, at) {
                continue;
            }
            // One group, which is durable as a whole or not there.
            let text = line(0, &record)?;
            out.write_all(text.as_bytes())?;
            if let Record::Letter(letter) = &record {
                places.push((letter.sequence, Place { at: length, length: text.len() }));
            }
            length = length.saturating_add(text.len() as u64);
        }
        let copy = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        copy.sync_all()?;
        Ok((copy, length, places))
    }

    /// How many bytes are durable; nothing when it is not known, as in a folder of an older version.
    fn noted(&self) -> u64 {
        let mut text = Vec::new();
        let read = io::Read::read_to_end(&mut &self.note, &mut text);
        let text = String::from_utf8(text).unwrap_or_default();
        let noted = text.trim_end().split_once(' ').and_then(|(crc, length)| {
            (crc == checksum(length)).then(|| length.parse().ok()).flatten()
        });
        if noted.is_none() && (read.is_err() || !text.is_empty()) {
            tracing::warn!(
                file = %self.path.display(),
                "the noted length of the dead letters' file cannot be read; it is made anew"
            );
        }
        noted.unwrap_or(0)
    }

    fn write_note(&self, length: u64) -> io::Result<()> {
        // Always as long: written in place it is in one sector, and a torn one is known by its
        // checksum.
        let length = format!("{length:020}");
        let text = format!("{} {length}\n", checksum(&length));
        self.note.write_all_at(text.as_bytes(), 0)?;
        self.note.sync_data()
    }

    fn io(&self, doing: &'static str, source: io::Error) -> DeadLetterError {
        io_error(doing, &self.path, source)
    }
}

/// Tells each record up to the first line that is not whole, and gives where that starts.
fn scan(
    path: &Path,
    file: &File,
    each: &mut dyn FnMut(Record, Place),
) -> Result<u64, DeadLetterError> {
    let failed = |source| io_error("read", path, source);
    let mut lines = Lines::new(BufReader::new(file));
    let mut whole = 0;
    while let Some((at, line)) = lines.next().map_err(failed)? {
        let Some((_, record)) = parse(line) else {
            // What is durable later says that this was durable before.
            while let Some((_, line)) = lines.next().map_err(failed)? {
                if parse(line).is_some_and(|(group, _)| group > at) {
                    return Err(damaged(path, at));
                }
            }
            break;
        };
        whole = at.saturating_add(line.len() as u64);
        each(record, Place { at, length: line.len() });
    }
    Ok(whole)
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc_fast::crc32_iscsi(text.as_bytes()))
}

pub(super) fn damaged(path: &Path, at: u64) -> DeadLetterError {
    DeadLetterError::Damaged { path: path.display().to_string(), at }
}

pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> DeadLetterError {
    DeadLetterError::Io { doing, path: path.display().to_string(), source }
}
