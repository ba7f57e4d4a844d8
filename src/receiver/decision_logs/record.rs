//! An object of a decision log as a log record.

use super::form::Form;
use super::items::{Item, members};
use super::value::{at, hex_id, time_ns, traceparent};
use crate::receiver::otlp::DecodeError;
use crate::span::{Attribute, LogRecord, Text, Value};

/// Reads an object into `log`.
pub(super) fn read<'a>(
    form: &Form,
    item: &Item<'a, '_>,
    log: &mut LogRecord<'a>,
) -> Result<(), DecodeError> {
    let mut members = members(item)?;
    if let Some(absent) = &form.absent
        && absent.members.iter().all(|name| get(&members, name).is_none())
    {
        members.push(Attribute::new(absent.name, Value::Text(absent.name.into())));
    }
    *log = of(form, &members);
    log.attributes = prefixed(form, members);
    Ok(())
}

/// What members say about time and trace, as a record without attributes.
pub(super) fn of<'a>(form: &Form, members: &[Attribute<'_>]) -> LogRecord<'a> {
    let mut log = LogRecord { event_name: form.event.into(), ..LogRecord::default() };
    let time = form.times.iter().find_map(|name| time_ns(get(members, name)?));
    log.time_ns = time.unwrap_or_default();
    let id = |name| get(members, name).and_then(Value::as_str);
    if let Some(trace_id) = id("trace_id").and_then(hex_id) {
        log.trace_id = trace_id;
        log.span_id = id("span_id").and_then(hex_id).unwrap_or_default();
    } else {
        let mut places = form.traceparents.iter();
        let parent = places.find_map(|path| traceparent(at(members, path)?));
        (log.trace_id, log.span_id) = parent.unwrap_or_default();
    }
    log
}

/// Members with the engine's prefix in front of their names.
pub(super) fn prefixed<'a>(form: &Form, members: Vec<Attribute<'a>>) -> Vec<Attribute<'a>> {
    if form.prefix.is_empty() {
        return members;
    }
    let named = members.into_iter().map(|Attribute { key, value }| {
        // Bytes that are not UTF-8 are kept as they came, behind the prefix, too.
        let bytes = key.raw().unwrap_or(key.as_str().as_bytes());
        let key = Text::from_vec([form.prefix.as_bytes(), bytes].concat());
        Attribute { key, value }
    });
    named.collect()
}

/// A member that is not null.
pub(super) fn get<'v, 'a>(members: &'v [Attribute<'a>], name: &str) -> Option<&'v Value<'a>> {
    let found = members.iter().find(|member| member.key.as_str() == name);
    found.map(|member| &member.value).filter(|value| **value != Value::Empty)
}
