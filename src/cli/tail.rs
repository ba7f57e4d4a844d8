//! `tail`: entries as they become durable, until Ctrl-C.

use super::args::TailArgs;
use super::client::Source;
use super::display::Style;
use super::exit::{CommandError, Exit};
use super::table::{heading, line};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::future::Future;
use std::io::Write;

/// Seconds that the server may hold a question until there is something to say.
const WAIT_SECONDS: &str = "20";

/// Entries of one answer.
const PAGE: &str = "500";

/// The cursor that begins behind the newest entry.
const AT_THE_END: &str = "end";

/// One answer. Entries stay as bytes: `--json` prints them unchanged.
#[derive(Debug, Deserialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// Writes entries as they become durable, a line each, until `stop` (Ctrl-C) comes.
///
/// # Errors
/// [`CommandError`]; [`CommandError::NothingToFollow`] when no server writes.
pub async fn tail(
    args: &TailArgs,
    source: &Source,
    style: Style,
    out: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> Result<Exit, CommandError> {
    if matches!(source, Source::Offline(_)) {
        return Err(CommandError::NothingToFollow);
    }
    let mut stop = std::pin::pin!(stop);
    let mut cursor = (!args.from_start).then(|| AT_THE_END.to_owned());
    if !args.json {
        writeln!(out, "{}", heading(style))?;
        out.flush()?;
    }
    loop {
        let page = tokio::select! {
            () = &mut stop => return Ok(Exit::Fine),
            page = next(source, args, cursor.as_deref()) => page?,
        };
        for entry in &page.entries {
            if args.json {
                writeln!(out, "{}", one_line(entry.get()))?;
            } else {
                let entry: Value =
                    serde_json::from_str(entry.get()).map_err(CommandError::Answer)?;
                writeln!(out, "{}", line(&entry, style))?;
            }
            // A line at a time: what reads behind a pipe must not wait for a buffer to fill.
            out.flush()?;
        }
        cursor = page.next_cursor.or(cursor);
    }
}

async fn next(
    source: &Source,
    args: &TailArgs,
    cursor: Option<&str>,
) -> Result<Page, CommandError> {
    let mut ask = vec![("order", "ledger"), ("limit", PAGE), ("wait", WAIT_SECONDS)];
    if !args.query.is_empty() {
        ask.push(("q", args.query.as_str()));
    }
    ask.extend(args.tenant.as_deref().map(|tenant| ("tenant", tenant)));
    ask.extend(cursor.map(|cursor| ("cursor", cursor)));
    let bytes = source.get(&["api", "v1", "entries"], &ask).await?;
    serde_json::from_slice(&bytes).map_err(CommandError::Answer)
}

/// JSON has line breaks only between its tokens: in JSON Lines there is none.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}
