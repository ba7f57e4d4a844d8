//! Names of fields → what is looked at.

use super::super::fields::{Class, Field};
use super::super::table::{Coverage, coverage};
use crate::correlate::Namespace;

/// What a name stands for. A name can stand for several; one that answers is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A field that the index knows.
    Field(Field),
    /// Ids of a namespace.
    Id(Namespace),
    /// The entry's own id.
    EntryId,
    /// Time of the event, or the received time where the source's was not plausible.
    Time,
    /// When it was received.
    Ingested,
    /// Position in the ledger.
    Sequence,
    /// Whether the ledger marked it as a second record of the same span.
    Conflict,
    /// The tenant of the credential. `tenant` and `tenant_id` stand also for what a payload claims,
    /// [`CLAIMED_TENANT`], within the tenant whose entries are asked for.
    Tenant,
    /// Whatever stands at a dotted path of the body, in its attributes or its resource.
    Path {
        /// The path.
        path: String,
        /// How texts there are compared.
        class: Class,
        /// Whether they are ids, and which.
        ids: Option<Namespace>,
        /// Whether their words are among the searched text.
        searched: bool,
        /// Whether the path is none of the entry's own, so that it may be the bare name of an
        /// attribute.
        bare: bool,
    },
}

use Field as F;
use Namespace as N;
use Target as T;

/// Where a body says what its payload claims about its tenant.
pub const CLAIMED_TENANT: &str = "audit.claims.tenant_id";

/// Every short name and what it stands for.
pub const SHORT_NAMES: &[(&str, &[Target])] = &[
    ("@timestamp", &[T::Time]),
    ("action", &[T::Field(F::Action)]),
    ("actor", &[T::Id(N::Actor)]),
    ("agent", &[T::Field(F::AgentName), T::Field(F::AgentId)]),
    ("approval_id", &[T::Id(N::Approval)]),
    ("approval_status", &[T::Field(F::ApprovalStatus)]),
    ("conversation", &[T::Id(N::Conversation)]),
    ("conversation_id", &[T::Id(N::Conversation)]),
    ("decision", &[T::Field(F::Outcome), T::Field(F::OutcomeRaw)]),
    ("decision_id", &[T::Id(N::Decision)]),
    ("event_type", &[T::Field(F::Kind)]),
    ("id", &[T::EntryId, T::Id(N::Record)]),
    ("job_id", &[T::Id(N::Job)]),
    ("kind", &[T::Field(F::Kind)]),
    ("message", &[T::Field(F::Message)]),
    ("model", &[T::Field(F::RequestModel), T::Field(F::ResponseModel)]),
    (
        "name",
        &[
            T::Field(F::SpanName),
            T::Field(F::WorkflowName),
            T::Field(F::RunName),
            T::Field(F::StepName),
        ],
    ),
    ("outcome", &[T::Field(F::Outcome), T::Field(F::EventOutcome)]),
    ("policy", &[T::Field(F::PolicyId), T::Field(F::PolicyName), T::Field(F::PolicyRule)]),
    ("provider", &[T::Field(F::Provider)]),
    (
        "reason",
        &[
            T::Field(F::Reason),
            T::Field(F::EventReason),
            T::Field(F::InterruptReason),
            T::Field(F::SafetyReason),
            T::Field(F::RejectionReason),
        ],
    ),
    ("request_type", &[T::Field(F::RequestType)]),
    ("resolved_by", &[T::Field(F::ResolvedBy)]),
    ("rule", &[T::Field(F::PolicyRule), T::Field(F::SafetyRule)]),
    ("run_id", &[T::Id(N::Run)]),
    ("sequence", &[T::Sequence]),
    ("service", &[T::Field(F::Service)]),
    ("session", &[T::Id(N::Session)]),
    ("session_id", &[T::Id(N::Session)]),
    ("span_id", &[T::Id(N::Span)]),
    (
        "status",
        &[
            T::Field(F::SpanStatus),
            T::Field(F::WorkflowStatus),
            T::Field(F::ApprovalStatus),
            T::Field(F::JobState),
        ],
    ),
    ("step_id", &[T::Id(N::Step)]),
    ("tenant", &[T::Tenant]),
    ("tenant_id", &[T::Tenant]),
    ("thread", &[T::Id(N::Thread)]),
    ("thread_id", &[T::Id(N::Thread)]),
    ("time", &[T::Time]),
    ("tool", &[T::Field(F::Tool)]),
    ("trace_id", &[T::Id(N::Trace)]),
    ("user", &[T::Id(N::User), T::Field(F::UserName)]),
    ("user_id", &[T::Id(N::User)]),
    ("workflow", &[T::Id(N::Workflow), T::Field(F::WorkflowName)]),
    ("workflow_id", &[T::Id(N::Workflow)]),
];

/// Whether a name can be asked for: a short name, or a path.
pub(super) fn is_known(name: &str) -> bool {
    name.contains('.') || SHORT_NAMES.iter().any(|(short, _)| *short == name)
}

/// The short name that looks most like `name`.
pub(super) fn nearest(name: &str) -> &'static str {
    let likeness = |short: &str| strsim::damerau_levenshtein(short, name);
    SHORT_NAMES.iter().map(|(short, _)| *short).min_by_key(|short| likeness(short)).unwrap_or("id")
}

/// What a name stands for.
pub(super) fn targets(name: &str) -> Vec<Target> {
    if let Some((_, short)) = SHORT_NAMES.iter().find(|(short, _)| *short == name) {
        let claimed = short.contains(&T::Tenant).then(|| targets(CLAIMED_TENANT));
        return short.iter().cloned().chain(claimed.into_iter().flatten()).collect();
    }
    match name {
        // What projections splice in from the envelope.
        "event.id" => return vec![T::EntryId],
        "event.sequence" => return vec![T::Sequence],
        "event.ingested" => return vec![T::Ingested],
        "organization.id" => return vec![T::Tenant],
        "audit.ledger.conflict" => return vec![T::Conflict],
        _ => {}
    }
    let path = |class, ids: Option<Namespace>, searched: bool| {
        let bare = ids.is_none() && !searched;
        vec![T::Path { path: name.to_owned(), class, ids, searched, bare }]
    };
    match coverage(name) {
        Coverage::Field(field) => vec![T::Field(field)],
        Coverage::Id(namespace) => path(Class::Keyword, Some(namespace), false),
        Coverage::Text => path(text_class(name), None, true),
        // Perhaps the bare name of an attribute, perhaps one of the resource, which is not searched.
        Coverage::None => path(Class::Keyword, None, false),
    }
}

/// Attributes are compared as a whole, as Elasticsearch's flattened field does; prose by words.
fn text_class(path: &str) -> Class {
    let prose = ["body", "audit.payload.text", "audit.branch", "audit.change", "audit.policy"];
    if prose.iter().any(|root| path.starts_with(root)) { Class::Text } else { Class::Keyword }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_sorted_and_unique() {
        assert!(SHORT_NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_tenant_is_the_credentials_or_the_claimed_one_and_each_can_be_named_alone() {
        for name in ["tenant", "tenant_id"] {
            assert!(
                matches!(&targets(name)[..], [Target::Tenant, Target::Path { path, .. }] if path == CLAIMED_TENANT)
            );
        }
        assert_eq!(targets("organization.id"), [Target::Tenant]);
        assert!(matches!(&targets(CLAIMED_TENANT)[..], [Target::Path { .. }]));
    }

    #[test]
    fn a_path_of_a_known_field_is_that_field() {
        assert_eq!(targets("audit.policy.rule_id"), [Target::Field(Field::PolicyRule)]);
        assert!(matches!(
            &targets("audit.run.id")[..],
            [Target::Path { ids: Some(Namespace::Run), .. }]
        ));
        assert!(matches!(&targets("attributes.x.y")[..], [Target::Path { searched: true, .. }]));
        assert!(matches!(&targets("resource.x")[..], [Target::Path { searched: false, .. }]));
    }
}
