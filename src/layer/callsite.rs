//! What is known of a call site before anything happens there: worked out once, looked up for each
//! span and event in a few instructions.

use super::names;
use super::protobuf::{self, Value, key_field};
use crate::protect::{AttributeProtector, FieldRule};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{Level, Metadata};

/// Entries of the cache of each thread. A program has some hundreds of call sites; those that share
/// an entry take turns.
const CACHED: usize = 256;

/// One span or event macro, as one layer sees it.
#[derive(Debug)]
pub(super) struct Callsite {
    pub(super) name: &'static str,
    pub(super) fields: Vec<FieldInfo>,
    /// Encoded attributes that every record of it has: target, level, place in the source.
    pub(super) span_attributes: Vec<u8>,
    /// The same for a log record, where the level has a field of its own.
    pub(super) log_attributes: Vec<u8>,
    /// Whether it declares anything that is handed down.
    pub(super) hands_down: bool,
    /// Whether it declares anything that is neither an attribute nor handed down.
    pub(super) has_roles: bool,
    /// OTLP's severity number and text.
    pub(super) severity: (i32, &'static str),
}

/// One field of a call site.
#[derive(Debug)]
pub(super) struct FieldInfo {
    pub(super) key: String,
    /// Encoded once: see [`key_field`].
    pub(super) encoded: Vec<u8>,
    pub(super) role: Role,
    /// What its name says about its value.
    pub(super) rule: Option<FieldRule>,
}

/// What a field is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An attribute.
    Attribute,
    /// An attribute that children get too, in that slot of [`names::INHERITED`].
    Inherited(u8),
    /// `message` of an event: the body of the log record.
    Message,
    /// `otel.name`: the span's name.
    Name,
    /// `otel.kind`: the span's kind.
    Kind,
    /// `otel.status_code`.
    StatusCode,
    /// `otel.status_description`.
    StatusMessage,
    /// `traceparent`: the trace and the parent come from another process.
    TraceParent,
}

/// Decides which call sites are captured.
pub(super) type Chooser = dyn Fn(&Metadata<'_>) -> bool + Send + Sync;

/// The call sites of one layer.
pub(super) struct Callsites {
    /// Which layer, so that threads that serve several keep them apart.
    layer: u64,
    known: Mutex<HashMap<usize, Option<&'static Callsite>>>,
    also: Option<Arc<Chooser>>,
    protector: Arc<AttributeProtector>,
}

#[derive(Clone, Copy)]
struct Cached {
    layer: u64,
    /// Address of the metadata, which is static: the same address is the same call site.
    metadata: usize,
    callsite: Option<&'static Callsite>,
}

impl Cached {
    const NONE: Self = Self { layer: 0, metadata: 0, callsite: None };
}

thread_local! {
    static CACHE: [Cell<Cached>; CACHED] =
        const { [const { Cell::new(Cached::NONE) }; CACHED] };
}

/// Metadata is at least 64 bytes long, so the bits below say nothing.
#[inline]
fn place(address: usize) -> usize {
    ((address >> 6) ^ (address >> 14)) % CACHED
}

impl Callsites {
    pub(super) fn new(
        layer: u64,
        also: Option<Arc<Chooser>>,
        protector: Arc<AttributeProtector>,
    ) -> Self {
        Self { layer, known: Mutex::default(), also, protector }
    }

    /// The call site, if it is captured. Every span and event of the process comes by here, so what
    /// is rare is elsewhere.
    #[inline]
    pub(super) fn get(&self, metadata: &'static Metadata<'static>) -> Option<&'static Callsite> {
        let address = std::ptr::from_ref(metadata).addr();
        let known = CACHE.try_with(|cache| {
            let cached = cache.get(place(address)).map_or(Cached::NONE, Cell::get);
            (cached.metadata == address && cached.layer == self.layer).then_some(cached.callsite)
        });
        match known {
            Ok(Some(callsite)) => callsite,
            _ => self.remember(metadata, address),
        }
    }

    #[cold]
    fn remember(
        &self,
        metadata: &'static Metadata<'static>,
        address: usize,
    ) -> Option<&'static Callsite> {
        let callsite = self.look_up(metadata, address);
        let cached = Cached { layer: self.layer, metadata: address, callsite };
        let _ = CACHE.try_with(|cache| {
            if let Some(cell) = cache.get(place(address)) {
                cell.set(cached);
            }
        });
        callsite
    }

    fn look_up(
        &self,
        metadata: &'static Metadata<'static>,
        address: usize,
    ) -> Option<&'static Callsite> {
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied();
        if let Some(callsite) = known {
            return callsite;
        }
        // Outside the lock: the chooser is somebody else's code. Two threads may both make one;
        // the first stays.
        let made = self.captures(metadata).then(|| self.describe(metadata));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Call sites are static, so what is known of each is kept for ever: a few hundred bytes for
        // each that is captured.
        *known
            .entry(address)
            .or_insert_with(|| made.map(|callsite| &*Box::leak(Box::new(callsite))))
    }

    fn captures(&self, metadata: &Metadata<'_>) -> bool {
        // What spanledger itself says about itself is no evidence of the agent.
        if metadata.target() == "spanledger" || metadata.target().starts_with("spanledger::") {
            return false;
        }
        names::is_audit(metadata.target())
            || metadata.fields().iter().any(|field| names::audits(field.name()))
            || self.also.as_ref().is_some_and(|also| also(metadata))
    }

    fn describe(&self, metadata: &'static Metadata<'static>) -> Callsite {
        let target = metadata.target();
        let is_event = metadata.is_event();
        let fields: Vec<_> = metadata
            .fields()
            .iter()
            .map(|field| {
                let key = names::key(field.name(), target);
                let role = role(field.name(), &key, is_event);
                let by_name = self.protector.rule(&key);
                FieldInfo { encoded: key_field(&key), key, role, rule: by_name }
            })
            .collect();
        let common = |number| {
            let mut out = Vec::new();
            let mut put = |key: &str, value| {
                protobuf::attribute(number, &key_field(key), value, &mut out);
            };
            put("tracing.target", Value::Text(target));
            if let Some(file) = metadata.file() {
                put("code.file.path", Value::Text(file));
            }
            if let Some(line) = metadata.line() {
                put("code.line.number", Value::Int(line.into()));
            }
            out
        };
        let mut span_attributes = common(protobuf::SPAN_ATTRIBUTES);
        let level = Value::Text(metadata.level().as_str());
        protobuf::attribute(
            protobuf::SPAN_ATTRIBUTES,
            &key_field("tracing.level"),
            level,
            &mut span_attributes,
        );
        Callsite {
            name: metadata.name(),
            has_roles: fields
                .iter()
                .any(|field| !matches!(field.role, Role::Attribute | Role::Inherited(_))),
            hands_down: fields.iter().any(|field| matches!(field.role, Role::Inherited(_))),
            fields,
            span_attributes,
            log_attributes: common(protobuf::LOG_ATTRIBUTES),
            severity: severity(*metadata.level()),
        }
    }
}

fn role(field: &str, key: &str, is_event: bool) -> Role {
    match field {
        "message" if is_event => Role::Message,
        "otel.name" if !is_event => Role::Name,
        "otel.kind" if !is_event => Role::Kind,
        "otel.status_code" if !is_event => Role::StatusCode,
        "otel.status_description" | "otel.status_message" if !is_event => Role::StatusMessage,
        "traceparent" => Role::TraceParent,
        _ => match names::slot(key).map(u8::try_from) {
            Some(Ok(slot)) => Role::Inherited(slot),
            _ => Role::Attribute,
        },
    }
}

/// Source: OpenTelemetry logs data model, "Mapping of `SeverityNumber`".
fn severity(level: Level) -> (i32, &'static str) {
    match level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    }
}

impl std::fmt::Debug for Callsites {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callsites").field("layer", &self.layer).finish_non_exhaustive()
    }
}
