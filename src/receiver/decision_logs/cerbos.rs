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
//! What was asked beside that and not decided, inputs that no output answers and outputs without actions,
//! is one more record. Older versions have `inputs` and `outputs` beside `callId`. An entry without outputs (a plan of
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
use std::collections::HashMap;

/// Name of the event of a plan of resources.
const PLAN: &str = "cerbos.plan";
/// Name of the event of an access log: who called, and nothing about a decision.
const ACCESS: &str = "cerbos.access";
/// Name of the event of what a call asked and did not decide.
const UNDECIDED: &str = "cerbos.undecided";

/// Gives the records of an entry to the sink.
pub(super) fn records(
    form: &Form,
    item: &Item<'_, '_>,
    sink: &mut impl Sink,
) -> Result<(), DecodeError> {
    let mut members = members(item)?;
    let mut log = of(form, &members);
    let (inputs, outputs) = match take_map(&mut members, "checkResources") {
        Some(mut method) => {
            let lists = (take_list(&mut method, "inputs"), take_list(&mut method, "outputs"));
            // What else the method says: an error.
            members.extend(method);
            lists
        }
        None => (take_list(&mut members, "inputs"), take_list(&mut members, "outputs")),
    };
    let call = get(&members, "callId").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !outputs.iter().any(has_actions) {
        log.event_name = one_event(form, &members).into();
        put(&mut members, "inputs", inputs);
        put(&mut members, "outputs", outputs);
        log.attributes = prefixed(form, members);
        sink.record(Record::Log(&log));
        return Ok(());
    }
    let around = prefixed(form, members);
    let give = |own: Vec<Attribute<'_>>, event: &'static str, sink: &mut _| {
        let mut log = LogRecord { attributes: Vec::new(), event_name: event.into(), ..log.clone() };
        log.attributes = prefixed(form, own);
        log.attributes.extend(around.iter().cloned());
        Sink::record(sink, Record::Log(&log));
    };
    let mut found = Inputs::new(&inputs);
    let mut undecided = Vec::new();
    let mut number = 0_usize;
    for (position, output) in outputs.into_iter().enumerate() {
        if !has_actions(&output) {
            undecided.push(output);
            continue;
        }
        let Value::Map(mut output) = output else { continue };
        let Some(mut decided) = take_map(&mut output, "actions") else { continue };
        let input = found.take(&output, position).cloned().unwrap_or_default();
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
            give(own, form.event, sink);
            number = number.saturating_add(1);
        }
    }
    let mut rest = Vec::new();
    put(&mut rest, "inputs", found.unanswered());
    put(&mut rest, "outputs", undecided);
    if !rest.is_empty() {
        give(rest, UNDECIDED, sink);
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

/// The inputs of an entry, found by request and resource.
struct Inputs<'v, 'a> {
    list: &'v [Value<'a>],
    /// The place of the first of each.
    by_ids: HashMap<Ids<'v>, usize>,
    /// Which of them an output answers.
    answered: Vec<bool>,
}

/// Request and resource; either may be absent.
type Ids<'v> = (Option<&'v str>, Option<&'v str>);

impl<'v, 'a> Inputs<'v, 'a> {
    fn new(list: &'v [Value<'a>]) -> Self {
        let mut by_ids = HashMap::with_capacity(list.len());
        for (place, input) in list.iter().enumerate() {
            if let Some(ids) = ids_of_input(input) {
                by_ids.entry(ids).or_insert(place);
            }
        }
        Self { list, by_ids, answered: vec![false; list.len()] }
    }

    /// The input that an output answers: of the same request and resource, else at the same place.
    fn take(&mut self, output: &[Attribute<'a>], position: usize) -> Option<&'v Value<'a>> {
        let place = match ids(get(output, "requestId"), get(output, "resourceId")) {
            Some(ids) => {
                // Nearly always they stand at the same place, and one request may ask twice.
                let at_position = self.list.get(position).and_then(ids_of_input) == Some(ids);
                let elsewhere = || self.by_ids.get(&ids).copied();
                if at_position { position } else { elsewhere().unwrap_or(position) }
            }
            None => position,
        };
        if let Some(answered) = self.answered.get_mut(place) {
            *answered = true;
        }
        self.list.get(place)
    }

    /// Those that no output answers.
    fn unanswered(&self) -> Vec<Value<'a>> {
        let inputs = self.list.iter().zip(&self.answered);
        inputs.filter(|(_, answered)| !**answered).map(|(input, _)| input.clone()).collect()
    }
}

fn ids_of_input<'v>(input: &'v Value<'_>) -> Option<Ids<'v>> {
    let Value::Map(input) = input else { return None };
    let resource = match get(input, "resource") {
        Some(Value::Map(resource)) => get(resource, "id"),
        _ => None,
    };
    ids(get(input, "requestId"), resource)
}

/// Nothing when one of them is no text, as all of Cerbos' are.
fn ids<'v>(request: Option<&'v Value<'_>>, resource: Option<&'v Value<'_>>) -> Option<Ids<'v>> {
    let text = |id: Option<&'v Value<'_>>| match id {
        Some(id) => id.as_str().map(Some),
        None => Some(None),
    };
    Some((text(request)?, text(resource)?))
}

/// Whether the object that [`take_map`] would take holds any.
fn has_actions(output: &Value<'_>) -> bool {
    let Value::Map(output) = output else { return false };
    let mut of_name = output.iter().filter(|it| it.key.as_str() == "actions");
    let actions = of_name.find_map(|it| match &it.value {
        Value::Map(actions) => Some(actions),
        _ => None,
    });
    actions.is_some_and(|actions| !actions.is_empty())
}

/// Takes the first list of that name; what else has the name stays.
fn take_list<'a>(members: &mut Vec<Attribute<'a>>, name: &str) -> Vec<Value<'a>> {
    let is_it = |it: &Attribute<'_>| it.key.as_str() == name && matches!(it.value, Value::List(_));
    match members.iter().position(is_it).map(|at| members.remove(at).value) {
        Some(Value::List(list)) => list,
        _ => Vec::new(),
    }
}

/// Takes the first object of that name; what else has the name stays.
fn take_map<'a>(members: &mut Vec<Attribute<'a>>, name: &str) -> Option<Vec<Attribute<'a>>> {
    let is_it = |it: &Attribute<'_>| it.key.as_str() == name && matches!(it.value, Value::Map(_));
    match members.iter().position(is_it).map(|at| members.remove(at).value) {
        Some(Value::Map(map)) => Some(map),
        _ => None,
    }
}

fn put<'a>(members: &mut Vec<Attribute<'a>>, name: &'static str, list: Vec<Value<'a>>) {
    if !list.is_empty() {
        members.push(Attribute { key: Text::from(name), value: Value::List(list) });
    }
}

/// Counts an entry: each decision repeats its output, an input, and what stands around them.
pub(super) fn shape(item: &Item<'_, '_>) -> Result<Shape, DecodeError> {
    let counted = counted(item.reader)?;
    let mut shape = Shape::default();
    // All of the entry is read at once, and copied once for the decision that is made of it.
    let widest = elements(item.bytes).saturating_mul(2);
    let around = counted.around.saturating_add(counted.longest_input);
    let mut undecided = counted.inputs;
    for (output, decisions) in counted.outputs {
        let mut of_output = Shape::default();
        for _ in 0..decisions {
            of_output.add(output, 0);
        }
        if decisions == 0 {
            undecided = undecided.saturating_add(output);
        }
        shape.add_with_context(of_output, around, 0);
    }
    // Which inputs no output answers is not looked up here: at most all of them.
    if shape.records > 0 && undecided > 0 {
        shape.add(undecided.saturating_add(counted.around), 0);
    }
    if shape.records == 0 {
        shape.add(item.bytes.len(), widest);
    }
    shape.widest = widest;
    Ok(shape)
}

/// Bytes of the parts of an entry.
struct Counted {
    around: usize,
    inputs: usize,
    longest_input: usize,
    /// For each output its bytes and its decisions.
    outputs: Vec<(usize, usize)>,
}

/// A value that has not been read: in front of it, and its bytes.
type Unread<'a> = (Reader<'a>, &'a [u8]);

/// What [`records`] takes out of an object, and the bytes of all else, which stays around the
/// decisions.
#[derive(Default)]
struct Taken<'a> {
    method: Option<Unread<'a>>,
    inputs: Option<Unread<'a>>,
    outputs: Option<Unread<'a>>,
    rest: usize,
}

fn taken(mut reader: Reader<'_>) -> Result<Taken<'_>, DecodeError> {
    let mut taken = Taken::default();
    let mut open = reader.map()?;
    while let Some(key) = reader.member(&mut open)? {
        let start = reader.position();
        let inside = reader;
        reader.skip()?;
        let bytes = reader.since(start);
        let place = match (key.as_str(), bytes.first()) {
            ("checkResources", Some(b'{')) => Some(&mut taken.method),
            ("inputs", Some(b'[')) => Some(&mut taken.inputs),
            ("outputs", Some(b'[')) => Some(&mut taken.outputs),
            _ => None,
        };
        match place {
            Some(place) if place.is_none() => *place = Some((inside, bytes)),
            _ => {
                let both = key.as_str().len().saturating_add(bytes.len());
                taken.rest = taken.rest.saturating_add(both);
            }
        }
    }
    Ok(taken)
}

fn counted(entry: Reader<'_>) -> Result<Counted, DecodeError> {
    let length = |unread: Option<Unread<'_>>| unread.map_or(0, |(_, bytes)| bytes.len());
    let outer = taken(entry)?;
    let (inputs, outputs, around) = match outer.method {
        Some((method, _)) => {
            let inner = taken(method)?;
            let beside = [outer.inputs, outer.outputs, inner.method].map(length);
            let around = beside.into_iter().fold(outer.rest, usize::saturating_add);
            (inner.inputs, inner.outputs, around.saturating_add(inner.rest))
        }
        None => (outer.inputs, outer.outputs, outer.rest),
    };
    let mut counted = Counted { around, inputs: 0, longest_input: 0, outputs: Vec::new() };
    each(inputs, |_, bytes| {
        counted.inputs = counted.inputs.saturating_add(bytes.len());
        counted.longest_input = counted.longest_input.max(bytes.len());
        Ok(())
    })?;
    each(outputs, |output, bytes| {
        let is_object = bytes.first() == Some(&b'{');
        counted.outputs.push((bytes.len(), if is_object { decisions(output)? } else { 0 }));
        Ok(())
    })?;
    Ok(counted)
}

/// Shows the items of a list.
fn each<'a>(
    list: Option<Unread<'a>>,
    mut show: impl FnMut(Reader<'a>, &'a [u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let Some((mut reader, _)) = list else { return Ok(()) };
    let mut open = reader.list()?;
    while reader.item(&mut open)? {
        let start = reader.position();
        let item = reader;
        reader.skip()?;
        show(item, reader.since(start))?;
    }
    Ok(())
}

/// How many actions an output decides on.
fn decisions(mut output: Reader<'_>) -> Result<usize, DecodeError> {
    let mut decisions = 0_usize;
    let mut open = output.map()?;
    while let Some(key) = output.member(&mut open)? {
        if key.as_str() != "actions" || output.peek() != Some(b'{') {
            output.skip()?;
            continue;
        }
        let mut open = output.map()?;
        while output.member(&mut open)?.is_some() {
            output.skip()?;
            decisions = decisions.saturating_add(1);
        }
        break;
    }
    Ok(decisions)
}
