//! `evidence`: everything that belongs to one id in one file that others can check.

use super::client::Source;
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::verify_args::EvidenceArgs;
use crate::evidence::{Verdict, check_bundle_file};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Permissions of a file that is made: its owner's alone.
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
        Unnamed::new(&std::env::temp_dir().join("evidence"))?
    } else {
        if !args.force && args.output.symlink_metadata().is_ok() {
            let exists = io::ErrorKind::AlreadyExists.into();
            return Err(CommandError::Write { path: args.output.clone(), source: exists });
        }
        Unnamed::new(&args.output)?
    };
    let query: Vec<_> = args.tenant.iter().map(|tenant| ("tenant", tenant.as_str())).collect();
    let path = ["api", "v1", "evidence", &args.id];
    source.get_into(&path, &query, &mut unnamed.file).await?;
    let checked = check_bundle_file(&unnamed.file, &[]).map_err(|error| unnamed.failed(error))?;
    // What is not whole on its way here is not evidence either.
    let broken = Some(checked.verdict()).filter(|it| *it == Verdict::Compromised);
    let verdict = broken.or(checked.manifest.as_ref().and_then(|it| it.verdict));
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
    writeln!(out, "check it anywhere: spanledger verify --bundle {file} --key KEY")?;
    out.flush()?;
    Ok(exit(verdict))
}

/// Evidence that is known to be false is written all the same, and told.
fn exit(verdict: Option<Verdict>) -> Exit {
    if verdict == Some(Verdict::Compromised) { Exit::Tampered } else { Exit::Fine }
}

/// A file beside the one that is asked for, until all is in it. Dropped before, it is removed.
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) file: File,
    path: PathBuf,
}

impl Unnamed {
    pub(super) fn new(beside: &Path) -> Result<Self, CommandError> {
        let failed = |source| CommandError::Write { path: beside.to_owned(), source };
        let mut noise = [0; 8];
        getrandom::fill(&mut noise).map_err(|error| failed(io::Error::other(error)))?;
        let mut path = beside.as_os_str().to_owned();
        path.push(format!(".{:016x}.part", u64::from_le_bytes(noise)));
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        // Evidence is what people and agents said: for others to read once its owner says so.
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        Ok(Self { file: options.open(&path).map_err(failed)?, path })
    }

    pub(super) fn failed(&self, source: io::Error) -> CommandError {
        CommandError::Write { path: self.path.clone(), source }
    }

    /// Gives it its name, durably; in place of another file only with `force`.
    pub(super) fn named(self, path: &Path, force: bool) -> Result<(), CommandError> {
        let failed = |source| CommandError::Write { path: path.to_owned(), source };
        self.file.sync_all().map_err(failed)?;
        if force {
            return std::fs::rename(&self.path, path).map_err(failed);
        }
        match std::fs::hard_link(&self.path, path) {
            // A file system without links: then whoever is as fast as this is written over.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                std::fs::rename(&self.path, path).map_err(failed)
            }
            linked => linked.map_err(failed),
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        // It may have its name already.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_bundle_is_made_for_its_owner_alone_and_takes_no_others_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evidence.zip");
        drop(Unnamed::new(&path).unwrap());
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing is left");
        let mut first = Unnamed::new(&path).unwrap();
        first.file.write_all(b"x").unwrap();
        first.named(&path, false).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        let refused = Unnamed::new(&path).unwrap().named(&path, false).unwrap_err();
        assert!(matches!(refused, CommandError::Write { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        Unnamed::new(&path).unwrap().named(&path, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }
}
