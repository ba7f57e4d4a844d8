//! `verify`: everything about the ledger computed again from the bytes on disk.

use super::args::VerifyArgs;
use super::display::clean;
use super::exit::{CommandError, Exit, with_causes};
use crate::access::Tenant;
use crate::ledger::{Pseudonyms, TreeHead, VerifyReport, verify_against};
use crate::pipeline::ledger_dir;
use crate::protect::Keys;
use serde_json::json;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

/// Pause between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Checks the ledger and writes what was found. [`Exit::Tampered`] when something is not as it was
/// written, or when a checkpoint that was kept elsewhere is not contained in it.
///
/// # Errors
/// [`CommandError`] when there is no ledger or it cannot be read.
pub fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<Exit, CommandError> {
    let expected: Vec<TreeHead> =
        args.expect.iter().map(|kept| TreeHead { size: kept.size, root: kept.root }).collect();
    let mut shown = Instant::now();
    let terminal = std::io::stderr().is_terminal() && !args.json;
    let keys = Keys::open(&args.keys.clone().unwrap_or_else(|| args.data.join("keys")));
    let keys = keys.inspect_err(|error| {
        let why = with_causes(error);
        let _ = writeln!(
            std::io::stderr(),
            "without keys it is not checked that each entry is of its tenant (--keys DIR): {why}"
        );
    });
    let pseudonym = keys.as_ref().ok().map(|keys| {
        // A name that no tenant can have stands for nobody.
        |name: &str| Tenant::new(name).map_or([0; 16], |it| keys.tenant(&it).pseudonym())
    });
    let pseudonyms = pseudonym.as_ref().map(|of| of as Pseudonyms<'_>);
    let report = verify_against(&ledger_dir(&args.data), &expected, pseudonyms, |progress| {
        if terminal && shown.elapsed() >= PROGRESS_EVERY {
            shown = Instant::now();
            let (done, all) = (progress.bytes, progress.total_bytes);
            // Progress is a courtesy: where it cannot be written the check goes on.
            let _ = write!(std::io::stderr(), "\r{done} of {all} bytes ");
        }
    });
    if terminal {
        let _ = write!(std::io::stderr(), "\r");
    }
    let report = report?;
    let text = if args.json { as_json(&report) } else { as_text(&report) };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(if report.is_ok() { Exit::Fine } else { Exit::Tampered })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn as_json(report: &VerifyReport) -> String {
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| {
            json!({
                "segment": problem.segment.to_string_lossy(),
                "offset": problem.offset,
                "sequence": problem.sequence,
                "damage": problem.damage.to_string(),
            })
        })
        .collect();
    let tail = report.tail.as_ref().map(|tail| {
        json!({
            "segment": tail.segment.to_string_lossy(),
            "offset": tail.offset,
            "bytes": tail.bytes,
        })
    });
    let report = json!({
        "ok": report.is_ok(),
        "size": report.head.size,
        "root": hex(&report.head.root),
        "origin": hex(&report.origin),
        "segments": report.segments,
        "groups": report.groups,
        "bytes": report.bytes,
        "tenants": report.tenants,
        "duplicates": report.duplicates,
        "not_compared": report.not_compared,
        "conflicts": report.conflicts,
        "closed": report.closed,
        "tail": tail,
        "problems": problems,
        "more_problems": report.more_problems,
    });
    format!("{report:#}\n")
}

fn as_text(report: &VerifyReport) -> String {
    let mut text = String::new();
    let VerifyReport { head, segments, groups, bytes, .. } = report;
    let root = hex(&head.root);
    if report.is_ok() {
        let _ = writeln!(text, "intact: nothing was changed");
        let entries = head.size;
        let _ = writeln!(
            text,
            "  entries {entries}, segments {segments}, groups {groups}, bytes {bytes}"
        );
        if report.duplicates > 0 || report.conflicts > 0 {
            let (twice, conflicts) = (report.duplicates, report.conflicts);
            let _ = writeln!(text, "  {twice} entries came twice, {conflicts} are in conflict");
        }
        if let Some(tail) = &report.tail {
            let bytes = tail.bytes;
            let _ = writeln!(text, "  {bytes} bytes at the end belong to no complete group:");
            let _ = writeln!(text, "  being written, or torn by a crash; never acknowledged");
        }
        if head.size > 0 {
            let _ = writeln!(text, "\nKeep this elsewhere, and check against it later:");
            let _ = writeln!(text, "  spanledger verify --expect {}:{root}", head.size);
        }
        return text;
    }
    let many = u64::try_from(report.problems.len()).unwrap_or(u64::MAX);
    let many = many.saturating_add(report.more_problems);
    let _ = writeln!(text, "CHANGED: {many} problems");
    for problem in &report.problems {
        let _ = writeln!(text, "  {}", clean(&problem.to_string()));
    }
    if report.more_problems > 0 {
        let _ = writeln!(text, "  and {} more", report.more_problems);
    }
    let _ = writeln!(
        text,
        "\nThe ledger is not as it was written. Make a copy of the folder before anything else,\n\
         and compare it with a backup and with checkpoints that were kept elsewhere."
    );
    text
}
