//! `verify`: a data folder or a bundle of evidence, computed again from its bytes.

use super::display::clean;
use super::evidence::Unnamed;
use super::exit::{CommandError, Exit, with_causes};
use super::proof::saved;
use super::trust::{TrustError, cosigned, given_keys, kept, trust, witnesses};
use super::verify_args::VerifyArgs;
use crate::access::Tenant;
use crate::evidence::{
    Checked, Findings, Folder, FolderReport, KeySource, Verdict, Witnessed, check_bundle_file, hex,
    redraw_report,
};
use crate::ledger::{Progress, Pseudonyms, PublicLog};
use crate::pipeline::{ledger_dir, log_dir};
use crate::protect::Keys;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Columns of the progress bar.
const BAR: u64 = 30;

/// Checks what the flags name and writes what was found. [`Exit::Tampered`] when something is not
/// as it was written, or when a checkpoint that was kept elsewhere is not contained in it.
///
/// # Errors
/// [`CommandError`] when there is nothing to check or it cannot be read.
pub fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<Exit, CommandError> {
    let (verdict, text) = match (&args.bundle, &args.proof) {
        (Some(file), _) => bundle(args, file)?,
        (None, Some(file)) => saved(args, file)?,
        (None, None) => folder(args)?,
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ends(verdict, args.strict))
}

/// How the command ends.
pub(super) fn ends(verdict: Verdict, strict: bool) -> Exit {
    match verdict {
        Verdict::Compromised => Exit::Tampered,
        Verdict::Partial if strict => Exit::Tampered,
        Verdict::Partial | Verdict::Ok => Exit::Fine,
    }
}

fn folder(args: &VerifyArgs) -> Result<(Verdict, String), CommandError> {
    let folder = args.keys.clone().unwrap_or_else(|| args.data.join("keys"));
    let keys = Keys::open(&folder).inspect_err(|error| {
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
    let log = PublicLog::open(&log_dir(&args.data));
    let expected = args.expected();
    let mut kept = kept(&args.checkpoint)?;
    let quorum = witnesses(&args.witness, args.quorum)?;
    if quorum.is_some() {
        // Compared with the ledger as if somebody had kept them elsewhere: the witnesses have.
        kept.extend(cosigned(&log)?);
    }
    let trust = trust(&args.key, &log, &folder)?;
    let check = Folder {
        ledger: &ledger_dir(&args.data),
        log,
        trust,
        kept: &kept,
        expected: &expected,
        pseudonyms: pseudonym.as_ref().map(|of| of as Pseudonyms<'_>),
    };
    let terminal = std::io::stderr().is_terminal() && !args.json;
    let mut bar = Bar { shown: Instant::now(), terminal };
    let mut report = check.verify(&mut |_| {}, |progress| bar.show(progress))?;
    bar.end();
    let witnessed = quorum.and_then(|it| it.check(&kept, &mut report.findings));
    let text = if args.json {
        folder_json(&report, witnessed.as_ref())
    } else {
        folder_text(&report, witnessed.as_ref())
    };
    Ok((report.verdict(), text))
}

/// How far it is, on a terminal. A courtesy: where it cannot be written the check goes on.
struct Bar {
    shown: Instant,
    terminal: bool,
}

impl Bar {
    fn show(&mut self, progress: Progress) {
        if !self.terminal || self.shown.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.shown = Instant::now();
        let Progress { bytes, total_bytes, entries } = progress;
        let part =
            |of: u64| bytes.saturating_mul(of).checked_div(total_bytes).unwrap_or(of).min(of);
        let done = usize::try_from(part(BAR)).unwrap_or(0);
        let left = usize::try_from(BAR).unwrap_or(0).saturating_sub(done);
        let (bar, rest, percent) = ("█".repeat(done), "░".repeat(left), part(100));
        let _ = write!(std::io::stderr(), "\r{bar}{rest} {percent:3} %  {entries} entries ");
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}

pub(super) fn findings_json(findings: &Findings) -> (Value, Value) {
    // Ours are texts and numbers: they have a form.
    let listed = serde_json::to_value(findings.listed()).unwrap_or_default();
    (listed, findings.more().into())
}

/// Who of the witnesses signed, and how much.
pub(super) fn witnessed_json(witnessed: Option<&Witnessed>) -> Option<Value> {
    witnessed.map(|it| {
        let signers: Vec<String> = it.by.iter().map(ToString::to_string).collect();
        json!({"size": it.size, "signers": signers})
    })
}

fn folder_json(report: &FolderReport, witnessed: Option<&Witnessed>) -> String {
    let ledger = &report.ledger;
    let tail = ledger.tail.as_ref().map(|tail| {
        json!({
            "segment": tail.segment.to_string_lossy(),
            "offset": tail.offset,
            "bytes": tail.bytes,
        })
    });
    let checkpoint = report.checkpoint.as_ref().map(|signed| {
        let head = signed.checkpoint.head;
        json!({
            "origin": signed.checkpoint.origin,
            "size": head.size,
            "root": hex(&head.root),
            "signers": report.signers,
            "key_from_the_same_machine": report.keys_from == KeySource::Beside,
            "not_covered": report.uncovered(),
        })
    });
    let (findings, more) = findings_json(&report.findings);
    let report = json!({
        "verdict": report.verdict(),
        "ok": report.verdict() == Verdict::Ok,
        "size": ledger.head.size,
        "root": hex(&ledger.head.root),
        "origin": hex(&ledger.origin),
        "segments": ledger.segments,
        "groups": ledger.groups,
        "bytes": ledger.bytes,
        "tenants": ledger.tenants,
        "duplicates": ledger.duplicates,
        "not_compared": ledger.not_compared,
        "conflicts": ledger.conflicts,
        "pruned": ledger.pruned,
        "closed": ledger.closed,
        "tail": tail,
        "checkpoint": checkpoint,
        "witnessed": witnessed_json(witnessed),
        "findings": findings,
        "more_findings": more,
    });
    format!("{report:#}\n")
}

/// The verdict in a line, and what was found.
pub(super) fn headline(findings: &Findings, intact: &str) -> String {
    let mut text = String::new();
    let many = u64::try_from(findings.listed().len()).unwrap_or(u64::MAX);
    let many = many.saturating_add(findings.more());
    let _ = match findings.verdict() {
        Verdict::Ok => writeln!(text, "ok: {intact}"),
        Verdict::Partial => writeln!(
            text,
            "partial: nothing is known to be changed, and not everything can be shown"
        ),
        Verdict::Compromised => writeln!(text, "COMPROMISED: {many} findings"),
    };
    for finding in findings.listed() {
        let _ = writeln!(text, "  {}", clean(&finding.to_string()));
    }
    if findings.more() > 0 {
        let _ = writeln!(text, "  and {} more", findings.more());
    }
    text
}

fn folder_text(report: &FolderReport, witnessed: Option<&Witnessed>) -> String {
    let mut text = headline(&report.findings, "nothing was changed");
    if report.verdict() == Verdict::Compromised {
        let _ = writeln!(
            text,
            "\nThe ledger is not as it was written. Make a copy of the folder before anything else,\n\
             and compare it with a backup and with checkpoints that were kept elsewhere."
        );
        return text;
    }
    let ledger = &report.ledger;
    let (head, segments, groups, bytes) =
        (ledger.head, ledger.segments, ledger.groups, ledger.bytes);
    let entries = head.size;
    let _ =
        writeln!(text, "  entries {entries}, segments {segments}, groups {groups}, bytes {bytes}");
    if ledger.duplicates > 0 || ledger.conflicts > 0 {
        let (twice, conflicts) = (ledger.duplicates, ledger.conflicts);
        let _ = writeln!(text, "  {twice} entries came twice, {conflicts} are in conflict");
    }
    if let Some(signed) = &report.checkpoint {
        let (head, by) = (signed.checkpoint.head, report.signers.join(", "));
        let _ = writeln!(text, "  signed: {} entries, by {}", head.size, clean(&by));
        if report.keys_from == KeySource::Beside {
            let _ = writeln!(
                text,
                "  The key was taken from the same machine: whoever could write the ledger anew could\n  \
                 replace it too. Give the one that was published with --key."
            );
        }
        if report.uncovered() > 0 {
            let _ = writeln!(text, "  {} entries came after that checkpoint", report.uncovered());
        }
    }
    if let Some(witnessed) = witnessed {
        let _ = writeln!(text, "  witnessed: {}", clean(&witnessed.to_string()));
    }
    if head.size > 0 {
        let _ = writeln!(text, "\nKeep this elsewhere, and check against it later:");
        let _ = writeln!(text, "  spanledger verify --expect {}:{}", head.size, hex(&head.root));
    }
    text
}

fn bundle(args: &VerifyArgs, path: &Path) -> Result<(Verdict, String), CommandError> {
    let keys = given_keys(&args.key)?;
    let quorum = witnesses(&args.witness, args.quorum)?;
    // Before the check, which takes its time.
    if let Some(report) = args.report.as_ref().filter(|it| it.symlink_metadata().is_ok()) {
        let exists = std::io::ErrorKind::AlreadyExists.into();
        return Err(CommandError::Write { path: report.clone(), source: exists });
    }
    let failed = |source| TrustError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut checked = check_bundle_file(&file, &keys).map_err(failed)?;
    let kept = kept(&args.checkpoint)?;
    checked.compare(&kept);
    let signed = checked.witnessing(&kept);
    let witnessed = quorum.and_then(|it| it.check(&signed, &mut checked.findings));
    let is_false = checked.verdict() == Verdict::Compromised;
    if let Some(report) = args.report.as_ref().filter(|_| !is_false) {
        let unnamed = Unnamed::new(report)?;
        let mut page = BufWriter::new(&unnamed.file);
        let drawn = redraw_report(&file, &checked, &mut |text| page.write_all(text.as_bytes()));
        drawn.and_then(|()| page.flush()).map_err(|error| unnamed.failed(error))?;
        drop(page);
        unnamed.named(report, false)?;
    }
    let mut text = if args.json {
        bundle_json(&checked, witnessed.as_ref())
    } else {
        bundle_text(&checked, witnessed.as_ref())
    };
    if is_false && args.report.is_some() && !args.json {
        text.push_str("  no report was drawn: what the bundle says is not what was recorded\n");
    }
    Ok((checked.verdict(), text))
}

fn bundle_json(checked: &Checked, witnessed: Option<&Witnessed>) -> String {
    let manifest = checked.manifest.as_ref();
    let (findings, more) = findings_json(&checked.findings);
    let pruned = checked.entries.iter().filter(|it| it.body.is_none());
    let report = json!({
        "verdict": checked.verdict(),
        "ok": checked.verdict() == Verdict::Ok,
        "asked": manifest.map(|it| &it.asked),
        "tenant": manifest.map(|it| &it.tenant),
        "origin": manifest.map(|it| &it.origin),
        "made_at": manifest.map(|it| &it.made_at),
        "entries": checked.entries.iter().map(|it| it.sequence).collect::<Vec<_>>(),
        "pruned": pruned.map(|it| it.sequence).collect::<Vec<_>>(),
        "size": checked.head.map(|head| head.size),
        "root": checked.head.map(|head| hex(&head.root)),
        "signers": checked.signers,
        "handovers": checked.handovers,
        "originals": checked.originals,
        "witnessed": witnessed_json(witnessed),
        "findings": findings,
        "more_findings": more,
    });
    format!("{report:#}\n")
}

fn bundle_text(checked: &Checked, witnessed: Option<&Witnessed>) -> String {
    let mut text = headline(&checked.findings, "every entry is the one that was recorded");
    if let Some(manifest) = &checked.manifest {
        let entries = checked.entries.len();
        let (asked, tenant) = (clean(&manifest.asked), clean(&manifest.tenant));
        let _ = writeln!(text, "  {entries} entries");
        // No signature covers these.
        let _ = writeln!(text, "  the bundle says: tenant {tenant}, asked {asked}");
        let _ =
            writeln!(text, "  made {} by {}", clean(&manifest.made_at), clean(&manifest.made_by));
    }
    if let Some(head) = checked.head {
        let by = if checked.signers.is_empty() {
            "nobody whose key is known".to_owned()
        } else {
            clean(&checked.signers.join(", "))
        };
        let _ = writeln!(
            text,
            "  tree of {} entries, root {}, signed by {by}",
            head.size,
            hex(&head.root)
        );
    }
    if let Some(witnessed) = witnessed {
        let _ = writeln!(text, "  witnessed: {}", clean(&witnessed.to_string()));
    }
    if checked.originals > 0 {
        let originals = checked.originals;
        let _ = writeln!(text, "  with the originals of {originals} entries, against their leaves");
    }
    for handover in &checked.handovers {
        let _ = writeln!(text, "  the log's key changed: {}", clean(&handover.to_string()));
    }
    text
}
