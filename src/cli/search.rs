//! `search`: entries that match a query, one line each.

use super::args::SearchArgs;
use super::client::Source;
use super::display::Style;
use super::exit::{CommandError, Exit};
use super::table::{heading, line};
use serde::Deserialize;
use serde_json::Value;
use std::io::Write;

/// What is read of the API's answer: a server of a later version may say more.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) entries: Vec<Value>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
}

/// Writes a page of entries that match.
///
/// # Errors
/// [`CommandError`].
pub async fn search(
    args: &SearchArgs,
    source: &Source,
    style: Style,
    out: &mut impl Write,
) -> Result<Exit, CommandError> {
    let limit = args.limit.to_string();
    let mut query =
        vec![("q", args.query.as_str()), ("limit", &limit), ("order", args.order.as_str())];
    query.extend(args.cursor.as_deref().map(|cursor| ("cursor", cursor)));
    query.extend(args.tenant.as_deref().map(|tenant| ("tenant", tenant)));
    let bytes = source.get(&["api", "v1", "entries"], &query).await?;
    if args.json {
        return unchanged(&bytes, out);
    }
    let page: Page = serde_json::from_slice(&bytes).map_err(CommandError::Answer)?;
    write!(out, "{}", table(&page, style))?;
    out.flush()?;
    Ok(Exit::Fine)
}

/// The API's answer as it is, with a line break behind it.
pub(super) fn unchanged(bytes: &[u8], out: &mut impl Write) -> Result<Exit, CommandError> {
    out.write_all(bytes)?;
    if !bytes.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn table(page: &Page, style: Style) -> String {
    if page.entries.is_empty() {
        return "nothing found\n".to_owned();
    }
    let mut lines = vec![heading(style)];
    lines.extend(page.entries.iter().map(|entry| line(entry, style)));
    let shown = page.entries.len();
    lines.push(match &page.next_cursor {
        Some(cursor) => {
            format!("{shown} shown, more: --cursor {}", super::display::clean(cursor))
        }
        None => format!("{shown} shown, that is all"),
    });
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(entries: usize, next_cursor: Option<&str>) -> Page {
        let entry = json!({"audit": {"kind": "log"}, "message": "m"});
        Page { entries: vec![entry; entries], next_cursor: next_cursor.map(str::to_owned) }
    }

    #[test]
    fn the_last_line_says_whether_there_is_more_and_how_to_get_it() {
        let text = table(&page(2, Some("abc")), Style::plain(100));
        assert!(text.ends_with("2 shown, more: --cursor abc\n"), "{text}");
        let text = table(&page(1, None), Style::plain(100));
        assert!(text.ends_with("1 shown, that is all\n"), "{text}");
        assert_eq!(table(&page(0, None), Style::plain(100)), "nothing found\n");
    }
}
