//! What `trace` and `search` print, as text.

use serde_json::Value;
use spanledger::cli::{Story, Style, heading, line, timeline};

fn refund_story() -> (Vec<String>, Vec<Value>) {
    let answer: Value = serde_json::from_str(include_str!("cli_data/refund_story.json")).unwrap();
    let ids = answer["trace_ids"].as_array().unwrap();
    let ids = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    (ids, answer["entries"].as_array().unwrap().clone())
}

fn drawn(style: Style, truncated: bool) -> String {
    let (trace_ids, entries) = refund_story();
    let asked = "langsmith-run-abc123";
    timeline(&Story { asked, trace_ids: &trace_ids, entries: &entries, truncated }, style)
}

#[test]
fn a_timeline_interleaves_execution_decisions_and_approval() {
    insta::assert_snapshot!(drawn(Style::plain(100), false));
}

#[test]
fn a_narrow_timeline_is_cut_and_never_wraps() {
    let text = drawn(Style::plain(60), true);
    insta::assert_snapshot!(text);
    assert!(text.lines().take(12).all(|line| line.chars().count() <= 100));
}

#[test]
fn colour_changes_nothing_but_colour() {
    let coloured = drawn(Style { colour: true, columns: 100 }, true);
    let mut plain = String::new();
    for (i, part) in coloured.split('\u{1b}').enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    let trimmed: Vec<&str> = plain.lines().map(str::trim_end).collect();
    assert_eq!(trimmed.join("\n") + "\n", drawn(Style::plain(100), true));
    assert_ne!(coloured, plain);
}

#[test]
fn a_source_cannot_send_escape_sequences_to_the_terminal() {
    let text = drawn(Style::plain(200), false);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    assert!(text.contains("mail server did not answer"));
}

#[test]
fn an_empty_story_is_said_to_be_empty() {
    let story = Story { asked: "nothing", trace_ids: &[], entries: &[], truncated: false };
    insta::assert_snapshot!(timeline(&story, Style::plain(80)));
}

#[test]
fn a_table_has_one_line_an_entry() {
    let style = Style::plain(160);
    let (_, entries) = refund_story();
    let lines: Vec<String> = entries.iter().rev().map(|entry| line(entry, style)).collect();
    insta::assert_snapshot!(format!("{}\n{}", heading(style), lines.join("\n")));
}
