//! `trace`: everything that belongs to one id, as a timeline.

use super::args::{TraceArgs, TraceOrder};
use super::client::Source;
use super::display::{Style, clean};
use super::exit::{CommandError, Exit};
use super::meaning::Meaning;
use super::search::unchanged;
use super::timeline::{Story, timeline};
use serde::Deserialize;
use serde_json::Value;
use std::io::Write;

/// Most entries that are drawn: beyond it nobody reads, and `--json` pages.
const MAX_DRAWN: usize = 10_000;

/// What is read of the API's answer: a server of a later version may say more.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StoryPage {
    #[serde(default)]
    pub(super) trace_ids: Vec<String>,
    pub(super) entries: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    pub(super) truncated: bool,
    #[serde(flatten)]
    meaning: Meaning,
}

/// Writes the story of an id.
///
/// # Errors
/// [`CommandError`]; [`CommandError::UnknownId`] when nothing carries it.
pub async fn trace(
    args: &TraceArgs,
    source: &Source,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    if args.json {
        let asked = Asked { id: &args.id, order: args.order, tenant: args.tenant.as_deref() };
        let limit = args.limit.to_string();
        let bytes = page(source, &asked, &limit, args.cursor.as_deref()).await?;
        let answer: StoryPage = serde_json::from_slice(&bytes).map_err(CommandError::Answer)?;
        unchanged(&bytes, out)?;
        // A script learns by the exit code what a person reads.
        let unknown = answer.entries.is_empty() && args.cursor.is_none();
        return if unknown {
            Err(CommandError::UnknownId { id: clean(&args.id) })
        } else {
            Ok(Exit::Fine)
        };
    }
    let asked = Asked { id: &args.id, order: args.order, tenant: args.tenant.as_deref() };
    let story = story(source, &asked).await?;
    if story.entries.is_empty() {
        return Err(CommandError::UnknownId { id: clean(&args.id) });
    }
    let StoryPage { trace_ids, entries, truncated, meaning, .. } = &story;
    let story = Story { asked: &args.id, trace_ids, entries, truncated: *truncated };
    write!(out, "{}", timeline(&story, style))?;
    write!(out, "{}", meaning.text(style))?;
    out.flush()?;
    Ok(Exit::Fine)
}

/// Whose story is asked for, and how.
pub(super) struct Asked<'a> {
    /// Any form of any id.
    pub(super) id: &'a str,
    /// Order of the entries.
    pub(super) order: TraceOrder,
    /// Whose evidence, for who reads every tenant's.
    pub(super) tenant: Option<&'a str>,
}

/// The whole story, page by page, up to [`MAX_DRAWN`] entries.
pub(super) async fn story(source: &Source, asked: &Asked<'_>) -> Result<StoryPage, CommandError> {
    let mut story = StoryPage::default();
    loop {
        let cursor = story.next_cursor.take();
        let bytes = page(source, asked, "1000", cursor.as_deref()).await?;
        let mut more: StoryPage = serde_json::from_slice(&bytes).map_err(CommandError::Answer)?;
        for id in more.trace_ids {
            if !story.trace_ids.contains(&id) {
                story.trace_ids.push(id);
            }
        }
        let empty = more.entries.is_empty();
        story.entries.append(&mut more.entries);
        story.truncated |= more.truncated;
        story.meaning.add(more.meaning);
        story.next_cursor = more.next_cursor;
        if story.next_cursor.is_none() || empty {
            return Ok(story);
        }
        if story.entries.len() >= MAX_DRAWN {
            story.truncated = true;
            return Ok(story);
        }
    }
}

async fn page(
    source: &Source,
    asked: &Asked<'_>,
    limit: &str,
    cursor: Option<&str>,
) -> Result<Vec<u8>, CommandError> {
    let mut query = vec![("order", asked.order.as_str()), ("limit", limit)];
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    query.extend(asked.tenant.map(|tenant| ("tenant", tenant)));
    Ok(source.get(&["api", "v1", "traces", asked.id], &query).await?)
}
