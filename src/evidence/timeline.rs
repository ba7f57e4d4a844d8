//! One entry in one line of a report: what it is, what it is about, who did it.

use super::sections::colour;
use crate::story::{Document, Record};

/// The line of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// One character.
    pub(super) mark: &'static str,
    /// Class of the style.
    pub(super) class: &'static str,
    /// What it is: `blocked`, `approved`, `tool call`.
    pub(super) headline: String,
    /// What it is about: the tool, the model, the action.
    pub(super) subject: String,
    /// Who did or said it.
    pub(super) who: String,
    /// Whether it stands out.
    pub(super) is_loud: bool,
}

/// The line of an entry.
pub(super) fn line(record: &Record) -> Line {
    let doc = &record.doc;
    let audit = &doc.audit;
    let decision = audit.decision.outcome.as_deref();
    let approval = (audit.kind == "approval").then_some(audit.approval.status.as_deref()).flatten();
    let said = approval.or(decision);
    let kind = audit.kind.replace('_', " ");
    let has_failed = doc.event.outcome.as_deref() == Some("failure") || doc.error.is_some();
    let class = match said {
        Some(word) => colour(word),
        None if has_failed => "bad",
        None => "",
    };
    let headline = match said {
        Some(word) => format!("{kind}: {}", word.replace('_', " ")),
        None if has_failed => format!("{kind} failed"),
        None => kind,
    };
    let mark = match class {
        "good" => "✓",
        "bad" => "✗",
        "ask" => "◆",
        _ => "·",
    };
    let is_loud = said.is_some() || has_failed;
    Line { mark, class, headline, subject: subject(doc), who: who(doc), is_loud }
}

fn first(values: &[&Option<String>]) -> String {
    values.iter().find_map(|value| value.as_ref()).cloned().unwrap_or_default()
}

fn subject(doc: &Document) -> String {
    let (audit, gen_ai) = (&doc.audit, &doc.gen_ai);
    match audit.kind.as_str() {
        "llm_call" => {
            first(&[&gen_ai.response.model, &gen_ai.request.model, &doc.span.name, &doc.message])
        }
        "tool_call" => first(&[&gen_ai.tool.name, &doc.event.action, &doc.span.name, &doc.message]),
        "agent_run" => first(&[&gen_ai.agent.name, &doc.span.name, &doc.message]),
        "workflow_run" => first(&[&audit.workflow.name, &doc.span.name, &doc.message]),
        "decision" | "approval" => first(&[
            &doc.event.action,
            &audit.action.key,
            &gen_ai.tool.name,
            &audit.step.name,
            &audit.step.id,
            &audit.target.id,
            &doc.message,
        ]),
        _ => first(&[&audit.step.name, &doc.message, &doc.span.name, &doc.event.action]),
    }
}

fn who(doc: &Document) -> String {
    let (audit, gen_ai) = (&doc.audit, &doc.gen_ai);
    first(&[
        &audit.approval.resolved_by,
        &audit.actor.id,
        &gen_ai.agent.name,
        &doc.user.name,
        &doc.user.id,
        &doc.service.name,
    ])
}
