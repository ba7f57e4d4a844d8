//! `evidence`: everything that belongs to one id in one file that others can check.

use super::client::Source;
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::verify_args::EvidenceArgs;
use crate::evidence::{Spool, Verdict, check_bundle_file, is_about_originals};
use rustix::fs::{AtFlags, CWD, linkat};
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Permissions of a file that is made: its owner's alone. Evidence is what people and agents said: for
/// others to read once its owner says so.
const FILE_MODE: u32 = 0o600;

/// Standard output, where a file is asked for.
const STDOUT: &str = "-";

/// Has the bundle made, looks at it, and writes it. It goes to a file as it comes, which gets its name
/// when all of it is there and was looked at.
///
/// # Errors
/// [`CommandError`]; [`CommandError::UnknownId`] when nothing carries the id.
pub async fn evidence(
    args: &EvidenceArgs,
    source: &Source,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let to_stdout = args.output.as_os_str() == STDOUT;
    let mut unnamed = if to_stdout {
        Unnamed::never_named(&std::env::temp_dir())?
    } else {
        if !args.force && args.output.symlink_metadata().is_ok() {
            let exists = io::ErrorKind::AlreadyExists.into();
            return Err(CommandError::Write { path: args.output.clone(), source: exists });
        }
        Unnamed::new(&args.output)?
    };
    let tenant = args.tenant.iter().map(|tenant| ("tenant", tenant.as_str()));
    let query: Vec<_> = tenant.chain(args.payloads.then_some(("payloads", "true"))).collect();
    let path = ["api", "v1", "evidence", &args.id];
    source.get_into(&path, &query, &mut unnamed.file).await?;
    let checked = check_bundle_file(&unnamed.file, &[]).map_err(|error| unnamed.failed(error))?;
    // What is not whole on its way here is not evidence either.
    let broken = Some(checked.verdict()).filter(|it| *it == Verdict::Compromised);
    let told = broken.or(checked.manifest.as_ref().and_then(|it| it.verdict));
    // Of the originals a bundle says nothing itself.
    let originals = checked.findings.listed().iter().filter(|it| is_about_originals(it));
    let verdict = told.max(originals.map(|it| it.weight).max().filter(|_| told.is_some()));
    let entries = checked.entries.len();
    if entries == 0 && checked.manifest.as_ref().is_some_and(|it| it.elsewhere.is_empty()) {
        return Err(CommandError::UnknownId { id: clean(&args.id) });
    }
    if to_stdout {
        unnamed.file.rewind().map_err(|error| unnamed.failed(error))?;
        io::copy(&mut unnamed.file, out)?;
        out.flush()?;
        return Ok(exit(verdict));
    }
    unnamed.named(&args.output, args.force)?;
    let file = args.output.display();
    writeln!(out, "{file}: {entries} entries, verdict {}", verdict.unwrap_or(Verdict::Partial))?;
    let told = checked.manifest.iter().flat_map(|it| &it.findings);
    for finding in told.chain(broken.iter().flat_map(|_| checked.findings.listed())) {
        writeln!(out, "  {}", clean(&finding.to_string()))?;
    }
    if args.payloads {
        let originals = checked.originals;
        writeln!(out, "with the originals of {originals} entries: whoever gets it can read them")?;
        for finding in checked.findings.listed().iter().filter(|it| is_about_originals(it)) {
            writeln!(out, "  {}", clean(&finding.to_string()))?;
        }
    }
    writeln!(out, "check it anywhere: spanledger verify --bundle {file} --key KEY")?;
    out.flush()?;
    Ok(exit(verdict))
}

/// Evidence that is known to be false is written all the same, and told.
fn exit(verdict: Option<Verdict>) -> Exit {
    if verdict == Some(Verdict::Compromised) { Exit::Tampered } else { Exit::Fine }
}

/// A file beside the one that is asked for, until all is in it. It has no name where the system can do
/// that, so a process that is killed leaves nothing; elsewhere it has one of its own, and dropped before
/// it got its name it is removed.
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) file: File,
    /// Where it was asked for.
    beside: PathBuf,
    /// The name that it has meanwhile.
    part: Option<PathBuf>,
}

impl Unnamed {
    pub(super) fn new(beside: &Path) -> Result<Self, CommandError> {
        let beside = beside.to_owned();
        if let Some(file) = without_name(&folder_of(&beside)) {
            return Ok(Self { file, beside, part: None });
        }
        Self::with_name(beside)
    }

    /// One with a name of its own.
    fn with_name(beside: PathBuf) -> Result<Self, CommandError> {
        let failed = |source| CommandError::Write { path: beside.clone(), source };
        let part = part_of(&beside).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let file = options.open(&part).map_err(failed)?;
        Ok(Self { file, beside, part: Some(part) })
    }

    /// One in that folder which goes somewhere else when all is in it.
    fn never_named(dir: &Path) -> Result<Self, CommandError> {
        let made = Spool::in_dir(dir).and_then(Spool::into_file);
        let (file, _) =
            made.map_err(|source| CommandError::Write { path: dir.to_owned(), source })?;
        Ok(Self { file, beside: dir.to_owned(), part: None })
    }

    pub(super) fn failed(&self, source: io::Error) -> CommandError {
        CommandError::Write { path: self.beside.clone(), source }
    }

    /// Gives it its name, durably; in place of another file only with `force`.
    pub(super) fn named(mut self, path: &Path, force: bool) -> Result<(), CommandError> {
        let failed = |source| CommandError::Write { path: path.to_owned(), source };
        self.file.sync_all().map_err(failed)?;
        self.link(path, force).map_err(failed)?;
        // The name is in the folder, which is a file of its own.
        File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    fn link(&mut self, path: &Path, force: bool) -> io::Result<()> {
        let Some(part) = &self.part else {
            let held = held_by_us(&self.file);
            let link = |to: &Path| linkat(CWD, &held, CWD, to, AtFlags::SYMLINK_FOLLOW);
            if !force {
                return Ok(link(path)?);
            }
            // A link replaces nothing: for as long as that takes it has a name of its own.
            let part = part_of(path)?;
            link(&part)?;
            let renamed = std::fs::rename(&part, path);
            self.part = Some(part);
            return renamed;
        };
        if force {
            return std::fs::rename(part, path);
        }
        match std::fs::hard_link(part, path) {
            // A file system without links: then whoever is as fast as this is written over.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                std::fs::rename(part, path)
            }
            linked => linked,
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        // It may have its name already.
        self.part.iter().for_each(|part| drop(std::fs::remove_file(part)));
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// A name beside a file that nobody else has.
fn part_of(path: &Path) -> io::Result<PathBuf> {
    let mut noise = [0; 8];
    getrandom::fill(&mut noise).map_err(io::Error::other)?;
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{:016x}.part", u64::from_le_bytes(noise)));
    Ok(part.into())
}

/// The name that the system itself has for an open file (`open(2)`, `O_TMPFILE`).
fn held_by_us(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A file without a name that can get one; `None` where the system has none.
#[cfg(target_os = "linux")]
fn without_name(dir: &Path) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(dir, flags, Mode::from_raw_mode(FILE_MODE)).ok()?);
    held_by_us(&file).symlink_metadata().is_ok().then_some(file)
}

#[cfg(not(target_os = "linux"))]
fn without_name(_: &Path) -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_bundle_is_made_for_its_owner_alone_and_takes_no_others_name() {
        let new: [fn(&Path) -> Unnamed; 2] = [
            |path| Unnamed::new(path).unwrap(),
            |path| Unnamed::with_name(path.to_owned()).unwrap(),
        ];
        for new in new {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("evidence.zip");
            let names = || dir.path().read_dir().unwrap().count();
            drop(new(&path));
            assert_eq!(names(), 0, "nothing is left");
            let mut first = new(&path);
            first.file.write_all(b"x").unwrap();
            first.named(&path, false).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, FILE_MODE);
            let refused = new(&path).named(&path, false).unwrap_err();
            assert!(matches!(refused, CommandError::Write { .. }), "{refused}");
            assert_eq!(std::fs::read(&path).unwrap(), b"x");
            new(&path).named(&path, true).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"");
            assert_eq!(names(), 1);
        }
    }

    #[test]
    fn a_process_that_is_killed_leaves_no_half_of_a_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let names = || dir.path().read_dir().unwrap().count();
        let to_stdout = Unnamed::never_named(dir.path()).unwrap();
        assert_eq!(names(), 0, "what goes to standard output never has a name");
        // What is forgotten is not tidied up, as in a process that is killed.
        std::mem::forget(to_stdout);
        let beside = dir.path().join("evidence.zip");
        let unnamed = Unnamed::new(&beside).unwrap();
        let can = without_name(dir.path()).is_some();
        assert_eq!(names(), usize::from(!can));
        drop(unnamed);
        assert_eq!(names(), 0);
    }
}
