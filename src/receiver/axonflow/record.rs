//! A call as a neutral record: what was said, under names that say who said it. What the names
//! mean stands in `config/mappings/axonflow_api.yaml`.
//!
//! ```text
//! axonflow.request.NAME     a member of the request as it was sent
//! axonflow.answer.NAME      a member of the upstream's answer as it came
//! axonflow.upstream.answer.NAME   the same of an answer that is no success: it decides nothing
//! axonflow.cut.NAME         digest and length of what was too large for an entry
//! axonflow.workflow.NAME    what is known of the workflow from before
//! axonflow.NAME             who sent it, what became of it
//! ```

use super::{Call, Known, MAX_ID_CHARS, Sender};
use crate::intake::{Draft, Intake, IntakeError};
use crate::span::{Attribute, LogRecord, Record, Resource, Scope, Sink as _, Value};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Name of the scope of these records, by which the mapping knows them.
const SCOPE: &str = "axonflow.api";

/// Members that are credentials: never recorded. Who they stand for is in `axonflow.user.*`.
const SECRET: [&str; 1] = ["user_token"];

/// Members that are structures of the API: each of their members is an attribute, so that payload
/// among them can be told from the rest.
const STRUCTURES: [&str; 3] = ["tool_context", "retry_context", "token_usage"];

/// Members that are kept of what is too large for an entry: ids and the words of a decision.
const ESSENTIAL: [&str; 17] = [
    "workflow_id",
    "workflow_name",
    "step_id",
    "step_name",
    "step_type",
    "decision_id",
    "decision",
    "verdict",
    "new_decision",
    "approved",
    "approved_by",
    "status",
    "context_id",
    "client_id",
    "trace_id",
    "user_id",
    "tool_name",
];

/// A JSON object.
pub type Object = Map<String, Json>;

/// Who answered a call.
#[derive(Debug, Clone, Copy)]
pub enum Answered<'a> {
    /// Nobody decided anything: it was recorded here.
    Here,
    /// The upstream.
    Upstream {
        /// HTTP status.
        status: u16,
        /// What it said.
        body: &'a Object,
    },
    /// The upstream was asked and no answer that could be used came.
    Nobody {
        /// Class of the failure: `upstream_timeout`, ….
        kind: &'static str,
        /// In words.
        why: &'a str,
    },
}

/// A call to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What was done.
    pub call: &'a Call,
    /// When, nanoseconds since 1970.
    pub at_ns: u64,
    /// Id of the record: what the client is told as `audit_id`.
    pub id: &'a str,
    /// By whom.
    pub sender: &'a Sender,
    /// What is known of the workflow.
    pub workflow: Option<&'a Known>,
    /// What an earlier entry calls the step.
    pub step_name: Option<&'a str>,
    /// Steps that were executed in all, where the call ends a workflow.
    pub total_steps: Option<u64>,
    /// What the client said.
    pub request: &'a Object,
    /// What it was answered.
    pub answered: Answered<'a>,
    /// What of it was left out.
    pub cut: Option<&'a Cut>,
}

/// What was left out of a record because no entry would hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Of the request's body as it was sent.
    pub request: Digest,
    /// Of the answer's body as it came.
    pub answer: Digest,
}

/// What a text is known by when it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Length, bytes.
    pub bytes: u64,
}

impl Digest {
    /// The digest of a text.
    pub fn of(text: &[u8]) -> Self {
        let mut sha256 = String::with_capacity(64);
        for byte in Sha256::digest(text) {
            // Writing to a string cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Self { sha256, bytes: text.len() as u64 }
    }
}

/// The members that say what was asked and decided, where each is short: what is kept of an
/// object that is too large for an entry.
pub fn essence(object: &Object) -> Object {
    let is_short = |value: &Json| match value {
        Json::String(text) => text.chars().nth(MAX_ID_CHARS).is_none(),
        Json::Bool(_) | Json::Number(_) => true,
        _ => false,
    };
    let kept = |name: &str| {
        let value = object.get(name).filter(|value| is_short(value))?;
        Some((name.to_owned(), value.clone()))
    };
    ESSENTIAL.into_iter().filter_map(kept).collect()
}

/// An upper bound for the values in JSON, counted before any of them is read.
pub fn elements(json: &[u8]) -> usize {
    crate::receiver::decision_logs::value::elements(json)
}

/// Converts a call. It is on record when [`commit`] returns.
pub fn draft(intake: &Intake, report: &Report<'_>) -> Draft {
    let mut draft = intake.draft(&report.sender.tenants);
    draft.resource(&Resource::default());
    draft.scope(&Scope { name: SCOPE.into(), ..Scope::default() });
    draft.record(Record::Log(&log_record(report)));
    draft
}

/// Makes a call durable. When it returns `Ok`, the answer may be released.
///
/// # Errors
/// [`IntakeError`]; then it is not on record.
pub async fn commit(intake: &Intake, draft: Draft) -> Result<(), IntakeError> {
    let accepted = intake.commit(draft).await?;
    match accepted.why {
        None => Ok(()),
        Some(why) => Err(IntakeError::TooLarge { reason: format!("{why}; send less at once") }),
    }
}

fn log_record<'a>(report: &Report<'a>) -> LogRecord<'a> {
    let mut attributes = Attributes(Vec::new());
    context(report, &mut attributes);
    attributes.members("axonflow.request", report.request);
    match report.answered {
        Answered::Here => {}
        Answered::Upstream { status, body } => {
            attributes.add("axonflow.upstream.status", Value::Int(status.into()));
            // What a refusal says decides nothing, whatever its members are called.
            let is_success = (200..300).contains(&status);
            let prefix = if is_success { "axonflow.answer" } else { "axonflow.upstream.answer" };
            attributes.members(prefix, body);
        }
        Answered::Nobody { kind, why } => {
            attributes.text("axonflow.upstream.error_type", Some(kind));
            attributes.text("axonflow.upstream.error", Some(why));
            attributes.text("axonflow.upstream.result", Some("error"));
        }
    }
    let step = report.request.get("step_name").and_then(Json::as_str).or(report.step_name);
    let workflow = report.workflow.and_then(|known| known.name.as_deref());
    LogRecord {
        time_ns: report.at_ns,
        observed_ns: report.at_ns,
        event_name: report.call.operation.request_type().into(),
        body: Some(Value::Text(report.call.sentence(workflow, step).into())),
        attributes: attributes.0,
        ..LogRecord::default()
    }
}

/// What stands on every entry: the workflow, the client and the user.
fn context<'a>(report: &Report<'a>, attributes: &mut Attributes<'a>) {
    let (call, sender) = (report.call, report.sender);
    attributes.text("axonflow.audit_id", Some(report.id));
    attributes.text("axonflow.request_type", Some(call.operation.request_type()));
    let known = report.workflow;
    let id = known.map(|known| known.id.as_str()).or(call.workflow.as_deref());
    attributes.text("axonflow.workflow.id", id);
    attributes.text("axonflow.step.id", call.step.as_deref());
    attributes.text("axonflow.step.name", report.step_name);
    attributes.text("axonflow.checkpoint.id", call.checkpoint.as_deref());
    if let Some(known) = known {
        attributes.text("axonflow.workflow.name", known.name.as_deref());
        attributes.text("axonflow.workflow.source", known.source.as_deref());
        attributes.text("axonflow.workflow.trace_id", known.trace_id.as_deref());
    }
    // A key may look like a secret and be masked; its digest tells whether two are the same.
    if let Some(key) = report.request.get("idempotency_key").and_then(Json::as_str) {
        let hash = Digest::of(key.as_bytes()).sha256;
        attributes.add("axonflow.idempotency_hash", Value::Text(hash.into()));
    }
    if let Some(cut) = report.cut {
        for (name, digest) in [("request", &cut.request), ("answer", &cut.answer)] {
            let hash = Value::Text(digest.sha256.as_str().into());
            attributes.add(format!("axonflow.cut.{name}_sha256"), hash);
            let bytes = i64::try_from(digest.bytes).unwrap_or(i64::MAX);
            attributes.add(format!("axonflow.cut.{name}_bytes"), Value::Int(bytes));
        }
    }
    if let Some(steps) = report.total_steps {
        attributes.add("axonflow.workflow.total_steps", Value::Int(steps.cast_signed()));
    }
    let kept = |of: fn(&Known) -> &Option<String>| known.and_then(|known| of(known).as_deref());
    let client = sender.client_id.as_deref().or_else(|| kept(|known| &known.client_id));
    attributes.text("axonflow.client_id", client);
    // A user of the call itself goes before the one who began the workflow, as a whole: the
    // address of one person must not stand beside the id of another.
    let (id, email) = if sender.user == super::User::default() {
        (kept(|known| &known.user_id), kept(|known| &known.user_email))
    } else {
        (sender.user.id.as_deref(), sender.user.email.as_deref())
    };
    attributes.text("axonflow.user.id", id);
    attributes.text("axonflow.user.email", email);
    attributes.text("axonflow.client_library", sender.library.as_deref());
}

/// Attributes of a record that is being made.
struct Attributes<'a>(Vec<Attribute<'a>>);

impl<'a> Attributes<'a> {
    fn add(&mut self, key: impl Into<String>, value: Value<'a>) {
        self.0.push(Attribute { key: key.into().into(), value });
    }

    fn text(&mut self, key: &'static str, text: Option<&'a str>) {
        if let Some(text) = text {
            self.add(key, Value::Text(text.into()));
        }
    }

    fn members(&mut self, prefix: &str, object: &'a Object) {
        for (name, member) in object {
            match member {
                _ if SECRET.contains(&name.as_str()) => {}
                Json::Object(inner) if STRUCTURES.contains(&name.as_str()) => {
                    self.members(&format!("{prefix}.{name}"), inner);
                }
                // What is not said is absent: clients send null for it.
                Json::Null => {}
                member => self.add(format!("{prefix}.{name}"), value(member)),
            }
        }
    }
}

/// A JSON value as the neutral value that it is.
fn value(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Empty,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(int) => Value::Int(int),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.as_str().into()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(members) => Value::Map(
            members.iter().map(|(key, it)| Attribute::new(key.as_str(), value(it))).collect(),
        ),
    }
}
