//! `verify --elasticsearch`: the copy in the cluster against the ledger.

use super::display::clean;
use super::exit::{CommandError, Exit};
use super::trust::trust;
use super::verify::{ends, findings_json, headline};
use super::verify_args::VerifyArgs;
use crate::config::{Config, Overrides};
use crate::elasticsearch::checkpoints::{CHECKPOINT_STREAM, read_checkpoints};
use crate::elasticsearch::search::SearchError;
use crate::elasticsearch::{Client, DeadLetters};
use crate::evidence::{Copy, Findings, KeptTrees};
use crate::export::CursorFile;
use crate::ledger::{PublicLog, Reader};
use crate::pipeline::{
    ELASTICSEARCH, cursors_dir, dead_letters_dir, ledger_dir, ledger_name, log_dir,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

/// Why the copy could not be compared.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Compares every document of the cluster with the ledger.
///
/// # Errors
/// [`CommandError`] when ledger or cluster cannot be read.
pub async fn verify_copy(args: &VerifyArgs, out: &mut impl Write) -> Result<Exit, CommandError> {
    let failed = |source: Failure| CommandError::Copy(source);
    let overrides = Overrides {
        data: Some(args.data.clone()),
        elasticsearch: args.elasticsearch.clone(),
        ..Overrides::default()
    };
    let config = Config::load(args.config.as_deref(), &overrides);
    let connection = config.map_err(|error| failed(error.into()))?.elasticsearch;
    let connection = connection.ok_or_else(|| failed("no cluster is named".into()))?.connection;
    let client = Client::new(&connection).map_err(|error| failed(error.into()))?;
    let folder = ledger_dir(&args.data);
    let mut findings = Findings::default();
    let log = PublicLog::open(&log_dir(&args.data));
    let trust = trust(&[], &log, &args.data.join("keys"))?;
    let ledger = Reader::open(&folder).map_err(|error| failed(error.into()))?.origin();
    let mut trees = KeptTrees::new(ledger, &trust);
    let read = read_kept(&client, &mut trees, &mut findings).await;
    let may_read = read.map_err(|error| failed(error.into()))?;
    // After the checkpoints: beside a running server it has what was signed until then.
    let reader = Reader::open(&folder).map_err(|error| failed(error.into()))?;
    let kept = trees.compare(&reader, &mut findings).map_err(|error| failed(error.into()))?;
    let kept = may_read.then_some(kept);
    let origin = ledger_name(reader.origin());
    // What the exporter has not reached is not there yet. Without a cursor all of it should be.
    let cursor = CursorFile::new(&cursors_dir(&args.data), ELASTICSEARCH, reader.origin());
    let watermark = reader.watermark();
    let until = cursor.read().unwrap_or(watermark).min(watermark);
    let letters = DeadLetters::read_only(&dead_letters_dir(&args.data));
    let letters: BTreeSet<u64> =
        letters.map_err(|error| failed(error.into()))?.unwrap_or_default().into_keys().collect();
    let copy = Copy { reader: &reader, folder: &folder, origin: &origin, until, letters: &letters };
    let compared = copy.compare(&client, &mut findings).await;
    let compared = compared.map_err(|error| failed(error.into()))?;
    let waiting = watermark.saturating_sub(until);
    let text = if args.json {
        let (listed, more) = findings_json(&findings);
        let report = json!({
            "verdict": findings.verdict(),
            "same": compared.same,
            "of_another_ledger": compared.elsewhere,
            "left_out": compared.left_out,
            "not_exported_yet": waiting,
            "checkpoints": kept,
            "ledger_checked": false,
            "findings": listed,
            "more_findings": more,
        });
        format!("{report:#}\n")
    } else {
        let mut text = headline(&findings, "every document says what the ledger says");
        let same = compared.same;
        let _ = writeln!(text, "  {same} documents of {} are the ledger's", clean(&origin));
        let _ = match kept {
            Some(count) => writeln!(text, "  {count} checkpoints that are kept there are its own"),
            None => writeln!(
                text,
                "  Checkpoints there were not compared: this key may not read {CHECKPOINT_STREAM}"
            ),
        };
        let _ = writeln!(
            text,
            "  The ledger itself was not checked: run `spanledger verify` without --elasticsearch, too."
        );
        for (count, what) in [
            (compared.elsewhere, "entries are documents of another ledger"),
            (compared.left_out, "entries are pruned or dead letters, and not compared"),
            (waiting, "entries are not exported yet"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "  {count} {what}");
            }
        }
        text
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ends(findings.verdict(), args.strict))
}

/// Reads the checkpoints that the cluster keeps. `false` when the key may not.
async fn read_kept(
    client: &Client,
    trees: &mut KeptTrees<'_>,
    findings: &mut Findings,
) -> Result<bool, SearchError> {
    let mut see = |id: &str, note: Option<&str>| {
        trees.add(&format!("{CHECKPOINT_STREAM}/{id}"), note, findings);
    };
    match read_checkpoints(client, &mut see).await {
        Ok(()) => Ok(true),
        Err(SearchError::Forbidden) => Ok(false),
        Err(error) => Err(error),
    }
}
