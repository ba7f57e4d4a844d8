//! The report of a bundle: one HTML page without scripts and without anything from elsewhere.
//!
//! It is made from the manifest and the entries alone, so that whoever checks a bundle can make it
//! again and compare. Everything that a source sent is text, made harmless twice: characters that
//! direct a reader's eye elsewhere are spelled out, and what HTML would obey is escaped.

use super::format::{Item, Manifest, entry_name};
use super::timeline::line;
use super::verdict::Verdict;
use crate::cli::clean;
use crate::story::{Action, Approval, Record, Severity, Study};
use std::fmt::{self, Write as _};

/// Most bytes of a body that are shown; its file has all of it.
const MAX_SHOWN_BYTES: usize = 8 * 1_024;

/// Style of the page.
const STYLE: &str = include_str!("report.css");

/// Nothing is fetched and nothing runs, whatever an entry says.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Text as it stands in HTML: in an element, or in an attribute with double quotes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        clean(self.0).chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// Makes the page. The entries come in the order of the story.
pub fn report(manifest: &Manifest, items: &[Item]) -> String {
    let documents: Vec<(Record, &Item)> =
        items.iter().filter_map(|item| record(manifest, item)).collect();
    let study = Study::of(documents.iter().map(|(record, _)| record.clone()).collect());
    let mut page = String::with_capacity(16 * 1_024);
    // Writing into a text cannot fail.
    let _ = write_page(&mut page, manifest, items, &documents, &study);
    page
}

/// The entry as a story reads it.
fn record<'i>(manifest: &Manifest, item: &'i Item) -> Option<(Record, &'i Item)> {
    use crate::store::projection::{Origin, write_document};
    let view = item.view(&manifest.tenant);
    let mut document = Vec::new();
    write_document(&view, Origin { name: &manifest.origin }, &mut document);
    Some((Record::read(&document, view.event_ns())?, item))
}

fn write_page(
    out: &mut String,
    manifest: &Manifest,
    items: &[Item],
    documents: &[(Record, &Item)],
    study: &Study,
) -> fmt::Result {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>Evidence: {}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n",
        Text(&manifest.asked)
    )?;
    heading(out, manifest, items)?;
    verdict(out, manifest)?;
    counts(out, items, study)?;
    findings(out, study)?;
    actions(out, &study.actions)?;
    approvals(out, &study.approvals)?;
    timeline(out, documents)?;
    footer(out, manifest)?;
    out.write_str("</body>\n</html>\n")
}

fn heading(out: &mut String, manifest: &Manifest, items: &[Item]) -> fmt::Result {
    writeln!(out, "<header>\n<p class=\"kicker\">Evidence of an agent run</p>")?;
    writeln!(out, "<h1>{}</h1>", Text(&manifest.asked))?;
    writeln!(out, "<dl>")?;
    let mut row = |name: &str, value: &str, mono: bool| {
        let class = if mono { " class=\"mono\"" } else { "" };
        writeln!(out, "<dt>{name}</dt><dd{class}>{}</dd>", Text(value))
    };
    row("Tenant", &manifest.tenant, false)?;
    row("Made", &format!("{} by {}", manifest.made_at, manifest.made_by), false)?;
    row("Log", &manifest.origin, true)?;
    match &manifest.checkpoint {
        Some(tree) => {
            let covered = items.iter().filter(|item| item.proof.inclusion.is_some()).count();
            let all = items.len();
            row("Checkpoint", &format!("tree of {} entries, root {}", tree.size, tree.root), true)?;
            row("Proved", &format!("{covered} of {all} entries are in that tree"), false)?;
        }
        None => row("Checkpoint", "none was signed when this bundle was made", false)?,
    }
    if !manifest.trace_ids.is_empty() {
        row("Trace ids", &manifest.trace_ids.join(", "), true)?;
    }
    row("Mappings", &manifest.mapping_versions.join(", "), true)?;
    writeln!(out, "</dl>\n</header>")
}

fn verdict(out: &mut String, manifest: &Manifest) -> fmt::Result {
    let (class, word, meaning) = match manifest.verdict {
        Some(Verdict::Ok) => (
            "good",
            "OK",
            "Every entry below is in the signed tree, and each body is the one that was recorded.",
        ),
        Some(Verdict::Partial) | None => {
            ("ask", "PARTIAL", "Nothing is known to be changed, and not everything could be shown:")
        }
        Some(Verdict::Compromised) => {
            ("bad", "COMPROMISED", "Something is not as it was recorded:")
        }
    };
    writeln!(
        out,
        "<section class=\"verdict {class}\">\n<strong>Verdict when this was made: {word}</strong>"
    )?;
    writeln!(out, "<p>{meaning}</p>")?;
    let told: Vec<_> = manifest.findings.iter().filter(|it| it.weight > Verdict::Ok).collect();
    if !told.is_empty() {
        writeln!(out, "<ul>")?;
        for finding in told {
            writeln!(out, "<li>{}</li>", Text(&finding.to_string()))?;
        }
        writeln!(out, "</ul>")?;
    }
    writeln!(
        out,
        "<p class=\"dim\">This page proves nothing by itself. INSTRUCTIONS.txt says how to check the bundle \
         that it came in, also without the program that made it.</p>\n</section>"
    )
}

fn counts(out: &mut String, items: &[Item], study: &Study) -> fmt::Result {
    let pruned = items.iter().filter(|item| item.proof.pruned).count();
    let open = study.findings.iter().filter(|it| it.severity != Severity::Note).count();
    let all = [
        ("entries", items.len()),
        ("actions", study.actions.len()),
        ("approvals", study.approvals.len()),
        ("warnings", open),
        ("pruned", pruned),
    ];
    writeln!(out, "<ul class=\"counts\">")?;
    for (name, count) in all.into_iter().filter(|(name, count)| *count > 0 || *name != "pruned") {
        writeln!(out, "<li><b>{count}</b>{name}</li>")?;
    }
    writeln!(out, "</ul>")
}

fn findings(out: &mut String, study: &Study) -> fmt::Result {
    if study.findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>What does not fit together</h2>")?;
    for finding in &study.findings {
        let class = match finding.severity {
            Severity::Critical => "bad",
            Severity::Warning => "ask",
            Severity::Note => "dim",
        };
        let entries: Vec<_> = finding.entries.iter().map(|it| it.sequence.to_string()).collect();
        writeln!(
            out,
            "<div class=\"finding {class}\"><strong>{}</strong> <code>{}</code><p>{}</p>\
             <p class=\"dim\">entries {}</p></div>",
            finding.severity.as_str(),
            finding.code.as_str(),
            Text(&finding.message),
            entries.join(", ")
        )?;
    }
    if study.more_findings > 0 {
        writeln!(out, "<p class=\"dim\">and {} more</p>", study.more_findings)?;
    }
    Ok(())
}

fn actions(out: &mut String, actions: &[Action]) -> fmt::Result {
    let told: Vec<_> =
        actions.iter().filter(|it| it.decision.is_some() || it.chain.len() > 1).collect();
    if told.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>What was decided</h2>\n<table>\n<thead><tr><th>Action</th><th>Decision and outcome</th>\
         <th>Policy</th><th>Reason</th></tr></thead>\n<tbody>"
    )?;
    for action in told {
        let names = [&action.action, &action.tool, &action.action_key, &action.step_id];
        let name = names.into_iter().flatten().next().map_or("", String::as_str);
        write!(out, "<tr><td>{}</td><td class=\"chain\">", Text(name))?;
        for step in &action.chain {
            let by = step.resolved_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let class = colour(&step.outcome);
            write!(out, "<span class=\"{class}\">{}{}</span>", Text(&step.outcome), Text(&by))?;
        }
        let decided = action.decision.as_ref();
        let policy = decided
            .and_then(|it| it.policy_rule_id.clone().or_else(|| it.policy_ids.first().cloned()));
        let reason = decided.and_then(|it| it.reason.clone());
        let (policy, reason) = (policy.unwrap_or_default(), reason.unwrap_or_default());
        writeln!(out, "</td><td>{}</td><td>{}</td></tr>", Text(&policy), Text(&reason))?;
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
        _ => "",
    }
}

fn approvals(out: &mut String, approvals: &[Approval]) -> fmt::Result {
    if approvals.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>Who was asked, and who answered</h2>\n<table>\n<thead><tr><th>What</th><th>Status</th>\
         <th>Asked</th><th>Answered</th><th>Words</th></tr></thead>\n<tbody>"
    )?;
    for approval in approvals {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let what = approval.action.clone().or_else(|| approval.action_key.clone());
        let time = |value: &Option<String>| short_time(value.as_deref().unwrap_or_default());
        let asked = [text(&approval.requested_by), time(&approval.requested_at)].join(" ");
        let answered = [text(&approval.resolved_by), time(&approval.resolved_at)].join(" ");
        let status = approval.approval_status.as_str();
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"{}\">{status}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Text(&what.unwrap_or_default()),
            colour(status),
            Text(asked.trim()),
            Text(answered.trim()),
            Text(&text(&approval.resolved_comment)),
        )?;
    }
    writeln!(out, "</tbody>\n</table>")
}

fn timeline(out: &mut String, documents: &[(Record, &Item)]) -> fmt::Result {
    writeln!(
        out,
        "<h2>What happened</h2>\n<p class=\"dim\">Times are UTC.</p>\n<ol class=\"timeline\">"
    )?;
    for (record, item) in documents {
        let line = line(record);
        let sequence = item.proof.sequence;
        let time = short_time(record.doc.timestamp.as_deref().unwrap_or_default());
        let loud = if line.is_loud { " loud" } else { "" };
        writeln!(
            out,
            "<li id=\"entry-{sequence}\"><time>{}</time><span class=\"mark {}\">{}</span><div>\
             <span class=\"{}{loud}\">{}</span> {} <span class=\"dim\">{}</span>",
            Text(&time),
            line.class,
            line.mark,
            line.class,
            Text(&line.headline),
            Text(&line.subject),
            Text(&line.who),
        )?;
        if let Some(reason) = &record.doc.audit.decision.reason {
            writeln!(out, "<p>{}</p>", Text(reason))?;
        }
        entry(out, item)?;
        writeln!(out, "</div></li>")?;
    }
    writeln!(out, "</ol>")
}

/// A time as a person reads it: to the millisecond; the entry has all of it.
fn short_time(time: &str) -> String {
    match (time.get(..10), time.get(11..23), time.get(23..)) {
        (Some(day), Some(clock), Some(rest)) if rest.ends_with('Z') => format!("{day} {clock}"),
        _ => time.to_owned(),
    }
}

/// The entry itself, folded away.
fn entry(out: &mut String, item: &Item) -> fmt::Result {
    let sequence = item.proof.sequence;
    let Some(body) = &item.body else {
        return writeln!(
            out,
            "<p class=\"dim\">entry {sequence}: the bundle has no body of it; it says that it was pruned. Leaf \
             <code>{}</code> proves that it was there</p>",
            Text(&item.proof.leaf_hash)
        );
    };
    let shown = String::from_utf8_lossy(body.get(..MAX_SHOWN_BYTES).unwrap_or(body));
    let name = entry_name(sequence);
    let rest = if body.len() > MAX_SHOWN_BYTES { " … (the rest is in that file)" } else { "" };
    writeln!(
        out,
        "<details><summary>entry {sequence}, <code>{name}</code></summary><p class=\"dim\">leaf \
         <code>{}</code></p><pre>{}{rest}</pre></details>",
        Text(&item.proof.leaf_hash),
        Text(&shown)
    )
}

fn footer(out: &mut String, manifest: &Manifest) -> fmt::Result {
    writeln!(out, "<footer>")?;
    if manifest.truncated {
        writeln!(out, "<p>The story has more entries than this bundle.</p>")?;
    }
    if !manifest.elsewhere.is_empty() {
        let count = manifest.elsewhere.len();
        writeln!(
            out,
            "<p>{count} entries of the story are in another ledger, which has their proofs.</p>"
        )?;
    }
    writeln!(
        out,
        "<p>A bundle proves what is in it. Whether everything that belongs to the story is in it is what the \
         server said; other entries can be asked for by their own ids.</p>\n</footer>"
    )
}
