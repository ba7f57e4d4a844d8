//! The audit entry: the one shape that everything becomes.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Entry`], the body as one documented type, and how it is written |
//! | `audit.rs` | `audit.*`: decision, policy, approval |
//! | `context.rs` | `audit.*`: workflow, run, step, job, session, branch, handoff |
//! | `payload.rs` | `audit.*`: payloads, changes, claims, flags, redactions |
//! | `ecs.rs`, `gen_ai.rs` | objects with ECS and OpenTelemetry names |
//! | `part.rs` | the macro that writes an object whose fields are all optional |
//! | `kind.rs` | [`Kind`]: what an entry is a record of |
//! | `outcome.rs` | [`Outcome`]: the decision vocabulary, and the words accepted for it |
//! | `json.rs` | [`Json`]: values that survive the trip (64-bit integers, −0.0, NaN, bytes) |
//! | `time.rs` | nanoseconds since 1970 as RFC 3339 text |
//! | `write.rs` | the JSON of a body |
//!
//! An entry is a **body** and an **envelope**. The body is JSON of what the source said, after
//! protection; it depends on nothing about when or by whom it was received. It is written once,
//! by [`Entry::write`], and those bytes are hashed, stored, exported and shown unchanged. The
//! envelope (id, tenant, sequence, received time, hashes) is fixed and binary and belongs to the
//! ledger; projections splice it in front of the body.
//!
//! Names: ECS where ECS has the field, the OpenTelemetry audit draft's `audit.*` where it has it,
//! ours beside those. `docs/entry.schema.json` is generated from these types.

mod audit;
mod context;
mod ecs;
mod gen_ai;
mod json;
mod kind;
mod outcome;
mod part;
mod payload;
mod time;
mod write;

#[cfg(feature = "server")]
pub(crate) use write::first_special;

pub use audit::*;
pub use context::*;
pub use ecs::*;
pub use gen_ai::*;
pub use json::{Fields, Json};
pub use kind::Kind;
pub use outcome::Outcome;
pub use payload::*;
pub use time::{format_ns, is_plausible_ns, parse_ns};

#[cfg(feature = "server")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Version of the body's layout, in every body as `schema_version`.
pub const SCHEMA_VERSION: u32 = 1;

/// The body of an audit entry.
///
/// Everything but the kind and the time may be absent; absent means that the source did not say.
///
/// ```
/// use spanledger::entry::{Entry, Kind};
/// let entry = Entry { timestamp: "2026-11-21T08:00:00Z".into(), ..Entry::new(Kind::ToolCall) };
/// let mut body = Vec::new();
/// entry.write(&mut body)?;
/// let text = String::from_utf8(body)?;
/// assert!(text.starts_with(r#"{"schema_version":1,"@timestamp":"2026-11-21T08:00:00Z""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(JsonSchema))]
#[cfg_attr(feature = "server", schemars(title = "spanledger audit entry (body)"))]
pub struct Entry<'a> {
    /// Version of this layout.
    pub schema_version: u32,
    /// Start of the span, time of the log record, else its observed time; RFC 3339 in UTC with
    /// nanoseconds. Absent when the source's time is outside 1970 to 2262: the received time of
    /// the envelope then takes its place in projections, and `audit.time` has the raw value.
    #[serde(rename = "@timestamp", skip_serializing_if = "str::is_empty", default)]
    pub timestamp: Cow<'a, str>,
    /// Every form of every trace id that this record carries and a person might search for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub trace_id: Vec<Cow<'a, str>>,
    /// A sentence for people: the span's name or the log's text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<Cow<'a, str>>,
    /// What happened, in ECS terms.
    pub event: EventPart<'a>,
    /// What happened, in audit terms.
    pub audit: Audit<'a>,
    /// The OpenTelemetry trace.
    #[serde(skip_serializing_if = "TracePart::is_empty", default)]
    pub trace: TracePart<'a>,
    /// The span, or the span that a log record belongs to.
    #[serde(skip_serializing_if = "SpanPart::is_empty", default)]
    pub span: SpanPart<'a>,
    /// The log record's severity.
    #[serde(skip_serializing_if = "LogPart::is_empty", default)]
    pub log: LogPart<'a>,
    /// The human.
    #[serde(skip_serializing_if = "UserPart::is_empty", default)]
    pub user: UserPart<'a>,
    /// The program.
    #[serde(skip_serializing_if = "ServicePart::is_empty", default)]
    pub service: ServicePart<'a>,
    /// Model, agent, tool and usage, in OpenTelemetry `GenAI` names.
    #[serde(skip_serializing_if = "GenAi::is_empty", default)]
    pub gen_ai: GenAi<'a>,
    /// What went wrong, in ECS terms.
    #[serde(skip_serializing_if = "ErrorPart::is_empty", default)]
    pub error: ErrorPart<'a>,
    /// Attributes of the record that no mapping took over word for word.
    #[serde(skip_serializing_if = "Fields::is_empty", default)]
    pub attributes: Fields<'a>,
    /// Attributes of the resource.
    #[serde(skip_serializing_if = "Fields::is_empty", default)]
    pub resource: Fields<'a>,
    /// The instrumentation scope.
    #[serde(skip_serializing_if = "ScopePart::is_empty", default)]
    pub scope: ScopePart<'a>,
    /// Events of the span, in the order in which they were sent.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub events: Vec<SpanEvent<'a>>,
    /// Links of the span.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub links: Vec<SpanLink<'a>>,
    /// The body of a log record, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body: Option<Json<'a>>,
}

impl<'a> Entry<'a> {
    /// An entry of that kind with nothing else in it.
    pub fn new(kind: Kind) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            audit: Audit { kind, ..Audit::default() },
            ..Self::default()
        }
    }

    /// Appends the body to `out`: the only place where an entry becomes bytes.
    ///
    /// # Errors
    /// Never for a value of this type; the signature is `serde_json`'s.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        write::write(self, out)
    }

    /// Marks something that a reader of the entry should know, once.
    pub fn flag(&mut self, flag: Flag) {
        if !self.audit.flags.contains(&flag) {
            self.audit.flags.push(flag);
        }
    }

    /// Adds a form of a trace id under which a person might search, once.
    pub fn add_trace_id(&mut self, form: Cow<'a, str>) {
        if !form.is_empty() && !self.trace_id.contains(&form) {
            self.trace_id.push(form);
        }
    }

    /// The JSON Schema of the body, as `docs/entry.schema.json` has it.
    #[cfg(feature = "server")]
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Entry<'static>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_not_written() {
        let mut body = Vec::new();
        Entry::new(Kind::Span).write(&mut body).unwrap();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"schema_version":1,"event":{},"audit":{"kind":"span"}}"#
        );
    }

    #[test]
    fn a_body_reads_back_as_the_entry_that_wrote_it() {
        let mut entry = Entry::new(Kind::Decision);
        entry.add_trace_id("langsmith-run-abc123".into());
        entry.audit.decision.outcome = Some(Outcome::Block);
        entry.attributes.push("n".into(), Json::Int(9_007_199_254_740_993));
        entry.attributes.push("z".into(), Json::Double(-0.0));
        let mut body = Vec::new();
        entry.write(&mut body).unwrap();
        let back: Entry<'_> = serde_json::from_slice(&body).unwrap();
        assert_eq!(back, entry);
    }

    #[cfg(feature = "server")]
    #[test]
    fn the_schema_in_the_documentation_is_the_schema_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/entry.schema.json");
        let now = serde_json::to_string_pretty(&Entry::json_schema()).unwrap() + "\n";
        if std::env::var_os("SPANLEDGER_WRITE_DOCS").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let documented = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            documented == now,
            "run the tests once with SPANLEDGER_WRITE_DOCS=1 and commit {path}"
        );
    }
}
