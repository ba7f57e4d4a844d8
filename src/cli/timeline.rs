//! A story as a person reads it: who ran what, what was decided, who approved it.
//!
//! ```text
//! langsmith-run-abc123                                   what was asked for
//! also 4bf92f…4736, refund-run-1                         its other ids
//! 2026-11-21 08:31:27.000 to 08:45:01.500 UTC (13m 34s)
//! 9 entries · 3 decisions (1 blocked) · 1 approval
//!
//!    +0.000s  ● agent  refund-agent                      offset, indentation by span ancestry
//!    +0.900s    ✗ BLOCKED  issue_refund  policy refund-limit
//!                 amount 4900 exceeds 500                why, and what else is known of it
//! ```
//!
//! A pure function of what the API answered: no clock, no terminal.

use super::ancestry::Ancestry;
use super::display::{Paint, Style, clean, columns, fit, pad, wrap};
use super::doc::Doc;
use super::moment::{length, moment, offset};
use super::verdict::{Class, Headline, class, headline, subject, who};
use crate::entry::Outcome;
use serde_json::Value;
use std::collections::HashSet;

/// Columns of the offset.
const OFFSET_COLUMNS: usize = 11;

/// Longest preview of a payload, characters.
const PREVIEW_CHARS: usize = 60;

/// Lines that one reason or comment may take.
const DETAIL_LINES: usize = 4;

/// Ids in the header; the rest is counted.
const HEADER_IDS: usize = 12;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// The id that was asked for.
    pub asked: &'a str,
    /// Every id that leads to the story.
    pub trace_ids: &'a [String],
    /// Projected entries, in the order in which they are to be drawn.
    pub entries: &'a [Value],
    /// Whether a limit cut the story short.
    pub truncated: bool,
}

/// The story as text, each line with its line break.
pub fn timeline(story: &Story<'_>, style: Style) -> String {
    let mut out = String::new();
    header(story, style, &mut out);
    let begin = docs(story).filter_map(Doc::time).min();
    let ancestry = Ancestry::of(docs(story));
    let mut traces = HashSet::new();
    let mut before = None;
    for doc in docs(story) {
        if let Some(trace) = doc.raw("trace.id").filter(|trace| traces.insert(*trace))
            && traces.len() > 1
        {
            let words = another_trace(trace, before, doc.time());
            push(&mut out, &style.paint(Paint::Dim, &fit(&words, style.columns)));
        }
        let at = match (begin, doc.time()) {
            (Some(begin), Some(time)) => offset(time.saturating_sub(begin)),
            _ => "?".to_owned(),
        };
        entry(doc, &at, ancestry.level(doc), style, &mut out);
        before = doc.time().or(before);
    }
    if story.truncated {
        push(&mut out, "");
        push(
            &mut out,
            &style.paint(
                Paint::Ask,
                "The story is longer than this: a limit cut it. `--json` gives it page by page.",
            ),
        );
    }
    out
}

/// The line before the first entry of a further trace.
fn another_trace(trace: &str, before: Option<u64>, now: Option<u64>) -> String {
    let trace = clean(trace);
    match before.zip(now).and_then(|(before, now)| now.checked_sub(before)) {
        Some(gap) => format!("── {} later, under another trace: {trace}", length(gap)),
        None => format!("── under another trace: {trace}"),
    }
}

fn docs<'a>(story: &Story<'a>) -> impl Iterator<Item = Doc<'a>> {
    story.entries.iter().map(Doc::new)
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn header(story: &Story<'_>, style: Style, out: &mut String) {
    push(out, &style.paint(Paint::Bold, &fit(&clean(story.asked), style.columns)));
    let others: Vec<String> =
        story.trace_ids.iter().filter(|id| *id != story.asked).map(|id| clean(id)).collect();
    labelled("also", &others, style, out);
    push(out, &span_of_time(story));
    push(out, &counts(story));
    labelled("services", &distinct(story, &["service.name"]), style, out);
    labelled("agents", &distinct(story, &["gen_ai.agent.name", "gen_ai.agent.id"]), style, out);
    let people: &[&str] = &["audit.approval.resolved_by", "audit.interrupt.responder"];
    labelled("answered by", &distinct(story, people), style, out);
    labelled("on behalf of", &distinct(story, &["user.name", "user.email", "user.id"]), style, out);
    out.push('\n');
}

/// A line of names, broken between names where it would be too long.
fn labelled(label: &str, names: &[String], style: Style, out: &mut String) {
    let (first, rest) = names.split_at_checked(HEADER_IDS).unwrap_or((names, &[]));
    if first.is_empty() {
        return;
    }
    let mut shown = first.to_vec();
    if !rest.is_empty() {
        shown.push(format!("and {} more", rest.len()));
    }
    let indent = " ".repeat(columns(label).saturating_add(1));
    let mut line = style.paint(Paint::Dim, label) + " ";
    let mut used = columns(&indent);
    let mut at_front = true;
    for name in shown {
        let name = fit(&name, style.columns.saturating_sub(columns(&indent)));
        let needed = columns(&name).saturating_add(if at_front { 0 } else { 2 });
        if !at_front && used.saturating_add(needed) > style.columns {
            line.push(',');
            push(out, &line);
            line.clone_from(&indent);
            used = columns(&indent);
        } else if !at_front {
            line.push_str(", ");
        }
        line.push_str(&name);
        used = used.saturating_add(needed);
        at_front = false;
    }
    push(out, &line);
}

fn distinct(story: &Story<'_>, paths: &[&str]) -> Vec<String> {
    let mut seen = HashSet::new();
    docs(story)
        .filter_map(|doc| doc.first(paths))
        .filter(|name| seen.insert(name.clone()))
        .collect()
}

fn span_of_time(story: &Story<'_>) -> String {
    let begin = docs(story).filter_map(Doc::time).min();
    let ends = docs(story).filter_map(|doc| {
        let end = doc.raw("event.end").and_then(super::doc::time_ns);
        end.max(doc.time())
    });
    match (begin, ends.max()) {
        (Some(begin), Some(end)) => {
            let (from, to) = (moment(begin), moment(end));
            let same_day = from.get(..10) == to.get(..10);
            let to = if same_day { to.get(11..).unwrap_or(&to).to_owned() } else { to };
            format!("{from} to {to} UTC ({})", length(end.saturating_sub(begin)))
        }
        _ => "no entry says when it happened".to_owned(),
    }
}

fn counts(story: &Story<'_>) -> String {
    let many = |n: usize, one: &str, more: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {more}"),
    };
    let of = |wanted: fn(Class) -> bool| docs(story).filter(|doc| wanted(class(*doc))).count();
    let decisions = of(|class| matches!(class, Class::Decision(_)));
    let blocked = of(|class| class == Class::Decision(Some(Outcome::Block)));
    let asked = of(|class| class == Class::Decision(Some(Outcome::RequireApproval)));
    let approvals = of(|class| class == Class::Approval);
    let failed = docs(story)
        .filter(|doc| class(*doc) == Class::Execution && headline(*doc).paint == Paint::Bad)
        .count();

    let mut parts = vec![many(story.entries.len(), "entry", "entries")];
    let mut within = Vec::new();
    if blocked > 0 {
        within.push(format!("{blocked} blocked"));
    }
    if asked > 0 {
        within.push(format!("{asked} needed approval"));
    }
    let within =
        if within.is_empty() { String::new() } else { format!(" ({})", within.join(", ")) };
    parts.push(many(decisions, "decision", "decisions") + &within);
    parts.push(many(approvals, "approval", "approvals"));
    if failed > 0 {
        parts.push(many(failed, "failure", "failures"));
    }
    parts.join(" · ")
}

fn entry(doc: Doc<'_>, at: &str, level: usize, style: Style, out: &mut String) {
    let Headline { mark, words, paint, stands_out } = headline(doc);
    let missing = OFFSET_COLUMNS.saturating_sub(columns(at));
    let indent = "  ".repeat(level);
    let front = format!("{}{at}  {indent}", " ".repeat(missing));
    let words = if stands_out { words } else { pad(&words, 5) };
    let subject = subject(doc);
    let subject_paint = if stands_out { Paint::Bold } else { Paint::Plain };

    // Cut first, then colour: an escape sequence must never be cut.
    let used = columns(&front).saturating_add(2);
    let room = style.columns.saturating_sub(used);
    let words = fit(&words, room);
    let room = room.saturating_sub(columns(&words).saturating_add(2));
    let subject = fit(&subject, room);
    let room = room.saturating_sub(columns(&subject).saturating_add(2));
    let facts = if room < 4 { String::new() } else { fit(&facts(doc).join("  "), room) };
    push(
        out,
        &format!(
            "{}{} {}  {}  {}",
            style.paint(Paint::Dim, &front),
            style.paint(paint, &mark.to_string()),
            style.paint(paint, &words),
            style.paint(subject_paint, &subject),
            style.paint(if stands_out { Paint::Plain } else { Paint::Dim }, &facts),
        ),
    );

    let indent = " ".repeat(columns(&front).saturating_add(2));
    let room = style.columns.saturating_sub(columns(&indent));
    for line in details(doc).iter().flat_map(|detail| wrap(detail, room, DETAIL_LINES)) {
        push(out, &format!("{indent}{}", style.paint(Paint::Dim, &line)));
    }
}

/// What stands behind the subject on the first line.
fn facts(doc: Doc<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    if class(doc) != Class::Execution {
        let tool = doc.text("gen_ai.tool.name").filter(|tool| *tool != subject(doc));
        facts.extend(tool.map(|tool| format!("tool {tool}")));
        let policy = doc.first(&["audit.policy.id", "audit.policy.name", "audit.policy.rule_id"]);
        facts.extend(policy.map(|policy| format!("policy {policy}")));
        return facts;
    }
    let tokens = (doc.text("gen_ai.usage.input_tokens"), doc.text("gen_ai.usage.output_tokens"));
    match tokens {
        (Some(input), Some(output)) => facts.push(format!("{input} in, {output} out")),
        (Some(input), None) => facts.push(format!("{input} in")),
        (None, Some(output)) => facts.push(format!("{output} out")),
        (None, None) => {}
    }
    let paused = doc.kind() == "interrupt"; // its span ends when the pause begins
    facts.extend(doc.number("event.duration").filter(|_| !paused).map(length));
    facts.extend(payload(doc, "arguments"));
    facts
}

/// The beginning of a payload of that kind.
fn payload(doc: Doc<'_>, kind: &str) -> Option<String> {
    doc.value("audit.payload")?
        .as_array()?
        .iter()
        .map(Doc::new)
        .find(|payload| payload.raw("kind") == Some(kind))
        .and_then(|payload| payload.text("text"))
        .map(|text| fit(&text, PREVIEW_CHARS))
}

/// What stands below the first line: why, under which snapshot, by whose approval, what failed.
fn details(doc: Doc<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let class = class(doc);
    let reason = doc.first(&["audit.decision.reason", "audit.interrupt.reason", "event.reason"]);
    if class != Class::Execution || doc.kind() == "interrupt" {
        lines.extend(reason);
        lines.extend(doc.text("audit.approval.comment").map(|comment| format!("“{comment}”")));
        let known: Vec<String> = [
            ("rule", "audit.policy.rule_id"),
            ("snapshot", "audit.policy.snapshot"),
            ("version", "audit.policy.version"),
            ("approval", "audit.approval.id"),
            ("job hash", "audit.job.hash"),
            ("decided by", "audit.decision.source"),
            ("answered by", "audit.interrupt.responder"),
            ("answer", "audit.interrupt.response"),
            ("confidence", "audit.decision.confidence"),
            ("done about it", "audit.decision.enforcement"),
        ]
        .iter()
        .filter_map(|(label, path)| Some(format!("{label} {}", doc.text(path)?)))
        .collect();
        if !known.is_empty() {
            lines.push(known.join(" · "));
        }
    }
    match doc.kind() {
        "branch" => lines.extend(doc.text("audit.branch.condition").map(|condition| {
            let edge = doc.text("audit.branch.selected_edge").unwrap_or_default();
            format!("{condition} → {edge}")
        })),
        "handoff" => lines.extend(doc.text("audit.handoff.target").map(|target| {
            let source = doc.text("audit.handoff.source").unwrap_or_else(|| who(doc));
            format!("{source} → {target}")
        })),
        _ => {}
    }
    if class == Class::Execution {
        let failure = doc.first(&["error.message", "span.status_message", "error.type"]);
        lines.extend(failure);
    }
    lines
}
