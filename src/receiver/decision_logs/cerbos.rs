//! An entry of Cerbos: one call, several decisions.
//!
//! ```text
//! { callId, timestamp, peer, metadata, auditTrail, …,
//!   checkResources: { inputs:  [ { requestId, principal, resource, actions, auxData } ],
//!                     outputs: [ { requestId, resourceId, actions: { ACTION: { effect, policy } }, … } ] } }
//!      └► a record for each output and action, in the order of actions' names:
//!         cerbos.decision_id = CALLID/0, CALLID/1, …   cerbos.action, .effect, .policy, .scope
//!         cerbos.input, cerbos.output (without its actions), and what stands around them
//! ```
//!
//! Older versions have `inputs` and `outputs` beside `callId`. An entry without outputs (a plan of
//! resources, an error, an access log) is one record.
//!
//! Source: `cerbos/audit/v1/audit.proto` and `cerbos/engine/v1/engine.proto`.

use super::form::Form;
use super::items::{Item, members};
use super::record::{get, of, prefixed};
use super::value::elements;
use crate::receiver::json::Reader;
use crate::receiver::otlp::{DecodeError, Shape};
use crate::span::{Attribute, LogRecord, Record, Sink, Text, Value};

/// Name of the event of a plan of resources.
const PLAN: &str = "cerbos.plan";
/// Name of the event of an access log: who called, and nothing about a decision.
const ACCESS: &str = "cerbos.access";

/// Inputs among which the one of an output is looked for; of more, the one at the same place is
/// taken. Cerbos allows 500 at most.
const MAX_SEARCHED: usize = 1_000;

/// Gives the records of an entry to the sink.
pub(super) fn records(
    form: &Form,
    item: &Item<'_, '_>,
    sink: &mut impl Sink,
) -> Result<(), DecodeError> {
    let mut members = members(item)?;
    let mut log = of(form, &members);
    let mut method = take(&mut members, "checkResources");
    let (inputs, outputs) = match &mut method {
        Some(Value::Map(check)) => (take(check, "inputs"), take(check, "outputs")),
        _ => (take(&mut members, "inputs"), take(&mut members, "outputs")),
    };
    // What else the method says: an error.
    if let Some(Value::Map(rest)) = method {
        members.extend(rest);
    }
    let (inputs, outputs) = (list(inputs), list(outputs));
    let call = get(&members, "callId").and_then(Value::as_str).unwrap_or_default().to_owned();
    if outputs.iter().all(|output| actions(output).is_none()) {
        log.event_name = one_event(form, &members).into();
        put(&mut members, "inputs", inputs);
        put(&mut members, "outputs", outputs);
        log.attributes = prefixed(form, members);
        sink.record(Record::Log(&log));
        return Ok(());
    }
    let around = prefixed(form, members);
    let mut number = 0_usize;
    for (position, output) in outputs.into_iter().enumerate() {
        let Value::Map(mut output) = output else { continue };
        let input = input_of(&inputs, &output, position).cloned().unwrap_or_default();
        let Some(Value::Map(mut decided)) = take(&mut output, "actions") else { continue };
        // The order of a map is nobody's promise; the number of a decision has to be.
        decided.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
        for Attribute { key: action, value } in decided {
            let mut own = vec![
                Attribute::new("decision_id", Value::Text(format!("{call}/{number}").into())),
                Attribute::new("action", Value::Text(action)),
            ];
            match value {
                Value::Map(effect) => own.extend(effect),
                other => own.push(Attribute::new("effect", other)),
            }
            own.push(Attribute::new("input", input.clone()));
            own.push(Attribute::new("output", Value::Map(output.clone())));
            let mut log = LogRecord { attributes: Vec::new(), ..log.clone() };
            log.attributes = prefixed(form, own);
            log.attributes.extend(around.iter().cloned());
            sink.record(Record::Log(&log));
            number = number.saturating_add(1);
        }
    }
    Ok(())
}

/// What an entry is that has no decisions about resources.
fn one_event(form: &Form, members: &[Attribute<'_>]) -> &'static str {
    if get(members, "planResources").is_some() {
        PLAN
    } else if get(members, "method").is_some() {
        ACCESS
    } else {
        form.event
    }
}

/// The input that an output answers: of the same request and resource, else at the same place.
fn input_of<'v, 'a>(
    inputs: &'v [Value<'a>],
    output: &[Attribute<'a>],
    position: usize,
) -> Option<&'v Value<'a>> {
    let request = get(output, "requestId");
    let resource = get(output, "resourceId");
    let is_it = |input: &&Value<'a>| {
        let Value::Map(input) = input else { return false };
        let of_resource = match get(input, "resource") {
            Some(Value::Map(resource)) => get(resource, "id"),
            _ => None,
        };
        get(input, "requestId") == request && of_resource == resource
    };
    // Nearly always they stand at the same place.
    let at_position = inputs.get(position);
    let search = || inputs.get(..inputs.len().min(MAX_SEARCHED))?.iter().find(is_it);
    at_position.filter(is_it).or_else(search).or(at_position)
}

fn actions<'v, 'a>(output: &'v Value<'a>) -> Option<&'v Vec<Attribute<'a>>> {
    let Value::Map(output) = output else { return None };
    match get(output, "actions") {
        Some(Value::Map(actions)) if !actions.is_empty() => Some(actions),
        _ => None,
    }
}

fn take<'a>(members: &mut Vec<Attribute<'a>>, name: &str) -> Option<Value<'a>> {
    let at = members.iter().position(|member| member.key.as_str() == name)?;
    Some(members.remove(at).value)
}

fn put<'a>(members: &mut Vec<Attribute<'a>>, name: &'static str, list: Vec<Value<'a>>) {
    if !list.is_empty() {
        members.push(Attribute { key: Text::from(name), value: Value::List(list) });
    }
}

fn list(value: Option<Value<'_>>) -> Vec<Value<'_>> {
    match value {
        Some(Value::List(items)) => items,
        _ => Vec::new(),
    }
}

/// Counts an entry: each decision repeats its output, an input, and what stands around them.
pub(super) fn shape(item: &Item<'_, '_>) -> Result<Shape, DecodeError> {
    let mut counted = Counted::default();
    counted.entry(item.reader, true)?;
    let mut shape = Shape::default();
    // All of the entry is read at once, and copied once for the decision that is made of it.
    let widest = elements(item.bytes).saturating_mul(2);
    let around = counted.around.saturating_add(counted.longest_input);
    for (output, decisions) in counted.outputs {
        let mut of_output = Shape::default();
        for _ in 0..decisions {
            of_output.add(output, 0);
        }
        shape.add_with_context(of_output, around, 0);
    }
    if shape.records == 0 {
        shape.add(item.bytes.len(), widest);
    }
    shape.widest = widest;
    Ok(shape)
}

/// Bytes of the parts of an entry.
#[derive(Default)]
struct Counted {
    around: usize,
    longest_input: usize,
    /// For each output its bytes and its decisions.
    outputs: Vec<(usize, usize)>,
}

impl Counted {
    fn entry(&mut self, mut reader: Reader<'_>, outermost: bool) -> Result<(), DecodeError> {
        let mut open = reader.map()?;
        while let Some(key) = reader.member(&mut open)? {
            let start = reader.position();
            let inside = reader;
            reader.skip()?;
            let bytes = reader.since(start);
            match (key.as_str(), bytes.first()) {
                ("checkResources", Some(b'{')) if outermost => self.entry(inside, false)?,
                ("inputs", Some(b'[')) => self.inputs(inside)?,
                ("outputs", Some(b'[')) => self.outputs(inside)?,
                _ => self.around = self.around.saturating_add(bytes.len()),
            }
        }
        Ok(())
    }

    fn inputs(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        let mut open = reader.list()?;
        while reader.item(&mut open)? {
            let start = reader.position();
            reader.skip()?;
            self.longest_input = self.longest_input.max(reader.since(start).len());
        }
        Ok(())
    }

    fn outputs(&mut self, mut reader: Reader<'_>) -> Result<(), DecodeError> {
        let mut open = reader.list()?;
        while reader.item(&mut open)? {
            let start = reader.position();
            let mut inside = reader;
            reader.skip()?;
            let bytes = reader.since(start);
            if bytes.first() == Some(&b'{') {
                let mut decisions = 0_usize;
                let mut open = inside.map()?;
                while let Some(key) = inside.member(&mut open)? {
                    if key.as_str() == "actions" && inside.peek() == Some(b'{') {
                        let mut open = inside.map()?;
                        while inside.member(&mut open)?.is_some() {
                            inside.skip()?;
                            decisions = decisions.saturating_add(1);
                        }
                    } else {
                        inside.skip()?;
                    }
                }
                self.outputs.push((bytes.len(), decisions));
            }
        }
        Ok(())
    }
}
