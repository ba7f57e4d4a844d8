//! The report of a bundle: one HTML page without scripts and without anything from elsewhere.
//!
//! It is made from the manifest and the entries alone, so that whoever checks a bundle can make it
//! again and compare. Everything that a source sent is text, made harmless twice: characters that
//! direct a reader's eye elsewhere are spelled out, and what HTML would obey is escaped.

use super::acts::Acts;
use super::format::{Brief, Item, Manifest, entry_name, hex};
use super::sections::{actions, approvals, counts, findings, gone, keys};
use super::timeline::line;
use super::verdict::{Findings, Verdict};
use crate::cli::clean;
use crate::entry::format_ns;
use crate::story::{Record, Study};
use std::fmt::{self, Write as _};
use std::io;
use std::ops::Range;

/// Most bytes of a body that are shown; its file has all of it.
const MAX_SHOWN_BYTES: usize = 8 * 1_024;

/// Most characters of a name or a reason that are shown in a line.
const MAX_SHORT_CHARS: usize = 240;

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

/// The same for what stands in a line: cut where it is longer than anybody reads there. The entry has
/// all of it.
pub(super) struct Short<'a>(pub(super) &'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_SHORT_CHARS) {
            None => Text(self.0).fmt(f),
            Some((end, _)) => write!(f, "{}…", Text(self.0.get(..end).unwrap_or_default())),
        }
    }
}

/// Where the bodies of a report come from and where the page goes, piece by piece: a story can be
/// large, and of its bodies one at a time is in memory.
pub(super) trait Desk {
    /// The body of the entry with that place in the story, which stands there in the bundle.
    fn body(&mut self, index: usize, range: &Range<u64>) -> io::Result<Vec<u8>>;

    /// The next piece of the page.
    fn put(&mut self, text: &str) -> io::Result<()>;
}

/// Entries that are in memory, and so is their page.
struct InMemory<'i> {
    items: &'i [Item],
    page: String,
}

impl Desk for InMemory<'_> {
    fn body(&mut self, index: usize, _: &Range<u64>) -> io::Result<Vec<u8>> {
        Ok(self.items.get(index).and_then(|item| item.body.clone()).unwrap_or_default())
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.page.push_str(text);
        Ok(())
    }
}

/// The page of a story that is in memory: its entries in its order, and the entries of the log about
/// itself that explain them.
pub fn report(manifest: &Manifest, items: &[Item], acts: &[Item]) -> String {
    let briefs: Vec<Brief> =
        items.iter().map(|item| item.brief(item.body.as_ref().map(|_| 0..0))).collect();
    let mut desk = InMemory { items, page: String::new() };
    // Memory does not fail to be read or written.
    let _ = write_report(manifest, &briefs, acts, &mut desk);
    desk.page
}

/// Writes the page of a story: its entries in its order, and the entries of the log about itself that
/// explain them.
pub(super) fn write_report(
    manifest: &Manifest,
    entries: &[Brief],
    acts: &[Item],
    desk: &mut dyn Desk,
) -> io::Result<()> {
    let mut records = Vec::with_capacity(entries.len());
    // Of what was pruned nothing is known that a story is told by.
    for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.body.is_some()) {
        records.extend(record(manifest, entry, &body_of(desk, index, entry)?));
    }
    let study = Study::of(records);
    // What is wrong with them is told elsewhere.
    let told = Acts::read(acts, &mut Findings::default());
    let mut piece = String::with_capacity(16 * 1_024);
    // Writing into a text cannot fail.
    let _ = beginning(&mut piece, manifest, entries, &study, &told);
    desk.put(&piece)?;
    for (index, entry) in entries.iter().enumerate() {
        piece.clear();
        let body = body_of(desk, index, entry)?;
        let record = record(manifest, entry, &body);
        let _ = line_of(&mut piece, entry, record.as_ref(), &body);
        desk.put(&piece)?;
    }
    piece.clear();
    let _ = end(&mut piece, manifest);
    desk.put(&piece)
}

/// The body of an entry; nothing when it was pruned.
fn body_of(desk: &mut dyn Desk, index: usize, entry: &Brief) -> io::Result<Vec<u8>> {
    entry.body.as_ref().map_or(Ok(Vec::new()), |range| desk.body(index, range))
}

/// The entry as a story reads it.
fn record(manifest: &Manifest, entry: &Brief, body: &[u8]) -> Option<Record> {
    use crate::store::projection::{Origin, write_document};
    let view = entry.view(&manifest.tenant, body);
    let mut document = Vec::new();
    write_document(&view, Origin { name: &manifest.origin }, &mut document);
    Record::read(&document, view.event_ns())
}

/// Everything before the timeline.
fn beginning(
    out: &mut String,
    manifest: &Manifest,
    entries: &[Brief],
    study: &Study,
    acts: &Acts,
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
    heading(out, manifest, entries)?;
    verdict(out, manifest)?;
    counts(out, entries, study)?;
    findings(out, study)?;
    actions(out, &study.actions)?;
    approvals(out, &study.approvals)?;
    gone(out, entries, acts)?;
    keys(out, acts)?;
    writeln!(
        out,
        "<h2>What happened</h2>\n<p class=\"dim\">Times are UTC.</p>\n<ol class=\"timeline\">"
    )
}

/// Everything behind it.
fn end(out: &mut String, manifest: &Manifest) -> fmt::Result {
    writeln!(out, "</ol>")?;
    footer(out, manifest)?;
    out.write_str("</body>\n</html>\n")
}

fn heading(out: &mut String, manifest: &Manifest, entries: &[Brief]) -> fmt::Result {
    writeln!(out, "<header>\n<p class=\"kicker\">Evidence of an agent run</p>")?;
    writeln!(out, "<h1>{}</h1>", Text(&manifest.asked))?;
    writeln!(out, "<dl>")?;
    let mut row = |name: &str, value: &str, mono: bool| {
        let class = if mono { " class=\"mono\"" } else { "" };
        writeln!(out, "<dt>{name}</dt><dd{class}>{}</dd>", Text(value))
    };
    row("Tenant", &manifest.tenant, false)?;
    let made_at = short_time(&manifest.made_at);
    row("Made", &format!("{made_at} UTC by {}", manifest.made_by), false)?;
    row("Log", &manifest.origin, true)?;
    match &manifest.checkpoint {
        Some(tree) => {
            let covered = entries.iter().filter(|entry| entry.is_proved).count();
            let all = entries.len();
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

/// An entry in the timeline.
fn line_of(out: &mut String, entry: &Brief, record: Option<&Record>, body: &[u8]) -> fmt::Result {
    let sequence = entry.sequence;
    let Some(record) = record.filter(|_| entry.body.is_some()) else {
        return writeln!(
            out,
            "<li id=\"entry-{sequence}\"><time>{}</time><span class=\"mark dim\">–</span><div><span \
             class=\"dim\">{} {sequence}, received then. Leaf <code>{}</code> proves that it was there</span>\
             </div></li>",
            Text(&short_time(&format_ns(entry.leaf.received_ns))),
            if entry.body.is_none() { "no longer kept: entry" } else { "cannot be shown: entry" },
            hex(&entry.leaf_hash)
        );
    };
    let line = line(record);
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
        Short(&line.headline),
        Short(&line.subject),
        Short(&line.who),
    )?;
    if let Some(reason) = &record.doc.audit.decision.reason {
        writeln!(out, "<p>{}</p>", Short(reason))?;
    }
    folded(out, entry, body)?;
    writeln!(out, "</div></li>")
}

/// A time as a person reads it: to the millisecond; the entry has all of it.
pub(super) fn short_time(time: &str) -> String {
    match (time.get(..10), time.get(11..23), time.get(23..)) {
        (Some(day), Some(clock), Some(rest)) if rest.ends_with('Z') => format!("{day} {clock}"),
        _ => time.to_owned(),
    }
}

/// The entry itself, folded away.
fn folded(out: &mut String, entry: &Brief, body: &[u8]) -> fmt::Result {
    let sequence = entry.sequence;
    let shown = String::from_utf8_lossy(body.get(..MAX_SHOWN_BYTES).unwrap_or(body));
    let name = entry_name(sequence);
    let rest = if body.len() > MAX_SHOWN_BYTES { " … (the rest is in that file)" } else { "" };
    writeln!(
        out,
        "<details><summary>entry {sequence}, <code>{name}</code></summary><p class=\"dim\">leaf \
         <code>{}</code></p><pre>{}{rest}</pre></details>",
        hex(&entry.leaf_hash),
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
