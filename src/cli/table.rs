//! Entries as a table: one line each, for `search` and `tail`.

use super::display::{Paint, Style, fit, pad};
use super::doc::Doc;
use super::moment::second;
use super::verdict::{headline, subject, who};
use serde_json::Value;

/// Columns of `2026-11-21 08:31:27`.
const TIME: usize = 19;
/// Columns of `APPROVED by somebody`.
const WHAT: usize = 24;
/// Columns of the person or agent.
const WHO: usize = 16;
/// Columns below which there is no column for who.
const COLUMNS_WITH_WHO: usize = 112;
/// Columns of an OpenTelemetry trace id; a longer id is shown whole, because it is there to copy.
const ID: usize = 32;
/// Columns between two columns.
const GAP: usize = 2;

/// The names of the columns.
pub fn heading(style: Style) -> String {
    let line = row(
        ["TIME (UTC)", "WHAT HAPPENED", "TO WHAT", "WHO", "TRACE ID"].map(str::to_owned),
        Paint::Dim,
        style,
    );
    style.paint(Paint::Dim, &line)
}

/// One entry.
pub fn line(entry: &Value, style: Style) -> String {
    let doc = Doc::new(entry);
    let headline = headline(doc);
    let time = doc.time().map_or_else(|| "?".to_owned(), second);
    let what = format!("{} {}", headline.mark, headline.words);
    row([time, what, subject(doc), who(doc), best_id(doc)], headline.paint, style)
}

/// The id that a person would recognise: the orchestrator's own, else the first form.
fn best_id(doc: Doc<'_>) -> String {
    let external = doc.value("audit.external.trace_id").and_then(|ids| match ids {
        Value::Array(ids) => ids.first().and_then(Value::as_str),
        id => id.as_str(),
    });
    match external {
        Some(id) => super::display::clean(id),
        None => {
            doc.text("trace.id").or_else(|| doc.trace_ids().into_iter().next()).unwrap_or_default()
        }
    }
}

fn row([time, what, subject, who, id]: [String; 5], paint: Paint, style: Style) -> String {
    let who = (style.columns >= COLUMNS_WITH_WHO).then_some(who);
    let widths = [TIME, WHAT, if who.is_some() { WHO } else { 0 }, GAP.saturating_mul(4)];
    let fixed = widths.iter().fold(0_usize, |sum, width| sum.saturating_add(*width));
    // The id is what one copies: it gets its 32 columns before the subject gets more than a few.
    let free = style.columns.saturating_sub(fixed);
    let subject_room = free.saturating_sub(ID).clamp(16, 40);
    let gap = " ".repeat(GAP);
    let cell = |text: &str, room: usize| pad(&fit(text, room), room);
    let mut cells = vec![
        cell(&time, TIME),
        style.paint(paint, &cell(&what, WHAT)),
        cell(&subject, subject_room),
    ];
    cells.extend(who.map(|who| cell(&who, WHO)));
    cells.push(id);
    cells.join(&gap).trim_end().to_owned()
}
