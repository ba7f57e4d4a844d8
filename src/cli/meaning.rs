//! What a story means, below its timeline: chains of actions, and what does not fit together.
//!
//! ```text
//! actions
//!   refund.create  require_approval → approved by ops-lead → allow → success
//!
//! 1 finding
//!   ✗ CRITICAL  execution_after_stop
//!     refund.create was executed after it had been stopped.
//!     entries 12, 17
//! ```

use super::display::{Paint, Style, clean, fit, wrap};
use serde::Deserialize;

/// Most findings and actions that are drawn: beyond it `--json` has them.
const MAX_DRAWN: usize = 50;

/// Lines that one message may take.
const MESSAGE_LINES: usize = 4;

/// Actions and findings as the API answers them: a server of a later version may say more.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meaning {
    actions: Vec<Action>,
    findings: Vec<Finding>,
    more_findings: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_field_names, reason = "the names of the API")]
struct Action {
    action: Option<String>,
    action_key: Option<String>,
    tool: Option<String>,
    step_id: Option<String>,
    attempt: usize,
    chain: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_field_names, reason = "the names of the API")]
struct Step {
    step: String,
    outcome: String,
    resolved_by: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Finding {
    code: String,
    severity: String,
    message: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    sequence: u64,
}

impl Meaning {
    /// Adds what a further page says.
    pub(super) fn add(&mut self, mut more: Self) {
        self.actions.append(&mut more.actions);
        self.findings.append(&mut more.findings);
        self.more_findings = self.more_findings.saturating_add(more.more_findings);
    }

    /// The two lists as text; nothing where there is nothing to say.
    pub(super) fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let told = |action: &&Action| action.chain.len() > 1;
        let actions: Vec<&Action> = self.actions.iter().filter(told).collect();
        if !actions.is_empty() {
            push(&mut out, "");
            push(&mut out, &style.paint(Paint::Dim, "actions"));
            for action in actions.iter().take(MAX_DRAWN) {
                push(
                    &mut out,
                    &format!("  {}", fit(&action.line(), style.columns.saturating_sub(2))),
                );
            }
            rest(&mut out, actions.len());
        }
        let count = self.findings.len().saturating_add(self.more_findings);
        if count > 0 {
            push(&mut out, "");
            let words =
                if count == 1 { "1 finding".to_owned() } else { format!("{count} findings") };
            push(&mut out, &style.paint(Paint::Bold, &words));
            for finding in self.findings.iter().take(MAX_DRAWN) {
                finding.draw(style, &mut out);
            }
            rest(&mut out, count);
        }
        out
    }
}

fn rest(out: &mut String, count: usize) {
    if count > MAX_DRAWN {
        push(out, &format!("  and {} more: see --json", count.saturating_sub(MAX_DRAWN)));
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

impl Action {
    fn line(&self) -> String {
        let names = [&self.tool, &self.action_key, &self.action, &self.step_id];
        let name = names.into_iter().flatten().next().map_or_else(String::new, |name| clean(name));
        let again =
            if self.attempt > 1 { format!(" (attempt {})", self.attempt) } else { String::new() };
        let steps = self.chain.iter().map(|step| {
            let outcome = clean(&step.outcome);
            match step.resolved_by.as_deref().filter(|_| outcome != "pending") {
                Some(by) => format!("{outcome} by {}", clean(by)),
                None => outcome,
            }
        });
        format!("{name}{again}  {}", steps.collect::<Vec<_>>().join(" → "))
    }
}

impl Finding {
    fn draw(&self, style: Style, out: &mut String) {
        let (mark, paint) = match self.severity.as_str() {
            "critical" => ('✗', Paint::Bad),
            "warning" => ('!', Paint::Ask),
            _ => ('·', Paint::Dim),
        };
        let head =
            format!("{mark} {}  {}", clean(&self.severity).to_uppercase(), clean(&self.code));
        push(
            out,
            &format!("  {}", style.paint(paint, &fit(&head, style.columns.saturating_sub(2)))),
        );
        for line in wrap(&clean(&self.message), style.columns.saturating_sub(4), MESSAGE_LINES) {
            push(out, &format!("    {line}"));
        }
        let on: Vec<String> = self.entries.iter().map(|entry| entry.sequence.to_string()).collect();
        let words = format!("entries {}", on.join(", "));
        push(
            out,
            &style.paint(
                Paint::Dim,
                &format!("    {}", fit(&words, style.columns.saturating_sub(4))),
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chains_and_findings_stand_below_the_story() {
        let answer = json!({
            "entries": [],
            "actions": [
                {"action": "refund.create", "attempt": 1, "chain": [
                    {"step": "decision", "outcome": "require_approval"},
                    {"step": "approval", "outcome": "rejected", "resolved_by": "alice"},
                    {"step": "approval", "outcome": "approved", "resolved_by": "ops-lead"},
                    {"step": "result", "outcome": "success"}]},
                {"tool": "search", "attempt": 1, "chain": [{"step": "result", "outcome": "unknown"}]},
            ],
            "findings": [{"code": "execution_after_stop", "severity": "critical",
                "message": "pay was executed\u{1b}[2J after it had been stopped.",
                "entries": [{"id": "a", "sequence": 12}, {"id": "b", "sequence": 17}]}],
        });
        let meaning: Meaning = serde_json::from_value(answer).unwrap();
        let text = meaning.text(Style::plain(100));
        assert!(
            text.contains(
                "refund.create  require_approval → rejected by alice → approved by ops-lead → success"
            ),
            "{text}"
        );
        assert!(!text.contains("search"), "one step is no chain: {text}");
        assert!(
            text.contains("✗ CRITICAL  execution_after_stop") && text.contains("entries 12, 17"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(Meaning::default().text(Style::plain(80)), "");
    }
}
