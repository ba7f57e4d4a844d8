//! `verify --elasticsearch`: the copy in the cluster against the ledger.

use super::display::clean;
use super::exit::{CommandError, Exit};
use super::verify::{ends, findings_json, headline};
use super::verify_args::VerifyArgs;
use crate::config::{Config, Overrides};
use crate::elasticsearch::{Client, DeadLetters};
use crate::evidence::{Copy, Findings};
use crate::export::CursorFile;
use crate::ledger::Reader;
use crate::pipeline::{ELASTICSEARCH, cursors_dir, dead_letters_dir, ledger_dir, ledger_name};
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
    let reader = Reader::open(&folder).map_err(|error| failed(error.into()))?;
    let origin = ledger_name(reader.origin());
    // What the exporter has not reached is not there yet. Without a cursor all of it should be.
    let cursor = CursorFile::new(&cursors_dir(&args.data), ELASTICSEARCH, reader.origin());
    let watermark = reader.watermark();
    let until = cursor.read().unwrap_or(watermark).min(watermark);
    let letters = DeadLetters::read_only(&dead_letters_dir(&args.data));
    let letters: BTreeSet<u64> =
        letters.map_err(|error| failed(error.into()))?.unwrap_or_default().into_keys().collect();
    let copy = Copy { reader: &reader, folder: &folder, origin: &origin, until, letters: &letters };
    let mut findings = Findings::default();
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
            "ledger_checked": false,
            "findings": listed,
            "more_findings": more,
        });
        format!("{report:#}\n")
    } else {
        let mut text = headline(&findings, "every document says what the ledger says");
        let same = compared.same;
        let _ = writeln!(text, "  {same} documents of {} are the ledger's", clean(&origin));
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
