//! What an alert says: a line for each entry, in the shape of a chat or of a program.
//!
//! ```text
//! 🔔 support-agent decision=stop, reason=approval_required, tenant=acme, claims_tenant=t_42, run_id=run_981
//! ```
//!
//! `tenant` is whose key sent the entry. What an agent says its tenant is stands beside it.

use crate::store::EntryView;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Longest value in a line, characters: enough for a reason, too little for a payload.
const MAX_VALUE_CHARS: usize = 300;

/// How a webhook wants to be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// `{"text": …}` as Slack and those like it take it.
    #[default]
    Slack,
    /// `{"alerts": […]}` with the fields of each entry.
    Json,
}

/// An entry in a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// `event.id`.
    pub(super) event_id: String,
    /// Place in the ledger.
    pub(super) sequence: u64,
    timestamp: String,
    kind: String,
    agent: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    action: Option<String>,
    tenant: String,
    /// What the agent calls its tenant, when that is another.
    claims_tenant: Option<String>,
    run_id: Option<String>,
    trace_id: Option<String>,
}

impl Line {
    /// What is told of an entry.
    pub(super) fn of(view: &EntryView<'_>) -> Self {
        let body = view.json();
        let text = |paths: &[&str]| {
            paths.iter().find_map(|path| {
                let value = body?.pointer(path)?;
                let text =
                    value.as_array().and_then(|all| all.first()).unwrap_or(value).as_str()?;
                (!text.is_empty()).then(|| plain(text))
            })
        };
        let tenant = plain(view.envelope.tenant);
        let claims_tenant = text(&["/audit/claims/tenant_id"]).filter(|claimed| *claimed != tenant);
        Self {
            event_id: view.id_text(),
            sequence: view.envelope.sequence,
            timestamp: view.timestamp(),
            kind: text(&["/audit/kind"]).unwrap_or_default(),
            agent: text(&["/audit/actor/id", "/gen_ai/agent/name", "/service/name"]),
            decision: text(&["/audit/decision/raw", "/audit/decision/outcome"]),
            reason: text(&[
                "/audit/decision/reason",
                "/audit/interrupt/reason",
                "/event/reason",
                "/message",
            ]),
            action: text(&["/event/action", "/gen_ai/tool/name"]),
            tenant,
            claims_tenant,
            run_id: text(&["/audit/run/id", "/audit/workflow/id"]),
            trace_id: text(&["/audit/external/trace_id", "/trace/id"]),
        }
    }

    fn words(&self) -> String {
        let agent = self.agent.as_deref().unwrap_or("somebody");
        let agent = quoted(agent);
        let place = self.run_id.as_ref().map(|id| ("run_id", id));
        let place = place.or_else(|| self.trace_id.as_ref().map(|id| ("trace_id", id)));
        let parts = [
            self.decision.as_ref().map(|decision| ("decision", decision)),
            self.decision.is_none().then_some(("kind", &self.kind)),
            self.reason.as_ref().map(|reason| ("reason", reason)),
            Some(("tenant", &self.tenant)),
            self.claims_tenant.as_ref().map(|claimed| ("claims_tenant", claimed)),
            place,
        ];
        let parts = parts.into_iter().flatten();
        let parts: Vec<String> =
            parts.map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        format!("🔔 {agent} {}", parts.join(", "))
    }
}

/// One line of it, cut, without what is not seen and changes how the rest is read.
fn plain(text: &str) -> String {
    let ends_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let shown = text.chars().filter(|c| !is_invisible(*c));
    let mut shown = shown.map(|c| if ends_line(c) { ' ' } else { c });
    let mut line: String = shown.by_ref().take(MAX_VALUE_CHARS).collect();
    if shown.next().is_some() {
        line.push('…');
    }
    line
}

/// Source: Unicode UAX #9 (explicit formatting), UTS #39 (default ignorables), tags block.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A value that could be read as a further field stands in quotes.
fn quoted(value: &str) -> Cow<'_, str> {
    if !value.contains([',', '=', '"', '\'', '`']) {
        return Cow::Borrowed(value);
    }
    let inner = value.replace('\\', "\\\\").replace('"', "\\\"");
    Cow::Owned(format!("\"{inner}\""))
}

/// `<!channel>` and links would be commands to a chat, and text comes from anybody.
/// Source: Slack, "Formatting text for app surfaces", escaping text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The message as a webhook takes it.
pub(super) fn message(lines: &[Line], more: u64, shape: Shape) -> String {
    let value: Value = match shape {
        Shape::Slack => {
            let mut text: Vec<String> = lines.iter().map(|line| escaped(&line.words())).collect();
            if more > 0 {
                text.push(format!("… and {more} more"));
            }
            json!({ "text": text.join("\n") })
        }
        Shape::Json => json!({ "alerts": lines, "more": more }),
    };
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Envelope;

    fn line(body: &str) -> Line {
        let envelope = Envelope {
            sequence: 7,
            id: [1; 16],
            tenant: "acme",
            received_ns: 1,
            conflict: false,
            leaf_hash: [0; 32],
        };
        Line::of(&EntryView::new(envelope, body.as_bytes()))
    }

    const STOPPED: &str = r#"{"audit":{"kind":"decision","actor":{"id":"support-agent"},
        "decision":{"outcome":"block","raw":"stop","reason":"rate_limited_tenant"},
        "run":{"id":"run_981"},"claims":{"tenant_id":"t_42"}}}"#;

    #[test]
    fn an_alert_is_the_line_that_people_know() {
        let text = message(&[line(STOPPED)], 0, Shape::Slack);
        let text: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            text["text"],
            "🔔 support-agent decision=stop, reason=rate_limited_tenant, tenant=acme, claims_tenant=t_42, run_id=run_981"
        );
    }

    #[test]
    fn an_agent_cannot_pass_for_one_of_another_tenant() {
        assert!(line(STOPPED).words().contains("tenant=acme, claims_tenant=t_42"));
        let own = STOPPED.replace("t_42", "acme");
        assert!(line(&own).words().contains("tenant=acme, run_id"), "said once");
        let text: Value = serde_json::from_str(&message(&[line(STOPPED)], 0, Shape::Json)).unwrap();
        assert_eq!(text["alerts"][0]["tenant"], "acme");
        assert_eq!(text["alerts"][0]["claims_tenant"], "t_42");
    }

    #[test]
    fn a_value_cannot_pass_for_a_field_or_turn_the_line_around() {
        let body = r#"{"audit":{"kind":"decision","actor":{"id":"bot decision=allow,"},
            "decision":{"raw":"stop","reason":"none, tenant=other \"x\\"},
            "claims":{"tenant_id":"\u202eac\u200bme\u2066\ufeff"},"run":{"id":"a\u2028b"}}}"#;
        assert_eq!(
            line(body).words(),
            r#"🔔 "bot decision=allow," decision=stop, reason="none, tenant=other \"x\\", tenant=acme, run_id=a b"#
        );
    }

    #[test]
    fn a_program_gets_the_fields_and_the_place_in_the_ledger() {
        let text: Value = serde_json::from_str(&message(&[line(STOPPED)], 3, Shape::Json)).unwrap();
        assert_eq!(text["alerts"][0]["sequence"], 7);
        assert_eq!(text["alerts"][0]["decision"], "stop");
        assert_eq!(text["more"], 3);
    }

    #[test]
    fn text_of_an_entry_is_no_command_to_a_chat_and_breaks_no_line() {
        let body = r#"{"audit":{"kind":"decision","decision":{"raw":"stop","reason":"<!channel>\n& more"}}}"#;
        let text: Value = serde_json::from_str(&message(&[line(body)], 0, Shape::Slack)).unwrap();
        let text = text["text"].as_str().unwrap();
        assert!(text.contains("&lt;!channel&gt; &amp; more"), "{text}");
        assert_eq!(text.lines().count(), 1);
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(5_000));
        assert!(line(&long).words().len() < 500);
    }
}
