//! One entry as somebody who writes a mapping wants to see it: what was filled, from what, by
//! which line of which file, and what nothing claimed.
//!
//! ```text
//! tool_call  execute_tool issue_refund   otel_genai
//!   audit.kind         tool_call       gen_ai.operation.name = execute_tool  otel_genai.yaml:21
//!   gen_ai.tool.name   issue_refund    gen_ai.tool.name                      otel_genai.yaml:90
//!   payload arguments  {"order_id":…   gen_ai.tool.call.arguments            otel_genai.yaml:152
//!   nothing claimed
//!     my.attribute     17
//! ```

use super::display::{Paint, Style, clean, fit, pad};
use super::doc::Doc;
use crate::convert::{Cause, Explanation, Mappings};
use serde_json::Value;
use std::fmt::Write as _;

/// Widest column of names.
const MAX_NAME: usize = 42;
/// Columns of a value.
const VALUE: usize = 40;

/// Fields that are shown in the heading, or are forms of what another one shows.
const NOT_LISTED: &[&str] = &["message", "trace_id"];

/// A line: a name, a value and why.
struct Line {
    name: String,
    value: String,
    why: String,
}

/// The entry as text, with an empty line behind it. `why` is `None` for an event of a span.
pub(super) fn text(entry: &Value, why: Option<&Explanation>, style: Style) -> String {
    let doc = Doc::new(entry);
    let unexplained = Explanation::default();
    let told = why.unwrap_or(&unexplained);
    let mut text = heading(doc, why, style);
    let mut lines = fields(doc, told);
    lines.extend(payloads(doc, told));
    let left = left(doc, told);
    let names = lines.iter().chain(&left).map(|line| super::display::columns(&line.name));
    let width = names.max().unwrap_or(0).min(MAX_NAME);
    for line in &lines {
        let name = pad(&fit(&line.name, width), width);
        let value = pad(&fit(&line.value, VALUE), VALUE);
        let _ = writeln!(text, "  {name}  {value}  {}", style.paint(Paint::Dim, &line.why));
    }
    if !left.is_empty() {
        let _ = writeln!(text, "  {}", style.paint(Paint::Ask, "nothing claimed"));
        for line in &left {
            let name = pad(&fit(&line.name, width), width);
            let _ = writeln!(
                text,
                "  {name}  {}",
                fit(&line.value, style.columns.saturating_sub(width).max(VALUE))
            );
        }
    }
    if let Some(flag) = doc.text("audit.flags") {
        let _ = writeln!(text, "  {}", style.paint(Paint::Bad, &format!("flags: {flag}")));
    }
    text.push('\n');
    text
}

fn heading(doc: Doc<'_>, why: Option<&Explanation>, style: Style) -> String {
    let message = doc.text("message").unwrap_or_default();
    let families = match why {
        Some(told) if told.families.is_empty() => "no family".to_owned(),
        Some(told) => told.families.join(", "),
        None => "an event of the span above".to_owned(),
    };
    let line = format!("{}  {message}", doc.kind());
    format!("{}  {}\n", style.paint(Paint::Bold, &line), style.paint(Paint::Dim, &families))
}

/// The fields that a mapping can fill and that have a value.
fn fields(doc: Doc<'_>, told: &Explanation) -> Vec<Line> {
    let kind_why = told.kind.as_ref().map_or_else(|| "no rule".to_owned(), because);
    let kind = Line { name: "audit.kind".into(), value: doc.kind().to_owned(), why: kind_why };
    let listed = Mappings::fields().filter(|field| !NOT_LISTED.contains(field));
    let filled = listed.filter_map(|field| {
        let value = shown(doc.value(field)?);
        let causes: Vec<String> = told
            .fields
            .iter()
            .filter(|filled| filled.field == field)
            .map(|filled| because(&filled.cause))
            .collect();
        let why = if causes.is_empty() { "follows".to_owned() } else { causes.join("; ") };
        Some(Line { name: field.to_owned(), value, why })
    });
    std::iter::once(kind).chain(filled).collect()
}

fn payloads(doc: Doc<'_>, told: &Explanation) -> Vec<Line> {
    let parts = doc.value("audit.payload").and_then(Value::as_array);
    let line = |part: &Value| {
        let of = |key| part.get(key).and_then(Value::as_str).unwrap_or_default();
        let value = match (part.get("text"), part.get("bytes")) {
            (Some(text), _) => shown(text),
            (None, bytes) => format!("hashed, {} bytes", bytes.map(shown).unwrap_or_default()),
        };
        let source = of("source");
        // The payload of an event is named `EVENT/ATTRIBUTE`, what stands inside of an attribute
        // `ATTRIBUTE/PLACE`.
        let (before, behind) = source.split_once('/').unwrap_or((source, ""));
        let of_event = format!("{behind} of {before}");
        let cause = told
            .payloads
            .iter()
            .find(|taken| [before, of_event.as_str()].contains(&taken.cause.from.as_str()));
        let why = cause.map_or_else(|| clean(source), |taken| because(&taken.cause));
        Line { name: format!("payload {}", of("kind")), value, why }
    };
    parts.into_iter().flatten().map(line).collect()
}

/// Attributes that no rule had a use for.
fn left(doc: Doc<'_>, told: &Explanation) -> Vec<Line> {
    let attributes = doc.value("attributes").and_then(Value::as_object);
    let lines = told.unclaimed.iter().map(|name| {
        let value = attributes.and_then(|attributes| attributes.get(name)).map(shown);
        Line {
            name: format!("  {}", clean(name)),
            value: value.unwrap_or_default(),
            why: String::new(),
        }
    });
    lines.collect()
}

fn because(cause: &Cause) -> String {
    format!("{} ({}:{})", clean(&cause.from), clean(&cause.file), cause.line)
}

/// A value on one line: text as it is, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}
