//! Which fields make a span an audit entry, and what they are called in it.

/// The target whose spans and events are all captured, and in which the prefix may be left out.
pub const TARGET: &str = "audit";

/// Names that begin so belong to spanledger or to a convention that it converts, and stay as they
/// are.
const FAMILIES: &[&str] = &[
    "spanledger.",
    "audit.",
    "gen_ai.",
    "openinference.",
    "llm.",
    "langsmith.",
    "langfuse.",
    "traceloop.",
    "mcp.",
    "spectra.",
];

/// Names without a prefix that are ours under any target, and whether one alone makes its span an
/// audit entry.
const BARE: &[(&str, &str, bool)] = &[
    ("trace_id", EXTERNAL_TRACE_ID, true),
    ("external_trace_id", EXTERNAL_TRACE_ID, true),
    ("decision", "spanledger.decision.outcome", true),
    ("decision_id", "spanledger.decision.id", true),
    ("approval_id", "spanledger.approval.id", true),
    ("approved_by", "spanledger.approval.resolved_by", true),
    ("tool_name", "spanledger.tool_name", true),
    ("tool_call_id", "gen_ai.tool.call.id", true),
    ("run_id", "spanledger.run_id", false),
    ("run_name", "spanledger.run_name", false),
    ("workflow_id", "spanledger.workflow_id", false),
    ("workflow_name", "spanledger.workflow_name", false),
    ("step_id", "spanledger.step_id", false),
    ("step_name", "spanledger.step_name", false),
    ("job_id", "spanledger.job_id", false),
    ("job_hash", "spanledger.job_hash", false),
    ("session_id", "spanledger.session_id", false),
    ("thread_id", "spanledger.thread_id", false),
    ("tenant", "spanledger.tenant_id", false),
    ("tenant_id", "spanledger.tenant_id", false),
    ("org_id", "spanledger.org_id", false),
    ("client_id", "spanledger.client_id", false),
    ("user_id", "spanledger.user_id", false),
    ("user_email", "spanledger.user_email", false),
    ("agent_id", "spanledger.agent_id", false),
    ("agent_name", "spanledger.agent_name", false),
    ("policy_id", "spanledger.policy.id", false),
    ("rule_id", "spanledger.policy.rule_id", false),
];

/// Names without a prefix that are too common to be ours unless the target says so.
const IN_TARGET: &[(&str, &str)] = &[
    ("reason", "spanledger.decision.reason"),
    ("phase", "spanledger.decision.phase"),
    ("confidence", "spanledger.decision.confidence"),
    ("policy", "spanledger.policy.id"),
    ("policy_version", "spanledger.policy.version"),
    ("policy_snapshot", "spanledger.policy.snapshot"),
    ("outcome", "spanledger.decision.outcome"),
    ("comment", "spanledger.approval.comment"),
];

/// Names and beginnings of names that have the prefix `spanledger.` in the target `audit`.
const PREFIXED: &[&str] = &[
    "action",
    "action_key",
    "actor",
    "agent",
    "agent_version",
    "args",
    "args_hash",
    "arguments",
    "changes",
    "context_ptr",
    "external.trace_id",
    "input",
    "job_state",
    "kind",
    "model",
    "output",
    "prompt",
    "provider",
    "request_type",
    "response",
    "result",
    "result_ptr",
    "scope",
    "source",
    "step_type",
    "tool",
    "tool_result",
    "tool_type",
    "total_steps",
    "workflow_status",
];
const PREFIXED_GROUPS: &[&str] = &[
    "actor.",
    "approval.",
    "branch.",
    "change.",
    "decision.",
    "handoff.",
    "interrupt.",
    "output_safety.",
    "policy.",
    "target.",
];

/// The orchestrator's own id of a run, as it wrote it.
pub(super) const EXTERNAL_TRACE_ID: &str = "spanledger.external.trace_id";

/// What a span hands down to everything below it, each in its slot. Nearest wins.
pub(super) const INHERITED: &[&str] = &[
    EXTERNAL_TRACE_ID,
    "spanledger.run_id",
    "spanledger.run_name",
    "spanledger.workflow_id",
    "spanledger.workflow_name",
    "spanledger.step_id",
    "spanledger.job_id",
    "spanledger.session_id",
    "spanledger.thread_id",
    "spanledger.tenant_id",
    "spanledger.org_id",
    "spanledger.client_id",
    "spanledger.user_id",
    "spanledger.user_email",
    "spanledger.agent_id",
    "spanledger.agent_name",
    "gen_ai.agent.id",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "session.id",
    "user.id",
];

/// The slot in which a key is handed down.
pub(super) fn slot(key: &str) -> Option<usize> {
    INHERITED.iter().position(|name| *name == key)
}

/// What a field is called in the entry.
///
/// ```
/// use spanledger::layer::key;
/// assert_eq!(key("trace_id", "my_agent"), "spanledger.external.trace_id");
/// assert_eq!(key("reason", "audit"), "spanledger.decision.reason");
/// assert_eq!(key("reason", "my_agent"), "reason");
/// assert_eq!(key("gen_ai.request.model", "my_agent"), "gen_ai.request.model");
/// ```
pub fn key(field: &str, target: &str) -> String {
    if let Some((_, key, _)) = BARE.iter().find(|(bare, ..)| *bare == field) {
        return (*key).to_owned();
    }
    if !is_audit(target) {
        return field.to_owned();
    }
    if let Some((_, key)) = IN_TARGET.iter().find(|(bare, _)| *bare == field) {
        return (*key).to_owned();
    }
    let ours =
        PREFIXED.contains(&field) || PREFIXED_GROUPS.iter().any(|group| field.starts_with(group));
    if ours { format!("spanledger.{field}") } else { field.to_owned() }
}

/// Whether one field is enough to make its span or event an audit entry.
pub(super) fn audits(field: &str) -> bool {
    FAMILIES.iter().any(|family| field.starts_with(family))
        || BARE.iter().any(|(bare, _, alone)| *alone && *bare == field)
}

/// Whether all of a target is captured.
pub(super) fn is_audit(target: &str) -> bool {
    target == TARGET || target.strip_prefix(TARGET).is_some_and(|rest| rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_may_be_left_out_in_the_target_audit_only() {
        assert_eq!(key("decision.reason", "audit"), "spanledger.decision.reason");
        assert_eq!(key("decision.reason", "audit::gate"), "spanledger.decision.reason");
        assert_eq!(key("decision.reason", "auditor"), "decision.reason");
        assert_eq!(key("decision", "anything"), "spanledger.decision.outcome");
        assert_eq!(key("amount", "audit"), "amount");
    }

    #[test]
    fn a_field_of_ours_or_of_a_family_audits_and_a_common_word_does_not() {
        assert!(audits("trace_id") && audits("gen_ai.request.model") && audits("decision"));
        assert!(!audits("user_id") && !audits("reason") && !audits("message"));
    }

    #[test]
    fn what_is_handed_down_has_a_name_that_a_field_can_get() {
        for (_, key, _) in BARE {
            assert_eq!(super::key(key, "any"), *key, "a full name stays as it is");
        }
        assert!(INHERITED.len() <= 32, "slots are bits of a u32");
    }
}
