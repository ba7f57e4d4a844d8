//! What the schema of the entry cannot know.

use super::Type;
use std::borrow::Cow;

/// A field that the projection adds from the envelope.
pub(super) struct Added {
    pub(super) name: &'static str,
    pub(super) kind: Type,
    pub(super) meaning: &'static str,
}

/// What `store::write_document` splices in. A test compares the two.
pub(super) const ENVELOPE: &[Added] = &[
    Added {
        name: "organization.id",
        kind: Type::Keyword,
        meaning: "The tenant: of the credential, never of the payload.",
    },
    Added {
        name: "event.id",
        kind: Type::Keyword,
        meaning: "Identifier of the entry, 32 hexadecimal digits; also the document's `_id`.",
    },
    Added {
        name: "event.sequence",
        kind: Type::Long,
        meaning: "Position in the ledger named by `audit.ledger.origin`, from 0.",
    },
    Added {
        name: "event.hash",
        kind: Type::Keyword,
        meaning: "Hash of the ledger's leaf, hexadecimal: what a checkpoint covers.",
    },
    Added {
        name: "event.ingested",
        kind: Type::Date,
        meaning: "When spanledger received it, RFC 3339 with nanoseconds.",
    },
    Added { name: "audit.ledger.origin", kind: Type::Keyword, meaning: "Name of the ledger." },
    Added {
        name: "audit.ledger.conflict",
        kind: Type::Boolean,
        meaning: "True when an earlier entry has the same span and other content.",
    },
    Added {
        name: "audit.ledger.unreadable_body",
        kind: Type::Text,
        meaning: "The body as text, where it is not of this version's layout.",
    },
];

/// What `late` gives a document afterwards, or writes beside it. A test compares the two.
pub(super) const LATE: &[Added] = &[
    Added {
        name: LATE_IDS,
        kind: Type::Keyword,
        meaning: "Trace ids of the entry's group that its own record did not carry, given to it \
                  afterwards; found under `trace_id` too.",
    },
    Added {
        name: "audit.correlation.truncated",
        kind: Type::Boolean,
        meaning: "True when the group has more trace ids than a document is given.",
    },
    Added {
        name: "audit.link.kibana",
        kind: Type::Keyword,
        meaning: "Path of the story in Kibana's Discover, behind the address of your Kibana.",
    },
];

/// Where late ids stand.
const LATE_IDS: &str = "audit.correlation.trace_id";

/// The field that the values of another are copied to, so that one query finds both.
pub(super) fn copied_to(path: &str) -> Option<&'static str> {
    if path == LATE_IDS { Some("trace_id") } else { ShortName::copied_from(path) }
}

/// Whether what is added can have several values.
pub(super) fn has_many(path: &str) -> bool {
    path == LATE_IDS
}

/// Types that the schema's own would be wrong for.
const EXCEPTIONS: &[(Type, &[&str])] = &[
    // Prose: people look for words of it, and it has no bound that a keyword could hold.
    (
        Type::Text,
        &[
            "message",
            "audit.decision.reason",
            "audit.approval.comment",
            "audit.step.result",
            "audit.output_safety.reason",
            "audit.handoff.intent",
            "audit.interrupt.reason",
            "audit.interrupt.response",
            "audit.branch.condition",
            "audit.branch.result",
            "audit.payload.text",
            "audit.rejection.reason",
            "span.status_message",
            "error.message",
        ],
    ),
    // Written by `format_ns`, and only where plausible: `date_nanos` holds each of them.
    (Type::Date, &["@timestamp", "event.end", "event.created", "events.@timestamp"]),
    // Nanoseconds as sent: implausible ones go beyond what a long holds.
    (
        Type::Keyword,
        &["audit.time.start", "audit.time.end", "audit.time.observed", "events.raw_time"],
    ),
    // The length that a refused request claims can be anything up to 2^64.
    (Type::Double, &["audit.rejection.bytes"]),
    // Raw bytes: nobody looks for base64.
    (Type::Shown, &["audit.invalid_text.base64"]),
];

/// Names that the Elastic Common Schema has.
/// Source: the `schemas` folder of its repository.
const ECS: &[&str] = &[
    "@timestamp",
    "message",
    "event.action",
    "event.created",
    "event.dataset",
    "event.duration",
    "event.end",
    "event.hash",
    "event.id",
    "event.ingested",
    "event.outcome",
    "event.reason",
    "event.sequence",
    "organization.id",
    "trace.id",
    "span.id",
    "log.level",
    "user.id",
    "user.name",
    "user.email",
    "service.name",
    "service.version",
    "service.environment",
    "error.type",
    "error.message",
    "gen_ai.agent.id",
    "gen_ai.agent.name",
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.tool.call.id",
    "gen_ai.tool.name",
    "gen_ai.tool.type",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
];

pub(super) fn exception(name: &str) -> Option<Type> {
    EXCEPTIONS.iter().find(|(_, names)| names.contains(&name)).map(|(kind, _)| *kind)
}

pub(super) fn is_ecs(name: &str) -> bool {
    ECS.contains(&name)
}

/// Every name in the tables of this file.
#[cfg(test)]
pub(super) fn named() -> impl Iterator<Item = &'static str> {
    let exceptions = EXCEPTIONS.iter().flat_map(|(_, names)| names.iter());
    let short = SHORT_NAMES.iter().flat_map(|short| short.paths.iter());
    exceptions.chain(ECS).chain(short).copied()
}

/// A short name that works in `spanledger search` and in Kibana.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortName {
    /// The name.
    pub name: &'static str,
    /// What it stands for. One path of an id is an alias. Everything else is a field of its own
    /// that the values are copied to, because an alias has one target and keeps its case.
    pub paths: &'static [&'static str],
}

/// The short names. `user` and `service` are objects of ECS and cannot be fields as well.
pub const SHORT_NAMES: &[ShortName] = &[
    ShortName { name: "action", paths: &["event.action"] },
    ShortName { name: "actor", paths: &["audit.actor.id"] },
    ShortName { name: "approval_id", paths: &["audit.approval.id"] },
    ShortName { name: "decision", paths: &["audit.decision.outcome", "audit.decision.raw"] },
    ShortName { name: "decision_id", paths: &["audit.decision.id"] },
    ShortName { name: "job_id", paths: &["audit.job.id"] },
    ShortName { name: "kind", paths: &["audit.kind"] },
    ShortName { name: "model", paths: &["gen_ai.request.model", "gen_ai.response.model"] },
    ShortName {
        name: "policy",
        paths: &["audit.policy.id", "audit.policy.name", "audit.policy.rule_id"],
    },
    ShortName {
        name: "reason",
        paths: &[
            "audit.decision.reason",
            "event.reason",
            "audit.interrupt.reason",
            "audit.output_safety.reason",
            "audit.rejection.reason",
        ],
    },
    ShortName { name: "run_id", paths: &["audit.run.id"] },
    ShortName { name: "session_id", paths: &["audit.session.id"] },
    ShortName { name: "span_id", paths: &["span.id"] },
    ShortName { name: "step_id", paths: &["audit.step.id"] },
    ShortName { name: "tenant_id", paths: &["organization.id"] },
    ShortName { name: "thread_id", paths: &["audit.session.thread_id"] },
    ShortName { name: "tool", paths: &["gen_ai.tool.name"] },
    ShortName { name: "user_id", paths: &["user.id"] },
    ShortName { name: "workflow_id", paths: &["audit.workflow.id"] },
];

impl ShortName {
    /// How it is indexed.
    pub fn kind(&self) -> Type {
        match self.paths {
            [path] if path.ends_with("id") => Type::Alias(path),
            [path, ..] if path.ends_with("reason") => Type::Text,
            _ => Type::Folded,
        }
    }

    /// What it means.
    pub(super) fn meaning(&self) -> Cow<'static, str> {
        let paths: Vec<String> = self.paths.iter().map(|path| format!("`{path}`")).collect();
        let how = match self.kind() {
            Type::Folded => ", in any case",
            Type::Text => ", word by word",
            _ => "",
        };
        format!("Short name for {}{how}.", paths.join(", ")).into()
    }

    /// The short name that the values of a field are copied to.
    fn copied_from(path: &str) -> Option<&'static str> {
        let copies = |short: &&ShortName| !matches!(short.kind(), Type::Alias(_));
        let found = SHORT_NAMES.iter().filter(copies).find(|short| short.paths.contains(&path));
        found.map(|short| short.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::query::{SHORT_NAMES as ASKED, Target};
    use std::collections::BTreeSet;

    #[test]
    fn a_short_name_stands_for_what_it_stands_for_in_search() {
        for short in SHORT_NAMES {
            let (_, targets) = ASKED.iter().find(|(name, _)| *name == short.name).unwrap();
            let fields: BTreeSet<&str> = targets
                .iter()
                .filter_map(|target| match target {
                    Target::Field(field) => Some(field.path()),
                    _ => None,
                })
                .collect();
            // Ids and the tenant have no field of the index; the alias has the one path.
            if matches!(short.kind(), Type::Alias(_)) {
                assert!(fields.is_empty() && targets.len() == 1, "{short:?}");
            } else {
                assert_eq!(fields, short.paths.iter().copied().collect(), "{}", short.name);
            }
        }
    }
}
