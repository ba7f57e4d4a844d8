//! `evidence`: everything that belongs to one id in one file that others can check.

use super::client::Source;
use super::display::clean;
use super::exit::{CommandError, Exit};
use super::verify_args::EvidenceArgs;
use crate::evidence::{Verdict, check_bundle};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Permissions of a file that is made: its owner's alone.
const FILE_MODE: u32 = 0o600;

/// Standard output, where a file is asked for.
const STDOUT: &str = "-";

/// Has the bundle made, looks at it, and writes it.
///
/// # Errors
/// [`CommandError`]; [`CommandError::UnknownId`] when nothing carries the id.
pub async fn evidence(
    args: &EvidenceArgs,
    source: &Source,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let query: Vec<_> = args.tenant.iter().map(|tenant| ("tenant", tenant.as_str())).collect();
    let bytes = source.get(&["api", "v1", "evidence", &args.id], &query).await?;
    let checked = check_bundle(&bytes, &[]);
    // What is not whole on its way here is not evidence either.
    let broken = Some(checked.verdict()).filter(|it| *it == Verdict::Compromised);
    let verdict = broken.or(checked.manifest.as_ref().and_then(|it| it.verdict));
    let entries = checked.items.len();
    if entries == 0 && checked.manifest.as_ref().is_some_and(|it| it.elsewhere.is_empty()) {
        return Err(CommandError::UnknownId { id: clean(&args.id) });
    }
    if args.output.as_os_str() == STDOUT {
        out.write_all(&bytes)?;
        out.flush()?;
        return Ok(exit(verdict));
    }
    write(&args.output, args.force, &bytes)?;
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

pub(super) fn write(path: &Path, force: bool, bytes: &[u8]) -> Result<(), CommandError> {
    let failed = |source| CommandError::Write { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    // Evidence is what people and agents said: for others to read once its owner says so.
    options.mode(FILE_MODE);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_bundle_is_made_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evidence.zip");
        write(&path, false, b"x").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
    }
}
