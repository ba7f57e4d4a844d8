//! What an entry says in a few words: its mark, its headline, what it was about.

use super::display::Paint;
use super::doc::Doc;
use crate::entry::Outcome;

/// The words that stand at the front of an entry's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headline {
    /// One character.
    pub(super) mark: char,
    /// `BLOCKED`, `APPROVED`, `tool call`, ….
    pub(super) words: String,
    /// Its colour.
    pub(super) paint: Paint,
    /// Whether it must stand out: decisions, approvals, interrupts and errors do.
    pub(super) stands_out: bool,
}

/// What was counted over a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Something ran.
    Execution,
    /// A policy said something.
    Decision(Option<Outcome>),
    /// A person was asked, or answered.
    Approval,
}

/// What the entry counts as. An approval may carry an outcome and a step a decision: the kind of
/// the record comes first, then what it says.
pub(super) fn class(doc: Doc<'_>) -> Class {
    let outcome = doc.raw("audit.decision.outcome").and_then(Outcome::from_word);
    match doc.kind() {
        "approval" => Class::Approval,
        "decision" | "workflow_step_gate" => Class::Decision(outcome),
        _ if outcome.is_some() => Class::Decision(outcome),
        _ => Class::Execution,
    }
}

/// The headline of an entry.
pub(super) fn headline(doc: Doc<'_>) -> Headline {
    match class(doc) {
        Class::Approval => approval(doc),
        Class::Decision(Some(outcome)) => decision(outcome),
        Class::Decision(None) | Class::Execution => execution(doc),
    }
}

fn loud(mark: char, words: impl Into<String>, paint: Paint) -> Headline {
    Headline { mark, words: words.into(), paint, stands_out: true }
}

fn decision(outcome: Outcome) -> Headline {
    match outcome {
        Outcome::Allow => loud('✓', "ALLOWED", Paint::Good),
        Outcome::AllowWithConstraints => loud('✓', "ALLOWED WITHIN LIMITS", Paint::Good),
        Outcome::Block => loud('✗', "BLOCKED", Paint::Bad),
        Outcome::RequireApproval => loud('◆', "APPROVAL REQUIRED", Paint::Ask),
        Outcome::Redact => loud('▒', "REDACTED", Paint::Ask),
        Outcome::Quarantine => loud('✗', "QUARANTINED", Paint::Bad),
        Outcome::Throttle => loud('!', "THROTTLED", Paint::Ask),
        Outcome::Warn => loud('!', "WARNED", Paint::Ask),
        Outcome::Error => loud('!', "DECISION FAILED", Paint::Bad),
    }
}

fn approval(doc: Doc<'_>) -> Headline {
    let status = doc
        .first(&["audit.approval.status", "audit.approval.resolution", "audit.decision.outcome"])
        .unwrap_or_default();
    let (mark, word, paint) = match status.to_ascii_lowercase().as_str() {
        "approved" | "approve" | "granted" | "allow" => ('◆', "APPROVED", Paint::Good),
        "rejected" | "reject" | "denied" | "block" => ('✗', "REJECTED", Paint::Bad),
        "expired" => ('✗', "APPROVAL EXPIRED", Paint::Bad),
        "invalidated" => ('✗', "APPROVAL INVALIDATED", Paint::Bad),
        _ => ('◆', "APPROVAL PENDING", Paint::Ask),
    };
    match doc.text("audit.approval.resolved_by") {
        Some(person) => loud(mark, format!("{word} by {person}"), paint),
        None => loud(mark, word, paint),
    }
}

fn execution(doc: Doc<'_>) -> Headline {
    if doc.kind() == "interrupt" {
        return loud('◆', "INTERRUPT", Paint::Ask);
    }
    let (mark, words) = match doc.kind() {
        "llm_call" => ('○', "model"),
        "tool_call" => ('▸', "tool"),
        "retrieval" => ('▸', "retrieval"),
        "agent_run" => ('●', "agent"),
        "workflow_run" => ('●', "workflow"),
        "step" => ('·', "step"),
        "branch" => ('◇', "branch"),
        "handoff" => ('→', "handoff"),
        "policy_change" => ('§', "policy change"),
        "change" => ('±', "change"),
        "decision" => ('?', "decision"),
        "span" => ('·', "span"),
        "log" => ('·', "log"),
        other => ('·', other),
    };
    let failed = doc.raw("event.outcome") == Some("failure") || doc.value("error").is_some();
    if failed {
        return loud('✗', format!("{} failed", words.replace('_', " ")), Paint::Bad);
    }
    Headline { mark, words: words.replace('_', " "), paint: Paint::Plain, stands_out: false }
}

/// What the entry is about: the tool, the model, the action, the agent.
pub(super) fn subject(doc: Doc<'_>) -> String {
    let paths: &[&str] = match (class(doc), doc.kind()) {
        (_, "llm_call") => &[
            "gen_ai.response.model",
            "gen_ai.request.model",
            "gen_ai.provider.name",
            "span.name",
            "message",
        ],
        (_, "tool_call") => &["gen_ai.tool.name", "event.action", "span.name", "message"],
        (Class::Decision(_) | Class::Approval, _) => &[
            "event.action",
            "audit.action.key",
            "gen_ai.tool.name",
            "audit.step.name",
            "audit.step.id",
            "audit.target.id",
            "message",
        ],
        (_, "agent_run") => &["gen_ai.agent.name", "span.name", "message"],
        (_, "workflow_run") => &["audit.workflow.name", "span.name", "message"],
        (_, "step" | "branch" | "interrupt") => {
            &["audit.step.name", "audit.step.id", "span.name", "message"]
        }
        _ => &["message", "span.name", "event.action"],
    };
    doc.first(paths).unwrap_or_default()
}

/// Who did it, or who decided: the actor, else the agent, the user, the service.
pub(super) fn who(doc: Doc<'_>) -> String {
    doc.first(&[
        "audit.approval.resolved_by",
        "audit.actor.id",
        "gen_ai.agent.name",
        "user.name",
        "user.id",
        "audit.decision.source",
        "service.name",
    ])
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_outcome_stands_out_with_words_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for outcome in Outcome::ALL {
            let doc = json!({"audit": {"kind": "decision", "decision": {"outcome": outcome}}});
            let headline = headline(Doc::new(&doc));
            assert!(headline.stands_out && seen.insert(headline.words), "{outcome:?}");
        }
    }

    #[test]
    fn an_approval_is_an_approval_also_when_it_carries_an_outcome() {
        let doc = json!({"audit": {
            "kind": "approval",
            "decision": {"outcome": "allow"},
            "approval": {"status": "approved", "resolved_by": "ops-lead"}
        }});
        assert_eq!(class(Doc::new(&doc)), Class::Approval);
        assert_eq!(headline(Doc::new(&doc)).words, "APPROVED by ops-lead");
    }

    #[test]
    fn a_call_that_failed_stands_out() {
        let doc = json!({"audit": {"kind": "tool_call"}, "event": {"outcome": "failure"}});
        let headline = headline(Doc::new(&doc));
        assert_eq!((headline.words.as_str(), headline.stands_out), ("tool failed", true));
    }

    #[test]
    fn a_kind_of_a_later_version_is_shown_by_its_name() {
        let doc = json!({"audit": {"kind": "time_travel"}, "message": "back"});
        assert_eq!(headline(Doc::new(&doc)).words, "time travel");
        assert_eq!(subject(Doc::new(&doc)), "back");
    }
}
