//! A span or event as an OTLP message, with what is secret taken out of it.

use super::callsite::{Callsite, Role};
use super::event::AuditEvent;
use super::fields::{Fields, TRUNCATED};
use super::names::slot;
use super::open::{Open, Place};
use super::protobuf::{
    LOG_ATTRIBUTES, SPAN_ATTRIBUTES, Value, any_value, attribute, bytes, fixed64, key_field,
    prefix, varint,
};
use super::scope::Owned;
use crate::protect::{AttributeProtector, FieldRule};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Attribute with what was removed here: the rule, and the name of the field.
pub const REDACTIONS: &str = "spanledger.redactions";
/// Attribute of every record: its number in its instance, from 1 without a hole.
pub const NUMBER: &str = "spanledger.number";
/// Attribute of a span that had not ended when its process did.
pub const INCOMPLETE: &str = "spanledger.incomplete";
/// Attribute of a span that ended because its thread panicked.
pub const UNWINDING: &str = "spanledger.unwinding";

static NUMBER_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| key_field(NUMBER));

/// How a span ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Closed,
    /// While its thread was unwinding.
    Unwinding,
    /// Not at all.
    Open,
}

/// Writes records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'p> {
    pub(super) protector: &'p AttributeProtector,
    /// The record's number in its instance.
    pub(super) number: u64,
}

impl Writer<'_> {
    /// Appends a `Span`.
    pub(super) fn span(self, open: &Open, end_ns: u64, ended: Ended, out: &mut Vec<u8>) {
        let (callsite, fields) = (open.callsite, &open.fields);
        let text = |role| self.text_of(callsite, fields, role);
        bytes(1, &open.place.trace_id, out);
        bytes(2, &open.span_id, out);
        if open.place.parent_id != [0; 8] {
            bytes(4, &open.place.parent_id, out);
        }
        let name = text(Role::Name).unwrap_or(Cow::Borrowed(callsite.name));
        bytes(5, name.as_bytes(), out);
        varint(6, kind(text(Role::Kind).as_deref().unwrap_or_default()), out);
        fixed64(7, open.start_ns, out);
        fixed64(8, end_ns, out);
        out.extend_from_slice(&callsite.span_attributes);
        self.attributes(SPAN_ATTRIBUTES, callsite, fields, &open.place, out);
        let mark = |name, out: &mut Vec<u8>| {
            attribute(SPAN_ATTRIBUTES, &key_field(name), Value::Bool(true), out);
        };
        match ended {
            Ended::Closed => {}
            Ended::Unwinding => mark(UNWINDING, out),
            Ended::Open => mark(INCOMPLETE, out),
        }
        for (trace_id, span_id) in &open.links {
            prefix(13, 28, out);
            bytes(1, trace_id, out);
            bytes(2, span_id, out);
        }
        varint(14, open.dropped_links.into(), out);
        let code = match text(Role::StatusCode).as_deref() {
            Some("ok" | "OK" | "Ok") => 1,
            Some("error" | "ERROR" | "Error") => 2,
            _ if ended == Ended::Unwinding => 2,
            _ => 0,
        };
        let message = text(Role::StatusMessage).unwrap_or_default();
        if code != 0 || !message.is_empty() {
            let mut status = Vec::with_capacity(message.len().saturating_add(8));
            bytes(2, message.as_bytes(), &mut status);
            varint(3, code, &mut status);
            bytes(15, &status, out);
        }
    }

    /// Appends a `LogRecord`. `event_name` is empty for an event that has none.
    pub(super) fn log(
        self,
        callsite: &Callsite,
        fields: &Fields,
        place: &Place,
        (time_ns, event_name): (u64, &str),
        out: &mut Vec<u8>,
    ) {
        let (severity_number, severity) = callsite.severity;
        fixed64(1, time_ns, out);
        varint(2, u64::from(severity_number.unsigned_abs()), out);
        bytes(3, severity.as_bytes(), out);
        if let Some(message) = self.text_of(callsite, fields, Role::Message) {
            let mut body = Vec::with_capacity(message.len().saturating_add(8));
            any_value(Value::Text(&message), &mut body);
            bytes(5, &body, out);
        }
        out.extend_from_slice(&callsite.log_attributes);
        self.attributes(LOG_ATTRIBUTES, callsite, fields, place, out);
        place_of_log(place, out);
        fixed64(11, time_ns, out);
        bytes(12, event_name.as_bytes(), out);
    }

    /// Appends a `LogRecord` of something that was put on record by itself.
    pub(super) fn event(self, event: &AuditEvent, place: &Place, time_ns: u64, out: &mut Vec<u8>) {
        fixed64(1, time_ns, out);
        varint(2, 9, out);
        bytes(3, b"INFO", out);
        if let Some(text) = &event.body {
            let clean = self.protector.clean("", text).map(|(clean, _)| clean);
            let mut body = Vec::new();
            any_value(Value::Text(clean.as_ref().unwrap_or(text)), &mut body);
            bytes(5, &body, out);
        }
        let (mut seen, mut redactions) = (0_u32, Vec::new());
        for (key, value) in &event.attributes {
            if let Some(slot) = slot(key) {
                seen |= 1_u32.checked_shl(u32::try_from(slot).unwrap_or(32)).unwrap_or(0);
            }
            let rule = self.protector.rule(key);
            let clean = clean(self.protector, (key, rule.as_ref()), value.value(), &mut redactions);
            let value = clean.as_deref().map_or(value.value(), Value::Text);
            attribute(LOG_ATTRIBUTES, &key_field(key), value, out);
        }
        self.common(LOG_ATTRIBUTES, place, &mut seen, (&[], &redactions), out);
        place_of_log(place, out);
        fixed64(11, time_ns, out);
        let clean = self.protector.clean("", &event.name).map(|(clean, _)| clean);
        bytes(12, clean.as_deref().unwrap_or(&event.name).as_bytes(), out);
    }

    /// What every record has: what is handed down, its number, and what was done to its values.
    fn common(
        self,
        number: u32,
        place: &Place,
        seen: &mut u32,
        (cut, redactions): (&[String], &[String]),
        out: &mut Vec<u8>,
    ) {
        if let Some(scope) = &place.scope {
            scope.each(seen, |key, value| attribute(number, key, value, out));
        }
        attribute(number, &NUMBER_KEY, Value::Int(self.number.cast_signed()), out);
        for (key, texts) in [(TRUNCATED, cut), (REDACTIONS, redactions)] {
            if !texts.is_empty() {
                attribute(number, &key_field(key), Value::Texts(texts), out);
            }
        }
    }

    fn attributes(
        self,
        number: u32,
        callsite: &Callsite,
        fields: &Fields,
        place: &Place,
        out: &mut Vec<u8>,
    ) {
        let suspects = fields.suspects(self.protector);
        let mut seen = 0_u32;
        let mut redactions = Vec::new();
        for (index, value) in fields.iter() {
            let Some(info) = callsite.fields.get(index) else { continue };
            match info.role {
                Role::Attribute => {}
                Role::Inherited(slot) => seen |= 1_u32.checked_shl(slot.into()).unwrap_or(0),
                _ => continue,
            }
            let clean = if suspects || info.rule.is_some() {
                clean(self.protector, (&info.key, info.rule.as_ref()), value, &mut redactions)
            } else {
                None
            };
            match &clean {
                Some(text) => attribute(number, &info.encoded, Value::Text(text), out),
                None => attribute(number, &info.encoded, value, out),
            }
        }
        let cut: Vec<_> = fields
            .truncated()
            .filter_map(|field| Some(callsite.fields.get(field)?.key.clone()))
            .collect();
        self.common(number, place, &mut seen, (&cut, &redactions), out);
    }

    /// The text of a field that is no attribute, without its secrets.
    fn text_of<'f>(
        self,
        callsite: &Callsite,
        fields: &'f Fields,
        role: Role,
    ) -> Option<Cow<'f, str>> {
        let text = fields.text_of(callsite, role)?;
        if !fields.suspects(self.protector) {
            return Some(Cow::Borrowed(text));
        }
        match self.protector.clean("", text) {
            Some((clean, _)) => Some(Cow::Owned(clean)),
            None => Some(Cow::Borrowed(text)),
        }
    }
}

fn place_of_log(place: &Place, out: &mut Vec<u8>) {
    if place.trace_id != [0; 16] {
        bytes(9, &place.trace_id, out);
    }
    if place.parent_id != [0; 8] {
        bytes(10, &place.parent_id, out);
    }
}

/// What stands in place of a value; `None` when it stays.
fn clean(
    protector: &AttributeProtector,
    (key, rule): (&str, Option<&FieldRule>),
    value: Value<'_>,
    redactions: &mut Vec<String>,
) -> Option<String> {
    let by_name = rule.and_then(|rule| {
        let marker = match value {
            Value::Text(text) => rule.replaces(text),
            _ => rule.replaces_number(),
        }?;
        redactions.push(format!("{} at {key}", rule.name()));
        Some(marker)
    });
    if by_name.is_some() {
        return by_name;
    }
    let text = match value {
        Value::Text(text) => text,
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::Texts(texts) => {
            let any = texts.iter().any(|text| protector.clean(key, text).is_some());
            return any.then(|| {
                let all = texts.join("\n");
                clean(protector, (key, None), Value::Text(&all), redactions).unwrap_or_default()
            });
        }
        _ => return None,
    };
    let (clean, rules) = protector.clean(key, text)?;
    redactions.extend(rules.iter().map(|rule| format!("{rule} at {key}")));
    Some(clean)
}

/// What a scope keeps of a value: the clean one. `suspects` as of [`Fields::suspects`].
pub(super) fn owned(
    protector: &AttributeProtector,
    info: &super::callsite::FieldInfo,
    value: Value<'_>,
    suspects: bool,
) -> Option<Owned> {
    if !suspects && info.rule.is_none() {
        return Owned::of(value);
    }
    match clean(protector, (&info.key, info.rule.as_ref()), value, &mut Vec::new()) {
        Some(text) => Some(Owned::Text(text)),
        None => Owned::of(value),
    }
}

/// Source: `trace.proto`, `SpanKind`; the words of `tracing-opentelemetry`.
fn kind(word: &str) -> u64 {
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    match () {
        () if is("server") => 2,
        () if is("client") => 3,
        () if is("producer") => 4,
        () if is("consumer") => 5,
        () => 1,
    }
}
