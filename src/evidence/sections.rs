//! The sections of a report between its verdict and its timeline.

use super::acts::{Acts, ranges};
use super::format::Brief;
use super::report::{Short, Text, short_time};
use crate::story::{Action, Approval, Severity, Study};
use std::fmt::{self, Write as _};

/// Findings that are shown at once; the others are folded away, so that decisions can be found.
const SHOWN_FINDINGS: usize = 20;

/// Steps of an action that are shown in its line.
const SHOWN_STEPS: usize = 12;

/// Entries of a finding that are named; all others stand in the timeline.
const SHOWN_ENTRIES: usize = 40;

/// Statement of several lines, which stay lines.
struct Lines<'a>(&'a str);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().try_for_each(|line| writeln!(f, "{}", Text(line)))
    }
}

/// A table with these headings, each with its share of the width in percent.
fn table(out: &mut String, title: &str, columns: &[(&str, u8)]) -> fmt::Result {
    writeln!(out, "<h2>{title}</h2>\n<table>\n<thead><tr>")?;
    for (name, percent) in columns {
        write!(out, "<th style=\"width:{percent}%\">{name}</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")
}

/// A cell, which says by itself what it is where there is no room for headings.
fn cell(out: &mut String, name: &str, value: &str) -> fmt::Result {
    write!(out, "<td data-name=\"{name}\">{}</td>", Short(value))
}

/// How much of what there is.
pub(super) fn counts(out: &mut String, entries: &[Brief], study: &Study) -> fmt::Result {
    let pruned = entries.iter().filter(|entry| entry.body.is_none()).count();
    let open = study.findings.iter().filter(|it| it.severity != Severity::Note).count();
    let warned = if open > 0 { "ask" } else { "" };
    let all = [
        ("entry", "entries", "", entries.len()),
        ("action", "actions", "", study.actions.len()),
        ("approval", "approvals", "", study.approvals.len()),
        ("warning", "warnings", warned, open),
        ("no longer kept", "no longer kept", "", pruned),
    ];
    writeln!(out, "<ul class=\"counts\">")?;
    for (one, many, class, count) in all {
        let name = if count == 1 { one } else { many };
        if count > 0 || one != many {
            writeln!(out, "<li><b class=\"{class}\">{count}</b>{name}</li>")?;
        }
    }
    writeln!(out, "</ul>")
}

/// What does not fit together.
pub(super) fn findings(out: &mut String, study: &Study) -> fmt::Result {
    if study.findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>What does not fit together</h2>")?;
    for (at, finding) in study.findings.iter().enumerate() {
        if at == SHOWN_FINDINGS {
            let more = study.findings.len().saturating_sub(at);
            writeln!(out, "<details class=\"more\"><summary>{more} more</summary>")?;
        }
        let class = match finding.severity {
            Severity::Critical => "bad",
            Severity::Warning => "ask",
            Severity::Note => "dim",
        };
        writeln!(
            out,
            "<div class=\"finding {class}\"><strong>{}</strong> <code>{}</code><p>{}</p>",
            finding.severity.as_str(),
            finding.code.as_str(),
            Short(&finding.message),
        )?;
        write!(
            out,
            "<p class=\"dim\">{}",
            if finding.entries.len() == 1 { "entry" } else { "entries" }
        )?;
        for (at, entry) in finding.entries.iter().take(SHOWN_ENTRIES).enumerate() {
            let (sequence, comma) = (entry.sequence, if at == 0 { "" } else { "," });
            write!(out, "{comma} <a href=\"#entry-{sequence}\">{sequence}</a>")?;
        }
        let more = finding.entries.len().saturating_sub(SHOWN_ENTRIES);
        writeln!(
            out,
            "{}</p></div>",
            if more > 0 { format!(" and {more} more") } else { String::new() }
        )?;
    }
    if study.findings.len() > SHOWN_FINDINGS {
        writeln!(out, "</details>")?;
    }
    if study.more_findings > 0 {
        writeln!(out, "<p class=\"dim\">and {} that are not listed</p>", study.more_findings)?;
    }
    Ok(())
}

/// What was decided about actions, and what became of them.
pub(super) fn actions(out: &mut String, actions: &[Action]) -> fmt::Result {
    let told: Vec<_> =
        actions.iter().filter(|it| it.decision.is_some() || it.chain.len() > 1).collect();
    if told.is_empty() {
        return Ok(());
    }
    let columns = [("Action", 22), ("Decision and outcome", 32), ("Policy", 20), ("Reason", 26)];
    table(out, "What was decided", &columns)?;
    for action in told {
        let names = [&action.action, &action.tool, &action.action_key, &action.step_id];
        let name = names.into_iter().flatten().next().map_or("", String::as_str);
        write!(out, "<tr>")?;
        cell(out, "Action", name)?;
        write!(out, "<td class=\"chain\" data-name=\"Decision\">")?;
        for step in action.chain.iter().take(SHOWN_STEPS) {
            let by = step.resolved_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let class = colour(&step.outcome);
            let word = match step.outcome.as_str() {
                "unknown" => "no outcome on record".to_owned(),
                word => word.replace('_', " "),
            };
            write!(out, "<span class=\"{class}\">{}{}</span>", Short(&word), Short(&by))?;
        }
        let more = action.chain.len().saturating_sub(SHOWN_STEPS);
        if more > 0 {
            write!(out, "<span class=\"dim\">{more} more, in the timeline</span>")?;
        }
        write!(out, "</td>")?;
        let decided = action.decision.as_ref();
        let policy = decided
            .and_then(|it| it.policy_rule_id.clone().or_else(|| it.policy_ids.first().cloned()));
        let reason = decided.and_then(|it| it.reason.clone());
        cell(out, "Policy", &policy.unwrap_or_default())?;
        cell(out, "Reason", &reason.unwrap_or_default())?;
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>")
}

/// The class of a word of the vocabulary of decisions, approvals and results.
pub(super) fn colour(word: &str) -> &'static str {
    match word {
        "allow" | "allow_with_constraints" | "approved" | "success" => "good",
        "block" | "quarantine" | "rejected" | "expired" | "invalidated" | "failure" | "error" => {
            "bad"
        }
        "require_approval" | "pending" | "redact" | "throttle" | "warn" => "ask",
        "unknown" => "dim",
        _ => "",
    }
}

/// Who was asked, and who answered.
pub(super) fn approvals(out: &mut String, approvals: &[Approval]) -> fmt::Result {
    if approvals.is_empty() {
        return Ok(());
    }
    let columns = [("What", 20), ("Status", 14), ("Asked", 20), ("Answered", 20), ("Words", 26)];
    table(out, "Who was asked, and who answered", &columns)?;
    for approval in approvals {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let what = approval.action.clone().or_else(|| approval.action_key.clone());
        let time = |value: &Option<String>| short_time(value.as_deref().unwrap_or_default());
        let status = approval.approval_status.as_str();
        write!(out, "<tr>")?;
        cell(out, "What", &what.unwrap_or_default())?;
        write!(out, "<td data-name=\"Status\" class=\"{}\">{status}</td>", colour(status))?;
        for (name, who, when) in [
            ("Asked", &approval.requested_by, &approval.requested_at),
            ("Answered", &approval.resolved_by, &approval.resolved_at),
        ] {
            let (who, when) = (text(who), time(when));
            write!(
                out,
                "<td data-name=\"{name}\">{} <time>{}</time></td>",
                Short(&who),
                Short(&when)
            )?;
        }
        cell(out, "Words", &text(&approval.resolved_comment))?;
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>")
}

/// Bodies that are gone, and what is on record about it.
pub(super) fn gone(out: &mut String, entries: &[Brief], acts: &Acts) -> fmt::Result {
    let of = acts.bodiless(entries);
    if of.is_empty() {
        return Ok(());
    }
    table(out, "What is no longer kept", &[("Entries", 40), ("Taken out", 60)])?;
    for (act, (sequences, why)) in of {
        let why = if act.is_some() {
            format!("{why} that bodies of this kind were taken out")
        } else {
            "no entry of the log says so".to_owned()
        };
        write!(out, "<tr>")?;
        cell(out, "Entries", &ranges(&sequences))?;
        cell(out, "Taken out", &why)?;
        writeln!(out, "</tr>")?;
    }
    writeln!(
        out,
        "</tbody>\n</table>\n<p class=\"dim\">Their leaves prove that they were there, when they were received, \
         and the hash of what they said.</p>"
    )
}

/// Keys of the log that handed over.
pub(super) fn keys(out: &mut String, acts: &Acts) -> fmt::Result {
    let handovers = acts.rotations();
    if handovers.is_empty() {
        return Ok(());
    }
    let columns = [("Entry", 10), ("When", 20), ("By", 15), ("Statement of the key before", 55)];
    table(out, "Keys of the log that handed over", &columns)?;
    for (told, statement) in handovers {
        write!(out, "<tr><td data-name=\"Entry\">{}</td>", told.sequence)?;
        cell(out, "When", &short_time(told.at.as_deref().unwrap_or_default()))?;
        cell(out, "By", told.by.as_deref().unwrap_or_default())?;
        writeln!(out, "<td data-name=\"Statement\"><pre>{}</pre></td></tr>", Lines(statement))?;
    }
    writeln!(out, "</tbody>\n</table>")
}
